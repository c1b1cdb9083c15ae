//! Sessions of MySQL of which one end has gone and the other says nothing more, and never closes.

use super::mysql::{IDLE, all, login, mysql_route, packet};
use super::*;
use crate::frame::mysql::Command;
use crate::gateway::session::Side;

/// How an end goes.
#[derive(Clone, Copy, Debug)]
enum Going {
    /// It closes, which its peer sees as the end of the stream.
    Closing,
    Reset,
}

/// A session from the greeting to COM_QUIT in halves of packets, with who says what.
fn session() -> Vec<(Side, Vec<u8>)> {
    let mut packets = login(all(), IDLE);
    let query = packet(0, |w| w.bytes(b"\x03SELECT 1"));
    let answer = packet(1, |w| w.bytes(b"\0\0\0\x02\0\0\0"));
    let quit = packet(0, |w| w.u8(Command::QUIT.0));
    packets.extend([
        (Side::Client, query),
        (Side::Server, answer),
        (Side::Client, quit),
    ]);
    let halves = packets.into_iter().flat_map(|(from, bytes)| {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        [(from, first.to_vec()), (from, second.to_vec())]
    });
    halves.collect()
}

#[test]
fn whoever_goes_at_whatever_point_the_other_end_is_not_waited_for_for_ever() {
    let session = session();
    for cut in 0..=session.len() {
        for goes in [Side::Client, Side::Server] {
            for going in [Going::Closing, Going::Reset] {
                let left = seconds_until_over(&session[..cut], goes, going);
                let text = format!("{goes:?} {going:?} after {cut} of {}", session.len());
                assert!(left.is_some_and(|s| s <= BOUND_S), "{text}: {left:?}");
            }
        }
    }
}

/// How long a session lasts of which one end goes behind `said`; none where that takes too long.
fn seconds_until_over(said: &[(Side, Vec<u8>)], goes: Side, going: Going) -> Option<u64> {
    let route = Route {
        idle_timeout: None,
        ..mysql_route()
    };
    let mut bench = Bench::with_route(route, SimOptions::default());
    bench.sim.listen(&ip(SERVER));
    let client = bench.client();
    let server = bench.server(SERVER);
    for (from, bytes) in said {
        match from {
            Side::Client => client.send(bytes),
            Side::Server => server.send(bytes),
        };
        // What an end has not read when it closes would be a reset.
        for _ in 0..4 {
            bench.cycle();
            client.recv(usize::MAX);
            server.recv(usize::MAX);
        }
    }
    let (goer, stayer) = match goes {
        Side::Client => (client, server),
        Side::Server => (server, client),
    };
    if let Going::Reset = going {
        goer.reset();
    }
    drop(goer);
    let start = bench.elapsed();
    let passed = |bench: &Bench| (bench.elapsed() - start).as_secs();
    while !bench.sessions.is_empty() && passed(&bench) <= BOUND_S {
        bench.cycle();
        stayer.recv(usize::MAX);
    }
    let is_over = bench.sessions.is_empty();
    is_over.then(|| passed(&bench))
}

/// The rest of one login, another whole time for its server to judge, and what closing may take.
const BOUND_S: u64 = 10 + 10 + limits::LINGER_MS / 1_000;
