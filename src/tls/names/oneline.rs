//! Distinguished names as OpenSSL's `X509_NAME_oneline` writes them, which is what REQUIRE ISSUER
//! and REQUIRE SUBJECT are compared with.

use std::fmt::Write;

use crate::tls::der::{self, Elements};

/// Whose oneline names are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Oneline {
    /// OpenSSL 3: members of one RDN are joined by `+`, and `/` and `+` in values follow a
    /// backslash.
    #[default]
    OpenSsl3,
    /// OpenSSL 1: everything is joined by `/` and nothing is escaped, so that two names may read
    /// the same.
    OpenSsl1,
}

/// One attribute of a name.
#[derive(Clone, Copy, Debug)]
pub(in crate::tls) struct Attribute<'a> {
    /// The RDN that it is a member of, counted from zero.
    rdn: usize,
    oid: &'a [u8],
    tag: u8,
    value: &'a [u8],
}

/// The attributes of a Name in DER, in its order; `None` where it is not that of one that OpenSSL
/// reads.
pub(in crate::tls) fn attributes(name: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut rdns = Elements::new(der::only(name, der::SEQUENCE)?);
    let mut attributes = Vec::new();
    let mut rdn = 0;
    while !rdns.is_empty() {
        let mut members = Elements::new(rdns.expect(der::SET)?);
        while !members.is_empty() {
            attributes.push(Attribute::read(rdn, members.expect(der::SEQUENCE)?)?);
        }
        rdn += 1;
    }
    Some(attributes)
}

/// A Name in DER on one line; `None` where it is not the DER of one that OpenSSL reads. The result
/// is ASCII.
pub(in crate::tls) fn oneline(name: &[u8], style: Oneline) -> Option<String> {
    let mut text = String::new();
    let mut rdn_before = None;
    for attribute in attributes(name)? {
        let is_joined = style == Oneline::OpenSsl3 && rdn_before == Some(attribute.rdn);
        text.push(if is_joined { '+' } else { '/' });
        text.push_str(&attribute.kind()?);
        text.push('=');
        for byte in attribute.value {
            push_byte(&mut text, *byte, style);
        }
        rdn_before = Some(attribute.rdn);
    }
    Some(text)
}

fn push_byte(text: &mut String, byte: u8, style: Oneline) {
    match byte {
        b'/' | b'+' if style == Oneline::OpenSsl3 => text.extend(['\\', char::from(byte)]),
        b' '..=b'~' => text.push(char::from(byte)),
        // Writing to a string cannot fail.
        _ => _ = write!(text, "\\x{byte:02X}"),
    }
}

impl<'a> Attribute<'a> {
    fn read(rdn: usize, body: &'a [u8]) -> Option<Self> {
        let mut parts = Elements::new(body);
        let oid = parts.expect(der::OBJECT_IDENTIFIER)?;
        let value = parts.next()?;
        let is_whole = parts.is_empty();
        let value_body = match value.tag {
            der::NUMERIC_STRING | der::PRINTABLE_STRING | der::T61_STRING | der::IA5_STRING => {
                value.body
            }
            der::UTF8_STRING if std::str::from_utf8(value.body).is_ok() => value.body,
            der::BMP_STRING if units::<2>(value.body).is_some() => value.body,
            der::UNIVERSAL_STRING if units::<4>(value.body).is_some() => value.body,
            // The first byte counts the bits at the end that do not belong to the value: none, as a
            // rule.
            der::BIT_STRING => value.body.strip_prefix(&[0])?,
            _ => return None,
        };
        is_whole.then_some(Self {
            rdn,
            oid,
            tag: value.tag,
            value: value_body,
        })
    }

    /// True for a common name.
    pub(in crate::tls) fn is_common_name(&self) -> bool {
        self.oid == COMMON_NAME
    }

    /// The value as text; `None` where it is not text of its own kind, or has a NUL inside, behind
    /// which C programs read no further.
    pub(in crate::tls) fn text(&self) -> Option<String> {
        let text = match self.tag {
            der::UTF8_STRING => String::from_utf8(self.value.to_vec()).ok()?,
            der::T61_STRING => self.value.iter().copied().map(char::from).collect(),
            der::BMP_STRING => units::<2>(self.value)?,
            der::UNIVERSAL_STRING => units::<4>(self.value)?,
            _ if self.value.is_ascii() => String::from_utf8(self.value.to_vec()).ok()?,
            _ => return None,
        };
        (!text.contains('\0')).then_some(text)
    }

    /// OpenSSL's short name of the attribute's type, or its dotted form.
    fn kind(&self) -> Option<String> {
        short_name(self.oid)
    }
}

/// OpenSSL's short name of an object identifier, or its dotted form; `None` where it is not well
/// formed.
pub(in crate::tls) fn short_name(oid: &[u8]) -> Option<String> {
    let dotted = dotted(oid)?;
    let known = OBJECTS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(oid, _)| *oid == dotted);
    Some(match known {
        Some((_, short_name)) => short_name.to_owned(),
        // OpenSSL writes it to a buffer of this size.
        None => dotted.chars().take(DOTTED_LEN_MAX).collect(),
    })
}

/// Text of characters of `N` bytes each; `None` where one is cut off or no character.
fn units<const N: usize>(value: &[u8]) -> Option<String> {
    let (units, rest) = value.as_chunks::<N>();
    if !rest.is_empty() {
        return None;
    }
    let codes = units.iter().map(|unit| {
        unit.iter()
            .fold(0, |code, byte| code << 8 | u32::from(*byte))
    });
    codes.map(char::from_u32).collect()
}

/// An object identifier in dotted form; `None` where it is not well formed.
fn dotted(oid: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut number: u128 = 0;
    let mut is_at_start = true;
    for byte in oid {
        if is_at_start && *byte == 0x80 {
            return None;
        }
        number = number.checked_mul(128)? | u128::from(byte & 0x7f);
        is_at_start = byte & 0x80 == 0;
        if is_at_start {
            push_number(&mut text, number);
            number = 0;
        }
    }
    (is_at_start && !text.is_empty()).then_some(text)
}

/// The first number holds two: 40 times the first, which is at most 2, and the second.
fn push_number(text: &mut String, number: u128) {
    // Writing to a string cannot fail.
    _ = if text.is_empty() {
        let first = (number / 40).min(2);
        write!(text, "{first}.{}", number - 40 * first)
    } else {
        write!(text, ".{number}")
    };
}

/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Every object that OpenSSL 3.0 has a name for (`openssl list -objects`): object identifier, short
/// name. Those that are found in names come first.
const OBJECTS: &str = include_str!("objects.txt");

/// Characters of an object identifier that OpenSSL keeps.
const DOTTED_LEN_MAX: usize = 79;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_are_dotted() {
        assert_eq!(dotted(&[0x55, 4, 3]).unwrap(), "2.5.4.3");
        assert_eq!(
            dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]).unwrap(),
            "1.2.840.113549.1.9.1"
        );
        assert_eq!(dotted(&[0x88, 0x37]).unwrap(), "2.999");
        for wrong in [&[][..], &[0x55, 0x84], &[0x55, 0x80, 1], &[0xff; 40]] {
            assert_eq!(dotted(wrong), None, "{wrong:02x?}");
        }
    }

    #[test]
    fn rubbish_is_no_name() {
        assert!(attributes(&[]).is_none());
        assert!(attributes(&[0x30, 2, 0x31]).is_none());
        assert!(attributes(&[0x30, 4, 0x31, 2, 0x30, 0]).is_none());
        assert_eq!(oneline(&[0x30, 0], Oneline::OpenSsl3).unwrap(), "");
    }
}
