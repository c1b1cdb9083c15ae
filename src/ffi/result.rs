//! What every call returns.

use std::ffi::{CStr, c_char, c_int};

use crate::error::{CertificateFault, Error, ErrorKind};

/// What a call came to. Zero: done. Positive: nothing is wrong; act, then call again. Negative: an
/// error, in classes: -1xx the caller, -2xx the system or the link, -3xx TLS, -4xx the peer's
/// certificate, -5xx the database protocol, -9xx this library.
///
/// Codes are never given a new meaning, and later versions may add some: treat one that is unknown
/// by its sign and its class.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum sealwire_result {
    /// Done.
    SEALWIRE_OK = 0,
    /// The peer has to send something first: wait until the descriptor is readable.
    SEALWIRE_WANT_READ = 1,
    /// The peer has to take something first: wait until the descriptor is writable.
    SEALWIRE_WANT_WRITE = 2,
    /// The peer ended its side cleanly; all that it sent has been read.
    SEALWIRE_EOF = 3,
    /// A pointer is NULL that may not be.
    SEALWIRE_ERR_NULL = -100,
    /// The handle is not in a state for this call: before its time, after its end, or after an
    /// error.
    SEALWIRE_ERR_STATE = -101,
    /// A value is out of its range, or a pointer is not aligned.
    SEALWIRE_ERR_ARGUMENT = -102,
    /// Another thread is using the handle at this moment, or the handle belongs to another thread.
    SEALWIRE_ERR_THREAD = -103,
    /// The handle was made before fork, by the parent. A child that used it would repeat nonces.
    SEALWIRE_ERR_FORKED = -104,
    /// A certificate, key or option of the configuration cannot be used.
    SEALWIRE_ERR_CONFIG = -105,
    /// A system call failed; sealwire_conn_os_error() has errno.
    SEALWIRE_ERR_IO = -200,
    /// The stream ended without the peer's close_notify: data may be missing at its end.
    SEALWIRE_ERR_TRUNCATED = -201,
    /// A deadline passed.
    SEALWIRE_ERR_TIMEOUT = -202,
    /// The peer broke the TLS protocol.
    SEALWIRE_ERR_TLS_PROTOCOL = -300,
    /// The peer gave up and sent an alert; sealwire_conn_alert() has its number.
    SEALWIRE_ERR_TLS_ALERT = -301,
    /// The peer speaks something else than TLS.
    SEALWIRE_ERR_NOT_TLS = -302,
    /// The ends share no version, suite, group or signature scheme.
    SEALWIRE_ERR_TLS_INCOMPATIBLE = -303,
    /// The peer's certificate cannot be used: purpose, version, algorithm, encoding or signature.
    SEALWIRE_ERR_CERT_UNUSABLE = -400,
    /// The peer's certificate has expired.
    SEALWIRE_ERR_CERT_EXPIRED = -401,
    /// The peer's certificate is not valid yet.
    SEALWIRE_ERR_CERT_NOT_YET_VALID = -402,
    /// The peer's certificate is for another name.
    SEALWIRE_ERR_CERT_NAME = -403,
    /// No trusted authority issued the peer's certificate.
    SEALWIRE_ERR_CERT_UNKNOWN_ISSUER = -404,
    /// The peer's certificate was revoked, or may have been.
    SEALWIRE_ERR_CERT_REVOKED = -405,
    /// The peer's certificate is good, but not among those that may connect.
    SEALWIRE_ERR_CERT_NOT_ALLOWED = -406,
    /// The peer had to present a certificate and did not.
    SEALWIRE_ERR_CERT_MISSING = -407,
    /// The account may not log in over such a connection.
    SEALWIRE_ERR_ACCOUNT_DENIED = -408,
    /// The peer broke the database protocol.
    SEALWIRE_ERR_FRAME = -500,
    /// A packet or a number of packets is beyond its bound.
    SEALWIRE_ERR_FRAME_TOO_LARGE = -501,
    /// Memory or another resource of this process is used up.
    SEALWIRE_ERR_NO_MEMORY = -900,
    /// A defect of this library. The handle is good for its facts and its _free only.
    SEALWIRE_ERR_INTERNAL = -901,
    /// A defect of this library was caught. The handle is good for its _free only.
    SEALWIRE_ERR_PANIC = -902,
}

use sealwire_result::*;

/// The name of a result, such as "SEALWIRE_WANT_READ"; "unknown result" for a number that is none.
/// It lives for ever.
///
/// Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_result_name(result: c_int) -> *const c_char {
    let named = NAMES.iter().find(|(code, _)| *code as c_int == result);
    named.map_or(c"unknown result", |(_, name)| name).as_ptr()
}

/// Why a call of the ABI failed: the code, and the words for it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: sealwire_result,
    pub(super) error: Error,
}

pub(super) type Outcome = Result<sealwire_result, Failure>;

impl Failure {
    pub(super) fn null(name: &str) -> Self {
        Self::caller(SEALWIRE_ERR_NULL, format!("{name} is NULL"))
    }

    pub(super) fn argument(text: impl Into<String>) -> Self {
        Self::caller(SEALWIRE_ERR_ARGUMENT, text)
    }

    pub(super) fn state(text: impl Into<String>) -> Self {
        Self::caller(SEALWIRE_ERR_STATE, text)
    }

    /// True where the caller is to blame, and nothing was changed.
    pub(super) fn is_callers(&self) -> bool {
        (-199..=-100).contains(&(self.code as i32))
    }

    pub(super) fn caller(code: sealwire_result, text: impl Into<String>) -> Self {
        Self {
            code,
            error: Error::new(ErrorKind::Misuse, text),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: code_of(error.kind()),
            error,
        }
    }
}

/// The one table from kinds of errors to codes.
fn code_of(kind: ErrorKind) -> sealwire_result {
    match kind {
        ErrorKind::Misuse => SEALWIRE_ERR_STATE,
        ErrorKind::Config => SEALWIRE_ERR_CONFIG,
        ErrorKind::Io => SEALWIRE_ERR_IO,
        ErrorKind::Truncated => SEALWIRE_ERR_TRUNCATED,
        ErrorKind::Timeout => SEALWIRE_ERR_TIMEOUT,
        ErrorKind::Protocol => SEALWIRE_ERR_FRAME,
        ErrorKind::NotTls => SEALWIRE_ERR_NOT_TLS,
        ErrorKind::TlsProtocol => SEALWIRE_ERR_TLS_PROTOCOL,
        ErrorKind::TlsIncompatible => SEALWIRE_ERR_TLS_INCOMPATIBLE,
        ErrorKind::TlsAlert(_) => SEALWIRE_ERR_TLS_ALERT,
        ErrorKind::Certificate(fault) => code_of_certificate(fault),
        ErrorKind::AccountDenied => SEALWIRE_ERR_ACCOUNT_DENIED,
        ErrorKind::Limit => SEALWIRE_ERR_FRAME_TOO_LARGE,
        ErrorKind::Internal => SEALWIRE_ERR_INTERNAL,
    }
}

fn code_of_certificate(fault: CertificateFault) -> sealwire_result {
    match fault {
        CertificateFault::Expired => SEALWIRE_ERR_CERT_EXPIRED,
        CertificateFault::NotYetValid => SEALWIRE_ERR_CERT_NOT_YET_VALID,
        CertificateFault::Name => SEALWIRE_ERR_CERT_NAME,
        CertificateFault::UnknownIssuer => SEALWIRE_ERR_CERT_UNKNOWN_ISSUER,
        CertificateFault::Revoked => SEALWIRE_ERR_CERT_REVOKED,
        CertificateFault::NotAllowed => SEALWIRE_ERR_CERT_NOT_ALLOWED,
        CertificateFault::Missing => SEALWIRE_ERR_CERT_MISSING,
        CertificateFault::Unusable => SEALWIRE_ERR_CERT_UNUSABLE,
    }
}

macro_rules! names {
    ($($code:ident),* $(,)?) => {
        &[$(($code, match CStr::from_bytes_with_nul(concat!(stringify!($code), "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("an identifier has no NUL"),
        })),*]
    };
}

const NAMES: &[(sealwire_result, &CStr)] = names![
    SEALWIRE_OK,
    SEALWIRE_WANT_READ,
    SEALWIRE_WANT_WRITE,
    SEALWIRE_EOF,
    SEALWIRE_ERR_NULL,
    SEALWIRE_ERR_STATE,
    SEALWIRE_ERR_ARGUMENT,
    SEALWIRE_ERR_THREAD,
    SEALWIRE_ERR_FORKED,
    SEALWIRE_ERR_CONFIG,
    SEALWIRE_ERR_IO,
    SEALWIRE_ERR_TRUNCATED,
    SEALWIRE_ERR_TIMEOUT,
    SEALWIRE_ERR_TLS_PROTOCOL,
    SEALWIRE_ERR_TLS_ALERT,
    SEALWIRE_ERR_NOT_TLS,
    SEALWIRE_ERR_TLS_INCOMPATIBLE,
    SEALWIRE_ERR_CERT_UNUSABLE,
    SEALWIRE_ERR_CERT_EXPIRED,
    SEALWIRE_ERR_CERT_NOT_YET_VALID,
    SEALWIRE_ERR_CERT_NAME,
    SEALWIRE_ERR_CERT_UNKNOWN_ISSUER,
    SEALWIRE_ERR_CERT_REVOKED,
    SEALWIRE_ERR_CERT_NOT_ALLOWED,
    SEALWIRE_ERR_CERT_MISSING,
    SEALWIRE_ERR_ACCOUNT_DENIED,
    SEALWIRE_ERR_FRAME,
    SEALWIRE_ERR_FRAME_TOO_LARGE,
    SEALWIRE_ERR_NO_MEMORY,
    SEALWIRE_ERR_INTERNAL,
    SEALWIRE_ERR_PANIC,
];
