//! Signatures checked with a bare public key, so that no certificate is too old or too odd to prove
//! that its peer has the key. The helpers of rustls parse the certificate first, and know no X.509
//! v1.

use rustls::CertificateError::BadEncoding;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};

use crate::tls::certificate::Certificate;
use crate::tls::der::{self, Elements};

/// Checks the handshake signature of a TLS 1.3 peer.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &[u8],
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = read(certificate)?;
    let key = SubjectPublicKeyInfoDer::from(certificate.key_der());
    verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}

/// Checks the handshake signature of a TLS 1.2 peer.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &[u8],
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = read(certificate)?;
    let (_, candidates) = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    // A scheme of TLS 1.2 leaves the curve open.
    verify(
        candidates,
        certificate.key_der(),
        None,
        message,
        signed.signature(),
    )
    .map(|()| HandshakeSignatureValid::assertion())
    .map_err(Error::InvalidCertificate)
}

/// Checks that `key_der`, a SubjectPublicKeyInfo, signed a certificate or a revocation list.
pub(in crate::tls) fn verify_signed(
    signed: &[u8],
    key_der: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), CertificateError> {
    let (message, algorithm, signature) = signed_parts(signed).ok_or(BadEncoding)?;
    verify(algorithms.all, key_der, Some(algorithm), message, signature)
}

fn verify(
    candidates: &[&dyn SignatureVerificationAlgorithm],
    key_der: &[u8],
    algorithm: Option<&[u8]>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), CertificateError> {
    let (key_algorithm, key) = key_parts(key_der).ok_or(BadEncoding)?;
    let is_good = candidates
        .iter()
        .filter(|candidate| candidate.public_key_alg_id().as_ref() == key_algorithm)
        .filter(|candidate| {
            algorithm.is_none_or(|wanted| candidate.signature_alg_id().as_ref() == wanted)
        })
        .any(|candidate| candidate.verify_signature(key, message, signature).is_ok());
    is_good.then_some(()).ok_or(CertificateError::BadSignature)
}

/// What is signed, the AlgorithmIdentifier's body, the signature.
fn signed_parts(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut parts = Elements::new(der::only(der, der::SEQUENCE)?);
    let message = parts.next()?.whole;
    let algorithm = parts.expect(der::SEQUENCE)?;
    let signature = parts.expect(der::BIT_STRING)?.strip_prefix(&[0])?;
    parts.is_empty().then_some((message, algorithm, signature))
}

/// The AlgorithmIdentifier's body and the key of a SubjectPublicKeyInfo.
fn key_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = Elements::new(der::only(der, der::SEQUENCE)?);
    let algorithm = parts.expect(der::SEQUENCE)?;
    let key = parts.expect(der::BIT_STRING)?.strip_prefix(&[0])?;
    Some((algorithm, key))
}

fn read(der: &[u8]) -> Result<Certificate<'_>, Error> {
    Certificate::from_der(der).ok_or(Error::InvalidCertificate(BadEncoding))
}
