//! More peers send than there are receive buffers: each gets its turn.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use sealwire::conn::Connection;
use sealwire::engine::sim::{Faults, Sim, SimOptions, SimPeer};
use sealwire::engine::{BackendChoice, ConnId, Engine, EngineOptions, Event, SocketOptions};

use super::chain::listen_options;

/// Peers that send as much as they can.
const FLOODERS: usize = 24;
const BUF_LEN: usize = 512;
/// Fewer than one receive may take, and more.
const BUF_COUNTS: [u16; 2] = [4, 16];
const MESSAGES: usize = 30;
const CYCLE: Duration = Duration::from_millis(1);
/// Cycles in which only they send.
const BEHIND: usize = 3;

#[test]
fn whoever_found_no_buffer_is_not_overtaken_on_uring() {
    BUF_COUNTS
        .iter()
        .for_each(|count| overtake(BackendChoice::Uring, *count));
}

#[test]
fn whoever_found_no_buffer_is_not_overtaken_on_epoll() {
    BUF_COUNTS
        .iter()
        .for_each(|count| overtake(BackendChoice::Epoll, *count));
}

#[test]
fn whoever_found_no_buffer_is_not_overtaken_in_the_simulator() {
    for seed in 0..20 {
        for buf_count in BUF_COUNTS {
            for late_steps_max in [0, 2] {
                overtake_simulated(seed, late_steps_max, buf_count);
            }
        }
    }
}

fn overtake_simulated(seed: u64, late_steps_max: u64, buf_count: u16) {
    let sim = Sim::new(SimOptions {
        seed,
        faults: Faults {
            late_steps_max,
            ..Faults::default()
        },
        recv_buf_len: BUF_LEN,
        recv_buf_count: buf_count.into(),
        ..SimOptions::default()
    });
    let mut engine = Engine::with_backend(sim.backend(), &options(BackendChoice::Auto, buf_count));
    let address = "10.0.0.1:1".parse().unwrap();
    engine.listen(&address, &listen_options()).unwrap();
    let peers: Vec<SimPeer> = (0..=FLOODERS)
        .map(|_| sim.connect(&address).unwrap())
        .collect();
    let mut ids = Vec::new();
    let mut events = Vec::new();
    while ids.len() < peers.len() {
        engine.wait(Some(CYCLE), &mut events).unwrap();
        for event in events.drain(..) {
            if let Event::Accepted { id, .. } = event {
                engine.start(id, Connection::plain(), 0);
                ids.push(id);
            }
        }
    }
    check(&mut engine, &ids, |index, bytes| peers[index].send(bytes));
}

fn overtake(backend: BackendChoice, buf_count: u16) {
    let Some(mut engine) = super::usable(Engine::new(&options(backend, buf_count))) else {
        return;
    };
    let mut peers = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..=FLOODERS {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let plain = Connection::plain();
        let id = engine.adopt(ours.into(), plain, &SocketOptions::default(), 0);
        ids.push(id.unwrap());
        peers.push(theirs);
    }
    check(&mut engine, &ids, |index, bytes| {
        peers[index].write(bytes).unwrap_or(0)
    });
}

fn options(backend: BackendChoice, recv_buf_count: u16) -> EngineOptions {
    EngineOptions {
        backend,
        recv_buf_len: BUF_LEN,
        recv_buf_count,
        ..EngineOptions::default()
    }
}

/// The last peer sends a byte at a time, the others without end, and everything is read at once.
/// Each byte arrives by the time when every peer has had its turn.
fn check(engine: &mut Engine, ids: &[ConnId], mut send: impl FnMut(usize, &[u8]) -> usize) {
    let honest = ids[FLOODERS];
    let mut events = Vec::new();
    for message in 0..MESSAGES {
        let mut cycles = 0;
        let mut is_there = false;
        while !is_there {
            for index in 0..FLOODERS {
                while send(index, &[7; 8 * BUF_LEN]) > 0 {}
            }
            // Behind the others, who are all there by then.
            if cycles == BEHIND {
                assert_eq!(send(FLOODERS, &[1]), 1);
            }
            engine.wait(Some(CYCLE), &mut events).unwrap();
            for event in events.drain(..) {
                if let Event::Readable { id } = event {
                    is_there |= id == honest;
                    while !engine.peek(id).is_empty() {
                        let len = engine.peek(id).len();
                        engine.consume(id, len);
                    }
                }
            }
            cycles += 1;
            assert!(
                cycles <= BEHIND + 2 * ids.len(),
                "byte {message} was not there after {cycles} cycles"
            );
        }
    }
    assert!(engine.counters().backend.starved > 0, "nobody had to wait");
}
