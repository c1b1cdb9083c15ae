use std::sync::Arc;

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
pub struct Identity {}

/// Certificate authorities that are trusted.
#[derive(Debug)]
pub struct Roots {}

impl Identity {
    /// Reads a chain, leaf first, and its key in PKCS#8, PKCS#1 or SEC1. Errors name the file, the certificate
    /// and what to do: no certificate, no key, an encrypted key, a key of another certificate.
    pub fn from_pem(chain: Pem<'_>, key: Pem<'_>) -> Result<Arc<Self>> {
        let _ = (chain, key);
        Err(Error::new(ErrorKind::Internal, "TLS is not built yet"))
    }

    /// The last second at which the leaf is valid, since 1970-01-01 UTC.
    pub fn not_after_s(&self) -> u64 {
        0
    }

    /// The leaf's subject, as in `CN=db1`.
    pub fn subject(&self) -> &str {
        ""
    }
}

impl Roots {
    /// Reads certificate authorities from one or more files.
    pub fn from_pem(files: &[Pem<'_>]) -> Result<Arc<Self>> {
        let _ = files;
        Err(Error::new(ErrorKind::Internal, "TLS is not built yet"))
    }
}
