use std::borrow::Cow;

use crate::wire::{Hole, Reader, Writer};

use super::checksum::checksum;
use super::flags::Flags;
use super::header::RpcHeader;
use super::net::{FrameKind, NET_HEADER_LEN, NetHeader};
use super::pcode::Pcode;
use super::rcode::ResultCode;
use super::violation::Violation;

/// A request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The channel, which a response has from its request.
    pub chid: u32,
    /// The header.
    pub header: RpcHeader,
    /// The payload as it was sent: compressed, where the header says so.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    pub(super) fn decode(chid: u32, body: &'a [u8]) -> Result<Self, Violation> {
        let (header, payload) = RpcHeader::decode(body)?;
        Ok(Self {
            chid,
            header,
            payload,
        })
    }

    /// True for a response.
    pub fn is_response(&self) -> bool {
        self.header.flags.contains(Flags::RESPONSE)
    }

    /// True for a request that is not to be answered.
    pub fn is_one_way(&self) -> bool {
        self.header.flags.contains(Flags::UNNEED_RESPONSE)
    }

    /// The payload as it was before it was sent, of up to `len_max` bytes.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is damaged or cannot be inflated.
    pub fn content(&self, len_max: usize) -> Result<Cow<'a, [u8]>, Violation> {
        self.check()?;
        let header = &self.header;
        if header.compressor.is_none() {
            return Ok(Cow::Borrowed(self.payload));
        }
        header
            .compressor
            .inflate(self.payload, header.original_len, len_max)
            .map(Cow::Owned)
    }

    /// Compares the payload with its checksum.
    ///
    /// # Errors
    ///
    /// [`Violation::Checksum`] where it is damaged.
    pub fn check(&self) -> Result<(), Violation> {
        let (expected, got) = (self.header.checksum, checksum(self.payload));
        if expected != got {
            return Err(Violation::Checksum { expected, got });
        }
        Ok(())
    }
}

/// Appends a packet whose payload `write` writes. The header's checksum is computed.
///
/// # Errors
///
/// [`Violation::TooLong`] where it is longer than the wire allows; nothing was appended then.
pub fn write_packet(
    out: &mut Vec<u8>,
    chid: u32,
    header: &RpcHeader,
    write: impl FnOnce(&mut Writer<'_>),
) -> Result<(), Violation> {
    let mut writer = Writer::new(out);
    let start = writer.position();
    let net: Hole<NET_HEADER_LEN> = writer.reserve();
    let hole = header.encode(&mut writer);
    let payload = writer.position();
    write(&mut writer);
    let sum = checksum(writer.since(payload));
    writer.fill(hole, sum.to_be_bytes());
    let len = writer.len_since(&net);
    if len > WIRE_LEN_MAX {
        writer.fit(start, 0);
        return Err(Violation::TooLong {
            len,
            len_max: WIRE_LEN_MAX,
        });
    }
    let header = NetHeader {
        kind: FrameKind::Rpc,
        payload_len: len as u32,
        chid,
        reserved: 0,
    };
    writer.fill(net, header.encode());
    Ok(())
}

/// Appends the response to `request`: the result code and, where that is zero, the result that
/// `write` writes.
///
/// # Errors
///
/// As [`write_packet`].
pub fn write_response(
    out: &mut Vec<u8>,
    chid: u32,
    request: &RpcHeader,
    rcode: &ResultCode,
    write: impl FnOnce(&mut Writer<'_>),
) -> Result<(), Violation> {
    write_packet(out, chid, &request.response(), |writer| {
        rcode.write(writer);
        if rcode.is_ok() {
            write(writer);
        }
    })
}

/// The answer to a request of which no more is known than its number and what it calls: an error
/// code.
pub fn refusal(chid: u32, pcode: Pcode, rcode: i32) -> Vec<u8> {
    let request = RpcHeader {
        pcode,
        ..RpcHeader::default()
    };
    let mut out = Vec::new();
    // Only what is too long cannot be written.
    let _ = write_response(&mut out, chid, &request, &ResultCode::new(rcode), |_| {});
    out
}

/// Splits a response's content into its result code and its result.
///
/// # Errors
///
/// [`Violation`] where it does not begin with a result code.
pub fn read_response(content: &[u8]) -> Result<(ResultCode, &[u8]), Violation> {
    let mut reader = Reader::new(content);
    let rcode = ResultCode::read(&mut reader)?;
    Ok((rcode, reader.rest()))
}

/// The longest packet that any receiver takes, in bytes behind the net header: 2047 MiB.
const WIRE_LEN_MAX: usize = 2_047 * 1024 * 1024;
