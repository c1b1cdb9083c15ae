use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::call::{self, CallTime};
use super::certificate::{Certificate, Fingerprint};
use super::identity::Identity;
use super::record::Protocol;
use super::resume::{RouteTickets, Tickets};
use super::roots::Roots;
use super::suites;
use super::verify::{AllowedClients, ClientVerifier, Names, ServerVerifier};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CLIENT_SESSIONS_MAX, HANDSHAKE_TIMEOUT_MS};

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
    /// The clients that may connect, of those whose certificate is good; empty: all of them. With
    /// [`ClientAuth::Optional`] a client without a certificate may still connect.
    pub allowed_clients: Vec<ClientIdentity>,
    /// How sessions are resumed; `None`: from the memory of this configuration alone.
    pub tickets: Option<Tickets>,
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
    /// [`Verify::Full`] looks for the name in the certificate's common name too, where it has no
    /// DNS name.
    pub allow_cn_name: bool,
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
    /// One of these must be presented, by SHA-256. Nothing else about it counts, dates included.
    Fingerprint(Vec<Fingerprint>),
}

/// A client by what its certificate says. Only exact equality counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientIdentity {
    /// The subject's common name, the only one it has.
    CommonName(String),
    /// One of the alternative names: DNS, IP, mail or URI, as written.
    AltName(String),
    /// SHA-256 over the certificate.
    Fingerprint(Fingerprint),
}

/// How a client judges the server's certificate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verify {
    /// A trusted authority issued it, it is in date, and it is for the name that was asked for.
    Full(Arc<Roots>),
    /// A trusted authority issued it and it is in date; its name is not looked at.
    Ca(Arc<Roots>),
    /// It is one of these, by SHA-256. Nothing else about it counts, dates included (RFC 7671
    /// section 5.1).
    Fingerprint(Vec<Fingerprint>),
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    verifier: Option<Arc<ClientVerifier>>,
    records: RecordPath,
    handshake_timeout: Duration,
}

/// A client's configuration, shared by its connections.
#[derive(Debug)]
pub struct ClientConfig {
    rustls: Arc<rustls::ClientConfig>,
    verifier: Arc<ServerVerifier>,
    records: RecordPath,
    handshake_timeout: Duration,
}

impl ServerConfig {
    /// Checks the options and prepares what connections share.
    pub fn new(options: &ServerOptions) -> Result<Arc<Self>> {
        let provider = provider(&options.suites, options.min_version)?;
        let verifier = options
            .client_auth
            .verifier(&options.allowed_clients, &provider)?;
        let for_rustls: Arc<dyn ClientCertVerifier> = match &verifier {
            Some(verifier) => Arc::clone(verifier) as _,
            None => Arc::new(NoClientAuth),
        };
        let resolver = OneIdentity {
            identity: Arc::clone(&options.identity),
        };
        let mut rustls = rustls::ServerConfig::builder_with_details(provider, Arc::new(CallTime))
            .with_protocol_versions(options.min_version.and_later())
            .map_err(unusable)?
            .with_client_cert_verifier(for_rustls)
            .with_cert_resolver(Arc::new(resolver));
        if let Some(tickets) = &options.tickets {
            let client_trust = options.client_auth.digest();
            rustls.ticketer = Arc::new(RouteTickets::new(tickets, &client_trust)?);
        }
        rustls.enable_secret_extraction = true;
        Ok(Arc::new(Self {
            rustls: Arc::new(rustls),
            verifier,
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

    /// The authorities that clients are judged by.
    pub fn roots(&self) -> Option<&Arc<Roots>> {
        self.verifier.as_ref()?.roots()
    }

    pub(super) fn verifier(&self) -> Option<&Arc<ClientVerifier>> {
        self.verifier.as_ref()
    }

    pub(super) fn records(&self) -> RecordPath {
        self.records
    }
}

impl ClientConfig {
    /// Checks the options and prepares what connections share.
    pub fn new(options: &ClientOptions) -> Result<Arc<Self>> {
        let provider = provider(&options.suites, options.min_version)?;
        let verifier = Arc::new(options.verify.verifier(options.allow_cn_name, &provider)?);
        let builder = rustls::ClientConfig::builder_with_details(provider, Arc::new(CallTime))
            .with_protocol_versions(options.min_version.and_later())
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
        let mut rustls = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let resolver = OneIdentity {
                    identity: Arc::clone(identity),
                };
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        rustls.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS_MAX);
        rustls.enable_secret_extraction = true;
        Ok(Arc::new(Self {
            rustls: Arc::new(rustls),
            verifier,
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
            verifier: Arc::clone(&self.verifier),
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

    /// The authorities that servers are judged by.
    pub fn roots(&self) -> Option<&Arc<Roots>> {
        self.verifier.roots()
    }

    pub(super) fn verifier(&self) -> &Arc<ServerVerifier> {
        &self.verifier
    }

    pub(super) fn records(&self) -> RecordPath {
        self.records
    }
}

impl ServerOptions {
    /// A server that asks for no client certificates, with the defaults.
    pub fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            client_auth: ClientAuth::None,
            min_version: Version::Tls12,
            suites: Vec::new(),
            records: RecordPath::default(),
            handshake_timeout: Duration::from_millis(HANDSHAKE_TIMEOUT_MS),
            allowed_clients: Vec::new(),
            tickets: None,
        }
    }
}

impl ClientOptions {
    /// A client without a certificate of its own, with the defaults.
    pub fn new(verify: Verify) -> Self {
        Self {
            verify,
            identity: None,
            min_version: Version::Tls12,
            suites: Vec::new(),
            records: RecordPath::default(),
            handshake_timeout: Duration::from_millis(HANDSHAKE_TIMEOUT_MS),
            allow_cn_name: false,
        }
    }
}

impl ClientAuth {
    fn verifier(
        &self,
        allowed: &[ClientIdentity],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<ClientVerifier>>> {
        let judged = |roots, is_mandatory| {
            let allowed = AllowedClients(allowed.to_vec());
            ClientVerifier::authorities(roots, is_mandatory, allowed, provider)
        };
        let verifier = match self {
            Self::None => return Ok(None),
            Self::Optional(roots) => judged(roots, false)?,
            Self::Required(roots) => judged(roots, true)?,
            Self::Fingerprint(pins) => ClientVerifier::pins(pins.clone(), provider),
        };
        Ok(Some(Arc::new(verifier)))
    }

    /// What tells one way to trust clients from another.
    fn digest(&self) -> Vec<u8> {
        match self {
            Self::None => b"none".to_vec(),
            Self::Optional(roots) => [&b"optional"[..], &roots.digest()].concat(),
            Self::Required(roots) => [&b"required"[..], &roots.digest()].concat(),
            Self::Fingerprint(pins) => [&b"fingerprint"[..], pins.concat().as_slice()].concat(),
        }
    }
}

impl ClientIdentity {
    /// True where the certificate says so.
    pub(super) fn is(&self, certificate: &Certificate<'_>) -> bool {
        match self {
            Self::CommonName(name) => certificate.common_name().as_ref() == Some(name),
            Self::AltName(name) => {
                let mut names = certificate.alt_names().into_iter();
                names.any(|alt_name| alt_name.to_string() == *name)
            }
            Self::Fingerprint(pin) => certificate.fingerprint() == *pin,
        }
    }
}

impl Verify {
    fn verifier(
        &self,
        allow_cn_name: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ServerVerifier> {
        let names = match allow_cn_name {
            true => Names::AlternativeOrCommon,
            false => Names::Alternative,
        };
        match self {
            Self::Full(roots) => ServerVerifier::authorities(roots, names, provider),
            Self::Ca(roots) => ServerVerifier::authorities(roots, Names::Ignored, provider),
            Self::Fingerprint(pins) => Ok(ServerVerifier::pins(pins.clone(), provider)),
            Self::DangerNone => Ok(ServerVerifier::danger_none(provider)),
        }
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
