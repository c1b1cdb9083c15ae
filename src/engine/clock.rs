use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Monotonic, Now};

/// The clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A monotonic clock that starts now.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The time now. A wall clock before 1970 counts as 1970.
    pub fn now(&self) -> Now {
        let ns = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            monotonic: Monotonic::from_ns(ns),
            wall_s: wall.map_or(0, |since| since.as_secs()),
        }
    }
}
