use crate::frame::obrpc::Compressor;
use crate::wire::{Reader, Writer};

use super::{ClientId, RPC_VERSION, UnisRead, UnisWrite, Violation, fixed, read_rpc_version};

/// The arguments of
/// [`Pcode::LS_FETCH_MISSING_LOG`](crate::frame::obrpc::Pcode::LS_FETCH_MISSING_LOG): single log
/// entries. The result is a [`FetchLogResponse`](super::FetchLogResponse), whose log are
/// [`LogEntries`](super::LogEntries) and not groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingLogRequest {
    /// The log stream.
    pub ls_id: u64,
    /// Where the entries are.
    pub lsns: Vec<u64>,
    /// The reader's process.
    pub client_pid: i64,
    /// Who reads.
    pub client: ClientId,
    /// Bit 0: look in the archive only; bit 1: test.
    pub flags: u8,
    /// How the log may be compressed.
    pub compressor: Compressor,
    /// The tenant.
    pub tenant_id: i64,
}

impl MissingLogRequest {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is something else.
    pub fn read(content: &[u8]) -> Result<Self, Violation> {
        let mut members = Reader::new(content).object()?;
        read_rpc_version(&mut members)?;
        Ok(Self {
            ls_id: members.member(fixed)?,
            lsns: members.list(LSNS_MAX, |reader| reader.object()?.member(fixed))?,
            client_pid: members.member(Reader::vi64)?,
            client: ClientId::read(&mut members)?,
            flags: members.member(Reader::u8)?,
            compressor: Compressor(members.member(Reader::vi32)?.cast_unsigned()),
            tenant_id: members.member(Reader::vi64)?,
        })
    }

    /// Appends it.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.vi64(RPC_VERSION);
            members.u64_be(self.ls_id);
            members.list(&self.lsns, |writer, lsn| {
                writer.object(|members| members.u64_be(*lsn));
            });
            members.vi64(self.client_pid);
            self.client.write(members);
            members.u8(self.flags);
            members.vi32(self.compressor.0.cast_signed());
            members.vi64(self.tenant_id);
        });
    }
}

/// Positions in one request: as many as servers take of log streams in one call.
const LSNS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_documented() {
        let request = MissingLogRequest {
            ls_id: 1001,
            lsns: vec![0x1234],
            client_pid: 42,
            client: ClientId {
                pid: 7,
                address: None,
            },
            flags: 1,
            compressor: Compressor::LZ4_1_9_1,
            tenant_id: 1002,
        };
        let mut out = Vec::new();
        request.write(&mut Writer::new(&mut out));
        let expected = [
            &[1, 0xb0, 0x80, 0x80, 0x80, 0, 1][..],
            &[0, 0, 0, 0, 0, 0, 3, 0xe9],
            &[
                1, 1, 0x88, 0x80, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34,
            ],
            &[42],
            &[1, 0x8d, 0x80, 0x80, 0x80, 0, 7],
            &[1, 0x86, 0x80, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0],
            &[1, COMPRESSOR, 0xea, 7],
        ]
        .concat();
        assert_eq!(out, expected, "{out:x?}");
        assert_eq!(MissingLogRequest::read(&out), Ok(request));
        for cut in 0..out.len() {
            assert!(MissingLogRequest::read(&out[..cut]).is_err());
        }
    }

    const COMPRESSOR: u8 = Compressor::LZ4_1_9_1.0 as u8;
}
