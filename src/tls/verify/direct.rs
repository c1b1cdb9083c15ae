//! Certificates that webpki does not take, though users have them: of X.509 v1, signed by an
//! authority without anything between them, and those that are trusted themselves.

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;

use super::signature::verify_signed;
use crate::tls::certificate::Certificate;
use crate::tls::roots::Roots;

/// The verdict over such a certificate, its name aside; `None` where webpki is to judge.
pub(super) fn judge(
    certificate: &Certificate<'_>,
    roots: &Roots,
    now_s: u64,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<Result<(), CertificateError>> {
    if roots.holds(certificate.der()) {
        return Some(in_date(certificate, now_s));
    }
    if certificate.is_v1() {
        return Some(signed(certificate, roots, now_s, algorithms));
    }
    None
}

fn signed(
    certificate: &Certificate<'_>,
    roots: &Roots,
    now_s: u64,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), CertificateError> {
    if certificate.x509().signature_algorithm != certificate.x509().tbs_certificate.signature {
        return Err(CertificateError::BadEncoding);
    }
    let issuer = roots
        .named(certificate.issuer_der())
        .find(|issuer| verify_signed(certificate.der(), issuer.key_der(), algorithms).is_ok())
        .ok_or(CertificateError::UnknownIssuer)?;
    in_date(certificate, now_s)?;
    let Some(crls) = roots.crls() else {
        return Ok(());
    };
    crls.judge(
        certificate,
        issuer.key_der(),
        now_s,
        roots.crl_required(),
        algorithms,
    )
}

fn in_date(certificate: &Certificate<'_>, now_s: u64) -> Result<(), CertificateError> {
    if now_s < certificate.not_before_s() {
        return Err(CertificateError::NotValidYet);
    }
    if now_s > certificate.not_after_s() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}
