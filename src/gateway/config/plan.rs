use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::digest::RouteDigest;
use super::files::Stamp;
use super::networks::Networks;
use super::proxy::ProxyHeader;
use super::require::AccountRules;
use super::source::Source;
use crate::conn::{NegotiationClient, NegotiationServer};
use crate::engine::backend::SocketOptions;
use crate::engine::{Address, BackendChoice};
use crate::frame::mysql::auth::KeySource;
use crate::frame::obrpc::{Bypass, Method, ServerPolicy};
use crate::tls::{ClientConfig, Identity, RecordPath, ServerConfig, ServerName};

/// A configuration that was found good as a whole. It never changes: a reload makes another one.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Of the `[gateway]` table.
    pub(crate) settings: Settings,
    /// In the order of the file.
    pub(crate) routes: Vec<Arc<Route>>,
    /// The files that it names, as they were when they were read.
    pub(crate) files: Vec<(PathBuf, Stamp)>,
    /// What it was made of.
    pub(super) source: Arc<Source>,
    /// What relative paths are relative to.
    pub(super) base: PathBuf,
}

/// What holds for the whole gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Threads, each with an engine; 0: one per core.
    pub(crate) workers: usize,
    /// The back end of every engine.
    pub(crate) backend: BackendChoice,
    /// The record path of every TLS connection.
    pub(crate) records: RecordPath,
    /// Open connections of clients, all routes together; 0: as many as the limit of descriptors
    /// allows.
    pub(crate) connections_max: usize,
    /// Connections of one IP address that have not come to their session; 0: no bound.
    pub(crate) half_open_max_per_address: usize,
    /// How long sessions may go on after the first SIGTERM; `None`: until they end.
    pub(crate) drain_timeout: Option<Duration>,
    /// How long sessions may go on whose route is changed by a reload; `None`: until they end.
    pub(crate) reload_drain: Option<ReloadDrain>,
    /// Where metrics and the status page are served, if anywhere.
    pub(crate) metrics: Option<MetricsSettings>,
}

/// Where metrics and the status page are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsSettings {
    /// On loopback, unless it was exposed on purpose.
    pub(crate) address: SocketAddr,
    /// Names by which it may be asked for, beside `localhost` and IP addresses.
    pub(crate) names: Vec<String>,
}

/// Sessions whose route is changed by a reload end when they are idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReloadDrain {
    /// By then at the latest, counted from the reload; `None`: whenever that is.
    pub(crate) timeout: Option<Duration>,
}

/// Where connections come from, where they go to, and what happens between.
#[derive(Debug)]
pub(crate) struct Route {
    /// Unique in its plan.
    pub(crate) name: Arc<str>,
    /// The same for the same configuration alone.
    pub(crate) digest: RouteDigest,
    /// What is spoken on it.
    pub(crate) protocol: Protocol,
    /// Unique in their plan.
    pub(crate) listen: Vec<Address>,
    /// For one address of the server to accept a connection, and for its name to be resolved.
    pub(crate) connect_timeout: Duration,
    /// For each TLS handshake.
    pub(crate) handshake_timeout: Duration,
    /// Without a byte on either side; `None`: for ever.
    pub(crate) idle_timeout: Option<Duration>,
    /// Open connections of clients; 0: no bound but the gateway's.
    pub(crate) connections_max: usize,
    /// The side that connects to us.
    pub(crate) client: ClientSide,
    /// The side we connect to.
    pub(crate) server: ServerSide,
}

/// What is spoken on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Anything: its bytes are not looked at.
    Tcp,
    /// MySQL, whose TLS begins in the midst of its login.
    Mysql,
    /// OB-RPC, whose TLS is agreed on by a negotiation in the clear.
    Obrpc,
}

/// The side that connects to us.
#[derive(Debug)]
pub(crate) struct ClientSide {
    /// Who ends the client's TLS.
    pub(crate) tls: ClientTls,
    /// From where a MySQL client may speak for others.
    pub(crate) trusted_proxies: Networks,
    /// From where connections begin with a PROXY header.
    pub(crate) proxy_protocol_from: Networks,
    /// What accounts of a MySQL server must be like, where anything is said.
    pub(crate) require: Option<Arc<AccountRules>>,
    /// What else decides whom it believes, one sentence each, for a report.
    pub(crate) conditions: Vec<String>,
    /// Options of its sockets.
    pub(crate) socket: SocketOptions,
}

/// Who ends the client's TLS.
#[derive(Debug)]
pub(crate) enum ClientTls {
    /// There is none.
    Off,
    /// The gateway.
    Terminated {
        /// A client without TLS is refused.
        is_required: bool,
        /// What connections are made of.
        config: Arc<ServerConfig>,
        /// What is presented, for reports on its expiry.
        identity: Arc<Identity>,
        /// What clients present.
        client_cert: ClientCert,
    },
    /// The server: its bytes pass unopened.
    Passthrough,
    /// The gateway, where the client has asked for it.
    Negotiated {
        /// What connections are made of.
        server: Arc<NegotiationServer>,
        /// Whom it admits.
        policy: ServerPolicy,
        /// What is presented, for reports on its expiry; none where no method needs it.
        identity: Option<Arc<Identity>>,
        /// What clients present.
        client_cert: ClientCert,
        /// Clients at 127.0.0.1 neither negotiate nor authenticate.
        is_loopback_exempt: bool,
    },
}

/// Whether clients present certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCert {
    /// None is asked for.
    None,
    /// One that is presented must be good.
    Optional,
    /// A good one must be presented.
    Required,
    /// One of a few that are pinned must be presented.
    Pinned,
}

/// The side we connect to.
#[derive(Debug)]
pub(crate) struct ServerSide {
    /// Where it is.
    pub(crate) address: ServerAddress,
    /// Whether the gateway speaks TLS to it.
    pub(crate) tls: ServerTls,
    /// What MySQL passwords are encrypted to on a leg without TLS.
    pub(crate) public_key: Arc<KeySource>,
    /// What it is sent before anything else.
    pub(crate) proxy_header: Option<ProxyHeader>,
    /// What else decides whom it believes, one sentence each, for a report.
    pub(crate) conditions: Vec<String>,
    /// Options of its sockets.
    pub(crate) socket: SocketOptions,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    /// One address.
    Fixed(Address),
    /// A name, which is resolved again and again.
    Named(HostPort),
    /// Where the client meant to connect to: the packet filter has redirected it.
    Original,
}

/// A host name with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    /// A DNS name.
    pub(crate) host: Arc<str>,
    /// A TCP port.
    pub(crate) port: u16,
}

/// Whether the gateway speaks TLS to the server.
#[derive(Debug)]
pub(crate) enum ServerTls {
    /// Bytes go out as they are.
    Off,
    /// The gateway is a TLS client.
    Verify {
        /// What connections are made of.
        config: Arc<ClientConfig>,
        /// The name the server is known by.
        name: ServerName<'static>,
        /// How its certificate is judged.
        mode: VerifyMode,
        /// What is presented where the server asks, for reports on its expiry.
        identity: Option<Arc<Identity>>,
    },
    /// The gateway asks for a method first.
    Negotiated {
        /// What connections are made of, but for the thread that each is for.
        client: Box<NegotiationClient>,
        /// The name the server is known by; `None`: the address that it is connected to.
        name: Option<ServerName<'static>>,
        /// What is asked for.
        method: Method,
        /// How the server's certificate is judged, where the method has one.
        mode: VerifyMode,
        /// What is presented where the server asks, for reports on its expiry.
        identity: Option<Arc<Identity>>,
        /// A server at 127.0.0.1 neither acknowledges nor encrypts.
        is_loopback_exempt: bool,
    },
}

/// How a server's certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyMode {
    /// By its authority and its name.
    Full,
    /// By its authority.
    Ca,
    /// It is one of a few that are pinned.
    Fingerprint,
    /// Not at all.
    DangerNone,
    /// Not at all, and where the server's greeting offers no TLS there is none.
    DangerPreferred,
}

impl MetricsSettings {
    /// What of it lowers security, in words.
    pub(crate) fn danger(&self) -> Option<&'static str> {
        (!self.address.ip().is_loopback()).then_some(DANGER_EXPOSED)
    }
}

impl Route {
    /// True where a client without TLS may have to encrypt its password to the gateway: the server
    /// takes it in clear.
    pub(crate) fn needs_password_key(&self) -> bool {
        let is_plain = match self.client.tls {
            ClientTls::Off => true,
            ClientTls::Terminated { is_required, .. } => !is_required,
            ClientTls::Passthrough | ClientTls::Negotiated { .. } => false,
        };
        let is_safe = matches!(self.server.tls, ServerTls::Verify { .. })
            || matches!(self.server.address, ServerAddress::Fixed(Address::Unix(_)));
        self.protocol == Protocol::Mysql && is_plain && is_safe
    }

    /// What on this route lowers its security, in words.
    pub(crate) fn dangers(&self) -> impl Iterator<Item = &'static str> {
        let is_mode = |wanted| match self.server.tls {
            ServerTls::Verify { mode, .. } => mode == wanted,
            ServerTls::Negotiated { mode, method, .. } => method != Method::None && mode == wanted,
            ServerTls::Off => false,
        };
        let policy = match &self.client.tls {
            ClientTls::Negotiated { policy, .. } => Some(policy),
            _ => None,
        };
        let is_bypass = |wanted| policy.is_some_and(|policy| policy.bypass == wanted);
        let is_fetched = matches!(*self.server.public_key, KeySource::DangerFetched);
        let is_unread =
            self.protocol == Protocol::Mysql && matches!(self.client.tls, ClientTls::Passthrough);
        let is_posed_as = is_unread && self.server.proxy_header.is_some();
        [
            (is_mode(VerifyMode::DangerNone), DANGER_NONE),
            (is_mode(VerifyMode::DangerPreferred), DANGER_PREFERRED),
            (is_fetched, DANGER_FETCHED),
            (is_bypass(Bypass::TableApi), DANGER_BYPASS_TABLE_API),
            (is_bypass(Bypass::Everybody), DANGER_BYPASS_EVERYBODY),
            (is_posed_as, DANGER_POSED_AS),
        ]
        .into_iter()
        .filter_map(|(is_so, words)| is_so.then_some(words))
    }

    /// The certificates that this route presents, each with the side that presents it.
    pub(crate) fn identities(&self) -> impl Iterator<Item = (&'static str, &Arc<Identity>)> {
        let client = match &self.client.tls {
            ClientTls::Terminated { identity, .. } => Some(("client", identity)),
            ClientTls::Negotiated { identity, .. } => identity.as_ref().map(|i| ("client", i)),
            ClientTls::Off | ClientTls::Passthrough => None,
        };
        let server = match &self.server.tls {
            ServerTls::Verify { identity, .. } | ServerTls::Negotiated { identity, .. } => {
                identity.as_ref().map(|i| ("server", i))
            }
            ServerTls::Off => None,
        };
        client.into_iter().chain(server)
    }
}

impl Protocol {
    /// Its name in configurations.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Mysql => "mysql",
            Self::Obrpc => "obrpc",
        }
    }
}

impl ServerAddress {
    /// Reads `host:port`, `ip:port`, `[ip6]:port` and `unix:/path`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Fixed(address));
        }
        let wrong = || format!("`{text}` is neither host:port nor unix:/path");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        match ServerName::try_from(host) {
            Ok(ServerName::DnsName(_)) => Ok(Self::Named(HostPort {
                host: host.into(),
                port,
            })),
            _ => Err(wrong()),
        }
    }

    /// The name that a server at this address has by itself.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        match self {
            Self::Fixed(Address::Ip(address)) => Some(address.ip().into()),
            Self::Fixed(Address::Unix(_)) | Self::Original => None,
            Self::Named(name) => ServerName::try_from(name.host.to_string()).ok(),
        }
    }

    /// The same address with a relative path made absolute by `absolute`.
    pub(super) fn map_path(self, absolute: impl FnOnce(PathBuf) -> PathBuf) -> Self {
        match self {
            Self::Fixed(address) => Self::Fixed(map_path(address, absolute)),
            other @ (Self::Named(_) | Self::Original) => other,
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(address) => address.fmt(f),
            Self::Named(name) => name.fmt(f),
            Self::Original => f.write_str(ORIGINAL),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How [`ServerAddress::Original`] is written.
pub(super) const ORIGINAL: &str = "original";

const DANGER_EXPOSED: &str = "danger_expose_metrics: whoever reaches the address of metrics sees \
    users, addresses and certificates";

const DANGER_NONE: &str = "tls = \"danger-none\": the server is not verified, and whoever is on \
    the way can pose as it";

const DANGER_PREFERRED: &str = "tls = \"danger-preferred\": the server is not verified, and \
    whoever is on the way can take TLS out of its greeting";

const DANGER_BYPASS_TABLE_API: &str = "danger_bypass = \"table-api\": whoever begins with a \
    request of the table API makes such requests in the clear, and unauthenticated";

const DANGER_BYPASS_EVERYBODY: &str = "danger_bypass = \"everybody\": whoever likes makes requests \
    of the table API and of log readers in the clear, and unauthenticated";

const DANGER_FETCHED: &str = "danger_fetch_server_public_key: passwords are encrypted to the key \
    of whoever answers";

const DANGER_POSED_AS: &str = "proxy_protocol with tls = \"passthrough\": MariaDB believes a PROXY \
    header of the client too, so that clients can pose as any address";

pub(super) fn map_path(address: Address, absolute: impl FnOnce(PathBuf) -> PathBuf) -> Address {
    match address {
        Address::Unix(path) => Address::Unix(absolute(path)),
        ip @ Address::Ip(_) => ip,
    }
}
