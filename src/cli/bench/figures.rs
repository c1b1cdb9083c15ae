use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::latency::{self, us};
use crate::cli::text::safe;
use crate::error::Result;

/// What was measured on one side.
pub(super) struct Figures {
    /// Of requests that were answered, from the time at which they were due.
    pub(super) latency_ns: Histogram<u64>,
    /// By what went wrong.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests that were due, and never begun since no connection was free.
    pub(super) missed: u64,
    pub(super) elapsed: Duration,
}

impl Figures {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            latency_ns: latency::histogram()?,
            errors: BTreeMap::new(),
            missed: 0,
            elapsed: Duration::ZERO,
        })
    }

    pub(super) fn answered(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.saturating_record(ns);
    }

    /// Counts `count` requests that failed in the same way. Servers choose part of the words, so
    /// there is an end to their number.
    pub(super) fn failed(&mut self, error: &str, count: u64) {
        let kind = safe(error);
        let is_known = self.errors.contains_key(&kind);
        let kind = match is_known || self.errors.len() < KINDS_MAX {
            true => kind,
            false => "other errors".into(),
        };
        *self.errors.entry(kind).or_default() += count;
    }

    pub(super) fn errors_len(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests that were answered per second.
    pub(super) fn per_s(&self) -> f64 {
        self.latency_ns.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// All of it in one line, while it is measured.
    pub(super) fn progress(&self, total: Duration) -> String {
        let percentile = |percentile| us(self.latency_ns.value_at_percentile(percentile));
        format!(
            "{:.0} of {} s, {:.0}/s, p50 {:.1} µs, p99 {:.1} µs, {} errors",
            self.elapsed.as_secs_f64(),
            total.as_secs(),
            self.per_s(),
            percentile(50.0),
            percentile(99.0),
            self.errors_len()
        )
    }
}

/// Kinds of errors that are told apart.
const KINDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_kind_and_their_kinds_are_bounded() {
        let mut figures = Figures::new().unwrap();
        figures.failed("gone\u{1b}[2J", 3);
        figures.failed("gone\u{1b}[2J", 4);
        assert_eq!(figures.errors["gone\\u{1b}[2J"], 7);
        for n in 0..100 {
            figures.failed(&format!("kind {n}"), 1);
        }
        assert_eq!(figures.errors.len(), KINDS_MAX + 1);
        assert_eq!(figures.errors_len(), 107);
    }
}
