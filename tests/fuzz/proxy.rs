//! What a fuzzer, or a test with mutated headers, does to the decoder of PROXY headers.

use sealwire::frame::proxy::{HeaderDecoder, Origin, write_v2};
use sealwire::limits::{PROXY_HEADER_LEN_MAX, PROXY_LINE_LEN_MAX};

/// The beginning of a stream, in whatever pieces: the outcome is that of the whole, no more is
/// taken than a header may be long, and what was understood is understood again.
pub fn header(stream: &[u8]) {
    let mut rest = stream;
    let whole = HeaderDecoder::default().next(&mut rest);
    let taken = stream.len() - rest.len();
    assert!(taken <= PROXY_HEADER_LEN_MAX.max(PROXY_LINE_LEN_MAX));

    let mut decoder = HeaderDecoder::default();
    let mut fed = 0;
    let mut outcome = Ok(None);
    for byte in stream {
        outcome = decoder.next(&mut std::slice::from_ref(byte));
        fed += 1;
        if outcome != Ok(None) {
            break;
        }
    }
    match whole {
        Ok(None) => assert_eq!((outcome, rest.len()), (Ok(None), 0)),
        Ok(origin) => assert_eq!((outcome, fed), (Ok(origin), taken)),
        // Byte by byte it is found at the first byte that is wrong.
        Err(_) => assert!(outcome.is_err() && fed <= taken),
    }
    if let Ok(Some(origin)) = whole {
        let mut again = Vec::new();
        write_v2(&mut again, origin, None);
        let decoded = HeaderDecoder::default().next(&mut &again[..]);
        assert_eq!(
            decoded.map(|it| it.map(canonical)),
            Ok(Some(canonical(origin)))
        );
    }
}

/// IPv4 addresses written as ones of IPv6 are the same addresses.
fn canonical(origin: Origin) -> Origin {
    let Origin::Relayed {
        mut source,
        mut destination,
    } = origin
    else {
        return origin;
    };
    source.set_ip(source.ip().to_canonical());
    destination.set_ip(destination.ip().to_canonical());
    Origin::Relayed {
        source,
        destination,
    }
}
