use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::wire::{Readable, Wire};
use crate::cli::latency;
use crate::error::Result;

/// One way to a server: a connection, and what was measured on it.
pub(super) trait Leg {
    /// Sends a request and waits for its answer. The marker passes twice: in either of them.
    fn request(&mut self) -> Result<()>;

    /// Drives it for as long as `slice`.
    fn drive(&mut self, slice: Duration) -> Result<()>;

    fn wire(&mut self) -> &mut Wire;

    fn figures(&mut self) -> &mut Figures;

    /// Sends requests while everything on the wire is looked at.
    fn prove(&mut self) -> Result<()> {
        self.wire().tap();
        for _ in 0..PROOFS {
            self.request()?;
        }
        self.figures().readable = Readable {
            messages: self.wire().markers(),
            of: 2 * PROOFS,
        };
        Ok(())
    }
}

/// What was measured on one leg.
pub(super) struct Figures {
    pub(super) name: &'static str,
    pub(super) latency_ns: Histogram<u64>,
    /// Messages that could be read on the wire, of those that were looked for there.
    pub(super) readable: Readable,
}

impl Figures {
    pub(super) fn new(name: &'static str) -> Result<Self> {
        Ok(Self {
            name,
            latency_ns: latency::histogram()?,
            readable: Readable::default(),
        })
    }
}

/// Sends one request after the other for as long as `slice`.
pub(super) fn one_by_one(leg: &mut impl Leg, slice: Duration) -> Result<()> {
    let begin = Instant::now();
    let mut sent = begin;
    while sent - begin < slice {
        leg.request()?;
        let answered = Instant::now();
        let ns = u64::try_from((answered - sent).as_nanos()).unwrap_or(u64::MAX);
        leg.figures().latency_ns.saturating_record(ns);
        sent = answered;
    }
    Ok(())
}

/// Drives the legs in turn, so that whatever else the machine does falls on all.
pub(super) fn alternate(
    legs: &mut [&mut dyn Leg],
    total: Duration,
    is_interrupted: &AtomicBool,
) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < total && !is_interrupted.load(Ordering::Acquire) {
        for leg in &mut *legs {
            leg.drive(SLICE)?;
        }
    }
    Ok(())
}

/// Requests that are looked for on the wire.
const PROOFS: usize = 100;

/// How long a leg is driven before it is the next one's turn.
const SLICE: Duration = Duration::from_millis(50);
