use flate2::{Decompress, FlushDecompress, Status};

use crate::error::Result;
use crate::limits::INFLATED_PIECE_LEN;

use super::packet::{Partial, take_up_to};
use super::violation::Violation;

/// Takes MySQL's compressed framing off a stream of bytes: what comes out are ordinary packets.
///
/// A frame is never held. Its content comes out in pieces of [`INFLATED_PIECE_LEN`] as its bytes
/// come in, and has to end just where the frame's header said, so that no input makes memory grow.
/// Between frames nothing is allocated.
#[derive(Debug, Default)]
pub struct Inflater {
    header: Partial<COMPRESSED_HEADER_LEN>,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    /// Bytes of the frame that are still to come.
    left: usize,
    /// `None` where the frame's body is stored as it is.
    inflating: Option<Box<Inflating>>,
}

#[derive(Debug)]
struct Inflating {
    stream: Decompress,
    /// Plain bytes that are still to come out.
    left: usize,
    /// The end of the stream, behind its checksum, was reached.
    has_ended: bool,
    piece: [u8; INFLATED_PIECE_LEN],
}

impl Inflater {
    /// Takes bytes from the front of `input` and gives the next piece of what they carry. `None`
    /// where `input` is used up.
    ///
    /// # Errors
    ///
    /// Where a frame is broken; the stream cannot be read on.
    pub fn next<'b, 'a: 'b>(
        &'b mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<&'b [u8]>, Violation> {
        loop {
            if self.body.as_ref().is_some_and(Body::is_over) {
                *self = Self::default();
            }
            if self.body.is_none() {
                if !self.header.fill(COMPRESSED_HEADER_LEN, input) {
                    return Ok(None);
                }
                self.body = Some(Body::new(*self.header.array()));
                continue;
            }
            let Some(piece) = self.piece(input)? else {
                return Ok(None);
            };
            match piece {
                Piece::Stored([]) => {}
                Piece::Stored(stored) => return Ok(Some(stored)),
                Piece::Inflated(0) => {}
                Piece::Inflated(len) => return Ok(self.inflated(len)),
            }
        }
    }

    /// True where the last frame has been read to its end and nothing of a next one has come.
    pub fn is_between_frames(&self) -> bool {
        match &self.body {
            Some(body) => body.is_over(),
            None => self.header.bytes().is_empty(),
        }
    }

    fn piece<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Violation> {
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        let Some(inflating) = &mut body.inflating else {
            let stored = take_up_to(input, body.left);
            body.left -= stored.len();
            return Ok((!stored.is_empty()).then_some(Piece::Stored(stored)));
        };

        if inflating.has_ended {
            return Err(BROKEN);
        }
        let mut ahead = *input;
        let (consumed, inflated) = inflating.step(take_up_to(&mut ahead, body.left))?;
        take_up_to(input, consumed);
        body.left -= consumed;
        if consumed > 0 || inflated > 0 || inflating.has_ended {
            return Ok(Some(Piece::Inflated(inflated)));
        }
        match input.is_empty() && body.left > 0 {
            true => Ok(None),
            false => Err(BROKEN),
        }
    }

    fn inflated(&self, len: usize) -> Option<&[u8]> {
        self.body.as_ref()?.inflating.as_ref()?.piece.get(..len)
    }
}

enum Piece<'a> {
    Stored(&'a [u8]),
    Inflated(usize),
}

impl Body {
    fn new([a, b, c, _, d, e, f]: [u8; COMPRESSED_HEADER_LEN]) -> Self {
        let len = |bytes| u32::from_le_bytes(bytes) as usize;
        let plain_len = len([d, e, f, 0]);
        Self {
            left: len([a, b, c, 0]),
            inflating: (plain_len > 0).then(|| Box::new(Inflating::new(plain_len))),
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0 && self.inflating.as_ref().is_none_or(|it| it.has_ended)
    }
}

impl Inflating {
    fn new(plain_len: usize) -> Self {
        Self {
            stream: Decompress::new(true),
            left: plain_len,
            has_ended: false,
            piece: [0; INFLATED_PIECE_LEN],
        }
    }

    /// Inflates as much of `input` as one piece holds: how many bytes went in, and how many came
    /// out.
    fn step(&mut self, input: &[u8]) -> Result<(usize, usize), Violation> {
        let before = (self.stream.total_in(), self.stream.total_out());
        let status = self
            .stream
            .decompress(input, &mut self.piece, FlushDecompress::None)
            .map_err(|_| BROKEN)?;
        let consumed = self.stream.total_in().saturating_sub(before.0) as usize;
        let inflated = self.stream.total_out().saturating_sub(before.1) as usize;
        self.left = self.left.checked_sub(inflated).ok_or(BROKEN)?;
        self.has_ended = status == Status::StreamEnd;
        match self.has_ended && self.left > 0 {
            true => Err(BROKEN),
            false => Ok((consumed, inflated)),
        }
    }
}

/// Length of the header of a compressed frame, in bytes: its length, a sequence id, the length of
/// its content.
pub(super) const COMPRESSED_HEADER_LEN: usize = 7;

const BROKEN: Violation = Violation::Malformed("a compressed frame");

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + 1024);
        Compress::new(Compression::default(), true)
            .compress_vec(plain, &mut out, FlushCompress::Finish)
            .unwrap();
        out
    }

    fn frame(body: &[u8], plain_len: usize) -> Vec<u8> {
        let mut out = (body.len() as u32).to_le_bytes()[..3].to_vec();
        out.push(0);
        out.extend_from_slice(&(plain_len as u32).to_le_bytes()[..3]);
        out.extend_from_slice(body);
        out
    }

    fn inflate(stream: &[u8], piece_len: usize) -> Result<(Vec<u8>, bool), Violation> {
        let mut inflater = Inflater::default();
        let mut out = Vec::new();
        for mut piece in stream.chunks(piece_len) {
            while let Some(plain) = inflater.next(&mut piece)? {
                assert!(!plain.is_empty());
                out.extend_from_slice(plain);
            }
            assert!(piece.is_empty());
        }
        let is_between = inflater.is_between_frames();
        Ok((out, is_between))
    }

    #[test]
    fn stored_and_deflated_frames_come_out_in_order_whatever_the_pieces() {
        let long: Vec<u8> = (0..3 * INFLATED_PIECE_LEN)
            .map(|at| (at % 251) as u8)
            .collect();
        let mut stream = frame(b"stored", 0);
        stream.extend(frame(&zlib(&long), long.len()));
        stream.extend(frame(b"", 0));
        stream.extend(frame(&zlib(b"z"), 1));
        let expected = [b"stored", &long[..], b"z"].concat();
        for piece_len in [1, 2, 3, 7, 8, 100, stream.len()] {
            assert_eq!(inflate(&stream, piece_len), Ok((expected.clone(), true)));
        }
        for cut in 1..stream.len() {
            let (plain, is_between) = inflate(&stream[..cut], cut).unwrap();
            assert!(expected.starts_with(&plain));
            let empty_and_last = stream.len() - 7 - zlib(b"z").len();
            assert_eq!(
                is_between,
                [13, empty_and_last - 7, empty_and_last].contains(&cut),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_frame_that_inflates_to_more_or_less_than_it_says_is_refused() {
        let plain = vec![0; 1 << 20];
        let body = zlib(&plain);
        assert!(inflate(&frame(&body, plain.len()), 4096).is_ok());
        assert!(inflate(&frame(&body, plain.len() - 1), 4096).is_err());
        assert!(inflate(&frame(&body, plain.len() + 1), 4096).is_err());
        assert!(inflate(&frame(&body[..body.len() - 5], plain.len()), 4096).is_err());
        assert!(inflate(&frame(b"", 1), 4096).is_err());
        assert!(inflate(&frame(b"not zlib", 8), 4096).is_err());
        let with_a_tail = [&body[..], b"tail"].concat();
        assert!(inflate(&frame(&with_a_tail, plain.len()), 4096).is_err());
    }

    #[test]
    fn nothing_is_held_between_frames() {
        let mut inflater = Inflater::default();
        let stream = frame(&zlib(b"text"), 4);
        let mut input = &stream[..];
        while inflater.next(&mut input).unwrap().is_some() {}
        assert!(inflater.body.is_none());
    }
}
