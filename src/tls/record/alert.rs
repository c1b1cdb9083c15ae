use rustls::AlertDescription;

use super::keys::Protocol;
use crate::error::{Error, ErrorKind};
use crate::tls::suites::SPOKEN;

/// An alert (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    is_fatal: bool,
    description: u8,
}

/// What a received alert means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The peer has ended its side.
    Close,
    /// Nothing changes; a peer that sends these in a row is misbehaving.
    Warning,
}

impl Alert {
    pub(crate) const CLOSE_NOTIFY: Self = Self {
        is_fatal: false,
        description: 0,
    };
    pub(crate) const UNEXPECTED_MESSAGE: Self = Self {
        is_fatal: true,
        description: 10,
    };
    pub(crate) const BAD_RECORD_MAC: Self = Self {
        is_fatal: true,
        description: 20,
    };
    pub(crate) const RECORD_OVERFLOW: Self = Self {
        is_fatal: true,
        description: 22,
    };
    pub(crate) const DECODE_ERROR: Self = Self {
        is_fatal: true,
        description: 50,
    };
    pub(crate) const ILLEGAL_PARAMETER: Self = Self {
        is_fatal: true,
        description: 47,
    };
    pub(crate) const INTERNAL_ERROR: Self = Self {
        is_fatal: true,
        description: 80,
    };
    pub(crate) const NO_RENEGOTIATION: Self = Self {
        is_fatal: false,
        description: 100,
    };

    /// An alert that ends the connection.
    pub(crate) fn fatal(description: u8) -> Self {
        Self {
            is_fatal: true,
            description,
        }
    }

    pub(crate) fn to_wire(self) -> [u8; 2] {
        [if self.is_fatal { 2 } else { 1 }, self.description]
    }

    /// Judges the body of a received alert. In TLS 1.3 the level says nothing, and every alert but
    /// close_notify and user_canceled is fatal (RFC 8446 section 6).
    pub(crate) fn judge(body: &[u8], protocol: Protocol) -> Result<Meaning, Refused> {
        let &[level, description] = body else {
            return Err(malformed());
        };
        match (protocol, level, description) {
            (Protocol::Tls12, 0 | 3.., _) => Err(malformed()),
            (_, _, 0) => Ok(Meaning::Close),
            (Protocol::Tls13, _, 90) | (Protocol::Tls12, 1, _) => Ok(Meaning::Warning),
            _ => Err(Refused {
                alert: None,
                error: error_of_alert(description),
            }),
        }
    }
}

/// A record that ends the connection.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What the peer is told; nothing where it has ended the connection itself.
    pub(crate) alert: Option<Alert>,
    pub(crate) error: Error,
}

impl Refused {
    pub(crate) fn new(alert: Alert, error: Error) -> Self {
        Self {
            alert: Some(alert),
            error,
        }
    }
}

/// A record that has no place here.
pub(crate) fn unexpected(what: &str) -> Refused {
    let text = format!("peer sent {what}");
    Refused::new(
        Alert::UNEXPECTED_MESSAGE,
        Error::new(ErrorKind::TlsProtocol, text),
    )
}

fn malformed() -> Refused {
    let text = "peer sent an alert that cannot be read";
    Refused::new(
        Alert::DECODE_ERROR,
        Error::new(ErrorKind::TlsProtocol, text),
    )
}

/// The error that a fatal alert of the peer is for this end, with what it usually means.
pub(crate) fn error_of_alert(description: u8) -> Error {
    let name = match AlertDescription::from(description) {
        AlertDescription::Unknown(_) => format!("unknown alert {description}"),
        known => format!("{known:?}"),
    };
    let hint = match description {
        40 => format!(
            "; it found no version, suite or group that both ends speak: this end speaks {SPOKEN}"
        ),
        42..=46 => "; it refuses the certificate of this end".into(),
        48 => "; it does not know the authority that issued the certificate of this end".into(),
        70 => "; it does not speak the TLS versions of this end".into(),
        116 => "; it wants a client certificate".into(),
        120 => "; it expects another application protocol (ALPN): where that was agreed on before \
                TLS began, the agreement was changed on its way"
            .into(),
        _ => String::new(),
    };
    Error::new(
        ErrorKind::TlsAlert(description),
        format!("peer ended TLS with the alert {name}{hint}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_count_in_tls12_and_not_in_tls13() {
        assert_eq!(
            Alert::judge(&[1, 100], Protocol::Tls12).unwrap(),
            Meaning::Warning
        );
        assert_eq!(
            Alert::judge(&[1, 100], Protocol::Tls13).unwrap_err().alert,
            None
        );
        assert_eq!(
            Alert::judge(&[2, 0], Protocol::Tls13).unwrap(),
            Meaning::Close
        );
        assert_eq!(
            Alert::judge(&[1, 90], Protocol::Tls13).unwrap(),
            Meaning::Warning
        );
        let malformed = Alert::judge(&[2], Protocol::Tls13).unwrap_err();
        assert_eq!(malformed.alert, Some(Alert::DECODE_ERROR));
        let unknown = Alert::judge(&[3, 10], Protocol::Tls12).unwrap_err();
        assert_eq!(unknown.alert, Some(Alert::DECODE_ERROR));
        assert!(Alert::judge(&[3, 0], Protocol::Tls12).is_err());
        let ignored = Alert::judge(&[3, 10], Protocol::Tls13).unwrap_err();
        assert_eq!(ignored.error.kind(), ErrorKind::TlsAlert(10));
    }

    #[test]
    fn an_alert_is_named_with_what_it_means() {
        let error = error_of_alert(48);
        assert_eq!(error.kind(), ErrorKind::TlsAlert(48));
        assert!(error.to_string().contains("UnknownCA"), "{error}");
    }
}
