//! Whom a command that is a client believes, and what it shows of itself.

use std::net::ToSocketAddrs;
use std::sync::Arc;

use clap::Args;

use crate::engine::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::config::{Files, Given, SYSTEM, ServerAddress};
use crate::tls::{Identity, Roots, ServerName};

/// The flags of a TLS client.
#[derive(Debug, Args)]
pub(super) struct TrustFlags {
    /// Authorities that it is judged by, or "system" [default: system]
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<String>,
    /// Certificate chain to show where it asks for one (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<String>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,
    /// A file whose first line is the key's passphrase
    #[arg(long, value_name = "FILE", requires = "key")]
    key_passphrase_file: Option<String>,
    /// Name that its certificate must have [default: the host; localhost for a Unix socket]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

impl TrustFlags {
    /// `--ca`, or what stands for it.
    pub(super) fn ca(&self) -> &str {
        self.ca.as_deref().unwrap_or(SYSTEM)
    }

    pub(super) fn roots(&self) -> Result<Arc<Roots>> {
        Files::new("".into()).roots(&Given::flag("--ca", self.ca().to_owned()))
    }

    /// `--cert` and `--key`.
    pub(super) fn identity(&self) -> Result<Option<Arc<Identity>>> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let mut files = Files::new("".into());
        let file = self.key_passphrase_file.clone();
        let file = file.map(|file| Given::flag("--key-passphrase-file", file));
        let passphrase = file.map(|file| files.passphrase(&file)).transpose()?;
        let passphrase = passphrase.as_deref().map(Vec::as_slice);
        let [cert, key] = [("--cert", cert), ("--key", key)]
            .map(|(flag, value)| Given::flag(flag, value.clone()));
        files.identity(&cert, &key, passphrase).map(Some)
    }

    /// The name that is asked for: behind a Unix socket is this machine.
    pub(super) fn server_name(&self, server: &ServerAddress) -> Result<ServerName<'static>> {
        let Some(given) = &self.server_name else {
            let localhost = || ServerName::try_from("localhost").ok();
            return server.server_name().or_else(localhost).ok_or_else(|| {
                let text = "the server has no name; give --server-name";
                Error::new(ErrorKind::Misuse, text)
            });
        };
        ServerName::try_from(given.clone()).map_err(|_| {
            let text = format!("--server-name: {given:?} is neither a DNS name nor an IP address");
            Error::new(ErrorKind::Config, text)
        })
    }
}

/// Where a server may be, in the order in which it is tried.
pub(super) fn addresses(server: &ServerAddress) -> Result<Vec<Address>> {
    let name = match server {
        ServerAddress::Fixed(address) => return Ok(vec![address.clone()]),
        ServerAddress::Named(name) => name,
        ServerAddress::Original => return Ok(Vec::new()),
    };
    let found = (&*name.host, name.port).to_socket_addrs();
    let found = found.map_err(|error| Error::io(format_args!("resolve {}", name.host), &error))?;
    Ok(found.map(Address::Ip).collect())
}
