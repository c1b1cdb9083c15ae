//! Bounded reading and writing of wire formats: what is not there cannot be read, and nothing
//! panics.

/// A cursor over received bytes. Every read either succeeds whole or returns `None` and moves
/// nothing.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes not read yet.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True where all was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    /// Everything that was not read yet.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Three bytes, most significant first.
    pub fn u24_be(&mut self) -> Option<u32> {
        self.array()
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Two bytes, most significant first.
    pub fn u16_be(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, most significant first.
    pub fn u32_be(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, most significant first.
    pub fn u64_be(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Two bytes, least significant first.
    pub fn u16_le(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes, least significant first.
    pub fn u24_le(&mut self) -> Option<u32> {
        self.array()
            .map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, least significant first.
    pub fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, least significant first.
    pub fn u64_le(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// MySQL's length-encoded integer. 0xFB (NULL) and 0xFF (an error packet) are none.
    pub fn lenenc(&mut self) -> Option<u64> {
        let mut ahead = *self;
        let value = match ahead.u8()? {
            0xfc => ahead.u16_le()?.into(),
            0xfd => ahead.u24_le()?.into(),
            0xfe => ahead.u64_le()?,
            0xfb | 0xff => return None,
            small => small.into(),
        };
        *self = ahead;
        Some(value)
    }

    /// Bytes behind their length-encoded length.
    pub fn lenenc_bytes(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = ahead.lenenc()?;
        let taken = ahead.take(usize::try_from(len).ok()?)?;
        *self = ahead;
        Some(taken)
    }

    /// OceanBase's variable-length integer (LEB128), in its shortest form or padded with zeros up
    /// to ten bytes.
    pub fn varint(&mut self) -> Option<u64> {
        let mut ahead = *self;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = ahead.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits > u64::MAX >> shift {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                *self = ahead;
                return Some(value);
            }
        }
        None
    }

    /// Bytes up to a NUL, which is read as well and not part of the result.
    pub fn nul_bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.bytes.iter().position(|&byte| byte == 0)?;
        let taken = self.take(len)?;
        self.take(1)?;
        Some(taken)
    }
}

/// Appends wire formats to a buffer of its caller.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

/// `N` bytes that [`Writer::reserve`] left open, to be filled when what follows them is known.
#[derive(Debug)]
#[must_use = "the reserved bytes stay zero until they are filled"]
pub struct Hole<const N: usize> {
    start: usize,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// `len` zero bytes.
    pub fn zeros(&mut self, len: usize) {
        self.out.resize(self.out.len() + len, 0);
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Two bytes, most significant first.
    pub fn u16_be(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Four bytes, most significant first.
    pub fn u32_be(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Eight bytes, most significant first.
    pub fn u64_be(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Two bytes, least significant first.
    pub fn u16_le(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// Three bytes, least significant first: the low 24 bits of `value`.
    pub fn u24_le(&mut self, value: u32) {
        let [a, b, c, _] = value.to_le_bytes();
        self.bytes(&[a, b, c]);
    }

    /// Four bytes, least significant first.
    pub fn u32_le(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Eight bytes, least significant first.
    pub fn u64_le(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// MySQL's length-encoded integer, in its shortest form.
    pub fn lenenc(&mut self, value: u64) {
        let [a, b, c, ..] = value.to_le_bytes();
        match value {
            0..=0xfa => self.u8(a),
            0xfb..=0xffff => self.bytes(&[0xfc, a, b]),
            0x1_0000..=0xff_ffff => self.bytes(&[0xfd, a, b, c]),
            _ => {
                self.u8(0xfe);
                self.u64_le(value);
            }
        }
    }

    /// Bytes behind their length-encoded length.
    pub fn lenenc_bytes(&mut self, bytes: &[u8]) {
        self.lenenc(bytes.len() as u64);
        self.bytes(bytes);
    }

    /// OceanBase's variable-length integer (LEB128), in its shortest form.
    pub fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }

    /// Bytes and a NUL behind them. What follows a NUL inside of `bytes` is left out, since a
    /// reader would take it for the next field.
    pub fn nul_bytes(&mut self, bytes: &[u8]) {
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        self.bytes(text);
        self.u8(0);
    }

    /// Leaves `N` bytes open.
    pub fn reserve<const N: usize>(&mut self) -> Hole<N> {
        let start = self.out.len();
        self.zeros(N);
        Hole { start }
    }

    /// Bytes written behind `hole` so far.
    pub fn len_since<const N: usize>(&self, hole: &Hole<N>) -> usize {
        self.out.len().saturating_sub(hole.start + N)
    }

    /// The place that is written next, for [`Writer::since`].
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// What was written from `position` on.
    pub fn since(&self, position: usize) -> &[u8] {
        self.out.get(position..).unwrap_or_default()
    }

    /// Makes what was written from `position` on `len` bytes long: cut off, or filled up with
    /// zeros.
    pub fn fit(&mut self, position: usize, len: usize) {
        self.out.resize(position.saturating_add(len), 0);
    }

    /// Fills what was left open.
    pub fn fill<const N: usize>(&mut self, hole: Hole<N>, value: [u8; N]) {
        if let Some(open) = self
            .out
            .get_mut(hole.start..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *open = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_fails_moves_nothing() {
        let mut reader = Reader::new(&[1, 0, 0, 2, 9]);
        assert_eq!(reader.u8(), Some(1));
        assert_eq!(reader.u24_be(), Some(2));
        assert_eq!(reader.take(2), None);
        assert_eq!(reader.take(1), Some(&[9][..]));
        assert!(reader.is_empty());
        assert_eq!(reader.u8(), None);

        for short in [
            &[0xfc, 1][..],
            &[0xfd, 1, 2],
            &[0xfe, 1, 2, 3, 4, 5, 6, 7],
            &[3, 1, 2],
            &[0xfb],
            &[0xff],
        ] {
            let mut reader = Reader::new(short);
            assert_eq!(reader.lenenc_bytes(), None);
            assert_eq!(reader.nul_bytes(), None);
            assert_eq!(reader.rest(), short);
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let values = [
            0,
            0xfa,
            0xfb,
            0xffff,
            0x1_0000,
            0xff_ffff,
            0x100_0000,
            u64::MAX,
        ];
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for value in values {
            writer.lenenc(value);
        }
        writer.lenenc_bytes(b"bytes");
        writer.nul_bytes(b"text\0hidden");
        writer.u16_le(0x0201);
        writer.u24_le(0x03_0201);
        writer.u32_le(0x0403_0201);
        writer.u64_le(0x0807_0605_0403_0201);

        let mut reader = Reader::new(&out);
        for value in values {
            assert_eq!(reader.lenenc(), Some(value));
        }
        assert_eq!(reader.lenenc_bytes(), Some(&b"bytes"[..]));
        assert_eq!(reader.nul_bytes(), Some(&b"text"[..]));
        assert_eq!(reader.u16_le(), Some(0x0201));
        assert_eq!(reader.u24_le(), Some(0x03_0201));
        assert_eq!(reader.u32_le(), Some(0x0403_0201));
        assert_eq!(reader.u64_le(), Some(0x0807_0605_0403_0201));
        assert!(reader.is_empty());
    }

    #[test]
    fn varints_are_read_padded_or_not_and_never_beyond_64_bits() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[0x84, 0x80, 0x80, 0x80, 0], 4),
            (&[0xb2, 0xdf, 0xff, 0xff, 0x0f], 0xffff_efb2),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                u64::MAX,
            ),
            (
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
                0,
            ),
        ] {
            assert_eq!(Reader::new(bytes).varint(), Some(value), "{bytes:x?}");
        }
        for refused in [
            &[][..],
            &[0x80],
            &[0xff; 9],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0x80; 11],
        ] {
            let mut reader = Reader::new(refused);
            assert_eq!(reader.varint(), None, "{refused:x?}");
            assert_eq!(reader.rest(), refused);
        }
        for value in [0, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 63, u64::MAX] {
            let mut out = Vec::new();
            Writer::new(&mut out).varint(value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(), Some(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_hole_is_filled_where_it_was_left() {
        let mut out = vec![7];
        let mut writer = Writer::new(&mut out);
        let start = writer.position();
        let hole = writer.reserve();
        writer.bytes(b"abc");
        assert_eq!(writer.len_since(&hole), 3);
        assert_eq!(writer.since(start), b"\0\0abc");
        writer.fill(hole, [1, 2]);
        writer.fit(start, 6);
        assert_eq!(writer.since(start), b"\x01\x02abc\0");
        writer.fit(start, 3);
        assert_eq!(out, b"\x07\x01\x02a");
    }
}
