//! The command line: one file per subcommand.

mod bench;
mod cert;
mod check;
mod demo;
mod gateway;
mod latency;
mod login;
mod packets;
mod probe;
mod text;
mod tickets;
mod trust;

use clap::{Parser, Subcommand};

use crate::error::{Error, ErrorKind, Result};

/// Encrypted transport for database connections: TLS on io_uring.
#[derive(Debug, Parser)]
#[command(name = "sealwire", version, max_term_width = 100, after_help = EXAMPLE)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Gateway(Box<gateway::Gateway>),
    Check(check::Check),
    Probe(probe::Probe),
    Bench(Box<bench::Bench>),
    #[command(subcommand)]
    Cert(cert::Cert),
}

impl Cli {
    /// Does what the command line asks for.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Demo(command) => command.run(),
            Command::Gateway(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Probe(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Cert(command) => command.run(),
        }
    }
}

/// The exit code for an error: 2 where the command line or the configuration is wrong, 1 where the
/// work failed.
pub fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Config | ErrorKind::Misuse => 2,
        _ => 1,
    }
}

const EXAMPLE: &str = "\
Example: TLS in front of a plain server
  sealwire cert init certs
  sealwire gateway --listen 0.0.0.0:8443 --upstream 127.0.0.1:8080 --server-tls off \\
    --cert certs/server-cert.pem --key certs/server-key.pem";
