use crate::wire::{Reader, Writer};

use super::unis::{UnisRead, UnisWrite};
use super::violation::Violation;

/// What a client of the older network library sends first: 19 bytes that say which of the server's
/// pools the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EasyPreamble {
    /// Which pool.
    pub channel: EasyChannel,
    /// The thread of the pool.
    pub thread: u8,
}

/// The purpose of a connection that begins with [`EasyPreamble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EasyChannel {
    /// Calls.
    Rpc,
    /// Calls of high priority.
    HighPriorityRpc,
    /// Batches of calls.
    BatchRpc,
    /// The keepalive of the network, which must be answered or the servers take each other for
    /// dead.
    NetKeepalive,
    /// One that is not known here.
    Other(u64),
}

/// The answer to each byte of the net keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveAnswer {
    /// Status of the root service.
    pub rs_status: i32,
    /// When the server began to serve.
    pub start_service_time: i64,
}

impl EasyPreamble {
    /// Reads a preamble; none where the bytes are not one.
    pub fn decode(bytes: [u8; EASY_PREAMBLE_LEN]) -> Option<Self> {
        let mut reader = Reader::new(&bytes);
        let magic = reader.array()?;
        let body_len = reader.u16_be()?;
        (magic == EASY_MAGIC && body_len == BODY_LEN).then_some(Self {
            channel: EasyChannel::from_wire(reader.u64_be()?),
            thread: reader.u8()?,
        })
    }

    /// The preamble's bytes.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(EASY_PREAMBLE_LEN);
        let mut writer = Writer::new(&mut out);
        writer.bytes(&EASY_MAGIC);
        writer.u16_be(BODY_LEN);
        writer.u64_be(self.channel.to_wire());
        writer.u8(self.thread);
        out
    }
}

impl EasyChannel {
    fn from_wire(magic: u64) -> Self {
        CHANNELS
            .into_iter()
            .find(|(known, _)| *known == magic)
            .map_or(Self::Other(magic), |(_, channel)| channel)
    }

    fn to_wire(self) -> u64 {
        match self {
            Self::Other(magic) => magic,
            known => CHANNELS
                .into_iter()
                .find(|(_, channel)| *channel == known)
                .map_or(0, |(magic, _)| magic),
        }
    }
}

impl KeepaliveAnswer {
    /// Reads an answer at the front of `reader`; none, and nothing moves, where it is incomplete.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is no answer.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Option<Self>, Violation> {
        let mut ahead = *reader;
        let (Some(magic), Some(len)) = (ahead.array(), ahead.u32_be()) else {
            return Ok(None);
        };
        if magic != KEEPALIVE_ANSWER_MAGIC {
            return Err(Violation::Magic(magic));
        }
        let (len, len_max) = (len as usize, KEEPALIVE_ANSWER_LEN_MAX);
        if len > len_max {
            return Err(Violation::TooLong { len, len_max });
        }
        let Some(data) = ahead.take(len) else {
            return Ok(None);
        };
        *reader = ahead;
        let mut data = Reader::new(data);
        data.member(Reader::u8)?;
        Ok(Some(Self {
            rs_status: data.member(Reader::vi32)?,
            start_service_time: data.member(Reader::vi64)?,
        }))
    }

    /// Appends the answer.
    pub fn encode(self, writer: &mut Writer<'_>) {
        writer.bytes(&KEEPALIVE_ANSWER_MAGIC);
        let hole = writer.reserve();
        writer.u8(0);
        writer.vi32(self.rs_status);
        writer.vi64(self.start_service_time);
        let len = writer.len_since(&hole) as u32;
        writer.fill(hole, len.to_be_bytes());
    }
}

/// What an [`EasyPreamble`] begins with.
pub(super) const EASY_MAGIC: [u8; 8] = 0x1234_5678_7766_8833_u64.to_be_bytes();

/// Length of the preamble, in bytes.
pub const EASY_PREAMBLE_LEN: usize = 19;

/// What the client of a net keepalive sends every 200 ms, one at a time.
pub const KEEPALIVE_BYTE: u8 = b'o';

const CHANNELS: [(u64, EasyChannel); 4] = [
    (0x1256_7348_6677_99aa, EasyChannel::Rpc),
    (0x1237_7348_6678_5431, EasyChannel::HighPriorityRpc),
    (0x5933_8932_2816_7181, EasyChannel::BatchRpc),
    (0x6683_221d_d298_cc23, EasyChannel::NetKeepalive),
];

/// Length of what follows the length, in bytes.
const BODY_LEN: u16 = 9;

const KEEPALIVE_ANSWER_MAGIC: [u8; 4] = 0x2c15_c364_u32.to_be_bytes();

/// Data of one answer, in bytes: some sixteen are in use.
const KEEPALIVE_ANSWER_LEN_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_net_keepalive_is_known_by_its_vector() {
        let vector = [
            0x12, 0x34, 0x56, 0x78, 0x77, 0x66, 0x88, 0x33, 0, 9, 0x66, 0x83, 0x22, 0x1d, 0xd2,
            0x98, 0xcc, 0x23, 0,
        ];
        let preamble = EasyPreamble {
            channel: EasyChannel::NetKeepalive,
            thread: 0,
        };
        assert_eq!(EasyPreamble::decode(vector), Some(preamble));
        assert_eq!(preamble.encode(), vector);
    }

    #[test]
    fn channels_are_read_back() {
        for channel in [
            EasyChannel::Rpc,
            EasyChannel::HighPriorityRpc,
            EasyChannel::BatchRpc,
            EasyChannel::Other(7),
        ] {
            let preamble = EasyPreamble { channel, thread: 3 };
            let bytes = preamble.encode().try_into().unwrap();
            assert_eq!(EasyPreamble::decode(bytes), Some(preamble));
        }
        let mut other = EasyPreamble {
            channel: EasyChannel::Rpc,
            thread: 0,
        }
        .encode();
        other[9] = 8;
        assert_eq!(EasyPreamble::decode(other.try_into().unwrap()), None);
    }

    #[test]
    fn keepalive_answers_are_read_whole_or_not_at_all() {
        let answer = KeepaliveAnswer {
            rs_status: -1,
            start_service_time: 1_700_000_000_000_000,
        };
        let mut bytes = Vec::new();
        answer.encode(&mut Writer::new(&mut bytes));
        assert_eq!(bytes[..4], [0x2c, 0x15, 0xc3, 0x64]);
        for len in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..len]);
            assert_eq!(KeepaliveAnswer::decode(&mut reader), Ok(None));
            assert_eq!(reader.len(), len);
        }
        let mut reader = Reader::new(&bytes);
        assert_eq!(KeepaliveAnswer::decode(&mut reader), Ok(Some(answer)));
        assert!(reader.is_empty());
        bytes[4] = 0x7f;
        assert!(KeepaliveAnswer::decode(&mut Reader::new(&bytes)).is_err());
    }
}
