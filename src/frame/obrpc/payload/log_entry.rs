use crate::wire::{Reader, Writer};

use super::Violation;

/// Walks through groups of log entries that lie one after the other.
#[derive(Clone, Debug)]
pub struct LogGroups<'a> {
    lsn: u64,
    rest: Reader<'a>,
}

/// A group of log entries: what servers agree on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogGroup<'a> {
    /// Its position. The next group is at [`LogGroup::end_lsn`].
    pub lsn: u64,
    /// Version of its header: 1 or 2.
    pub version: u16,
    /// The proposal it was agreed on by.
    pub proposal_id: i64,
    /// Up to where the log was agreed on when it was written.
    pub committed_end_lsn: u64,
    /// The time of its latest entry, in nanoseconds.
    pub max_scn_ns: u64,
    /// Checksum of the log up to here.
    pub accumulated_checksum: i64,
    /// Its number.
    pub log_id: i64,
    /// Flags, which mean other things in each version.
    pub flags: i64,
    /// Its entries, or padding.
    pub data: &'a [u8],
}

/// Walks through the entries of a group.
#[derive(Clone, Debug)]
pub struct LogEntries<'a> {
    rest: Reader<'a>,
}

/// One log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Version of its header.
    pub version: u16,
    /// Its time, in nanoseconds.
    pub scn_ns: u64,
    /// Checksum of its data.
    pub data_checksum: i64,
    /// Flags.
    pub flags: i64,
    /// What it says.
    pub data: &'a [u8],
}

impl<'a> LogGroups<'a> {
    /// The groups in `log`, of which the first is at `start_lsn`.
    pub fn new(start_lsn: u64, log: &'a [u8]) -> Self {
        Self {
            lsn: start_lsn,
            rest: Reader::new(log),
        }
    }
}

impl<'a> Iterator for LogGroups<'a> {
    type Item = Result<LogGroup<'a>, Violation>;

    /// The next group. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let group = read_group(self.lsn, &mut self.rest);
        match &group {
            Some(group) => self.lsn = group.end_lsn(),
            None => self.rest = Reader::new(&[]),
        }
        Some(group.ok_or(Violation::Malformed("a group of log entries")))
    }
}

impl<'a> LogGroup<'a> {
    /// Where it ends.
    pub fn end_lsn(&self) -> u64 {
        self.lsn
            .saturating_add(GROUP_HEADER_LEN + self.data.len() as u64)
    }

    /// True where it only fills a block up: there are no entries in it.
    pub fn is_padding(&self) -> bool {
        self.has_flag(1, 62)
    }

    /// True where it is marked as a raw write.
    pub fn is_raw_write(&self) -> bool {
        self.has_flag(2, 61)
    }

    /// Its entries.
    pub fn entries(&self) -> LogEntries<'a> {
        LogEntries::new(if self.is_padding() { &[] } else { self.data })
    }

    /// Appends it. Its position is not written: it is where the groups before it end.
    pub fn write(&self, writer: &mut Writer<'_>) {
        write_head(writer, GROUP_MAGIC, self.version, self.data);
        writer.u64_be(self.proposal_id.cast_unsigned());
        writer.u64_be(self.committed_end_lsn);
        writer.u64_be(self.max_scn_ns);
        writer.u64_be(self.accumulated_checksum.cast_unsigned());
        writer.u64_be(self.log_id.cast_unsigned());
        writer.u64_be(self.flags.cast_unsigned());
        writer.bytes(self.data);
    }

    /// Each version has the flag at a place of its own.
    fn has_flag(&self, bit_in_version_1: u32, bit_in_version_2: u32) -> bool {
        let bit = match self.version {
            1 => bit_in_version_1,
            _ => bit_in_version_2,
        };
        self.flags >> bit & 1 == 1
    }
}

impl<'a> LogEntries<'a> {
    /// The entries in `bytes`: the data of a group, or the log of a response to
    /// [`Pcode::LS_FETCH_MISSING_LOG`](crate::frame::obrpc::Pcode::LS_FETCH_MISSING_LOG).
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: Reader::new(bytes),
        }
    }
}

impl LogEntry<'_> {
    /// Appends it.
    pub fn write(&self, writer: &mut Writer<'_>) {
        write_head(writer, ENTRY_MAGIC, self.version, self.data);
        writer.u64_be(self.scn_ns);
        writer.u64_be(self.data_checksum.cast_unsigned());
        writer.u64_be(self.flags.cast_unsigned());
        writer.bytes(self.data);
    }
}

impl<'a> Iterator for LogEntries<'a> {
    type Item = Result<LogEntry<'a>, Violation>;

    /// The next entry. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = read_entry(&mut self.rest);
        if entry.is_none() {
            self.rest = Reader::new(&[]);
        }
        Some(entry.ok_or(Violation::Malformed("a log entry")))
    }
}

fn read_group<'a>(lsn: u64, reader: &mut Reader<'a>) -> Option<LogGroup<'a>> {
    let (version, data_len) = read_head(reader, GROUP_MAGIC)?;
    if !(1..=2).contains(&version) {
        return None;
    }
    Some(LogGroup {
        lsn,
        version,
        proposal_id: reader.array().map(i64::from_be_bytes)?,
        committed_end_lsn: reader.u64_be()?,
        max_scn_ns: reader.u64_be()?,
        accumulated_checksum: reader.array().map(i64::from_be_bytes)?,
        log_id: reader.array().map(i64::from_be_bytes)?,
        flags: reader.array().map(i64::from_be_bytes)?,
        data: reader.take(data_len)?,
    })
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Option<LogEntry<'a>> {
    let (version, data_len) = read_head(reader, ENTRY_MAGIC)?;
    Some(LogEntry {
        version,
        scn_ns: reader.u64_be()?,
        data_checksum: reader.array().map(i64::from_be_bytes)?,
        flags: reader.array().map(i64::from_be_bytes)?,
        data: reader.take(data_len)?,
    })
}

/// Magic, version, and the number of bytes behind the header, which is never negative.
fn read_head(reader: &mut Reader<'_>, magic: [u8; 2]) -> Option<(u16, usize)> {
    if reader.array()? != magic {
        return None;
    }
    let version = reader.u16_be()?;
    let data_len = i32::from_be_bytes(reader.array()?);
    Some((version, usize::try_from(data_len).ok()?))
}

/// No response has room for data whose length this field has not (`LOG_LEN_MAX`).
fn write_head(writer: &mut Writer<'_>, magic: [u8; 2], version: u16, data: &[u8]) {
    writer.bytes(&magic);
    writer.u16_be(version);
    writer.u32_be(data.len() as u32);
}

const GROUP_MAGIC: [u8; 2] = *b"GR";

const ENTRY_MAGIC: [u8; 2] = *b"LH";

/// Length of a group's header, in bytes.
const GROUP_HEADER_LEN: u64 = 56;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let entry = LogEntry {
            version: 1,
            scn_ns: 100,
            data_checksum: -2,
            flags: 300,
            data,
        };
        entry.write(&mut Writer::new(&mut out));
        out
    }

    fn group(version: u16, flags: i64, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let group = LogGroup {
            lsn: 0,
            version,
            proposal_id: 11,
            committed_end_lsn: 22,
            max_scn_ns: 33,
            accumulated_checksum: -44,
            log_id: 55,
            flags,
            data,
        };
        group.write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn headers_are_laid_out_as_documented() {
        let expected = [
            &b"LH\0\x01\0\0\0\x03"[..],
            &[0, 0, 0, 0, 0, 0, 0, 100],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
            &[0, 0, 0, 0, 0, 0, 1, 0x2c],
            b"one",
        ];
        assert_eq!(entry(b"one"), expected.concat());
        let expected = [
            &b"GR\0\x02\0\0\0\x01"[..],
            &[0, 0, 0, 0, 0, 0, 0, 11],
            &[0, 0, 0, 0, 0, 0, 0, 22],
            &[0, 0, 0, 0, 0, 0, 0, 33],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xd4],
            &[0, 0, 0, 0, 0, 0, 0, 55],
            &[0x20, 0, 0, 0, 0, 0, 0, 0],
            b"x",
        ];
        assert_eq!(group(2, 1 << 61, b"x"), expected.concat());
    }

    #[test]
    fn flags_are_where_their_version_has_them() {
        for (version, flags, is_padding, is_raw_write) in [
            (1, 1, false, false),
            (1, 1 << 1, true, false),
            (1, 1 << 2, false, true),
            (1, 3 << 61, false, false),
            (2, 1 << 62, true, false),
            (2, 1 << 61, false, true),
            (2, 0xffff, false, false),
        ] {
            let log = group(version, flags, b"");
            let group = LogGroups::new(0, &log).next().unwrap().unwrap();
            assert_eq!(
                (group.is_padding(), group.is_raw_write()),
                (is_padding, is_raw_write)
            );
        }
    }

    #[test]
    fn groups_and_entries_follow_each_other() {
        let first = group(1, 0, &[entry(b"one"), entry(b"")].concat());
        let padding = group(2, 1 << 62, &[0; 40]);
        let last = group(2, 0, &entry(b"two"));
        let log = [first.clone(), padding.clone(), last].concat();
        let groups: Vec<_> = LogGroups::new(1_000, &log).map(Result::unwrap).collect();
        let lsns: Vec<_> = groups.iter().map(|group| group.lsn).collect();
        let second = 1_000 + first.len() as u64;
        assert_eq!(lsns, [1_000, second, second + padding.len() as u64]);
        assert_eq!((groups[0].committed_end_lsn, groups[0].log_id), (22, 55));
        let data: Vec<_> = groups
            .iter()
            .flat_map(LogGroup::entries)
            .map(|entry| entry.unwrap().data)
            .collect();
        assert_eq!(data, [&b"one"[..], b"", b"two"]);
        assert!(groups[1].is_padding());
    }

    #[test]
    fn a_log_that_is_cut_or_lies_ends_with_one_error() {
        let whole = group(1, 0, &entry(b"one"));
        for cut in 1..whole.len() {
            let mut groups = LogGroups::new(0, &whole[..cut]);
            assert!(groups.next().unwrap().is_err());
            assert!(groups.next().is_none());
        }
        let mut negative = whole.clone();
        negative[4] = 0x80;
        let mut other = whole.clone();
        other[3] = 3;
        for log in [negative, other] {
            assert!(LogGroups::new(0, &log).next().unwrap().is_err());
        }
        let mut lying = whole;
        lying[56 + 7] = 4;
        let group = LogGroups::new(u64::MAX, &lying).next().unwrap().unwrap();
        assert_eq!(group.end_lsn(), u64::MAX);
        let mut entries = group.entries();
        assert!(entries.next().unwrap().is_err());
        assert!(entries.next().is_none());
    }
}
