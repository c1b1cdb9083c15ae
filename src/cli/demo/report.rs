use serde_json::{Map, Value, json};

use super::gateway::GatewayProcess;
use super::load::Figures;
use super::obrpc::{IN_FLIGHT, Way};
use super::table;
use super::wire::VALUE_LEN;
use super::{mysql, obrpc};
use crate::cli::latency::{PERCENTILES, us};
use crate::error::{Error, ErrorKind, Result};

/// What the demo found, for people and for programs.
pub(super) struct Report {
    backend: String,
    server: String,
    fallback: Option<String>,
    aes: String,
    /// In plaintext, and encrypted.
    mysql: [mysql::Leg; 2],
    obrpc: [obrpc::Leg; 3],
}

impl Report {
    /// `server` says where the legs of MySQL end.
    pub(super) fn new(
        gateway: &GatewayProcess,
        server: String,
        mysql: [mysql::Leg; 2],
        obrpc: [obrpc::Leg; 3],
    ) -> Self {
        Self {
            backend: gateway.backend().into(),
            server,
            fallback: gateway.fallback().map(str::to_owned),
            aes: gateway.aes().into(),
            mysql,
            obrpc,
        }
    }

    /// An error where what is shown as encrypted was not, or where the proof proves nothing.
    pub(super) fn verdict(&self) -> Result<()> {
        let [plain, tls] = &self.mysql;
        if tls.facts().is_none() || tls.figures.readable.messages > 0 {
            return Err(Error::new(
                ErrorKind::Internal,
                "the TLS leg could be read on the wire",
            ));
        }
        let readable = plain.figures.readable;
        if readable.messages != readable.of {
            let text = "the plaintext leg could not be read on the wire: the proof proves nothing";
            return Err(Error::new(ErrorKind::Internal, text));
        }
        self.obrpc.iter().try_for_each(obrpc::Leg::verdict)
    }

    pub(super) fn text(&self) -> String {
        let mut lines = self.mysql_lines();
        lines.push(String::new());
        lines.extend(self.obrpc_lines());
        lines.join("\n")
    }

    pub(super) fn json(&self) -> String {
        let [plain, tls] = &self.mysql;
        let ratio = |percentile| {
            table::ratio(
                &plain.figures.latency_ns,
                &tls.figures.latency_ns,
                percentile,
            )
        };
        let report = json!({
            "backend": self.backend,
            "server": self.server,
            "server_version": plain.server_version(),
            "fallback_reason": self.fallback,
            "aes": self.aes,
            "value_len": VALUE_LEN,
            "legs": self.mysql.each_ref().map(mysql_json),
            "ratio": {
                "p50": ratio(50.0),
                "p90": ratio(90.0),
                "p99": ratio(99.0),
                "p99.9": ratio(99.9),
            },
            "obrpc": {
                "in_flight": IN_FLIGHT,
                "legs": self.obrpc.each_ref().map(obrpc_json),
            },
        });
        format!("{report:#}")
    }

    fn mysql_lines(&self) -> Vec<String> {
        let backend = self.backend.split(':').next().unwrap_or_default();
        let mut lines = vec![
            format!(
                "client -> sealwire gateway -> {}, SELECT of {VALUE_LEN} bytes",
                self.server
            ),
            format!("  back end      {backend}, aes = {}", self.aes),
        ];
        if let Some(reason) = &self.fallback {
            lines.push(format!("                not io_uring: {reason}"));
        }
        let [_, tls] = &self.mysql;
        if let Some(facts) = tls.facts() {
            lines.push(format!(
                "  TLS leg       TLS {}, {}, {}; server certificate verified",
                facts.version.number(),
                facts.suite,
                facts.group
            ));
        }
        let figures = self.mysql.each_ref().map(|leg| &leg.figures);
        lines.extend(figures.map(on_the_wire));
        lines.push(String::new());
        lines.extend(table::lines(&figures));
        lines
    }

    fn obrpc_lines(&self) -> Vec<String> {
        let [plain, tls, sidecar] = &self.obrpc;
        let mut lines = vec![
            format!("client -> embedded OB-RPC server, echo of {VALUE_LEN} bytes"),
            format!(
                "  SSL_IO leg    {}; server certificate verified",
                tls.own.text
            ),
            "  sidecar leg   client -> sealwire gateway in plaintext, and on to the server by \
             SSL_IO"
                .into(),
            format!(
                "                as the server sees it: {}",
                sidecar.seen.text
            ),
            on_the_wire(&plain.figures),
            on_the_wire(&tls.figures),
        ];
        for leg in &self.obrpc {
            // What is answered does not depend on the way, and is said once then.
            if leg.way == Way::Plain {
                lines.push("  answered".into());
            } else if leg.answers == plain.answers {
                continue;
            } else {
                lines.push(format!("  answered to {}", leg.way.name()));
            }
            lines.extend(leg.answers.iter().map(|answer| format!("    {answer}")));
        }
        lines.push(String::new());
        let figures = self.obrpc.each_ref().map(|leg| &leg.figures);
        lines.extend(table::lines(&figures));
        lines.push(String::new());
        lines.push(self.in_flight_line());
        lines
    }

    fn in_flight_line(&self) -> String {
        let legs = self.obrpc.each_ref().map(|leg| {
            let (calls, sends) = (leg.in_flight.calls_per_s(), leg.in_flight.sends_per_call());
            (
                format!("{} {calls:.0}", leg.way.name()),
                format!("{sends:.3}"),
            )
        });
        let (calls, sends): (Vec<_>, Vec<_>) = legs.into_iter().unzip();
        format!(
            "{IN_FLIGHT} in flight, calls/s: {}; sends per call: {}",
            calls.join(", "),
            sends.join(", ")
        )
    }
}

fn on_the_wire(figures: &Figures) -> String {
    let (name, readable) = (figures.name, figures.readable);
    format!(
        "  on the wire   {name}: {} of {} messages readable",
        readable.messages, readable.of
    )
}

fn mysql_json(leg: &mysql::Leg) -> Value {
    let facts = leg.facts();
    let object = json!({
        "encrypted": facts.is_some(),
        "version": facts.map(|facts| facts.version.number()),
        "suite": facts.map(|facts| facts.suite),
        "group": facts.map(|facts| facts.group),
    });
    with_figures(object, &leg.figures)
}

fn obrpc_json(leg: &obrpc::Leg) -> Value {
    let object = json!({
        "encrypted": leg.seen.is_encrypted,
        "client_sees": leg.own.text,
        "server_sees": leg.seen.text,
        "answers": leg.answers,
        "in_flight_calls_per_s": leg.in_flight.calls_per_s(),
        "in_flight_sends_per_call": leg.in_flight.sends_per_call(),
    });
    with_figures(object, &leg.figures)
}

fn with_figures(object: Value, figures: &Figures) -> Value {
    let percentiles = PERCENTILES.map(|(name, percentile)| {
        let ns = figures.latency_ns.value_at_percentile(percentile);
        (format!("{name}_us"), json!(us(ns)))
    });
    let Value::Object(object) = object else {
        return object;
    };
    let common = [
        ("name".into(), json!(figures.name)),
        ("readable_messages".into(), json!(figures.readable.messages)),
        ("looked_at_messages".into(), json!(figures.readable.of)),
        ("requests".into(), json!(figures.latency_ns.len())),
    ];
    let all: Map<String, Value> = object
        .into_iter()
        .chain(common)
        .chain(percentiles)
        .collect();
    all.into()
}
