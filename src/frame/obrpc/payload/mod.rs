//! Arguments and results of the calls that the admin tool and the log reader make.
//!
//! Each has `read`, which takes the content of a packet (behind the result code, in a response),
//! and `write`.

mod admin;
mod fetch_log;
mod log_entry;
mod missing_log;
mod start_lsn;

use core::net::{IpAddr, SocketAddr};

use crate::wire::{Reader, Writer};

use super::unis::{UnisRead, UnisWrite};
use super::violation::Violation;

pub use admin::SetConfig;
pub use fetch_log::{Feedback, FetchLogRequest, FetchLogResponse, FetchStatus};
pub use log_entry::{LogEntries, LogEntry, LogGroup, LogGroups};
pub use missing_log::MissingLogRequest;
pub use start_lsn::{StartLsn, StartLsnItem, StartLsnRequest, StartLsnResponse};

/// Who reads the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientId {
    /// Its process.
    pub pid: i64,
    /// Its address, where it has one of IPv4 or IPv6.
    pub address: Option<SocketAddr>,
}

impl ClientId {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Violation> {
        if reader.is_empty() {
            return Ok(Self::default());
        }
        let mut members = reader.object()?;
        Ok(Self {
            pid: members.member(Reader::vi64)?,
            address: read_address(&mut members)?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.vi64(self.pid);
            write_address(self.address, members);
        });
    }
}

/// An address: its IP version, the 16 bytes of an IPv6 address as four little-endian words, of
/// which an IPv4 address is the first one's value, and the port.
fn read_address(reader: &mut Reader<'_>) -> Result<Option<SocketAddr>, Violation> {
    if reader.is_empty() {
        return Ok(None);
    }
    let mut members = reader.object()?;
    let version = members.member(Reader::vi32)?;
    let mut words = [0; 4];
    for word in &mut words {
        *word = members.member(Reader::vi32)?.cast_unsigned();
    }
    let port = members.member(Reader::vi32)?;
    let port = u16::try_from(port).map_err(|_| Violation::Malformed("a port"))?;
    let [first, ..] = words;
    let ip = match version {
        4 => Some(IpAddr::from(first.to_be_bytes())),
        6 => Some(IpAddr::from(bytes_of(words))),
        _ => None,
    };
    Ok(ip.map(|ip| SocketAddr::new(ip, port)))
}

fn write_address(address: Option<SocketAddr>, writer: &mut Writer<'_>) {
    let (version, words) = match address.map(|address| address.ip()) {
        None => (0, [0; 4]),
        Some(IpAddr::V4(ip)) => (4, [u32::from_be_bytes(ip.octets()), 0, 0, 0]),
        Some(IpAddr::V6(ip)) => (6, words_of(ip.octets())),
    };
    writer.object(|members| {
        members.vi32(version);
        for word in words {
            members.vi32(word.cast_signed());
        }
        members.vi32(address.map_or(0, |address| address.port().into()));
    });
}

fn bytes_of(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (target, word) in bytes.chunks_exact_mut(4).zip(words) {
        target.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn words_of(bytes: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, source) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = source.try_into().map_or(0, u32::from_le_bytes);
    }
    words
}

/// What calls of the log reader begin with.
fn read_rpc_version(members: &mut Reader<'_>) -> Result<(), Violation> {
    match members.member(Reader::vi64)? {
        RPC_VERSION => Ok(()),
        other => Err(Violation::Version(other.cast_unsigned())),
    }
}

/// A log stream's id, or a position in a log: eight bytes, whatever their value.
fn fixed(reader: &mut Reader<'_>) -> Option<u64> {
    reader.u64_be()
}

const RPC_VERSION: i64 = 1;
