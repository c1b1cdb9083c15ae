//! `sealwire demo`: the whole thing on this machine, with a server and certificates of its own.

mod endpoint;
mod gateway;
mod load;
mod mysql;
mod obrpc;
mod report;
mod table;
mod wire;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, io, process, thread};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use self::endpoint::Endpoint;
use self::gateway::GatewayProcess;
use self::load::Leg;
use self::mysql::{Accounts, NATIVE_USER, SHA2_USER};
use self::obrpc::Way;
use self::report::Report;
use super::login::Account;
use super::{cert, login};
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{
    ClientConfig, ClientOptions, Identity, Pem, Roots, ServerOptions, Verify, Version,
};

/// Show it working: MySQL and OB-RPC, plaintext against TLS, with latency histograms
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Demo {
    /// Measure for this many seconds
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Put the gateway before this MySQL server instead of one of the demo's own; it is spoken to
    /// without TLS
    #[arg(long, value_name = "HOST:PORT", requires = "user")]
    upstream: Option<String>,
    /// Log in to it as this account
    #[arg(long, value_name = "NAME", requires = "upstream")]
    user: Option<String>,
    /// Its password; others on this machine can see it in the list of processes
    #[arg(
        long,
        value_name = "TEXT",
        requires = "upstream",
        conflicts_with = "password_file"
    )]
    password: Option<String>,
    /// A file whose first line is its password
    #[arg(long, value_name = "FILE", requires = "upstream")]
    password_file: Option<PathBuf>,
    /// The server's RSA key (PEM), to which a password is encrypted that it asks for
    #[arg(long, value_name = "FILE", requires = "upstream")]
    server_public_key: Option<PathBuf>,
    /// Leave the gateway running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        // A signal ends the measuring, not the process: what was started and written must go.
        let is_interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&is_interrupted))
                .map_err(|error| Error::io("watch for signals", &error))?;
        }
        let dir = DemoDir::make()?;
        cert::write_all(&dir.path, &[], true)?;
        let server = self.server()?;
        let rpc_server = rpc_endpoint(&dir.path)?;
        let key = server.account.server_public_key.as_deref();
        let (mysql, obrpc) = (&server.address, rpc_server.address());
        let gateway = GatewayProcess::start(&dir.path, mysql, key, obrpc)?;
        let client = client_options(&dir.path)?;
        let mut mysql = open_mysql(&gateway, &server.account, &client)?;
        let mut obrpc = open_obrpc(&gateway, &rpc_server, &client)?;
        let mut legs = all(&mut mysql, &mut obrpc);
        legs.iter_mut().try_for_each(|leg| leg.prove())?;
        if !self.json {
            eprintln!("measuring for {} s …", self.seconds);
        }
        let total = Duration::from_secs(self.seconds.into());
        load::alternate(&mut legs, total, &is_interrupted)?;
        let report = Report::new(&gateway, server.name.clone(), mysql, obrpc);
        self.print(&report)?;
        if self.keep {
            keep(&gateway, &dir.path, &server, rpc_server.address())?;
        }
        if is_interrupted.load(Ordering::Acquire) && !self.keep {
            return Err(Error::new(
                ErrorKind::Io,
                "interrupted: the figures are of a shorter run",
            ));
        }
        report.verdict()
    }

    fn server(&self) -> Result<Server> {
        match (&self.upstream, &self.user) {
            (Some(address), Some(user)) => Ok(Server {
                name: format!("MySQL server {address}"),
                address: address.clone(),
                account: Account {
                    user: user.clone(),
                    password: login::password(
                        self.password.as_deref(),
                        self.password_file.as_deref(),
                    )?,
                    server_public_key: self.server_public_key.as_deref().map(read).transpose()?,
                },
                endpoint: None,
            }),
            _ => Server::embedded(),
        }
    }

    fn print(&self, report: &Report) -> Result<()> {
        let text = if self.json {
            report.json()
        } else {
            report.text()
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").map_err(|error| Error::io("write the report", &error))
    }
}

/// Where both legs of MySQL end, and as whom.
struct Server {
    name: String,
    address: String,
    account: Account,
    /// What ends with the demo.
    endpoint: Option<Endpoint>,
}

impl Server {
    fn embedded() -> Result<Self> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Error::new(ErrorKind::Internal, "no random bytes"))?;
        let password = format!("{:016x}", u64::from_le_bytes(random)).into_bytes();
        let accounts = Accounts::new(&password)?;
        let server_public_key = Some(accounts.public_pem().into());
        let endpoint = Endpoint::start(move |engine, ends| mysql::serve(engine, &accounts, ends))?;
        Ok(Self {
            name: "embedded MySQL server".into(),
            address: endpoint.address().to_string(),
            account: Account {
                user: SHA2_USER.into(),
                password: Zeroizing::new(password),
                server_public_key,
            },
            endpoint: Some(endpoint),
        })
    }
}

fn rpc_endpoint(dir: &Path) -> Result<Endpoint> {
    let [chain, key] = ["server-cert.pem", "server-key.pem"].map(|name| read(&dir.join(name)));
    let pem = |name, text| Pem { name, text };
    let identity = Identity::from_pem(
        pem("server-cert.pem", &chain?),
        pem("server-key.pem", &key?),
    )?;
    let negotiation = obrpc::negotiation_server(&ServerOptions::new(identity))?;
    Endpoint::start(move |engine, ends| obrpc::serve(engine, &negotiation, ends))
}

fn open_mysql(
    gateway: &GatewayProcess,
    account: &Account,
    client: &ClientOptions,
) -> Result<[mysql::Leg; 2]> {
    let tls = ClientConfig::new(client)?;
    Ok([
        mysql::Leg::open("plaintext", gateway.plain(), account, None)?,
        mysql::Leg::open("TLS", gateway.tls(), account, Some(&tls))?,
    ])
}

fn open_obrpc(
    gateway: &GatewayProcess,
    server: &Endpoint,
    client: &ClientOptions,
) -> Result<[obrpc::Leg; 3]> {
    let negotiation = obrpc::negotiation_client(client)?;
    let open = |way, address, negotiation| {
        obrpc::Leg::open(way, obrpc::Client::connect(address, negotiation))
    };
    Ok([
        open(Way::Plain, server.address(), None)?,
        open(Way::SslIo, server.address(), Some(&negotiation))?,
        open(Way::Sidecar, gateway.sidecar(), None)?,
    ])
}

/// In the order in which they are driven.
fn all<'a>(mysql: &'a mut [mysql::Leg], obrpc: &'a mut [obrpc::Leg]) -> Vec<&'a mut dyn Leg> {
    let mysql = mysql.iter_mut().map(|leg| leg as &mut dyn Leg);
    mysql
        .chain(obrpc.iter_mut().map(|leg| leg as &mut dyn Leg))
        .collect()
}

/// Leaves everything running until a signal comes.
fn keep(
    gateway: &GatewayProcess,
    dir: &Path,
    server: &Server,
    rpc_server: SocketAddr,
) -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|error| Error::io("wait for a signal", &error))?;
    let (ca, port) = (dir.join("ca.pem"), gateway.tls().port());
    let account = match &server.endpoint {
        Some(_) => format!(
            "-u {SHA2_USER} -p{}",
            String::from_utf8_lossy(&server.account.password)
        ),
        None => format!("-u {} -p", server.account.user),
    };
    eprintln!(
        "The gateway is left running; Ctrl-C ends it. Try:\n  \
         mariadb -h 127.0.0.1 -P {port} {account} --ssl --ssl-ca={} --ssl-verify-server-cert \
         -e '\\s'",
        ca.display()
    );
    if server.endpoint.is_some() {
        eprintln!(
            "The same for -u {NATIVE_USER}, whose plugin is mysql_native_password. The server \
             answers SELECTs of literals and of @@version, and SHOW STATUS LIKE 'Ssl%'."
        );
    }
    eprintln!(
        "The OB-RPC server takes none and ssl_io, and the gateway takes OB-RPC in the clear at {} \
         and goes on to it by ssl_io. Try:\n  \
         sealwire probe --obrpc {rpc_server} --ca {}",
        gateway.sidecar(),
        ca.display()
    );
    signals.forever().next();
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::io(path.display(), &error))
}

fn client_options(dir: &Path) -> Result<ClientOptions> {
    let ca = dir.join("ca.pem");
    let text = read(&ca)?;
    let roots = Roots::from_pem(&[Pem {
        name: "ca.pem",
        text: &text,
    }])?;
    Ok(ClientOptions {
        min_version: Version::Tls13,
        ..ClientOptions::new(Verify::Full(roots))
    })
}

/// A directory for throwaway certificates, which are gone with it.
struct DemoDir {
    path: PathBuf,
}

impl DemoDir {
    fn make() -> Result<Self> {
        let path = env::temp_dir().join(format!("sealwire-demo-{}", process::id()));
        fs::create_dir(&path).map_err(|error| Error::io(path.display(), &error))?;
        Ok(Self { path })
    }
}

impl Drop for DemoDir {
    fn drop(&mut self) {
        // Nothing is left to be done about a directory that cannot be removed.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What a thread of the demo ended with; a panic there is a defect here.
fn join<T>(handle: thread::JoinHandle<Result<T>>) -> Result<T> {
    handle
        .join()
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a thread panicked")))
}

/// Connects with the time-outs of the demo.
fn connect(address: SocketAddr) -> Result<std::net::TcpStream> {
    let doing = format!("connect to {address}");
    let socket = std::net::TcpStream::connect_timeout(&address, TIMEOUT)
        .map_err(|error| Error::io(&doing, &error))?;
    let options = socket
        .set_nodelay(true)
        .and_then(|()| socket.set_read_timeout(Some(TIMEOUT)))
        .and_then(|()| socket.set_write_timeout(Some(TIMEOUT)));
    options.map_err(|error| Error::io(doing, &error))?;
    Ok(socket)
}

const TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLE: &str = "\
Makes throwaway certificates, starts a small MySQL server and a gateway with a plaintext route and a
TLS route before it, logs in over both and drives them in turn; with them a small OB-RPC server, in
plaintext, by SSL_IO, and through the gateway as a sidecar. Exit code 0 only if what it shows as
encrypted was.

Examples:
  sealwire demo --seconds 10
  sealwire demo --upstream db.example:3306 --user app --password-file app.password --keep";
