use super::client::{Answer, Client};
use super::log::LS_ID;
use super::{COUNT, ECHO};
use crate::cli::demo::wire::{VALUE_LEN, value};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::payload::{
    ClientId, FetchLogRequest, FetchLogResponse, LogEntry, LogGroup, SetConfig,
};
use crate::frame::obrpc::{Pcode, ResultCode};

/// Makes a call of each kind, and tells in words what was answered.
pub(super) fn take(client: &mut Client) -> Result<Vec<String>> {
    Ok(vec![
        echo(client)?,
        refused(client)?,
        fetch_log(client)?,
        stream(client)?,
    ])
}

fn echo(client: &mut Client) -> Result<String> {
    let answer = client.call(ECHO, |writer| writer.bytes(&value()))?;
    if result(&answer)? != value() {
        return Err(wrong("the echo is not what was sent"));
    }
    Ok(format!("echo ({ECHO}): the same {VALUE_LEN} bytes"))
}

/// A call that ends with a result code in the place of a result.
fn refused(client: &mut Client) -> Result<String> {
    let config = SetConfig {
        settings: "rpc_timeout=3s".into(),
    };
    let answer = client.call(Pcode::SET_CONFIG, |writer| config.write(writer))?;
    if answer.rcode.is_ok() {
        return Err(wrong("a parameter was set that the server has not"));
    }
    let (pcode, settings) = (Pcode::SET_CONFIG, &config.settings);
    Ok(format!("{pcode} of {settings}: {}", words(&answer.rcode)))
}

/// One call after the other, each from where the one before ended, up to the end of the log.
fn fetch_log(client: &mut Client) -> Result<String> {
    let mut found = Found::default();
    loop {
        let request = FetchLogRequest {
            ls_id: LS_ID,
            start_lsn: found.lsn,
            upper_limit_ts_ns: i64::MAX,
            client_pid: std::process::id().into(),
            client: ClientId {
                pid: std::process::id().into(),
                address: None,
            },
            progress_ns: found.scn_ns.cast_signed(),
            tenant_id: TENANT_ID,
            ..FetchLogRequest::default()
        };
        let answer = client.call(Pcode::LS_FETCH_LOG2, |writer| request.write(writer))?;
        let response = FetchLogResponse::read(result(&answer)?)?;
        found.add(&response)?;
        if response.status.is_max_lsn_reached {
            return Ok(found.words());
        }
    }
}

/// A stream is asked on until its last part has come.
fn stream(client: &mut Client) -> Result<String> {
    let mut answer = client.call(COUNT, |_| {})?;
    let mut parts = 1;
    while answer.has_more {
        answer = client.next_part(answer.id)?;
        parts += 1;
    }
    if result(&answer)? != [0] {
        return Err(wrong("the stream ended before its last part"));
    }
    Ok(format!(
        "a stream ({COUNT}): {parts} parts, STREAM in each and STREAM_LAST in the last"
    ))
}

/// The log so far.
#[derive(Default)]
struct Found {
    /// Where it is asked for next.
    lsn: u64,
    scn_ns: u64,
    calls: usize,
    groups: usize,
    entries: usize,
    last: String,
}

impl Found {
    fn add(&mut self, response: &FetchLogResponse<'_>) -> Result<()> {
        let groups = response.groups(self.lsn).collect::<Result<Vec<_>, _>>()?;
        let end_lsn = groups.last().map_or(self.lsn, LogGroup::end_lsn);
        if response.ls_id != LS_ID || groups.len() as i64 != response.group_count {
            return Err(wrong("the log is not what was asked for"));
        }
        if groups.is_empty() || end_lsn != response.next_lsn {
            return Err(wrong("the log has a hole"));
        }
        for group in &groups {
            let entries = group.entries().collect::<Result<Vec<LogEntry<'_>>, _>>()?;
            self.entries += entries.len();
            if let Some(last) = entries.last() {
                self.last = String::from_utf8_lossy(last.data).into_owned();
            }
            self.scn_ns = group.max_scn_ns;
        }
        self.calls += 1;
        self.groups += groups.len();
        self.lsn = end_lsn;
        Ok(())
    }

    fn words(&self) -> String {
        let Self {
            lsn,
            calls,
            groups,
            entries,
            last,
            ..
        } = self;
        format!(
            "{}, log stream {LS_ID}: {groups} groups, {entries} entries in {calls} calls, LSN 0 to \
             {lsn}, last {last:?}",
            Pcode::LS_FETCH_LOG2
        )
    }
}

/// What an answer has behind its result code.
pub(super) fn result(answer: &Answer) -> Result<&[u8]> {
    match answer.rcode.is_ok() {
        true => Ok(&answer.result),
        false => {
            let text = format!("the server answered {}", words(&answer.rcode));
            Err(Error::new(ErrorKind::Internal, text))
        }
    }
}

fn words(rcode: &ResultCode) -> String {
    let name = rcode.name().unwrap_or("an error");
    let message = String::from_utf8_lossy(&rcode.message);
    format!("{name} ({}), {message}", rcode.rcode)
}

pub(super) fn wrong(text: &'static str) -> Error {
    Error::new(ErrorKind::Internal, text)
}

/// One of a user.
const TENANT_ID: i64 = 1002;
