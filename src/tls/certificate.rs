use core::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest;
use x509_parser::asn1_rs::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use super::names::{Oneline, attributes, oneline, short_name};

/// SHA-256 over a whole certificate, as `openssl x509 -fingerprint -sha256` prints it.
pub type Fingerprint = [u8; 32];

/// A certificate that can be asked what it says. It was not verified by being read.
#[derive(Debug)]
pub struct Certificate<'a> {
    der: &'a [u8],
    x509: X509Certificate<'a>,
}

/// A name of the subject alternative name extension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AltName {
    /// A DNS name, as written.
    Dns(String),
    /// An IP address.
    Ip(core::net::IpAddr),
    /// A mail address, as written.
    Email(String),
    /// A URI, as written.
    Uri(String),
}

impl<'a> Certificate<'a> {
    /// Reads a certificate; `None` where it is none.
    pub fn from_der(der: &'a [u8]) -> Option<Self> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        rest.is_empty().then_some(Self { der, x509 })
    }

    /// The subject on one line; `None` where it is not the DER of one that OpenSSL reads.
    pub fn subject(&self, style: Oneline) -> Option<String> {
        oneline(self.x509.subject().as_raw(), style)
    }

    /// The issuer on one line; `None` where it is not the DER of one that OpenSSL reads.
    pub fn issuer(&self, style: Oneline) -> Option<String> {
        oneline(self.x509.issuer().as_raw(), style)
    }

    /// The subject's common name; `None` where it has none or several, or one that is no text.
    pub fn common_name(&self) -> Option<String> {
        let attributes = attributes(self.x509.subject().as_raw())?;
        let mut names = attributes.iter().filter(|a| a.is_common_name());
        let name = names.next()?.text()?;
        names.next().is_none().then_some(name)
    }

    /// The names of the subject alternative name extension; other kinds than [`AltName`]'s are left
    /// out.
    pub fn alt_names(&self) -> Vec<AltName> {
        let Ok(Some(extension)) = self.x509.subject_alternative_name() else {
            return Vec::new();
        };
        let names = &extension.value.general_names;
        names.iter().filter_map(AltName::read).collect()
    }

    /// SHA-256 over the whole certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.der)
    }

    /// The first second at which it is valid, since 1970-01-01 UTC.
    pub fn not_before_s(&self) -> u64 {
        u64::try_from(self.x509.validity().not_before.timestamp()).unwrap_or(0)
    }

    /// The last second at which it is valid, since 1970-01-01 UTC.
    pub fn not_after_s(&self) -> u64 {
        u64::try_from(self.x509.validity().not_after.timestamp()).unwrap_or(0)
    }

    /// True for X.509 v1, which has no extensions.
    pub fn is_v1(&self) -> bool {
        self.x509.version() == X509Version::V1
    }

    /// True for the certificate of an authority.
    pub fn is_authority(&self) -> bool {
        self.x509.is_ca()
    }

    /// The kind of its key, as in `RSA`, `EC prime256v1` or `ED25519`: OpenSSL's names.
    pub fn key_kind(&self) -> String {
        let algorithm = &self.x509.public_key().algorithm;
        let curve = || algorithm.parameters.as_ref()?.as_oid().ok();
        match (name_of(&algorithm.algorithm).as_str(), curve()) {
            ("rsaEncryption", _) => "RSA".into(),
            ("id-ecPublicKey", Some(curve)) => format!("EC {}", name_of(&curve)),
            (kind, _) => kind.into(),
        }
    }

    /// The length of its key in bits: of the modulus, or of a coordinate; `None` where the kind of
    /// key is not known here.
    pub fn key_bits(&self) -> Option<usize> {
        match (
            self.x509.public_key().parsed().ok()?,
            self.key_kind().as_str(),
        ) {
            (PublicKey::RSA(key), _) => Some(key.key_size()),
            (_, "EC prime256v1" | "ED25519") => Some(256),
            (_, "EC secp384r1") => Some(384),
            (_, "EC secp521r1") => Some(521),
            _ => None,
        }
    }

    /// How its issuer signed it, as in `RSA-SHA256`: OpenSSL's short name.
    pub fn signature_algorithm(&self) -> String {
        name_of(&self.x509.signature_algorithm.algorithm)
    }

    /// True where the certificate names itself as its issuer.
    pub fn is_self_issued(&self) -> bool {
        self.issuer_der() == self.subject_der()
    }

    pub(super) fn der(&self) -> &'a [u8] {
        self.der
    }

    pub(super) fn x509(&self) -> &X509Certificate<'a> {
        &self.x509
    }

    pub(super) fn subject_der(&self) -> &[u8] {
        self.x509.subject().as_raw()
    }

    pub(super) fn issuer_der(&self) -> &[u8] {
        self.x509.issuer().as_raw()
    }

    /// The SubjectPublicKeyInfo.
    pub(super) fn key_der(&self) -> &[u8] {
        self.x509.public_key().raw
    }
}

impl AltName {
    fn read(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns((*name).to_owned())),
            GeneralName::RFC822Name(name) => Some(Self::Email((*name).to_owned())),
            GeneralName::URI(name) => Some(Self::Uri((*name).to_owned())),
            GeneralName::IPAddress(bytes) => ip(bytes).map(Self::Ip),
            _ => None,
        }
    }
}

impl std::fmt::Display for AltName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) | Self::Email(name) | Self::Uri(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

fn name_of(oid: &Oid<'_>) -> String {
    short_name(oid.as_bytes()).unwrap_or_else(|| "no object identifier".into())
}

/// Reads a fingerprint in hex as `openssl x509 -fingerprint` prints it, or without the colons.
pub fn read_fingerprint(text: &str) -> Option<Fingerprint> {
    let (_, hex) = text.rsplit_once('=').unwrap_or(("", text));
    let digits: Vec<_> = hex
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<_> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok().filter(|_| rest.is_empty())
}

/// SHA-256 over a certificate.
pub(super) fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    fingerprint
}

fn ip(bytes: &[u8]) -> Option<core::net::IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|bytes| Ipv6Addr::from(bytes).into())
}
