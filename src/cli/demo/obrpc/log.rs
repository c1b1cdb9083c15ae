use crate::frame::obrpc::payload::{
    Feedback, FetchLogRequest, FetchLogResponse, FetchStatus, LogEntry, LogGroup,
};
use crate::wire::Writer;

/// The log of one log stream, as a log reader fetches it.
pub(super) struct Log {
    bytes: Vec<u8>,
    /// Where each group begins, and where the last one ends.
    lsns: Vec<u64>,
}

impl Log {
    pub(super) fn new() -> Self {
        let mut log = Self {
            bytes: Vec::new(),
            lsns: vec![0],
        };
        for index in 0..GROUPS {
            log.append_group(index);
        }
        log
    }

    /// The groups that follow from where `asked` begins; a few at a time, as servers do.
    pub(super) fn fetch(&self, asked: &FetchLogRequest) -> FetchLogResponse<'_> {
        let empty = FetchLogResponse {
            ls_id: asked.ls_id,
            feedback: Feedback::NONE,
            next_lsn: asked.start_lsn,
            ..FetchLogResponse::default()
        };
        let first = self.lsns.binary_search(&asked.start_lsn);
        let (LS_ID, Ok(first)) = (asked.ls_id, first) else {
            return FetchLogResponse {
                feedback: Feedback::LOG_NOT_IN_THIS_SERVER,
                ..empty
            };
        };
        let last = (first + GROUPS_AT_ONCE).min(GROUPS as usize);
        let next_lsn = self.lsns[last];
        FetchLogResponse {
            status: FetchStatus {
                is_max_lsn_reached: last == GROUPS as usize,
                scan_rounds: 1,
                ..FetchStatus::default()
            },
            next_lsn,
            group_count: (last - first) as i64,
            log: &self.bytes[asked.start_lsn as usize..next_lsn as usize],
            server_progress_ns: scn_ns(GROUPS, 0).cast_signed(),
            ..empty
        }
    }

    /// Checksums are zero: the demo's reader has no use for them.
    fn append_group(&mut self, index: u64) {
        let mut entries = Vec::new();
        for number in 0..ENTRIES {
            let text = format!("transfer {} commits", index * ENTRIES + number);
            let entry = LogEntry {
                version: 1,
                scn_ns: scn_ns(index, number),
                data_checksum: 0,
                flags: 0,
                data: text.as_bytes(),
            };
            entry.write(&mut Writer::new(&mut entries));
        }
        let group = LogGroup {
            lsn: self.bytes.len() as u64,
            version: 1,
            proposal_id: 1,
            committed_end_lsn: self.bytes.len() as u64,
            max_scn_ns: scn_ns(index, ENTRIES - 1),
            accumulated_checksum: 0,
            log_id: index as i64 + 1,
            flags: 0,
            data: &entries,
        };
        self.lsns.push(group.end_lsn());
        group.write(&mut Writer::new(&mut self.bytes));
    }
}

/// One entry in a millisecond.
fn scn_ns(group: u64, number: u64) -> u64 {
    SCN_NS + (group * ENTRIES + number) * 1_000_000
}

/// The first log stream that is a user's.
pub(super) const LS_ID: u64 = 1001;

/// The beginning of 2026.
const SCN_NS: u64 = 1_767_225_600_000_000_000;

pub(super) const GROUPS: u64 = 10;

/// In each group.
pub(super) const ENTRIES: u64 = 3;

const GROUPS_AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(log: &Log, ls_id: u64, start_lsn: u64) -> FetchLogResponse<'_> {
        log.fetch(&FetchLogRequest {
            ls_id,
            start_lsn,
            ..FetchLogRequest::default()
        })
    }

    #[test]
    fn a_log_is_fetched_to_its_end_and_no_further() {
        let log = Log::new();
        let (mut lsn, mut counts) = (0, Vec::new());
        loop {
            let found = fetch(&log, LS_ID, lsn);
            counts.push(found.group_count);
            lsn = found.next_lsn;
            if found.status.is_max_lsn_reached {
                break;
            }
        }
        assert_eq!(counts, [4, 4, 2]);
        let end = fetch(&log, LS_ID, lsn);
        assert_eq!((end.next_lsn, end.group_count, end.log), (lsn, 0, &b""[..]));
    }

    #[test]
    fn what_is_not_there_is_said_to_be_elsewhere() {
        let log = Log::new();
        for (ls_id, lsn) in [(1, 0), (LS_ID, 1), (LS_ID, u64::MAX)] {
            let found = fetch(&log, ls_id, lsn);
            assert_eq!(found.feedback, Feedback::LOG_NOT_IN_THIS_SERVER);
            assert_eq!((found.next_lsn, found.log), (lsn, &b""[..]));
        }
    }
}
