//! What went wrong: whose fault it is, what to do now, what exactly happened.

use std::fmt;
use std::io;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: its kind says whose fault it is, its text says what exactly happened.
///
/// The text names certificates, files and reasons. It belongs in a log or before the eyes of
/// whoever runs this end, never on the wire: a peer that has not authenticated learns the TLS alert
/// only.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    // Boxed, since results of the data path carry this type and must stay small.
    inner: Box<Inner>,
}

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    text: String,
    os_error: Option<i32>,
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The calling program: a call out of order, or a value that can never be right.
    Misuse,
    /// The operator: a configuration value or a file that cannot be used.
    Config,
    /// The operating system or the link.
    Io,
    /// The link or the peer: the stream ended without the peer's close_notify.
    Truncated,
    /// The peer or the link: a deadline passed.
    Timeout,
    /// The peer broke the database protocol.
    Protocol,
    /// The peer speaks something else than TLS.
    NotTls,
    /// The peer broke the TLS protocol.
    TlsProtocol,
    /// Neither end is wrong, but they share no version, suite, group or signature scheme.
    TlsIncompatible,
    /// The peer gave up and said why with this TLS alert (RFC 8446 section 6).
    TlsAlert(u8),
    /// The peer's certificate was refused by this end.
    Certificate(CertificateFault),
    /// The peer logs in as somebody who may not do so over such a connection.
    AccountDenied,
    /// A bound of this end was reached.
    Limit,
    /// A defect of this library.
    Internal,
}

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateFault {
    /// Its not-after date has passed.
    Expired,
    /// Its not-before date is still to come.
    NotYetValid,
    /// It is for another name.
    Name,
    /// No trusted certificate authority issued it.
    UnknownIssuer,
    /// Its issuer revoked it, or may have done so and cannot be asked.
    Revoked,
    /// It is good, and not among those that may connect here.
    NotAllowed,
    /// The peer had to present one and did not.
    Missing,
    /// It cannot be used here: purpose, version, algorithm, encoding or signature.
    Unusable,
}

impl Error {
    /// An error of `kind` that reads `text`.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                text: text.into(),
                os_error: None,
            }),
        }
    }

    /// A failed operation of the operating system; `doing` says which ("connect to 10.0.0.7:3306").
    pub fn io(doing: impl fmt::Display, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Io,
        };
        Self {
            inner: Box::new(Inner {
                kind,
                text: format!("{doing}: {error}"),
                os_error: error.raw_os_error(),
            }),
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The errno behind it, where the operating system reported one.
    pub fn os_error(&self) -> Option<i32> {
        self.inner.os_error
    }

    /// True where the same call may succeed later without a change at this end.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Io | ErrorKind::Timeout | ErrorKind::Truncated | ErrorKind::Limit
        )
    }

    /// The same error with `place` put before its text.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.inner.text = format!("{place}: {}", self.inner.text);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.inner.kind, self.inner.text)
    }
}

impl std::error::Error for Error {}

impl ErrorKind {
    /// The class in a word or two: stable, for logs and metrics.
    pub fn class(self) -> &'static str {
        match self {
            Self::Misuse => "misuse",
            Self::Config => "config",
            Self::Io => "io",
            Self::Truncated => "truncated",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::NotTls => "not_tls",
            Self::TlsProtocol => "tls_protocol",
            Self::TlsIncompatible => "tls_incompatible",
            Self::TlsAlert(_) => "tls_alert",
            Self::Certificate(fault) => fault.class(),
            Self::AccountDenied => "account_denied",
            Self::Limit => "limit",
            Self::Internal => "internal",
        }
    }
}

impl CertificateFault {
    fn class(self) -> &'static str {
        match self {
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Name => "certificate_name",
            Self::UnknownIssuer => "certificate_unknown_issuer",
            Self::Revoked => "certificate_revoked",
            Self::NotAllowed => "certificate_not_allowed",
            Self::Missing => "certificate_missing",
            Self::Unusable => "certificate_unusable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_keep_their_errno_and_say_what_was_done() {
        let error = Error::io("connect to 127.0.0.1:1", &io::Error::from_raw_os_error(111));
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(error.os_error(), Some(111));
        assert_eq!(
            error.to_string(),
            "connect to 127.0.0.1:1: Connection refused (os error 111)"
        );
    }

    #[test]
    fn the_place_comes_first() {
        let error = Error::new(ErrorKind::Config, "no certificate found").at("server-cert.pem");
        assert_eq!(error.to_string(), "server-cert.pem: no certificate found");
    }

    #[test]
    fn errors_of_the_data_path_stay_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
