//! rustls' errors in the words of this crate.

use rustls::{AlertDescription, PeerIncompatible};

use super::call;
use super::record::error_of_alert;
use super::suites::SPOKEN;
use crate::error::{CertificateFault, Error, ErrorKind};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Server,
}

impl Peer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Says whose fault an error of rustls is and what happened.
pub(super) fn describe(error: rustls::Error, peer: Peer) -> Error {
    let who = peer.name();
    match error {
        rustls::Error::InvalidCertificate(reason) => call::take_refusal().unwrap_or_else(|| {
            let text = format!("{who} certificate cannot be used: {reason}");
            Error::new(ErrorKind::Certificate(CertificateFault::Unusable), text)
        }),
        rustls::Error::NoCertificatesPresented => Error::new(
            ErrorKind::Certificate(CertificateFault::Missing),
            format!("{who} presented no certificate, and one is required"),
        ),
        rustls::Error::AlertReceived(alert) => error_of_alert(wire_value(alert)),
        rustls::Error::PeerIncompatible(reason) => {
            Error::new(ErrorKind::TlsIncompatible, incompatible(&reason, who))
        }
        rustls::Error::NoApplicationProtocol => {
            let text = format!(
                "{who} offers other application protocols (ALPN) than the one that is spoken here; \
                 where that was agreed on before TLS began, the agreement was changed on its way"
            );
            Error::new(ErrorKind::TlsIncompatible, text)
        }
        rustls::Error::General(text) => {
            call::take_refusal().unwrap_or_else(|| Error::new(ErrorKind::Internal, text))
        }
        rustls::Error::FailedToGetRandomBytes
        | rustls::Error::FailedToGetCurrentTime
        | rustls::Error::HandshakeNotComplete
        | rustls::Error::BadMaxFragmentSize
        | rustls::Error::EncryptError => Error::new(ErrorKind::Internal, error.to_string()),
        other => Error::new(
            ErrorKind::TlsProtocol,
            format!("{who} broke the TLS protocol: {other}"),
        ),
    }
}

/// The error of a peer that does not say what is spoken over TLS.
pub(super) fn no_application_protocol(peer: Peer, required: &str) -> Error {
    let who = peer.name();
    let text = format!(
        "{who} does not name the application protocol (ALPN), and `{required}` is required: either \
         {who} does not know of it, or what was agreed on before TLS began was changed on its way"
    );
    Error::new(ErrorKind::TlsIncompatible, text)
}

fn incompatible(reason: &PeerIncompatible, who: &str) -> String {
    match reason {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            format!("{who} speaks no TLS version that is enabled here ({reason:?})")
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            format!("{who} shares no cipher suite with this end, which speaks {SPOKEN}")
        }
        PeerIncompatible::NoKxGroupsInCommon => {
            // A client without ECDHE names none.
            format!("{who} shares no key exchange group with this end, which speaks {SPOKEN}")
        }
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            format!("{who} shares no signature scheme with the key of this end's certificate")
        }
        other => format!("{who} is incompatible: {other:?}"),
    }
}

fn wire_value(alert: AlertDescription) -> u8 {
    u8::from(alert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_say_whose_fault_it_is() {
        let cases = [
            (rustls::Error::DecryptError, ErrorKind::TlsProtocol),
            (rustls::Error::General("x".into()), ErrorKind::Internal),
            (
                rustls::Error::NoCertificatesPresented,
                ErrorKind::Certificate(CertificateFault::Missing),
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::UnknownCA),
                ErrorKind::TlsAlert(48),
            ),
            (
                rustls::Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                ErrorKind::TlsIncompatible,
            ),
        ];
        for (error, kind) in cases {
            assert_eq!(describe(error, Peer::Client).kind(), kind);
        }
    }
}
