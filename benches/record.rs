//! Sealing and opening records in memory, on one core: rustls' record path against the in-place
//! one.
//!
//! `cargo bench --bench record` prints nanoseconds per record and the ratio of the two, each the
//! median of rounds in which the paths alternate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealwire::buf::{Buf, Pools};
use sealwire::conn::{Connection, Data};
use sealwire::time::{Monotonic, Now};
use sealwire::tls::{
    ClientConfig, ClientOptions, Identity, Pem, RecordPath, Roots, ServerConfig, ServerName,
    ServerOptions, Verify, Version,
};

const RECORD_LENS: [usize; 4] = [200, 1_024, 4_096, 16_384];
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);
/// Records between two looks at the clock.
const BATCH: usize = 16;

fn main() {
    println!(
        "TLS 1.3, TLS_AES_128_GCM_SHA256, ns per record, median of {ROUNDS} alternating rounds"
    );
    println!(
        "{:>8} {:>24} {:>24} {:>24}",
        "", "seal", "open", "seal + open"
    );
    let columns = format!("{:>8} {:>8} {:>6}", "rustls", "in place", "ratio");
    println!("{:>8} {columns} {columns} {columns}", "bytes");
    for record_len in RECORD_LENS {
        println!("{record_len:>8} {}", compare(record_len));
    }
}

fn compare(record_len: usize) -> String {
    let mut rounds = [
        (RecordPath::Rustls, Vec::new()),
        (RecordPath::InPlace, Vec::new()),
    ];
    let mut pairs = rounds.each_ref().map(|(path, _)| Pair::new(*path));
    for _ in 0..ROUNDS {
        for ((_, costs), pair) in rounds.iter_mut().zip(&mut pairs) {
            costs.push(pair.round(record_len));
        }
    }
    let [rustls, in_place] = rounds.map(|(_, costs)| costs);
    let columns: [fn(&Cost) -> f64; 3] = [
        |cost| cost.seal,
        |cost| cost.open,
        |cost| cost.seal + cost.open,
    ];
    columns
        .map(|column| {
            let (rustls, in_place) = (median(&rustls, column), median(&in_place, column));
            format!("{rustls:>8.0} {in_place:>8.0} {:>6.2}", rustls / in_place)
        })
        .join(" ")
}

fn median(costs: &[Cost], column: fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<_> = costs.iter().map(column).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds per record.
struct Cost {
    seal: f64,
    open: f64,
}

struct Pair {
    client: Connection,
    server: Connection,
    pools: Pools,
}

impl Pair {
    fn new(records: RecordPath) -> Self {
        let mut pools = Pools::new(2 * BATCH);
        let (server, client) = configs(records);
        let name = ServerName::try_from("localhost").expect("a name");
        let client = Connection::client(&client, &name, NOW, &mut pools).expect("a client");
        let mut pair = Self {
            client,
            server: Connection::server(&server, NOW),
            pools,
        };
        pair.shake_hands();
        pair
    }

    fn shake_hands(&mut self) {
        loop {
            let sent = pump(&mut self.client, &mut self.server, &mut self.pools)
                + pump(&mut self.server, &mut self.client, &mut self.pools);
            if sent == 0 {
                return;
            }
        }
    }

    fn round(&mut self, record_len: usize) -> Cost {
        let plain = vec![0x5A; record_len];
        let mut sealed: Vec<Buf> = Vec::with_capacity(BATCH);
        let (mut seal, mut open, mut records) = (Duration::ZERO, Duration::ZERO, 0);
        while seal + open < ROUND {
            let begin = Instant::now();
            for _ in 0..BATCH {
                assert_eq!(
                    self.client.write(&plain, &mut self.pools).expect("write"),
                    record_len
                );
                sealed.extend(self.client.poll_transmit(&mut self.pools).expect("seal"));
            }
            seal += begin.elapsed();
            let begin = Instant::now();
            for mut buf in sealed.drain(..) {
                assert_eq!(
                    receive(&mut self.server, &mut buf, &mut self.pools),
                    record_len
                );
                self.pools.send.give(buf);
            }
            open += begin.elapsed();
            records += BATCH;
        }
        let per_record = |total: Duration| total.as_nanos() as f64 / records as f64;
        Cost {
            seal: per_record(seal),
            open: per_record(open),
        }
    }
}

fn pump(from: &mut Connection, to: &mut Connection, pools: &mut Pools) -> usize {
    let mut sent = 0;
    while let Some(mut buf) = from.poll_transmit(pools).expect("transmit") {
        sent += buf.len();
        receive(to, &mut buf, pools);
        pools.send.give(buf);
    }
    sent
}

/// Opens everything in `buf` and returns the length of the plaintext.
fn receive(conn: &mut Connection, buf: &mut Buf, pools: &mut Pools) -> usize {
    let mut plain_len = 0;
    while !buf.is_empty() {
        let opened = conn
            .handle_recv(NOW, buf.filled_mut(), pools)
            .expect("open");
        plain_len += match opened.data {
            Data::None => 0,
            Data::Input(range) => range.len(),
            Data::Held => conn.held().len(),
        };
        buf.advance(opened.consumed);
    }
    plain_len
}

fn configs(records: RecordPath) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let pem = |text: &'static str| Pem {
        name: "bench",
        text: text.as_bytes(),
    };
    let (chain, key) = (pem(chain.leak()), pem(key.leak()));
    let suites = vec!["TLS_AES_128_GCM_SHA256".to_owned()];
    let handshake_timeout = Duration::from_secs(10);
    let server = ServerOptions {
        min_version: Version::Tls13,
        suites: suites.clone(),
        records,
        handshake_timeout,
        ..ServerOptions::new(Identity::from_pem(chain, key).expect("identity"))
    };
    let client = ClientOptions {
        min_version: Version::Tls13,
        suites,
        resumes: true,
        records,
        handshake_timeout,
        ..ClientOptions::new(Verify::Full(Roots::from_pem(&[chain]).expect("roots")))
    };
    let server = ServerConfig::new(&server).expect("server configuration");
    (
        server,
        ClientConfig::new(&client).expect("client configuration"),
    )
}

/// 2026-06-01, within the validity of the certificate above.
const NOW: Now = Now {
    monotonic: Monotonic::from_ns(0),
    wall_s: 1_780_272_000,
};
