//! A worker over the simulated network: what it listens on, before, during and after a change of
//! service.

mod reload;

use super::*;
use crate::engine::EngineOptions;
use crate::engine::sim::{Sim, SimOptions, SimPeer};
use crate::gateway::config::{
    GatewaySource, Given, LegSource, Place, RouteSource, Source, assemble,
};
use crate::gateway::resolver::system_lookup;

const A: &str = "127.0.0.1:1";
const B: &str = "127.0.0.1:2";
const C: &str = "127.0.0.1:3";
const SERVER_1: &str = "10.0.0.1:80";
const SERVER_2: &str = "10.0.0.2:80";

struct Bench {
    sim: Sim,
    worker: Worker,
    mailbox: Mailbox,
    service: Option<Arc<Service>>,
    bound: Bound,
    reload_drain_s: Option<u64>,
}

impl Bench {
    fn new() -> Self {
        Self::with_index(0)
    }

    fn with_index(index: usize) -> Self {
        let sim = Sim::new(SimOptions::default());
        let engine = Engine::with_backend(sim.backend(), &EngineOptions::default());
        let resolver = Resolver::start(system_lookup).unwrap();
        let (worker, mailbox) = Worker::new(index, engine, resolver, Gauges::default());
        for server in [SERVER_1, SERVER_2] {
            sim.listen(&address(server));
        }
        Self {
            sim,
            worker,
            mailbox,
            service: None,
            bound: Bound::new(),
            reload_drain_s: None,
        }
    }

    fn prepare(&mut self, routes: &[(&str, &[&str], &str)]) -> Result<Arc<Service>> {
        let source = Source {
            gateway: GatewaySource {
                reload_drain_s: self.reload_drain_s.map(|s| Given::flag("--test", s)),
                ..GatewaySource::default()
            },
            routes: routes.iter().copied().map(route).collect(),
            place: Place::Flag("--test"),
        };
        let plan = assemble(source).unwrap();
        let service = Arc::new(Service::new(plan, self.service.as_deref(), 3, 0).unwrap());
        let (reply, answer) = bounded(1);
        self.mailbox.send(Message::Prepare {
            service: service.clone(),
            bound: self.bound.clone(),
            reply,
        });
        self.until(|_| !answer.is_empty());
        self.bound = answer.recv().unwrap()?;
        Ok(service)
    }

    fn serve(&mut self, routes: &[(&str, &[&str], &str)]) {
        self.service = Some(self.prepare(routes).unwrap());
        self.tell(Message::Commit(WaitGroup::new()));
    }

    fn tell(&mut self, message: Message) {
        self.mailbox.send(message);
        self.until(|bench| bench.worker.inbox.is_empty());
        self.settle();
    }

    fn until(&mut self, mut is_done: impl FnMut(&Self) -> bool) {
        for _ in 0..10_000 {
            if is_done(self) {
                return;
            }
            self.cycle();
        }
        panic!("it never came");
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.cycle();
        }
    }

    fn cycle(&mut self) {
        let timeout = Some(Duration::from_millis(1));
        self.worker.cycle(timeout, &mut Vec::new()).unwrap();
    }

    fn listens(&self, at: &str) -> bool {
        self.sim.connect(&address(at)).is_some()
    }

    fn accept(&mut self, server: &str) -> SimPeer {
        let mut peer = None;
        let sim = self.sim.clone();
        self.until(|_| {
            peer = sim.accept(&address(server));
            peer.is_some()
        });
        peer.unwrap()
    }

    /// A session from `at` to `server`.
    fn session(&mut self, at: &str, server: &str) -> (SimPeer, SimPeer) {
        let client = self.sim.connect(&address(at)).unwrap();
        let server = self.accept(server);
        self.assert_passes(&client, &server);
        (client, server)
    }

    fn assert_passes(&mut self, client: &SimPeer, server: &SimPeer) {
        client.send(b"ping");
        let mut bytes = Vec::new();
        self.until(|_| {
            bytes.extend(server.recv(64));
            bytes == b"ping"
        });
    }

    fn connections(&self, route: &str) -> u64 {
        let service = self.service.as_ref().unwrap();
        let mut states = service.routes.iter();
        let state = states.find(|state| &*state.route.name == route).unwrap();
        state.counters.totals().connections
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn route((name, listen, server): (&str, &[&str], &str)) -> RouteSource {
    let given = |value: &str| Given::flag("--test", value.to_owned());
    let leg = || LegSource {
        tls: Some(given("off")),
        ..LegSource::empty(Place::Flag("--test"))
    };
    RouteSource {
        name: Some(given(name)),
        protocol: Some(given("tcp")),
        listen: listen.iter().copied().map(given).collect(),
        client: leg(),
        server: LegSource {
            address: Some(given(server)),
            ..leg()
        },
        ..RouteSource::empty(Place::Flag("--test"))
    }
}

#[test]
fn a_new_service_is_followed_by_new_sessions_only() {
    let mut bench = Bench::new();
    bench.serve(&[("one", &[A], SERVER_1), ("two", &[B], SERVER_1)]);
    let (old_client, old_server) = bench.session(A, SERVER_1);
    let (gone_client, gone_server) = bench.session(B, SERVER_1);

    bench.serve(&[("one", &[A], SERVER_2), ("three", &[C], SERVER_2)]);
    bench.session(A, SERVER_2);
    bench.session(C, SERVER_2);
    assert!(!bench.listens(B));
    bench.assert_passes(&old_client, &old_server);
    bench.assert_passes(&gone_client, &gone_server);
    assert_eq!(bench.connections("one"), 2);
    assert_eq!(bench.connections("three"), 1);
}

#[test]
fn an_address_may_move_to_another_route() {
    let mut bench = Bench::new();
    bench.serve(&[("one", &[A], SERVER_1), ("two", &[B], SERVER_2)]);
    bench.serve(&[("one", &[B], SERVER_1), ("two", &[A], SERVER_2)]);
    bench.session(A, SERVER_2);
    bench.session(B, SERVER_1);
    assert_eq!(bench.worker.listeners.len(), 2);
}

#[test]
fn what_was_prepared_can_be_taken_back() {
    let mut bench = Bench::new();
    bench.serve(&[("one", &[A], SERVER_1)]);
    bench.prepare(&[("one", &[A, B], SERVER_2)]).unwrap();
    // Until it is committed, what listens already serves as before.
    bench.session(A, SERVER_1);
    bench.tell(Message::Rollback);
    bench.session(A, SERVER_1);
    assert!(!bench.listens(B));
    bench.tell(Message::Commit(WaitGroup::new()));
    bench.session(A, SERVER_1);
}

#[test]
fn a_service_that_cannot_listen_everywhere_listens_nowhere() {
    let mut bench = Bench::new();
    bench.serve(&[("one", &[A], SERVER_1)]);
    // Somebody else has it.
    bench.sim.listen(&address(C));
    let error = bench
        .prepare(&[("one", &[A], SERVER_2), ("two", &[B, C], SERVER_2)])
        .map(drop)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("route \"two\": listen on 127.0.0.1:3: "),
        "{error}"
    );
    bench.settle();
    assert!(!bench.listens(B));
    bench.session(A, SERVER_1);
}

#[test]
fn a_drain_serves_who_was_accepted_and_ends_with_the_last() {
    let mut bench = Bench::new();
    bench.serve(&[("one", &[A], SERVER_1)]);
    let (client, server) = bench.session(A, SERVER_1);
    let queued = bench.sim.connect(&address(A)).unwrap();
    bench.tell(Message::Drain);
    assert!(!bench.listens(A));
    let queued_server = bench.accept(SERVER_1);
    bench.assert_passes(&queued, &queued_server);
    bench.assert_passes(&client, &server);
    drop((client, server));
    bench.settle();
    assert!(!bench.worker.is_done());
    drop((queued, queued_server));
    bench.until(|bench| bench.worker.is_done());
}

#[test]
fn a_stop_does_not_wait() {
    let mut bench = Bench::new();
    bench.serve(&[("one", &[A], SERVER_1)]);
    let (client, _server) = bench.session(A, SERVER_1);
    bench.tell(Message::Drain);
    assert!(!bench.worker.is_done());
    bench.tell(Message::Stop);
    assert!(bench.worker.is_done());
    assert!(client.is_reset());
}

#[test]
fn only_the_first_worker_has_unix_sockets() {
    for index in 0..2 {
        let mut bench = Bench::with_index(index);
        bench.serve(&[("one", &["unix:/run/one.sock", A], SERVER_1)]);
        assert!(bench.listens(A));
        assert_eq!(bench.listens("unix:/run/one.sock"), index == 0);
    }
}
