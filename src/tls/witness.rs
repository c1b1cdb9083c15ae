use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::suites;
use super::verify::ServerVerifier;

/// Keeps what servers show of themselves to the connections of a client's configuration, also
/// where a handshake fails behind that. It belongs to one connection at a time.
#[derive(Debug, Default)]
pub struct Witness {
    seen: Mutex<Seen>,
}

/// What a server has shown of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its certificates in DER, leaf first, as presented in the last full handshake.
    pub chain: Vec<Vec<u8>>,
    /// How it signed the handshake, by IANA's name, as in `ecdsa_secp256r1_sha256`; empty where it
    /// did not come to that.
    pub signature: &'static str,
    /// It asked for a certificate of the client.
    pub requests_certificate: bool,
}

impl Witness {
    /// What was seen up to now.
    pub fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn note_request(&self) {
        self.note(|seen| seen.requests_certificate = true);
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Judges as its verifier does, before the eyes of a witness.
#[derive(Debug)]
pub(super) struct Witnessed {
    verifier: Arc<ServerVerifier>,
    witness: Arc<Witness>,
}

impl Witnessed {
    pub(super) fn new(verifier: &Arc<ServerVerifier>, witness: &Arc<Witness>) -> Self {
        Self {
            verifier: Arc::clone(verifier),
            witness: Arc::clone(witness),
        }
    }
}

impl ServerCertVerifier for Witnessed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|certificate| certificate.to_vec()).collect();
        self.witness.note(|seen| seen.chain = chain);
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.witness
            .note(|seen| seen.signature = suites::scheme_name(dss.scheme));
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.witness
            .note(|seen| seen.signature = suites::scheme_name(dss.scheme));
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
