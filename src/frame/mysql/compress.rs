use flate2::{Decompress, FlushDecompress, Status};

use crate::error::Result;
use crate::limits::INFLATED_PIECE_LEN;

use super::packet::{Partial, take_up_to};
use super::violation::Violation;

/// Takes MySQL's compressed framing off a stream of bytes: what comes out are ordinary packets.
///
/// A frame is never held. Its content comes out in pieces of [`INFLATED_PIECE_LEN`] as its bytes come in, and
/// has to end just where the frame's header said, so that no input makes memory grow. Between frames
/// nothing is allocated.
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
    piece: [u8; INFLATED_PIECE_LEN],
}

impl Inflater {
    /// Takes bytes from the front of `input` and gives the next piece of what they carry. `None` where
    /// `input` is used up.
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

        let mut ahead = *input;
        let (consumed, inflated) = inflating.step(take_up_to(&mut ahead, body.left))?;
        take_up_to(input, consumed);
        body.left -= consumed;
        if consumed > 0 || inflated > 0 {
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
        self.left == 0 && self.inflating.as_ref().is_none_or(|it| it.left == 0)
    }
}

impl Inflating {
    fn new(plain_len: usize) -> Self {
        Self {
            stream: Decompress::new(true),
            left: plain_len,
            piece: [0; INFLATED_PIECE_LEN],
        }
    }

    /// Inflates as much of `input` as one piece holds: how many bytes went in, and how many came out.
    fn step(&mut self, input: &[u8]) -> Result<(usize, usize), Violation> {
        let before = (self.stream.total_in(), self.stream.total_out());
        let status = self
            .stream
            .decompress(input, &mut self.piece, FlushDecompress::None)
            .map_err(|_| BROKEN)?;
        let consumed = self.stream.total_in().saturating_sub(before.0) as usize;
        let inflated = self.stream.total_out().saturating_sub(before.1) as usize;
        self.left = self.left.checked_sub(inflated).ok_or(BROKEN)?;
        match status == Status::StreamEnd && self.left > 0 {
            true => Err(BROKEN),
            false => Ok((consumed, inflated)),
        }
    }
}

/// Length of the header of a compressed frame, in bytes: its length, a sequence id, the length of its content.
pub(super) const COMPRESSED_HEADER_LEN: usize = 7;

const BROKEN: Violation = Violation::Malformed("a compressed frame");
