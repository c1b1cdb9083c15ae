//! Connections that come back to the process that has made them.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ends of connections that were made with
/// [`SocketOptions::is_recognized`](super::SocketOptions::is_recognized), by all engines that share
/// this. No two connections have the same ends, so that one which a packet filter brings back here
/// is known by them.
#[derive(Clone, Debug, Default)]
pub struct OwnConnections(Arc<Mutex<HashSet<Ends>>>);

/// One of them, until it is dropped.
pub(super) struct OwnConnection {
    all: OwnConnections,
    ends: Ends,
}

/// Who connected to where. The kernel does not tell the rest of an IPv6 address alike everywhere.
type Ends = [(IpAddr, u16); 2];

impl OwnConnections {
    pub(super) fn enter(&self, from: SocketAddr, to: SocketAddr) -> OwnConnection {
        let ends = ends(from, to);
        self.lock().insert(ends);
        OwnConnection {
            all: self.clone(),
            ends,
        }
    }

    pub(super) fn contains(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.lock().contains(&ends(from, to))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Ends>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        self.all.lock().remove(&self.ends);
    }
}

fn ends(from: SocketAddr, to: SocketAddr) -> Ends {
    [from, to].map(|address| (address.ip(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_known_by_both_of_its_ends_while_it_lives() {
        let [a, b] = [1, 2].map(|host| SocketAddr::from(([10, 0, 0, host], 2_882)));
        let c = SocketAddr::from(([10, 0, 0, 1], 2_883));
        let all = OwnConnections::default();
        let other_engine = all.clone();
        let own = all.enter(a, b);
        assert!(other_engine.contains(a, b));
        for (from, to) in [(b, a), (a, c), (c, b)] {
            assert!(!other_engine.contains(from, to), "{from} to {to}");
        }
        drop(own);
        assert!(all.lock().is_empty());
    }

    #[test]
    fn the_scope_of_an_address_does_not_matter() {
        let [plain, scoped] = [0, 3].map(|scope| {
            SocketAddr::V6(std::net::SocketAddrV6::new(
                [0xfe80, 0, 0, 0, 0, 0, 0, 1].into(),
                9,
                0,
                scope,
            ))
        });
        let all = OwnConnections::default();
        let _own = all.enter(scoped, plain);
        assert!(all.contains(plain, scoped));
    }
}
