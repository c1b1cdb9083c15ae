//! Sessions over the simulated network: plain bytes on both sides, virtual time, scripted peers.

mod live;
mod mysql;
mod obrpc;
mod proxy;
mod reload;
mod silent;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::*;
use crate::engine::sim::{Faults, Sim, SimOptions, SimPeer};
use crate::engine::{Address, EngineOptions, ListenOptions, ListenerId, SocketOptions};
use crate::frame::mysql::auth::KeySource;
use crate::gateway::config::{ClientSide, Networks, Protocol, Route, RouteDigest, ServerSide};
use crate::gateway::counters::{RouteCounters, RouteTotals};
use crate::gateway::resolver::Resolver;
use crate::limits;

const FRONT: ([u8; 4], u16) = ([127, 0, 0, 1], 1);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 80);

/// One worker's sessions on one route.
struct Bench {
    sim: Sim,
    engine: Engine,
    sessions: Sessions,
    state: Arc<RouteState>,
    listener: ListenerId,
    answers: Receiver<Answer>,
    bounds: Bounds,
    /// Clients come as over a Unix socket.
    peer_is_local: bool,
    events: Vec<Event>,
}

impl Bench {
    fn new(server: ServerAddress, options: SimOptions) -> Self {
        Self::with_route(route(server), options)
    }

    fn with_route(route: Route, options: SimOptions) -> Self {
        let sim = Sim::new(options);
        let engine_options = EngineOptions::default();
        let mut engine = Engine::with_backend(sim.backend(), &engine_options);
        let listen_options = ListenOptions {
            backlog: 16,
            reuse_port: false,
            is_redirected: route.server.address == ServerAddress::Original,
            socket: SocketOptions::default(),
        };
        let listener = engine.listen(&ip(FRONT), &listen_options).unwrap();
        let (replies, answers) = bounded(8);
        let reply = Box::new(move || {
            let replies = replies.clone();
            Box::new(move |answer| replies.send(answer).unwrap()) as Box<_>
        });
        let names = Names::new(Resolver::start(lookup).unwrap());
        Self {
            sim,
            engine,
            sessions: Sessions::new(0, names, reply, Gauges::default()),
            state: Arc::new(RouteState {
                route: Arc::new(route),
                counters: Arc::new(RouteCounters::new(1)),
                password_key: None,
            }),
            listener,
            answers,
            bounds: Bounds::default(),
            peer_is_local: false,
            events: Vec::new(),
        }
    }

    fn client(&self) -> SimPeer {
        self.sim.connect(&ip(FRONT)).unwrap()
    }

    fn server(&mut self, address: ([u8; 4], u16)) -> SimPeer {
        let mut server = None;
        let sim = self.sim.clone();
        self.until(|_| {
            server = sim.accept(&ip(address));
            server.is_some()
        });
        server.unwrap()
    }

    /// Lets time pass until `is_done`.
    fn until(&mut self, mut is_done: impl FnMut(&Self) -> bool) {
        for _ in 0..CYCLES_MAX {
            if is_done(self) {
                return;
            }
            self.cycle();
        }
        panic!("it never came");
    }

    fn cycle(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.engine.wait(Some(CYCLE), &mut events).unwrap();
        for event in events.drain(..) {
            match event {
                Event::Accepted { id, peer, listener } => {
                    assert_eq!(listener, self.listener);
                    let (state, bounds) = (&self.state, self.bounds);
                    let peer = match self.peer_is_local {
                        true => PeerAddress::Unix,
                        false => peer,
                    };
                    self.sessions
                        .accepted(&mut self.engine, id, peer, state, bounds);
                }
                event => self.sessions.handle(&mut self.engine, event),
            }
        }
        self.events = events;
    }

    /// Waits for the resolver's thread, whatever time that takes outside.
    fn resolve(&mut self) {
        let answer = self.answers.recv_timeout(PATIENCE).unwrap();
        self.sessions.resolved(&mut self.engine, &answer);
    }

    fn recv(&mut self, peer: &SimPeer, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until(|_| {
            bytes.extend(peer.recv(len - bytes.len()));
            bytes.len() == len
        });
        bytes
    }

    fn elapsed(&self) -> Duration {
        self.engine.now().monotonic.since(Default::default())
    }

    fn totals(&self) -> RouteTotals {
        self.state.counters.totals()
    }

    fn failures(&self) -> String {
        self.totals().failures.to_string()
    }

    /// Nothing is left: no session, no socket but the listener's, no place of a bound.
    fn assert_empty(&mut self) {
        self.until(|bench| bench.sessions.is_empty() && bench.sim.sockets_len() == 1);
        assert_eq!(self.state.counters.open.taken(), 0);
        assert_eq!(self.sessions.gauges.open.taken(), 0);
        assert!(self.sessions.gauges.half_open.is_empty());
        assert_eq!(self.sim.leases_len(), 0);
    }
}

fn route(address: ServerAddress) -> Route {
    Route {
        name: "test".into(),
        digest: RouteDigest::default(),
        protocol: Protocol::Tcp,
        listen: vec![ip(FRONT)],
        connect_timeout: Duration::from_millis(500),
        handshake_timeout: Duration::from_secs(10),
        idle_timeout: Some(Duration::from_secs(60)),
        connections_max: 0,
        client: ClientSide {
            tls: ClientTls::Off,
            trusted_proxies: Networks::default(),
            proxy_protocol_from: Networks::default(),
            require: None,
            conditions: Vec::new(),
            socket: SocketOptions::default(),
        },
        server: ServerSide {
            address,
            tls: ServerTls::Off,
            public_key: Arc::new(KeySource::Refused),
            proxy_header: None,
            conditions: Vec::new(),
            socket: SocketOptions::default(),
        },
    }
}

fn ip(address: ([u8; 4], u16)) -> Address {
    Address::Ip(address.into())
}

fn fixed() -> ServerAddress {
    ServerAddress::Fixed(ip(SERVER))
}

fn named(host: &str) -> ServerAddress {
    ServerAddress::Named(HostPort {
        host: host.into(),
        port: 80,
    })
}

fn lookup(name: &HostPort) -> io::Result<Vec<SocketAddr>> {
    match &*name.host {
        "pair" => Ok(vec![([10, 0, 0, 1], 80).into(), SERVER.into()]),
        _ => Err(io::Error::other("no such host")),
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

const CYCLE: Duration = Duration::from_millis(1);
const CYCLES_MAX: usize = 500_000;

/// For threads of the resolver, which answer at once.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn bytes_and_ends_pass_both_ways() {
    let mut bench = Bench::new(fixed(), SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    let client = bench.client();
    client.send(b"ping");
    client.shutdown();
    let server = bench.server(SERVER);
    assert_eq!(bench.recv(&server, 4), b"ping");
    bench.until(|_| server.is_eof());
    server.send(b"pong after the client's end");
    server.shutdown();
    assert_eq!(bench.recv(&client, 27), b"pong after the client's end");
    bench.until(|_| client.is_eof());
    assert!(!client.is_reset() && !server.is_reset());
    drop((client, server));
    bench.assert_empty();
    let totals = bench.totals();
    assert_eq!(totals.connections, 1);
    assert_eq!(totals.to_server_bytes, 4);
    assert_eq!(totals.to_client_bytes, 27);
    assert_eq!(bench.failures(), "");
}

#[test]
fn a_client_that_ends_before_the_server_is_there_still_hears_it() {
    for seed in 0..20 {
        let options = SimOptions {
            seed,
            ..SimOptions::default()
        };
        let mut bench = Bench::new(fixed(), options);
        bench.sim.listen(&ip(SERVER));
        let client = bench.client();
        client.shutdown();
        let server = bench.server(SERVER);
        bench.until(|_| server.is_eof());
        server.send(b"goodbye");
        server.shutdown();
        assert_eq!(bench.recv(&client, 7), b"goodbye");
        bench.until(|_| client.is_eof());
        drop((client, server));
        bench.assert_empty();
    }
}

#[test]
fn a_server_that_refuses_resets_the_client() {
    let mut bench = Bench::new(fixed(), SimOptions::default());
    let client = bench.client();
    bench.until(|_| client.is_reset());
    bench.assert_empty();
    assert_eq!(bench.failures(), "io=1");
}

#[test]
fn a_broken_side_breaks_the_other() {
    for breaks_client in [true, false] {
        let mut bench = Bench::new(fixed(), SimOptions::default());
        bench.sim.listen(&ip(SERVER));
        let client = bench.client();
        let server = bench.server(SERVER);
        client.send(b"x");
        bench.recv(&server, 1);
        let (broken, other) = match breaks_client {
            true => (client, server),
            false => (server, client),
        };
        broken.reset();
        bench.until(|_| other.is_reset());
        bench.assert_empty();
        assert_eq!(bench.failures(), "io=1");
    }
}

#[test]
fn the_next_address_is_tried_and_a_name_asked_for_once() {
    let mut bench = Bench::new(named("pair"), SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    let first = bench.client();
    bench.until(|bench| !bench.sessions.waiting.is_empty());
    bench.resolve();
    let server = bench.server(SERVER);
    first.send(b"first");
    assert_eq!(bench.recv(&server, 5), b"first");
    let second = bench.client();
    let server = bench.server(SERVER);
    second.send(b"second");
    assert_eq!(bench.recv(&server, 6), b"second");
    assert!(bench.answers.is_empty());
}

#[test]
fn addresses_that_all_fail_are_resolved_once_more() {
    let mut bench = Bench::new(named("pair"), SimOptions::default());
    let client = bench.client();
    bench.until(|bench| !bench.sessions.waiting.is_empty());
    bench.resolve();
    bench.until(|_| client.is_reset());
    assert_eq!(bench.failures(), "io=1");

    // These addresses were fresh; once they are not, they are asked for again before the client is
    // told.
    for _ in 0..1_100 {
        bench.cycle();
    }
    let client = bench.client();
    bench.until(|bench| !bench.sessions.waiting.is_empty());
    assert!(!client.is_reset());
    bench.resolve();
    bench.until(|_| client.is_reset());
    bench.assert_empty();
    assert_eq!(bench.failures(), "io=2");
}

#[test]
fn a_name_that_is_none_or_never_answers_resets_the_client() {
    let mut bench = Bench::new(named("unknown"), SimOptions::default());
    let client = bench.client();
    bench.until(|bench| !bench.sessions.waiting.is_empty());
    bench.resolve();
    bench.until(|_| client.is_reset());
    assert_eq!(bench.failures(), "io=1");

    let start = bench.elapsed();
    let client = bench.client();
    bench.until(|_| client.is_reset());
    assert!(bench.elapsed() - start >= Duration::from_millis(500));
    assert_eq!(bench.failures(), "io=1 timeout=1");
    // The answer comes too late: nobody is waiting any more.
    bench.resolve();
    bench.assert_empty();
}

#[test]
fn a_late_answer_leaves_the_next_session_alone() {
    let mut bench = Bench::new(named("unknown"), SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    let late = bench.client();
    bench.until(|_| late.is_reset());
    bench.assert_empty();
    bench.state = Arc::new(RouteState {
        route: Arc::new(route(fixed())),
        counters: Arc::new(RouteCounters::new(1)),
        password_key: None,
    });
    let client = bench.client();
    let server = bench.server(SERVER);
    bench.resolve();
    client.send(b"alone");
    assert_eq!(bench.recv(&server, 5), b"alone");
    assert_eq!(bench.failures(), "");
}

#[test]
fn an_idle_session_is_closed_and_an_active_one_is_not() {
    let mut bench = Bench::new(fixed(), SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    let client = bench.client();
    let server = bench.server(SERVER);
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        let pause = last + Duration::from_secs(40);
        bench.until(|bench| bench.elapsed() >= pause);
        client.send(b"still here");
        bench.recv(&server, 10);
        last = bench.elapsed();
    }
    bench.until(|_| client.is_eof() && server.is_eof());
    let idle = bench.elapsed() - last;
    assert!(
        idle >= Duration::from_secs(59) && idle <= Duration::from_secs(61),
        "{idle:?}"
    );
    drop((client, server));
    bench.assert_empty();
    assert_eq!(bench.failures(), "timeout=1");
}

#[test]
fn connections_beyond_a_bound_are_refused_until_there_is_room() {
    for is_of_route in [true, false] {
        let mut route = route(fixed());
        route.connections_max = if is_of_route { 2 } else { 0 };
        let mut bench = Bench::with_route(route, SimOptions::default());
        bench.bounds.connections_max = if is_of_route { 0 } else { 2 };
        bench.sim.listen(&ip(SERVER));
        let first = bench.client();
        let server = bench.server(SERVER);
        let _second = bench.client();
        let _server = bench.server(SERVER);
        let third = bench.client();
        bench.until(|_| third.is_reset());
        assert_eq!(bench.failures(), "limit=1");
        first.send(b"undisturbed");
        assert_eq!(bench.recv(&server, 11), b"undisturbed");
        drop((first, server));
        bench.until(|bench| bench.state.counters.open.taken() == 1);
        let fourth = bench.client();
        let server = bench.server(SERVER);
        fourth.send(b"in");
        assert_eq!(bench.recv(&server, 2), b"in");
    }
}

#[test]
fn half_open_connections_of_an_address_are_bounded_until_they_relay() {
    let mut bench = Bench::new(fixed(), SimOptions::default());
    bench.bounds.half_open_max_per_address = 2;
    bench.sim.listen(&ip(SERVER));
    // Those that relay do not count.
    let relaying: Vec<_> = (0..5)
        .map(|_| (bench.client(), bench.server(SERVER)))
        .collect();
    for (client, server) in &relaying {
        client.send(b"in");
        assert_eq!(bench.recv(server, 2), b"in");
    }
    let clients: Vec<_> = (0..3).map(|_| bench.client()).collect();
    bench.until(|_| clients[2].is_reset());
    assert!(!clients[0].is_reset() && !clients[1].is_reset());
    assert_eq!(bench.failures(), "limit=1");
    let server = bench.server(SERVER);
    clients[0].send(b"in");
    assert_eq!(bench.recv(&server, 2), b"in");
}

#[test]
fn a_slow_server_stops_the_client_at_a_bound() {
    let options = SimOptions::default();
    let pipe_len = options.pipe_len;
    let mut bench = Bench::new(fixed(), options);
    bench.sim.listen(&ip(SERVER));
    let client = bench.client();
    let server = bench.server(SERVER);
    let sent = pattern(4_000_000);
    let mut sent_len = 0;
    for _ in 0..2_000 {
        sent_len += client.send(&sent[sent_len..]);
        bench.cycle();
    }
    // What the two pipes and the queue hold, and what one cycle brought on top.
    let bound = 2 * pipe_len + limits::SEND_QUEUE_LEN_HIGH + 256 * 1024;
    assert!(sent_len <= bound, "{sent_len} > {bound}");
    let mut received = Vec::new();
    bench.until(|_| {
        sent_len += client.send(&sent[sent_len..]);
        received.extend(server.recv(usize::MAX));
        received.len() == sent.len()
    });
    assert!(received == sent);
}

#[test]
fn nothing_is_lost_or_repeated_whatever_the_network_does() {
    for seed in 0..30 {
        let options = SimOptions {
            seed,
            faults: Faults::harmless(),
            pipe_len: 8 * 1024,
            ..SimOptions::default()
        };
        let mut bench = Bench::new(fixed(), options);
        bench.sim.listen(&ip(SERVER));
        let client = bench.client();
        let server = bench.server(SERVER);
        let (up, down) = (pattern(300_000), pattern(200_000));
        let (mut up_len, mut down_len) = (0, 0);
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        bench.until(|_| {
            up_len += client.send(&up[up_len..]);
            down_len += server.send(&down[down_len..]);
            at_server.extend(server.recv(3_000));
            at_client.extend(client.recv(2_000));
            at_server.len() == up.len() && at_client.len() == down.len()
        });
        assert!(at_server == up && at_client == down, "seed {seed}");
        client.shutdown();
        server.shutdown();
        bench.until(|_| client.is_eof() && server.is_eof());
        drop((client, server));
        bench.assert_empty();
        assert_eq!(bench.failures(), "", "seed {seed}");
    }
}

#[test]
fn sessions_that_break_anywhere_leave_nothing_behind() {
    for seed in 0..60 {
        let options = SimOptions {
            seed,
            faults: Faults {
                accept_exhausted: 0,
                broken: 50,
                refused: 200,
                silent: 200,
                ..Faults::harmful()
            },
            ..SimOptions::default()
        };
        let mut bench = Bench::new(fixed(), options);
        bench.sim.listen(&ip(SERVER));
        let clients: Vec<_> = (0..8).map(|_| bench.client()).collect();
        for _ in 0..1_500 {
            for client in &clients {
                client.send(b"some bytes");
            }
            bench.cycle();
        }
        while bench.sim.accept(&ip(SERVER)).is_some() {}
        drop(clients);
        bench.assert_empty();
    }
}
