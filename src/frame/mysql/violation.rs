use std::fmt;

use crate::error::{Error, ErrorKind};

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A packet is not what its place in the dialogue asks for; the text names what was expected.
    Malformed(&'static str),
    /// A packet has another sequence id than the one that is due.
    OutOfOrder {
        /// The id that was due.
        expected: u8,
        /// The id that came.
        got: u8,
    },
    /// A header promises more than is accepted. Nothing of it was buffered.
    TooLong {
        /// What the header promises, in bytes.
        len: usize,
        /// What is accepted, in bytes.
        len_max: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(expected) => write!(f, "not {expected}"),
            Self::OutOfOrder { expected, got } => {
                write!(
                    f,
                    "packet out of order: sequence id {got}, expected {expected}"
                )
            }
            Self::TooLong { len, len_max } => {
                write!(f, "packet too large: {len} bytes, {len_max} are accepted")
            }
        }
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        let kind = match violation {
            Violation::TooLong { .. } => ErrorKind::Limit,
            Violation::Malformed(_) | Violation::OutOfOrder { .. } => ErrorKind::Protocol,
        };
        Self::new(kind, violation.to_string())
    }
}
