use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The content type of a record (RFC 8446 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) content_type: ContentType,
    /// Length of what follows the header, in bytes.
    pub(crate) body_len: usize,
}

impl ContentType {
    pub(crate) fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }

    pub(crate) fn to_wire(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }
}

impl Header {
    /// Reads the header at the front of `input`; `None` where it is incomplete.
    ///
    /// The length is judged before the body arrives, so that nobody is made to wait for a record
    /// that is going to be refused.
    pub(crate) fn read(input: &[u8]) -> Result<Option<Self>> {
        let Some(content_type) = input.first().copied().map(ContentType::from_wire) else {
            return Ok(None);
        };
        let (Some(content_type), 3) = (content_type, input.get(1).copied().unwrap_or(3)) else {
            let head = &input[..input.len().min(limits::RECORD_HEADER_LEN)];
            let text = format!("peer sent {head:02x?}, which begins no TLS record");
            return Err(Error::new(ErrorKind::TlsProtocol, text));
        };
        let Some(&[_, _, _, high, low]) = input.first_chunk() else {
            return Ok(None);
        };
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        if body_len > limits::RECORD_CIPHER_LEN_MAX_TLS12 {
            return Err(oversized(body_len));
        }
        Ok(Some(Self {
            content_type,
            body_len,
        }))
    }

    /// Length of header and body, in bytes.
    pub(crate) fn record_len(self) -> usize {
        limits::RECORD_HEADER_LEN + self.body_len
    }
}

/// The header of a sealed record; its version is 3.3 in TLS 1.2 and, for middleboxes, in TLS 1.3.
pub(crate) fn header_bytes(content_type: u8, body_len: usize) -> [u8; 5] {
    let [.., high, low] = body_len.to_be_bytes();
    [content_type, 3, 3, high, low]
}

pub(crate) fn oversized(len: usize) -> Error {
    Error::new(
        ErrorKind::TlsProtocol,
        format!("peer sent a record of {len} bytes, more than TLS allows"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_when_it_is_whole() {
        assert_eq!(Header::read(&[23, 3, 3, 0]), Ok(None));
        let header = Header::read(&[23, 3, 3, 1, 2, 9]).unwrap().unwrap();
        assert_eq!(
            header,
            Header {
                content_type: ContentType::ApplicationData,
                body_len: 258
            }
        );
        assert_eq!(header.record_len(), 263);
    }

    #[test]
    fn unknown_types_versions_and_lengths_are_refused_at_once() {
        for header in [
            [24, 3, 3, 0, 1],
            [23, 2, 0, 0, 1],
            [23, 3, 3, 0x48, 1],
            [b'G', b'E', b'T', 32, 47],
        ] {
            assert_eq!(
                Header::read(&header).unwrap_err().kind(),
                ErrorKind::TlsProtocol
            );
        }
        assert!(Header::read(&[23, 3, 3, 0x48, 0]).is_ok());
    }
}
