use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

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
    /// Connections that failed or were refused, by class. Off the path of bytes, hence a lock,
    /// which only this shard's worker and reports take.
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

/// The sum over all workers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteTotals {
    pub(crate) connections: u64,
    pub(crate) to_server_bytes: u64,
    pub(crate) to_client_bytes: u64,
    pub(crate) failures: Failures,
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

    fn failures(&self) -> impl std::ops::DerefMut<Target = BTreeMap<&'static str, u64>> + '_ {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
