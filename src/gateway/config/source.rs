use std::ops::RangeInclusive;
use std::path::Path;

use super::document::{Document, Given, Place, Section};
use super::obrpc::RpcSource;
use super::require::RequireSource;
use crate::error::Result;

/// A configuration as written: every value with its place, nothing judged yet.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) gateway: GatewaySource,
    pub(crate) routes: Vec<RouteSource>,
    /// Where a route would have to be written.
    pub(crate) place: Place,
}

/// The `[gateway]` table.
#[derive(Debug, Default)]
pub(crate) struct GatewaySource {
    pub(crate) workers: Option<Given<u64>>,
    pub(crate) backend: Option<Given<String>>,
    pub(crate) records: Option<Given<String>>,
    pub(crate) max_connections: Option<Given<u64>>,
    pub(crate) half_open_max_per_address: Option<Given<u64>>,
    pub(crate) drain_timeout_s: Option<Given<u64>>,
    pub(crate) metrics: Option<Given<String>>,
    pub(crate) metrics_names: Vec<Given<String>>,
    pub(crate) danger_expose_metrics: Option<Given<bool>>,
    pub(crate) reload_drain_s: Option<Given<u64>>,
}

/// One `[[route]]`.
#[derive(Debug, Hash)]
pub(crate) struct RouteSource {
    pub(crate) place: Place,
    pub(crate) name: Option<Given<String>>,
    pub(crate) protocol: Option<Given<String>>,
    pub(crate) listen: Vec<Given<String>>,
    pub(crate) connect_timeout_ms: Option<Given<u64>>,
    pub(crate) handshake_timeout_s: Option<Given<u64>>,
    pub(crate) idle_timeout_s: Option<Given<u64>>,
    pub(crate) max_connections: Option<Given<u64>>,
    pub(crate) client: LegSource,
    pub(crate) server: LegSource,
}

/// `[route.client]` or `[route.server]`. A key that one of the two lacks is never set there.
#[derive(Debug, Hash)]
pub(crate) struct LegSource {
    pub(crate) place: Place,
    pub(crate) address: Option<Given<String>>,
    pub(crate) tls: Option<Given<String>>,
    pub(crate) cert: Option<Given<String>>,
    pub(crate) key: Option<Given<String>>,
    pub(crate) key_passphrase_file: Option<Given<String>>,
    /// A program and its arguments.
    pub(crate) key_passphrase_command: Vec<Given<String>>,
    pub(crate) ca: Option<Given<String>>,
    pub(crate) crl: Vec<Given<String>>,
    pub(crate) crl_required: Option<Given<bool>>,
    pub(crate) fingerprints: Vec<Given<String>>,
    pub(crate) fingerprints_file: Option<Given<String>>,
    pub(crate) allowed_clients: Vec<Given<String>>,
    pub(crate) allow_cn_name: Option<Given<bool>>,
    pub(crate) tickets: Option<Given<String>>,
    pub(crate) client_cert: Option<Given<String>>,
    pub(crate) server_name: Option<Given<String>>,
    pub(crate) server_public_key: Option<Given<String>>,
    pub(crate) danger_fetch_server_public_key: Option<Given<bool>>,
    pub(crate) trusted_proxies: Vec<Given<String>>,
    pub(crate) proxy_protocol_from: Vec<Given<String>>,
    pub(crate) proxy_protocol: Option<Given<String>>,
    pub(crate) proxy_protocol_subject: Option<Given<bool>>,
    pub(crate) require: RequireSource,
    pub(crate) suites: Vec<Given<String>>,
    pub(crate) min_version: Option<Given<String>>,
    pub(crate) keepalive_s: Option<Given<u64>>,
    pub(crate) user_timeout_s: Option<Given<u64>>,
    pub(crate) rpc: RpcSource,
}

impl Source {
    /// Reads the text of the file `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        let document = Document::parse(path, text)?;
        let root = document.root(&["gateway", "route"])?;
        let gateway = match root.table("gateway", "[gateway]", GATEWAY_KEYS)? {
            Some(section) => GatewaySource::read(&section)?,
            None => GatewaySource::default(),
        };
        let routes = root.tables("route", "[[route]]", ROUTE_KEYS)?;
        Ok(Self {
            gateway,
            routes: routes
                .iter()
                .map(RouteSource::read)
                .collect::<Result<_>>()?,
            place: root.place.clone(),
        })
    }
}

impl GatewaySource {
    fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            workers: section.number("workers", WORKERS)?,
            backend: section.text("backend")?,
            records: section.text("records")?,
            max_connections: section.number("max_connections", CONNECTIONS)?,
            half_open_max_per_address: section.number("half_open_max_per_address", CONNECTIONS)?,
            drain_timeout_s: section.number("drain_timeout_s", DAY_S)?,
            metrics: section.text("metrics")?,
            metrics_names: section.texts("metrics_names")?,
            danger_expose_metrics: section.boolean("danger_expose_metrics")?,
            reload_drain_s: section.number("reload_drain_s", DAY_S)?,
        })
    }
}

impl RouteSource {
    /// A route that says nothing.
    pub(crate) fn empty(place: Place) -> Self {
        Self {
            name: None,
            protocol: None,
            listen: Vec::new(),
            connect_timeout_ms: None,
            handshake_timeout_s: None,
            idle_timeout_s: None,
            max_connections: None,
            client: LegSource::empty(place.clone()),
            server: LegSource::empty(place.clone()),
            place,
        }
    }

    fn read(section: &Section<'_>) -> Result<Self> {
        let client = section.table("client", "[route.client]", CLIENT_KEYS)?;
        let server = section.table("server", "[route.server]", SERVER_KEYS)?;
        Ok(Self {
            name: section.text("name")?,
            protocol: section.text("protocol")?,
            listen: section.texts("listen")?,
            connect_timeout_ms: section.number("connect_timeout_ms", CONNECT_MS)?,
            handshake_timeout_s: section.number("handshake_timeout_s", HANDSHAKE_S)?,
            idle_timeout_s: section.number("idle_timeout_s", IDLE_S)?,
            max_connections: section.number("max_connections", CONNECTIONS)?,
            client: LegSource::read(client.as_ref(), &section.place)?,
            server: LegSource::read(server.as_ref(), &section.place)?,
            place: section.place.clone(),
        })
    }
}

impl LegSource {
    /// A leg that says nothing.
    pub(crate) fn empty(place: Place) -> Self {
        Self {
            place,
            address: None,
            tls: None,
            cert: None,
            key: None,
            key_passphrase_file: None,
            key_passphrase_command: Vec::new(),
            ca: None,
            crl: Vec::new(),
            crl_required: None,
            fingerprints: Vec::new(),
            fingerprints_file: None,
            allowed_clients: Vec::new(),
            allow_cn_name: None,
            tickets: None,
            client_cert: None,
            server_name: None,
            server_public_key: None,
            danger_fetch_server_public_key: None,
            trusted_proxies: Vec::new(),
            proxy_protocol_from: Vec::new(),
            proxy_protocol: None,
            proxy_protocol_subject: None,
            require: RequireSource::default(),
            suites: Vec::new(),
            min_version: None,
            keepalive_s: None,
            user_timeout_s: None,
            rpc: RpcSource::default(),
        }
    }

    fn read(section: Option<&Section<'_>>, route: &Place) -> Result<Self> {
        let Some(section) = section else {
            return Ok(Self::empty(route.clone()));
        };
        Ok(Self {
            place: section.place.clone(),
            address: section.text("address")?,
            tls: section.text("tls")?,
            cert: section.text("cert")?,
            key: section.text("key")?,
            key_passphrase_file: section.text("key_passphrase_file")?,
            key_passphrase_command: section.texts("key_passphrase_command")?,
            ca: section.text("ca")?,
            crl: section.one_or_more("crl")?,
            crl_required: section.boolean("crl_required")?,
            fingerprints: section.texts("fingerprints")?,
            fingerprints_file: section.text("fingerprints_file")?,
            allowed_clients: section.texts("allowed_clients")?,
            allow_cn_name: section.boolean("allow_cn_name")?,
            tickets: section.text("tickets")?,
            client_cert: section.text("client_cert")?,
            server_name: section.text("server_name")?,
            server_public_key: section.text("server_public_key")?,
            danger_fetch_server_public_key: section.boolean("danger_fetch_server_public_key")?,
            trusted_proxies: section.texts("trusted_proxies")?,
            proxy_protocol_from: section.texts("proxy_protocol_from")?,
            proxy_protocol: section.text("proxy_protocol")?,
            proxy_protocol_subject: section.boolean("proxy_protocol_subject")?,
            require: RequireSource::read(section)?,
            suites: section.texts("suites")?,
            min_version: section.text("min_version")?,
            keepalive_s: section.number("keepalive_s", KEEPALIVE_S)?,
            user_timeout_s: section.number("user_timeout_s", DAY_S)?,
            rpc: RpcSource::read(section)?,
        })
    }
}

impl LegSource {
    /// Refuses the first of these keys that was given, since it has no effect with `what`.
    pub(super) fn reject_given(&self, keys: &[&str], what: &str) -> Result<()> {
        self.reject(|key| keys.contains(&key), what)
    }

    /// Refuses every key that has an effect with TLS alone.
    pub(super) fn reject_tls_keys(&self, what: &str) -> Result<()> {
        self.reject(|_| true, what)
    }

    fn reject(&self, is_refused: impl Fn(&str) -> bool, what: &str) -> Result<()> {
        let given = self.tls_keys().into_iter();
        let mut refused = given.filter_map(|(key, place)| Some((key, place?)));
        match refused.find(|(key, _)| is_refused(key)) {
            Some((key, place)) => Err(place.error(format!("{key} has no effect with {what}"))),
            None => Ok(()),
        }
    }

    /// The keys that have an effect with TLS alone, and where they were given.
    fn tls_keys(&self) -> [(&'static str, Option<&Place>); 16] {
        [
            ("cert", place(&self.cert)),
            ("key", place(&self.key)),
            ("key_passphrase_file", place(&self.key_passphrase_file)),
            (
                "key_passphrase_command",
                first_place(&self.key_passphrase_command),
            ),
            ("ca", place(&self.ca)),
            ("crl", first_place(&self.crl)),
            ("crl_required", place(&self.crl_required)),
            ("fingerprints", first_place(&self.fingerprints)),
            ("fingerprints_file", place(&self.fingerprints_file)),
            ("allowed_clients", first_place(&self.allowed_clients)),
            ("allow_cn_name", place(&self.allow_cn_name)),
            ("tickets", place(&self.tickets)),
            ("client_cert", place(&self.client_cert)),
            ("server_name", place(&self.server_name)),
            ("min_version", place(&self.min_version)),
            ("suites", first_place(&self.suites)),
        ]
    }
}

fn place<T>(given: &Option<Given<T>>) -> Option<&Place> {
    given.as_ref().map(|given| &given.place)
}

fn first_place(given: &[Given<String>]) -> Option<&Place> {
    given.first().map(|given| &given.place)
}

const GATEWAY_KEYS: &[&str] = &[
    "workers",
    "backend",
    "records",
    "max_connections",
    "half_open_max_per_address",
    "drain_timeout_s",
    "metrics",
    "metrics_names",
    "danger_expose_metrics",
    "reload_drain_s",
];

const ROUTE_KEYS: &[&str] = &[
    "name",
    "protocol",
    "listen",
    "connect_timeout_ms",
    "handshake_timeout_s",
    "idle_timeout_s",
    "max_connections",
    "client",
    "server",
];

const CLIENT_KEYS: &[&str] = &[
    "tls",
    "cert",
    "key",
    "key_passphrase_file",
    "key_passphrase_command",
    "ca",
    "crl",
    "crl_required",
    "fingerprints",
    "fingerprints_file",
    "allowed_clients",
    "client_cert",
    "tickets",
    "trusted_proxies",
    "proxy_protocol_from",
    "require",
    "require_default",
    "require_dialect",
    "require_oneline",
    "suites",
    "min_version",
    "keepalive_s",
    "user_timeout_s",
    "method",
    "require_binding",
    "compat_loopback",
    "net_keepalive",
    "direct_tls",
    "danger_bypass",
];

const SERVER_KEYS: &[&str] = &[
    "address",
    "tls",
    "ca",
    "crl",
    "crl_required",
    "fingerprints",
    "fingerprints_file",
    "allow_cn_name",
    "cert",
    "key",
    "key_passphrase_file",
    "key_passphrase_command",
    "server_name",
    "server_public_key",
    "danger_fetch_server_public_key",
    "proxy_protocol",
    "proxy_protocol_subject",
    "suites",
    "min_version",
    "keepalive_s",
    "user_timeout_s",
    "method",
    "require_binding",
    "compat_loopback",
];

/// Threads; more than any machine has cores is a slip of the pen.
const WORKERS: RangeInclusive<u64> = 0..=1_024;

/// The kernel's own bound of descriptors (fs.nr_open may be raised to this).
const CONNECTIONS: RangeInclusive<u64> = 0..=(1 << 30);

/// Without a bound a dead address would hold its client for as long as the kernel likes.
const CONNECT_MS: RangeInclusive<u64> = 1..=600_000;

/// Without a bound half-open handshakes would pile up.
const HANDSHAKE_S: RangeInclusive<u64> = 1..=3_600;

/// Up to a year.
const IDLE_S: RangeInclusive<u64> = 0..=31_536_000;

/// TCP_KEEPIDLE's own bound.
const KEEPALIVE_S: RangeInclusive<u64> = 0..=32_767;

const DAY_S: RangeInclusive<u64> = 0..=86_400;
