use super::*;
use crate::limits::{PROXY_HEADER_LEN_MAX, PROXY_LINE_LEN_MAX, PROXY_TEXT_LEN_MAX};

const BEHIND: &[u8] = b"\r\n behind PROXY \n";

fn relayed(source: &str, destination: &str) -> Origin {
    Origin::Relayed {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// Decodes what arrives whole, and gives back what was left of it.
fn decode(bytes: &[u8]) -> (Result<Option<Origin>, Violation>, &[u8]) {
    let mut rest = bytes;
    let result = HeaderDecoder::default().next(&mut rest);
    (result, rest)
}

fn refusal(bytes: &[u8]) -> Violation {
    decode(bytes).0.unwrap_err()
}

/// A header of version 2 around what follows its prefix.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &len, body].concat()
}

fn tcp4(values: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 192, 0, 2, 1, 0xc3, 0x50, 0x0c, 0xea];
    binary(PROXY, TCP4, &[&addresses, values].concat())
}

fn tcp4_origin() -> Origin {
    relayed("192.0.2.7:50000", "192.0.2.1:3306")
}

/// The checksum as the specification describes it, bit by bit.
fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let len = header.len() as u16 - PREFIX_LEN as u16 + 7;
    header[14..16].copy_from_slice(&len.to_be_bytes());
    header.extend([kind::CRC32C, 0, 4, 0, 0, 0, 0]);
    let mut checksum = !0u32;
    for byte in &header {
        checksum ^= u32::from(*byte);
        for _ in 0..8 {
            checksum = checksum >> 1 ^ if checksum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    let start = header.len() - 4;
    header[start..].copy_from_slice(&(!checksum).to_be_bytes());
    header
}

fn good_headers() -> Vec<(Vec<u8>, Origin)> {
    let v6 = relayed("[2001:db8::7]:1", "[2001:db8::1]:65535");
    let mut v6_binary = Vec::new();
    write_v2(&mut v6_binary, v6, None);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(PROXY_LINE_LEN_MAX - 16));
    let unix = binary(PROXY, UNIX_STREAM, &[b'p'; 216]);
    vec![
        (
            b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 3306\r\n".to_vec(),
            tcp4_origin(),
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n".to_vec(),
            v6,
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Unknown),
        (
            b"PROXY UNKNOWN ffff::1 x 1 -1\r\n".to_vec(),
            Origin::Unknown,
        ),
        (long.into_bytes(), Origin::Unknown),
        (tcp4(&[]), tcp4_origin()),
        (tcp4(&[0xee, 0, 2, 1, 2, 4, 0, 0]), tcp4_origin()),
        (with_checksum(tcp4(&[0x05, 0, 1, 9])), tcp4_origin()),
        (v6_binary, v6),
        (binary(LOCAL, UNSPEC, &[]), Origin::Sender),
        (binary(LOCAL, 0xff, b"to be ignored"), Origin::Sender),
        (binary(PROXY, UNSPEC, b"so is this"), Origin::Unknown),
        (unix, Origin::Unknown),
    ]
}

#[test]
fn headers_arrive_in_any_two_pieces_and_byte_by_byte() {
    for (header, origin) in good_headers() {
        let stream = [&header[..], BEHIND].concat();
        for split in 0..=header.len() {
            let (mut first, mut second) = stream.split_at(split);
            let mut decoder = HeaderDecoder::default();
            let mut result = decoder.next(&mut first);
            assert!(first.is_empty());
            if split < header.len() {
                assert_eq!(result, Ok(None), "{split} of {header:x?}");
                result = decoder.next(&mut second);
            }
            assert_eq!(result, Ok(Some(origin)), "{split} of {header:x?}");
            assert_eq!(second, BEHIND);
        }
        let mut decoder = HeaderDecoder::default();
        for (index, byte) in header.iter().enumerate() {
            let result = decoder.next(&mut &[*byte][..]);
            let is_last = index + 1 == header.len();
            assert_eq!(result, Ok(is_last.then_some(origin)));
        }
    }
}

#[test]
fn lines_that_are_no_header_are_refused() {
    let beginning = Violation::Malformed("the beginning of a PROXY header");
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"proxy ",
        b"PROXYX",
        b"PROXY\r\n",
        b"\0",
        b"P\n",
    ] {
        assert_eq!(refusal(bytes), beginning, "{bytes:?}");
    }
    for line in [
        "TCP4 192.0.2.7 192.0.2.1 50000 3306",
        "TCP4 192.0.2.7 192.0.2.1 50000 3306\r\r",
        "TCP4 192.0.2.7 192.0.2.1 50000 3306 \r",
        "TCP4 192.0.2.7 192.0.2.1 50000 3306 x\r",
        "TCP4 192.0.2.7 192.0.2.1 50000\r",
        "TCP4  192.0.2.7 192.0.2.1 50000 3306\r",
        "TCP4 192.0.2.7 192.0.2.1 50000 65536\r",
        "TCP4 192.0.2.7 192.0.2.1 50000 +306\r",
        "TCP4 192.0.2.7 192.0.2.1 50000 03306\r",
        "TCP4 192.0.2.7 192.0.2.1 -1 3306\r",
        "TCP4 192.0.2.007 192.0.2.1 50000 3306\r",
        "TCP4 192.0.2.7 ::1 50000 3306\r",
        "TCP6 192.0.2.7 192.0.2.1 50000 3306\r",
        "TCP6 ::1%lo ::1 50000 3306\r",
        "UDP4 192.0.2.7 192.0.2.1 50000 3306\r",
        "UNKNOWNX\r",
        "\r",
    ] {
        let violation = refusal(format!("PROXY {line}\n").as_bytes());
        assert!(matches!(violation, Violation::Malformed(_)), "{line:?}");
    }
    assert!(matches!(
        refusal(b"PROXY TCP4 \xff 192.0.2.1 1 1\r\n"),
        Violation::Malformed(_)
    ));
}

#[test]
fn a_line_is_read_up_to_its_bound_and_no_further() {
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    let mut rest = &endless[..];
    let too_long = Violation::TooLong {
        len: PROXY_LINE_LEN_MAX + 1,
        len_max: PROXY_LINE_LEN_MAX,
    };
    assert_eq!(HeaderDecoder::default().next(&mut rest), Err(too_long));
    assert_eq!(rest.len(), endless.len() - PROXY_LINE_LEN_MAX);
}

#[test]
fn binary_headers_that_are_wrong_are_refused() {
    let malformed = |bytes: &[u8]| {
        let violation = refusal(bytes);
        assert!(matches!(violation, Violation::Malformed(_)), "{bytes:x?}");
    };
    malformed(b"\r\n\r\n\0\r\nQUIT\r");
    malformed(b"\r\n\r\nX");
    for command in [0x00, 0x11, 0x22, 0x2f, 0x30, 0xff] {
        malformed(&binary(command, TCP4, &[0; 12]));
    }
    for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x41, 0xff] {
        malformed(&binary(PROXY, family, &[0; 216]));
    }
    for (family, len) in [
        (TCP4, 12),
        (UDP4, 12),
        (TCP6, 36),
        (UDP6, 36),
        (UNIX_STREAM, 216),
    ] {
        malformed(&binary(PROXY, family, &vec![0; len - 1]));
        assert!(decode(&binary(PROXY, family, &vec![0; len])).0.is_ok());
    }
    for values in [
        &[1][..],
        &[1, 0],
        &[1, 0, 1],
        &[1, 0, 2, 0],
        &[0, 0, 0, 1, 0xff, 0xff, 0],
    ] {
        malformed(&tcp4(values));
    }
    malformed(&tcp4(&[kind::CRC32C, 0, 3, 0, 0, 0]));
}

#[test]
fn a_length_that_is_too_long_is_refused_before_it_comes() {
    let len = PROXY_HEADER_LEN_MAX - PREFIX_LEN;
    let longest = binary(LOCAL, UNSPEC, &vec![0; len]);
    assert_eq!(decode(&longest), (Ok(Some(Origin::Sender)), &[][..]));
    let too_long = binary(LOCAL, UNSPEC, &vec![0; len + 1]);
    let expected = Violation::TooLong {
        len: PROXY_HEADER_LEN_MAX + 1,
        len_max: PROXY_HEADER_LEN_MAX,
    };
    assert_eq!(refusal(&too_long[..PREFIX_LEN]), expected);
}

#[test]
fn a_checksum_covers_every_byte() {
    let header = with_checksum(tcp4(&[0x05, 0, 3, 1, 2, 3]));
    // All but the byte that says that it is one: what stands there else is another value.
    let kind_at = header.len() - 7;
    for index in (0..header.len()).filter(|index| *index != kind_at) {
        for bit in 0..8 {
            let mut broken = header.clone();
            broken[index] ^= 1 << bit;
            let (result, _) = decode(&broken);
            assert_ne!(result, Ok(Some(tcp4_origin())), "byte {index}, bit {bit}");
        }
    }
    let mut broken = header;
    broken[20] ^= 1;
    assert_eq!(refusal(&broken), Violation::Checksum);
}

#[test]
fn what_is_written_is_what_the_specification_says() {
    let mut out = b"before".to_vec();
    let tls = ClientTls {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        is_resumed: false,
        certificate: Some(ClientCertificate {
            common_name: Some("alice"),
            subject: Some("/CN=alice"),
        }),
    };
    write_v2(&mut out, tcp4_origin(), Some(&tls));
    let ssl = [
        &[7, 0, 0, 0, 0][..],
        b"\x21\0\x07TLSv1.3",
        b"\x23\0\x16TLS_AES_128_GCM_SHA256",
        b"\x22\0\x05alice",
    ]
    .concat();
    let values = [
        &[0x20, 0, ssl.len() as u8],
        &ssl[..],
        b"\xe5\0\x09/CN=alice",
    ]
    .concat();
    assert_eq!(out, [b"before", &tcp4(&values)[..]].concat());
}

#[test]
fn flags_tell_whether_a_certificate_was_shown_and_when() {
    let flags = |has_certificate: bool, is_resumed| {
        let certificate = ClientCertificate {
            common_name: None,
            subject: None,
        };
        let tls = ClientTls {
            version: "TLSv1.2",
            cipher: "",
            is_resumed,
            certificate: has_certificate.then_some(certificate),
        };
        let mut out = Vec::new();
        write_v2(&mut out, tcp4_origin(), Some(&tls));
        let value = &out[PREFIX_LEN + 12 + 3..];
        (
            value[0],
            u32::from_be_bytes([value[1], value[2], value[3], value[4]]),
        )
    };
    assert_eq!(flags(false, false), (CLIENT_SSL, 1));
    assert_eq!(flags(false, true), (CLIENT_SSL, 1));
    assert_eq!(flags(true, false), (CLIENT_SSL | CERT_CONN | CERT_SESS, 0));
    assert_eq!(flags(true, true), (CLIENT_SSL | CERT_SESS, 0));
}

const CLIENT_SSL: u8 = 1;
const CERT_CONN: u8 = 2;
const CERT_SESS: u8 = 4;

#[test]
fn what_is_written_is_read_again() {
    let mapped = relayed("[::ffff:192.0.2.7]:50000", "192.0.2.1:3306");
    let mixed = relayed("192.0.2.7:1", "[2001:db8::1]:2");
    for (origin, again) in [
        (Origin::Sender, Origin::Sender),
        (Origin::Unknown, Origin::Unknown),
        (mapped, tcp4_origin()),
        (mixed, relayed("[::ffff:192.0.2.7]:1", "[2001:db8::1]:2")),
    ] {
        let mut out = Vec::new();
        write_v2(&mut out, origin, None);
        assert_eq!(decode(&out), (Ok(Some(again)), &[][..]));
    }
}

#[test]
fn long_names_are_left_out_and_the_longest_fit() {
    let name = "n".repeat(PROXY_TEXT_LEN_MAX + 1);
    let write = |len: usize| {
        let tls = ClientTls {
            version: &name[..len],
            cipher: &name[..len],
            is_resumed: false,
            certificate: Some(ClientCertificate {
                common_name: Some(&name[..len]),
                subject: Some(&name[..len]),
            }),
        };
        let mut out = Vec::new();
        write_v2(&mut out, relayed("[::1]:1", "[::2]:2"), Some(&tls));
        assert!(decode(&out).0.unwrap().is_some());
        out.len()
    };
    let fixed_len = PREFIX_LEN + 36 + 3 + 5;
    assert_eq!(write(PROXY_TEXT_LEN_MAX + 1), fixed_len);
    assert_eq!(
        write(PROXY_TEXT_LEN_MAX),
        fixed_len + 4 * (3 + PROXY_TEXT_LEN_MAX)
    );
}
