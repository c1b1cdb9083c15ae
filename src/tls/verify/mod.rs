//! Judges the peer's certificate. webpki decides wherever it can.

mod cache;
mod direct;
mod name;
mod refusal;
mod server;
mod signature;

mod client;

use std::sync::Arc;

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};

pub(super) use client::{AllowedClients, ClientVerifier};
pub(super) use server::{Names, ServerVerifier};
pub(super) use signature::verify_signed;

use self::cache::{ChainKey, Span, VerifiedChains};
use super::certificate::{Certificate, Fingerprint, fingerprint};
use super::roots::Roots;
use crate::error::{Error, ErrorKind};

/// What certificates are judged by.
#[derive(Debug)]
enum Trust<W> {
    /// Authorities. What was judged good is remembered.
    Authorities {
        roots: Arc<Roots>,
        webpki: W,
        verified: VerifiedChains,
    },
    /// These certificates and no others. Nothing else about them counts, dates included (RFC 7671
    /// section 5.1).
    Pins(Vec<Fingerprint>),
    /// Nothing.
    Nothing,
}

/// A chain as it was presented, and the time.
struct Presented<'a> {
    leaf: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    now: UnixTime,
}

impl Presented<'_> {
    fn now_s(&self) -> u64 {
        self.now.as_secs()
    }

    fn certificate(&self) -> Result<Certificate<'_>, CertificateError> {
        Certificate::from_der(self.leaf).ok_or(CertificateError::BadEncoding)
    }

    /// The verdict over a certificate that webpki does not take, its name aside.
    fn judged_directly(
        &self,
        roots: &Roots,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Option<Result<(), CertificateError>> {
        let certificate = match self.certificate() {
            Ok(certificate) => certificate,
            Err(error) => return Some(Err(error)),
        };
        direct::judge(&certificate, roots, self.now_s(), algorithms)
    }

    fn judged_by_pins(&self, pins: &[Fingerprint]) -> Result<(), CertificateError> {
        if pins.contains(&fingerprint(self.leaf)) {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure)
    }

    /// From now to the first end of a certificate in the chain, or to the first revocation list
    /// that is due.
    fn span(&self, roots: &Roots) -> Span {
        let ends_s = std::iter::once(self.leaf)
            .chain(self.intermediates)
            .map(|der| {
                Certificate::from_der(der).map_or(0, |certificate| certificate.not_after_s())
            });
        let due_s = roots.crls().and_then(|crls| crls.next_update_s());
        Span {
            from_s: self.now_s(),
            until_s: ends_s.chain(due_s).min().unwrap_or(0),
        }
    }
}

/// Why authorities or revocation lists cannot be used; webpki does not say which of them.
fn unusable(roots: &Roots, error: &rustls::server::VerifierBuilderError) -> Error {
    let names = match (error, roots.crls()) {
        (rustls::server::VerifierBuilderError::InvalidCrl(_), Some(crls)) => crls.names(),
        _ => roots.names(),
    };
    Error::new(ErrorKind::Config, format!("{names}: {error}"))
}

/// A revocation list that its issuer did not sign says nothing.
fn unknown_status(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertRevocationList(_) => {
            CertificateError::UnknownRevocationStatus.into()
        }
        error => error,
    }
}
