//! Payloads of OB-RPC that nobody honest would send: cut, and changed at random from a seed.

use sealwire::frame::obrpc::payload::{
    ClientId, FetchLogRequest, FetchLogResponse, LogEntry, LogGroup, MissingLogRequest, SetConfig,
    StartLsn, StartLsnItem, StartLsnRequest, StartLsnResponse,
};
use sealwire::wire::Writer;

use super::fuzz_obrpc;
use super::hostile::Random;

#[test]
fn changed_payloads_are_survived() {
    let mut random = Random(5);
    for payload in payloads() {
        for len in 0..=payload.len() {
            fuzz_obrpc::payload(&payload[..len]);
        }
        for _ in 0..1_000 {
            fuzz_obrpc::payload(&random.change(&payload));
        }
    }
}

fn payloads() -> Vec<Vec<u8>> {
    let client = ClientId {
        pid: -1,
        address: Some("[2001:db8::7]:65535".parse().unwrap()),
    };
    let log = log();
    let fetch = FetchLogRequest {
        upper_limit_ts_ns: i64::MAX,
        client,
        ..FetchLogRequest::default()
    };
    let missing = MissingLogRequest {
        lsns: vec![0, 1, u64::MAX],
        client,
        ..MissingLogRequest::default()
    };
    let start = StartLsnRequest {
        items: vec![StartLsnItem::default(); 3],
        client,
        flags: 1,
    };
    let started = StartLsnResponse {
        error: -4018,
        items: vec![StartLsn::default(); 3],
    };
    let fetched = FetchLogResponse {
        group_count: 2,
        log: &log,
        ..FetchLogResponse::default()
    };
    let config = SetConfig {
        settings: "a=1,b=2".into(),
    };
    vec![
        written(|writer| fetch.write(writer)),
        written(|writer| missing.write(writer)),
        written(|writer| start.write(writer)),
        written(|writer| started.write(writer)),
        written(|writer| fetched.write(writer)),
        written(|writer| config.write(writer)),
        log,
    ]
}

/// Two groups, the first of which has entries.
fn log() -> Vec<u8> {
    let entry = LogEntry {
        version: 1,
        scn_ns: 1,
        data_checksum: -1,
        flags: 0,
        data: b"what it says",
    };
    let entries = written(|writer| {
        entry.write(writer);
        entry.write(writer);
    });
    let group = LogGroup {
        lsn: 0,
        version: 1,
        proposal_id: 1,
        committed_end_lsn: 2,
        max_scn_ns: 3,
        accumulated_checksum: -4,
        log_id: 5,
        flags: 0,
        data: &entries,
    };
    let padding = LogGroup {
        version: 2,
        flags: 1 << 62,
        data: &[0; 20],
        ..group
    };
    written(|writer| {
        group.write(writer);
        padding.write(writer);
    })
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}
