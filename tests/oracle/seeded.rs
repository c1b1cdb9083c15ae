//! The fuzz targets without a fuzzer: scripts of a seeded generator.

use crate::harness;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn script(&mut self, len_max: u64) -> Vec<u8> {
        let len = self.next() % len_max;
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Runs `cases` scripts; the seed of the one that fails is printed.
fn run(target: fn(&[u8]), cases: u64, len_max: u64) {
    for seed in 0..cases {
        let script = Random(seed).script(len_max);
        let result = std::panic::catch_unwind(|| target(&script));
        assert!(result.is_ok(), "seed {seed}: {script:?}");
    }
}

#[test]
fn both_record_paths_agree() {
    run(harness::records_differential, 1_500, 160);
}

/// A TLS 1.2 client asks to renegotiate with a ClientHello that cannot be read, then sends a fatal
/// alert: rustls refuses the one, and we, who decline without reading it, are told the other.
#[test]
fn a_declined_hello_may_be_rubbish() {
    let (tls12_server, handshake, alert, deliver) = (2, 10, 13, 19);
    let hello = [handshake, 1, 2, 9, 9, 0];
    let script = [&[tls12_server][..], &hello, &[alert, 2, 85, deliver]].concat();
    harness::records_differential(&script);
}

#[test]
fn a_server_survives_anything() {
    run(harness::conn_server, 2_500, 200);
}

#[test]
fn a_client_survives_anything() {
    run(harness::conn_client, 2_500, 200);
}
