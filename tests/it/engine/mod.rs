//! The engine: each topic on every back end, and what only the simulator can bring about.

mod chain;
mod fairness;
mod negotiation;
mod pair;
mod rpc;
mod sim;
mod tls;
mod topics;

use sealwire::engine::sim::{Faults, Sim, SimOptions};
use sealwire::engine::{BackendChoice, Engine, EngineOptions};

type Open = fn() -> Option<Engine>;

/// Runs every topic on every back end.
macro_rules! on_every_backend {
    ($($topic:ident)*) => {
        mod on_uring {
            $(#[test] fn $topic() { super::topics::$topic(super::uring); })*
        }
        mod on_epoll {
            $(#[test] fn $topic() { super::topics::$topic(super::epoll); })*
        }
        mod on_sim {
            $(#[test] fn $topic() { super::topics::$topic(super::simulated); })*
        }
    };
}

on_every_backend! {
    a_closed_connection_sends_what_is_queued
    a_recognized_connection_knows_where_it_comes_from
    a_refused_connect_is_reported
    a_refused_request_is_answered_and_closed
    a_slow_reader_stops_the_writer
    a_waker_ends_a_wait
    aborting_ends_both_sides
    connections_negotiate_each_method
    each_side_ends_its_stream_by_itself
    plaintext_behind_the_boundary_belongs_to_tls
    plaintext_to_a_tls_port_fails_the_handshake
    stale_ids_do_nothing
    streams_pass_a_relay_whole
    timers_fire_when_due_and_once
    tls_begins_behind_what_was_consumed
    tls_streams_pass_a_relay_whole
    unlisten_reports_what_was_accepted
}

fn simulated() -> Option<Engine> {
    let sim = Sim::new(SimOptions {
        seed: 7,
        faults: Faults::harmless(),
        ..SimOptions::default()
    });
    Some(Engine::with_backend(
        sim.backend(),
        &EngineOptions::default(),
    ))
}

fn epoll() -> Option<Engine> {
    Some(open(BackendChoice::Epoll).unwrap())
}

fn uring() -> Option<Engine> {
    usable(open(BackendChoice::Uring))
}

/// None where the machine forbids io_uring, unless REQUIRE_ALL demands it.
fn usable(opened: sealwire::error::Result<Engine>) -> Option<Engine> {
    match opened {
        Ok(engine) => Some(engine),
        Err(reason) => {
            assert!(std::env::var_os("REQUIRE_ALL").is_none(), "{reason}");
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn open(backend: BackendChoice) -> sealwire::error::Result<Engine> {
    Engine::new(&EngineOptions {
        backend,
        ..EngineOptions::default()
    })
}
