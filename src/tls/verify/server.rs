use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

use super::refusal::Refused;
use super::{
    ChainKey, Presented, Trust, VerifiedChains, name, signature, unknown_status, unusable,
};
use crate::error::Result;
use crate::tls::certificate::Fingerprint;
use crate::tls::failure::Peer;
use crate::tls::roots::Roots;

/// Judges servers.
#[derive(Debug)]
pub(in crate::tls) struct ServerVerifier {
    trust: Trust<Arc<WebPkiServerVerifier>>,
    names: Names,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Which names of a server's certificate count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tls) enum Names {
    /// The alternative names.
    Alternative,
    /// The alternative names, and the common name where none of them is a DNS name.
    AlternativeOrCommon,
    /// None.
    Ignored,
}

impl ServerVerifier {
    pub(in crate::tls) fn authorities(
        roots: &Arc<Roots>,
        names: Names,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let (store, algorithms) = (Arc::clone(roots.store()), Arc::clone(provider));
        let mut builder = WebPkiServerVerifier::builder_with_provider(store, algorithms);
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
            names,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    pub(in crate::tls) fn pins(pins: Vec<Fingerprint>, provider: &CryptoProvider) -> Self {
        Self {
            trust: Trust::Pins(pins),
            names: Names::Ignored,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    pub(in crate::tls) fn danger_none(provider: &CryptoProvider) -> Self {
        Self {
            trust: Trust::Nothing,
            names: Names::Ignored,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    pub(in crate::tls) fn roots(&self) -> Option<&Arc<Roots>> {
        self.trust.roots()
    }

    fn judge(&self, chain: &Presented<'_>, wanted: &ServerName<'_>) -> Result<(), rustls::Error> {
        match &self.trust {
            Trust::Nothing => Ok(()),
            Trust::Pins(pins) => Ok(chain.judged_by_pins(pins)?),
            Trust::Authorities {
                roots,
                webpki,
                verified,
            } => {
                let key = ChainKey::new(chain.leaf, chain.intermediates, Some(wanted));
                if verified.holds(&key, chain.now_s()) {
                    return Ok(());
                }
                self.judge_by_authorities(chain, wanted, roots, webpki)?;
                verified.insert(key, chain.span(roots));
                Ok(())
            }
        }
    }

    fn judge_by_authorities(
        &self,
        chain: &Presented<'_>,
        wanted: &ServerName<'_>,
        roots: &Roots,
        webpki: &WebPkiServerVerifier,
    ) -> Result<(), rustls::Error> {
        let verdict = match chain.judged_directly(roots, &self.algorithms) {
            Some(Ok(())) if name::is_for(chain.leaf, wanted) => Ok(()),
            Some(Ok(())) => Err(CertificateError::NotValidForName.into()),
            Some(Err(error)) => Err(error.into()),
            None => webpki
                .verify_server_cert(chain.leaf, chain.intermediates, wanted, &[], chain.now)
                .map(|_| ())
                .map_err(unknown_status),
        };
        match verdict {
            // The name is what is looked at last: everything else was in order.
            Err(error) if name::is_about_name(&error) => match self.names {
                Names::Ignored => Ok(()),
                Names::AlternativeOrCommon
                    if name::common_name_is(&chain.certificate()?, wanted) =>
                {
                    Ok(())
                }
                _ => Err(error),
            },
            verdict => verdict,
        }
    }

    fn refused(&self, chain: &Presented<'_>, wanted: &ServerName<'_>, error: &rustls::Error) {
        let refused = Refused {
            peer: Peer::Server,
            roots: self.trust.roots(),
            now: chain.now,
            wanted: Some(wanted),
        };
        refused.note(chain.leaf, error);
    }
}

impl<W> Trust<W> {
    pub(super) fn roots(&self) -> Option<&Arc<Roots>> {
        match self {
            Self::Authorities { roots, .. } => Some(roots),
            Self::Pins(_) | Self::Nothing => None,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = Presented {
            leaf: end_entity,
            intermediates,
            now,
        };
        self.judge(&chain, server_name)
            .map(|()| ServerCertVerified::assertion())
            .inspect_err(|error| self.refused(&chain, server_name, error))
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
