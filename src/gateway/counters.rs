use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::session::Side;
use crate::tls::{Facts, SUITES_LEN, spoken_suites};

/// How many of a bounded resource are taken, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Gauge(CachePadded<AtomicUsize>);

/// One taken slot of a [`Gauge`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Gauge>);

impl Gauge {
    /// Takes a slot unless `max` are taken; 0: no bound.
    pub(crate) fn enter(self: &Arc<Self>, max: usize) -> Option<Slot> {
        let next = |taken| (max == 0 || taken < max).then_some(taken + 1);
        let taken = self.0.fetch_update(Relaxed, Relaxed, next);
        taken.is_ok().then(|| Slot(self.clone()))
    }

    pub(crate) fn taken(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// How many of a resource each address has taken, over all workers. It is asked once per
/// connection, and holds nothing of addresses that have none.
#[derive(Debug, Default)]
pub(crate) struct AddressGauge(Mutex<HashMap<IpAddr, usize>>);

/// One slot that an address has taken of an [`AddressGauge`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct AddressSlot {
    gauge: Arc<AddressGauge>,
    address: IpAddr,
}

impl AddressGauge {
    /// Takes a slot for `address` unless it has `max`; 0: no bound.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<AddressSlot> {
        let mut taken = self.lock();
        let count = taken.entry(address).or_default();
        if max != 0 && *count >= max {
            return None;
        }
        *count += 1;
        Some(AddressSlot {
            gauge: self.clone(),
            address,
        })
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut taken = self.gauge.lock();
        if let Entry::Occupied(mut count) = taken.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What is taken of everything that is bounded for the gateway as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    /// Connections of clients.
    pub(crate) open: Arc<Gauge>,
    /// Those that have not come to their session.
    pub(crate) half_open: Arc<AddressGauge>,
}

/// What one route counts. It outlives reloads of the configuration.
#[derive(Debug)]
pub(crate) struct RouteCounters {
    pub(crate) open: Arc<Gauge>,
    shards: Box<[CachePadded<Shard>]>,
}

/// The part of one worker, so that workers do not fight for cache lines.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// Connections of clients that were let in.
    pub(crate) connections: AtomicU64,
    /// Plaintext bytes from clients to servers.
    pub(crate) to_server_bytes: AtomicU64,
    /// Plaintext bytes from servers to clients.
    pub(crate) to_client_bytes: AtomicU64,
    /// How long connections to the server took to be made.
    pub(crate) connects: Histogram,
    /// With clients, and with servers.
    handshakes: [Handshakes; 2],
    /// Connections that failed or were refused, by class. Off the path of bytes, hence a lock,
    /// which only this shard's worker and reports take.
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

/// TLS handshakes with one side.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// By the suite's place among those that are spoken, full ones and resumed ones.
    done: [[AtomicU64; 2]; SUITES_LEN],
    failed: AtomicU64,
    took: Histogram,
}

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// By the first of [`BOUNDS_US`] that it did not exceed; the last: by none.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// The sum over all workers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteTotals {
    pub(crate) connections: u64,
    pub(crate) to_server_bytes: u64,
    pub(crate) to_client_bytes: u64,
    pub(crate) failures: Failures,
    pub(crate) connects: HistogramTotals,
    /// With clients, and with servers.
    pub(crate) handshakes: [HandshakeTotals; 2],
}

/// As [`Handshakes`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HandshakeTotals {
    pub(crate) done: [[u64; 2]; SUITES_LEN],
    pub(crate) failed: u64,
    pub(crate) took: HistogramTotals,
}

/// As [`Histogram`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HistogramTotals {
    pub(crate) counts: [u64; BOUNDS_US.len() + 1],
    pub(crate) sum_ns: u64,
}

/// Failures by class; reads `timeout=3 tls_alert=1`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures(pub(crate) BTreeMap<&'static str, u64>);

impl RouteCounters {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            open: Arc::default(),
            shards: (0..workers).map(|_| CachePadded::default()).collect(),
        }
    }

    /// The part of the worker `index`, which is below the number given at the making.
    pub(crate) fn shard(&self, index: usize) -> &Shard {
        &self.shards[index]
    }

    pub(crate) fn totals(&self) -> RouteTotals {
        let mut totals = RouteTotals::default();
        for shard in &self.shards {
            totals.connections += shard.connections.load(Relaxed);
            totals.to_server_bytes += shard.to_server_bytes.load(Relaxed);
            totals.to_client_bytes += shard.to_client_bytes.load(Relaxed);
            shard.connects.add_to(&mut totals.connects);
            for (side, sum) in shard.handshakes.iter().zip(&mut totals.handshakes) {
                side.add_to(sum);
            }
            for (class, count) in shard.failures().iter() {
                *totals.failures.0.entry(class).or_default() += count;
            }
        }
        totals
    }
}

impl Shard {
    pub(crate) fn count_failure(&self, class: &'static str) {
        *self.failures().entry(class).or_default() += 1;
    }

    /// TLS handshakes with `side`.
    pub(crate) fn handshakes(&self, side: Side) -> &Handshakes {
        &self.handshakes[side as usize]
    }

    fn failures(&self) -> impl std::ops::DerefMut<Target = BTreeMap<&'static str, u64>> + '_ {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshakes {
    /// Counts one that is complete.
    pub(crate) fn done(&self, facts: &Facts, took: Duration) {
        let place = spoken_suites().position(|(suite, _)| suite == facts.suite);
        if let Some(place) = place {
            self.done[place][usize::from(facts.resumed)].fetch_add(1, Relaxed);
        }
        self.took.observe(took);
    }

    /// Counts one that broke off.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    fn add_to(&self, sum: &mut HandshakeTotals) {
        let counts = self.done.as_flattened().iter();
        for (count, sum) in counts.zip(sum.done.as_flattened_mut()) {
            *sum += count.load(Relaxed);
        }
        sum.failed += self.failed.load(Relaxed);
        self.took.add_to(&mut sum.took);
    }
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let place = BOUNDS_US
            .iter()
            .position(|bound_us| took <= Duration::from_micros(*bound_us));
        self.counts[place.unwrap_or(BOUNDS_US.len())].fetch_add(1, Relaxed);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(took_ns, Relaxed);
    }

    fn add_to(&self, sum: &mut HistogramTotals) {
        for (count, sum) in self.counts.iter().zip(&mut sum.counts) {
            *sum += count.load(Relaxed);
        }
        sum.sum_ns += self.sum_ns.load(Relaxed);
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (class, count)) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{class}={count}")?;
        }
        Ok(())
    }
}

/// Upper bounds of the classes of a [`Histogram`], in microseconds: from a handshake between
/// neighbours up to the default deadlines of connecting and of handshakes.
pub(crate) const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Version;

    #[test]
    fn a_gauge_is_full_at_its_bound_and_has_room_again_after_a_drop() {
        let gauge = Arc::new(Gauge::default());
        let first = gauge.enter(2).unwrap();
        let _second = gauge.enter(2).unwrap();
        assert!(gauge.enter(2).is_none());
        assert_eq!(gauge.taken(), 2);
        drop(first);
        assert!(gauge.enter(2).is_some());
        assert!(gauge.enter(0).is_some());
    }

    #[test]
    fn each_address_has_a_bound_of_its_own_and_none_is_remembered() {
        let gauge = Arc::new(AddressGauge::default());
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = gauge.enter(a, 1).unwrap();
        assert!(gauge.enter(a, 1).is_none());
        let other = gauge.enter(b, 1).unwrap();
        let unbounded = gauge.enter(a, 0).unwrap();
        drop(first);
        assert!(gauge.enter(a, 1).is_none());
        drop(unbounded);
        assert!(gauge.enter(a, 1).is_some());
        drop(other);
        assert!(gauge.is_empty());
    }

    #[test]
    fn totals_sum_over_workers() {
        let counters = RouteCounters::new(2);
        counters.shard(0).connections.fetch_add(3, Relaxed);
        counters.shard(1).connections.fetch_add(4, Relaxed);
        counters.shard(0).count_failure("timeout");
        counters.shard(1).count_failure("timeout");
        counters.shard(1).count_failure("not_tls");
        let totals = counters.totals();
        assert_eq!(totals.connections, 7);
        assert_eq!(totals.failures.to_string(), "not_tls=1 timeout=2");
    }

    fn facts(suite: &'static str, resumed: bool) -> Facts {
        Facts {
            version: Version::Tls13,
            suite,
            group: "X25519",
            resumed,
            server_name: None,
            application_protocol: None,
            peer_chain: Vec::new(),
        }
    }

    #[test]
    fn handshakes_are_counted_by_side_suite_and_resumption_over_all_workers() {
        let counters = RouteCounters::new(2);
        let took = Duration::from_millis(3);
        let count = |worker: usize, side, resumed| {
            let facts = facts("TLS_AES_256_GCM_SHA384", resumed);
            counters.shard(worker).handshakes(side).done(&facts, took);
        };
        count(0, Side::Client, false);
        count(1, Side::Client, false);
        count(1, Side::Client, true);
        count(1, Side::Server, false);
        counters.shard(0).handshakes(Side::Server).failed();
        let [client, server] = counters.totals().handshakes;
        let place = spoken_suites().position(|(suite, _)| suite == "TLS_AES_256_GCM_SHA384");
        let place = place.unwrap();
        assert_eq!((client.done[place], client.failed), ([2, 1], 0));
        assert_eq!((server.done[place], server.failed), ([1, 0], 1));
        assert_eq!(client.done.as_flattened().iter().sum::<u64>(), 3);
        assert_eq!(client.took.counts.iter().sum::<u64>(), 3);
        assert_eq!(client.took.sum_ns, 9_000_000);
    }

    #[test]
    fn a_duration_is_counted_where_its_bound_is() {
        let histogram = Histogram::default();
        for ns in [0, 500_000, 500_001, 10_000_000_000, 10_000_000_001] {
            histogram.observe(Duration::from_nanos(ns));
        }
        let mut totals = HistogramTotals::default();
        histogram.add_to(&mut totals);
        assert_eq!(totals.counts[..3], [2, 1, 0]);
        assert_eq!(totals.counts[13..], [1, 1]);
        assert_eq!(totals.sum_ns, 20_001_000_002);
    }
}
