use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::key::signing_key;
use super::names::Portrait;
use super::validity::Validity;
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
    validity: Validity,
}

impl Identity {
    /// Reads a chain, in any order, and the key of one of its certificates, in PKCS#8, PKCS#1 or
    /// SEC1. Errors name the file, the certificate and what to do: no certificate, no key, a key of
    /// another certificate.
    pub fn from_pem(chain: Pem<'_>, key: Pem<'_>) -> Result<Arc<Self>> {
        Self::read(chain, key, None)
    }

    /// The same with a key that may be encrypted (PKCS#8, PBES2). The passphrase stays the
    /// caller's, to be erased by it.
    pub fn from_encrypted_pem(
        chain: Pem<'_>,
        key: Pem<'_>,
        passphrase: &[u8],
    ) -> Result<Arc<Self>> {
        Self::read(chain, key, Some(passphrase))
    }

    fn read(chain: Pem<'_>, key: Pem<'_>, passphrase: Option<&[u8]>) -> Result<Arc<Self>> {
        let certificates = certificates(chain)?;
        let signing_key = signing_key(key, passphrase)?;
        let public_key = signing_key.public_key();
        let key_der = public_key.as_deref().unwrap_or_default();
        let first = certificates.first().map(Portrait::of).unwrap_or_default();
        let certificates = leaf_first(certificates, key_der).ok_or_else(|| {
            config(
                key.name,
                format!(
                    "the private key does not belong to any certificate of {} (the first is {}); \
                     `openssl pkey -in {} -pubout` and `openssl x509 -in {} -noout -pubkey` print \
                     what must be the same",
                    chain.name, first.subject, key.name, chain.name
                ),
            )
        })?;
        let portrait = certificates.first().map(Portrait::of).unwrap_or_default();
        let validity = certificates
            .first()
            .map(|der| Validity::of(der, chain.name));
        Ok(Arc::new(Self {
            validity: validity.unwrap_or_default(),
            // Not parsed again: what rustls cannot read, X.509 v1 that is, it can present all the
            // same.
            certified: Arc::new(CertifiedKey::new(certificates, signing_key)),
            portrait,
        }))
    }

    /// The last second at which the leaf is valid, since 1970-01-01 UTC.
    pub fn not_after_s(&self) -> u64 {
        self.portrait.not_after_s
    }

    /// How long the leaf is good.
    pub fn validity(&self) -> &Validity {
        &self.validity
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

/// The certificates of a file.
pub(super) fn certificates(pem: Pem<'_>) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.text)
        .collect::<Result<_, _>>()
        .map_err(|error| config(pem.name, format!("broken PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(config(
            pem.name,
            "holds no certificate (-----BEGIN CERTIFICATE-----); `openssl x509 -inform DER` turns \
             one in DER into PEM"
                .into(),
        ));
    }
    Ok(certificates)
}

pub(super) fn config(name: &str, text: String) -> Error {
    Error::new(ErrorKind::Config, text).at(name)
}

/// The certificate of this key, then its issuer and so on, then the others as they stand; `None`
/// where no certificate has the key.
fn leaf_first(
    mut rest: Vec<CertificateDer<'static>>,
    key_der: &[u8],
) -> Option<Vec<CertificateDer<'static>>> {
    let is_leaf = |der: &CertificateDer<'_>| {
        Certificate::from_der(der).is_some_and(|c| c.key_der() == key_der)
    };
    let mut chain = vec![rest.remove(rest.iter().position(is_leaf)?)];
    while let Some(at) = position_of_issuer(&rest, chain.last()?) {
        chain.push(rest.remove(at));
    }
    chain.append(&mut rest);
    Some(chain)
}

fn position_of_issuer(
    candidates: &[CertificateDer<'_>],
    certificate: &CertificateDer<'_>,
) -> Option<usize> {
    let certificate = Certificate::from_der(certificate)?;
    if certificate.is_self_issued() {
        return None;
    }
    candidates.iter().position(|candidate| {
        Certificate::from_der(candidate)
            .is_some_and(|candidate| candidate.subject_der() == certificate.issuer_der())
    })
}
