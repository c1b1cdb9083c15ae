use std::ops::BitOr;

use crc::{Algorithm, CRC_16_ARC, CRC_32_ISCSI, Crc, Digest, Table};

use crate::error::Result;
use crate::wire::{Reader, Writer};

use super::packet::{Partial, take_up_to};
use super::violation::Violation;

/// The header of a frame of OceanBase's protocol 2.0, its outer header of a compressed frame
/// included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ob20Header {
    /// The sequence id of the outer header.
    pub compressed_sequence: u8,
    /// The thread id of the greeting.
    pub connection_id: u32,
    /// The request that the frame belongs to: 24 bits.
    pub request_id: u32,
    /// The frame's place in its request.
    pub sequence: u8,
    /// Length of the payload, extra info included, in bytes.
    pub payload_len: u32,
    /// What the payload is.
    pub flags: Ob20Flags,
}

impl Ob20Header {
    /// Reads a header. A checksum of 0 stands for none.
    ///
    /// # Errors
    ///
    /// Where magic, version, lengths or checksum are wrong, or the frame is compressed.
    pub fn decode(bytes: &[u8; OB20_HEADER_LEN]) -> Result<Self, Violation> {
        Self::read(bytes).ok_or(BROKEN)
    }

    fn read(bytes: &[u8; OB20_HEADER_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let compressed_len = reader.u24_le()?;
        let compressed_sequence = reader.u8()?;
        let plain_len = reader.u24_le()?;
        let magic = reader.u16_le()?;
        let version = reader.u16_le()?;
        let header = Self {
            compressed_sequence,
            connection_id: reader.u32_le()?,
            request_id: reader.u24_le()?,
            sequence: reader.u8()?,
            payload_len: reader.u32_le()?,
            flags: Ob20Flags::from_bits(reader.u32_le()?),
        };
        reader.u16_le()?;
        let checksum = reader.u16_le()?;

        let (covered, _) = bytes.split_last_chunk::<2>()?;
        let is_intact = checksum == 0 || checksum == HEADER_CRC.checksum(covered);
        let is_ob20 = plain_len == 0 && magic == MAGIC && version == VERSION;
        let frame_len = header.payload_len.checked_add(INNER_HEADER_AND_TAIL_LEN)?;
        (is_intact && is_ob20 && frame_len == compressed_len).then_some(header)
    }

    /// Appends the frame that carries `payload` behind `extra_info`. The header's length, and the
    /// flag that tells of extra info, are set to what is there.
    ///
    /// # Errors
    ///
    /// [`Violation::TooLong`] where it does not fit into a frame; nothing is written.
    pub fn write_frame(
        mut self,
        out: &mut Vec<u8>,
        extra_info: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(), Violation> {
        let len = payload.len() + extra_info.map_or(0, |extra| 4 + extra.len());
        if len > OB20_PAYLOAD_LEN_MAX {
            return Err(Violation::TooLong {
                len,
                len_max: OB20_PAYLOAD_LEN_MAX,
            });
        }
        self.payload_len = len as u32;
        if extra_info.is_some() {
            self.flags = self.flags | Ob20Flags::EXTRA_INFO;
        }

        let mut writer = Writer::new(out);
        self.write(&mut writer);
        let body = writer.position();
        if let Some(extra) = extra_info {
            writer.u32_le(extra.len() as u32);
            writer.bytes(extra);
        }
        writer.bytes(payload);
        let checksum = PAYLOAD_CRC.checksum(writer.since(body));
        writer.u32_le(checksum);
        Ok(())
    }

    fn write(&self, writer: &mut Writer<'_>) {
        let start = writer.position();
        writer.u24_le(self.payload_len + INNER_HEADER_AND_TAIL_LEN);
        writer.u8(self.compressed_sequence);
        writer.u24_le(0);
        writer.u16_le(MAGIC);
        writer.u16_le(VERSION);
        writer.u32_le(self.connection_id);
        writer.u24_le(self.request_id);
        writer.u8(self.sequence);
        writer.u32_le(self.payload_len);
        writer.u32_le(self.flags.bits());
        writer.u16_le(0);
        let checksum = HEADER_CRC.checksum(writer.since(start));
        writer.u16_le(checksum);
    }
}

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Ob20Flags(u32);

impl Ob20Flags {
    /// Extra info comes before the packets.
    pub const EXTRA_INFO: Self = Self(1);
    /// The last frame of an answer.
    pub const LAST: Self = Self(1 << 1);
    /// Extra info is of the newer format.
    pub const NEW_EXTRA_INFO: Self = Self(1 << 3);

    /// The flags with just these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// All bits, named or not.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// True where every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Ob20Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Takes the framing of protocol 2.0 off a stream of bytes: what comes out are ordinary packets, in
/// pieces as they came in. Nothing is held but headers.
#[derive(Clone, Default)]
pub struct Ob20Reader {
    header: Partial<OB20_HEADER_LEN>,
    frame: Option<Frame>,
}

#[derive(Clone)]
struct Frame {
    header: Ob20Header,
    checksum: Digest<'static, u32, Table<16>>,
    /// Bytes of the payload that are still to come.
    left: usize,
    extra_len: Partial<4>,
    /// Bytes of the extra info that are still to come, once its length is known.
    extra_left: Option<usize>,
    tail: Partial<4>,
}

impl Ob20Reader {
    /// Takes bytes from the front of `input` and gives the next piece of what they carry. `None`
    /// where `input` is used up.
    ///
    /// # Errors
    ///
    /// Where a frame is broken; the stream cannot be read on. A payload's checksum comes behind it:
    /// the pieces have been given by then.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Violation> {
        loop {
            let Some(frame) = &mut self.frame else {
                if !self.header.fill(OB20_HEADER_LEN, input) {
                    return Ok(None);
                }
                let header = Ob20Header::decode(self.header.array())?;
                self.frame = Some(Frame::new(header));
                continue;
            };
            if !frame.skip_extra(input)? {
                return Ok(None);
            }
            let piece = frame.take(input, frame.left);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if frame.left > 0 || !frame.tail.fill(4, input) {
                return Ok(None);
            }
            let told = u32::from_le_bytes(*frame.tail.array());
            if told != 0 && told != frame.checksum.clone().finalize() {
                return Err(BROKEN);
            }
            *self = Self::default();
        }
    }

    /// True where the last frame has been read to its end and nothing of a next one has come.
    pub fn is_between_frames(&self) -> bool {
        self.frame.is_none() && self.header.bytes().is_empty()
    }

    /// The header of the frame that is being read.
    pub fn header(&self) -> Option<&Ob20Header> {
        self.frame.as_ref().map(|frame| &frame.header)
    }
}

impl std::fmt::Debug for Ob20Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ob20Reader({:?})", self.header())
    }
}

impl Frame {
    fn new(header: Ob20Header) -> Self {
        let has_extra = header.flags.contains(Ob20Flags::EXTRA_INFO);
        Self {
            header,
            checksum: PAYLOAD_CRC.digest(),
            left: header.payload_len as usize,
            extra_len: Partial::default(),
            extra_left: (!has_extra).then_some(0),
            tail: Partial::default(),
        }
    }

    /// True where all of the extra info lies behind.
    fn skip_extra(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        let extra_left = match self.extra_left {
            Some(extra_left) => extra_left,
            None => {
                let missing = 4 - self.extra_len.bytes().len();
                let mut piece = self.take(input, missing);
                if !self.extra_len.fill(4, &mut piece) {
                    return match self.left {
                        0 => Err(BROKEN),
                        _ => Ok(false),
                    };
                }
                let len = u32::from_le_bytes(*self.extra_len.array()) as usize;
                if len > self.left {
                    return Err(BROKEN);
                }
                len
            }
        };
        let skipped = self.take(input, extra_left).len();
        self.extra_left = Some(extra_left - skipped);
        Ok(extra_left == skipped)
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], len: usize) -> &'a [u8] {
        let piece = take_up_to(input, len.min(self.left));
        self.left -= piece.len();
        self.checksum.update(piece);
        piece
    }
}

/// Length of the two headers of a frame, in bytes.
pub(super) const OB20_HEADER_LEN: usize = 7 + 24;

/// The longest payload of a frame, in bytes: what the outer header can tell, without inner header
/// and tail.
const OB20_PAYLOAD_LEN_MAX: usize = 0xff_ffff - 28;

const INNER_HEADER_AND_TAIL_LEN: u32 = 24 + 4;

const MAGIC: u16 = 0x20ab;
const VERSION: u16 = 20;

const BROKEN: Violation = Violation::Malformed("a frame of OceanBase's protocol 2.0");

static HEADER_CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);

/// CRC-32C by its polynomial, but without the inversions before and after.
const PLAIN_CRC_32C: Algorithm<u32> = Algorithm {
    init: 0,
    xorout: 0,
    check: 0x58e3_fa20,
    residue: 0,
    ..CRC_32_ISCSI
};

static PAYLOAD_CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&PLAIN_CRC_32C);

#[cfg(test)]
mod tests {
    use super::*;

    /// COM_PING as the only frame of request 5.
    const PING: &str = "21000000000000ab201400040302010500000005000000020000000000\
                        61da010000000e8bd06994";

    fn unhex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn header() -> Ob20Header {
        Ob20Header {
            connection_id: 0x0102_0304,
            request_id: 5,
            flags: Ob20Flags::LAST,
            ..Ob20Header::default()
        }
    }

    /// What comes out of `stream` cut into pieces of `piece_len`.
    fn read(stream: &[u8], piece_len: usize) -> Result<Vec<u8>, Violation> {
        let mut reader = Ob20Reader::default();
        let mut out = Vec::new();
        for mut piece in stream.chunks(piece_len) {
            while let Some(plain) = reader.next(&mut piece)? {
                out.extend_from_slice(plain);
            }
        }
        assert_eq!(
            reader.is_between_frames(),
            reader.header().is_none() && reader.header.bytes().is_empty()
        );
        Ok(out)
    }

    #[test]
    fn checksums_have_their_check_values() {
        assert_eq!(HEADER_CRC.checksum(b"123456789"), 0xbb3d);
        assert_eq!(PAYLOAD_CRC.checksum(b"123456789"), 0x58e3_fa20);
    }

    #[test]
    fn the_known_frame_is_written_and_read() {
        let mut out = Vec::new();
        let ping = [1, 0, 0, 0, 0x0e];
        header().write_frame(&mut out, None, &ping).unwrap();
        assert_eq!(out, unhex(PING));
        for piece_len in 1..=out.len() {
            assert_eq!(read(&out, piece_len).unwrap(), ping);
        }
    }

    #[test]
    fn extra_info_is_skipped_wherever_it_is_cut() {
        let mut stream = Vec::new();
        for (extra, payload) in [
            (Some(&b"session state"[..]), &b"one"[..]),
            (Some(b""), b"two"),
            (None, b""),
            (Some(b"x"), b""),
            (None, b"three"),
        ] {
            header().write_frame(&mut stream, extra, payload).unwrap();
        }
        for piece_len in 1..=stream.len() {
            assert_eq!(read(&stream, piece_len).unwrap(), b"onetwothree");
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let mut frame = Vec::new();
        header()
            .write_frame(&mut frame, Some(b"extra"), b"payload")
            .unwrap();
        for bit in 0..8 * frame.len() {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed, changed.len()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn checksums_of_zero_are_none() {
        let mut frame = unhex(PING);
        frame[29..31].fill(0);
        frame[36..].fill(0);
        assert_eq!(read(&frame, 40).unwrap(), [1, 0, 0, 0, 0x0e]);
    }

    #[test]
    fn extra_info_longer_than_the_payload_is_refused() {
        let mut frame = Vec::new();
        let flagged = Ob20Header {
            flags: Ob20Flags::EXTRA_INFO,
            ..header()
        };
        flagged
            .write_frame(&mut frame, None, &[9, 0, 0, 0, 1])
            .unwrap();
        assert!(read(&frame, frame.len()).is_err());
        frame.clear();
        flagged.write_frame(&mut frame, None, &[0, 0, 0]).unwrap();
        assert!(read(&frame, frame.len()).is_err());
    }

    #[test]
    fn what_fits_no_frame_is_not_written() {
        let mut out = Vec::new();
        let payload = vec![0; OB20_PAYLOAD_LEN_MAX + 1];
        assert!(header().write_frame(&mut out, None, &payload).is_err());
        assert!(out.is_empty());
        header().write_frame(&mut out, None, &payload[1..]).unwrap();
        assert_eq!(read(&out, out.len()).unwrap().len(), OB20_PAYLOAD_LEN_MAX);
    }
}
