use std::sync::Arc;
use std::time::Duration;

use super::identity::{Identity, Roots};
use crate::error::{Error, ErrorKind, Result};

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The certificate chain and key that are presented.
    pub identity: Arc<Identity>,
    /// Whether clients present certificates.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// Cipher suites by OpenSSL or IANA name; empty: all safe ones. The client's order decides.
    pub suites: Vec<String>,
    /// The record path.
    pub records: RecordPath,
    /// From the connection being made to the end of the handshake.
    pub handshake_timeout: Duration,
}

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How the server's certificate is judged.
    pub verify: Verify,
    /// The certificate chain and key that are presented where the server asks for them.
    pub identity: Option<Arc<Identity>>,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// Cipher suites by OpenSSL or IANA name, in the order in which they are offered; empty: all safe ones.
    pub suites: Vec<String>,
    /// The record path.
    pub records: RecordPath,
    /// From the connection being made to the end of the handshake.
    pub handshake_timeout: Duration,
}

/// Whether clients present certificates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientAuth {
    /// None is asked for.
    None,
    /// One is asked for; one that is presented must be good.
    Optional(Arc<Roots>),
    /// A good one must be presented.
    Required(Arc<Roots>),
}

/// How a client judges the server's certificate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verify {
    /// A trusted authority issued it, it is in date, and it is for the name that was asked for.
    Full(Arc<Roots>),
    /// A trusted authority issued it and it is in date; its name is not looked at.
    Ca(Arc<Roots>),
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Who opens and seals records after the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordPath {
    /// rustls: it copies each record once on its way in and twice on its way out.
    #[default]
    Rustls,
    /// This library: records are opened where they arrived and sealed where they are sent from.
    InPlace,
}

/// A server's configuration, shared by its connections.
#[derive(Debug)]
pub struct ServerConfig {}

/// A client's configuration, shared by its connections.
#[derive(Debug)]
pub struct ClientConfig {}

impl ServerConfig {
    /// Checks the options and prepares what connections share.
    pub fn new(options: &ServerOptions) -> Result<Arc<Self>> {
        let _ = options;
        Err(Error::new(ErrorKind::Internal, "TLS is not built yet"))
    }
}

impl ClientConfig {
    /// Checks the options and prepares what connections share.
    pub fn new(options: &ClientOptions) -> Result<Arc<Self>> {
        let _ = options;
        Err(Error::new(ErrorKind::Internal, "TLS is not built yet"))
    }
}
