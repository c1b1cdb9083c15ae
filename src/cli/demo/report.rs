use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::json;

use super::gateway::GatewayProcess;
use super::load::{Leg, VALUE_LEN};
use crate::error::{Error, ErrorKind, Result};

/// What the demo found, for people and for programs.
pub(super) struct Report {
    backend: String,
    server: String,
    fallback: Option<String>,
    aes: String,
    legs: [Leg; 2],
}

impl Report {
    /// `legs` are the plaintext one and the encrypted one, `server` says where both end.
    pub(super) fn new(gateway: &GatewayProcess, server: String, legs: [Leg; 2]) -> Self {
        Self {
            backend: gateway.backend().into(),
            server,
            fallback: gateway.fallback().map(str::to_owned),
            aes: gateway.aes().into(),
            legs,
        }
    }

    /// An error where what is shown as encrypted was not, or where the proof proves nothing.
    pub(super) fn verdict(&self) -> Result<()> {
        let [plain, tls] = &self.legs;
        if tls.facts().is_none() || tls.readable.requests > 0 {
            return Err(Error::new(
                ErrorKind::Internal,
                "the TLS leg could be read on the wire",
            ));
        }
        if plain.readable.requests != plain.readable.of {
            let text = "the plaintext leg could not be read on the wire: the proof proves nothing";
            return Err(Error::new(ErrorKind::Internal, text));
        }
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        let [plain, tls] = &self.legs;
        let mut text = String::new();
        let backend = self.backend.split(':').next().unwrap_or_default();
        let mut line = |args: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{args}");
        };
        line(format_args!(
            "client -> sealwire gateway -> {}, SELECT of {VALUE_LEN} bytes",
            self.server
        ));
        line(format_args!(
            "  back end      {backend}, aes = {}",
            self.aes
        ));
        if let Some(reason) = &self.fallback {
            line(format_args!("                not io_uring: {reason}"));
        }
        if let Some(facts) = tls.facts() {
            line(format_args!(
                "  TLS leg       TLS {}, {}, {}; server certificate verified",
                facts.version.number(),
                facts.suite,
                facts.group
            ));
        }
        for leg in &self.legs {
            let (name, readable) = (leg.name, leg.readable);
            line(format_args!(
                "  on the wire   {name}: {} of {} messages readable",
                readable.requests, readable.of
            ));
        }
        line(format_args!(""));
        line(format_args!(
            "latency in µs {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
            "p50", "p90", "p99", "p99.9", "max", "requests"
        ));
        for leg in &self.legs {
            line(format_args!(
                "  {:<11} {}",
                leg.name,
                percentiles(&leg.latency_ns)
            ));
        }
        line(format_args!(
            "  {:<11} {}",
            "ratio",
            ratios(&plain.latency_ns, &tls.latency_ns)
        ));
        line(format_args!(""));
        line(format_args!("     latency   plaintext                 TLS"));
        for bucket in buckets(&self.legs) {
            line(format_args!("{bucket}"));
        }
        text.truncate(text.trim_end().len());
        text
    }

    pub(super) fn json(&self) -> String {
        let legs = self.legs.each_ref().map(|leg| {
            let facts = leg.facts();
            let percentiles = PERCENTILES.map(|(name, percentile)| {
                (
                    format!("{name}_us"),
                    json!(us(leg.latency_ns.value_at_percentile(percentile))),
                )
            });
            let mut object = json!({
                "name": leg.name,
                "encrypted": facts.is_some(),
                "version": facts.map(|facts| facts.version.number()),
                "suite": facts.map(|facts| facts.suite),
                "group": facts.map(|facts| facts.group),
                "readable_messages": leg.readable.requests,
                "looked_at_messages": leg.readable.of,
                "requests": leg.latency_ns.len(),
            });
            if let Some(object) = object.as_object_mut() {
                object.extend(percentiles);
            }
            object
        });
        let [plain, tls] = &self.legs;
        let ratio = |percentile| ratio(&plain.latency_ns, &tls.latency_ns, percentile);
        let report = json!({
            "backend": self.backend,
            "server": self.server,
            "server_version": plain.server_version(),
            "fallback_reason": self.fallback,
            "aes": self.aes,
            "value_len": VALUE_LEN,
            "legs": legs,
            "ratio": {
                "p50": ratio(50.0),
                "p90": ratio(90.0),
                "p99": ratio(99.0),
                "p99.9": ratio(99.9),
            },
        });
        format!("{report:#}")
    }
}

fn percentiles(latency_ns: &Histogram<u64>) -> String {
    let [p50, p90, p99, p999, max] =
        PERCENTILES.map(|(_, percentile)| us(latency_ns.value_at_percentile(percentile)));
    let requests = latency_ns.len();
    format!("{p50:>8.1} {p90:>8.1} {p99:>8.1} {p999:>8.1} {max:>9.1} {requests:>9}")
}

fn ratios(plain: &Histogram<u64>, tls: &Histogram<u64>) -> String {
    let [p50, p90, p99, p999, _] = PERCENTILES.map(|(_, percentile)| ratio(plain, tls, percentile));
    format!("{p50:>8.2} {p90:>8.2} {p99:>8.2} {p999:>8.2}")
}

fn ratio(plain: &Histogram<u64>, tls: &Histogram<u64>, percentile: f64) -> f64 {
    tls.value_at_percentile(percentile) as f64 / plain.value_at_percentile(percentile) as f64
}

/// One line for each range of latencies that any leg has, a quarter wider than the one before.
fn buckets(legs: &[Leg; 2]) -> Vec<String> {
    let low = legs
        .iter()
        .map(|leg| leg.latency_ns.value_at_percentile(0.1))
        .min()
        .unwrap_or(1);
    let high = legs
        .iter()
        .map(|leg| leg.latency_ns.value_at_percentile(99.5))
        .max()
        .unwrap_or(1);
    let mut lines = Vec::new();
    let mut from = low.max(1);
    while from <= high && lines.len() < BUCKETS_MAX {
        let to = from + from / 4 + 1;
        let [plain, tls] = legs.each_ref().map(|leg| {
            let count = leg.latency_ns.count_between(from, to - 1);
            count as f64 / leg.latency_ns.len().max(1) as f64
        });
        let line = format!("{:>9.1} µs   {}  {}", us(from), bar(plain), bar(tls));
        lines.push(line.trim_end().to_owned());
        from = to;
    }
    lines
}

fn bar(share: f64) -> String {
    let filled = (share * BAR_LEN as f64).round() as usize;
    let bar: String = "█".repeat(filled.min(BAR_LEN));
    let percent = format!("{:.1}%", share * 100.0);
    let len = filled.min(BAR_LEN);
    format!("{bar}{:pad$} {percent:<6}", "", pad = BAR_LEN - len)
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("max", 100.0),
];

/// Width of a bar that stands for all requests, in characters.
const BAR_LEN: usize = 18;

/// Lines of the histogram at most.
const BUCKETS_MAX: usize = 16;
