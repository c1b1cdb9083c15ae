//! Two endpoints in memory, on every record path.

use std::sync::LazyLock;

use super::*;
use crate::error::ErrorKind;
use crate::tls::{ClientOptions, Identity, Pem, RecordPath, Roots, ServerOptions, Verify, Version};

const PATHS: [RecordPath; 2] = [RecordPath::Rustls, RecordPath::InPlace];
const NAME: &str = "localhost";

static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let lone = rcgen::generate_simple_self_signed(vec![NAME.into()]).unwrap();
    (lone.cert.pem(), lone.signing_key.serialize_pem())
});

fn pem(text: &str) -> Pem<'_> {
    Pem {
        name: "test.pem",
        text: text.as_bytes(),
    }
}

fn server_config(records: RecordPath) -> Arc<ServerConfig> {
    let identity = Identity::from_pem(pem(&PAIR.0), pem(&PAIR.1)).unwrap();
    let options = ServerOptions {
        records,
        ..ServerOptions::new(identity)
    };
    ServerConfig::new(&options).unwrap()
}

fn client_config(records: RecordPath, max_version: Version) -> Arc<ClientConfig> {
    let roots = Roots::from_pem(&[pem(&PAIR.0)]).unwrap();
    let options = ClientOptions {
        records,
        max_version,
        ..ClientOptions::new(Verify::Full(roots))
    };
    ClientConfig::new(&options).unwrap()
}

/// 2026-06-01.
fn now() -> Now {
    Now {
        wall_s: 1_780_272_000,
        ..Now::default()
    }
}

/// Moves all output, so many bytes at a time.
fn pump(from: &mut Endpoint, to: &mut Endpoint, step_len: usize, pools: &mut Pools) {
    loop {
        let output = from.output(pools).to_vec();
        if output.is_empty() {
            return;
        }
        for piece in output.chunks(step_len) {
            assert_eq!(to.feed(piece, pools), piece.len());
            // An error is told to whoever reads.
            let _ = to.advance(now(), pools);
        }
        from.output_sent(output.len(), pools);
    }
}

fn pair(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    step_len: usize,
    pools: &mut Pools,
) -> (Endpoint, Endpoint) {
    let name = ServerName::try_from(NAME).unwrap();
    let client = Connection::client(client, &name, now(), pools).unwrap();
    let mut client = Endpoint::new(client);
    let mut server = Endpoint::new(Connection::server(server, now()));
    for _ in 0..4 {
        pump(&mut client, &mut server, step_len, pools);
        pump(&mut server, &mut client, step_len, pools);
    }
    assert!(!client.connection().is_handshaking() && !server.connection().is_handshaking());
    (client, server)
}

/// Every combination of record paths and versions.
fn for_each_pair(step_len: usize, mut test: impl FnMut(Endpoint, Endpoint, &mut Pools)) {
    for client_records in PATHS {
        for server_records in PATHS {
            for version in [Version::Tls12, Version::Tls13] {
                let mut pools = Pools::new(4);
                let client = client_config(client_records, version);
                let server = server_config(server_records);
                let (client, server) = pair(&client, &server, step_len, &mut pools);
                test(client, server, &mut pools);
            }
        }
    }
}

fn read(end: &mut Endpoint, len: usize, pools: &mut Pools) -> Result<Vec<u8>> {
    let mut target = vec![0; len];
    let read = end.read(now(), &mut target, pools)?;
    target.truncate(read);
    Ok(target)
}

#[test]
fn plaintext_passes_both_ways_in_single_bytes_and_in_one() {
    for step_len in [1, 1_000_000] {
        for_each_pair(step_len, |mut client, mut server, pools| {
            for (from, to) in [(0, 1), (1, 0)] {
                let mut ends = [&mut client, &mut server];
                let [from, to] = ends.get_disjoint_mut([from, to]).unwrap();
                assert_eq!(from.write(b"hello", pools).unwrap(), 5);
                assert!(from.queued() > 0);
                pump(from, to, step_len, pools);
                assert_eq!(from.queued(), 0);
                assert_eq!(to.pending(), 5);
                assert_eq!(read(to, 3, pools).unwrap(), b"hel");
                assert_eq!(to.pending(), 2);
                assert_eq!(read(to, 9, pools).unwrap(), b"lo");
                assert_eq!(to.pending(), 0);
            }
        });
    }
}

#[test]
fn what_is_pending_is_told_behind_every_read() {
    for_each_pair(1_000_000, |mut client, mut server, pools| {
        for number in 0..9 {
            assert_eq!(client.write(&[number; 2], pools).unwrap(), 2);
            pump(&mut client, &mut server, 1_000_000, pools);
        }
        for number in 0..9 {
            assert!(server.pending() > 0, "{number}");
            assert_eq!(read(&mut server, 2, pools).unwrap(), [number; 2]);
        }
        assert_eq!(server.pending(), 0);
        assert!(!server.has_input());
    });
}

#[test]
fn half_a_record_is_kept_and_is_no_plaintext() {
    for_each_pair(1_000_000, |mut client, mut server, pools| {
        client.write(b"one record", pools).unwrap();
        let record = client.output(pools).to_vec();
        let (first, second) = record.split_at(record.len() - 1);
        assert_eq!(server.feed(first, pools), first.len());
        assert_eq!(read(&mut server, 99, pools).unwrap(), b"");
        assert_eq!(server.feed(second, pools), 1);
        assert_eq!(read(&mut server, 99, pools).unwrap(), b"one record");
    });
}

#[test]
fn an_error_is_told_behind_the_plaintext_and_again() {
    for_each_pair(1_000_000, |mut client, mut server, pools| {
        client.write(b"good", pools).unwrap();
        let mut records = client.output(pools).to_vec();
        records.extend_from_slice(b"\x17\x03\x03\x00\x20 this is no record of this peer  ");
        assert_eq!(server.feed(&records, pools), records.len());
        server.advance(now(), pools).unwrap();
        assert_eq!(read(&mut server, 2, pools).unwrap(), b"go");
        assert_eq!(read(&mut server, 9, pools).unwrap(), b"od");
        let error = read(&mut server, 9, pools).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsProtocol);
        assert_eq!(read(&mut server, 9, pools).unwrap_err(), error);
        assert_eq!(server.write(b"x", pools).unwrap_err(), error);
        assert_eq!(server.close(pools).unwrap_err(), error);
        assert_eq!(server.failure(), Some(&error));
        assert!(!server.output(pools).is_empty(), "the alert is owed");
    });
}

#[test]
fn a_clean_end_is_told_behind_the_plaintext_and_a_cut_is_an_error() {
    for_each_pair(1_000_000, |mut client, mut server, pools| {
        client.write(b"bye", pools).unwrap();
        client.close(pools).unwrap();
        pump(&mut client, &mut server, 1_000_000, pools);
        server.received_eof(pools);
        assert!(!server.is_ended());
        assert_eq!(read(&mut server, 9, pools).unwrap(), b"bye");
        assert_eq!(read(&mut server, 9, pools).unwrap(), b"");
        assert!(server.is_ended());
        server.write(b"still here", pools).unwrap();
        let output = server.output(pools).to_vec();
        client.feed(&output, pools);
        client.received_eof(pools);
        assert_eq!(read(&mut client, 99, pools).unwrap(), b"still here");
        let error = read(&mut client, 9, pools).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert!(!client.is_ended());
    });
}

#[test]
fn a_handshake_that_came_with_the_plaintext_before_it_goes_on() {
    let mut pools = Pools::new(4);
    let (client, server) = (
        client_config(RecordPath::InPlace, Version::Tls13),
        server_config(RecordPath::InPlace),
    );
    let name = ServerName::try_from(NAME).unwrap();
    let mut near = Endpoint::new(Connection::plain());
    let mut far = Endpoint::new(Connection::plain());
    near.write(b"upgrade", &mut pools).unwrap();
    near.start_tls_client(&client, &name, now(), &mut pools)
        .unwrap();
    let mut together = Vec::new();
    while !near.output(&mut pools).is_empty() {
        let output = near.output(&mut pools).to_vec();
        near.output_sent(output.len(), &mut pools);
        together.extend(output);
    }
    assert_eq!(far.feed(&together, &mut pools), together.len());
    assert_eq!(read(&mut far, 7, &mut pools).unwrap(), b"upgrade");
    far.start_tls_server(&server, now()).unwrap();
    assert!(far.has_input());
    far.advance(now(), &mut pools).unwrap();
    assert!(!far.has_input());
    assert!(!far.output(&mut pools).is_empty(), "the ServerHello");
}
