use hdrhistogram::Histogram;

use super::load::Figures;
use crate::cli::latency::{PERCENTILES, us};

/// The latencies of some legs: a line of percentiles for each, with the ratio of the second one to
/// the first, then how they are distributed.
pub(super) fn lines(legs: &[&Figures]) -> Vec<String> {
    let mut lines = vec![format!(
        "latency in µs {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>7}",
        "p50", "p90", "p99", "p99.9", "max", "requests", "/s"
    )];
    for (index, leg) in legs.iter().enumerate() {
        lines.push(format!("  {:<11} {}", leg.name, row(&leg.latency_ns)));
        if index == 1 {
            let ratios = ratios(&legs[0].latency_ns, &leg.latency_ns);
            lines.push(format!("  {:<11} {ratios}", "ratio"));
        }
    }
    lines.push(String::new());
    let names: String = legs.iter().map(|leg| format!("{:<26}", leg.name)).collect();
    lines.push(format!("     latency   {}", names.trim_end()));
    lines.extend(buckets(legs));
    lines
}

/// How many times longer the second one's latency is.
pub(super) fn ratio(plain: &Histogram<u64>, tls: &Histogram<u64>, percentile: f64) -> f64 {
    tls.value_at_percentile(percentile) as f64 / plain.value_at_percentile(percentile) as f64
}

fn row(latency_ns: &Histogram<u64>) -> String {
    let [p50, p90, p99, p999, max] =
        PERCENTILES.map(|(_, percentile)| us(latency_ns.value_at_percentile(percentile)));
    let (requests, per_s) = (latency_ns.len(), requests_per_s(latency_ns));
    format!("{p50:>8.1} {p90:>8.1} {p99:>8.1} {p999:>8.1} {max:>9.1} {requests:>9} {per_s:>7.0}")
}

/// Each request begins when the one before is answered.
fn requests_per_s(latency_ns: &Histogram<u64>) -> f64 {
    1e9 / latency_ns.mean()
}

fn ratios(plain: &Histogram<u64>, tls: &Histogram<u64>) -> String {
    let [p50, p90, p99, p999, _] = PERCENTILES.map(|(_, percentile)| ratio(plain, tls, percentile));
    format!("{p50:>8.2} {p90:>8.2} {p99:>8.2} {p999:>8.2}")
}

/// One line for each range of latencies that any leg has, a quarter wider than the one before.
fn buckets(legs: &[&Figures]) -> Vec<String> {
    let bounds = |percentile| {
        let of = move |leg: &&Figures| leg.latency_ns.value_at_percentile(percentile);
        legs.iter().map(of)
    };
    let low = bounds(0.1).min().unwrap_or(1);
    let high = bounds(99.5).max().unwrap_or(1);
    let mut lines = Vec::new();
    let mut from = low.max(1);
    while from <= high && lines.len() < BUCKETS_MAX {
        let to = from + from / 4 + 1;
        let bars: Vec<_> = legs
            .iter()
            .map(|leg| {
                let count = leg.latency_ns.count_between(from, to - 1);
                bar(count as f64 / leg.latency_ns.len().max(1) as f64)
            })
            .collect();
        let line = format!("{:>9.1} µs   {}", us(from), bars.join(" "));
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

/// Width of a bar that stands for all requests, in characters.
const BAR_LEN: usize = 18;

/// Lines of the histogram at most.
const BUCKETS_MAX: usize = 16;
