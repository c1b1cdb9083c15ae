use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::mysql::Statement;
use super::side::{Protocol, Target, Transport};
use super::wrong;
use crate::cli::login::{self, Account};
use crate::cli::trust::{TrustFlags, addresses};
use crate::conn::{NegotiationClient, NegotiationOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{DEFAULT_GID, Method, Pcode};
use crate::gateway::config::ServerAddress;
use crate::tls::{ClientConfig, ClientOptions, Verify};

/// How much is asked, for how long, and where the result goes.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// Connections
    #[arg(long, short, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) connections: u32,
    /// Requests under way on each connection
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) depth: u32,
    /// Make a connection for each request, and measure both together
    #[arg(long, conflicts_with = "depth")]
    pub(super) reconnect: bool,
    /// Requests per second, begun at fixed times [default: as many as are answered]
    #[arg(long, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(super) rate: Option<u32>,
    /// Drive it for this long before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(0..=3600))]
    warmup: u32,
    /// Measure for this long, each way
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=86_400))]
    duration: u32,
    /// Time for a connection, and for the answers to the last requests
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write the distribution of latencies, for HdrHistogram's tools; that of the plain side is
    /// beside it, with .plain appended
    #[arg(long, value_name = "FILE")]
    pub(super) hgrm: Option<PathBuf>,
    /// Draw latency by percentile (SVG)
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
}

/// Whom to believe, or that nothing is encrypted.
#[derive(Debug, Args)]
struct Encryption {
    #[command(flatten)]
    trust: TrustFlags,
    /// Believe whoever answers: somebody on the way can read and change everything
    #[arg(long, conflicts_with_all = ["ca", "server_name"])]
    danger_no_verify: bool,
}

/// Queries to MySQL, MariaDB or OceanBase
#[derive(Debug, Args)]
pub(super) struct Mysql {
    /// host:port or unix:/path
    #[arg(value_name = "HOST:PORT", value_parser = ServerAddress::parse)]
    server: ServerAddress,
    /// Log in as this account
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Its password; others on this machine can see it in the list of processes
    #[arg(long, value_name = "TEXT", conflicts_with = "password_file")]
    password: Option<String>,
    /// A file whose first line is its password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The statement that is executed [default: SELECT 1]
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// Select so many bytes instead
    #[arg(long, value_name = "BYTES", conflicts_with = "query",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: Option<u32>,
    /// Speak to it without TLS
    #[arg(long, conflicts_with_all = ENCRYPTION)]
    plain: bool,
    /// Measure both with TLS and without, in turn
    #[arg(long)]
    compare_plain: bool,
    /// The server's RSA key (PEM), to which a password is encrypted that it asks for in the clear
    #[arg(long, value_name = "FILE")]
    server_public_key: Option<PathBuf>,
    #[command(flatten)]
    encryption: Encryption,
    #[command(flatten)]
    pub(super) load: Load,
}

/// Calls over OB-RPC
#[derive(Debug, Args)]
pub(super) struct Obrpc {
    /// host:port or unix:/path
    #[arg(value_name = "HOST:PORT", value_parser = ServerAddress::parse)]
    server: ServerAddress,
    /// What is called: the code of an RPC that the server answers
    #[arg(long, value_name = "CODE", default_value_t = 1)]
    pcode: u32,
    /// Bytes of arguments
    #[arg(long, value_name = "BYTES", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    size: u32,
    /// Speak to it without TLS
    #[arg(long, conflicts_with_all = ENCRYPTION)]
    plain: bool,
    /// Measure both with TLS and without, in turn
    #[arg(long)]
    compare_plain: bool,
    #[command(flatten)]
    encryption: Encryption,
    #[command(flatten)]
    pub(super) load: Load,
}

/// Messages to a server that begins with TLS and sends as many bytes back
#[derive(Debug, Args)]
pub(super) struct Tls {
    /// host:port or unix:/path
    #[arg(value_name = "HOST:PORT", value_parser = ServerAddress::parse)]
    server: ServerAddress,
    /// Length of a message
    #[arg(long, value_name = "BYTES", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// Measure the same server without TLS too, which listens here, in turn
    #[arg(long, value_name = "HOST:PORT", value_parser = ServerAddress::parse)]
    compare_plain: Option<ServerAddress>,
    #[command(flatten)]
    encryption: Encryption,
    #[command(flatten)]
    pub(super) load: Load,
}

impl Load {
    pub(super) fn warmup(&self) -> Duration {
        Duration::from_secs(self.warmup.into())
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.duration.into())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

impl Encryption {
    fn options(&self, load: &Load) -> Result<ClientOptions> {
        let verify = match self.danger_no_verify {
            true => Verify::DangerNone,
            false => Verify::Full(self.trust.roots()?),
        };
        Ok(ClientOptions {
            identity: self.trust.identity()?,
            handshake_timeout: load.timeout(),
            ..ClientOptions::new(verify)
        })
    }

    /// TLS from the first byte on, or from where the protocol begins it.
    fn tls(&self, server: &ServerAddress, load: &Load) -> Result<Transport> {
        let config = ClientConfig::new(&self.options(load)?)?;
        Ok(Transport::Tls(config, self.trust.server_name(server)?))
    }
}

impl Mysql {
    /// What is measured, the side with TLS first.
    pub(super) fn targets(&self) -> Result<Vec<Target>> {
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|error| Error::io(path.display(), &error));
        let account = Account {
            user: self.user.clone(),
            password: login::password(self.password.as_deref(), self.password_file.as_deref())?,
            server_public_key: self.server_public_key.as_ref().map(read).transpose()?,
        };
        let statement = match (&self.query, self.size) {
            (Some(query), _) => query.clone().into_bytes(),
            (None, Some(len)) => format!("SELECT '{:.<len$}'", "", len = len as usize).into(),
            (None, None) => b"SELECT 1".to_vec(),
        };
        let protocol = Protocol::Mysql(account, Statement::new(&statement));
        let encrypted = || self.encryption.tls(&self.server, &self.load);
        targets(
            &self.server,
            self.plain,
            self.compare_plain,
            protocol,
            encrypted,
        )
    }
}

impl Obrpc {
    /// What is measured, the side with TLS first.
    pub(super) fn targets(&self) -> Result<Vec<Target>> {
        let protocol = Protocol::Obrpc {
            pcode: Pcode(self.pcode),
            len: self.size as usize,
        };
        let encrypted = || {
            let options = NegotiationOptions {
                timeout: self.load.timeout(),
                requires_binding: false,
                danger_end_without_close_notify: true,
            };
            let tls = self.encryption.options(&self.load)?;
            let name = self.encryption.trust.server_name(&self.server)?;
            let client =
                NegotiationClient::new(Method::SslIo, DEFAULT_GID, Some(&tls), name, options)?;
            Ok(Transport::Negotiated(Box::new(client)))
        };
        targets(
            &self.server,
            self.plain,
            self.compare_plain,
            protocol,
            encrypted,
        )
    }
}

impl Tls {
    /// What is measured, the side with TLS first.
    pub(super) fn targets(&self) -> Result<Vec<Target>> {
        let protocol = Protocol::Echo(self.size as usize);
        let target = |server, transport| -> Result<Target> {
            Ok(Target {
                addresses: located(server)?,
                transport,
                protocol: protocol.clone(),
            })
        };
        let tls = self.encryption.tls(&self.server, &self.load)?;
        let mut targets = vec![target(&self.server, tls)?];
        if let Some(plain) = &self.compare_plain {
            targets.push(target(plain, Transport::Plain)?);
        }
        Ok(targets)
    }
}

/// The sides of a server that speaks with TLS and without at the same place.
fn targets(
    server: &ServerAddress,
    is_plain: bool,
    is_compared: bool,
    protocol: Protocol,
    encrypted: impl FnOnce() -> Result<Transport>,
) -> Result<Vec<Target>> {
    let mut transports = Vec::new();
    if !is_plain {
        transports.push(encrypted()?);
    }
    if is_plain || is_compared {
        transports.push(Transport::Plain);
    }
    let addresses = located(server)?;
    let target = |transport| Target {
        addresses: addresses.clone(),
        transport,
        protocol: protocol.clone(),
    };
    Ok(transports.into_iter().map(target).collect())
}

fn located(server: &ServerAddress) -> Result<Vec<crate::engine::Address>> {
    let found = addresses(server)?;
    match (found.is_empty(), server) {
        (true, ServerAddress::Original) => Err(wrong(format!("{server}: no server"))),
        (true, _) => Err(Error::new(
            ErrorKind::Io,
            format!("resolve {server}: no address"),
        )),
        (false, _) => Ok(found),
    }
}

/// What makes no sense where nothing is encrypted.
const ENCRYPTION: [&str; 5] = [
    "compare_plain",
    "ca",
    "cert",
    "server_name",
    "danger_no_verify",
];
