use std::fmt;

use crate::error::{Error, ErrorKind};

/// Why bytes are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// They are not what their place asks for; the text names what was expected.
    Malformed(&'static str),
    /// The header is longer than is accepted.
    TooLong {
        /// What it promises, or what came of it, in bytes.
        len: usize,
        /// What is accepted, in bytes.
        len_max: usize,
    },
    /// Its checksum is that of other bytes.
    Checksum,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(expected) => write!(f, "not {expected}"),
            Self::TooLong { len, len_max } => {
                write!(f, "too long: {len} bytes, {len_max} are accepted")
            }
            Self::Checksum => f.write_str("its checksum is that of other bytes"),
        }
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        let kind = match violation {
            Violation::TooLong { .. } => ErrorKind::Limit,
            Violation::Malformed(_) | Violation::Checksum => ErrorKind::Protocol,
        };
        Self::new(kind, violation.to_string())
    }
}
