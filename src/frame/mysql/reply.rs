use std::fmt;
use std::ops::BitOr;

use crate::error::Result;
use crate::wire::{Reader, Writer};

use super::auth::Plugin;
use super::capabilities::{Capabilities, ServerKind};
use super::handshake::NONCE_LEN;
use super::violation::Violation;

/// What a server may send while a login, or a change of user, is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginReply<'a> {
    /// It has succeeded.
    Ok(OkPacket<'a>),
    /// It has failed.
    Err(ErrPacket<'a>),
    /// The client is to answer by another plugin.
    AuthSwitch(AuthSwitch<'a>),
    /// The client is to answer by the password hash of MySQL 4.0, which nobody should.
    OldPasswordSwitch,
    /// Data for the plugin, without its mark.
    MoreData(&'a [u8]),
    /// MySQL asks for a further factor: a plugin and its data, as in a switch.
    NextFactor(AuthSwitch<'a>),
}

impl<'a> LoginReply<'a> {
    /// Reads a packet of a server that speaks as `kind` while `plugin` is in use.
    ///
    /// MySQL marks data for the plugin by 0x01. MariaDB does so only where it begins with 0x01,
    /// 0xFE or 0xFF, so there every other packet is such data as well, and 0x00 may be: it is an OK
    /// packet where a plugin that is known here is in use, or where it can be read as one.
    ///
    /// # Errors
    ///
    /// Where it is none of them.
    pub fn parse(
        payload: &'a [u8],
        kind: ServerKind,
        plugin: Plugin,
        capabilities: Capabilities,
    ) -> Result<Self, Violation> {
        let is_escaping = kind == ServerKind::MariaDb;
        match payload {
            [0x00, ..] => match OkPacket::parse(payload, capabilities) {
                Err(_) if is_escaping && plugin == Plugin::Other => Ok(Self::MoreData(payload)),
                ok => ok.map(Self::Ok),
            },
            [0xff, ..] => ErrPacket::parse(payload).map(Self::Err),
            [0xfe] => Ok(Self::OldPasswordSwitch),
            [0xfe, switch @ ..] => Ok(Self::AuthSwitch(AuthSwitch::read(switch))),
            [0x01, data @ ..] => Ok(Self::MoreData(data)),
            data if is_escaping => Ok(Self::MoreData(data)),
            [0x02, factor @ ..] => Ok(Self::NextFactor(AuthSwitch::read(factor))),
            _ => Err(Violation::Malformed("a reply to a login")),
        }
    }

    /// Data for the plugin as MySQL, and for the plugins of this library MariaDB too, marks it.
    pub fn write_more_data(writer: &mut Writer<'_>, data: &[u8]) {
        writer.u8(0x01);
        writer.bytes(data);
    }
}

/// An OK packet: a command or a login has succeeded, or, where EOF packets are deprecated, a result
/// has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OkPacket<'a> {
    /// Rows changed, or found.
    pub affected_rows: u64,
    /// The first value an AUTO_INCREMENT column was given.
    pub last_insert_id: u64,
    /// The server's status.
    pub status: StatusFlags,
    /// How many warnings there are.
    pub warnings: u16,
    /// A text for people; MariaDB's proof of its certificate in the OK of a login.
    pub info: &'a [u8],
    /// Changes of the session's state, unparsed, where [`StatusFlags::SESSION_STATE_CHANGED`] is
    /// set.
    pub session_state: Option<&'a [u8]>,
}

impl<'a> OkPacket<'a> {
    /// Reads an OK packet, by its own mark or by that of an EOF packet.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn parse(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Violation> {
        Self::read(&mut Reader::new(payload), capabilities)
            .ok_or(Violation::Malformed("an OK packet"))
    }

    fn read(reader: &mut Reader<'a>, capabilities: Capabilities) -> Option<Self> {
        let (affected_rows, last_insert_id, status) = read_ok_start(reader)?;
        let warnings = reader.u16_le()?;
        // Documented as the rest of the packet, written by all servers as a length and text.
        let info = reader.lenenc_bytes().unwrap_or_else(|| reader.rest());
        let has_state = capabilities.contains(Capabilities::SESSION_TRACK)
            && status.contains(StatusFlags::SESSION_STATE_CHANGED);
        let session_state = match has_state {
            true => Some(reader.lenenc_bytes()?),
            false => None,
        };
        Some(Self {
            affected_rows,
            last_insert_id,
            status,
            warnings,
            info,
            session_state,
        })
    }

    /// Writes the packet's payload.
    pub fn write(&self, writer: &mut Writer<'_>) {
        self.write_marked(0x00, writer);
    }

    /// Writes the payload of the packet that ends a result where EOF packets are deprecated.
    pub fn write_end_of_result(&self, writer: &mut Writer<'_>) {
        self.write_marked(0xfe, writer);
    }

    fn write_marked(&self, mark: u8, writer: &mut Writer<'_>) {
        writer.u8(mark);
        writer.lenenc(self.affected_rows);
        writer.lenenc(self.last_insert_id);
        writer.u16_le(self.status.bits());
        writer.u16_le(self.warnings);
        if !self.info.is_empty() || self.session_state.is_some() {
            writer.lenenc_bytes(self.info);
        }
        if let Some(state) = self.session_state {
            writer.lenenc_bytes(state);
        }
    }
}

/// The status of an OK packet of which at least the first 21 bytes are there.
pub(super) fn ok_status(first: &[u8]) -> Option<StatusFlags> {
    read_ok_start(&mut Reader::new(first)).map(|(_, _, status)| status)
}

fn read_ok_start(reader: &mut Reader<'_>) -> Option<(u64, u64, StatusFlags)> {
    if !matches!(reader.u8()?, 0x00 | 0xfe) {
        return None;
    }
    let affected_rows = reader.lenenc()?;
    let last_insert_id = reader.lenenc()?;
    let status = StatusFlags::from_bits(reader.u16_le()?);
    Some((affected_rows, last_insert_id, status))
}

/// An error packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    /// The error's number, as in 1045.
    pub code: u16,
    /// The SQLSTATE. A packet before the greeting, or in place of it, has none.
    pub sql_state: Option<[u8; 5]>,
    /// What it says.
    pub message: &'a [u8],
}

impl<'a> ErrPacket<'a> {
    /// Reads an error packet, with or without an SQLSTATE.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Violation> {
        Self::read(&mut Reader::new(payload)).ok_or(Violation::Malformed("an error packet"))
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        if reader.u8()? != 0xff {
            return None;
        }
        let code = reader.u16_le()?;
        let mut ahead = *reader;
        let sql_state = match ahead.u8() {
            Some(b'#') => ahead.array(),
            _ => None,
        };
        if sql_state.is_some() {
            *reader = ahead;
        }
        Some(Self {
            code,
            sql_state,
            message: reader.rest(),
        })
    }

    /// Writes the packet's payload.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(0xff);
        writer.u16_le(self.code);
        if let Some(state) = self.sql_state {
            writer.u8(b'#');
            writer.bytes(&state);
        }
        writer.bytes(self.message);
    }
}

impl fmt::Debug for ErrPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrPacket({self})")
    }
}

/// As the command line clients print it: `ERROR 1045 (28000): Access denied …`.
impl fmt::Display for ErrPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.escape_ascii();
        match &self.sql_state {
            Some(state) => {
                write!(
                    f,
                    "ERROR {} ({}): {message}",
                    self.code,
                    state.escape_ascii()
                )
            }
            None => write!(f, "ERROR {}: {message}", self.code),
        }
    }
}

/// An EOF packet: the columns or the rows of a result have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EofPacket {
    /// How many warnings there are.
    pub warnings: u16,
    /// The server's status.
    pub status: StatusFlags,
}

impl EofPacket {
    /// Reads an EOF packet.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn parse(payload: &[u8]) -> Result<Self, Violation> {
        Self::read(payload).ok_or(Violation::Malformed("an EOF packet"))
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        if payload.len() >= EOF_LEN_MAX || reader.u8()? != 0xfe {
            return None;
        }
        Some(Self {
            warnings: reader.u16_le()?,
            status: StatusFlags::from_bits(reader.u16_le()?),
        })
    }

    /// Writes the packet's payload.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(0xfe);
        writer.u16_le(self.warnings);
        writer.u16_le(self.status.bits());
    }
}

/// A request to authenticate by another plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthSwitch<'a> {
    /// The plugin's name.
    pub plugin: &'a [u8],
    /// Data for it: 20 bytes of nonce and a NUL for the plugins that hash the password.
    pub data: &'a [u8],
}

impl<'a> AuthSwitch<'a> {
    fn read(body: &'a [u8]) -> Self {
        let mut reader = Reader::new(body);
        Self {
            plugin: reader.nul_bytes().unwrap_or_else(|| reader.rest()),
            data: reader.rest(),
        }
    }

    /// The nonce that the client's answer covers, where the data is that long.
    pub fn nonce(&self) -> Option<[u8; NONCE_LEN]> {
        self.data.first_chunk().copied()
    }

    /// Writes the packet's payload.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(0xfe);
        writer.nul_bytes(self.plugin);
        writer.bytes(self.data);
    }
}

/// The status of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct StatusFlags(u16);

impl StatusFlags {
    /// A transaction is open.
    pub const IN_TRANS: Self = Self(1);
    /// Statements commit by themselves.
    pub const AUTOCOMMIT: Self = Self(1 << 1);
    /// A further result follows.
    pub const MORE_RESULTS: Self = Self(1 << 3);
    /// A cursor is open: the rows are to be fetched.
    pub const CURSOR_EXISTS: Self = Self(1 << 6);
    /// The cursor has no more rows.
    pub const LAST_ROW_SENT: Self = Self(1 << 7);
    /// A read-only transaction is open.
    pub const IN_TRANS_READONLY: Self = Self(1 << 13);
    /// The packet tells of changes of the session's state.
    pub const SESSION_STATE_CHANGED: Self = Self(1 << 14);

    /// The flags with just these bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// All bits, named or not.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// True where every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for StatusFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// From this length on, in bytes, a packet that begins with 0xFE is a row, as its first value is
/// longer than 16 MiB.
pub(super) const EOF_LEN_MAX: usize = 9;
