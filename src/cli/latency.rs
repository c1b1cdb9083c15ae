//! Latencies: nanoseconds inside, microseconds before people's eyes.

use hdrhistogram::Histogram;

use crate::error::{Error, ErrorKind, Result};

/// An empty histogram of nanoseconds.
pub(super) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_NS_MAX, 3)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

pub(super) fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

/// What is told of a histogram.
pub(super) const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("max", 100.0),
];

/// The longest latency that is told from a longer one: longer than anything is waited for, a day.
const LATENCY_NS_MAX: u64 = 86_400_000_000_000;
