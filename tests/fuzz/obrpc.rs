//! What a fuzzer, or a test with changed payloads, does to the payloads of OB-RPC.

use sealwire::frame::obrpc::payload::{
    FetchLogRequest, FetchLogResponse, LogEntries, LogEntry, LogGroup, LogGroups,
    MissingLogRequest, SetConfig, StartLsnRequest, StartLsnResponse,
};
use sealwire::wire::Writer;

/// A payload of any call: what is understood is understood again once it is written.
pub fn payload(bytes: &[u8]) {
    again(bytes, FetchLogRequest::read, FetchLogRequest::write);
    again(bytes, MissingLogRequest::read, MissingLogRequest::write);
    again(bytes, StartLsnRequest::read, StartLsnRequest::write);
    again(bytes, StartLsnResponse::read, StartLsnResponse::write);
    again(bytes, SetConfig::read, SetConfig::write);
    log(bytes);
    let Ok(response) = FetchLogResponse::read(bytes) else {
        return;
    };
    let mut out = Vec::new();
    response.write(&mut Writer::new(&mut out));
    assert_eq!(FetchLogResponse::read(&out).as_ref(), Ok(&response));
    log(response.log);
}

fn again<T: PartialEq + std::fmt::Debug, E>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, E>,
    write: impl Fn(&T, &mut Writer<'_>),
) {
    let Ok(value) = read(bytes) else { return };
    let mut out = Vec::new();
    write(&value, &mut Writer::new(&mut out));
    assert_eq!(read(&out).ok().as_ref(), Some(&value));
}

/// Groups and entries, as far as they go: written they are the bytes that were read.
fn log(bytes: &[u8]) {
    let groups: Vec<LogGroup<'_>> = LogGroups::new(u64::MAX / 2, bytes)
        .map_while(Result::ok)
        .collect();
    front(bytes, &groups, LogGroup::write);
    for entries in groups
        .iter()
        .map(LogGroup::entries)
        .chain([LogEntries::new(bytes)])
    {
        assert!(entries.filter(Result::is_err).count() <= 1);
    }
    let entries: Vec<LogEntry<'_>> = LogEntries::new(bytes).map_while(Result::ok).collect();
    front(bytes, &entries, LogEntry::write);
}

fn front<T>(bytes: &[u8], items: &[T], write: impl Fn(&T, &mut Writer<'_>)) {
    let mut out = Vec::new();
    items
        .iter()
        .for_each(|item| write(item, &mut Writer::new(&mut out)));
    assert!(bytes.starts_with(&out));
}
