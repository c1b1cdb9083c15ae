use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::call::{self, CallTime};
use super::identity::{Identity, Roots};
use super::record::Protocol;
use super::suites;
use super::verify::{ClientVerifier, DangerAnyServer, ServerVerifier};
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
    /// Cipher suites by OpenSSL or IANA name, in the order in which they are offered; empty: all
    /// safe ones.
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
    /// Not at all: whoever answers is believed to be the server.
    DangerNone,
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
    /// rustls: it copies each record once on its way in and twice on its way out, and this crate
    /// once more each way.
    #[default]
    Rustls,
    /// This library: records are opened where they arrived and sealed where they are sent from.
    InPlace,
}

/// A server's configuration, shared by its connections.
#[derive(Debug)]
pub struct ServerConfig {
    rustls: Arc<rustls::ServerConfig>,
    records: RecordPath,
    handshake_timeout: Duration,
}

/// A client's configuration, shared by its connections.
#[derive(Debug)]
pub struct ClientConfig {
    rustls: Arc<rustls::ClientConfig>,
    records: RecordPath,
    handshake_timeout: Duration,
}

impl ServerConfig {
    /// Checks the options and prepares what connections share.
    pub fn new(options: &ServerOptions) -> Result<Arc<Self>> {
        let provider = provider(&options.suites, options.min_version)?;
        let verifier: Arc<dyn ClientCertVerifier> = match &options.client_auth {
            ClientAuth::None => Arc::new(NoClientAuth),
            ClientAuth::Optional(roots) => Arc::new(ClientVerifier::new(roots, false, &provider)?),
            ClientAuth::Required(roots) => Arc::new(ClientVerifier::new(roots, true, &provider)?),
        };
        let resolver = OneIdentity {
            identity: Arc::clone(&options.identity),
        };
        let mut rustls = rustls::ServerConfig::builder_with_details(provider, Arc::new(CallTime))
            .with_protocol_versions(options.min_version.and_later())
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        rustls.enable_secret_extraction = options.records == RecordPath::InPlace;
        Ok(Arc::new(Self {
            rustls: Arc::new(rustls),
            records: options.records,
            handshake_timeout: options.handshake_timeout,
        }))
    }

    /// From the connection being made to the end of the handshake.
    pub fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    pub(super) fn rustls(&self) -> &Arc<rustls::ServerConfig> {
        &self.rustls
    }

    pub(super) fn records(&self) -> RecordPath {
        self.records
    }
}

impl ClientConfig {
    /// Checks the options and prepares what connections share.
    pub fn new(options: &ClientOptions) -> Result<Arc<Self>> {
        let provider = provider(&options.suites, options.min_version)?;
        let verifier = options.verify.verifier(&provider)?;
        let builder = rustls::ClientConfig::builder_with_details(provider, Arc::new(CallTime))
            .with_protocol_versions(options.min_version.and_later())
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut rustls = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let resolver = OneIdentity {
                    identity: Arc::clone(identity),
                };
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        rustls.enable_secret_extraction = options.records == RecordPath::InPlace;
        Ok(Arc::new(Self {
            rustls: Arc::new(rustls),
            records: options.records,
            handshake_timeout: options.handshake_timeout,
        }))
    }

    /// The same, but every session begins with a full handshake.
    pub fn without_resumption(&self) -> Arc<Self> {
        let mut rustls = rustls::ClientConfig::clone(&self.rustls);
        rustls.resumption = Resumption::disabled();
        Arc::new(Self {
            rustls: Arc::new(rustls),
            records: self.records,
            handshake_timeout: self.handshake_timeout,
        })
    }

    /// From the connection being made to the end of the handshake.
    pub fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    pub(super) fn rustls(&self) -> &Arc<rustls::ClientConfig> {
        &self.rustls
    }

    pub(super) fn records(&self) -> RecordPath {
        self.records
    }
}

impl Verify {
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
        Ok(match self {
            Self::Full(roots) => Arc::new(ServerVerifier::new(roots, true, provider)?),
            Self::Ca(roots) => Arc::new(ServerVerifier::new(roots, false, provider)?),
            Self::DangerNone => Arc::new(DangerAnyServer::new(provider)),
        })
    }
}

impl Version {
    /// The version as users write it: `1.2`, `1.3`.
    pub fn number(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Tls12 => Protocol::Tls12,
            Self::Tls13 => Protocol::Tls13,
        }
    }

    fn and_later(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        match self {
            Self::Tls12 => &VERSIONS,
            Self::Tls13 => &VERSIONS[..1],
        }
    }
}

/// Presents the same identity to every peer.
#[derive(Debug)]
struct OneIdentity {
    identity: Arc<Identity>,
}

impl ResolvesServerCert for OneIdentity {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            call::note_server_name(name);
        }
        let certified = self.identity.certified();
        if certified
            .key
            .choose_scheme(hello.signature_schemes())
            .is_none()
        {
            // rustls ends such a TLS 1.2 handshake with an error that does not say whose fault it
            // is.
            call::refuse(Error::new(
                ErrorKind::TlsIncompatible,
                "client shares no signature scheme with the key of this end's certificate",
            ));
        }
        Some(Arc::clone(certified))
    }
}

impl ResolvesClientCert for OneIdentity {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.identity.certified()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn provider(suites: &[String], min_version: Version) -> Result<Arc<CryptoProvider>> {
    let cipher_suites = suites::select(suites, min_version)?;
    Ok(Arc::new(CryptoProvider {
        cipher_suites,
        ..aws_lc_rs::default_provider()
    }))
}

fn unusable(error: rustls::Error) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("these suites and versions do not go together: {error}"),
    )
}

/// The newest first.
static VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];
