use std::ffi::CStr;

use crate::wire::{Reader, Writer};

use super::unis::{UnisRead, UnisWrite};
use super::violation::Violation;

/// What every response begins with; a result follows where the code is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultCode {
    /// Zero, or one of OceanBase's error codes.
    pub rcode: i32,
    /// What is said about it, at most 512 bytes.
    pub message: Vec<u8>,
    /// Warnings.
    pub warnings: Vec<Warning>,
}

/// A warning beside a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warning {
    /// The text.
    pub message: Vec<u8>,
    /// The code.
    pub code: i32,
    /// The log level.
    pub log_level: i32,
    /// The line it is about.
    pub line: i32,
    /// The column it is about.
    pub column: i32,
}

impl ResultCode {
    /// A code without text.
    pub fn new(rcode: i32) -> Self {
        Self {
            rcode,
            ..Self::default()
        }
    }

    /// True where a result follows.
    pub fn is_ok(&self) -> bool {
        self.rcode == Self::OK
    }

    /// Reads the result code at the front of a response's payload. The result follows in `reader`.
    ///
    /// # Errors
    ///
    /// [`Violation`] where there is none.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Violation> {
        let mut members = reader.object()?;
        Ok(Self {
            rcode: members.member(Reader::vi32)?,
            message: members.member(UnisRead::c_string)?.to_vec(),
            warnings: members.list(WARNINGS_MAX, Warning::read)?,
        })
    }

    /// Appends it.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.vi32(self.rcode);
            members.c_string(&self.message);
            members.list(&self.warnings, |writer, warning| warning.write(writer));
        });
    }
}

impl Warning {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Violation> {
        let mut members = reader.object()?;
        Ok(Self {
            message: members.member(UnisRead::c_string)?.to_vec(),
            code: members.member(Reader::vi32)?,
            log_level: members.member(Reader::vi32)?,
            line: members.member(Reader::vi32)?,
            column: members.member(Reader::vi32)?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.c_string(&self.message);
            members.vi32(self.code);
            members.vi32(self.log_level);
            members.vi32(self.line);
            members.vi32(self.column);
        });
    }
}

/// Declares the result codes that have a name here.
macro_rules! rcodes {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        impl ResultCode {
            $(#[doc = $doc] pub const $name: i32 = $value;)*

            /// The name, where it is known here.
            pub fn name(&self) -> Option<&'static str> {
                match self.rcode {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// OceanBase's name, where it is known here.
            pub(crate) fn c_name(&self) -> Option<&'static CStr> {
                if self.is_ok() {
                    return Some(c"OB_SUCCESS");
                }
                let name = match self.rcode {
                    $(Self::$name => concat!("OB_", stringify!($name), "\0"),)*
                    _ => return None,
                };
                CStr::from_bytes_with_nul(name.as_bytes()).ok()
            }
        }
    };
}

rcodes! {
    OK = 0, "Done.";
    ERROR = -4000, "Not done.";
    INVALID_ARGUMENT = -4002, "An argument is out of its range.";
    NOT_INIT = -4006, "The server is not ready for this.";
    NOT_SUPPORTED = -4007, "An object of another version, or an operation that does not exist.";
    TIMEOUT = -4012, "Not done in time.";
    ALLOCATE_MEMORY_FAILED = -4013, "Memory is used up.";
    ERR_UNEXPECTED = -4016, "A defect of the server.";
    ENTRY_NOT_EXIST = -4018, "What was asked for does not exist.";
    EAGAIN = -4023, "Not now; to be tried again.";
    DESERIALIZE_ERROR = -4034, "The arguments cannot be read.";
    NOT_MASTER = -4038, "Another replica leads.";
    UNKNOWN_PACKET = -4118, "The call is not known.";
    RPC_PACKET_TOO_LONG = -4119, "The packet is longer than is accepted.";
    RPC_SEND_ERROR = -4121, "The request could not be sent.";
    RPC_POST_ERROR = -4122, "The request could not be queued.";
    RPC_PACKET_INVALID = -4128, "The packet cannot be read.";
    INVALID_CONFIG = -4147, "A parameter does not exist, or cannot have that value.";
    UNKNOWN_CONNECTION = -4174, "The call needs an authenticated connection.";
    RPC_CONNECT_ERROR = -4265, "No connection could be made.";
    LS_NOT_EXIST = -4719, "The log stream does not exist.";
    TENANT_NOT_IN_SERVER = -5150, "The tenant is not on this server.";
    PACKET_CHECKSUM_ERROR = -8003, "The payload is damaged.";
    PACKET_CLUSTER_ID_NOT_MATCH = -8004, "The request is for another cluster.";
}

/// Warnings in one result code: many times what servers keep.
const WARNINGS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(rcode: &ResultCode) -> Vec<u8> {
        let mut out = Vec::new();
        rcode.write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn vectors() {
        let success = [1, 0x84, 0x80, 0x80, 0x80, 0, 0, 1, 0, 0];
        let refused = [
            1, 0x88, 0x80, 0x80, 0x80, 0, 0xb2, 0xdf, 0xff, 0xff, 0x0f, 1, 0, 0,
        ];
        for (rcode, vector) in [
            (ResultCode::OK, &success[..]),
            (ResultCode::UNKNOWN_CONNECTION, &refused),
        ] {
            let rcode = ResultCode::new(rcode);
            assert_eq!(bytes(&rcode), vector);
            assert_eq!(ResultCode::read(&mut Reader::new(vector)), Ok(rcode));
        }
        assert_eq!(ResultCode::new(-4174).name(), Some("UNKNOWN_CONNECTION"));
    }

    #[test]
    fn texts_and_warnings_are_read_back() {
        let rcode = ResultCode {
            rcode: ResultCode::TIMEOUT,
            message: b"too late".to_vec(),
            warnings: vec![Warning {
                message: b"slow".to_vec(),
                code: -1,
                log_level: 3,
                line: 20,
                column: i32::MAX,
            }],
        };
        let mut bytes = bytes(&rcode);
        bytes.extend(b"result");
        let mut reader = Reader::new(&bytes);
        assert_eq!(ResultCode::read(&mut reader), Ok(rcode));
        assert_eq!(reader.rest(), b"result");
    }
}
