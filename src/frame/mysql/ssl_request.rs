use crate::error::Result;
use crate::wire::{Reader, Writer};

use super::capabilities::Capabilities;
use super::response::{HandshakeResponse, set_capabilities};
use super::violation::Violation;

/// What a client may answer to a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstClientPacket<'a> {
    /// It asks for TLS, and its next byte belongs to TLS.
    SslRequest(SslRequest),
    /// It logs in without TLS.
    Login(HandshakeResponse<'a>),
}

impl<'a> FirstClientPacket<'a> {
    /// Reads the first packet of a client.
    ///
    /// Whatever its length, it asks for TLS where it has CLIENT_SSL: so do MySQL, MariaDB and
    /// OceanBase judge.
    ///
    /// # Errors
    ///
    /// Where it is neither.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Violation> {
        let flags = Reader::new(payload)
            .u32_le()
            .ok_or(Violation::Malformed("a login or a request for TLS"))?;
        match Capabilities::from_bits(flags.into()).contains(Capabilities::SSL) {
            true => SslRequest::parse(payload).map(Self::SslRequest),
            false => HandshakeResponse::parse(payload).map(Self::Login),
        }
    }
}

/// A client's request to go on in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SslRequest {
    /// What the client uses. To MySQL and MariaDB this counts, not its repetition inside of TLS.
    pub capabilities: Capabilities,
    /// Whatever followed the capabilities of a request of full length; `None` for the four bytes of
    /// old Java drivers.
    pub settings: Option<SslRequestSettings>,
}

/// The fields of a request of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SslRequestSettings {
    /// The longest packet the client takes, in bytes.
    pub packet_len_max: u32,
    /// The low byte of its collation.
    pub collation: u8,
}

impl SslRequest {
    /// Reads a request of 32 bytes or of 4; bytes beyond the 32nd are not looked at.
    ///
    /// # Errors
    ///
    /// Where CLIENT_SSL is missing, or not even the capabilities are whole.
    pub fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(payload);
        let request = match Fixed::read(&mut reader) {
            Some(fixed) => Self {
                capabilities: fixed.capabilities,
                settings: Some(SslRequestSettings {
                    packet_len_max: fixed.packet_len_max,
                    collation: fixed.collation,
                }),
            },
            None => Self {
                capabilities: Capabilities::from_bits(reader.u32_le().ok_or(MALFORMED)?.into()),
                settings: None,
            },
        };
        match request.capabilities.contains(Capabilities::SSL) {
            true => Ok(request),
            false => Err(MALFORMED),
        }
    }

    /// The request's payload, of full length.
    pub fn payload(&self) -> Vec<u8> {
        let fixed = Fixed {
            capabilities: self.capabilities,
            packet_len_max: self.settings.map_or(0, |settings| settings.packet_len_max),
            collation: self.settings.map_or(0, |settings| settings.collation),
        };
        let mut payload = Vec::with_capacity(SSL_REQUEST_LEN);
        fixed.write(&mut Writer::new(&mut payload));
        payload
    }

    /// The payload of the request that has to go before the login `response`: its first 32 bytes,
    /// with CLIENT_SSL. MySQL and MariaDB parse the login by the capabilities of the request, so
    /// any other request would make them misread it.
    ///
    /// # Errors
    ///
    /// Where `response` is shorter than that.
    pub fn before(response: &[u8]) -> Result<[u8; SSL_REQUEST_LEN], Violation> {
        let mut payload = *response
            .first_chunk::<SSL_REQUEST_LEN>()
            .ok_or(Violation::Malformed("a login"))?;
        let flags = Fixed::read(&mut Reader::new(&payload)).ok_or(MALFORMED)?;
        set_capabilities(&mut payload, flags.capabilities.with(Capabilities::SSL))?;
        Ok(payload)
    }
}

/// The 32 bytes that a request for TLS and a login begin with.
pub(super) struct Fixed {
    pub(super) capabilities: Capabilities,
    pub(super) packet_len_max: u32,
    pub(super) collation: u8,
}

impl Fixed {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Reader::new(reader.take(SSL_REQUEST_LEN)?);
        let low = fields.u32_le()?;
        let packet_len_max = fields.u32_le()?;
        let collation = fields.u8()?;
        fields.take(19)?;
        let extended = fields.u32_le()?;
        Some(Self {
            capabilities: Capabilities::join(low, extended),
            packet_len_max,
            collation,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32_le(self.capabilities.low());
        writer.u32_le(self.packet_len_max);
        writer.u8(self.collation);
        writer.zeros(19);
        writer.u32_le(self.capabilities.extended());
    }
}

/// Length of the payload of a full request for TLS, in bytes. OceanBase must get no other: its
/// first read is of this length and a header.
pub const SSL_REQUEST_LEN: usize = 32;

const MALFORMED: Violation = Violation::Malformed("a request for TLS");
