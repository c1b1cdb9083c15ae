//! Refusals in words: which certificate, judged by what, why, and what mends it.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::{CertificateFault, Error, ErrorKind};
use crate::tls::call;
use crate::tls::certificate::{Certificate, fingerprint};
use crate::tls::failure::Peer;
use crate::tls::names::{Portrait, day};
use crate::tls::roots::Roots;

/// A refusal on its way into words.
pub(super) struct Refused<'a> {
    pub(super) peer: Peer,
    pub(super) roots: Option<&'a Arc<Roots>>,
    pub(super) now: UnixTime,
    pub(super) wanted: Option<&'a ServerName<'a>>,
}

impl Refused<'_> {
    /// Notes it for the error that the handshake ends with.
    pub(super) fn note(&self, der: &CertificateDer<'_>, error: &rustls::Error) {
        let rustls::Error::InvalidCertificate(reason) = error else {
            return;
        };
        let portrait = Portrait::of(der);
        let reason = first_reason(reason, der, &portrait);
        let fault = fault(reason);
        let who = self.peer.name();
        let what = self.what(der, &portrait, reason);
        let which = self.which(&portrait);
        let text = format!(
            "{who} certificate {what} {which}; {}",
            self.remedy(&portrait, reason)
        );
        call::refuse(Error::new(ErrorKind::Certificate(fault), text));
    }

    fn which(&self, portrait: &Portrait) -> String {
        let (subject, issuer) = (&portrait.subject, &portrait.issuer);
        let Some(roots) = self.roots else {
            return format!("({subject}, issued by {issuer})");
        };
        let by = match roots.crls() {
            Some(crls) => format!("{} and {}", roots.names(), crls.names()),
            None => roots.names().to_owned(),
        };
        format!("({subject}, issued by {issuer}, judged by {by})")
    }

    fn what(
        &self,
        der: &CertificateDer<'_>,
        portrait: &Portrait,
        reason: &CertificateError,
    ) -> String {
        match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("expired on {}", day(self.end_s(portrait, reason)))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "is not valid yet, and it is {} here",
                day(self.now.as_secs())
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                self.name_text(portrait)
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                self.issuer_text(der, portrait).into()
            }
            CertificateError::Revoked => "was revoked".into(),
            CertificateError::UnknownRevocationStatus => {
                "may have been revoked: no revocation list that its issuer signed is at hand".into()
            }
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                "may have been revoked: the revocation list of its issuer is overdue".into()
            }
            CertificateError::ApplicationVerificationFailure => format!(
                "is not among those that are allowed here: its SHA-256 fingerprint is {}",
                hex(&fingerprint(der))
            ),
            _ if is_authority(der) => {
                "is that of an authority (CA:TRUE), which no server or client is to have".into()
            }
            other => format!("is unusable: {other}"),
        }
    }

    fn remedy(&self, portrait: &Portrait, reason: &CertificateError) -> String {
        match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew it".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "compare the clocks of both ends".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                self.name_remedy(portrait)
            }
            CertificateError::UnknownIssuer if portrait.is_self_issued() => {
                "pin it by its fingerprint, which `openssl x509 -in CERT -noout -fingerprint \
                 -sha256` prints at the peer, or add it to the trusted authorities"
                    .into()
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "add the authority to the trusted ones, or let the peer send its intermediate \
                 certificates: `openssl verify -show_chain -CAfile CA -untrusted CHAIN CERT` shows \
                 what is missing"
                    .into()
            }
            CertificateError::Revoked => "issue another one".into(),
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                "`openssl ca -gencrl` makes a new list at the issuer".into()
            }
            CertificateError::ApplicationVerificationFailure => {
                "where it is meant to be, add it: `openssl x509 -in CERT -noout -subject -ext \
                 subjectAltName -fingerprint -sha256` prints what it can be known by"
                    .into()
            }
            _ => "issue it again with `openssl x509 -req … -extfile`, basicConstraints = CA:FALSE \
            and a subjectAltName, or pin it by its fingerprint"
                .into(),
        }
    }

    fn end_s(&self, portrait: &Portrait, reason: &CertificateError) -> u64 {
        match reason {
            CertificateError::ExpiredContext { not_after, .. } => not_after.as_secs(),
            _ => portrait.not_after_s,
        }
    }

    fn issuer_text(&self, der: &CertificateDer<'_>, portrait: &Portrait) -> &'static str {
        let has_namesake = || {
            let certificate = Certificate::from_der(der)?;
            self.roots?.named(certificate.issuer_der()).next()
        };
        if portrait.is_self_issued() {
            return "is self-signed and not trusted";
        }
        if has_namesake().is_some() {
            return "was not issued by the authority of that name that is trusted here: the keys \
                    differ";
        }
        "was issued by an authority that is not trusted here, or an intermediate certificate is \
         missing"
    }

    fn name_text(&self, portrait: &Portrait) -> String {
        let wanted = self.wanted();
        if portrait.names.is_empty() {
            return format!("names no host, and `{wanted}` was asked for");
        }
        format!("is for {}, not for `{wanted}`", portrait.names.join(", "))
    }

    fn name_remedy(&self, portrait: &Portrait) -> String {
        if !portrait.names.is_empty() {
            return "connect by one of these names or set the server name".into();
        }
        let kind = match self.wanted {
            Some(ServerName::IpAddress(_)) => "IP",
            _ => "DNS",
        };
        let wanted = self.wanted();
        format!(
            "issue it again with `openssl x509 -req … -extfile` and subjectAltName = \
             {kind}:{wanted}, allow its common name (allow_cn_name), or verify the authority alone \
             (verify-ca)"
        )
    }

    fn wanted(&self) -> String {
        self.wanted
            .map_or_else(|| "this connection".into(), |name| name.to_str().into())
    }
}

/// As `openssl x509 -fingerprint` writes it.
fn hex(fingerprint: &[u8]) -> String {
    let bytes: Vec<_> = fingerprint
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    bytes.join(":")
}

/// webpki looks at what a certificate is for before it looks for the issuer, which one that a peer
/// made for itself does not have. A signature that an authority's key cannot have made, being of
/// another kind, is none of that authority.
fn first_reason<'r>(
    reason: &'r CertificateError,
    der: &CertificateDer<'_>,
    portrait: &Portrait,
) -> &'r CertificateError {
    if let CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } = reason {
        return &CertificateError::BadSignature;
    }
    let is_its_own_authority = portrait.is_self_issued() && is_authority(der);
    match fault(reason) {
        CertificateFault::Unusable if is_its_own_authority => &CertificateError::UnknownIssuer,
        _ => reason,
    }
}

fn is_authority(der: &CertificateDer<'_>) -> bool {
    Certificate::from_der(der).is_some_and(|certificate| certificate.x509().is_ca())
}

fn fault(reason: &CertificateError) -> CertificateFault {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::Name
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            CertificateFault::UnknownIssuer
        }
        CertificateError::Revoked
        | CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => CertificateFault::Revoked,
        CertificateError::ApplicationVerificationFailure => CertificateFault::NotAllowed,
        _ => CertificateFault::Unusable,
    }
}
