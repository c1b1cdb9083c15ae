//! Names on one line, compared with what OpenSSL writes.

use std::fs;
use std::process::Command;

use sealwire::tls::{Certificate, Oneline};

use crate::pki::pki;

/// An element in DER.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut element = vec![tag];
    match u16::try_from(body.len()).unwrap() {
        len @ 0..=0x7f => element.push(len as u8),
        len @ 0x80..=0xff => element.extend([0x81, len as u8]),
        len => element.extend([&[0x82][..], &len.to_be_bytes()].concat()),
    }
    element.extend(body);
    element
}

/// A certificate with these names and a signature that nobody looks at.
fn certificate(issuer: &[u8], subject: &[u8]) -> Vec<u8> {
    let ed25519 = element(0x30, &[&element(6, &[&[0x2b, 0x65, 0x70]])]);
    let day = element(0x17, &[b"260101000000Z"]);
    let key = element(0x30, &[&ed25519, &element(3, &[&[0; 33]])]);
    let body = element(
        0x30,
        &[
            &element(0xa0, &[&[2, 1, 2]]),
            &[2, 1, 1],
            &ed25519,
            issuer,
            &element(0x30, &[&day, &day]),
            subject,
            &key,
        ],
    );
    element(0x30, &[&body, &ed25519, &element(3, &[&[0; 65]])])
}

/// The same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % end
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn name(&mut self) -> Vec<u8> {
        let rdns: Vec<_> = (0..self.below(5)).map(|_| self.rdn()).collect();
        let rdns: Vec<_> = rdns.iter().map(Vec::as_slice).collect();
        element(0x30, &rdns)
    }

    fn rdn(&mut self) -> Vec<u8> {
        let len = 1 + self.below(3);
        let members: Vec<_> = (0..len).map(|_| self.attribute()).collect();
        let members: Vec<_> = members.iter().map(Vec::as_slice).collect();
        element(0x31, &members)
    }

    fn attribute(&mut self) -> Vec<u8> {
        let oid = element(6, &[self.pick(OIDS)]);
        let tag = TAGS[self.below(TAGS.len())];
        let text: String = (0..self.below(6))
            .map(|_| *self.pick(&CHARS.each_ref()))
            .collect();
        let value: Vec<u8> = match tag {
            0x0c => text.into_bytes(),
            0x1e => text
                .encode_utf16()
                .filter(|unit| !(0xd800..0xe000).contains(unit))
                .flat_map(u16::to_be_bytes)
                .collect(),
            0x1c => text
                .chars()
                .flat_map(|c| u32::from(c).to_be_bytes())
                .collect(),
            0x03 => [&[0][..], text.as_bytes()].concat(),
            _ => text.chars().map(|c| c as u8).collect(),
        };
        element(0x30, &[&oid, &element(tag, &[&value])])
    }
}

const OIDS: &[&[u8]] = &[
    &[0x55, 4, 3],
    &[0x55, 4, 6],
    &[0x55, 4, 10],
    &[0x55, 4, 11],
    &[0x55, 4, 9],
    &[0x55, 4, 45],
    &[0x55, 4, 97],
    // emailAddress
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
    // UID, DC
    &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
    &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
    // jurisdictionC
    &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x3c, 2, 1, 3],
    // INN, whose OpenSSL name is not one of X.520's.
    &[0x2a, 0x85, 0x03, 0x03, 0x81, 0x03, 1, 1],
    // sha256, which names no attribute at all.
    &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1],
    // Unknown ones: small, with large numbers, and longer than OpenSSL's buffer.
    &[0x55, 4, 0x7f],
    &[0x2b, 6, 1, 4, 1, 0x83, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x88, 0x37, 1],
    &[
        0x2b, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff,
        0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff,
        0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f,
    ],
];

/// UTF8String, NumericString, PrintableString, T61String, IA5String, BMPString, UniversalString,
/// BIT STRING.
const TAGS: [u8; 8] = [0x0c, 0x12, 0x13, 0x14, 0x16, 0x1e, 0x1c, 0x03];

const CHARS: [char; 14] = [
    'a', 'Z', '0', ' ', '/', '+', '=', '\\', '~', '\0', '\u{7f}', 'é', '测', '\n',
];

#[test]
fn names_on_one_line_are_those_of_openssl() {
    let Some(pki) = pki() else { return };
    let mut numbers = Numbers(1);
    let mut names: Vec<_> = (0..150).map(|_| (numbers.name(), numbers.name())).collect();
    for oid in OIDS {
        let attribute = element(0x30, &[&element(6, &[oid]), &element(0x0c, &[b"x"])]);
        let name = element(0x30, &[&element(0x31, &[&attribute])]);
        names.push((name.clone(), name));
    }
    for (issuer, subject) in names {
        let der = certificate(&issuer, &subject);
        let path = pki.path("x.der");
        fs::write(&path, &der).unwrap();
        let output = Command::new("openssl")
            .args(["x509", "-inform", "DER", "-noout", "-subject", "-issuer"])
            .args(["-nameopt", "compat", "-in"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let read = Certificate::from_der(&der).unwrap();
        let [subject, issuer] = [
            read.subject(Oneline::OpenSsl3),
            read.issuer(Oneline::OpenSsl3),
        ];
        let (Some(subject), Some(issuer)) = (subject, issuer) else {
            assert!(
                !output.status.success(),
                "OpenSSL reads {said}, and {read:02x?} is none"
            );
            continue;
        };
        assert_eq!(said, format!("subject={subject}\nissuer={issuer}\n"));
    }
}

#[test]
fn names_that_openssl_does_not_read_have_no_line() {
    let Some(pki) = pki() else { return };
    let values: [&[u8]; 7] = [
        &[0x0c, 1, 0xff],
        &[0x1e, 1, b'a'],
        &[0x1e, 2, 0xd8, 0],
        &[0x1c, 2, 0, 0],
        &[0x1b, 1, b'a'],
        &[0x1a, 1, b'a'],
        &[0x04, 1, b'a'],
    ];
    for value in values {
        let attribute = element(0x30, &[&element(6, &[&[0x55, 4, 3]]), value]);
        let name = element(0x30, &[&element(0x31, &[&attribute])]);
        let der = certificate(&name, &name);
        let path = pki.path("x.der");
        fs::write(&path, &der).unwrap();
        let output = Command::new("openssl")
            .args([
                "x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "compat", "-in",
            ])
            .arg(&path)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{value:02x?}: {output:?}");
        let line = Certificate::from_der(&der).and_then(|read| read.subject(Oneline::OpenSsl3));
        assert_eq!(line, None, "{value:02x?}");
    }
}

/// A name is as it was certified: what C programs would take for its end is not.
#[test]
fn a_nul_inside_a_common_name() {
    for (tag, value) in [
        (0x0c, &b"alice\0.evil"[..]),
        (0x13, b"alice\0"),
        (0x1e, b"\0a\0\0"),
    ] {
        let common_name = element(
            0x30,
            &[&element(6, &[&[0x55, 4, 3]]), &element(tag, &[value])],
        );
        let name = element(0x30, &[&element(0x31, &[&common_name])]);
        let der = certificate(&name, &name);
        let read = Certificate::from_der(&der).unwrap();
        assert_eq!(read.common_name(), None);
        assert!(read.subject(Oneline::OpenSsl3).unwrap().contains("\\x00"));
    }
}
