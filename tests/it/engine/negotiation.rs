//! Connections to an OB-RPC port on an engine.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sealwire::conn::{Connection, NegotiationClient, NegotiationOptions, NegotiationServer};
use sealwire::engine::sim::{Faults, Sim, SimOptions, SimPeer};
use sealwire::engine::{Address, Engine, EngineOptions, Event, Stage};
use sealwire::error::ErrorKind;
use sealwire::frame::obrpc::{
    Bypass, Message, Method, Methods, Pcode, ResultCode, ServerPolicy, refusal,
};
use sealwire::limits;
use sealwire::time::Monotonic;
use sealwire::tls::ServerName;

use super::Open;
use super::chain::listen_options;
use super::pair::Pair;
use super::tls::{HANDSHAKE_TIMEOUT, client_options, server_options};

const METHODS: [Method; 3] = [Method::None, Method::SslNoEncrypt, Method::SslIo];

const OPTIONS: NegotiationOptions = NegotiationOptions {
    timeout: HANDSHAKE_TIMEOUT,
    requires_binding: true,
    danger_end_without_close_notify: false,
};

fn client(method: Method) -> NegotiationClient {
    let name = ServerName::try_from("localhost").unwrap();
    NegotiationClient::new(method, 7, Some(&client_options()), name, OPTIONS).unwrap()
}

fn server(methods: Methods) -> Arc<NegotiationServer> {
    let policy = ServerPolicy {
        methods,
        bypass: Bypass::Nobody,
        is_keepalive_admitted: true,
        is_tls_admitted: false,
    };
    NegotiationServer::new(policy, Some(&server_options()), OPTIONS).unwrap()
}

pub(super) fn connections_negotiate_each_method(open: Open) {
    for method in METHODS {
        let Some(engine) = open() else { return };
        let offered = METHODS.into_iter().collect();
        let mut pair = negotiate(engine, method, offered);
        check_established(&mut pair, method);
    }
}

fn negotiate(engine: Engine, method: Method, offered: Methods) -> Pair {
    Pair::started(
        engine,
        |now, pools| Connection::negotiated_client(&client(method), now, pools),
        |now| Connection::negotiated_server(&server(offered), false, now),
    )
}

fn check_established(pair: &mut Pair, method: Method) {
    for id in [pair.client, pair.server] {
        pair.until(|event| matches!(event, Event::Connected { id: of } if *of == id));
        assert_eq!(pair.engine.facts(id).is_some(), method != Method::None);
    }
    let beginning = *pair.engine.beginning(pair.server).unwrap();
    assert_eq!(beginning.message.map(|message| message.gid), Some(7));
    let (client, server) = (pair.client, pair.server);
    pair.engine.write(client, b"request");
    assert_eq!(pair.read(server, 7), b"request");
    pair.engine.write(server, b"response");
    assert_eq!(pair.read(client, 8), b"response");
}

/// What the simulator does to the bytes on their way decides nothing.
#[test]
fn every_method_meets_every_policy_whatever_the_network_does() {
    for seed in 0..12 {
        for method in METHODS {
            for set in 1..8_usize {
                let offered: Methods = (0..3)
                    .filter(|bit| set >> bit & 1 == 1)
                    .map(|bit| METHODS[bit])
                    .collect();
                let sim = Sim::new(SimOptions {
                    seed,
                    faults: Faults::harmless(),
                    recv_buf_len: 1 + seed as usize * 5,
                    ..SimOptions::default()
                });
                let engine = Engine::with_backend(sim.backend(), &EngineOptions::default());
                let mut pair = negotiate(engine, method, offered);
                if offered.contains(method) {
                    check_established(&mut pair, method);
                } else {
                    let server = pair.server;
                    let Event::Closed { error, stage, .. } = pair.closed(server) else {
                        unreachable!()
                    };
                    assert_eq!(error.unwrap().kind(), ErrorKind::NotTls, "seed {seed}");
                    assert_eq!(stage, Stage::Handshake);
                }
            }
        }
    }
}

/// How many cycles a handshake takes does not depend on those who never finish theirs, whether they
/// are silent or send a byte in every cycle. Where these are more than the receive buffers of an
/// engine, each of its steps waits until they all have had their turn, and no longer.
#[test]
fn no_handshake_waits_for_another() {
    let alone = Crowd::new(0).cycles_of_a_handshake(0);
    let buf_count = usize::from(EngineOptions::default().recv_buf_count);
    for (others, busy) in [
        (200, 0),
        (2_000, 1),
        (2_000, 200),
        (10_000, 0),
        (10_000, 600),
    ] {
        let mut crowd = Crowd::new(others);
        let cycles = crowd.cycles_of_a_handshake(busy);
        let text =
            format!("{cycles} cycles beside {others}, of whom {busy} are busy, {alone} alone");
        match busy / buf_count {
            0 => assert_eq!(cycles, alone, "{text}"),
            rounds => assert!(cycles <= alone * (1 + rounds), "{text}"),
        }
        crowd.check_others_end_at_their_deadline();
    }
}

/// A server, and peers that never finish what they begin.
struct Crowd {
    engine: Engine,
    address: Address,
    others: Vec<SimPeer>,
    started_at: Monotonic,
}

impl Crowd {
    fn new(others: usize) -> Self {
        let recv_buf_count = usize::from(EngineOptions::default().recv_buf_count);
        let sim = Sim::new(SimOptions {
            recv_buf_count,
            ..SimOptions::default()
        });
        let mut engine = Engine::with_backend(sim.backend(), &EngineOptions::default());
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = engine.listen(&any, &listen_options()).unwrap();
        let address = engine.local_address(listener).unwrap();
        let message = Message::new(Method::SslIo, 1).encode();
        let others: Vec<_> = (0..others)
            .map(|index| {
                let peer = sim.connect(&address).unwrap();
                // The busy ones, who come first, have the longest way to go.
                peer.send(&message[..index * (message.len() - 1) / others]);
                peer
            })
            .collect();
        let mut crowd = Self {
            started_at: engine.now().monotonic,
            engine,
            address,
            others,
        };
        let mut accepted = 0;
        while accepted < crowd.others.len() {
            accepted += crowd.cycle(Duration::from_millis(1)).accepted;
        }
        // What they sent is read.
        for _ in 0..=accepted / recv_buf_count {
            crowd.cycle(Duration::from_millis(1));
        }
        crowd
    }

    /// One cycle, which starts what it accepted.
    fn cycle(&mut self, timeout: Duration) -> Happened {
        let mut events = Vec::new();
        self.engine.wait(Some(timeout), &mut events).unwrap();
        let mut happened = Happened::default();
        for event in events {
            match event {
                Event::Accepted { id, .. } => {
                    let server = &SERVER;
                    let conn = Connection::negotiated_server(server, false, self.engine.now());
                    self.engine.start(id, conn, 0);
                    happened.accepted += 1;
                }
                Event::Connected { .. } => happened.connected += 1,
                Event::Closed { error, .. } => happened.closed.push(error.unwrap().kind()),
                other => panic!("{other:?}"),
            }
        }
        happened
    }

    /// Cycles until both ends of a connection are established, while the first `busy` of the
    /// others send a byte in each of them.
    fn cycles_of_a_handshake(&mut self, busy: usize) -> usize {
        let message = Message::new(Method::SslIo, 1).encode();
        let (now, options) = (self.engine.now(), listen_options().socket);
        let client = client(Method::SslIo);
        let conn = Connection::negotiated_client(&client, now, self.engine.pools());
        self.engine
            .connect(&self.address, conn, &options, HANDSHAKE_TIMEOUT, 0)
            .unwrap();
        let mut connected = 0;
        // As many as the busy ones have bytes for.
        for cycles in 1..message.len() - 3 {
            connected += self.cycle(Duration::from_millis(1)).connected;
            if connected == 2 {
                return cycles;
            }
            for (index, other) in self.others[..busy].iter().enumerate() {
                let sent = index * (message.len() - 1) / self.others.len() + cycles;
                other.send(&message[sent - 1..sent]);
            }
        }
        panic!("never established");
    }

    fn check_others_end_at_their_deadline(&mut self) {
        let mut closed = Vec::new();
        while closed.len() < self.others.len() {
            closed.extend(self.cycle(Duration::from_secs(1)).closed);
            let waited = self.engine.now().monotonic.since(self.started_at);
            let linger = Duration::from_millis(limits::LINGER_FAILED_MS);
            assert!(
                waited < HANDSHAKE_TIMEOUT + 4 * linger,
                "{} closed",
                closed.len()
            );
        }
        let waited = self.engine.now().monotonic.since(self.started_at);
        assert!(waited >= HANDSHAKE_TIMEOUT);
    }
}

#[derive(Default)]
struct Happened {
    accepted: usize,
    connected: usize,
    closed: Vec<ErrorKind>,
}

static SERVER: LazyLock<Arc<NegotiationServer>> = LazyLock::new(|| server(Methods::SSL_IO));

pub(super) fn a_refused_request_is_answered_and_closed(open: Open) {
    let Some(engine) = open() else { return };
    let mut pair = Pair::started(
        engine,
        |_, _| Connection::plain(),
        |now| Connection::negotiated_server(&server(Methods::SSL_IO), false, now),
    );
    let (client, server) = (pair.client, pair.server);
    pair.until(|event| matches!(event, Event::Connected { id } if *id == client));
    let request = refusal(5, Pcode::SET_CONFIG, 0);
    pair.engine.write(client, &request);
    let answer = refusal(5, Pcode::SET_CONFIG, ResultCode::UNKNOWN_CONNECTION);
    assert_eq!(pair.read(client, answer.len()), answer);
    pair.peer_closed(client);
    pair.engine.close(client);
    let Event::Closed { error, stage, .. } = pair.closed(server) else {
        unreachable!()
    };
    assert_eq!(error.unwrap().kind(), ErrorKind::NotTls);
    assert_eq!(stage, Stage::Handshake);
}
