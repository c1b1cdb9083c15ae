use crate::error::Result;
use crate::wire::{Reader, Writer};

use super::capabilities::Capabilities;
use super::reply::{ErrPacket, StatusFlags};
use super::violation::Violation;

/// What a server may say first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstServerPacket<'a> {
    /// It goes on to a login.
    Greeting(Greeting<'a>),
    /// It refuses the connection. Such an error carries no SQLSTATE, since no capabilities are
    /// agreed on yet.
    Refused(ErrPacket<'a>),
}

impl<'a> FirstServerPacket<'a> {
    /// Reads the first packet of a server.
    ///
    /// # Errors
    ///
    /// Where it is neither a greeting of protocol version 10 nor an error packet.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Violation> {
        match payload.first() {
            Some(0xff) => ErrPacket::parse(payload).map(Self::Refused),
            _ => Greeting::parse(payload).map(Self::Greeting),
        }
    }
}

/// The greeting of a server, HandshakeV10.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting<'a> {
    /// Its version, as in `8.0.36`. MariaDB 10 puts `5.5.5-` before its own.
    pub version: &'a [u8],
    /// What KILL calls the connection; OB 2.0 frames repeat it.
    pub thread_id: u32,
    /// The nonce that the client's proof of its password covers.
    pub nonce: [u8; NONCE_LEN],
    /// What the server offers.
    pub capabilities: Capabilities,
    /// The low byte of its default collation.
    pub collation: u8,
    /// Its status.
    pub status: StatusFlags,
    /// The plugin that it expects most accounts to use.
    pub plugin: Option<&'a [u8]>,
}

impl<'a> Greeting<'a> {
    /// Reads a greeting.
    ///
    /// # Errors
    ///
    /// Where it is none of protocol version 10, or ends too early.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Violation> {
        Self::read(&mut Reader::new(payload)).ok_or(Violation::Malformed(EXPECTED))
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let version = read_version(reader)?;
        let thread_id = reader.u32_le()?;
        let nonce_start = reader.array::<8>()?;
        reader.u8()?;
        let low = reader.u16_le()?;
        let collation = reader.u8()?;
        let status = StatusFlags::from_bits(reader.u16_le()?);
        let high = reader.u16_le()?;
        let auth_data_len = reader.u8()?;
        reader.array::<6>()?;
        let extended = reader.u32_le()?;
        let capabilities = Capabilities::join(u32::from(high) << 16 | u32::from(low), extended);

        let rest_len = usize::from(auth_data_len).saturating_sub(8).max(13);
        let nonce_rest = reader.take(rest_len)?;
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(nonce_start.iter().chain(nonce_rest)) {
            *to = *from;
        }
        // Some servers leave the last NUL out (MySQL bug 59453).
        let plugin = capabilities
            .contains(Capabilities::PLUGIN_AUTH)
            .then(|| reader.nul_bytes().unwrap_or_else(|| reader.rest()));
        Some(Self {
            version,
            thread_id,
            nonce,
            capabilities,
            collation,
            status,
            plugin,
        })
    }

    /// Writes the greeting's payload.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let low = self.capabilities.low();
        let (nonce_start, nonce_rest) = self.nonce.split_at(8);
        writer.u8(PROTOCOL_VERSION);
        writer.nul_bytes(self.version);
        writer.u32_le(self.thread_id);
        writer.bytes(nonce_start);
        writer.u8(0);
        writer.u16_le(low as u16);
        writer.u8(self.collation);
        writer.u16_le(self.status.bits());
        writer.u16_le((low >> 16) as u16);
        writer.u8(self.plugin.map_or(0, |_| NONCE_LEN as u8 + 1));
        writer.zeros(6);
        writer.u32_le(self.capabilities.extended());
        writer.bytes(nonce_rest);
        writer.u8(0);
        if let Some(plugin) = self.plugin {
            writer.nul_bytes(plugin);
        }
    }

    /// Sets the capabilities in a greeting's payload; every other byte stays. The extended half is
    /// written where there is one.
    ///
    /// # Errors
    ///
    /// Where the payload is no greeting; nothing is changed.
    pub fn set_capabilities(
        payload: &mut [u8],
        capabilities: Capabilities,
    ) -> Result<(), Violation> {
        edit(payload, capabilities).ok_or(Violation::Malformed(EXPECTED))
    }
}

fn edit(payload: &mut [u8], capabilities: Capabilities) -> Option<()> {
    let old = Greeting::parse(payload).ok()?.capabilities;
    let mut reader = Reader::new(payload);
    read_version(&mut reader)?;
    let start = payload.len() - reader.len() + LOW_HALF_FROM_THREAD_ID;
    let fields = payload.get_mut(start..)?.first_chunk_mut::<18>()?;

    let [low_0, low_1, _, _, _, high_0, high_1, ..] = fields;
    let [a, b, c, d] = capabilities.low().to_le_bytes();
    [*low_0, *low_1, *high_0, *high_1] = [a, b, c, d];
    if !old.contains(Capabilities::LONG_PASSWORD) {
        let [.., e, f, g, h] = fields;
        [*e, *f, *g, *h] = capabilities.extended().to_le_bytes();
    }
    Some(())
}

fn read_version<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match reader.u8()? {
        PROTOCOL_VERSION => reader.nul_bytes(),
        _ => None,
    }
}

/// Length of the nonce of every greeting and of most plugins, in bytes.
pub(super) const NONCE_LEN: usize = 20;

const PROTOCOL_VERSION: u8 = 10;

const EXPECTED: &str = "a greeting of protocol version 10";

/// From the thread id to the low half of the capabilities: id, start of the nonce, filler.
const LOW_HALF_FROM_THREAD_ID: usize = 4 + 8 + 1;
