use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::refusal::Refused;
use super::{ChainKey, Presented, Trust, VerifiedChains, signature, unknown_status, unusable};
use crate::error::Result;
use crate::tls::certificate::{Certificate, Fingerprint};
use crate::tls::config::ClientIdentity;
use crate::tls::failure::Peer;
use crate::tls::roots::Roots;

/// Judges clients.
#[derive(Debug)]
pub(in crate::tls) struct ClientVerifier {
    trust: Trust<Arc<dyn ClientCertVerifier>>,
    is_mandatory: bool,
    allowed: AllowedClients,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who may connect with a certificate that is good; nobody is named: everybody.
#[derive(Clone, Debug, Default)]
pub(in crate::tls) struct AllowedClients(pub(in crate::tls) Vec<ClientIdentity>);

impl ClientVerifier {
    pub(in crate::tls) fn authorities(
        roots: &Arc<Roots>,
        is_mandatory: bool,
        allowed: AllowedClients,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let (store, algorithms) = (Arc::clone(roots.store()), Arc::clone(provider));
        let mut builder = WebPkiClientVerifier::builder_with_provider(store, algorithms);
        if let Some(crls) = roots.crls() {
            builder = builder.with_crls(crls.lists().iter().cloned());
            builder = match roots.crl_required() {
                true => builder.enforce_revocation_expiration(),
                false => builder.allow_unknown_revocation_status(),
            };
        }
        let webpki = builder.build().map_err(|error| unusable(roots, &error))?;
        Ok(Self {
            trust: Trust::Authorities {
                roots: Arc::clone(roots),
                webpki,
                verified: VerifiedChains::default(),
            },
            is_mandatory,
            allowed,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    pub(in crate::tls) fn pins(pins: Vec<Fingerprint>, provider: &CryptoProvider) -> Self {
        Self {
            trust: Trust::Pins(pins),
            is_mandatory: true,
            allowed: AllowedClients::default(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    pub(in crate::tls) fn roots(&self) -> Option<&Arc<Roots>> {
        self.trust.roots()
    }

    fn judge(&self, chain: &Presented<'_>) -> Result<(), rustls::Error> {
        match &self.trust {
            Trust::Nothing => {}
            Trust::Pins(pins) => chain.judged_by_pins(pins)?,
            Trust::Authorities {
                roots,
                webpki,
                verified,
            } => {
                let key = ChainKey::new(chain.leaf, chain.intermediates, None);
                if !verified.holds(&key, chain.now_s()) {
                    self.judge_by_authorities(chain, roots, webpki.as_ref())?;
                    verified.insert(key, chain.span(roots));
                }
            }
        }
        if self.allowed.include(&chain.certificate()?) {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn judge_by_authorities(
        &self,
        chain: &Presented<'_>,
        roots: &Roots,
        webpki: &dyn ClientCertVerifier,
    ) -> Result<(), rustls::Error> {
        if let Some(verdict) = chain.judged_directly(roots, &self.algorithms) {
            return Ok(verdict?);
        }
        webpki
            .verify_client_cert(chain.leaf, chain.intermediates, chain.now)
            .map(|_| ())
            .map_err(unknown_status)
    }
}

impl AllowedClients {
    fn include(&self, certificate: &Certificate<'_>) -> bool {
        self.0.is_empty() || self.0.iter().any(|allowed| allowed.is(certificate))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.trust {
            Trust::Authorities { webpki, .. } => webpki.root_hint_subjects(),
            Trust::Pins(_) | Trust::Nothing => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain = Presented {
            leaf: end_entity,
            intermediates,
            now,
        };
        self.judge(&chain)
            .map(|()| ClientCertVerified::assertion())
            .inspect_err(|error| {
                let refused = Refused {
                    peer: Peer::Client,
                    roots: self.trust.roots(),
                    now,
                    wanted: None,
                };
                refused.note(end_entity, error);
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls12(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls13(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
