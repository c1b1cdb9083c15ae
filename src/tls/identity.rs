use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::names::Portrait;
use crate::error::{Error, ErrorKind, Result};

/// PEM text with the name under which errors speak of it: its file, as a rule.
#[derive(Clone, Copy, Debug)]
pub struct Pem<'a> {
    /// The file it was read from, or another name for it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a [u8],
}

/// A certificate chain with its private key.
#[derive(Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    portrait: Portrait,
}

/// Certificate authorities that are trusted.
#[derive(Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    names: String,
}

impl Identity {
    /// Reads a chain, leaf first, and its key in PKCS#8, PKCS#1 or SEC1. Errors name the file, the
    /// certificate and what to do: no certificate, no key, an encrypted key, a key of another
    /// certificate.
    pub fn from_pem(chain: Pem<'_>, key: Pem<'_>) -> Result<Arc<Self>> {
        let certificates = certificates(chain)?;
        let portrait = certificates.first().map(Portrait::of).unwrap_or_default();
        let signing_key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(private_key(key)?)
            .map_err(|error| {
                config(key.name, format!("the private key cannot be used: {error}"))
            })?;
        let certified = CertifiedKey::new(certificates, signing_key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(config(
                    key.name,
                    format!(
                        "the private key does not belong to the first certificate of {} ({})",
                        chain.name, portrait.subject
                    ),
                ));
            }
            Err(_) if portrait.is_v1 => {
                return Err(config(
                    chain.name,
                    format!(
                        "the certificate ({}) is X.509 v1; issue it again with `openssl x509 -req \
                         … -extfile` and a subjectAltName",
                        portrait.subject
                    ),
                ));
            }
            Err(error) => {
                return Err(config(
                    chain.name,
                    format!("the certificate cannot be used: {error}"),
                ));
            }
        }
        Ok(Arc::new(Self {
            certified: Arc::new(certified),
            portrait,
        }))
    }

    /// The last second at which the leaf is valid, since 1970-01-01 UTC.
    pub fn not_after_s(&self) -> u64 {
        self.portrait.not_after_s
    }

    /// The leaf's subject, as in `CN=db1`.
    pub fn subject(&self) -> &str {
        &self.portrait.subject
    }

    /// DNS names and IP addresses that the leaf is for.
    pub fn names(&self) -> &[String] {
        &self.portrait.names
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl Roots {
    /// Reads certificate authorities from one or more files.
    pub fn from_pem(files: &[Pem<'_>]) -> Result<Arc<Self>> {
        let mut store = RootCertStore::empty();
        for file in files {
            for certificate in certificates(*file)? {
                let portrait = Portrait::of(&certificate);
                store.add(certificate).map_err(|error| {
                    let text =
                        format!("the authority {} cannot be used: {error}", portrait.subject);
                    config(file.name, text)
                })?;
            }
        }
        let names: Vec<_> = files.iter().map(|file| file.name).collect();
        Ok(Arc::new(Self {
            store: Arc::new(store),
            names: names.join(", "),
        }))
    }

    /// The number of authorities.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// True where no authority is trusted.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    pub(super) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }

    /// The names of the files, for messages.
    pub(super) fn names(&self) -> &str {
        &self.names
    }
}

fn certificates(pem: Pem<'_>) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.text)
        .collect::<Result<_, _>>()
        .map_err(|error| config(pem.name, format!("broken PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(config(
            pem.name,
            "holds no certificate (-----BEGIN CERTIFICATE-----)".into(),
        ));
    }
    Ok(certificates)
}

fn private_key(pem: Pem<'_>) -> Result<PrivateKeyDer<'static>> {
    // pki-types passes over the PKCS#8 form in silence and takes the older one for broken base64.
    if contains(pem.text, b"ENCRYPTED") {
        let name = pem.name;
        return Err(config(
            name,
            format!(
                "the private key is encrypted; `openssl pkey -in {name} -out plain.pem` decrypts it"
            ),
        ));
    }
    PrivateKeyDer::from_pem_slice(pem.text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => config(
            pem.name,
            "holds no private key (-----BEGIN PRIVATE KEY-----)".into(),
        ),
        error => config(pem.name, format!("broken PEM: {error}")),
    })
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn config(name: &str, text: String) -> Error {
    Error::new(ErrorKind::Config, text).at(name)
}
