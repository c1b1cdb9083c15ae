use crate::wire::Reader;

use super::violation::Violation;

/// The header in front of every packet, called easy header: where the packet ends, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetHeader {
    /// What follows.
    pub kind: FrameKind,
    /// Bytes that follow.
    pub payload_len: u32,
    /// The channel: a number that the client chooses and the server repeats in its answer.
    pub chid: u32,
    /// Reserved; zero.
    pub reserved: u32,
}

/// What a net header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A request or a response.
    Rpc,
    /// A keepalive of the older network library, within the connection. It is to be skipped.
    EasyKeepalive,
}

impl NetHeader {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`Violation::Magic`] where it is none, [`Violation::TooLong`] where more than `len_max`
    /// bytes follow it.
    pub fn decode(bytes: [u8; NET_HEADER_LEN], len_max: usize) -> Result<Self, Violation> {
        let mut reader = Reader::new(&bytes);
        let magic = reader.array().unwrap_or_default();
        let header = Self {
            kind: FrameKind::of(magic)?,
            payload_len: reader.u32_be().unwrap_or_default(),
            chid: reader.u32_be().unwrap_or_default(),
            reserved: reader.u32_be().unwrap_or_default(),
        };
        let len_max = match header.kind {
            FrameKind::Rpc => len_max,
            FrameKind::EasyKeepalive => EASY_KEEPALIVE_LEN_MAX,
        };
        let len = header.payload_len as usize;
        if len > len_max {
            return Err(Violation::TooLong { len, len_max });
        }
        Ok(header)
    }

    /// The header's bytes, in front of a request or a response.
    pub fn encode(self) -> [u8; NET_HEADER_LEN] {
        let mut bytes = [0; NET_HEADER_LEN];
        let fields = [
            MAGIC,
            self.payload_len.to_be_bytes(),
            self.chid.to_be_bytes(),
            self.reserved.to_be_bytes(),
        ];
        for (target, field) in bytes.chunks_exact_mut(4).zip(fields) {
            target.copy_from_slice(&field);
        }
        bytes
    }
}

impl FrameKind {
    /// A keepalive has bit 6 set in its first byte, where a packet has the version of the protocol.
    fn of(magic: [u8; 4]) -> Result<Self, Violation> {
        match magic {
            MAGIC => Ok(Self::Rpc),
            [first, ..] if first != 0xff && first & 0x40 != 0 => Ok(Self::EasyKeepalive),
            other => Err(Violation::Magic(other)),
        }
    }
}

/// What a packet begins with: the version, then the magic bytes.
pub(super) const MAGIC: [u8; 4] = [0x01, 0xdb, 0xdb, 0xce];

/// Length of a net header, in bytes.
pub const NET_HEADER_LEN: usize = 16;

/// What follows the header of a keepalive, in bytes: three are in use.
const EASY_KEEPALIVE_LEN_MAX: usize = 64;
