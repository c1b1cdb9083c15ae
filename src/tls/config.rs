use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::call::{self, CallTime};
use super::certificate::{Certificate, Fingerprint, read_fingerprint};
use super::failure::{self, Peer};
use super::identity::Identity;
use super::key_log::DangerKeyLog;
use super::record::Protocol;
use super::resume::{NoTickets, RouteTickets, Tickets};
use super::roots::Roots;
use super::suites;
use super::verify::{AllowedClients, ClientVerifier, Names, ServerVerifier};
use super::witness::{Witness, Witnessed};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CLIENT_SESSIONS_MAX, HANDSHAKE_TIMEOUT_MS};
use crate::time::Now;

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The certificate chain and key that are presented.
    pub identity: Arc<Identity>,
    /// Whether clients present certificates.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// The newest version that is spoken.
    pub max_version: Version,
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
    /// What is spoken over TLS, where both ends are to say so.
    pub application_protocol: Option<ApplicationProtocol>,
    /// Is told the secrets of every session.
    pub danger_key_log: Option<DangerKeyLog>,
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
    /// The newest version that is spoken.
    pub max_version: Version,
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
    /// What is spoken over TLS, where both ends are to say so.
    pub application_protocol: Option<ApplicationProtocol>,
    /// Is told what the server shows of itself.
    pub witness: Option<Arc<Witness>>,
    /// Is told the secrets of every session.
    pub danger_key_log: Option<DangerKeyLog>,
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

/// What is spoken over TLS, as the ends tell each other within the handshake (ALPN, RFC 7301), so
/// that nobody between them can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplicationProtocol {
    /// Its name. A client that offers others alone is refused by the server.
    pub name: &'static str,
    /// A peer that knows of no such names is refused too.
    pub is_required: bool,
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
    openssl_suites: Vec<&'static str>,
    records: RecordPath,
    handshake_timeout: Duration,
}

/// A client's configuration, shared by its connections.
#[derive(Debug)]
pub struct ClientConfig {
    rustls: Arc<rustls::ClientConfig>,
    verifier: Arc<ServerVerifier>,
    /// The application protocol that the server must confirm.
    required_protocol: Option<&'static str>,
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
        let openssl_suites = suites::usable(
            &provider.cipher_suites,
            options.min_version,
            &*options.identity.certified().key,
        );
        let resolver = OneIdentity {
            identity: Arc::clone(&options.identity),
            required_protocol: required(options.application_protocol),
        };
        let mut rustls = rustls::ServerConfig::builder_with_details(provider, Arc::new(CallTime))
            .with_protocol_versions(versions(options.min_version, options.max_version)?)
            .map_err(unusable)?
            .with_client_cert_verifier(for_rustls)
            .with_cert_resolver(Arc::new(resolver));
        if let Some(tickets) = &options.tickets {
            let client_trust = options.client_auth.digest();
            rustls.ticketer = Arc::new(RouteTickets::new(tickets, &client_trust)?);
        }
        rustls.alpn_protocols = offered(options.application_protocol);
        rustls.enable_secret_extraction = true;
        if let Some(log) = &options.danger_key_log {
            rustls.key_log = Arc::new(log.clone());
        }
        Ok(Arc::new(Self {
            rustls: Arc::new(rustls),
            verifier,
            openssl_suites,
            records: options.records,
            handshake_timeout: options.handshake_timeout,
        }))
    }

    /// The same, but every session begins with a full handshake, and none is offered to be resumed.
    pub fn without_resumption(&self) -> Arc<Self> {
        let mut rustls = rustls::ServerConfig::clone(&self.rustls);
        rustls.session_storage = Arc::new(NoServerSessionStorage {});
        rustls.ticketer = Arc::new(NoTickets);
        rustls.send_tls13_tickets = 0;
        Arc::new(Self {
            rustls: Arc::new(rustls),
            verifier: self.verifier.clone(),
            openssl_suites: self.openssl_suites.clone(),
            records: self.records,
            handshake_timeout: self.handshake_timeout,
        })
    }

    /// From the connection being made to the end of the handshake.
    pub fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    /// The cipher suites that a handshake may come to with this key, by OpenSSL's names.
    pub fn openssl_suites(&self) -> &[&'static str] {
        &self.openssl_suites
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
        let for_rustls: Arc<dyn ServerCertVerifier> = match &options.witness {
            Some(witness) => Arc::new(Witnessed::new(&verifier, witness)),
            None => Arc::clone(&verifier) as _,
        };
        let resolver = OwnCertificate {
            identity: options.identity.clone(),
            witness: options.witness.clone(),
        };
        let mut rustls = rustls::ClientConfig::builder_with_details(provider, Arc::new(CallTime))
            .with_protocol_versions(versions(options.min_version, options.max_version)?)
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(for_rustls)
            .with_client_cert_resolver(Arc::new(resolver));
        rustls.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS_MAX);
        rustls.alpn_protocols = offered(options.application_protocol);
        rustls.enable_secret_extraction = true;
        if let Some(log) = &options.danger_key_log {
            rustls.key_log = Arc::new(log.clone());
        }
        Ok(Arc::new(Self {
            rustls: Arc::new(rustls),
            verifier,
            required_protocol: required(options.application_protocol),
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
            required_protocol: self.required_protocol,
            records: self.records,
            handshake_timeout: self.handshake_timeout,
        })
    }

    /// Judges a chain in DER, leaf first, as a handshake with the server `name` would.
    ///
    /// # Errors
    ///
    /// The refusal, as the handshake would end with it.
    pub fn judge(&self, chain: &[Vec<u8>], name: &ServerName<'_>, now: Now) -> Result<()> {
        call::begin(now);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now.wall_s));
        let chain: Vec<_> = chain
            .iter()
            .map(|der| CertificateDer::from(&der[..]))
            .collect();
        let verdict = match chain.split_first() {
            Some((leaf, rest)) => self
                .verifier
                .verify_server_cert(leaf, rest, name, &[], time),
            None => Err(rustls::Error::NoCertificatesPresented),
        };
        verdict
            .map(|_| ())
            .map_err(|error| failure::describe(error, Peer::Server))
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

    pub(super) fn required_protocol(&self) -> Option<&'static str> {
        self.required_protocol
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
            max_version: Version::Tls13,
            suites: Vec::new(),
            records: RecordPath::default(),
            handshake_timeout: Duration::from_millis(HANDSHAKE_TIMEOUT_MS),
            allowed_clients: Vec::new(),
            tickets: None,
            application_protocol: None,
            danger_key_log: None,
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
            max_version: Version::Tls13,
            suites: Vec::new(),
            records: RecordPath::default(),
            handshake_timeout: Duration::from_millis(HANDSHAKE_TIMEOUT_MS),
            allow_cn_name: false,
            application_protocol: None,
            witness: None,
            danger_key_log: None,
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

impl FromStr for ClientIdentity {
    type Err = ();

    /// Reads `cn:NAME`, `san:NAME` or `sha256:FINGERPRINT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':').unwrap_or_default() {
            (_, "") => Err(()),
            ("cn", name) => Ok(Self::CommonName(name.to_owned())),
            ("san", name) => Ok(Self::AltName(name.to_owned())),
            ("sha256", pin) => read_fingerprint(pin).map(Self::Fingerprint).ok_or(()),
            _ => Err(()),
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
}

/// Presents the same identity to every peer.
#[derive(Debug)]
struct OneIdentity {
    identity: Arc<Identity>,
    /// The application protocol that a client must offer.
    required_protocol: Option<&'static str>,
}

impl ResolvesServerCert for OneIdentity {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            call::note_server_name(name);
        }
        if let (Some(required), None) = (self.required_protocol, hello.alpn()) {
            call::refuse(failure::no_application_protocol(Peer::Client, required));
            return None;
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

/// Presents the same identity to every server that asks, where there is one.
#[derive(Debug)]
struct OwnCertificate {
    identity: Option<Arc<Identity>>,
    witness: Option<Arc<Witness>>,
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        if let Some(witness) = &self.witness {
            witness.note_request();
        }
        let identity = self.identity.as_ref()?;
        Some(Arc::clone(identity.certified()))
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

fn provider(suites: &[String], min_version: Version) -> Result<Arc<CryptoProvider>> {
    let cipher_suites = suites::select(suites, min_version)?;
    Ok(Arc::new(CryptoProvider {
        cipher_suites,
        ..aws_lc_rs::default_provider()
    }))
}

/// The versions from the oldest to the newest that are spoken.
fn versions(
    min: Version,
    max: Version,
) -> Result<&'static [&'static rustls::SupportedProtocolVersion]> {
    match (min, max) {
        (Version::Tls12, Version::Tls13) => Ok(&VERSIONS),
        (Version::Tls13, Version::Tls13) => Ok(&VERSIONS[..1]),
        (Version::Tls12, Version::Tls12) => Ok(&VERSIONS[1..]),
        (Version::Tls13, Version::Tls12) => Err(Error::new(
            ErrorKind::Config,
            "no TLS version is left: the oldest that may be spoken is 1.3, and the newest 1.2",
        )),
    }
}

fn offered(protocol: Option<ApplicationProtocol>) -> Vec<Vec<u8>> {
    let names = protocol.into_iter();
    names.map(|of| of.name.as_bytes().to_vec()).collect()
}

fn required(protocol: Option<ApplicationProtocol>) -> Option<&'static str> {
    protocol.filter(|of| of.is_required).map(|of| of.name)
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
