use crate::limits;

use super::net::{FrameKind, NET_HEADER_LEN, NetHeader};
use super::packet::Packet;
use super::violation::Violation;

/// What lies between two net headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The net header.
    pub header: NetHeader,
    /// What follows it.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The request or response in it.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is none. The stream can be read on.
    pub fn packet(&self) -> Result<Packet<'a>, Violation> {
        match self.header.kind {
            FrameKind::Rpc => Packet::decode(self.header.chid, self.body),
            FrameKind::EasyKeepalive => Err(Violation::Malformed("a request or a response")),
        }
    }
}

/// Finds the packets in a stream, from bytes in pieces of any size.
///
/// A packet that lies in one piece is borrowed from it; only one that arrives in several is put
/// together. Its memory grows with what has arrived, never with what a header promises.
#[derive(Debug)]
pub struct PacketDecoder {
    len_max: usize,
    partial: Vec<u8>,
    is_delivered: bool,
}

impl Default for PacketDecoder {
    fn default() -> Self {
        Self::new(limits::RPC_PACKET_LEN_MAX)
    }
}

impl PacketDecoder {
    /// Takes packets of up to `len_max` bytes behind their net header.
    pub fn new(len_max: usize) -> Self {
        Self {
            len_max,
            partial: Vec::new(),
            is_delivered: false,
        }
    }

    /// Takes bytes from the front of `input` up to the end of one packet. `None` where none is
    /// whole yet and `input` is used up. The call after a packet gives up the memory it lay in.
    ///
    /// # Errors
    ///
    /// [`Violation::Magic`] and [`Violation::TooLong`]: the stream cannot be read on.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'a>>, Violation> {
        if std::mem::take(&mut self.is_delivered) {
            self.partial = Vec::new();
        }
        if self.partial.is_empty()
            && let Some((header, body, rest)) = split(input, self.len_max)?
        {
            *input = rest;
            return Ok(Some(Frame { header, body }));
        }
        if !self.fill(NET_HEADER_LEN, input) {
            return Ok(None);
        }
        let len = match self.partial.first_chunk() {
            Some(header) => NetHeader::decode(*header, self.len_max)?.payload_len as usize,
            None => return Ok(None),
        };
        if !self.fill(NET_HEADER_LEN.saturating_add(len), input) {
            return Ok(None);
        }
        self.is_delivered = true;
        let frame = split(&self.partial, self.len_max)?;
        Ok(frame.map(|(header, body, _)| Frame { header, body }))
    }

    /// True where a packet has arrived in part: the stream must not end here.
    pub fn is_in_mid_packet(&self) -> bool {
        self.partial_len() > 0
    }

    /// Bytes of a packet that has arrived in part.
    pub fn partial_len(&self) -> usize {
        if self.is_delivered {
            0
        } else {
            self.partial.len()
        }
    }

    /// Moves bytes from `input` until the partial packet has `len` of them; true where it has.
    fn fill(&mut self, len: usize, input: &mut &[u8]) -> bool {
        let wanted = len.saturating_sub(self.partial.len()).min(input.len());
        let (piece, rest) = input.split_at(wanted);
        self.partial.extend_from_slice(piece);
        *input = rest;
        self.partial.len() >= len
    }
}

type Split<'a> = (NetHeader, &'a [u8], &'a [u8]);

/// The packet at the front of `bytes` and what is behind it, where it is whole.
fn split(bytes: &[u8], len_max: usize) -> Result<Option<Split<'_>>, Violation> {
    let Some((header, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let header = NetHeader::decode(*header, len_max)?;
    let split = rest.split_at_checked(header.payload_len as usize);
    Ok(split.map(|(body, rest)| (header, body, rest)))
}
