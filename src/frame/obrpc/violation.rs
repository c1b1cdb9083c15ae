use std::fmt;

use crate::error::{Error, ErrorKind};

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Something is not what its place asks for; the text names what was expected.
    Malformed(&'static str),
    /// A packet does not begin as packets do.
    Magic([u8; 4]),
    /// A header promises more than is accepted. Nothing of it was buffered.
    TooLong {
        /// What the header promises, in bytes.
        len: usize,
        /// What is accepted, in bytes.
        len_max: usize,
    },
    /// A negotiation message promises fewer bytes than it has, or more than any has.
    MessageLen(u32),
    /// A negotiation message asks for a method that does not exist.
    UnknownMethod(u32),
    /// The payload has another checksum than its header says.
    Checksum {
        /// What the header says.
        expected: u64,
        /// What the payload has.
        got: u64,
    },
    /// An object has another version than the one that is understood.
    Version(u64),
    /// The payload was compressed by a method that is not read here.
    Compressor(u32),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(expected) => write!(f, "not {expected}"),
            Self::Magic(got) => write!(
                f,
                "not OB-RPC: a packet that begins with \"{}\"",
                got.escape_ascii()
            ),
            Self::TooLong { len, len_max } => {
                write!(f, "packet too large: {len} bytes, {len_max} are accepted")
            }
            Self::MessageLen(len) => {
                write!(f, "negotiation message of {len} bytes behind its head")
            }
            Self::UnknownMethod(method) => {
                write!(
                    f,
                    "negotiation message asks for the unknown method {method}"
                )
            }
            Self::Checksum { expected, got } => write!(
                f,
                "payload is damaged: checksum {got:#x}, its header says {expected:#x}"
            ),
            Self::Version(version) => write!(f, "object of version {version}, expected 1"),
            Self::Compressor(compressor) => {
                write!(
                    f,
                    "payload compressed by method {compressor}, unreadable here"
                )
            }
        }
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        let kind = match violation {
            Violation::TooLong { .. } => ErrorKind::Limit,
            _ => ErrorKind::Protocol,
        };
        Self::new(kind, violation.to_string())
    }
}
