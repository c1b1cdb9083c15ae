//! DER (X.690) as far as names and keys need it: one element after another, nothing copied, nothing
//! recursive.

/// Elements that follow one another. Every read either succeeds whole or returns `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
    /// Tag, length and body.
    pub(super) whole: &'a [u8],
}

pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const NUMERIC_STRING: u8 = 0x12;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const T61_STRING: u8 = 0x14;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const UNIVERSAL_STRING: u8 = 0x1c;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element: a tag of one byte, a definite length in as few bytes as it needs.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.rest.split_first()?;
        if tag & HIGH_TAG == HIGH_TAG {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => long_len(rest, usize::from(first & 0x7f))?,
            _ => return None,
        };
        let (body, rest) = rest.split_at_checked(len)?;
        let whole = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(Element { tag, body, whole })
    }

    /// The next element's body where it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element.body)
    }
}

/// The body of the only element of `bytes`, which must have this tag.
pub(super) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut elements = Elements::new(bytes);
    let body = elements.expect(tag)?;
    elements.is_empty().then_some(body)
}

fn long_len(bytes: &[u8], len_len: usize) -> Option<(usize, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(len_len)?;
    let len = digits
        .iter()
        .try_fold(0_usize, |len, digit| {
            len.checked_mul(256)?.checked_add(usize::from(*digit))
        })
        .filter(|len| *len > 0x7f && digits.first() != Some(&0))?;
    Some((len, rest))
}

/// A tag number above 30, in several bytes; nothing in a certificate has one.
const HIGH_TAG: u8 = 0x1f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_follow_one_another() {
        let mut elements = Elements::new(&[0x0c, 1, b'a', 0x13, 0, 0x30, 0x81]);
        assert_eq!(elements.expect(PRINTABLE_STRING), None);
        assert_eq!(elements.expect(UTF8_STRING), Some(&b"a"[..]));
        assert_eq!(elements.expect(PRINTABLE_STRING), Some(&[][..]));
        assert!(elements.next().is_none());
        assert!(!elements.is_empty());
    }

    #[test]
    fn lengths_are_definite_minimal_and_within_the_input() {
        let mut long = vec![0x30, 0x81, 0x80];
        long.extend([0; 0x80]);
        assert_eq!(only(&long, SEQUENCE).map(<[u8]>::len), Some(0x80));
        let wrong: [&[u8]; 6] = [
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 1, 0],
            &[0x30, 0x82, 0, 0x80],
            &[0x30, 2, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x20, 0],
        ];
        for bytes in wrong {
            assert_eq!(only(bytes, bytes[0]), None, "{bytes:02x?}");
        }
        assert_eq!(only(&[0x30, 0, 0], SEQUENCE), None);
    }
}
