//! PROXY headers that nobody honest would send: cut, and changed at random from a seed.

use sealwire::frame::proxy::{ClientCertificate, ClientTls, Origin, write_v2};

use super::fuzz_proxy;
use super::hostile::Random;

#[test]
fn changed_headers_are_survived() {
    let mut random = Random(4);
    for header in headers() {
        for len in 0..=header.len() {
            fuzz_proxy::header(&header[..len]);
        }
        for _ in 0..2_000 {
            fuzz_proxy::header(&random.change(&header));
        }
    }
}

fn headers() -> Vec<Vec<u8>> {
    let lines = [
        "PROXY TCP4 192.0.2.7 192.0.2.1 50000 3306\r\nbehind",
        "PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 1 65535\r\nbehind",
        "PROXY UNKNOWN some words\r\nbehind",
    ];
    let tls = ClientTls {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        is_resumed: false,
        certificate: Some(ClientCertificate {
            common_name: Some("alice"),
            subject: Some("/CN=alice"),
        }),
    };
    let mut headers: Vec<_> = lines.map(|line| line.as_bytes().to_vec()).into();
    for (source, destination) in [("192.0.2.7:1", "192.0.2.1:2"), ("[::7]:1", "[::1]:2")] {
        let origin = Origin::Relayed {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        let mut header = Vec::new();
        write_v2(&mut header, origin, Some(&tls));
        header.extend(b"behind");
        headers.push(header);
    }
    // What fuzzing would need long for: the longest promise, and a checksum.
    headers.push(b"\r\n\r\n\0\r\nQUIT\n\x20\0\xff\xff".to_vec());
    headers.push(b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xdf".repeat(20));
    let checksum = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x07\xc0\0\x02\x01\0\x01\0\x02";
    headers.push([&checksum[..], b"\x03\0\x04\0\0\0\0"].concat());
    headers
}
