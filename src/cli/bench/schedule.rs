use crate::time::Monotonic;

/// When requests are due.
pub(super) enum Schedule {
    /// As soon as one can be made.
    Closed,
    /// At fixed times, whether one can be made or not.
    Fixed {
        begin: Monotonic,
        rate: u32,
        /// Requests that were begun.
        begun: u64,
    },
}

impl Schedule {
    pub(super) fn new(begin: Monotonic, rate: Option<u32>) -> Self {
        match rate {
            Some(rate) => Self::Fixed {
                begin,
                rate,
                begun: 0,
            },
            None => Self::Closed,
        }
    }

    /// Begins a request where one is due by `now`, and says since when.
    ///
    /// This is the correction for coordinated omission: what a slow server keeps from being begun
    /// is due all the same, and the time up to its beginning is part of its latency.
    pub(super) fn begin_request(&mut self, now: Monotonic) -> Option<Monotonic> {
        let Some(due) = self.next_due() else {
            return Some(now);
        };
        if due > now {
            return None;
        }
        if let Self::Fixed { begun, .. } = self {
            *begun += 1;
        }
        Some(due)
    }

    /// When the next request is due, where that is fixed.
    pub(super) fn next_due(&self) -> Option<Monotonic> {
        match *self {
            Self::Closed => None,
            Self::Fixed { begin, rate, begun } => Some(nth(begin, rate, begun)),
        }
    }

    /// Requests that were due before `end` and not begun.
    pub(super) fn missed(&self, end: Monotonic) -> u64 {
        match *self {
            Self::Closed => 0,
            Self::Fixed { begin, rate, begun } => {
                let ns = end.as_ns().saturating_sub(begin.as_ns());
                let due = (u128::from(ns) * u128::from(rate)).div_ceil(S_NS);
                u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(begun)
            }
        }
    }
}

/// Counted from the beginning, so that no rounding adds up.
fn nth(begin: Monotonic, rate: u32, n: u64) -> Monotonic {
    let ns = u128::from(n) * S_NS / u128::from(rate);
    Monotonic::from_ns(begin.as_ns() + u64::try_from(ns).unwrap_or(u64::MAX))
}

/// Nanoseconds of a second.
const S_NS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_fixed_times_however_late_they_begin() {
        let at = |us: u64| Monotonic::from_ns(1_000 + us * 1_000);
        let mut schedule = Schedule::new(at(0), Some(1_000));
        assert_eq!(schedule.begin_request(at(0)), Some(at(0)));
        assert_eq!(schedule.begin_request(at(999)), None);
        assert_eq!(schedule.next_due(), Some(at(1_000)));
        // The server stands still for 3 ms: three requests begin together, each late by its own
        // time.
        let late = [(); 3].map(|()| schedule.begin_request(at(3_500)));
        assert_eq!(late, [1_000, 2_000, 3_000].map(|us| Some(at(us))));
        assert_eq!(schedule.begin_request(at(3_500)), None);
    }

    #[test]
    fn an_odd_rate_does_not_drift() {
        let mut schedule = Schedule::new(Monotonic::default(), Some(7));
        let end = Monotonic::from_ns(10_000_000_000);
        let mut begun = 0;
        while schedule.next_due().is_some_and(|due| due < end) {
            assert!(schedule.begin_request(end).is_some());
            begun += 1;
        }
        assert_eq!((begun, schedule.missed(end)), (70, 0));
    }

    #[test]
    fn what_was_due_and_not_begun_is_missed() {
        let mut schedule = Schedule::new(Monotonic::default(), Some(1_000));
        let end = Monotonic::from_ns(2_000_000_000);
        schedule.begin_request(end);
        assert_eq!(schedule.missed(end), 1_999);
        assert_eq!(Schedule::new(end, None).missed(end), 0);
    }

    #[test]
    fn a_closed_loop_begins_at_once() {
        let now = Monotonic::from_ns(5);
        let mut schedule = Schedule::new(Monotonic::default(), None);
        assert_eq!(schedule.begin_request(now), Some(now));
        assert_eq!(schedule.next_due(), None);
    }
}
