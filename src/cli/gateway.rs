use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::PossibleValuesParser;
use tracing::level_filters::LevelFilter;

use crate::error::Result;
use crate::gateway;
use crate::gateway::config::{
    self, GatewaySource, Given, LegSource, Place, Plan, RouteSource, Source,
};
use crate::gateway::log::{Log, LogFormat};

/// Run the gateway: TLS for clients and servers that cannot change
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Gateway {
    /// Routes and settings (TOML, docs/gateway.md)
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "RouteFlags",
        required_unless_present = "listen"
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    route: RouteFlags,
    /// Form of the log lines on stderr
    #[arg(long, value_name = "FORM", default_value = "text",
        value_parser = words(&["text", "json"]))]
    log: String,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

/// One route without a file.
#[derive(Debug, Args)]
struct RouteFlags {
    /// Serve one route at ip:port or unix:/path, without a file
    #[arg(long, value_name = "ADDR", requires = "upstream")]
    listen: Option<String>,
    /// Its server: host:port or unix:/path
    #[arg(long, value_name = "ADDR", requires = "listen")]
    upstream: Option<String>,
    /// What is spoken: tcp or mysql [default: tcp]
    #[arg(long, value_name = "NAME", value_parser = words(&["tcp", "mysql"]))]
    protocol: Option<String>,
    /// TLS of clients [default: required]
    #[arg(long, value_name = "MODE",
        value_parser = words(&["off", "preferred", "required", "passthrough"]))]
    client_tls: Option<String>,
    /// Certificate chain shown to clients (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// Authorities of client certificates
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Client certificates [default: required with --ca]
    #[arg(long, value_name = "MODE",
        value_parser = words(&["none", "optional", "required"]))]
    client_cert: Option<String>,
    /// TLS towards the server [default: verify-full]
    #[arg(long, value_name = "MODE",
        value_parser = words(&["off", "danger-none", "danger-preferred", "fingerprint", "verify-ca",
            "verify-full"]))]
    server_tls: Option<String>,
    /// SHA-256 of the server's certificate, for fingerprint; may be repeated
    #[arg(long, value_name = "HEX")]
    server_fingerprint: Vec<String>,
    /// Authorities of the server's certificate, or "system"
    #[arg(long, value_name = "FILE")]
    server_ca: Option<String>,
    /// Name in the server's certificate [default: the host of --upstream]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// What moves the bytes
    #[arg(long, value_name = "NAME",
        value_parser = words(&["auto", "uring", "epoll"]))]
    backend: Option<String>,
    /// Who seals and opens records
    #[arg(long, value_name = "PATH",
        value_parser = words(&["rustls", "in-place"]))]
    records: Option<String>,
    /// Threads; 0: one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1024))]
    workers: Option<u64>,
}

impl Gateway {
    pub(super) fn run(self) -> Result<()> {
        let format = match self.log.as_str() {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        };
        let load = || self.load();
        // Read once before anything starts, so that mistakes in it are a message rather than a log
        // line.
        let plan = load()?;
        gateway::run(plan, &load, Log::start(format, self.log_level))
    }

    fn load(&self) -> Result<Arc<Plan>> {
        match &self.config {
            Some(path) => config::load(path),
            None => config::assemble(self.route.source()),
        }
    }
}

impl RouteFlags {
    fn source(&self) -> Source {
        let given = |flag, value: &Option<String>| value.clone().map(|v| Given::flag(flag, v));
        let listen = Place::Flag("--listen");
        let tcp = Given::flag("--listen", "tcp".into());
        Source {
            gateway: GatewaySource {
                workers: self.workers.map(|n| Given::flag("--workers", n)),
                backend: given("--backend", &self.backend),
                records: given("--records", &self.records),
                ..GatewaySource::default()
            },
            routes: vec![RouteSource {
                name: Some(Given::flag("--listen", "default".into())),
                protocol: Some(given("--protocol", &self.protocol).unwrap_or(tcp)),
                listen: given("--listen", &self.listen).into_iter().collect(),
                client: LegSource {
                    tls: given("--client-tls", &self.client_tls),
                    cert: given("--cert", &self.cert),
                    key: given("--key", &self.key),
                    ca: given("--ca", &self.ca),
                    client_cert: given("--client-cert", &self.client_cert),
                    ..LegSource::empty(Place::Flag("--client-tls"))
                },
                server: LegSource {
                    address: given("--upstream", &self.upstream),
                    tls: given("--server-tls", &self.server_tls),
                    ca: given("--server-ca", &self.server_ca),
                    fingerprints: self
                        .server_fingerprint
                        .iter()
                        .map(|hex| Given::flag("--server-fingerprint", hex.clone()))
                        .collect(),
                    server_name: given("--server-name", &self.server_name),
                    ..LegSource::empty(Place::Flag("--server-tls"))
                },
                ..RouteSource::empty(listen.clone())
            }],
            place: listen,
        }
    }
}

fn words(words: &'static [&'static str]) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

const EXAMPLE: &str = "\
SIGHUP reads the configuration and its certificates again; certificates that were replaced are read
by themselves. SIGTERM drains, a second one ends.

Example: TLS in front of a plain server
  sealwire cert init certs
  sealwire gateway --listen 0.0.0.0:8443 --upstream 127.0.0.1:8080 --server-tls off \\
    --cert certs/server-cert.pem --key certs/server-key.pem";
