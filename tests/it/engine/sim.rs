//! What only the simulator can bring about.

use std::time::Duration;

use sealwire::buf::Pools;
use sealwire::conn::Connection;
use sealwire::engine::sim::{Faults, Sim, SimOptions, SimPeer};
use sealwire::engine::{Address, ConnId, Engine, EngineOptions, Event, SocketOptions, Stage};
use sealwire::error::ErrorKind;
use sealwire::limits;

use super::chain::{Chain, listen_options, pattern};
use super::pair::Pair;
use super::tls::{HANDSHAKE_TIMEOUT, Protocol};

#[test]
fn nothing_is_lost_or_repeated_in_a_million_steps() {
    million_steps(Protocol::Plain);
}

#[test]
fn nothing_is_lost_or_repeated_under_tls_in_a_million_steps() {
    million_steps(Protocol::Tls);
}

/// Many seeds, and as many streams as it takes.
fn million_steps(protocol: Protocol) {
    let mut steps = 0;
    let mut seed = 0;
    while steps < 1_000_000 {
        seed += 1;
        let sim = Sim::new(SimOptions {
            seed,
            faults: Faults::harmless(),
            recv_buf_len: if seed % 2 == 0 { 512 } else { 4_096 },
            recv_buf_count: 8,
            pipe_len: if seed % 3 == 0 { 1_000 } else { 20_000 },
            ..SimOptions::default()
        });
        let mut chain = Chain::new(sim.backend(), protocol, seed);
        for index in 0..30 {
            chain.add_client(index * 3_000);
        }
        chain.run();
        chain.end();
        for client in &chain.clients {
            assert_eq!(client.received, client.total, "seed {seed}");
        }
        assert_eq!(chain.peer_closes, 4 * chain.clients.len(), "seed {seed}");
        assert!(chain.errors.is_empty(), "seed {seed}: {:?}", chain.errors);
        assert!(chain.engine.counters().backend.starved > 0, "seed {seed}");
        assert_clean(&sim);
        steps += sim.steps();
    }
}

/// Connections break, accepts fail, connects are refused or never answered, the application aborts:
/// what arrives is still what was sent, every connection ends once, and nothing stays behind.
#[test]
fn every_connection_ends_whatever_breaks() {
    for seed in 0..150 {
        let sim = Sim::new(SimOptions {
            seed,
            faults: Faults::harmful(),
            recv_buf_len: 1_024,
            pipe_len: 5_000,
            ..SimOptions::default()
        });
        let protocol = if seed % 2 == 0 {
            Protocol::Plain
        } else {
            Protocol::Tls
        };
        let mut chain = Chain::new(sim.backend(), protocol, seed);
        for index in 0..20 {
            chain.add_client(index * 2_000);
        }
        let mut cycles = 0;
        while chain.clients.iter().any(|client| !client.is_closed) {
            chain.step(Duration::from_secs(10));
            cycles += 1;
            if cycles % 40 == 0 {
                chain.abort_one();
            }
            assert!(cycles < 100_000, "seed {seed}: connections stay");
        }
        chain.end();
        assert_clean(&sim);
    }
}

/// The application ends a connection after every number of cycles that a conversation has.
#[test]
fn a_connection_can_be_ended_at_every_step() {
    for protocol in [Protocol::Plain, Protocol::Tls] {
        for act in [Engine::close, Engine::abort, Engine::shutdown] {
            for cycles in 0..60 {
                let sim = Sim::new(SimOptions {
                    seed: cycles,
                    faults: Faults::harmless(),
                    ..SimOptions::default()
                });
                let mut chain = Chain::new(sim.backend(), protocol, cycles);
                chain.add_client(30_000);
                for _ in 0..cycles {
                    chain.step(Duration::from_millis(1));
                }
                let id = chain.clients[0].id;
                act(&mut chain.engine, id);
                // A stream that was ended early never gets to its total.
                chain.clients[0].total = 0;
                chain.run();
                chain.end();
                assert_clean(&sim);
            }
        }
    }
}

#[test]
fn a_slow_reader_stops_the_writer_at_the_stated_bound() {
    let (recv_buf_len, recv_buf_count, pipe_len) = (4_096, 16, 30_000);
    let sim = Sim::new(SimOptions {
        seed: 11,
        recv_buf_len,
        recv_buf_count,
        pipe_len,
        faults: Faults::harmless(),
        ..SimOptions::default()
    });
    let mut chain = Chain::new(sim.backend(), Protocol::Plain, 11);
    chain.add_client(100 << 20);
    chain.pause_client(0, true);
    while chain.step(Duration::from_secs(1)) {}

    // Client, back, server and front each queue up to the high mark and one buffer in flight.
    let queued = limits::SEND_QUEUE_LEN_HIGH + limits::SEND_BUF_LEN;
    // Front, server, back and client hold what two cycles brought.
    let held = 2 * recv_buf_len * recv_buf_count;
    let bound = 4 * (queued + held + pipe_len);
    let stopped_at = chain.clients[0].sent;
    assert!(
        stopped_at <= bound,
        "{stopped_at} bytes without a reader, {bound} allowed"
    );
    assert_eq!(
        sim.leases_len(),
        0,
        "what waits lies in the engine's memory"
    );

    chain.clients[0].total = stopped_at + 100_000;
    chain.pause_client(0, false);
    chain.run();
    assert_eq!(chain.clients[0].received, stopped_at + 100_000);
}

#[test]
fn a_reader_that_reads_nothing_stops_the_receive() {
    let options = SimOptions {
        recv_buf_len: 1_000,
        recv_buf_count: 16,
        pipe_len: 5_000,
        faults: Faults::harmless(),
        ..SimOptions::default()
    };
    let mut one = One::new(options.clone());
    let (peer, id) = one.start(Protocol::Plain);
    let mut sent = 0;
    for _ in 0..1_000 {
        sent += peer.send(pattern(sent, 1_000));
        one.wait(Duration::from_millis(1));
    }
    assert!(
        sent <= options.pipe_len + 2 * options.recv_buf_len * options.recv_buf_count,
        "{sent}"
    );
    assert_eq!(
        one.sim.leases_len(),
        0,
        "what waits lies in the engine's memory"
    );

    let mut received = 0;
    while received < sent {
        let chunk = one.engine.peek(id);
        assert_eq!(chunk, pattern(received, chunk.len()));
        received += chunk.len();
        one.engine.consume(id, usize::MAX);
        one.wait(Duration::from_millis(1));
    }
}

#[test]
fn accepting_pauses_without_descriptors_and_resumes_when_one_is_freed() {
    let mut one = One::new(SimOptions {
        sockets_max: 3,
        ..SimOptions::default()
    });
    let peers: Vec<_> = (0..3)
        .map(|_| one.sim.connect(&one.address).unwrap())
        .collect();
    let first = one.accepted();
    one.accepted();
    let paused = one.next();
    let Event::AcceptPaused { listener, error } = paused else {
        panic!("{paused:?}");
    };
    assert_eq!(error.os_error(), Some(libc::EMFILE));

    // It is tried again in time, in vain and without a word.
    let second = Duration::from_millis(limits::ACCEPT_RETRY_MS);
    for _ in 0..4 {
        assert!(one.wait(second).is_empty());
    }
    let start = one.engine.now().monotonic;
    one.engine.abort(first);
    assert!(matches!(one.next(), Event::Closed { id, .. } if id == first));
    let resumed = one.next();
    assert!(one.engine.now().monotonic.since(start) < second / 2);
    assert!(matches!(resumed, Event::AcceptResumed { listener: of } if of == listener));
    one.accepted();

    // Time alone resumes it too.
    let late = one.sim.connect(&one.address).unwrap();
    assert!(matches!(one.next(), Event::AcceptPaused { .. }));
    one.sim.set_sockets_max(10);
    assert!(matches!(one.next(), Event::AcceptResumed { .. }));
    one.accepted();
    drop((peers, late));
}

#[test]
fn a_connect_that_is_never_answered_is_given_up() {
    let mut one = One::new(SimOptions {
        faults: Faults {
            silent: 1_000,
            ..Faults::default()
        },
        ..SimOptions::default()
    });
    let timeout = Duration::from_secs(3);
    let options = SocketOptions::default();
    let start = one.engine.now().monotonic;
    let conn = Connection::plain();
    let id = one
        .engine
        .connect(&one.address, conn, &options, timeout, 0)
        .unwrap();
    let (error, stage) = one.closed(id);
    assert_eq!(error, Some(ErrorKind::Timeout));
    assert_eq!(stage, Stage::Connect);
    assert_eq!(one.engine.now().monotonic.since(start), timeout);
    assert_eq!(one.sim.sockets_len(), 1);
}

#[test]
fn half_a_client_hello_and_silence_end_at_the_handshake_deadline() {
    let mut one = One::new(SimOptions::default());
    let (peer, id) = one.start(Protocol::Tls);
    let start = one.engine.now().monotonic;
    peer.send(&[22, 3, 1, 2, 0, 1]);
    let (error, stage) = one.closed(id);
    assert_eq!(error, Some(ErrorKind::Timeout));
    assert_eq!(stage, Stage::Handshake);
    let waited = one.engine.now().monotonic.since(start);
    assert!(waited >= HANDSHAKE_TIMEOUT);
    let linger = Duration::from_millis(limits::LINGER_FAILED_MS);
    assert!(waited <= HANDSHAKE_TIMEOUT + 2 * linger, "{waited:?}");
}

/// A reset destroys what its receiver has not read, so late bytes are waited for before the socket
/// closes.
#[test]
fn late_bytes_do_not_destroy_an_alert() {
    let mut one = One::new(SimOptions::default());
    let (peer, id) = one.start(Protocol::Tls);
    // A record of a type that there is not.
    peer.send(&[23, 3, 3, 0, 1, 0]);
    for _ in 0..5 {
        one.wait(Duration::from_millis(1));
        assert!(!peer.is_reset());
        peer.send(pattern(0, 1_000));
    }
    let alert = peer.recv(100);
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    assert!(peer.is_eof());
    peer.shutdown();
    let (error, _) = one.closed(id);
    assert_eq!(error, Some(ErrorKind::TlsProtocol));
}

#[test]
fn a_closed_connection_reads_late_bytes_up_to_its_bounds() {
    // The peer never ends: time is the bound.
    let mut one = One::new(SimOptions::default());
    let (peer, id) = one.start(Protocol::Plain);
    one.engine.close(id);
    let start = one.engine.now().monotonic;
    let (error, _) = one.closed(id);
    assert_eq!(error, None);
    let linger = Duration::from_millis(limits::LINGER_MS);
    assert_eq!(one.engine.now().monotonic.since(start), linger);
    drop(peer);

    // The peer never stops: its bytes are.
    let (peer, id) = one.start(Protocol::Plain);
    one.engine.close(id);
    let start = one.engine.now().monotonic;
    let mut sent = 0;
    while one.engine.conns_len() > 0 {
        sent += peer.send(pattern(0, 60_000));
        one.wait(Duration::from_millis(1));
    }
    assert!(
        (limits::LINGER_LEN_MAX..limits::LINGER_LEN_MAX + 200_000).contains(&sent),
        "{sent}"
    );
    assert!(one.engine.now().monotonic.since(start) < linger);
}

#[test]
fn a_peer_that_does_not_take_the_last_bytes_is_an_error() {
    let mut one = One::new(SimOptions {
        pipe_len: 1_000,
        ..SimOptions::default()
    });
    let (peer, id) = one.start(Protocol::Plain);
    assert_eq!(one.engine.write(id, pattern(0, 5_000)), 5_000);
    one.engine.close(id);
    one.wait(Duration::from_secs(4));
    assert_eq!(peer.recv(1_000).len(), 1_000);
    let progress = one.engine.now().monotonic;
    let (error, _) = one.closed(id);
    assert_eq!(error, Some(ErrorKind::Timeout));
    let linger = Duration::from_millis(limits::LINGER_MS);
    assert_eq!(one.engine.now().monotonic.since(progress), linger);
}

#[test]
fn what_arrived_before_a_reset_is_still_read() {
    let mut one = One::new(SimOptions::default());
    let (peer, id) = one.start(Protocol::Plain);
    peer.send(b"last words");
    one.wait(Duration::from_millis(1));
    peer.reset();
    one.wait(Duration::from_millis(1));
    assert_eq!(one.engine.peek(id), b"last words");
    assert_eq!(one.engine.write(id, b"?"), 0);
    one.engine.consume(id, 10);
    let (error, stage) = one.closed(id);
    assert_eq!((error, stage), (Some(ErrorKind::Io), Stage::Established));
}

#[test]
fn a_stream_that_ends_unread_is_read_to_its_end_first() {
    let mut one = One::new(SimOptions::default());
    let (peer, id) = one.start(Protocol::Plain);
    one.engine.set_reading(id, false);
    one.wait(Duration::from_millis(1));
    peer.send(b"one");
    one.wait(Duration::from_millis(1));
    assert!(one.engine.peek(id).is_empty(), "reading is off");
    one.engine.set_reading(id, true);
    one.wait(Duration::from_millis(1));
    peer.send(b"two");
    peer.shutdown();
    for _ in 0..3 {
        let events = one.wait(Duration::from_millis(1));
        assert!(matches!(events[..], [Event::Readable { .. }]), "{events:?}");
    }
    one.engine.consume(id, 3);
    let events = one.wait(Duration::from_millis(1));
    assert!(
        events
            .iter()
            .all(|event| matches!(event, Event::Readable { .. })),
        "{events:?}"
    );
    let mut rest = Vec::new();
    let mut events = Vec::new();
    while !events
        .iter()
        .any(|event| matches!(event, Event::PeerClosed { .. }))
    {
        rest.extend_from_slice(one.engine.peek(id));
        one.engine.consume(id, usize::MAX);
        events = one.wait(Duration::from_millis(1));
    }
    assert_eq!(rest, b"two");
}

#[test]
fn bytes_behind_the_end_of_a_tls_stream_are_bounded() {
    let mut one = One::new(SimOptions::default());
    let (peer, id) = one.start(Protocol::Tls);
    let mut pools = Pools::new(8);
    let mut conn = Protocol::Tls.client(one.engine.now(), &mut pools);
    while one.engine.facts(id).is_none() {
        send_output(&mut conn, &peer, &mut pools);
        one.collect(Duration::from_millis(1));
        let mut input = peer.recv(10_000);
        conn.handle_recv(one.engine.now(), &mut input, &mut pools)
            .unwrap();
    }
    conn.close(&mut pools).unwrap();
    send_output(&mut conn, &peer, &mut pools);

    let mut sent = 0;
    for _ in 0..100 {
        sent += peer.send(pattern(0, 60_000));
        one.collect(Duration::from_millis(1));
    }
    assert!(
        (limits::LINGER_LEN_MAX..limits::LINGER_LEN_MAX + 200_000).contains(&sent),
        "{sent}"
    );
    let ends = one
        .events
        .iter()
        .filter(|event| matches!(event, Event::PeerClosed { .. }));
    assert_eq!(ends.count(), 1);
    assert_eq!(one.engine.write(id, b"still"), 5);
    one.engine.close(id);
    assert_eq!(one.closed(id), (None, Stage::Established));
}

fn send_output(conn: &mut Connection, peer: &SimPeer, pools: &mut Pools) {
    while let Some(buf) = conn.poll_transmit(pools).unwrap() {
        assert_eq!(peer.send(buf.filled()), buf.len());
        pools.send.give(buf);
    }
}

#[test]
fn idle_connections_hold_no_buffer() {
    let sim = Sim::new(SimOptions {
        recv_buf_len: 1_000,
        ..SimOptions::default()
    });
    let engine = Engine::with_backend(sim.backend(), &EngineOptions::default());
    let mut pair = Pair::new(engine, Protocol::Tls);
    let (client, server) = (pair.client, pair.server);
    pair.engine.write(client, pattern(0, 20_000));
    pair.engine.write(server, pattern(0, 20_000));
    pair.read(client, 20_000);
    pair.read(server, 20_000);
    pair.step(Duration::from_millis(1));
    assert_eq!(sim.leases_len(), 0);
    // Each end had one for records that arrived in parts.
    assert_eq!(pair.engine.pools().partial.free_len(), 2);
    assert!(pair.engine.pools().send.free_len() >= 2);
    assert_eq!(pair.engine.queued(client) + pair.engine.queued(server), 0);
}

/// One engine that listens, and scripted peers.
struct One {
    sim: Sim,
    engine: Engine,
    address: Address,
    events: Vec<Event>,
}

impl One {
    fn new(options: SimOptions) -> Self {
        let sim = Sim::new(options);
        let mut engine = Engine::with_backend(sim.backend(), &EngineOptions::default());
        let listener = engine
            .listen(&"127.0.0.1:0".parse().unwrap(), &listen_options())
            .unwrap();
        Self {
            address: engine.local_address(listener).unwrap(),
            sim,
            engine,
            events: Vec::new(),
        }
    }

    /// A peer, and the connection that was accepted from it.
    fn start(&mut self, protocol: Protocol) -> (SimPeer, ConnId) {
        let peer = self.sim.connect(&self.address).unwrap();
        let id = self.accepted();
        self.engine.start(id, protocol.server(self.engine.now()), 0);
        if protocol == Protocol::Plain {
            assert!(matches!(self.next(), Event::Connected { id: of } if of == id));
        }
        (peer, id)
    }

    fn wait(&mut self, timeout: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        self.engine.wait(Some(timeout), &mut events).unwrap();
        events
    }

    /// One cycle whose events are looked at later.
    fn collect(&mut self, timeout: Duration) {
        let events = self.wait(timeout);
        self.events.extend(events);
    }

    fn next(&mut self) -> Event {
        for _ in 0..100 {
            if !self.events.is_empty() {
                return self.events.remove(0);
            }
            self.collect(Duration::from_secs(60));
        }
        panic!("nothing happens any more");
    }

    fn accepted(&mut self) -> ConnId {
        match self.next() {
            Event::Accepted { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn closed(&mut self, id: ConnId) -> (Option<ErrorKind>, Stage) {
        loop {
            let event = self.next();
            if let Event::Closed {
                id: of,
                error,
                stage,
            } = event
            {
                assert_eq!(of, id);
                return (error.map(|error| error.kind()), stage);
            }
        }
    }
}

fn assert_clean(sim: &Sim) {
    assert_eq!(
        sim.leases_len(),
        0,
        "receive buffers that were not given back"
    );
    assert_eq!(sim.sockets_len(), 0, "sockets that stay open");
}
