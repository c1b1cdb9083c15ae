//! What the fuzz targets and their seeded twins in `cargo test` run.
//!
//! Input is a script: every byte says what happens next, so that random bytes already reach far and
//! a fuzzer's changes stay local. Both ends of a script are deterministic up to the keys and
//! randoms of the handshake.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CipherSuite, SupportedCipherSuite};
use sealwire::error::{Error, ErrorKind};
use sealwire::limits;
use sealwire::time::{Monotonic, Now};
use sealwire::tls::{ClientAuth, ClientConfig, RecordPath, ServerConfig};

use crate::sealer::{ALERT, APPLICATION_DATA, Config, HANDSHAKE, Sealer};
use crate::support::{End, Kind, NOW, PKI, client_options, roots, server_options};

/// The same records, cooperating or not, to both record paths: what comes out must be the same.
pub(crate) fn records_differential(data: &[u8]) {
    let [rustls, in_place] = [RecordPath::Rustls, RecordPath::InPlace].map(|records| {
        let mut script = Script(data);
        let mut run = Run::new(records, &mut script);
        run.play(&mut script);
        run.outcome
    });
    compare(&rustls, &in_place);
}

/// A server that is sent anything at all, or what a genuine client sends, altered here and there.
pub(crate) fn conn_server(data: &[u8]) {
    let mut script = Script(data);
    let options = script.u8();
    let ours = End::server_of(&SERVERS[usize::from(options) % SERVERS.len()]);
    let suite = suite(options >> 4);
    let name = ServerName::try_from("localhost").expect("a name");
    let peer = rustls::ClientConnection::new(Arc::new(peer_client(suite)), name);
    Wild::new(ours, peer.expect("a client").into()).play(&mut script);
}

/// A client that is sent anything at all, or what a genuine server sends, altered here and there.
pub(crate) fn conn_client(data: &[u8]) {
    let mut script = Script(data);
    let options = script.u8();
    let ours = End::client_of(&CLIENTS[usize::from(options) % CLIENTS.len()]);
    let peer = rustls::ServerConnection::new(Arc::new(peer_server(suite(options >> 4))));
    Wild::new(ours, peer.expect("a server").into()).play(&mut script);
}

/// Says what happens next. A script that is at its end says zero.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn u16(&mut self) -> usize {
        usize::from(self.u8()) << 8 | usize::from(self.u8())
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length: the limits and their neighbours are likely.
    fn plain_len(&mut self) -> usize {
        const MAX: usize = limits::RECORD_PLAIN_LEN_MAX;
        match self.u8() {
            0..16 => 0,
            16..144 => usize::from(self.u8()),
            144..160 => MAX - 1,
            160..176 => MAX,
            176..192 => MAX + 1,
            192..200 => MAX + 239 + usize::from(self.u8() % 4),
            200..208 => MAX + 2_048 - 40 + usize::from(self.u8() % 64),
            _ => self.u16() % (MAX + 1),
        }
    }
}

/// One record path with the peer that plays the script.
struct Run {
    ours: End,
    peer: Sealer,
    /// Sealed and not delivered.
    wire: Vec<u8>,
    /// The offset of the bit to be turned in the next record.
    flip: Option<usize>,
    last: Vec<u8>,
    outcome: Outcome,
}

#[derive(Default)]
struct Outcome {
    received: Vec<u8>,
    sent: Vec<u8>,
    is_peer_closed: bool,
    is_close_sent: bool,
    /// Whether a TLS 1.2 peer has sent a handshake message: a ClientHello, perhaps.
    may_renegotiate: bool,
    error: Option<Error>,
    alerts: Vec<Vec<u8>>,
}

impl Outcome {
    fn kind(&self) -> Option<ErrorKind> {
        self.error.as_ref().map(Error::kind)
    }
}

impl Run {
    fn new(records: RecordPath, script: &mut Script<'_>) -> Self {
        let options = script.u8();
        let suite = suite(options >> 1);
        let index = usize::from(records == RecordPath::InPlace);
        let (mut ours, config) = if options & 1 == 0 {
            let ours = End::server_of(&SERVERS[index]);
            (ours, Config::Client(peer_client(suite)))
        } else {
            let ours = End::client_of(&CLIENTS[index]);
            (ours, Config::Server(peer_server(suite)))
        };
        let peer = Sealer::establish(&mut ours, config);
        Self {
            ours,
            peer,
            wire: Vec::new(),
            flip: None,
            last: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        for _ in 0..STEPS_MAX {
            if script.0.is_empty() {
                break;
            }
            self.step(script);
            assert!(
                self.ours.conn.queued() <= QUEUED_MAX,
                "the queue has no bound"
            );
            if self.outcome.error.is_some() {
                break;
            }
        }
        self.deliver(usize::MAX);
        self.flush();
        self.outcome.received = std::mem::take(&mut self.ours.received);
        self.outcome.is_peer_closed = self.ours.conn.is_peer_closed();
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.u8() % 24 {
            0..=3 => {
                let (len, fill) = (script.plain_len(), script.u8());
                self.seal(APPLICATION_DATA, &vec![fill; len], 0);
            }
            4 => {
                let (len, padding) = (script.plain_len(), script.plain_len());
                let room = (limits::RECORD_CIPHER_LEN_MAX_TLS12 + 64usize).saturating_sub(len);
                self.seal(APPLICATION_DATA, &vec![1; len], padding.min(room));
            }
            5 => {
                let (content_type, len) = (script.u8(), script.u8());
                self.seal(content_type, script.take(usize::from(len)), 0);
            }
            6 | 7 => self.handshake(&[24, 0, 0, 1, script.u8() % 2], script.u8()),
            8 => self.handshake(&[24, 0, 0, 1, script.u8()], script.u8()),
            9 => self.handshake(&TICKET, script.u8()),
            10 => {
                let (kind, len) = (script.u8() % 32, script.u8());
                let body = script.take(usize::from(len));
                let message = [&[kind, 0, 0, len][..], body].concat();
                self.handshake(&message, script.u8());
            }
            11 => self.handshake(&[0, 0, 0, 0], script.u8()),
            12 => {
                let len = script.u8();
                self.seal(HANDSHAKE, script.take(usize::from(len)), 0);
            }
            13 => self.seal(ALERT, &[script.u8() % 4, script.u8()], 0),
            14 => {
                let body = if script.u8().is_multiple_of(8) {
                    [1, 0]
                } else {
                    [1, 90]
                };
                self.seal(ALERT, &body, 0);
            }
            15 => {
                if script.u8().is_multiple_of(4) {
                    self.flip = Some(script.u16());
                }
            }
            16 => {
                let len = script.u8() % 16;
                self.wire.extend_from_slice(script.take(usize::from(len)));
            }
            17 => match script.u8() % 8 {
                0 => self.peer.send.sequence += 1,
                1 => self.wire.extend_from_slice(&self.last),
                _ => {}
            },
            18 => self.deliver(usize::from(script.u8()) + 1),
            19 => self.deliver(usize::MAX),
            20 | 21 => {
                let (len, fill) = (script.plain_len(), script.u8());
                self.write(&vec![fill; len]);
            }
            22 => match script.u8() % 8 {
                0 => self.act(End::close),
                _ => self.act(End::refresh_keys),
            },
            _ => self.flush(),
        }
    }

    /// Seals a handshake message: in one record, or in two where `cut` says so; a KeyUpdate changes
    /// the keys.
    fn handshake(&mut self, message: &[u8], cut: u8) {
        let cut = usize::from(cut).min(message.len());
        let is_cut = cut % 2 == 1;
        if is_cut {
            self.seal(HANDSHAKE, &message[..cut], 0);
        }
        self.seal(HANDSHAKE, &message[if is_cut { cut } else { 0 }..], 0);
        if message[0] == 24 {
            self.peer.send.update();
        }
    }

    fn seal(&mut self, content_type: u8, plain: &[u8], padding: usize) {
        self.outcome.may_renegotiate |= content_type == HANDSHAKE && !self.peer.is_tls13;
        let mut record = self.peer.send.seal(content_type, plain, padding);
        if let Some(offset) = self.flip.take() {
            // The version is authenticated by us and passed over by rustls: the peer sends 3.3
            // always.
            let offset = match offset % record.len() {
                1 | 2 => 0,
                offset => offset,
            };
            record[offset] ^= 0x40;
        }
        self.wire.extend_from_slice(&record);
        self.last = record;
    }

    fn deliver(&mut self, segment_len: usize) {
        let wire = std::mem::take(&mut self.wire);
        for segment in wire.chunks(segment_len) {
            if self.outcome.error.is_some() {
                return;
            }
            self.outcome.error = self.ours.feed(segment).err();
        }
    }

    fn write(&mut self, data: &[u8]) {
        if self.ours.conn.is_closing() || self.ours.conn.writable() < data.len() {
            return;
        }
        let End { conn, pools, .. } = &mut self.ours;
        let taken = conn.write(data, pools).expect("an open connection");
        assert_eq!(taken, data.len(), "there was room");
    }

    fn act(&mut self, act: impl FnOnce(&mut End) -> sealwire::error::Result<()>) {
        act(&mut self.ours).expect("nothing is in the way");
    }

    /// Lets the peer open everything we send.
    fn flush(&mut self) {
        let wire = self.ours.take_output().expect("sealing does not fail");
        for (content_type, plain) in self.peer.open_all(&wire) {
            match content_type {
                APPLICATION_DATA => {
                    assert!(!self.outcome.is_close_sent, "data after close_notify");
                    self.outcome.sent.extend_from_slice(&plain);
                }
                ALERT if plain == [1, 0] => self.outcome.is_close_sent = true,
                ALERT => self.outcome.alerts.push(plain),
                _ => assert_eq!(content_type, HANDSHAKE),
            }
        }
    }
}

fn compare(rustls: &Outcome, in_place: &Outcome) {
    let told = format!("rustls {:?}, in place {:?}", rustls.error, in_place.error);
    if in_place.kind() == Some(ErrorKind::TlsProtocol) {
        let fatal = in_place.alerts.iter().filter(|alert| alert[0] == 2);
        assert_eq!(fatal.count(), 1, "one alert says why: {told}");
    }
    if is_justified(rustls, in_place) {
        // One of them read on.
        let len = rustls.received.len().min(in_place.received.len());
        assert!(rustls.received[..len] == in_place.received[..len], "{told}");
        return;
    }
    assert_eq!(rustls.kind(), in_place.kind(), "{told}");
    assert!(rustls.received == in_place.received, "{told}");
    assert_eq!(rustls.is_peer_closed, in_place.is_peer_closed, "{told}");
    if rustls.error.is_none() {
        assert!(rustls.sent == in_place.sent, "what was sent differs");
        assert_eq!(rustls.is_close_sent, in_place.is_close_sent);
    }
}

/// Where the two may differ, and why.
fn is_justified(rustls: &Outcome, in_place: &Outcome) -> bool {
    let says = |outcome: &Outcome, words: &str| {
        let error = outcome.error.as_ref();
        error.is_some_and(|error| error.to_string().contains(words))
    };
    // Floods: rustls counts warnings over the life of a connection, and empty records of every type
    // until one that is not; we count each between records that hold data.
    says(rustls, "TooManyWarningAlertsReceived")
        || says(rustls, "TooManyEmptyFragments")
        || says(in_place, "empty records with no data")
        // RFC 8446 section 5.1 and RFC 5246 section 6.2.1 forbid it; rustls lets 32 pass.
        || says(in_place, "an empty handshake record")
        // An alert whose level is neither warning nor fatal is malformed in TLS 1.2, and rustls
        // names it; in TLS 1.3 the level says nothing (RFC 8446 section 6), and rustls still
        // refuses it.
        || says(in_place, "an alert that cannot be read")
            && matches!(rustls.kind(), Some(ErrorKind::TlsAlert(_)))
        || matches!(rustls.kind(), Some(ErrorKind::TlsAlert(0 | 90)))
        // Our bound for what comes after the handshake is lower than rustls' 64 KiB.
        || says(in_place, "a handshake message of")
        // rustls passes over the body of a HelloRequest, which has none.
        || says(in_place, "handshake message 0 of")
        // A renegotiation is declined without a look at the ClientHello that asks for it.
        || says(rustls, "client broke the TLS protocol: received corrupt message")
            && in_place.may_renegotiate
}

/// A fresh connection that meets whatever the script brings.
struct Wild {
    ours: End,
    peer: rustls::Connection,
    /// What the genuine peer has sent and the script has not let through.
    genuine: Vec<u8>,
    error: Option<Error>,
    fed: usize,
    written: usize,
}

impl Wild {
    fn new(ours: End, peer: rustls::Connection) -> Self {
        Self {
            ours,
            peer,
            genuine: Vec::new(),
            error: None,
            fed: 0,
            written: 0,
        }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        for _ in 0..STEPS_MAX {
            if script.0.is_empty() {
                break;
            }
            self.step(script);
            let queued = self.ours.conn.queued();
            assert!(queued <= QUEUED_MAX, "the queue has no bound");
        }
        self.exchange();
        self.check_finality();
        let End { conn, pools, .. } = &mut self.ours;
        conn.release(pools);
        assert_eq!(self.ours.conn.queued(), 0);
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.u8() % 16 {
            0..=2 => self.exchange(),
            3..=5 => {
                let len = script.u16() % 4_096;
                self.pass(len);
            }
            6 => self.pass(usize::MAX),
            7 | 8 => {
                let (at, mask) = (script.u16(), script.u8());
                if let Some(byte) = self.genuine.get_mut(at) {
                    *byte ^= mask;
                }
            }
            9 => {
                let (at, len) = (script.u16(), usize::from(script.u8()));
                let at = at.min(self.genuine.len());
                let insert = script.take(len).to_vec();
                self.genuine.splice(at..at, insert);
            }
            10 => {
                let (at, len) = (script.u16(), usize::from(script.u8()));
                let at = at.min(self.genuine.len());
                let end = (at + len).min(self.genuine.len());
                self.genuine.drain(at..end);
            }
            11 | 12 => {
                let len = usize::from(script.u8());
                let bytes = script.take(len);
                self.feed(bytes);
            }
            13 => self.write(script.u16()),
            14 => {
                let _ = match script.u8() % 4 {
                    0 => self.ours.close(),
                    _ => self.ours.refresh_keys(),
                };
            }
            _ => match script.u8() % 8 {
                0 => self.note(|ours| ours.conn.handle_eof(NOW)),
                1 => self.note(|ours| ours.conn.handle_timeout(LATER)),
                2 => self.peer.send_close_notify(),
                _ => {}
            },
        }
    }

    /// What we have sent goes to the peer, and what it says waits.
    fn exchange(&mut self) {
        // An error of sending is final too, and the next call gives the rest.
        let output = match self.ours.take_output() {
            Ok(output) => output,
            Err(error) => {
                self.error.get_or_insert(error);
                return;
            }
        };
        assert!(output.len() <= self.written + self.fed + OUTPUT_MAX);
        let mut output = &output[..];
        while !output.is_empty() && self.peer.read_tls(&mut output).is_ok_and(|len| len > 0) {
            if self.peer.process_new_packets().is_err() {
                break;
            }
        }
        while self.peer.wants_write() {
            self.peer.write_tls(&mut self.genuine).expect("memory");
        }
    }

    fn pass(&mut self, len: usize) {
        let len = len.min(self.genuine.len());
        let bytes: Vec<u8> = self.genuine.drain(..len).collect();
        self.feed(&bytes);
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.fed += bytes.len();
        self.note(|ours| ours.feed(bytes));
    }

    fn write(&mut self, len: usize) {
        let End { conn, pools, .. } = &mut self.ours;
        match conn.write(&vec![5; len], pools) {
            Ok(taken) => self.written += taken,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Misuse),
        }
    }

    fn note(&mut self, act: impl FnOnce(&mut End) -> sealwire::error::Result<()>) {
        let result = act(&mut self.ours);
        match (&self.error, result) {
            (None, Err(error)) => {
                let kind = error.kind();
                assert!(
                    !matches!(kind, ErrorKind::Misuse | ErrorKind::Internal),
                    "{error:?}"
                );
                self.error = Some(error);
            }
            (Some(_), Err(error)) => assert_eq!(error.kind(), ErrorKind::Misuse, "{error:?}"),
            (_, Ok(())) => {}
        }
    }

    /// After an error nothing is received, nothing is written, and no deadline is left.
    fn check_finality(&mut self) {
        let Some(error) = &self.error else {
            return;
        };
        assert!(!error.to_string().is_empty());
        assert_eq!(self.ours.conn.poll_timeout(), None);
        assert_eq!(
            self.ours.feed(b"x").expect_err("final").kind(),
            ErrorKind::Misuse
        );
        assert!(self.ours.take_output().expect("drained").is_empty());
        assert!(!self.ours.conn.is_handshaking());
    }
}

/// For each record path, client certificates not asked for, then optional.
static SERVERS: LazyLock<Vec<Arc<ServerConfig>>> = LazyLock::new(|| {
    let auths = [ClientAuth::None, ClientAuth::Optional(roots())];
    let configs = auths.into_iter().flat_map(|auth| {
        [RecordPath::Rustls, RecordPath::InPlace].map(|records| {
            let mut options = server_options(records, Kind::Ecdsa);
            options.client_auth = auth.clone();
            ServerConfig::new(&options).expect("a configuration")
        })
    });
    configs.collect()
});

static CLIENTS: LazyLock<Vec<Arc<ClientConfig>>> = LazyLock::new(|| {
    let paths = [RecordPath::Rustls, RecordPath::InPlace];
    paths
        .map(|records| ClientConfig::new(&client_options(records)).expect("a configuration"))
        .into()
});

pub(crate) fn suite(index: u8) -> SupportedCipherSuite {
    const SUITES: [CipherSuite; 6] = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ];
    let wanted = SUITES[usize::from(index) % SUITES.len()];
    *rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .find(|suite| suite.suite() == wanted)
        .expect("a suite that rustls has")
}

fn provider(suite: SupportedCipherSuite) -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::CryptoProvider {
        cipher_suites: vec![suite],
        kx_groups: vec![rustls::crypto::aws_lc_rs::kx_group::X25519],
        ..rustls::crypto::aws_lc_rs::default_provider()
    })
}

pub(crate) fn peer_client(suite: SupportedCipherSuite) -> rustls::ClientConfig {
    let mut store = rustls::RootCertStore::empty();
    store
        .add(CertificateDer::from_pem_slice(PKI.ca.as_bytes()).expect("PEM"))
        .expect("an authority");
    let mut config = rustls::ClientConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(&[suite.version()])
        .expect("a version of the suite")
        .with_root_certificates(store)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

pub(crate) fn peer_server(suite: SupportedCipherSuite) -> rustls::ServerConfig {
    let certified = PKI.server(Kind::Ecdsa);
    let chain = CertificateDer::from_pem_slice(certified.chain.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("PEM");
    let mut config = rustls::ServerConfig::builder_with_provider(provider(suite))
        .with_protocol_versions(&[suite.version()])
        .expect("a version of the suite")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("an identity");
    // Secrets can be taken only when nothing waits to be sent.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.enable_secret_extraction = true;
    config
}

/// A NewSessionTicket: lifetime, age_add, nonce, ticket, no extensions.
const TICKET: [u8; 25] = [
    4, 0, 0, 21, 0, 0, 14, 16, 1, 2, 3, 4, 2, 0, 1, 0, 6, 9, 9, 9, 9, 9, 9, 0, 0,
];

const STEPS_MAX: usize = 96;

/// The queue takes no more from its mark on; the record that crosses it, KeyUpdates and alerts come
/// on top.
const QUEUED_MAX: usize = limits::SEND_QUEUE_LEN_HIGH + 2 * limits::RECORD_PLAIN_LEN_MAX;

/// What a handshake sends on top of what it was sent, in bytes.
const OUTPUT_MAX: usize = 16 * 1024;

/// Past every deadline.
const LATER: Now = Now {
    monotonic: Monotonic::from_ns(u64::MAX),
    wall_s: NOW.wall_s,
};
