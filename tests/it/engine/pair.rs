//! Two ends of one connection on one engine, and the events of both.

use std::time::{Duration, Instant};

use sealwire::buf::Pools;
use sealwire::conn::Connection;
use sealwire::engine::{Address, ConnId, Engine, Event, SocketOptions};
use sealwire::time::Now;

use super::chain::listen_options;
use super::tls::Protocol;

pub(super) struct Pair {
    pub(super) engine: Engine,
    pub(super) client: ConnId,
    pub(super) server: ConnId,
    pub(super) address: Address,
    /// What was reported and not asked for yet.
    pub(super) events: Vec<Event>,
}

impl Pair {
    /// A connection that is established on both sides.
    pub(super) fn new(engine: Engine, protocol: Protocol) -> Self {
        let mut pair = Self::accepted(engine, protocol, protocol);
        let (client, server) = (pair.client, pair.server);
        pair.until(|event| matches!(event, Event::Connected { id } if *id == client));
        pair.until(|event| matches!(event, Event::Connected { id } if *id == server));
        pair
    }

    /// A connection whose two ends have just been started.
    pub(super) fn accepted(engine: Engine, client: Protocol, server: Protocol) -> Self {
        Self::started(
            engine,
            |now, pools| client.client(now, pools),
            |now| server.server(now),
        )
    }

    /// The same, whatever its two ends are.
    pub(super) fn started(
        mut engine: Engine,
        client: impl FnOnce(Now, &mut Pools) -> Connection,
        server: impl FnOnce(Now) -> Connection,
    ) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = engine.listen(&any, &listen_options()).unwrap();
        let address = engine.local_address(listener).unwrap();
        let conn = client(engine.now(), engine.pools());
        let options = SocketOptions::default();
        let client = engine
            .connect(&address, conn, &options, PATIENCE, 1)
            .unwrap();
        let mut pair = Self {
            engine,
            client,
            server: client,
            address,
            events: Vec::new(),
        };
        let accepted = pair.until(|event| matches!(event, Event::Accepted { .. }));
        let Event::Accepted { id, .. } = accepted else {
            unreachable!()
        };
        pair.server = id;
        let conn = server(pair.engine.now());
        pair.engine.start(id, conn, 2);
        pair
    }

    /// The next event that `pick` takes; those before it stay for later, but what repeats itself.
    pub(super) fn until(&mut self, pick: impl Fn(&Event) -> bool) -> Event {
        let start = Instant::now();
        loop {
            if let Some(at) = self.events.iter().position(&pick) {
                return self.events.remove(at);
            }
            assert!(
                start.elapsed() < PATIENCE,
                "nothing of the kind in {:?}",
                self.events
            );
            self.step(Duration::from_millis(100));
        }
    }

    /// One cycle.
    pub(super) fn step(&mut self, timeout: Duration) {
        let mut events = Vec::new();
        self.engine.wait(Some(timeout), &mut events).unwrap();
        events.retain(|event| !matches!(event, Event::Readable { .. }));
        self.events.append(&mut events);
    }

    /// Reads `len` bytes.
    pub(super) fn read(&mut self, id: ConnId, len: usize) -> Vec<u8> {
        let start = Instant::now();
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let chunk = self.engine.peek(id);
            let taken = chunk.len().min(len - bytes.len());
            bytes.extend_from_slice(&chunk[..taken]);
            self.engine.consume(id, taken);
            if taken == 0 {
                assert!(start.elapsed() < PATIENCE, "{} of {len} bytes", bytes.len());
                self.step(Duration::from_millis(100));
            }
        }
        bytes
    }

    /// Waits for the end of a connection.
    pub(super) fn closed(&mut self, id: ConnId) -> Event {
        self.until(|event| matches!(event, Event::Closed { id: of, .. } if *of == id))
    }

    pub(super) fn peer_closed(&mut self, id: ConnId) {
        self.until(|event| matches!(event, Event::PeerClosed { id: of } if *of == id));
    }
}

/// A test that has waited this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
