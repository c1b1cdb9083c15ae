use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::cli::latency::us;

/// A curve of latency by percentile for each of these, in a picture that needs nothing beside it.
/// Both axes are logarithmic: to the right by the share that is slower, so that the tail has as
/// much room as the rest.
pub(super) fn svg(curves: &[(String, &Histogram<u64>)]) -> String {
    let axes = Axes::of(curves);
    let (width, height) = (WIDTH, HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Latency by percentile</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    axes.draw(&mut svg);
    for ((name, latency_ns), (n, color)) in curves.iter().zip(COLORS.iter().enumerate()) {
        let points: Vec<_> = points(latency_ns)
            .map(|(slower, us)| format!("{:.1},{:.1}", axes.x(slower), axes.y(us)))
            .collect();
        let (points, y, x) = (points.join(" "), TOP + 16.0 + 18.0 * n as f64, LEFT + 12.0);
        let name = escaped(name);
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{points}\"/>\n\
             <text x=\"{x}\" y=\"{y}\" fill=\"{color}\">{name}</text>\n"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// What the picture's edges stand for.
struct Axes {
    /// Powers of ten: the share that is slower is no less than ten to the minus this.
    nines: f64,
    /// Powers of ten of microseconds.
    low: f64,
    high: f64,
}

impl Axes {
    fn of(curves: &[(String, &Histogram<u64>)]) -> Self {
        let measured = || curves.iter().filter(|(_, latency)| !latency.is_empty());
        let count = measured().map(|(_, latency)| latency.len()).max();
        let low = measured()
            .map(|(_, latency)| us(latency.min().max(1)))
            .fold(f64::MAX, f64::min);
        let high = measured()
            .map(|(_, latency)| us(latency.max().max(1)))
            .fold(0.0, f64::max);
        let (low, high) = if count.is_some() {
            (low, high)
        } else {
            (1.0, 10.0)
        };
        let low = low.log10().floor();
        Self {
            nines: (count.unwrap_or(10) as f64).log10().ceil().max(1.0),
            low,
            high: high.log10().ceil().max(low + 1.0),
        }
    }

    fn x(&self, slower: f64) -> f64 {
        let share = (-slower.log10() / self.nines).clamp(0.0, 1.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, us: f64) -> f64 {
        let share = ((us.log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut line = |x1: f64, y1: f64, x2: f64, y2: f64, anchor: &str, label: &str| {
            let (x, y) = match anchor {
                "end" => (x1 - 6.0, y1 + 4.0),
                _ => (x1, y1 + 18.0),
            };
            // Writing to a string cannot fail.
            let _ = write!(
                svg,
                "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
                 stroke=\"#ddd\"/>\n\
                 <text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>\n"
            );
        };
        for nines in 0..=self.nines as i32 {
            let x = self.x(10_f64.powi(-nines));
            let decimals = (nines - 2).max(0) as usize;
            let percent = 100.0 - 10_f64.powi(2 - nines);
            let label = format!("{percent:.decimals$}%");
            line(x, bottom, x, TOP, "middle", &label);
        }
        for power in self.low as i32..=self.high as i32 {
            let us = 10_f64.powi(power);
            let y = self.y(us);
            line(LEFT, y, right, y, "end", &format!("{us} µs"));
        }
    }
}

/// The share that is slower than a latency in µs. The slowest of all has none behind it and stands
/// where the next one would be.
fn points(latency_ns: &Histogram<u64>) -> impl Iterator<Item = (f64, f64)> {
    let least = 1.0 / latency_ns.len().max(1) as f64;
    latency_ns.iter_quantiles(5).map(move |value| {
        let slower = (1.0 - value.quantile_iterated_to()).max(least);
        (slower, us(value.value_iterated_to().max(1)))
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 40.0;

/// One for each side; told apart by those who see few colours, and in print.
const COLORS: [&str; 2] = ["#0072b2", "#d55e00"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::latency;

    fn ys(line: &str) -> Vec<f64> {
        let points = line
            .split("points=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let y = |point: &str| point.split(',').nth(1).unwrap().parse().unwrap();
        points.split(' ').map(y).collect()
    }

    #[test]
    fn both_curves_are_drawn_within_the_axes_and_the_slower_one_above() {
        let (mut fast, mut slow) = (latency::histogram().unwrap(), latency::histogram().unwrap());
        for n in 1..=1_000 {
            fast.record(n * 100).unwrap();
            slow.record(n * 1_000).unwrap();
        }
        let svg = svg(&[("a < b".into(), &slow), ("plaintext".into(), &fast)]);
        let curves: Vec<_> = svg
            .lines()
            .filter(|line| line.starts_with("<polyline"))
            .collect();
        assert_eq!(curves.len(), 2);
        let (slow, fast) = (ys(curves[0]), ys(curves[1]));
        assert!(
            slow.iter()
                .chain(&fast)
                .all(|y| (TOP..=HEIGHT - BOTTOM).contains(y))
        );
        assert!(slow.iter().zip(&fast).all(|(slow, fast)| slow < fast));
        assert!(slow.windows(2).all(|pair| pair[0] >= pair[1]));
        for words in ["a &lt; b", ">99.9%<", ">0%<", ">100 µs<"] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
    }

    #[test]
    fn a_run_without_an_answer_has_its_axes() {
        let none = latency::histogram().unwrap();
        assert!(svg(&[("TLS".into(), &none)]).contains(">90%<"));
    }
}
