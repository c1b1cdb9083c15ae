//! Against rustls' buffered connections, in memory, in both roles.

use std::io::{self, Read, Write};
use std::sync::Arc;

use ::rustls::crypto::{CryptoProvider, aws_lc_rs};
use ::rustls::pki_types::pem::PemObject;
use ::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use ::rustls::server::WebPkiClientVerifier;
use ::rustls::{AlertDescription, HandshakeKind, RootCertStore, SignatureScheme};
use sealwire::conn::ConnEvent;
use sealwire::error::{CertificateFault, ErrorKind};
use sealwire::tls::{ClientAuth, Version};

use crate::support::{
    Certified, End, Kind, PATHS, PKI, Setup, client_options, identity, pattern, roots,
    server_options,
};

impl Setup {
    fn duo(self) -> Duo {
        if self.we_are_client {
            Duo::new(End::client_of(&self.our_client()), Peer::server(self.kind))
        } else {
            Duo::new(End::server_of(&self.our_server()), Peer::client(None))
        }
    }
}

/// Configurations of rustls' ends, from which several connections can be made.
fn peer_client(identity: Option<&Certified>) -> Arc<::rustls::ClientConfig> {
    let builder = ::rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store());
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(chain(identity), key(identity))
            .unwrap(),
    })
}

fn peer_server(kind: Kind, is_client_required: bool) -> Arc<::rustls::ServerConfig> {
    let builder = ::rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if is_client_required {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store()), provider())
            .build()
            .unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let certified = PKI.server(kind);
    let mut config = builder
        .with_single_cert(chain(certified), key(certified))
        .unwrap();
    config.send_half_rtt_data = !is_client_required;
    Arc::new(config)
}

/// One small key share keeps the flights short where they are cut at every byte.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

fn store() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store
        .add(CertificateDer::from_pem_slice(PKI.ca.as_bytes()).unwrap())
        .unwrap();
    store
}

fn chain(certified: &Certified) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(certified.chain.as_bytes()).unwrap()]
}

fn key(certified: &Certified) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).unwrap()
}

/// rustls' end with everything that came out of it.
struct Peer {
    conn: ::rustls::Connection,
    received: Vec<u8>,
    is_told_of_close: bool,
}

impl Peer {
    fn client(identity: Option<&Certified>) -> Self {
        Self::client_of(&peer_client(identity))
    }

    fn client_of(config: &Arc<::rustls::ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let conn = ::rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
        Self::new(conn.into())
    }

    fn server(kind: Kind) -> Self {
        Self::server_of(&peer_server(kind, false))
    }

    fn server_of(config: &Arc<::rustls::ServerConfig>) -> Self {
        let conn = ::rustls::ServerConnection::new(Arc::clone(config)).unwrap();
        Self::new(conn.into())
    }

    fn new(conn: ::rustls::Connection) -> Self {
        Self {
            conn,
            received: Vec::new(),
            is_told_of_close: false,
        }
    }

    fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut output).unwrap();
        }
        output
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ::rustls::Error> {
        while !bytes.is_empty() {
            self.conn.read_tls(&mut bytes).unwrap();
            self.conn.process_new_packets()?;
            match self.conn.reader().read_to_end(&mut self.received) {
                Ok(_) => self.is_told_of_close = true,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            if self.is_told_of_close {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, data: &[u8]) {
        self.conn.set_buffer_limit(None);
        self.conn.writer().write_all(data).unwrap();
    }
}

/// Our end and rustls'.
struct Duo {
    ours: End,
    peer: Peer,
    /// Where the stream towards us is cut, in bytes from its beginning, and how much of it has
    /// passed.
    cut: usize,
    passed: usize,
}

impl Duo {
    fn new(ours: End, peer: Peer) -> Self {
        Self {
            ours,
            peer,
            cut: 0,
            passed: 0,
        }
    }

    fn settle(&mut self) {
        while self.turn(usize::MAX) {}
    }

    /// Moves what both ends have to send, ours in segments of `segment_len`. False where that was
    /// nothing.
    fn turn(&mut self, segment_len: usize) -> bool {
        let to_peer = self.ours.take_output().unwrap();
        self.peer.feed(&to_peer).unwrap();
        let to_us = self.peer.take_output();
        let cut = self.cut.saturating_sub(self.passed).min(to_us.len());
        self.passed += to_us.len();
        let (before, after) = to_us.split_at(cut);
        for segment in before.chunks(segment_len).chain(after.chunks(segment_len)) {
            self.ours.feed(segment).unwrap();
        }
        !(to_peer.is_empty() && to_us.is_empty())
    }

    fn refresh_peer(&mut self) {
        // TLS 1.2 has no KeyUpdate: rustls refuses.
        let _ = match &mut self.peer.conn {
            ::rustls::Connection::Client(client) => client.refresh_traffic_keys(),
            ::rustls::Connection::Server(server) => server.refresh_traffic_keys(),
        };
    }
}

#[test]
fn data_passes_both_ways_on_every_suite() {
    Setup::each(|setup| {
        let mut duo = setup.duo();
        duo.settle();
        for len in [1, 4_095, 4_096, 16_384, 16_385, 70_000] {
            duo.ours.write(&pattern(len));
            duo.peer.write(&pattern(len));
            duo.settle();
            assert_eq!(std::mem::take(&mut duo.ours.received), pattern(len));
            assert_eq!(std::mem::take(&mut duo.peer.received), pattern(len));
        }
        let facts = duo.ours.conn.facts().unwrap();
        assert_eq!(facts.version, setup.version, "{setup:?}");
        assert_eq!(duo.ours.events, [ConnEvent::HandshakeDone]);
    });
}

/// The peer's data is glued behind its Finished (a TLS 1.3 server's even comes before ours), then a
/// KeyUpdate, then close_notify: every byte of this stream is the first of a segment once.
#[test]
fn a_stream_is_cut_at_every_byte() {
    Setup::each_version(|setup| {
        let stream_len = conversation(setup, 0, usize::MAX);
        for cut in 1..stream_len + 8 {
            conversation(setup, cut, usize::MAX);
        }
        for segment_len in [1, 2, 3, 7] {
            conversation(setup, 0, segment_len);
        }
    });
}

/// Returns the length of the stream towards us.
fn conversation(setup: Setup, cut: usize, segment_len: usize) -> usize {
    let mut duo = setup.duo();
    duo.cut = cut;
    duo.peer.write(b"glued");
    while duo.ours.conn.is_handshaking() {
        duo.turn(segment_len);
    }
    duo.ours.write(b"glued, too");
    while duo.turn(segment_len) {}
    assert_eq!(duo.ours.received, b"glued", "{setup:?}");
    duo.refresh_peer();
    duo.peer.write(&[1; 40]);
    duo.peer.conn.send_close_notify();
    while duo.turn(segment_len) {}
    assert_eq!(duo.ours.received.len(), 45);
    assert_eq!(
        duo.ours.events,
        [ConnEvent::HandshakeDone, ConnEvent::PeerClosed]
    );
    duo.ours.write(b" and after");
    duo.ours.close().unwrap();
    while duo.turn(segment_len) {}
    assert_eq!(duo.peer.received, b"glued, too and after");
    assert!(duo.peer.is_told_of_close);
    duo.passed
}

#[test]
fn keys_are_replaced_by_either_side_and_by_both_at_once() {
    Setup::each_version(|setup| {
        let mut duo = setup.duo();
        duo.settle();
        for round in 0..12 {
            if round % 3 != 0 {
                duo.ours.refresh_keys().unwrap();
            }
            if round % 3 != 1 {
                duo.refresh_peer();
            }
            duo.ours.write(&[round; 100]);
            duo.peer.write(&[round; 100]);
            duo.turn(7);
        }
        duo.settle();
        let expected: Vec<u8> = (0..12).flat_map(|round| [round; 100]).collect();
        assert_eq!(duo.ours.received, expected);
        assert_eq!(duo.peer.received, expected);
    });
}

#[test]
fn either_side_closes_and_still_receives() {
    Setup::each_version(|setup| {
        let mut duo = setup.duo();
        duo.settle();
        duo.ours.write(b"last words");
        duo.ours.close().unwrap();
        duo.settle();
        assert_eq!(duo.peer.received, b"last words");
        assert!(duo.peer.is_told_of_close);
        duo.refresh_peer();
        duo.peer.write(b"heard");
        duo.peer.conn.send_close_notify();
        duo.settle();
        assert_eq!(duo.ours.received, b"heard");
        assert!(duo.ours.conn.is_peer_closed());
        duo.ours.conn.handle_eof(crate::support::NOW).unwrap();
    });
}

#[test]
fn an_altered_record_is_answered_with_an_alert_each_way() {
    Setup::each(|setup| {
        let mut duo = setup.duo();
        duo.settle();
        duo.peer.write(b"select 1");
        let mut output = duo.peer.take_output();
        *output.last_mut().unwrap() ^= 1;
        let error = duo.ours.feed(&output).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsProtocol);
        let alert = duo.ours.take_output().unwrap();
        let error = duo.peer.feed(&alert).unwrap_err();
        assert_eq!(
            error,
            ::rustls::Error::AlertReceived(AlertDescription::BadRecordMac)
        );

        let mut duo = setup.duo();
        duo.settle();
        duo.ours.write(b"select 1");
        let mut output = duo.ours.take_output().unwrap();
        *output.last_mut().unwrap() ^= 1;
        duo.peer.feed(&output).unwrap_err();
        let alert = duo.peer.take_output();
        let error = duo.ours.feed(&alert).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsAlert(20), "{setup:?}");
        assert!(duo.ours.take_output().unwrap().is_empty());
    });
}

/// The tickets of a TLS 1.3 server are held back until data has passed both ways.
#[test]
fn sessions_are_resumed_also_by_tickets_that_come_late() {
    Setup::each_version(|setup| {
        let (our_client, our_server) = (setup.our_client(), setup.our_server());
        let (their_client, their_server) = (peer_client(None), peer_server(setup.kind, false));
        let connect = || {
            if setup.we_are_client {
                Duo::new(End::client_of(&our_client), Peer::server_of(&their_server))
            } else {
                Duo::new(End::server_of(&our_server), Peer::client_of(&their_client))
            }
        };
        let mut duo = connect();
        while duo.ours.conn.is_handshaking() || duo.peer.conn.is_handshaking() {
            let to_peer = duo.ours.take_output().unwrap();
            duo.peer.feed(&to_peer).unwrap();
            if !duo.peer.conn.is_handshaking() && !duo.ours.conn.is_handshaking() {
                break;
            }
            duo.ours.feed(&duo.peer.take_output()).unwrap();
        }
        duo.ours.write(b"before the tickets");
        let to_peer = duo.ours.take_output().unwrap();
        duo.peer.feed(&to_peer).unwrap();
        assert_eq!(duo.peer.received, b"before the tickets");
        duo.settle();
        assert!(!duo.ours.conn.facts().unwrap().resumed);

        for _ in 0..2 {
            let mut duo = connect();
            duo.settle();
            assert!(duo.ours.conn.facts().unwrap().resumed, "{setup:?}");
            assert_eq!(duo.peer.conn.handshake_kind(), Some(HandshakeKind::Resumed));
            duo.ours.write(b"resumed");
            duo.peer.write(b"resumed");
            duo.settle();
            assert_eq!(duo.ours.received, b"resumed");
            assert_eq!(duo.peer.received, b"resumed");
        }
    });
}

/// Until both are done, or one of them has failed: what each said.
fn outcome(duo: &mut Duo) -> (Option<ErrorKind>, Option<::rustls::Error>) {
    let (mut ours, mut theirs) = (None, None);
    for _ in 0..8 {
        if let Ok(to_peer) = duo.ours.take_output() {
            theirs = theirs.or(duo.peer.feed(&to_peer).err());
        }
        let to_us = duo.peer.take_output();
        if ours.is_none() {
            ours = duo.ours.feed(&to_us).err().map(|error| error.kind());
        }
    }
    (ours, theirs)
}

#[test]
fn clients_present_what_we_ask_for() {
    for records in PATHS {
        for version in [Version::Tls12, Version::Tls13] {
            let auths = [
                ClientAuth::None,
                ClientAuth::Optional(roots()),
                ClientAuth::Required(roots()),
            ];
            for (index, auth) in auths.into_iter().enumerate() {
                for (presented, who) in
                    [(None, 0), (Some(&PKI.client), 1), (Some(&PKI.stranger), 2)]
                {
                    let mut options = server_options(records, Kind::Ecdsa);
                    options.client_auth = auth.clone();
                    if version == Version::Tls12 {
                        options.suites = vec!["ECDHE-ECDSA-AES128-GCM-SHA256".into()];
                    }
                    let mut duo = Duo::new(End::server(&options), Peer::client(presented));
                    let (ours, theirs) = outcome(&mut duo);
                    let expected = match (index, who) {
                        (2, 0) => Some(CertificateFault::Missing),
                        (1 | 2, 2) => Some(CertificateFault::UnknownIssuer),
                        _ => None,
                    };
                    assert_eq!(ours, expected.map(ErrorKind::Certificate));
                    assert_eq!(theirs.is_some(), expected.is_some(), "the peer is told");
                    if expected.is_none() {
                        let chain_len = usize::from(index > 0 && who > 0);
                        assert_eq!(duo.ours.conn.facts().unwrap().peer_chain.len(), chain_len);
                    }
                }
            }
        }
    }
}

#[test]
fn we_present_what_servers_ask_for() {
    for records in PATHS {
        for suite in ["TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"] {
            for (presented, alert) in [
                (None, Some(AlertDescription::CertificateRequired)),
                (Some(&PKI.client), None),
                (Some(&PKI.stranger), Some(AlertDescription::UnknownCA)),
            ] {
                let mut options = client_options(records);
                options.suites = vec![suite.into()];
                options.identity = presented.map(identity);
                let peer = Peer::server_of(&peer_server(Kind::Ecdsa, true));
                let mut duo = Duo::new(End::client(&options), peer);
                let (ours, theirs) = outcome(&mut duo);
                let alert = alert.map(u8::from);
                assert_eq!(theirs.is_some(), alert.is_some(), "{theirs:?}");
                match (ours, alert) {
                    (None, None) => {}
                    // TLS 1.2 has no certificate_required: it is handshake_failure there.
                    (Some(ErrorKind::TlsAlert(got)), Some(expected)) => {
                        assert!(got == expected || got == 40, "{got}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn servers_that_nobody_trusts_are_refused_and_told() {
    for records in PATHS {
        for suite in ["TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"] {
            let mut options = client_options(records);
            options.suites = vec![suite.into()];
            let config = ::rustls::ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain(&PKI.stranger), key(&PKI.stranger))
                .unwrap();
            let peer = Peer::server_of(&Arc::new(config));
            let (ours, theirs) = outcome(&mut Duo::new(End::client(&options), peer));
            assert_eq!(
                ours,
                Some(ErrorKind::Certificate(CertificateFault::UnknownIssuer))
            );
            assert_eq!(
                theirs,
                Some(::rustls::Error::AlertReceived(AlertDescription::UnknownCA))
            );
        }
    }
}

/// A client that verifies signatures of no scheme that a P-256 key can make: a class of its own, no
/// defect.
#[test]
fn clients_without_a_scheme_for_our_key_are_incompatible() {
    for records in PATHS {
        for version in [&::rustls::version::TLS12, &::rustls::version::TLS13] {
            let mut provider = CryptoProvider::clone(&provider());
            let algorithms = &mut provider.signature_verification_algorithms;
            let only_p384 = algorithms.mapping.iter().copied();
            let only_p384 = only_p384.filter(|(s, _)| *s == SignatureScheme::ECDSA_NISTP384_SHA384);
            algorithms.mapping = only_p384.collect::<Vec<_>>().leak();
            let config = ::rustls::ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(store())
                .with_no_client_auth();
            let ours = End::server(&server_options(records, Kind::Ecdsa));
            let mut duo = Duo::new(ours, Peer::client_of(&Arc::new(config)));
            assert_eq!(outcome(&mut duo).0, Some(ErrorKind::TlsIncompatible));
        }
    }
}
