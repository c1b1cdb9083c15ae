use crate::frame::obrpc::Compressor;
use crate::wire::{Reader, Writer};

use super::{
    ClientId, LogGroups, RPC_VERSION, UnisRead, UnisWrite, Violation, fixed, read_rpc_version,
};

/// The arguments of [`Pcode::LS_FETCH_LOG2`](crate::frame::obrpc::Pcode::LS_FETCH_LOG2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchLogRequest {
    /// The log stream.
    pub ls_id: u64,
    /// From where on.
    pub start_lsn: u64,
    /// Up to which time, in nanoseconds since 1970.
    pub upper_limit_ts_ns: i64,
    /// The reader's process.
    pub client_pid: i64,
    /// Who reads.
    pub client: ClientId,
    /// The time of the latest log that was fetched, in nanoseconds since 1970: where another server
    /// finds its place by.
    pub progress_ns: i64,
    /// Bit 0: look in the archive only; bit 1: test.
    pub flags: u8,
    /// How the log may be compressed.
    pub compressor: Compressor,
    /// The tenant.
    pub tenant_id: i64,
}

/// The result of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchLogResponse<'a> {
    /// Zero, or an error code.
    pub error: i32,
    /// The same, for those who look for its cause.
    pub debug_error: i32,
    /// The log stream.
    pub ls_id: u64,
    /// What the reader had better know.
    pub feedback: Feedback,
    /// How the fetching went.
    pub status: FetchStatus,
    /// Where to ask on from. Whoever asks again from here neither loses nor repeats a group.
    pub next_lsn: u64,
    /// The number of groups in `log`.
    pub group_count: i64,
    /// Groups of log entries, one after the other.
    pub log: &'a [u8],
    /// How far the server is, in nanoseconds since 1970.
    pub server_progress_ns: i64,
}

/// What a server says about itself beside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback(pub i32);

/// How the fetching went. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// The log ends here.
    pub is_max_lsn_reached: bool,
    /// The upper limit was reached.
    pub is_upper_limit_reached: bool,
    /// How often the log was gone through.
    pub scan_rounds: i64,
    /// From the reader to the server.
    pub l2s_net_time: i64,
    /// In the queue.
    pub queue_time: i64,
    /// Reading the log.
    pub fetch_time: i64,
    /// In all.
    pub process_time: i64,
}

impl Feedback {
    /// Nothing to be said.
    pub const NONE: Self = Self(-1);
    /// A follower that lags behind.
    pub const LAGGED_FOLLOWER: Self = Self(0);
    /// The log is not on this server.
    pub const LOG_NOT_IN_THIS_SERVER: Self = Self(1);
    /// The log stream is offline.
    pub const LS_OFFLINE: Self = Self(2);
    /// The archive ends here, and the log stream is not on this server.
    pub const ARCHIVE_END_REACHED: Self = Self(3);
}

impl FetchLogRequest {
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
            start_lsn: members.member(fixed)?,
            upper_limit_ts_ns: members.member(Reader::vi64)?,
            client_pid: members.member(Reader::vi64)?,
            client: ClientId::read(&mut members)?,
            progress_ns: members.member(Reader::vi64)?,
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
            members.u64_be(self.start_lsn);
            members.vi64(self.upper_limit_ts_ns);
            members.vi64(self.client_pid);
            self.client.write(members);
            members.vi64(self.progress_ns);
            members.u8(self.flags);
            members.vi32(self.compressor.0.cast_signed());
            members.vi64(self.tenant_id);
        });
    }
}

impl<'a> FetchLogResponse<'a> {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// [`Violation`] where it is something else.
    pub fn read(result: &'a [u8]) -> Result<Self, Violation> {
        let mut members = Reader::new(result).object()?;
        read_rpc_version(&mut members)?;
        Ok(Self {
            error: members.member(Reader::vi32)?,
            debug_error: members.member(Reader::vi32)?,
            ls_id: members.member(fixed)?,
            feedback: Feedback(members.member(Reader::vi32)?),
            status: FetchStatus::read(&mut members)?,
            next_lsn: members.member(fixed)?,
            group_count: members.member(Reader::vi64)?,
            log: read_log(&mut members)?,
            server_progress_ns: members.member(Reader::vi64)?,
        })
    }

    /// Appends it.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.vi64(RPC_VERSION);
            members.vi32(self.error);
            members.vi32(self.debug_error);
            members.u64_be(self.ls_id);
            members.vi32(self.feedback.0);
            self.status.write(members);
            members.u64_be(self.next_lsn);
            members.vi64(self.group_count);
            members.varint(self.log.len() as u64);
            members.bytes(self.log);
            members.vi64(self.server_progress_ns);
        });
    }

    /// The groups of the log, of which the first is at `start_lsn`: where the request asked for.
    pub fn groups(&self, start_lsn: u64) -> LogGroups<'a> {
        LogGroups::new(start_lsn, self.log)
    }
}

impl FetchStatus {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Violation> {
        if reader.is_empty() {
            return Ok(Self::default());
        }
        let mut members = reader.object()?;
        Ok(Self {
            is_max_lsn_reached: members.member(Reader::u8)? != 0,
            is_upper_limit_reached: members.member(Reader::u8)? != 0,
            scan_rounds: members.member(Reader::vi64)?,
            l2s_net_time: members.member(Reader::vi64)?,
            queue_time: members.member(Reader::vi64)?,
            fetch_time: members.member(Reader::vi64)?,
            process_time: members.member(Reader::vi64)?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|members| {
            members.u8(self.is_max_lsn_reached.into());
            members.u8(self.is_upper_limit_reached.into());
            members.vi64(self.scan_rounds);
            members.vi64(self.l2s_net_time);
            members.vi64(self.queue_time);
            members.vi64(self.fetch_time);
            members.vi64(self.process_time);
        });
    }
}

fn read_log<'a>(members: &mut Reader<'a>) -> Result<&'a [u8], Violation> {
    let len = members.member(Reader::varint)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > LOG_LEN_MAX {
        return Err(Violation::TooLong {
            len,
            len_max: LOG_LEN_MAX,
        });
    }
    members
        .take(len)
        .ok_or(Violation::Malformed("as much log as announced"))
}

/// Log in one response, in bytes, as servers bound it: 17 MiB.
const LOG_LEN_MAX: usize = 17 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> FetchLogRequest {
        FetchLogRequest {
            ls_id: 1,
            start_lsn: 0x1234,
            upper_limit_ts_ns: i64::MAX,
            client_pid: 42,
            client: ClientId {
                pid: 42,
                address: Some("[::1]:9".parse().unwrap()),
            },
            progress_ns: 17,
            flags: 2,
            compressor: Compressor::LZ4_1_9_1,
            tenant_id: 1002,
        }
    }

    #[test]
    fn requests_and_responses_are_read_back_and_never_half() {
        let mut out = Vec::new();
        request().write(&mut Writer::new(&mut out));
        assert_eq!(FetchLogRequest::read(&out), Ok(request()));
        for cut in 0..out.len() {
            assert!(FetchLogRequest::read(&out[..cut]).is_err());
        }

        let response = FetchLogResponse {
            error: -4009,
            debug_error: 5,
            ls_id: 1,
            feedback: Feedback::NONE,
            status: FetchStatus {
                is_max_lsn_reached: true,
                scan_rounds: 3,
                process_time: -1,
                ..FetchStatus::default()
            },
            next_lsn: 0x1234,
            group_count: 0,
            log: b"raw",
            server_progress_ns: 99,
        };
        let mut out = Vec::new();
        response.write(&mut Writer::new(&mut out));
        assert_eq!(FetchLogResponse::read(&out), Ok(response));
        for cut in 0..out.len() {
            assert!(FetchLogResponse::read(&out[..cut]).is_err());
        }
    }

    #[test]
    fn both_are_laid_out_as_documented() {
        let mut out = Vec::new();
        request().write(&mut Writer::new(&mut out));
        let expected = [
            &[1, 0xb6, 0x80, 0x80, 0x80, 0, 1][..],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0x12, 0x34],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[42],
            &[1, 0x90, 0x80, 0x80, 0x80, 0, 42],
            &[1, 0x89, 0x80, 0x80, 0x80, 0, 6],
            &[0, 0, 0, 0x80, 0x80, 0x80, 0x08, 9],
            &[17, 2],
            &[COMPRESSOR, 0xea, 7],
        ]
        .concat();
        assert_eq!(out, expected, "{out:x?}");

        let response = FetchLogResponse {
            ls_id: 1001,
            feedback: Feedback::NONE,
            status: FetchStatus {
                is_upper_limit_reached: true,
                scan_rounds: 2,
                ..FetchStatus::default()
            },
            next_lsn: 0x1234,
            group_count: 3,
            log: b"raw",
            server_progress_ns: 5,
            ..FetchLogResponse::default()
        };
        let mut out = Vec::new();
        response.write(&mut Writer::new(&mut out));
        let expected = [
            &[1, 0xab, 0x80, 0x80, 0x80, 0, 1][..],
            &[0, 0],
            &[0, 0, 0, 0, 0, 0, 3, 0xe9],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[1, 0x87, 0x80, 0x80, 0x80, 0, 0, 1, 2, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0x12, 0x34],
            &[3, 3],
            b"raw",
            &[5],
        ]
        .concat();
        assert_eq!(out, expected, "{out:x?}");
    }

    #[test]
    fn a_log_longer_than_its_message_or_any_is_refused() {
        for len in [8, LOG_LEN_MAX as u64 + 1, u64::MAX] {
            let mut out = Vec::new();
            Writer::new(&mut out).varint(len);
            out.extend(b"1234567");
            assert!(read_log(&mut Reader::new(&out)).is_err());
        }
    }

    const COMPRESSOR: u8 = Compressor::LZ4_1_9_1.0 as u8;
}
