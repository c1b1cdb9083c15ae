use crate::wire::{Reader, Writer};

use super::{ClientId, RPC_VERSION, UnisRead, UnisWrite, Violation, fixed, read_rpc_version};

/// The arguments of
/// [`Pcode::LOG_REQ_START_LSN_BY_TS`](crate::frame::obrpc::Pcode::LOG_REQ_START_LSN_BY_TS).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartLsnRequest {
    /// What is asked for.
    pub items: Vec<StartLsnItem>,
    /// Who asks.
    pub client: ClientId,
    /// Bit 0: look in the archive only; bit 1: test.
    pub flags: u8,
}

/// One log stream and a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartLsnItem {
    /// The log stream; 1 is that of the system, others begin at 1001.
    pub ls_id: u64,
    /// The time, in nanoseconds since 1970.
    pub start_ts_ns: i64,
}

/// The result of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartLsnResponse {
    /// Zero, or an error code that holds for all.
    pub error: i32,
    /// The answers in the order of the questions.
    pub items: Vec<StartLsn>,
}

/// Where the log of one log stream begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartLsn {
    /// Zero, or an error code.
    pub error: i32,
    /// The position.
    pub start_lsn: u64,
    /// Its time, in nanoseconds since 1970.
    pub start_ts_ns: i64,
}

impl StartLsnRequest {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is something else.
    pub fn read(content: &[u8]) -> Result<Self, Violation> {
        let mut members = Reader::new(content).object()?;
        read_rpc_version(&mut members)?;
        let items = members.list(ITEMS_MAX, |reader| {
            let mut members = reader.object()?;
            Ok(StartLsnItem {
                ls_id: members.member(fixed)?,
                start_ts_ns: members.member(Reader::vi64)?,
            })
        })?;
        Ok(Self {
            items,
            client: ClientId::read(&mut members)?,
            flags: members.member(Reader::u8)?,
        })
    }

    /// Appends it.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.vi64(RPC_VERSION);
            members.list(&self.items, |writer, item| {
                writer.object(|members| {
                    members.u64_be(item.ls_id);
                    members.vi64(item.start_ts_ns);
                });
            });
            self.client.write(members);
            members.u8(self.flags);
        });
    }
}

impl StartLsnResponse {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is something else.
    pub fn read(result: &[u8]) -> Result<Self, Violation> {
        let mut members = Reader::new(result).object()?;
        read_rpc_version(&mut members)?;
        Ok(Self {
            error: members.member(Reader::vi32)?,
            items: members.list(ITEMS_MAX, |reader| {
                let mut members = reader.object()?;
                Ok(StartLsn {
                    error: members.member(Reader::vi32)?,
                    start_lsn: members.member(fixed)?,
                    start_ts_ns: members.member(Reader::vi64)?,
                })
            })?,
        })
    }

    /// Appends it.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.vi64(RPC_VERSION);
            members.vi32(self.error);
            members.list(&self.items, |writer, item| {
                writer.object(|members| {
                    members.vi32(item.error);
                    members.u64_be(item.start_lsn);
                    members.vi64(item.start_ts_ns);
                });
            });
        });
    }
}

/// Log streams in one call, as servers bound them.
const ITEMS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_documented() {
        let request = StartLsnRequest {
            items: vec![StartLsnItem {
                ls_id: 1001,
                start_ts_ns: 5,
            }],
            client: ClientId {
                pid: 7,
                address: Some("10.0.0.1:2882".parse().unwrap()),
            },
            flags: 1,
        };
        let mut out = Vec::new();
        request.write(&mut Writer::new(&mut out));
        let expected = [
            &[1, 0xa9, 0x80, 0x80, 0x80, 0, 1, 1][..],
            &[1, 0x89, 0x80, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 3, 0xe9, 5],
            &[1, 0x91, 0x80, 0x80, 0x80, 0, 7],
            &[1, 0x8a, 0x80, 0x80, 0x80, 0, 4],
            &[0x81, 0x80, 0x80, 0x50, 0, 0, 0, 0xc2, 0x16],
            &[1],
        ]
        .concat();
        assert_eq!(out, expected, "{out:x?}");
        assert_eq!(StartLsnRequest::read(&out), Ok(request));
    }

    #[test]
    fn a_response_is_read_back_and_never_half() {
        let response = StartLsnResponse {
            error: 0,
            items: vec![
                StartLsn {
                    error: -4018,
                    ..StartLsn::default()
                },
                StartLsn {
                    error: 0,
                    start_lsn: 1 << 40,
                    start_ts_ns: i64::MAX,
                },
            ],
        };
        let mut out = Vec::new();
        response.write(&mut Writer::new(&mut out));
        assert_eq!(StartLsnResponse::read(&out).as_ref(), Ok(&response));
        for cut in 0..out.len() {
            assert!(StartLsnResponse::read(&out[..cut]).is_err());
        }
    }

    #[test]
    fn addresses_of_every_kind_are_read_back() {
        for address in [
            None,
            Some("127.0.0.1:1".parse().unwrap()),
            Some("[2001:db8::7]:65535".parse().unwrap()),
        ] {
            let client = ClientId { pid: -1, address };
            let mut out = Vec::new();
            client.write(&mut Writer::new(&mut out));
            assert_eq!(ClientId::read(&mut Reader::new(&out)), Ok(client));
        }
    }
}
