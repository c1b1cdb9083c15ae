//! The server, and the course of the test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealwire::conn::{Connection, NegotiationOptions, NegotiationServer};
use sealwire::engine::backend::{Backend, BackendOptions};
use sealwire::engine::{ConnId, Engine, EngineOptions, Event, ListenOptions, SocketOptions, Stage};
use sealwire::error::ErrorKind;
use sealwire::frame::obrpc::{Bypass, Methods, ServerPolicy};
use sealwire::limits;
use sealwire::tls::{Identity, Pem, RecordPath, ServerOptions};

use crate::clock::Ahead;
use crate::{CLIENTS, Clients, EACH, clients, memory};

/// Receive buffers of few bytes, as few unused ones of other kinds are kept: that memory is no
/// connection's.
pub(crate) const BACKEND: BackendOptions = BackendOptions {
    recv_buf_len: 4_096,
    recv_buf_count: 256,
    queue_len: limits::BACKEND_QUEUE_LEN,
};

pub(crate) fn run(backend: Box<dyn Backend>) {
    let ahead = Ahead::default();
    let mut server = Server::new(ahead.of(backend));
    let before = memory::in_use();
    let mut clients = Clients::start(&server.address, &server.authority);

    server.until("accepted", |server| server.accepted == CLIENTS);
    let silent = (memory::in_use() - before) / CLIENTS;

    let before = memory::in_use();
    clients.say("begin");
    let sent = EACH * (clients::SLOW_LEN + clients::HALFWAY_LEN);
    server.until("read", |server| server.received() == sent as u64);
    let slow = (memory::in_use() - before) / EACH;

    let before = memory::in_use();
    memory::restart_peak();
    clients.say("call");
    server.until("answered", |server| server.answered == EACH);
    let handshake = (memory::peak() - before) / EACH;
    assert_eq!(
        server.engine.conns_len(),
        CLIENTS,
        "nobody had to leave for it"
    );
    assert_eq!(server.closed, 0);

    println!(
        "{}: {silent} bytes for each of {CLIENTS} clients, {slow} more for one in the midst of a \
         record, at most {handshake} more for one in its handshake",
        server.engine.describe()
    );
    assert!(silent <= limits::NEGOTIATION_MEMORY_LEN_MAX, "{silent}");
    let record = limits::PARTIAL_BUF_LEN + limits::NEGOTIATION_MEMORY_LEN_MAX;
    assert!(slow <= record, "{slow}");
    assert!(handshake <= record + limits::SEND_BUF_LEN, "{handshake}");

    ahead.set(TIMEOUT);
    server.until("closed", |server| server.closed == CLIENTS - EACH);
    assert_eq!(server.engine.conns_len(), EACH, "who was served stays");
    let told = clients.end();
    assert_eq!(told, format!("{EACH} answered, {} closed", CLIENTS - EACH));
}

struct Server {
    engine: Engine,
    events: Vec<Event>,
    tls: Arc<NegotiationServer>,
    address: String,
    /// Whom its clients are to trust.
    authority: String,
    accepted: usize,
    answered: usize,
    /// Connections that were closed at their deadline.
    closed: usize,
}

impl Server {
    fn new(backend: Box<dyn Backend>) -> Self {
        let options = EngineOptions {
            recv_buf_len: BACKEND.recv_buf_len,
            pool_free_max: 16,
            ..EngineOptions::default()
        };
        let mut engine = Engine::with_backend(backend, &options);
        let options = ListenOptions {
            backlog: 4_096,
            reuse_port: false,
            is_redirected: false,
            socket: SocketOptions::default(),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = engine.listen(&any, &options).unwrap();
        let (identity, authority) = identity();
        let policy = ServerPolicy {
            methods: Methods::SSL_IO,
            bypass: Bypass::Nobody,
            is_keepalive_admitted: true,
            is_tls_admitted: false,
        };
        let options = NegotiationOptions {
            timeout: TIMEOUT,
            requires_binding: true,
            danger_end_without_close_notify: false,
        };
        let tls = ServerOptions {
            records: RecordPath::InPlace,
            handshake_timeout: TIMEOUT,
            ..ServerOptions::new(identity)
        };
        Self {
            address: engine.local_address(listener).unwrap().to_string(),
            engine,
            events: Vec::new(),
            tls: NegotiationServer::new(policy, Some(&tls), options).unwrap(),
            authority,
            accepted: 0,
            answered: 0,
            closed: 0,
        }
    }

    /// Serves until it `is_done`.
    fn until(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_done(self) {
            let (accepted, answered) = (self.accepted, self.answered);
            assert!(
                start.elapsed() < PATIENCE,
                "not {what}: {accepted} accepted, {answered} answered, {} closed, {} bytes",
                self.closed,
                self.received()
            );
            let mut events = std::mem::take(&mut self.events);
            let timeout = Some(Duration::from_secs(1));
            self.engine.wait(timeout, &mut events).unwrap();
            for event in events.drain(..) {
                self.handle(event);
            }
            self.events = events;
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { id, .. } => {
                let now = self.engine.now();
                let conn = Connection::negotiated_server(&self.tls, false, now);
                self.engine.start(id, conn, 0);
                self.accepted += 1;
            }
            Event::Readable { id } => self.answer(id),
            Event::Closed { error, stage, .. } => {
                let kind = error.map(|error| error.kind());
                assert_eq!((kind, stage), (Some(ErrorKind::Timeout), Stage::Handshake));
                self.closed += 1;
            }
            Event::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, id: ConnId) {
        if self.engine.peek(id).len() == clients::REQUEST.len() {
            self.engine.consume(id, clients::REQUEST.len());
            self.engine.write(id, clients::RESPONSE);
            self.answered += 1;
        }
    }

    fn received(&self) -> u64 {
        self.engine.counters().backend.recv_bytes
    }
}

/// A server's identity, and the certificate of the authority that issued it.
fn identity() -> (Arc<Identity>, String) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let chain = params.signed_by(&key, &issuer).unwrap().pem();
    let pem = |text| Pem { name: "test", text };
    let key = key.serialize_pem();
    let identity = Identity::from_pem(pem(chain.as_bytes()), pem(key.as_bytes())).unwrap();
    (identity, authority)
}

/// Longer than any run, until the test moves the time on.
const TIMEOUT: Duration = Duration::from_secs(3_600);

/// A test that has waited this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);
