//! `sealwire demo`: the whole thing on this machine, with a server and certificates of its own.

mod endpoint;
mod gateway;
mod load;
mod report;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, io, process, thread};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::endpoint::Endpoint;
use self::gateway::GatewayProcess;
use self::load::Leg;
use self::report::Report;
use super::cert;
use crate::error::{Error, ErrorKind, Result};
use crate::tls::{ClientConfig, ClientOptions, Pem, RecordPath, Roots, Verify, Version};

/// Show it working: plaintext against TLS through a gateway, with latency histograms
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Demo {
    /// Measure for this many seconds
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
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
        let endpoint = Endpoint::start()?;
        let gateway = GatewayProcess::start(&dir.path, endpoint.address())?;
        let client = client_config(&dir.path)?;
        let mut legs = [
            Leg::open("plaintext", gateway.plain(), None)?,
            Leg::open("TLS", gateway.tls(), Some(&client))?,
        ];
        legs.iter_mut().try_for_each(Leg::prove)?;
        if !self.json {
            eprintln!("measuring for {} s …", self.seconds);
        }
        let total = Duration::from_secs(self.seconds.into());
        load::alternate(&mut legs, total, &is_interrupted)?;
        let report = Report::new(&gateway, &endpoint, legs);
        self.print(&report)?;
        if self.keep {
            keep(&gateway, &dir.path)?;
        }
        if is_interrupted.load(Ordering::Acquire) && !self.keep {
            return Err(Error::new(
                ErrorKind::Io,
                "interrupted: the figures are of a shorter run",
            ));
        }
        report.verdict()
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

/// Leaves everything running until a signal comes.
fn keep(gateway: &GatewayProcess, dir: &std::path::Path) -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|error| Error::io("wait for a signal", &error))?;
    let (tls, ca) = (gateway.tls(), dir.join("ca.pem"));
    eprintln!(
        "The gateway is left running; Ctrl-C ends it. It echoes what it is sent:\n  \
         openssl s_client -connect {tls} -CAfile {} -verify_return_error -quiet",
        ca.display()
    );
    signals.forever().next();
    Ok(())
}

fn client_config(dir: &std::path::Path) -> Result<Arc<ClientConfig>> {
    let ca = dir.join("ca.pem");
    let text = fs::read(&ca).map_err(|error| Error::io(ca.display(), &error))?;
    let roots = Roots::from_pem(&[Pem {
        name: "ca.pem",
        text: &text,
    }])?;
    ClientConfig::new(&ClientOptions {
        verify: Verify::Full(roots),
        identity: None,
        min_version: Version::Tls13,
        suites: Vec::new(),
        records: RecordPath::default(),
        handshake_timeout: Duration::from_secs(10),
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
Makes throwaway certificates, starts an echo server and a gateway with a plaintext route and a TLS
route before it, and drives both in turn. Exit code 0 only if what it shows as encrypted was.

Example:
  sealwire demo --seconds 10";
