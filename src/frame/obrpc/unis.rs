//! The serialization of arguments and results: integers of variable length, objects that carry a
//! version and their length, so that a reader skips what it does not know and does without what is
//! not there.

use crate::wire::{Reader, Writer};

use super::violation::Violation;

/// Reads what OceanBase calls UNIS.
pub(super) trait UnisRead<'a>: Sized {
    /// A 32-bit integer. A negative one takes five bytes.
    fn vi32(&mut self) -> Option<i32>;
    /// A 64-bit integer. A negative one takes ten bytes.
    fn vi64(&mut self) -> Option<i64>;
    /// Bytes behind their length; a NUL that does not count follows.
    fn string(&mut self) -> Option<&'a [u8]>;
    /// Bytes behind their length, which counts the NUL at their end.
    fn c_string(&mut self) -> Option<&'a [u8]>;
    /// An object's members.
    fn object(&mut self) -> Result<Self, Violation>;
    /// Elements behind their number, which is at most `count_max`.
    fn list<T>(
        &mut self,
        count_max: usize,
        read: impl FnMut(&mut Self) -> Result<T, Violation>,
    ) -> Result<Vec<T>, Violation>;
    /// A member, or its default where the sender's object ends before it.
    fn member<T: Default>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Violation>;
}

impl<'a> UnisRead<'a> for Reader<'a> {
    fn vi32(&mut self) -> Option<i32> {
        let mut ahead = *self;
        let value = u32::try_from(ahead.varint()?).ok()?;
        *self = ahead;
        Some(value.cast_signed())
    }

    fn vi64(&mut self) -> Option<i64> {
        self.varint().map(u64::cast_signed)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::try_from(ahead.varint()?).ok()?;
        let bytes = ahead.take(len)?;
        ahead.take(1)?;
        *self = ahead;
        Some(bytes)
    }

    fn c_string(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::try_from(ahead.varint()?).ok()?;
        let bytes = ahead.take(len)?;
        *self = ahead;
        Some(bytes.strip_suffix(&[0]).unwrap_or(bytes))
    }

    fn object(&mut self) -> Result<Self, Violation> {
        let version = self.varint().ok_or(OBJECT)?;
        let len = self.varint().ok_or(OBJECT)?;
        let members = usize::try_from(len)
            .ok()
            .and_then(|len| self.take(len))
            .ok_or(OBJECT)?;
        match version {
            VERSION => Ok(Self::new(members)),
            other => Err(Violation::Version(other)),
        }
    }

    fn list<T>(
        &mut self,
        count_max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Violation>,
    ) -> Result<Vec<T>, Violation> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let count = self.varint().ok_or(MEMBER)?;
        let len = usize::try_from(count).unwrap_or(usize::MAX);
        if len > count_max {
            return Err(Violation::TooLong {
                len,
                len_max: count_max,
            });
        }
        (0..len).map(|_| read(self)).collect()
    }

    fn member<T: Default>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Violation> {
        if self.is_empty() {
            return Ok(T::default());
        }
        read(self).ok_or(MEMBER)
    }
}

/// Writes it, as servers do: the lengths of objects are padded to five bytes.
pub(super) trait UnisWrite {
    /// See [`UnisRead::vi32`].
    fn vi32(&mut self, value: i32);
    /// See [`UnisRead::vi64`].
    fn vi64(&mut self, value: i64);
    /// See [`UnisRead::string`].
    fn string(&mut self, bytes: &[u8]);
    /// See [`UnisRead::c_string`].
    fn c_string(&mut self, bytes: &[u8]);
    /// See [`UnisRead::object`].
    fn object(&mut self, members: impl FnOnce(&mut Self));
    /// See [`UnisRead::list`].
    fn list<T>(&mut self, elements: &[T], write: impl FnMut(&mut Self, &T));
}

impl UnisWrite for Writer<'_> {
    fn vi32(&mut self, value: i32) {
        self.varint(value.cast_unsigned().into());
    }

    fn vi64(&mut self, value: i64) {
        self.varint(value.cast_unsigned());
    }

    fn string(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
        self.u8(0);
    }

    fn c_string(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64 + 1);
        self.bytes(bytes);
        self.u8(0);
    }

    fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.varint(VERSION);
        let hole = self.reserve();
        members(self);
        let len = self.len_since(&hole);
        self.fill(hole, padded(len));
    }

    fn list<T>(&mut self, elements: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.varint(elements.len() as u64);
        for element in elements {
            write(self, element);
        }
    }
}

/// A variable-length integer of five bytes: up to 32 GiB.
fn padded(value: usize) -> [u8; 5] {
    let bits = |shift: u32| (value >> shift) as u8;
    [
        bits(0) | 0x80,
        bits(7) | 0x80,
        bits(14) | 0x80,
        bits(21) | 0x80,
        bits(28) & 0x7f,
    ]
}

const VERSION: u64 = 1;

const OBJECT: Violation = Violation::Malformed("a serialized object");

const MEMBER: Violation = Violation::Malformed("a member of a serialized object");

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn negative_integers_take_the_bytes_of_their_width() {
        assert_eq!(written(|w| w.vi32(-4174)), [0xb2, 0xdf, 0xff, 0xff, 0x0f]);
        assert_eq!(written(|w| w.vi64(-1)).len(), 10);
        for value in [0, 1, -1, i32::MIN, i32::MAX] {
            let bytes = written(|w| w.vi32(value));
            assert_eq!(Reader::new(&bytes).vi32(), Some(value));
        }
        for value in [0, -1, i64::MIN, i64::MAX] {
            let bytes = written(|w| w.vi64(value));
            assert_eq!(Reader::new(&bytes).vi64(), Some(value));
        }
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).vi32(), None);
    }

    #[test]
    fn strings_have_their_nul_outside_or_inside() {
        assert_eq!(written(|w| w.string(b"ab")), b"\x02ab\0");
        assert_eq!(written(|w| w.c_string(b"ab")), b"\x03ab\0");
        assert_eq!(Reader::new(b"\x02ab\0").string(), Some(&b"ab"[..]));
        assert_eq!(Reader::new(b"\x03ab\0").c_string(), Some(&b"ab"[..]));
        for short in [&b"\x02a"[..], b"\x02ab", b"\xff\xff\xff\xff\x0fab\0"] {
            let mut reader = Reader::new(short);
            assert_eq!(reader.string(), None);
            assert_eq!(reader.rest(), short);
        }
    }

    #[test]
    fn objects_are_skipped_by_their_length_and_end_where_their_sender_ended() {
        let bytes = written(|w| {
            w.object(|w| {
                w.vi64(7);
                w.bytes(b"from the future");
            });
            w.u8(9);
        });
        assert_eq!(bytes[..6], [1, 0x90, 0x80, 0x80, 0x80, 0]);
        let mut reader = Reader::new(&bytes);
        let mut members = reader.object().unwrap();
        assert_eq!(members.member(Reader::vi64).unwrap(), 7);
        assert_eq!(reader.u8(), Some(9));

        let mut short = Reader::new(&[1, 1, 7]).object().unwrap();
        assert_eq!(short.member(Reader::vi64).unwrap(), 7);
        assert_eq!(short.member(Reader::vi64).unwrap(), 0);
        let cut = Reader::new(&[1, 1, 0x80]).object().unwrap();
        assert!({ cut }.member(Reader::vi64).is_err());
    }

    #[test]
    fn lengths_and_versions_that_lie_are_refused() {
        assert_eq!(
            Reader::new(&[2, 0]).object().unwrap_err(),
            Violation::Version(2)
        );
        assert!(Reader::new(&[1, 2, 0]).object().is_err());
        assert!(Reader::new(&[1]).object().is_err());
        let many = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let error = UnisRead::list(&mut Reader::new(&many), 10, |_| Ok(())).unwrap_err();
        assert!(matches!(error, Violation::TooLong { len_max: 10, .. }));
    }
}
