//! The engine allocates nothing per record and nothing per cycle once it is warm.
#![expect(
    unsafe_code,
    reason = "an allocator that counts is an unsafe trait; each call is the system's own"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "it/engine/tls.rs"]
mod tls;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use sealwire::engine::sim::{Sim, SimOptions};
use sealwire::engine::{
    BackendChoice, ConnId, Engine, EngineOptions, Event, ListenOptions, SocketOptions,
};
use tls::Protocol;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The system's allocator, and how often this thread asked it for memory.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the one that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, len) }
    }
}

fn count() {
    // A thread that ends has no counter any more, and is not the one that is measured.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

#[test]
fn a_warm_relay_allocates_nothing_on_io_uring() {
    match open(BackendChoice::Uring) {
        Ok(_) => check(|| open(BackendChoice::Uring).unwrap()),
        Err(reason) => {
            assert!(std::env::var_os("REQUIRE_ALL").is_none(), "{reason}");
            eprintln!("skipped: {reason}");
        }
    }
}

#[test]
fn a_warm_relay_allocates_nothing_on_epoll() {
    check(|| open(BackendChoice::Epoll).unwrap());
}

#[test]
fn a_warm_relay_allocates_nothing_on_the_simulator() {
    check(|| {
        let sim = Sim::new(SimOptions::default());
        Engine::with_backend(sim.backend(), &EngineOptions::default())
    });
}

fn check(open: impl Fn() -> Engine) {
    for protocol in [Protocol::Plain, Protocol::Tls] {
        let mut talk = Talk::new(open(), protocol);
        // Memory that grew to its largest batch counts as warm: growth dies out, and a leak does
        // not.
        let is_warm = (0..20).any(|_| {
            let before = ALLOCATIONS.get();
            let records = talk.run();
            let allocations = ALLOCATIONS.get() - before;
            eprintln!("{protocol:?}: {allocations} allocations for {records} records");
            allocations == 0
        });
        assert!(is_warm, "{protocol:?} allocates on and on");
    }
}

/// Pairs of clients that answer each other through a relay: `client | server, relay, server |
/// client`.
struct Talk {
    engine: Engine,
    events: Vec<Event>,
    servers: Vec<ConnId>,
}

impl Talk {
    fn new(mut engine: Engine, protocol: Protocol) -> Self {
        let options = ListenOptions {
            backlog: 64,
            reuse_port: false,
            is_redirected: false,
            socket: SocketOptions::default(),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = engine.listen(&any, &options).unwrap();
        let address = engine.local_address(listener).unwrap();
        for index in 0..2 * PAIRS {
            let conn = protocol.client(engine.now(), engine.pools());
            let timeout = Duration::from_secs(10);
            engine
                .connect(
                    &address,
                    conn,
                    &options.socket,
                    timeout,
                    CLIENT + index as u64,
                )
                .unwrap();
        }
        let mut talk = Self {
            engine,
            events: Vec::new(),
            servers: Vec::new(),
        };
        let mut connected = Vec::new();
        while connected.len() < 4 * PAIRS {
            talk.engine.wait(None, &mut talk.events).unwrap();
            for event in talk.events.drain(..) {
                match event {
                    Event::Accepted { id, .. } => {
                        let index = talk.servers.len() as u64;
                        talk.engine
                            .start(id, protocol.server(talk.engine.now()), index);
                        talk.servers.push(id);
                    }
                    Event::Connected { id } => connected.push(id),
                    other => panic!("{other:?}"),
                }
            }
        }
        for id in connected {
            if talk.engine.user_data(id) >= CLIENT {
                assert_eq!(talk.engine.write(id, &[7; MESSAGE_LEN]), MESSAGE_LEN);
            }
        }
        talk
    }

    /// Some thousand records, and how many exactly.
    fn run(&mut self) -> u64 {
        let start = self.engine.counters().relayed_records;
        loop {
            let records = self.engine.counters().relayed_records - start;
            if records >= 3_000 {
                return records;
            }
            self.engine.wait(None, &mut self.events).unwrap();
            let mut events = std::mem::take(&mut self.events);
            for event in events.drain(..) {
                let Event::Readable { id } = event else {
                    panic!("{event:?}");
                };
                self.read(id);
            }
            self.events = events;
        }
    }

    fn read(&mut self, id: ConnId) {
        let user_data = self.engine.user_data(id);
        if user_data < CLIENT {
            let other = self.servers[user_data as usize ^ 1];
            self.engine.relay(id, other);
            // An idle timeout that moves with every record.
            let later = self.engine.now().monotonic.after(Duration::from_secs(60));
            self.engine.set_timer(id, Some(later));
            return;
        }
        loop {
            let len = self.engine.peek(id).len();
            if len == 0 {
                return;
            }
            self.engine.consume(id, len);
            assert_eq!(self.engine.write(id, &[7; 20_000][..len]), len);
        }
    }
}

fn open(backend: BackendChoice) -> sealwire::error::Result<Engine> {
    Engine::new(&EngineOptions {
        backend,
        ..EngineOptions::default()
    })
}

const PAIRS: usize = 16;
const CLIENT: u64 = 1 << 32;
const MESSAGE_LEN: usize = 20_000;
