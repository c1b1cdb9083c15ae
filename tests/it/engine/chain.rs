//! Clients, a relay and an echoing server, all on one engine.
//!
//! ```text
//! client ──► front │ back ──► server, which echoes
//! ```

use std::sync::LazyLock;
use std::time::Duration;

use sealwire::engine::backend::Backend;
use sealwire::engine::sim::Rng;
use sealwire::engine::{
    Address, ConnId, Engine, EngineOptions, Event, ListenOptions, ListenerId, RelayState,
    SocketOptions,
};
use sealwire::error::Error;

use super::tls::Protocol;

pub(super) struct Chain {
    pub(super) engine: Engine,
    pub(super) clients: Vec<Client>,
    /// Errors of connections that ended with one.
    pub(super) errors: Vec<Error>,
    pub(super) peer_closes: usize,
    protocol: Protocol,
    random: Rng,
    links: Vec<Link>,
    front: (ListenerId, Address),
    server: (ListenerId, Address),
    events: Vec<Event>,
    /// Largest write and read of a client, in bytes.
    piece_len_max: u64,
}

pub(super) struct Client {
    pub(super) id: ConnId,
    pub(super) sent: usize,
    pub(super) received: usize,
    pub(super) total: usize,
    pub(super) is_closed: bool,
    /// Reads nothing for the time being.
    pub(super) is_paused: bool,
}

struct Link {
    front: ConnId,
    back: ConnId,
    ends: usize,
}

/// What a connection is, in its user data: three bits of kind under an index.
const CLIENT: u64 = 0;
const FRONT: u64 = 1;
const BACK: u64 = 2;
const SERVER: u64 = 3;

impl Chain {
    pub(super) fn new(backend: Box<dyn Backend>, protocol: Protocol, seed: u64) -> Self {
        let options = EngineOptions {
            recv_buf_len: 4_096,
            ..EngineOptions::default()
        };
        Self::with_engine(Engine::with_backend(backend, &options), protocol, seed)
    }

    pub(super) fn with_engine(mut engine: Engine, protocol: Protocol, seed: u64) -> Self {
        let mut listen = || {
            let id = engine
                .listen(&"127.0.0.1:0".parse().unwrap(), &listen_options())
                .unwrap();
            (id, engine.local_address(id).unwrap())
        };
        Self {
            front: listen(),
            server: listen(),
            engine,
            clients: Vec::new(),
            errors: Vec::new(),
            peer_closes: 0,
            protocol,
            random: Rng::new(seed),
            links: Vec::new(),
            events: Vec::new(),
            piece_len_max: 20_000,
        }
    }

    pub(super) fn add_client(&mut self, total: usize) {
        let index = self.clients.len() as u64;
        let conn = self.protocol.client(self.engine.now(), self.engine.pools());
        let id = self
            .engine
            .connect(
                &self.front.1,
                conn,
                &SocketOptions::default(),
                TIMEOUT,
                index << 2 | CLIENT,
            )
            .unwrap();
        self.clients.push(Client {
            id,
            sent: 0,
            received: 0,
            total,
            is_closed: false,
            is_paused: false,
        });
    }

    /// One cycle; false where nothing happened within `timeout`.
    pub(super) fn step(&mut self, timeout: Duration) -> bool {
        let mut events = std::mem::take(&mut self.events);
        self.engine.wait(Some(timeout), &mut events).unwrap();
        let is_something = !events.is_empty();
        for event in events.drain(..) {
            self.handle(event);
        }
        self.events = events;
        is_something
    }

    /// Runs until every client has ended.
    pub(super) fn run(&mut self) {
        let mut idle = 0;
        while self.clients.iter().any(|client| !client.is_closed) {
            idle = if self.step(TIMEOUT) { 0 } else { idle + 1 };
            assert!(idle < 1_000, "nothing happens any more");
        }
    }

    /// Runs until every socket is closed.
    pub(super) fn end(&mut self) {
        self.engine.unlisten(self.front.0);
        self.engine.unlisten(self.server.0);
        let mut idle = 0;
        while self.engine.conns_len() > 0 {
            idle = if self.step(TIMEOUT) { 0 } else { idle + 1 };
            assert!(idle < 1_000, "connections stay");
        }
        for _ in 0..10 {
            self.step(Duration::from_millis(1));
        }
    }

    pub(super) fn pause_client(&mut self, index: usize, on: bool) {
        self.clients[index].is_paused = on;
        self.engine.set_reading(self.clients[index].id, !on);
    }

    /// Aborts one of the connections that there are.
    pub(super) fn abort_one(&mut self) {
        let clients = self.clients.iter().filter(|client| !client.is_closed);
        let links = self.links.iter().flat_map(|link| [link.front, link.back]);
        let ids: Vec<ConnId> = clients.map(|client| client.id).chain(links).collect();
        if let Some(id) = ids.get(self.random.below(ids.len() as u64) as usize) {
            self.engine.abort(*id);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { listener, id, .. } => self.accept(listener, id),
            Event::Connected { id } | Event::Writable { id } => self.write_or_pump(id),
            Event::Readable { id } => match self.kind(id) {
                (CLIENT, index) => self.read_client(index),
                (FRONT, index) => self.pump(id, self.links[index].back),
                (BACK, index) => self.pump(id, self.links[index].front),
                _ => self.echo(id),
            },
            Event::PeerClosed { id } => self.peer_closed(id),
            Event::Timer { id } => self.write_or_pump(id),
            Event::Closed { id, error, .. } => self.closed(id, error),
            Event::AcceptPaused { .. } | Event::AcceptResumed { .. } => {}
            Event::Unlistened { .. } | Event::Woken => {}
        }
    }

    fn accept(&mut self, listener: ListenerId, id: ConnId) {
        if listener == self.server.0 {
            return self
                .engine
                .start(id, Protocol::Plain.server(self.engine.now()), SERVER);
        }
        let index = (self.links.len() as u64) << 2;
        let conn = Protocol::Plain.client(self.engine.now(), self.engine.pools());
        let options = SocketOptions::default();
        let back = self
            .engine
            .connect(&self.server.1, conn, &options, TIMEOUT, index | BACK);
        let Ok(back) = back else {
            return self.engine.abort(id);
        };
        self.engine
            .start(id, self.protocol.server(self.engine.now()), index | FRONT);
        self.links.push(Link {
            front: id,
            back,
            ends: 0,
        });
    }

    fn write_or_pump(&mut self, id: ConnId) {
        match self.kind(id) {
            (CLIENT, index) => self.write_client(index),
            (FRONT, index) => self.resume(self.links[index].back, id),
            (BACK, index) => self.resume(self.links[index].front, id),
            _ => {
                self.engine.set_reading(id, true);
                self.echo(id);
            }
        }
    }

    /// Writes pieces of random length; now and then it stops, to go on later.
    fn write_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        while client.sent < client.total {
            let len = 1 + self.random.below(self.piece_len_max) as usize;
            let piece = pattern(client.sent, len.min(client.total - client.sent));
            let taken = self.engine.write(client.id, piece);
            client.sent += taken;
            if taken < piece.len() {
                return;
            }
            if self.random.below(8) == 0 {
                let later = self
                    .engine
                    .now()
                    .monotonic
                    .after(Duration::from_micros(300));
                return self.engine.set_timer(client.id, Some(later));
            }
        }
        self.engine.shutdown(client.id);
    }

    /// Reads pieces of random length and compares them; now and then it leaves some.
    fn read_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.is_paused {
            return;
        }
        loop {
            let chunk = self.engine.peek(client.id);
            if chunk.is_empty() {
                return;
            }
            let len = chunk
                .len()
                .min(1 + self.random.below(self.piece_len_max) as usize);
            assert_eq!(
                chunk[..len],
                *pattern(client.received, len),
                "other bytes than were sent"
            );
            client.received += len;
            self.engine.consume(client.id, len);
            if self.random.below(6) == 0 {
                return;
            }
        }
    }

    fn pump(&mut self, from: ConnId, to: ConnId) {
        let relayed = self.engine.relay(from, to);
        self.engine
            .set_reading(from, relayed.state == RelayState::Drained);
    }

    fn resume(&mut self, from: ConnId, to: ConnId) {
        self.engine.set_reading(from, true);
        self.pump(from, to);
    }

    fn echo(&mut self, id: ConnId) {
        loop {
            let chunk = self.engine.peek(id).to_vec();
            let taken = self.engine.write(id, &chunk);
            self.engine.consume(id, taken);
            if chunk.is_empty() {
                return;
            }
            if taken < chunk.len() {
                return self.engine.set_reading(id, false);
            }
        }
    }

    fn peer_closed(&mut self, id: ConnId) {
        self.peer_closes += 1;
        let (kind, index) = self.kind(id);
        if kind == CLIENT || kind == SERVER {
            return self.engine.close(id);
        }
        let link = &mut self.links[index];
        let other = if kind == FRONT { link.back } else { link.front };
        link.ends += 1;
        if link.ends < 2 {
            return self.engine.shutdown(other);
        }
        self.engine.close(link.front);
        self.engine.close(link.back);
    }

    fn closed(&mut self, id: ConnId, error: Option<Error>) {
        let is_clean = error.is_none();
        self.errors.extend(error);
        match self.kind(id) {
            (CLIENT, index) => {
                let client = &mut self.clients[index];
                assert!(!client.is_closed, "closed twice");
                client.is_closed = true;
            }
            (FRONT, index) if !is_clean || self.links[index].ends < 2 => {
                self.engine.abort(self.links[index].back);
            }
            (BACK, index) if !is_clean || self.links[index].ends < 2 => {
                self.engine.abort(self.links[index].front);
            }
            _ => {}
        }
    }

    fn kind(&self, id: ConnId) -> (u64, usize) {
        let user_data = self.engine.user_data(id);
        (user_data & 3, (user_data >> 2) as usize)
    }
}

pub(super) fn listen_options() -> ListenOptions {
    ListenOptions {
        backlog: 1_024,
        reuse_port: false,
        is_redirected: false,
        socket: SocketOptions::default(),
    }
}

/// `len` bytes of every stream from `at` on: any piece that is lost, repeated or moved shows.
pub(super) fn pattern(at: usize, len: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut random = Rng::new(1);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| random.below(256) as u8).collect();
        bytes.extend_from_within(..PIECE_LEN_MAX);
        bytes
    });
    &PATTERN[at % PERIOD..][..len]
}

const PERIOD: usize = 1 << 20;
const PIECE_LEN_MAX: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
