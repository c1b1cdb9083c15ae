use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::cli::latency::us;

/// The percentile distribution in microseconds, as HdrHistogram's `outputPercentileDistribution`
/// writes it, which its plotters read.
pub(super) fn text(latency_ns: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for value in latency_ns.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += value.count_since_last_iteration();
        let (us, quantile) = (us(value.value_iterated_to()), value.quantile_iterated_to());
        let line = match quantile < 1.0 {
            true => format!(
                "{us:12.3} {quantile:2.12} {count:10} {:14.2}\n",
                1.0 / (1.0 - quantile)
            ),
            false => format!("{us:12.3} {quantile:2.12} {count:10}\n"),
        };
        text.push_str(&line);
    }
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        latency_ns.mean() / 1_000.0,
        latency_ns.stdev() / 1_000.0,
        us(latency_ns.max()),
        latency_ns.len(),
        latency_ns.buckets(),
        (2 * 10_u64.pow(latency_ns.sigfig().into())).next_power_of_two(),
    );
    text
}

/// The resolution that HdrHistogram's own tools have by default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::latency;

    #[test]
    fn values_rise_to_the_last_with_their_count() {
        let mut histogram = latency::histogram().unwrap();
        for n in 1..=10_000 {
            histogram.record(n * 1_000).unwrap();
        }
        let text = text(&histogram);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        let rows: Vec<Vec<f64>> = lines[2..]
            .iter()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|n| n.parse().unwrap())
                    .collect()
            })
            .collect();
        let median = rows.iter().find(|row| row[1] == 0.5).unwrap();
        assert!((4_995.0..=5_005.0).contains(&median[0]), "{median:?}");
        assert_eq!(median[3], 2.0);
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 10_000.0, 3));
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0]));
        assert!(lines[lines.len() - 2].contains("Total count    =        10000]"));
        assert!(lines[lines.len() - 1].contains("SubBuckets     =         2048]"));
    }
}
