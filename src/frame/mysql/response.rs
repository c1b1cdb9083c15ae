use std::fmt;

use zeroize::Zeroizing;

use crate::error::Result;
use crate::wire::{Reader, Writer};

use super::capabilities::Capabilities;
use super::ssl_request::Fixed;
use super::violation::Violation;

/// A client's login, HandshakeResponse41.
///
/// Its own capabilities say how it is to be read. MySQL and MariaDB read it by those of the request
/// for TLS before it, which is why [`SslRequest::before`](super::SslRequest::before) makes the two
/// agree.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HandshakeResponse<'a> {
    /// What the client uses.
    pub capabilities: Capabilities,
    /// The longest packet it takes, in bytes.
    pub packet_len_max: u32,
    /// The low byte of its collation.
    pub collation: u8,
    /// The account.
    pub user: &'a [u8],
    /// The answer to the greeting's nonce. It may be a password in clear.
    pub auth_response: &'a [u8],
    /// The database to use, where CLIENT_CONNECT_WITH_DB is set.
    pub database: Option<&'a [u8]>,
    /// The plugin that made `auth_response`, where CLIENT_PLUGIN_AUTH is set.
    pub plugin: Option<&'a [u8]>,
    /// What the client tells about itself, where CLIENT_CONNECT_ATTRS is set.
    pub attributes: Attributes<'a>,
    /// The level of zstd compression, where that is used.
    pub zstd_level: Option<u8>,
}

impl<'a> HandshakeResponse<'a> {
    /// Reads a login.
    ///
    /// # Errors
    ///
    /// Where a field is not whole, or the client does not speak the protocol of 4.1. A plugin and
    /// attributes that are announced may be missing from the end, as every server allows.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Violation> {
        Self::read(&mut Reader::new(payload)).ok_or(MALFORMED)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let Fixed {
            capabilities,
            packet_len_max,
            collation,
        } = Fixed::read(reader)?;
        if !capabilities.contains(Capabilities::PROTOCOL_41) {
            return None;
        }
        let user = reader.nul_bytes()?;
        let auth_response = AuthEncoding::of(capabilities).read(reader)?;
        let database = match capabilities.contains(Capabilities::CONNECT_WITH_DB) {
            true => Some(reader.nul_bytes()?),
            false => None,
        };
        let plugin = read_plugin(reader, capabilities)?;
        let attributes = Attributes::read(reader, capabilities)?;
        let is_zstd = capabilities.contains(Capabilities::ZSTD_COMPRESSION_ALGORITHM);
        let zstd_level = is_zstd.then(|| reader.u8()).flatten();
        Some(Self {
            capabilities,
            packet_len_max,
            collation,
            user,
            auth_response,
            database,
            plugin,
            attributes,
            zstd_level,
        })
    }

    /// Writes the login's payload: the fields that its capabilities announce. An authentication
    /// response that its encoding cannot hold is cut, which a server refuses.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let fixed = Fixed {
            capabilities: self.capabilities,
            packet_len_max: self.packet_len_max,
            collation: self.collation,
        };
        fixed.write(writer);
        writer.nul_bytes(self.user);
        match AuthEncoding::of(self.capabilities) {
            AuthEncoding::Lenenc => writer.lenenc_bytes(self.auth_response),
            AuthEncoding::Short => write_short(writer, self.auth_response),
            AuthEncoding::Nul => writer.nul_bytes(self.auth_response),
        }
        let announces = |flag| self.capabilities.contains(flag);
        if announces(Capabilities::CONNECT_WITH_DB) {
            writer.nul_bytes(self.database.unwrap_or_default());
        }
        if announces(Capabilities::PLUGIN_AUTH) {
            writer.nul_bytes(self.plugin.unwrap_or_default());
        }
        if announces(Capabilities::CONNECT_ATTRS) {
            writer.lenenc_bytes(self.attributes.bytes);
        }
        if announces(Capabilities::ZSTD_COMPRESSION_ALGORITHM) {
            writer.u8(self.zstd_level.unwrap_or(ZSTD_LEVEL_DEFAULT));
        }
    }

    /// Sets the capabilities in a login's payload; every other byte stays. The extended half is
    /// written where there is one.
    ///
    /// # Errors
    ///
    /// Where the payload is no login; nothing is changed.
    pub fn set_capabilities(
        payload: &mut [u8],
        capabilities: Capabilities,
    ) -> Result<(), Violation> {
        HandshakeResponse::parse(payload)?;
        set_capabilities(payload, capabilities)
    }

    /// A login's payload with another authentication response; every other byte stays.
    ///
    /// # Errors
    ///
    /// Where the payload is no login, or its encoding cannot hold the response.
    pub fn with_auth_response(
        payload: &[u8],
        auth_response: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Violation> {
        splice(payload, auth_response).ok_or(MALFORMED)
    }

    /// A login's payload with another user; every other byte stays.
    ///
    /// # Errors
    ///
    /// Where the payload is no login.
    pub fn with_user(payload: &[u8], user: &[u8]) -> Result<Zeroizing<Vec<u8>>, Violation> {
        let mut reader = Reader::new(payload);
        Fixed::read(&mut reader).ok_or(MALFORMED)?;
        splice_user(payload, reader, user).ok_or(MALFORMED)
    }
}

/// `payload` with `user` in place of the text up to a NUL that `reader` has before it.
pub(super) fn splice_user(
    payload: &[u8],
    mut reader: Reader<'_>,
    user: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let before = payload.get(..payload.len() - reader.len())?;
    reader.nul_bytes()?;
    // Reserved once: growing would leave copies of a password behind in freed memory.
    let len = before.len() + user.len() + 1 + reader.len();
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    let mut writer = Writer::new(&mut out);
    writer.bytes(before);
    writer.nul_bytes(user);
    writer.bytes(reader.rest());
    Some(out)
}

fn splice(payload: &[u8], auth_response: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut reader = Reader::new(payload);
    let encoding = AuthEncoding::of(Fixed::read(&mut reader)?.capabilities);
    reader.nul_bytes()?;
    let before = payload.get(..payload.len() - reader.len())?;
    encoding.read(&mut reader)?;
    // Reserved once: growing would leave copies of a password behind in freed memory.
    let len = payload.len() + auth_response.len() + LENENC_LEN_MAX;
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    let mut writer = Writer::new(&mut out);
    writer.bytes(before);
    encoding.write(&mut writer, auth_response)?;
    writer.bytes(reader.rest());
    Some(out)
}

/// Leaves the authentication response out, as it may be a password.
impl fmt::Debug for HandshakeResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("capabilities", &self.capabilities)
            .field("user", &String::from_utf8_lossy(self.user))
            .field("database", &self.database.map(String::from_utf8_lossy))
            .field("plugin", &self.plugin.map(String::from_utf8_lossy))
            .finish_non_exhaustive()
    }
}

/// What a client tells about itself: pairs of a key and a value.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Well-formed throughout.
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Attributes of pairs that were written with [`Writer::lenenc_bytes`], key and value in turn.
    ///
    /// # Errors
    ///
    /// Where the bytes are not just that.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            next_pair(&mut reader).ok_or(Violation::Malformed("connection attributes"))?;
        }
        Ok(Self { bytes })
    }

    pub(super) fn read(reader: &mut Reader<'a>, capabilities: Capabilities) -> Option<Self> {
        if reader.is_empty() || !capabilities.contains(Capabilities::CONNECT_ATTRS) {
            return Some(Self::default());
        }
        Self::parse(reader.lenenc_bytes()?).ok()
    }

    /// The pairs in their order. A key may come more than once.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || next_pair(&mut reader))
    }

    /// The value of the first pair with the key `key`.
    pub fn find(self, key: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }
}

impl fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self
            .iter()
            .map(|(key, value)| (String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        f.debug_map().entries(texts).finish()
    }
}

/// Sets the capabilities at the front of a login or of a full request for TLS.
pub(super) fn set_capabilities(
    payload: &mut [u8],
    capabilities: Capabilities,
) -> Result<(), Violation> {
    let old = Fixed::read(&mut Reader::new(payload)).ok_or(MALFORMED)?;
    let fixed = payload.first_chunk_mut::<32>().ok_or(MALFORMED)?;
    let [a, b, c, d, ..] = fixed;
    [*a, *b, *c, *d] = capabilities.low().to_le_bytes();
    if !old.capabilities.contains(Capabilities::LONG_PASSWORD) {
        let [.., e, f, g, h] = fixed;
        [*e, *f, *g, *h] = capabilities.extended().to_le_bytes();
    }
    Ok(())
}

/// The plugin's name, which may be missing or lack its NUL at the end of a packet. The outer `None`
/// is a name that ends nowhere with more behind it.
pub(super) fn read_plugin<'a>(
    reader: &mut Reader<'a>,
    capabilities: Capabilities,
) -> Option<Option<&'a [u8]>> {
    if !capabilities.contains(Capabilities::PLUGIN_AUTH) {
        return Some(None);
    }
    if reader.is_empty() {
        return Some(Some(&[]));
    }
    reader.nul_bytes().map(Some)
}

pub(super) fn write_short(writer: &mut Writer<'_>, bytes: &[u8]) {
    let len = bytes.len().min(u8::MAX.into());
    writer.u8(len as u8);
    writer.bytes(bytes.get(..len).unwrap_or_default());
}

fn next_pair<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    Some((reader.lenenc_bytes()?, reader.lenenc_bytes()?))
}

/// How the authentication response says where it ends.
enum AuthEncoding {
    Lenenc,
    Short,
    Nul,
}

impl AuthEncoding {
    fn of(capabilities: Capabilities) -> Self {
        if capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            return Self::Lenenc;
        }
        match capabilities.contains(Capabilities::SECURE_CONNECTION) {
            true => Self::Short,
            false => Self::Nul,
        }
    }

    fn read<'a>(&self, reader: &mut Reader<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Lenenc => reader.lenenc_bytes(),
            Self::Short => {
                let len = reader.u8()?;
                reader.take(len.into())
            }
            Self::Nul => reader.nul_bytes(),
        }
    }

    /// Writes what it can hold whole.
    fn write(&self, writer: &mut Writer<'_>, response: &[u8]) -> Option<()> {
        match self {
            Self::Lenenc => writer.lenenc_bytes(response),
            Self::Short if response.len() <= u8::MAX.into() => write_short(writer, response),
            Self::Nul if !response.contains(&0) => writer.nul_bytes(response),
            Self::Short | Self::Nul => return None,
        }
        Some(())
    }
}

const MALFORMED: Violation = Violation::Malformed("a login of the protocol of MySQL 4.1");

/// What a length takes at most, in bytes.
const LENENC_LEN_MAX: usize = 9;

/// The level that MySQL's clients send unless told otherwise.
const ZSTD_LEVEL_DEFAULT: u8 = 3;
