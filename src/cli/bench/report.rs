use std::{fs, thread};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::figures::Figures;
use super::options::Load;
use super::side::Side;
use crate::cli::latency::{PERCENTILES, us};
use crate::error::{Error, ErrorKind, Result};

/// What was measured, and on what.
pub(super) struct Report<'a> {
    load: &'a Load,
    /// The side with TLS first, where there are both.
    ways: Vec<Way>,
    backend: String,
    is_interrupted: bool,
}

struct Way {
    name: &'static str,
    address: String,
    /// Version, suite and group.
    tls: Option<String>,
    figures: Figures,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        load: &'a Load,
        sides: &[Side<'_>],
        figures: Vec<Figures>,
        is_interrupted: bool,
    ) -> Self {
        let way = |(side, figures): (&Side<'_>, Figures)| Way {
            name: side.name(),
            address: side.address(),
            tls: side.facts().map(|facts| {
                let version = facts.version.number();
                format!("TLS {version}, {}, {}", facts.suite, facts.group)
            }),
            figures,
        };
        Self {
            load,
            ways: sides.iter().zip(figures).map(way).collect(),
            backend: sides.first().map(Side::backend).unwrap_or_default(),
            is_interrupted,
        }
    }

    pub(super) fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.ways.iter().map(|way| &way.figures)
    }

    pub(super) fn curves(&self) -> Vec<(String, &Histogram<u64>)> {
        let curve = |way: &Way| way.tls.clone().unwrap_or_else(|| way.name.into());
        let ways = self.ways.iter();
        ways.map(|way| (curve(way), &way.figures.latency_ns))
            .collect()
    }

    /// An error where not all is as it was asked for.
    pub(super) fn verdict(&self) -> Result<()> {
        let failed = |kind, text: String| Err(Error::new(kind, text));
        if self.is_interrupted {
            let text = "interrupted: the figures are of a shorter run";
            return failed(ErrorKind::Io, text.into());
        }
        let errors: u64 = self.figures().map(Figures::errors_len).sum();
        if errors > 0 {
            return failed(ErrorKind::Io, format!("{errors} requests failed"));
        }
        if let Some(way) = self
            .ways
            .iter()
            .find(|way| way.figures.latency_ns.is_empty())
        {
            let text = format!("{}: no request was answered in that time", way.name);
            return failed(ErrorKind::Timeout, text);
        }
        for (way, rate) in self.ways.iter().zip(self.load.rate.into_iter().cycle()) {
            let figures = &way.figures;
            let due = figures.missed + figures.latency_ns.len();
            if figures.missed * MISSED_SHARE > due {
                let (name, per_s) = (way.name, figures.per_s());
                let text = format!(
                    "{name}: the rate of {rate}/s is beyond what the server, this machine or the \
                     number of connections allows: {per_s:.0}/s were answered"
                );
                return failed(ErrorKind::Limit, text);
            }
        }
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.load_line(), self.machine_line(), String::new()];
        for way in &self.ways {
            let tls = way.tls.as_deref().unwrap_or("no TLS");
            lines.push(format!("{:<10} {} ({tls})", way.name, way.address));
        }
        lines.push(String::new());
        lines.push(format!(
            "latency in µs {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>9} {:>8}",
            "p50", "p90", "p99", "p99.9", "max", "requests", "/s", "errors"
        ));
        lines.extend(self.ways.iter().map(Way::row));
        if let Some(ratios) = self.ratios() {
            let columns: String = ratios
                .iter()
                .map(|ratio| format!(" {ratio:>9.2}"))
                .collect();
            lines.push(format!("  {:<11}{columns}", "ratio"));
        }
        for way in &self.ways {
            lines.extend(way.errors());
        }
        lines.join("\n") + "\n"
    }

    pub(super) fn json(&self) -> String {
        let load = self.load;
        let mut report = json!({
            "machine": { "cpus": cpus(), "kernel": kernel(), "backend": self.backend },
            "connections": load.connections,
            "depth": load.depth,
            "reconnect": load.reconnect,
            "rate_per_s": load.rate,
            "duration_s": load.duration().as_secs(),
            "warmup_s": load.warmup().as_secs(),
            "interrupted": self.is_interrupted,
            "ways": self.ways.iter().map(Way::json).collect::<Vec<_>>(),
        });
        if let Some(ratios) = self.ratios() {
            let names = PERCENTILES.iter().map(|(name, _)| (*name).to_owned());
            let ratios: Map<_, _> = names.zip(ratios.map(Value::from)).collect();
            report["ratio"] = ratios.into();
        }
        format!("{report:#}\n")
    }

    /// How many times longer the latency over TLS is, by percentile, where both ways were of use.
    fn ratios(&self) -> Option<[f64; PERCENTILES.len()]> {
        let [tls, plain] = &self.ways[..] else {
            return None;
        };
        let [tls, plain] = [&tls.figures.latency_ns, &plain.figures.latency_ns];
        let ratio = |percentile| {
            let of =
                |latency_ns: &Histogram<u64>| latency_ns.value_at_percentile(percentile) as f64;
            of(tls) / of(plain)
        };
        let is_measured = !tls.is_empty() && !plain.is_empty();
        is_measured.then(|| PERCENTILES.map(|(_, percentile)| ratio(percentile)))
    }

    fn load_line(&self) -> String {
        let load = self.load;
        let pace = match load.rate {
            Some(rate) => format!("{rate} requests/s at fixed times"),
            None => "closed loop".into(),
        };
        let each = match load.reconnect {
            true => "one request per connection".into(),
            false => format!("{} under way on each", load.depth),
        };
        let (connections, duration) = (load.connections, load.duration().as_secs());
        format!("{pace}, {connections} connections, {each}, {duration} s each way")
    }

    fn machine_line(&self) -> String {
        format!("{} CPUs, Linux {}, {}", cpus(), kernel(), self.backend)
    }
}

impl Way {
    fn row(&self) -> String {
        let figures = &self.figures;
        let percentiles: String = PERCENTILES
            .iter()
            .map(|(_, percentile)| us(figures.latency_ns.value_at_percentile(*percentile)))
            .map(|us| format!(" {us:>9.1}"))
            .collect();
        let (answered, per_s) = (figures.latency_ns.len(), figures.per_s());
        let errors = figures.errors_len();
        format!(
            "  {:<11}{percentiles}  {answered:>10} {per_s:>9.0} {errors:>8}",
            self.name
        )
    }

    fn errors(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, count) in &self.figures.errors {
            lines.push(format!("{}: {count} × {kind}", self.name));
        }
        if self.figures.missed > 0 {
            lines.push(format!(
                "{}: {} requests were due and not begun, since no connection was free; they are in \
                 no percentile",
                self.name, self.figures.missed
            ));
        }
        lines
    }

    fn json(&self) -> Value {
        let figures = &self.figures;
        let mut way = json!({
            "name": self.name,
            "address": self.address,
            "tls": self.tls,
            "requests": figures.latency_ns.len(),
            "requests_per_s": figures.per_s(),
            "elapsed_s": figures.elapsed.as_secs_f64(),
            "mean_us": figures.latency_ns.mean() / 1_000.0,
            "missed": figures.missed,
            "errors": figures.errors,
        });
        for (name, percentile) in PERCENTILES {
            let ns = figures.latency_ns.value_at_percentile(percentile);
            way[format!("{name}_us")] = us(ns).into();
        }
        way
    }
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(0, usize::from)
}

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// A rate counts as reached where no more than one request in so many was not begun.
const MISSED_SHARE: u64 = 100;
