//! Two ends in memory: every record path against every other, and every way to cut the stream.

mod negotiation;
mod upgrade;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::{ConnEvent, Connection, Data};
use crate::buf::Pools;
use crate::error::{CertificateFault, Error, ErrorKind, Result};
use crate::time::{Monotonic, Now};
use crate::tls::{
    ClientAuth, ClientConfig, ClientOptions, Identity, Pem, RecordPath, Roots, ServerConfig,
    ServerName, ServerOptions, Verify, Version,
};

mod misuse;

const PATHS: [RecordPath; 2] = [RecordPath::Rustls, RecordPath::InPlace];
const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];

/// 2026-06-01.
const WALL_S: u64 = 1_780_272_000;

struct Pki {
    ca: String,
    server: (String, String),
    client: (String, String),
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Test CA");
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf = |name: &str| {
        let mut params = rcgen::CertificateParams::new(vec![name.into()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    };
    Pki {
        ca,
        server: leaf("localhost"),
        client: leaf("alice"),
    }
});

fn pem(text: &str) -> Pem<'_> {
    Pem {
        name: "test.pem",
        text: text.as_bytes(),
    }
}

fn roots() -> Arc<Roots> {
    Roots::from_pem(&[Pem {
        name: "ca.pem",
        text: PKI.ca.as_bytes(),
    }])
    .unwrap()
}

fn identity((chain, key): &(String, String)) -> Arc<Identity> {
    Identity::from_pem(pem(chain), pem(key)).unwrap()
}

fn server_options(records: RecordPath) -> ServerOptions {
    ServerOptions {
        identity: identity(&PKI.server),
        client_auth: ClientAuth::None,
        min_version: Version::Tls12,
        suites: Vec::new(),
        records,
        handshake_timeout: Duration::from_secs(10),
    }
}

fn client_options(records: RecordPath) -> ClientOptions {
    ClientOptions {
        verify: Verify::Full(roots()),
        identity: None,
        min_version: Version::Tls12,
        suites: Vec::new(),
        records,
        handshake_timeout: Duration::from_secs(10),
    }
}

fn now() -> Now {
    Now {
        monotonic: Monotonic::from_ns(0),
        wall_s: WALL_S,
    }
}

/// One end with everything that came out of it.
struct End {
    conn: Connection,
    pools: Pools,
    received: Vec<u8>,
    events: Vec<ConnEvent>,
}

impl End {
    fn new(conn: Connection, pools: Pools) -> Self {
        Self {
            conn,
            pools,
            received: Vec::new(),
            events: Vec::new(),
        }
    }

    fn take_output(&mut self) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        while let Some(buf) = self.conn.poll_transmit(&mut self.pools)? {
            output.extend_from_slice(buf.filled());
            self.pools.send.give(buf);
        }
        Ok(output)
    }

    fn feed(&mut self, input: &[u8]) -> Result<()> {
        let mut input = input.to_vec();
        let mut at = 0;
        loop {
            let opened = self
                .conn
                .handle_recv(now(), &mut input[at..], &mut self.pools)?;
            let is_last = opened.data == Data::None;
            match opened.data {
                Data::Input(range) => {
                    self.received
                        .extend_from_slice(&input[at + range.start..at + range.end]);
                }
                Data::Held => self.received.extend_from_slice(self.conn.held()),
                Data::None => assert_eq!(at + opened.consumed, input.len()),
            }
            at += opened.consumed;
            while let Some(event) = self.conn.poll_event() {
                self.events.push(event);
            }
            if at == input.len() && is_last {
                return Ok(());
            }
        }
    }

    fn write(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let taken = self.conn.write(data, &mut self.pools).unwrap();
            assert!(taken > 0, "the queue is full");
            data = &data[taken..];
        }
    }
}

struct Pair {
    client: End,
    server: End,
}

impl Pair {
    fn new(client: &ClientOptions, server: &ServerOptions) -> Self {
        Self::of(
            &ClientConfig::new(client).unwrap(),
            &ServerConfig::new(server).unwrap(),
        )
    }

    fn of(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Self {
        let mut pools = Pools::new(8);
        let name = ServerName::try_from("localhost").unwrap();
        let client = Connection::client(client, &name, now(), &mut pools).unwrap();
        let server = Connection::server(server, now());
        Self {
            client: End::new(client, pools),
            server: End::new(server, Pools::new(8)),
        }
    }

    /// Moves bytes until both are silent, in segments of at most `segment_len`.
    fn settle(&mut self, segment_len: usize) -> Result<()> {
        loop {
            let to_server = self.client.take_output()?;
            for segment in to_server.chunks(segment_len) {
                self.server.feed(segment)?;
            }
            let to_client = self.server.take_output()?;
            for segment in to_client.chunks(segment_len) {
                self.client.feed(segment)?;
            }
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(());
            }
        }
    }

    fn established(client: &ClientOptions, server: &ServerOptions) -> Self {
        let mut pair = Self::new(client, server);
        pair.settle(usize::MAX).unwrap();
        assert!(!pair.client.conn.is_handshaking() && !pair.server.conn.is_handshaking());
        pair
    }
}

/// Every version with every pair of record paths.
fn each_pairing(mut check: impl FnMut(ClientOptions, ServerOptions)) {
    for version in VERSIONS {
        for client_path in PATHS {
            for server_path in PATHS {
                let mut client = client_options(client_path);
                if version == Version::Tls12 {
                    client.suites = TLS12_SUITES.map(String::from).to_vec();
                }
                check(client, server_options(server_path));
            }
        }
    }
}

const TLS12_SUITES: [&str; 3] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn data_passes_both_ways_on_every_pairing() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        for len in [1, 255, 4_095, 4_096, 16_384, 16_385, 100_000] {
            pair.client.write(&pattern(len));
            pair.server.write(&pattern(len));
            pair.settle(usize::MAX).unwrap();
            assert_eq!(std::mem::take(&mut pair.server.received), pattern(len));
            assert_eq!(std::mem::take(&mut pair.client.received), pattern(len));
        }
        assert_eq!(pair.client.events, [ConnEvent::HandshakeDone]);
        assert_eq!(pair.server.events, [ConnEvent::HandshakeDone]);
    });
}

#[test]
fn every_suite_works_on_both_paths() {
    let suites = TLS12_SUITES.into_iter().chain([
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ]);
    for suite in suites {
        for path in PATHS {
            let mut client = client_options(path);
            client.suites = vec![suite.into()];
            let mut pair = Pair::established(&client, &server_options(path));
            pair.client.write(b"select 1");
            pair.settle(usize::MAX).unwrap();
            assert_eq!(pair.server.received, b"select 1");
            let facts = pair.client.conn.facts().unwrap();
            assert!(facts.suite.replace("_WITH", "").len() > 10, "{facts:?}");
            assert_eq!(
                pair.server.conn.facts().unwrap().server_name.as_deref(),
                Some("localhost")
            );
        }
    }
}

#[test]
fn segments_of_every_length_arrive_whole() {
    each_pairing(|client, server| {
        for segment_len in [1, 2, 3, 5, 7, 64, 1_000] {
            let mut pair = Pair::new(&client, &server);
            pair.settle(segment_len).unwrap();
            pair.client.write(&pattern(5_000));
            pair.client.write(b"tail");
            pair.settle(segment_len).unwrap();
            assert_eq!(pair.server.received.len(), 5_004);
            assert_eq!(pair.server.received[..5_000], pattern(5_000));
        }
    });
}

/// A client that writes at once: its Finished and its first data share a segment, cut at every
/// position.
#[test]
fn data_glued_behind_the_last_flight_is_not_lost_at_any_cut() {
    each_pairing(|client, server| {
        let mut pair = Pair::new(&client, &server);
        let hello = pair.client.take_output().unwrap();
        pair.server.feed(&hello).unwrap();
        let mut flight = pair.server.take_output().unwrap();
        pair.client.feed(&flight).unwrap();
        let mut last = pair.client.take_output().unwrap();
        if pair.client.conn.is_handshaking() {
            // TLS 1.2: the server speaks last.
            pair.server.feed(&last).unwrap();
            pair.server.write(b"first");
            flight = pair.server.take_output().unwrap();
            cut_everywhere(&flight, |segments| {
                let mut pair = replay(&client, &server);
                let last = pair.client.take_output().unwrap();
                pair.server.feed(&last).unwrap();
                pair.server.write(b"first");
                let flight = pair.server.take_output().unwrap();
                for (from, to) in segments {
                    pair.client
                        .feed(&flight[from.min(flight.len())..to.min(flight.len())])
                        .unwrap();
                }
                assert_eq!(pair.client.received, b"first");
            });
            return;
        }
        pair.client.write(b"first");
        last.extend(pair.client.take_output().unwrap());
        cut_everywhere(&last, |segments| {
            let mut pair = replay(&client, &server);
            let mut last = pair.client.take_output().unwrap();
            pair.client.write(b"first");
            last.extend(pair.client.take_output().unwrap());
            for (from, to) in segments {
                pair.server
                    .feed(&last[from.min(last.len())..to.min(last.len())])
                    .unwrap();
            }
            assert_eq!(pair.server.received, b"first");
        });
    });
}

/// A pair at the point where the client has read the server's first flight.
fn replay(client: &ClientOptions, server: &ServerOptions) -> Pair {
    let mut pair = Pair::new(client, server);
    let hello = pair.client.take_output().unwrap();
    pair.server.feed(&hello).unwrap();
    let flight = pair.server.take_output().unwrap();
    pair.client.feed(&flight).unwrap();
    pair
}

fn cut_everywhere(bytes: &[u8], mut check: impl FnMut([(usize, usize); 2])) {
    for cut in 0..=bytes.len() {
        // Signatures differ in length from run to run by a byte or two.
        check([(0, cut), (cut, bytes.len() + 8)]);
    }
}

#[test]
fn keys_are_replaced_in_both_directions() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        for round in 0..5u8 {
            let End { conn, pools, .. } = &mut pair.client;
            conn.refresh_keys(pools).unwrap();
            pair.client.write(&[round; 300]);
            let End { conn, pools, .. } = &mut pair.server;
            conn.refresh_keys(pools).unwrap();
            pair.server.write(&[round; 300]);
            pair.settle(7).unwrap();
        }
        assert_eq!(pair.server.received.len(), 1_500);
        assert_eq!(pair.client.received.len(), 1_500);
    });
}

#[test]
fn each_side_closes_by_itself() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        pair.client.write(b"last words");
        let End { conn, pools, .. } = &mut pair.client;
        conn.close(pools).unwrap();
        pair.settle(usize::MAX).unwrap();
        assert_eq!(pair.server.received, b"last words");
        assert_eq!(
            pair.server.events,
            [ConnEvent::HandshakeDone, ConnEvent::PeerClosed]
        );
        pair.server.write(b"still here");
        pair.settle(usize::MAX).unwrap();
        assert_eq!(pair.client.received, b"still here");
        let End { conn, pools, .. } = &mut pair.client;
        assert_eq!(
            conn.write(b"x", pools).unwrap_err().kind(),
            ErrorKind::Misuse
        );
        pair.server.conn.handle_eof(now()).unwrap();
        assert_eq!(
            pair.client.conn.handle_eof(now()).unwrap_err().kind(),
            ErrorKind::Truncated
        );
    });
}

#[test]
fn what_follows_close_notify_is_ignored() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        let End { conn, pools, .. } = &mut pair.client;
        conn.close(pools).unwrap();
        let mut output = pair.client.take_output().unwrap();
        output.extend(b"rubbish");
        pair.server.feed(&output).unwrap();
        assert!(pair.server.conn.is_peer_closed());
        assert!(pair.server.received.is_empty());
    });
}

#[test]
fn an_altered_record_is_refused_and_the_peer_told() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        pair.client.write(b"select 1");
        let mut output = pair.client.take_output().unwrap();
        *output.last_mut().unwrap() ^= 1;
        let error = pair.server.feed(&output).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsProtocol);
        let alert = pair.server.take_output().unwrap();
        let error = pair.client.feed(&alert).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsAlert(20), "{error}");
        assert!(pair.server.feed(b"more").is_err(), "an error is final");
    });
}

#[test]
fn a_record_that_is_too_long_is_refused_by_its_header() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        let error = pair.server.feed(&[23, 3, 3, 0x48, 0x01]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsProtocol);
        let alert = pair.server.take_output().unwrap();
        assert!(!alert.is_empty(), "the peer is told");
        assert!(matches!(
            pair.client.feed(&alert).unwrap_err().kind(),
            ErrorKind::TlsAlert(_)
        ));
    });
}

#[test]
fn plaintext_to_a_tls_port_is_named() {
    let config = ServerConfig::new(&server_options(RecordPath::InPlace)).unwrap();
    for input in [&b"GET / HTTP/1.1\r\n"[..], b"G", b"\x00\x00\x00"] {
        let mut end = End::new(Connection::server(&config, now()), Pools::new(1));
        let error = end.feed(input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotTls);
        assert!(end.take_output().unwrap().is_empty());
    }
}

fn failing(client: &ClientOptions, server: &ServerOptions) -> (Error, Vec<u8>) {
    let mut pair = Pair::new(client, server);
    let error = pair.settle(usize::MAX).unwrap_err();
    let mut alerts = pair.client.take_output().unwrap_or_default();
    alerts.extend(pair.server.take_output().unwrap_or_default());
    (error, alerts)
}

#[test]
fn certificates_are_refused_with_the_reason() {
    let mut stranger = server_options(RecordPath::Rustls);
    let lone = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    stranger.identity = identity(&(lone.cert.pem(), lone.signing_key.serialize_pem()));
    let (error, alerts) = failing(&client_options(RecordPath::Rustls), &stranger);
    assert_eq!(
        error.kind(),
        ErrorKind::Certificate(CertificateFault::UnknownIssuer)
    );
    assert!(error.to_string().contains("self-signed"), "{error}");
    assert!(error.to_string().contains("ca.pem"), "{error}");
    assert!(!alerts.is_empty());

    let mut other_name = server_options(RecordPath::Rustls);
    other_name.identity = identity(&PKI.client);
    let (error, _) = failing(&client_options(RecordPath::Rustls), &other_name);
    assert_eq!(error.kind(), ErrorKind::Certificate(CertificateFault::Name));
    assert!(
        error
            .to_string()
            .contains("is for alice, not for `localhost`"),
        "{error}"
    );

    let mut any_name = client_options(RecordPath::Rustls);
    any_name.verify = Verify::Ca(roots());
    Pair::established(&any_name, &other_name);
}

#[test]
fn validity_is_judged_by_the_time_of_the_call() {
    for (wall_s, fault, word) in [
        (
            1_830_000_000,
            CertificateFault::Expired,
            "expired on 2027-01-01",
        ),
        (
            1_700_000_000,
            CertificateFault::NotYetValid,
            "it is 2023-11-14 here",
        ),
    ] {
        let mut pools = Pools::new(1);
        let name = ServerName::try_from("localhost").unwrap();
        let config = ClientConfig::new(&client_options(RecordPath::Rustls)).unwrap();
        let mut client = Connection::client(&config, &name, now(), &mut pools).unwrap();
        let config = ServerConfig::new(&server_options(RecordPath::Rustls)).unwrap();
        let mut server = End::new(Connection::server(&config, now()), Pools::new(1));
        let hello = client.poll_transmit(&mut pools).unwrap().unwrap();
        server.feed(hello.filled()).unwrap();
        let mut flight = server.take_output().unwrap();
        let later = Now { wall_s, ..now() };
        let error = client
            .handle_recv(later, &mut flight, &mut pools)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Certificate(fault));
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    for path in PATHS {
        let mut server = server_options(path);
        let mut client = client_options(path);
        server.client_auth = ClientAuth::Required(roots());
        let (error, _) = failing(&client, &server);
        assert_eq!(
            error.kind(),
            ErrorKind::Certificate(CertificateFault::Missing)
        );

        client.identity = Some(identity(&PKI.client));
        let pair = Pair::established(&client, &server);
        assert_eq!(pair.server.conn.facts().unwrap().peer_chain.len(), 1);

        let lone = rcgen::generate_simple_self_signed(vec!["alice".into()]).unwrap();
        client.identity = Some(identity(&(
            lone.cert.pem(),
            lone.signing_key.serialize_pem(),
        )));
        let (error, _) = failing(&client, &server);
        assert_eq!(
            error.kind(),
            ErrorKind::Certificate(CertificateFault::UnknownIssuer)
        );

        server.client_auth = ClientAuth::Optional(roots());
        client.identity = None;
        Pair::established(&client, &server);
    }
}

#[test]
fn nothing_in_common_is_said_so() {
    let mut server = server_options(RecordPath::Rustls);
    server.suites = vec!["TLS_AES_256_GCM_SHA384".into()];
    let mut client = client_options(RecordPath::Rustls);
    client.suites = vec!["TLS_CHACHA20_POLY1305_SHA256".into()];
    let (error, alerts) = failing(&client, &server);
    assert_eq!(error.kind(), ErrorKind::TlsIncompatible);
    assert!(!alerts.is_empty());
    server.min_version = Version::Tls13;
    client.suites = vec![TLS12_SUITES[0].into()];
    assert_eq!(
        failing(&client, &server).0.kind(),
        ErrorKind::TlsIncompatible
    );
}

#[test]
fn deadlines_end_handshakes_and_only_handshakes() {
    let config = ServerConfig::new(&server_options(RecordPath::InPlace)).unwrap();
    let mut end = End::new(Connection::server(&config, now()), Pools::new(1));
    end.feed(&[22, 3, 1]).unwrap();
    let deadline = end.conn.poll_timeout().unwrap();
    let before = Now {
        monotonic: Monotonic::from_ns(deadline.as_ns() - 1),
        ..now()
    };
    end.conn.handle_timeout(before).unwrap();
    let at = Now {
        monotonic: deadline,
        ..now()
    };
    let error = end.conn.handle_timeout(at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("half a ClientHello"), "{error}");

    let path = RecordPath::InPlace;
    let pair = Pair::established(&client_options(path), &server_options(path));
    assert_eq!(pair.server.conn.poll_timeout(), None);
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        // More than are ever lent at once, so that a pool that has them all lends none.
        for end in [&mut pair.client, &mut pair.server] {
            let Pools { send, partial } = &mut end.pools;
            for pool in [send, partial] {
                let lent: Vec<_> = (0..8).map(|_| pool.take()).collect();
                lent.into_iter().for_each(|buf| pool.give(buf));
            }
        }
        pair.client.write(&pattern(50_000));
        pair.client.write(b"short");
        pair.settle(1_000).unwrap();
        for end in [&pair.client, &pair.server] {
            assert_eq!(end.conn.queued(), 0);
            assert_eq!(end.pools.send.free_len(), 8);
            assert_eq!(end.pools.partial.free_len(), 8);
        }
    });
}

/// A ClientHello of 64 KiB, a byte in every record.
#[test]
fn a_handshake_in_crumbs_is_bounded() {
    let config = ServerConfig::new(&server_options(RecordPath::InPlace)).unwrap();
    let mut end = End::new(Connection::server(&config, now()), Pools::new(1));
    let hello = [1, 0, 0xFF, 0xFB].into_iter().chain(std::iter::repeat(0));
    let mut sent = 0;
    let error = loop {
        let byte = hello.clone().nth(sent / 6).unwrap();
        match end.feed(&[22, 3, 1, 0, 1, byte]) {
            Ok(()) => sent += 6,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TlsProtocol);
    assert!(error.to_string().contains("more records"), "{error}");
    assert!(sent <= crate::limits::HANDSHAKE_CARRY_LEN_MAX, "{sent}");
}

#[test]
fn a_full_queue_takes_no_more() {
    each_pairing(|client, server| {
        let mut pair = Pair::established(&client, &server);
        let End { conn, pools, .. } = &mut pair.client;
        let mut taken = 0;
        loop {
            let len = conn.write(&[7; 10_000], pools).unwrap();
            taken += len;
            if len == 0 {
                break;
            }
        }
        assert!(conn.queued() <= crate::limits::SEND_QUEUE_LEN_HIGH + 17_000);
        pair.settle(usize::MAX).unwrap();
        assert_eq!(pair.server.received.len(), taken);
    });
}

#[test]
fn an_early_end_is_told_from_a_clean_one() {
    let config = ServerConfig::new(&server_options(RecordPath::InPlace)).unwrap();
    let mut conn = Connection::server(&config, now());
    assert!(
        conn.handle_eof(now())
            .unwrap_err()
            .to_string()
            .contains("before it began TLS")
    );
    let mut plain = Connection::plain();
    plain.handle_eof(now()).unwrap();
    assert_eq!(plain.poll_event(), Some(ConnEvent::PeerClosed));
}
