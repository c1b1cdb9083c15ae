use std::fmt;

use zeroize::Zeroizing;

use crate::error::Result;
use crate::wire::Writer;

use super::violation::Violation;

/// The header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow, at most [`PAYLOAD_LEN_MAX`].
    pub payload_len: u32,
    /// The sequence id.
    pub sequence: u8,
}

impl Header {
    /// Reads a header.
    pub fn decode([a, b, c, sequence]: [u8; HEADER_LEN]) -> Self {
        Self {
            payload_len: u32::from_le_bytes([a, b, c, 0]),
            sequence,
        }
    }

    /// The header's bytes.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, _] = self.payload_len.to_le_bytes();
        [a, b, c, self.sequence]
    }

    /// True where the next packet goes on with this one's content.
    pub fn is_continued(self) -> bool {
        self.payload_len as usize == PAYLOAD_LEN_MAX
    }
}

/// The sequence id that is due: it rises by one with every packet of either side, modulo 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence(pub u8);

impl Sequence {
    /// The id of the packet that is sent now.
    pub fn take(&mut self) -> u8 {
        let id = self.0;
        self.0 = id.wrapping_add(1);
        id
    }

    /// Takes note of a packet that was received with the id `got`.
    ///
    /// # Errors
    ///
    /// [`Violation::OutOfOrder`] where another id was due; then nothing moves.
    pub fn expect(&mut self, got: u8) -> Result<(), Violation> {
        let expected = self.0;
        if got != expected {
            return Err(Violation::OutOfOrder { expected, got });
        }
        self.take();
        Ok(())
    }
}

/// Appends a packet whose payload `write` writes, in as many parts as its length asks for.
pub fn write_packet(
    out: &mut Vec<u8>,
    sequence: &mut Sequence,
    write: impl FnOnce(&mut Writer<'_>),
) {
    let mut writer = Writer::new(out);
    let header = writer.reserve();
    write(&mut writer);
    let len = writer.len_since(&header);
    if len < PAYLOAD_LEN_MAX {
        writer.fill(header, short_header(len, sequence));
        return;
    }

    let payload = out.split_off(out.len() - len);
    out.truncate(out.len() - HEADER_LEN);
    let mut parts = payload.chunks(PAYLOAD_LEN_MAX).peekable();
    while let Some(part) = parts.next() {
        out.extend_from_slice(&short_header(part.len(), sequence));
        out.extend_from_slice(part);
        // The part that is not full ends the packet, so one that ends with a full part needs an
        // empty one.
        if parts.peek().is_none() && part.len() == PAYLOAD_LEN_MAX {
            out.extend_from_slice(&short_header(0, sequence));
        }
    }
}

fn short_header(payload_len: usize, sequence: &mut Sequence) -> [u8; HEADER_LEN] {
    let header = Header {
        payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
        sequence: sequence.take(),
    };
    header.encode()
}

/// A whole packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The sequence id.
    pub sequence: u8,
    /// What the packet carries.
    pub payload: &'a [u8],
}

/// Leaves the payload out, as it may hold a password.
impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({}, {} bytes)", self.sequence, self.payload.len())
    }
}

/// Puts packets of bounded length together, one at a time, from bytes in pieces of any size.
///
/// What it holds may be a password: the memory is overwritten when it is given up.
pub struct PacketAssembler {
    len_max: usize,
    header: Partial<HEADER_LEN>,
    payload: Zeroizing<Vec<u8>>,
}

impl PacketAssembler {
    /// Accepts payloads of up to `len_max` bytes. A packet in several parts is always too long:
    /// nothing of a login is.
    pub fn new(len_max: usize) -> Self {
        Self {
            len_max: len_max.min(PAYLOAD_LEN_MAX - 1),
            header: Partial::default(),
            payload: Zeroizing::default(),
        }
    }

    /// Takes bytes from the front of `input` up to the end of one packet, and not one byte beyond
    /// it: what follows may belong to TLS. `None` where the packet is not whole yet and `input` is
    /// used up.
    ///
    /// # Errors
    ///
    /// [`Violation::TooLong`]: the stream cannot be read on.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Packet<'_>>, Violation> {
        if self.is_delivered() {
            self.clear();
        }
        if !self.header.fill(HEADER_LEN, input) {
            return Ok(None);
        }
        let header = self.promised();
        let len = header.payload_len as usize;
        if len > self.len_max {
            return Err(Violation::TooLong {
                len,
                len_max: self.len_max,
            });
        }
        let piece = take_up_to(input, len.saturating_sub(self.payload.len()));
        self.append(piece, len);
        Ok((self.payload.len() == len).then_some(Packet {
            sequence: header.sequence,
            payload: &self.payload,
        }))
    }

    /// True where no packet has begun.
    pub fn is_empty(&self) -> bool {
        self.header.bytes().is_empty() || self.is_delivered()
    }

    fn promised(&self) -> Header {
        Header::decode(*self.header.array())
    }

    fn is_delivered(&self) -> bool {
        self.header.bytes().len() == HEADER_LEN
            && self.payload.len() == self.promised().payload_len as usize
    }

    fn clear(&mut self) {
        self.header = Partial::default();
        self.payload = Zeroizing::default();
    }

    /// Memory follows the bytes that really came, not the promise; a vector that moves is
    /// overwritten first.
    fn append(&mut self, piece: &[u8], len: usize) {
        let needed = self.payload.len() + piece.len();
        if needed > self.payload.capacity() {
            let mut grown = Zeroizing::new(Vec::with_capacity((2 * needed).min(len)));
            grown.extend_from_slice(&self.payload);
            self.payload = grown;
        }
        self.payload.extend_from_slice(piece);
    }
}

/// Leaves the payload out, as it may hold a password.
impl fmt::Debug for PacketAssembler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (have, promised) = (self.payload.len(), self.promised().payload_len);
        write!(f, "PacketAssembler({have} of {promised} bytes)")
    }
}

/// The beginning of a packet: its header and up to `N` bytes of its payload.
#[derive(Clone, Copy, Debug)]
pub struct PacketHead<const N: usize> {
    /// The header of the packet, or of the first part of one in several parts.
    pub header: Header,
    first: Partial<N>,
}

impl<const N: usize> PacketHead<N> {
    /// The first bytes of the payload: `N`, or all there are.
    pub fn first(&self) -> &[u8] {
        self.first.bytes()
    }
}

/// Finds packets in a stream that it only reads: it keeps headers and the first `N` bytes of each
/// payload, whatever the pieces the stream comes in. A packet in several parts is one packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner<const N: usize> {
    place: Place,
    header: Partial<HEADER_LEN>,
    first: Partial<N>,
    /// Bytes of the payload that are still to be skipped; holds in [`Place::Rest`].
    left: u32,
}

/// Where in the stream a scanner stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In the header of a new packet.
    #[default]
    Header,
    /// In the header of a further part.
    Continuation,
    /// In the bytes of a payload that are kept.
    First,
    /// In the bytes behind them.
    Rest,
}

impl<const N: usize> Scanner<N> {
    /// Reads up to the point where the next packet's beginning is known: behind its header and the
    /// first `N` bytes of its payload. `None` where `input` ends before.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<PacketHead<N>> {
        loop {
            match self.place {
                Place::Header => {
                    if !self.header.fill(HEADER_LEN, input) {
                        return None;
                    }
                    self.first = Partial::default();
                    self.place = Place::First;
                }
                Place::Continuation => {
                    if !self.header.fill(HEADER_LEN, input) {
                        return None;
                    }
                    self.left = self.promised().payload_len;
                    self.place = Place::Rest;
                }
                Place::First => return self.first_bytes(input),
                Place::Rest => {
                    self.left -= take_up_to(input, self.left as usize).len() as u32;
                    if self.left > 0 {
                        return None;
                    }
                    self.place = match self.promised().is_continued() {
                        true => Place::Continuation,
                        false => Place::Header,
                    };
                    self.header = Partial::default();
                }
            }
        }
    }

    /// True between two packets: all of the last one was read and nothing of a next one.
    pub fn is_between_packets(&self) -> bool {
        match self.place {
            Place::Header => self.header.bytes().is_empty(),
            Place::Rest => self.left == 0 && !self.promised().is_continued(),
            Place::Continuation | Place::First => false,
        }
    }

    fn first_bytes(&mut self, input: &mut &[u8]) -> Option<PacketHead<N>> {
        let header = self.promised();
        let wanted = N.min(header.payload_len as usize);
        if !self.first.fill(wanted, input) {
            return None;
        }
        self.left = header.payload_len - wanted as u32;
        self.place = Place::Rest;
        Some(PacketHead {
            header,
            first: self.first,
        })
    }

    fn promised(&self) -> Header {
        Header::decode(*self.header.array())
    }
}

/// Up to `N` bytes that come in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Partial<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> Partial<N> {
    /// Takes what is missing to `wanted` bytes from the front of `input`; true where that many are
    /// there.
    pub(super) fn fill(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let open = self.bytes.get_mut(self.len..wanted).unwrap_or_default();
        let piece = take_up_to(input, open.len());
        self.len += piece.len();
        for (to, from) in open.iter_mut().zip(piece) {
            *to = *from;
        }
        self.len >= wanted
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// All `N` bytes, zero where nothing was filled in.
    pub(super) fn array(&self) -> &[u8; N] {
        &self.bytes
    }
}

/// Takes `len` bytes, or all there are, from the front of `input`.
pub(super) fn take_up_to<'a>(input: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at_checked(len).unwrap_or((*input, &[]));
    *input = rest;
    taken
}

/// Length of a packet's header, in bytes.
pub const HEADER_LEN: usize = 4;

/// The longest payload of one packet, in bytes: one of just this length is continued in the next
/// packet.
pub const PAYLOAD_LEN_MAX: usize = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: &mut Sequence, len: usize, fill: u8) -> Vec<u8> {
        let mut out = Vec::new();
        write_packet(&mut out, sequence, |writer| writer.bytes(&vec![fill; len]));
        out
    }

    /// Heads and place as the scanner finds them in `stream`, cut into pieces of `piece_len`.
    fn scan(stream: &[u8], piece_len: usize) -> (Vec<(Header, Vec<u8>)>, bool) {
        let mut scanner = Scanner::<3>::default();
        let mut heads = Vec::new();
        for mut piece in stream.chunks(piece_len) {
            while let Some(head) = scanner.next(&mut piece) {
                heads.push((head.header, head.first().to_vec()));
            }
            assert!(piece.is_empty());
        }
        (heads, scanner.is_between_packets())
    }

    #[test]
    fn lengths_around_the_longest_part_are_split_and_read_as_one() {
        for (len, parts) in [
            (0, 1),
            (1, 1),
            (PAYLOAD_LEN_MAX - 1, 1),
            (PAYLOAD_LEN_MAX, 2),
            (PAYLOAD_LEN_MAX + 1, 2),
            (2 * PAYLOAD_LEN_MAX, 3),
        ] {
            let mut sequence = Sequence(254);
            let mut stream = packet(&mut sequence, len, 7);
            assert_eq!(stream.len(), len + parts * HEADER_LEN);
            assert_eq!(sequence.0, 254u8.wrapping_add(parts as u8));
            stream.extend(packet(&mut sequence, 2, 9));

            let (heads, is_between) = scan(&stream, 1 << 20);
            assert!(is_between);
            assert_eq!(heads.len(), 2, "{len} bytes");
            assert_eq!(heads[0].0.payload_len as usize, len.min(PAYLOAD_LEN_MAX));
            assert_eq!(heads[0].1, vec![7; len.min(3)]);
            assert_eq!(heads[1].1, [9, 9]);
        }
    }

    #[test]
    fn a_scan_does_not_depend_on_the_pieces() {
        let mut sequence = Sequence::default();
        let mut stream = Vec::new();
        for len in [0, 1, 2, 3, 4, 300, 0, 0, 5] {
            stream.extend(packet(&mut sequence, len, len as u8));
        }
        let whole = scan(&stream, stream.len());
        assert_eq!(whole.0.len(), 9);
        for piece_len in 1..20 {
            assert_eq!(scan(&stream, piece_len), whole, "pieces of {piece_len}");
        }
        for cut in 0..stream.len() {
            let (heads, is_between) = scan(&stream[..cut], 1024);
            let ends = [0, 4, 9, 15, 22, 30, 334, 338, 342];
            assert_eq!(is_between, ends.contains(&cut), "cut at {cut}");
            assert!(heads.len() <= 9);
        }
    }

    #[test]
    fn assembling_takes_one_packet_and_no_byte_more() {
        let mut sequence = Sequence(1);
        let mut stream = packet(&mut sequence, 32, 1);
        let first_len = stream.len();
        stream.extend(packet(&mut sequence, 0, 0));
        stream.extend_from_slice(b"\x16\x03\x01");

        let mut assembler = PacketAssembler::new(100);
        let mut input = &stream[..];
        let packet = assembler.next(&mut input).unwrap().unwrap();
        assert_eq!((packet.sequence, packet.payload), (1, &[1; 32][..]));
        assert_eq!(input.len(), stream.len() - first_len);
        assert!(assembler.is_empty());
        let packet = assembler.next(&mut input).unwrap().unwrap();
        assert_eq!((packet.sequence, packet.payload), (2, &[][..]));
        assert_eq!(input, b"\x16\x03\x01");

        for byte in &stream[..first_len - 1] {
            assert_eq!(assembler.next(&mut std::slice::from_ref(byte)), Ok(None));
            assert!(!assembler.is_empty());
        }
        let mut last = &stream[first_len - 1..first_len];
        assert_eq!(assembler.next(&mut last).unwrap().unwrap().payload, [1; 32]);
    }

    #[test]
    fn a_promise_beyond_the_bound_is_refused_before_anything_is_held() {
        for (len_max, promised, accepted) in [
            (10, 10, true),
            (10, 11, false),
            (usize::MAX, PAYLOAD_LEN_MAX - 1, true),
            (usize::MAX, PAYLOAD_LEN_MAX, false),
        ] {
            let mut assembler = PacketAssembler::new(len_max);
            let header = Header {
                payload_len: promised as u32,
                sequence: 1,
            };
            let mut input = &header.encode()[..];
            match accepted {
                true => assert_eq!(assembler.next(&mut input), Ok(None)),
                false => assert_eq!(
                    assembler.next(&mut input),
                    Err(Violation::TooLong {
                        len: promised,
                        len_max: len_max.min(PAYLOAD_LEN_MAX - 1)
                    })
                ),
            }
            assert_eq!(assembler.payload.capacity(), 0);
        }
    }

    #[test]
    fn sequence_ids_wrap() {
        let mut sequence = Sequence(255);
        assert_eq!(sequence.expect(255), Ok(()));
        assert_eq!(
            sequence.expect(1),
            Err(Violation::OutOfOrder {
                expected: 0,
                got: 1
            })
        );
        assert_eq!(sequence.take(), 0);
    }
}
