//! Metrics in Prometheus' text format 0.0.4, which every scraper reads. OpenMetrics is not spoken:
//! in it `sealwire_connections` and `sealwire_connections_total` would be the same metric.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use super::status::{Info, Shown};
use crate::gateway::counters::{BOUNDS_US, HistogramTotals, RouteTotals};
use crate::gateway::machine;
use crate::gateway::service::RouteState;
use crate::tls::{Validity, Version, spoken_suites};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole exposition. `busy` has the time that each worker was busy.
///
/// No label has a value that a peer has chosen: they are words of this program and of its
/// configuration.
pub(super) fn write(info: &Info, shown: &Shown, busy: &[Option<Duration>]) -> String {
    let mut out = Exposition::default();
    let routes: Vec<_> = (shown.service.routes.iter())
        .map(|state| (&**state, state.counters.totals()))
        .collect();
    write_gateway(&mut out, info, shown, busy);
    write_connections(&mut out, &routes);
    write_handshakes(&mut out, &routes);
    write_certificates(&mut out, shown);
    out.text
}

type Routes<'r> = [(&'r RouteState, RouteTotals)];

fn write_gateway(out: &mut Exposition, info: &Info, shown: &Shown, busy: &[Option<Duration>]) {
    let version = env!("CARGO_PKG_VERSION");
    let backend = info.backend.split(':').next().unwrap_or_default();
    let aes = machine::aes_kind();
    out.family(
        "sealwire_build_info",
        GAUGE,
        "What runs, and on what; always 1.",
    );
    let labels = [("version", version), ("backend", backend), ("aes", aes)];
    out.sample("", &labels, 1);

    let help = "When the process started, in seconds since 1970-01-01 UTC.";
    out.family("process_start_time_seconds", GAUGE, help);
    out.sample("", &[], info.started_s);

    let help = "Whether new connections are no longer accepted (0 or 1).";
    out.family("sealwire_draining", GAUGE, help);
    out.sample("", &[], u8::from(shown.is_draining));

    let help = "Time that a worker's loop was on a processor; its rate is the loop's utilisation.";
    out.family("sealwire_loop_busy_seconds_total", COUNTER, help);
    for (worker, busy) in busy.iter().enumerate() {
        if let Some(busy) = busy {
            out.sample("", &[("worker", &worker.to_string())], busy.as_secs_f64());
        }
    }

    let reloads = &shown.reloads;
    out.family(
        "sealwire_reloads_total",
        COUNTER,
        "Reloads by how they ended.",
    );
    out.sample("", &[("result", "ok")], reloads.good);
    out.sample("", &[("result", "failed")], reloads.failed);

    let help = "Whether the last reload succeeded (0 or 1); 1 where there was none.";
    out.family("sealwire_config_last_reload_successful", GAUGE, help);
    out.sample("", &[], u8::from(reloads.is_last_good()));

    let help = "When what is in service was loaded, in seconds since 1970-01-01 UTC.";
    out.family(
        "sealwire_config_last_reload_success_timestamp_seconds",
        GAUGE,
        help,
    );
    out.sample("", &[], reloads.last_good_s);
}

fn write_connections(out: &mut Exposition, routes: &Routes<'_>) {
    out.family(
        "sealwire_connections",
        GAUGE,
        "Connections of clients that are open.",
    );
    for (state, _) in routes {
        out.sample("", &[("route", name(state))], state.counters.open.taken());
    }
    let help = "Connections of clients that were let in.";
    out.family("sealwire_connections_total", COUNTER, help);
    for (state, totals) in routes {
        out.sample("", &[("route", name(state))], totals.connections);
    }
    let help = "Connections that failed or were refused, by the class that the log has.";
    out.family("sealwire_failures_total", COUNTER, help);
    for (state, totals) in routes {
        for (reason, count) in &totals.failures.0 {
            out.sample("", &[("route", name(state)), ("reason", reason)], count);
        }
    }
    let help = "Plaintext bytes that were passed on.";
    out.family("sealwire_bytes_total", COUNTER, help);
    for (state, totals) in routes {
        for (direction, bytes) in [
            ("to_server", totals.to_server_bytes),
            ("to_client", totals.to_client_bytes),
        ] {
            out.sample(
                "",
                &[("route", name(state)), ("direction", direction)],
                bytes,
            );
        }
    }
    let help = "Time until a connection to the server was made.";
    out.family("sealwire_connect_duration_seconds", HISTOGRAM, help);
    for (state, totals) in routes {
        out.histogram(&[("route", name(state))], &totals.connects);
    }
}

fn write_handshakes(out: &mut Exposition, routes: &Routes<'_>) {
    let help = "TLS handshakes, with clients and with servers.";
    out.family("sealwire_handshakes_total", COUNTER, help);
    for (state, totals) in routes {
        for (side, totals) in SIDES.iter().zip(&totals.handshakes) {
            for ((suite, version), counts) in spoken_suites().zip(&totals.done) {
                for (resumed, count) in ["false", "true"].iter().zip(counts) {
                    // What was never negotiated is left out: a good part of the table never is.
                    if *count > 0 {
                        let what = [version_name(version), suite, resumed];
                        out.handshake(name(state), side, "ok", what, *count);
                    }
                }
            }
            out.handshake(name(state), side, "failed", [""; 3], totals.failed);
        }
    }
    let help = "Time that complete TLS handshakes took.";
    out.family("sealwire_handshake_duration_seconds", HISTOGRAM, help);
    for (state, totals) in routes {
        for (side, totals) in SIDES.iter().zip(&totals.handshakes) {
            out.histogram(&[("route", name(state)), ("side", side)], &totals.took);
        }
    }
}

fn write_certificates(out: &mut Exposition, shown: &Shown) {
    let help = "The last second at which a certificate, an authority or a revocation list is \
                valid, in seconds since 1970-01-01 UTC.";
    out.family("sealwire_certificate_expiry_timestamp_seconds", GAUGE, help);
    for state in &shown.service.routes {
        // An authority that is being replaced has two certificates of one name.
        let mut firsts = BTreeMap::new();
        for it in state.route.expiring() {
            let Validity { name, until_s, .. } = it.validity;
            let first = firsts
                .entry((it.side, it.kind.word(), name))
                .or_insert(*until_s);
            *first = (*first).min(*until_s);
        }
        for ((side, kind, subject), until_s) in firsts {
            let labels = [
                ("route", name(state)),
                ("side", side),
                ("kind", kind),
                ("subject", subject),
            ];
            out.sample("", &labels, until_s);
        }
    }
}

/// As configurations call a version of TLS.
pub(super) fn version_name(version: Version) -> &'static str {
    match version {
        Version::Tls12 => "1.2",
        Version::Tls13 => "1.3",
    }
}

fn name(state: &RouteState) -> &str {
    &state.route.name
}

/// The text, family by family.
#[derive(Default)]
struct Exposition {
    text: String,
    /// The one that was begun last.
    family: &'static str,
}

/// Names of a label, with values.
type Labels<'l> = [(&'l str, &'l str)];

impl Exposition {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.family = name;
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample of the family that was begun last.
    fn sample(&mut self, suffix: &str, labels: &Labels<'_>, value: impl fmt::Display) {
        let family = self.family;
        self.push(format_args!("{family}{suffix}"));
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.push(format_args!("{before}{label}=\"{}\"", Escaped(value)));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{end} {value}\n"));
    }

    fn handshake(&mut self, route: &str, side: &str, result: &str, what: [&str; 3], count: u64) {
        let [version, suite, resumed] = what;
        let labels = [
            ("route", route),
            ("side", side),
            ("result", result),
            ("version", version),
            ("suite", suite),
            ("resumed", resumed),
        ];
        self.sample("", &labels, count);
    }

    fn histogram(&mut self, labels: &Labels<'_>, totals: &HistogramTotals) {
        let bounds = BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
        let bounds = bounds.chain(["+Inf".to_owned()]);
        let mut sum = 0;
        for (bound, count) in bounds.zip(totals.counts) {
            sum += count;
            let labels = [labels, &[("le", &bound)]].concat();
            self.sample("_bucket", &labels, sum);
        }
        let took = Duration::from_nanos(totals.sum_ns).as_secs_f64();
        self.sample("_sum", labels, took);
        self.sample("_count", labels, sum);
    }

    fn push(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

/// A label's value as the format has it.
struct Escaped<'v>(&'v str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const HISTOGRAM: &str = "histogram";

/// In the order of the counters.
const SIDES: [&str; 2] = ["client", "server"];
