//! What following a session of MySQL costs, in memory, on one core.
//!
//! `cargo bench --bench follow` prints nanoseconds per exchange, a query with its answer, beside
//! those of copying the same bytes once: what a relay does at least.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sealwire::frame::mysql::{
    Activity, Capabilities, Framing, Sequence, ServerKind, SessionWatch, StatusFlags, write_packet,
};

/// Rows of an answer, and bytes of each.
const ANSWERS: [(usize, usize); 4] = [(1, 10), (20, 100), (100, 1_000), (1_000, 1_000)];
/// Bytes that are relayed at a time: a TLS record.
const PIECE_LEN: usize = 16_384;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(20);

fn main() {
    println!("plain framing, records of {PIECE_LEN} bytes, ns per exchange, median of {ROUNDS}");
    println!(
        "{:>6} {:>10} {:>9} {:>9}",
        "rows", "bytes", "follow", "copy"
    );
    for (rows, row_len) in ANSWERS {
        let query = query();
        let answer = answer(rows, row_len);
        let mut watch = watch();
        let follow = median(|| {
            watch.client(black_box(&query), |_, _| {});
            for piece in black_box(&answer).chunks(PIECE_LEN) {
                watch.server(piece);
            }
        });
        assert_eq!(watch.activity(), Activity::Idle);
        let mut sink = vec![0; PIECE_LEN];
        let copy = median(|| {
            sink[..query.len()].copy_from_slice(black_box(&query));
            for piece in black_box(&answer).chunks(PIECE_LEN) {
                sink[..piece.len()].copy_from_slice(piece);
                black_box(&mut sink);
            }
        });
        let len = query.len() + answer.len();
        println!("{rows:>6} {len:>10} {follow:>9.0} {copy:>9.0}");
    }
}

fn watch() -> SessionWatch {
    let capabilities = Capabilities::PROTOCOL_41;
    let status = StatusFlags::AUTOCOMMIT;
    SessionWatch::new(ServerKind::MySql, capabilities, Framing::Plain, status)
}

fn query() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_packet(&mut bytes, &mut Sequence(0), |writer| {
        writer.bytes(b"\x03SELECT a FROM t WHERE id = 12345");
    });
    bytes
}

/// A column count, a definition, its end, rows, their end.
fn answer(rows: usize, row_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sequence = Sequence(1);
    let end = [0xfe, 0, 0, 2, 0];
    let row = vec![b'x'; row_len];
    let head = [&[1][..], &[b'd'; 40], &end].into_iter();
    let body = (0..rows).map(|_| &row[..]).chain([&end[..]]);
    for payload in head.chain(body) {
        write_packet(&mut bytes, &mut sequence, |writer| writer.bytes(payload));
    }
    bytes
}

fn median(mut exchange: impl FnMut()) -> f64 {
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round(&mut exchange)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn round(exchange: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < ROUND {
        for _ in 0..BATCH {
            exchange();
        }
        count += BATCH;
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

/// Exchanges between two looks at the clock.
const BATCH: u32 = 16;
