//! Judges the peer's certificate: webpki decides, this file says why.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::call;
use super::failure::Peer;
use super::identity::Roots;
use super::names::{Portrait, day};
use crate::error::{CertificateFault, Error, ErrorKind, Result};

/// Judges servers: the chain always, the name where it counts.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    roots: Arc<Roots>,
    checks_name: bool,
}

/// Judges clients: their chain.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    roots: Arc<Roots>,
}

/// Takes every certificate; that the peer has its key is still proved.
#[derive(Debug)]
pub(super) struct DangerAnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(
        roots: &Arc<Roots>,
        checks_name: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let (store, provider) = (Arc::clone(roots.store()), Arc::clone(provider));
        let webpki = WebPkiServerVerifier::builder_with_provider(store, provider)
            .build()
            .map_err(|error| unusable_roots(roots, &error))?;
        Ok(Self {
            webpki,
            roots: Arc::clone(roots),
            checks_name,
        })
    }
}

impl ClientVerifier {
    pub(super) fn new(
        roots: &Arc<Roots>,
        is_mandatory: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let (store, provider) = (Arc::clone(roots.store()), Arc::clone(provider));
        let builder = WebPkiClientVerifier::builder_with_provider(store, provider);
        let builder = if is_mandatory {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        let webpki = builder
            .build()
            .map_err(|error| unusable_roots(roots, &error))?;
        Ok(Self {
            webpki,
            roots: Arc::clone(roots),
        })
    }
}

impl DangerAnyServer {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for DangerAnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verdict {
            // The name is what webpki looks at last: everything else was in order.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let refused = Refused {
                    peer: Peer::Server,
                    roots: &self.roots,
                    now,
                };
                refused.note(end_entity, Some(server_name), &error);
                Err(error)
            }
            good => good,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.webpki
            .verify_client_cert(end_entity, intermediates, now)
            .inspect_err(|error| {
                let refused = Refused {
                    peer: Peer::Client,
                    roots: &self.roots,
                    now,
                };
                refused.note(end_entity, None, error);
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// A refusal on its way into words.
struct Refused<'a> {
    peer: Peer,
    roots: &'a Roots,
    now: UnixTime,
}

impl Refused<'_> {
    fn note(
        &self,
        certificate: &CertificateDer<'_>,
        wanted: Option<&ServerName<'_>>,
        error: &rustls::Error,
    ) {
        let rustls::Error::InvalidCertificate(reason) = error else {
            return;
        };
        let portrait = Portrait::of(certificate);
        let (fault, text) = self.explain(&portrait, wanted, reason);
        call::refuse(Error::new(ErrorKind::Certificate(fault), text));
    }

    fn explain(
        &self,
        portrait: &Portrait,
        wanted: Option<&ServerName<'_>>,
        reason: &CertificateError,
    ) -> (CertificateFault, String) {
        let who = self.peer.name();
        let roots = self.roots.names();
        let Portrait {
            subject, issuer, ..
        } = portrait;
        let which = format!("({subject}, issued by {issuer}, judged by {roots})");
        match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let day = match reason {
                    CertificateError::ExpiredContext { not_after, .. } => day(not_after.as_secs()),
                    _ => day(portrait.not_after_s),
                };
                (
                    CertificateFault::Expired,
                    format!("{who} certificate expired on {day} {which}; renew it"),
                )
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                CertificateFault::NotYetValid,
                format!(
                    "{who} certificate is not valid yet, and it is {} here {which}; compare the \
                     clocks of both ends",
                    day(self.now.as_secs())
                ),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (CertificateFault::Name, self.name_text(portrait, wanted))
            }
            CertificateError::UnknownIssuer if portrait.is_self_issued() => (
                CertificateFault::UnknownIssuer,
                format!("{who} certificate is self-signed and not trusted {which}"),
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                CertificateFault::UnknownIssuer,
                format!(
                    "{who} certificate was issued by an authority that is not trusted here, or an \
                     intermediate certificate is missing {which}"
                ),
            ),
            CertificateError::Revoked => (
                CertificateFault::Revoked,
                format!("{who} certificate was revoked {which}"),
            ),
            _ if portrait.is_v1 => (
                CertificateFault::Unusable,
                format!(
                    "{who} certificate is X.509 v1, which names no purpose and no host {which}; \
                     issue it again with `openssl x509 -req … -extfile` and a subjectAltName"
                ),
            ),
            other => (
                CertificateFault::Unusable,
                format!("{who} certificate is unusable: {other} {which}"),
            ),
        }
    }

    fn name_text(&self, portrait: &Portrait, wanted: Option<&ServerName<'_>>) -> String {
        let wanted = wanted.map_or_else(|| "this connection".into(), |name| name.to_str());
        let Portrait { subject, names, .. } = portrait;
        if names.is_empty() {
            return format!(
                "server certificate names no host ({subject}), and `{wanted}` was asked for; issue \
                 it again with a subjectAltName, or verify the authority alone (verify-ca)"
            );
        }
        format!(
            "server certificate is for {}, not for `{wanted}` ({subject}); connect by one of these \
             names or set the server name",
            names.join(", ")
        )
    }
}

fn unusable_roots(roots: &Roots, error: &rustls::server::VerifierBuilderError) -> Error {
    Error::new(ErrorKind::Config, format!("{}: {error}", roots.names()))
}
