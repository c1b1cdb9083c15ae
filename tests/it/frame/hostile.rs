//! Bytes that nobody honest would send: cut, and changed at random from a seed.

use super::capture::{Capture, From};
use super::fuzz;

#[test]
fn every_cut_of_a_login_is_survived() {
    for capture in Capture::all() {
        for (_, payload) in &capture.login {
            for len in 0..=payload.len() {
                feed(&payload[..len]);
            }
        }
    }
}

#[test]
fn changed_logins_are_survived() {
    let mut random = Random(1);
    for capture in Capture::all() {
        for (_, payload) in &capture.login {
            for _ in 0..200 {
                feed(&random.change(payload));
            }
        }
    }
}

#[test]
fn changed_sessions_are_survived() {
    let mut random = Random(2);
    for capture in Capture::all() {
        for (dialect, framing) in [(0, 0), (1, 0), (5, 1), (2, 2), (13, 0), (8, 1)] {
            let mut script = vec![dialect, framing];
            for (from, bytes) in &capture.session {
                for piece in bytes.chunks(128) {
                    let side = if *from == From::Client { 0 } else { 0x80 };
                    script.push(side | (piece.len() - 1) as u8);
                    script.extend_from_slice(piece);
                }
            }
            fuzz::session(&script);
            for _ in 0..10 {
                fuzz::session(&random.change(&script));
            }
        }
    }
}

#[test]
fn changed_frames_are_survived() {
    let mut random = Random(3);
    for name in ["mysql-9.7-cli-compressed", "seekdb-1.3-ob20"] {
        for (_, bytes) in &Capture::named(name).session {
            for _ in 0..50 {
                let changed = random.change(bytes);
                fuzz::compressed(&changed);
                fuzz::ob20(&changed);
            }
        }
    }
}

fn feed(payload: &[u8]) {
    fuzz::greeting(payload);
    fuzz::login(payload);
    fuzz::reply(payload);
    fuzz::packets(payload);
}

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// `bytes` with one to four places changed: a byte set, bytes cut out, or bytes doubled.
    pub(super) fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len());
            let end = (at + self.below(8)).min(out.len());
            match self.below(4) {
                0 => drop(out.drain(at..end)),
                1 => out.splice(at..at, out[at..end].to_vec()).for_each(drop),
                _ => {
                    let interesting = [0x00, 0x01, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, self.next() as u8];
                    let value = interesting[self.below(interesting.len())];
                    if let Some(byte) = out.get_mut(at) {
                        *byte = value;
                    }
                }
            }
        }
        out
    }
}
