//! Calls over OB-RPC on an engine.

use std::time::{Duration, Instant};

use sealwire::engine::{ConnId, Engine, Event};
use sealwire::frame::obrpc::{Pcode, ResultCode, RpcHeader};
use sealwire::rpc::{Call, Client, ClientLimits, Incoming, Request, Server, ServerLimits};

use super::Open;
use super::chain::listen_options;
use super::tls::Protocol;

#[test]
fn calls_in_flight_share_records_and_system_calls_on_uring() {
    calls_in_flight_share_records_and_system_calls(super::uring);
}

#[test]
fn calls_in_flight_share_records_and_system_calls_on_epoll() {
    calls_in_flight_share_records_and_system_calls(super::epoll);
}

/// What a call costs where many are under way on one connection, for each end. `cargo test --test
/// it share_records -- --nocapture` prints it.
fn calls_in_flight_share_records_and_system_calls(open: Open) {
    for (in_flight, at_most) in [(1, f64::INFINITY), (64, 0.1)] {
        let (Some(client), Some(server)) = (open(), open()) else {
            return;
        };
        let mut talk = Talk::new(client, server);
        talk.run(in_flight, 10);
        let before = talk.cost();
        let rounds = 200;
        talk.run(in_flight, rounds);
        let calls = (in_flight * rounds) as f64;
        let ends = before
            .into_iter()
            .zip(talk.cost())
            .zip(["client", "server"]);
        for ((before, after), end) in ends {
            let records = (after.records - before.records) as f64 / calls;
            let system_calls = (after.system_calls - before.system_calls) as f64 / calls;
            println!(
                "{}: {end}, {in_flight} in flight: {records:.3} records, {system_calls:.3} system \
                 calls per call",
                backend_name(&talk.client.engine)
            );
            assert!(records < at_most, "{end}: {records} records per call");
            assert!(system_calls < at_most, "{end}: {system_calls} per call");
        }
    }
}

/// A client and a server, each on its own engine, with TLS between them.
struct Talk {
    client: End,
    calls: Client,
    server: End,
    requests: Server,
}

/// One engine with one connection.
struct End {
    engine: Engine,
    id: ConnId,
    records: u64,
    events: Vec<Event>,
}

#[derive(Clone, Copy)]
struct Cost {
    records: u64,
    system_calls: u64,
}

impl Talk {
    fn new(mut client: Engine, mut server: Engine) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = server.listen(&any, &listen_options()).unwrap();
        let address = server.local_address(listener).unwrap();
        let conn = Protocol::Tls.client(client.now(), client.pools());
        let options = listen_options().socket;
        let id = client
            .connect(&address, conn, &options, PATIENCE, 0)
            .unwrap();
        let mut client = End::new(client, id);
        let mut server = End::new(server, id);
        let start = Instant::now();
        let mut connected = 0;
        while connected < 2 {
            assert!(start.elapsed() < PATIENCE, "no connection");
            client.wait(SHORT);
            server.wait(SHORT);
            for event in server.events.drain(..) {
                match event {
                    Event::Accepted { id, .. } => {
                        server.id = id;
                        let conn = Protocol::Tls.server(server.engine.now());
                        server.engine.start(id, conn, 0);
                    }
                    Event::Connected { .. } => connected += 1,
                    other => panic!("{other:?}"),
                }
            }
            let events = client.events.drain(..);
            connected += events
                .filter(|event| matches!(event, Event::Connected { .. }))
                .count();
        }
        Self {
            client,
            calls: Client::new(ClientLimits::default()),
            server,
            requests: Server::new(ServerLimits::default(), false),
        }
    }

    /// Makes `in_flight` calls and waits for their answers, as often as asked.
    fn run(&mut self, in_flight: usize, rounds: usize) {
        for _ in 0..rounds {
            for n in 0..in_flight {
                let now = self.client.engine.now();
                self.calls.call(now, &call(), |w| w.u8(n as u8)).unwrap();
            }
            self.client.send(self.calls.transmit().to_vec().as_slice());
            self.calls.transmitted(usize::MAX);
            self.client.wait(Duration::ZERO);
            self.serve(in_flight);
            self.server.wait(Duration::ZERO);
            self.hear();
        }
    }

    fn serve(&mut self, in_flight: usize) {
        let start = Instant::now();
        let mut requests: Vec<Request> = Vec::new();
        while requests.len() < in_flight {
            assert!(start.elapsed() < PATIENCE, "{} requests", requests.len());
            let now = self.server.engine.now();
            let bytes = self.server.receive();
            let mut input = &bytes[..];
            while let Some(incoming) = self.requests.handle_recv(now, &mut input).unwrap() {
                let Incoming::Request { request, .. } = incoming else {
                    panic!("{incoming:?}")
                };
                requests.push(request);
            }
        }
        let ok = ResultCode::new(ResultCode::OK);
        for request in requests {
            self.requests.respond(request, &ok, |w| w.u8(0)).unwrap();
        }
        self.server
            .send(self.requests.transmit().to_vec().as_slice());
        self.requests.transmitted(usize::MAX);
    }

    fn hear(&mut self) {
        let start = Instant::now();
        while self.calls.calls_len() > 0 {
            assert!(
                start.elapsed() < PATIENCE,
                "{} calls",
                self.calls.calls_len()
            );
            let now = self.client.engine.now();
            let bytes = self.client.receive();
            let mut input = &bytes[..];
            while let Some(reply) = self.calls.handle_recv(now, &mut input).unwrap() {
                assert!(reply.rcode.is_ok());
            }
        }
    }

    fn cost(&self) -> [Cost; 2] {
        // What one end receives the other has sealed.
        let of = |end: &End, other: &End| {
            let backend = end.engine.counters().backend;
            Cost {
                records: other.records,
                system_calls: backend.enters + backend.syscalls,
            }
        };
        [
            of(&self.client, &self.server),
            of(&self.server, &self.client),
        ]
    }
}

impl End {
    fn new(engine: Engine, id: ConnId) -> Self {
        Self {
            engine,
            id,
            records: 0,
            events: Vec::new(),
        }
    }

    fn wait(&mut self, timeout: Duration) {
        self.engine.wait(Some(timeout), &mut self.events).unwrap();
    }

    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.engine.write(self.id, bytes), bytes.len());
    }

    /// What has arrived, after a wait where that is nothing. Each chunk is what one record held.
    fn receive(&mut self) -> Vec<u8> {
        if self.engine.peek(self.id).is_empty() {
            self.wait(PATIENCE);
            self.events.clear();
        }
        let mut bytes = Vec::new();
        loop {
            let chunk = self.engine.peek(self.id);
            if chunk.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(chunk);
            self.records += 1;
            self.engine.consume(self.id, usize::MAX);
        }
    }
}

fn backend_name(engine: &Engine) -> String {
    let text = engine.describe();
    text.split(':').next().unwrap_or_default().to_owned()
}

fn call() -> Call {
    Call {
        header: RpcHeader {
            pcode: Pcode(1),
            ..RpcHeader::default()
        },
        timeout: PATIENCE,
    }
}

const SHORT: Duration = Duration::from_millis(10);

/// A test that has waited this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
