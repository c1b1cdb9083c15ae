use std::io;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{Method, ResultCode, USSL_MESSAGE_LEN};
use crate::tls::{Facts, Seen};

/// What came of every way that was tried.
pub(in crate::cli::probe) struct Port {
    pub(super) attempts: Vec<Attempt>,
}

/// A way to begin on an OB-RPC port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// With a negotiation for this method.
    Negotiated {
        method: Method,
        /// Where the server asks for one.
        shows_certificate: bool,
    },
    /// With a request in the clear behind a negotiation for `ssl_io`, of which no acknowledgement
    /// is waited for: what OceanBase's clients do at 127.0.0.1.
    Local,
    /// With a request in the clear.
    Plain,
    /// With a request in the clear behind the preamble of libeasy.
    Libeasy,
    /// With a request in the clear that is one of the table API.
    TableApi,
    /// With TLS at once.
    DirectTls {
        /// Where the server asks for one.
        shows_certificate: bool,
    },
    /// As the side channel by which nodes know that others live.
    NetKeepalive,
}

/// One way that was tried.
pub(super) struct Attempt {
    pub(super) way: Way,
    pub(super) outcome: Result<Answer>,
    /// What the handshake agreed on, where there was one.
    pub(super) tls: Option<Arc<Facts>>,
    pub(super) seen: Seen,
    /// Bytes that came from the server.
    pub(super) received_len: u64,
}

/// What a server answered.
pub(super) enum Answer {
    /// To a call.
    Called(ResultCode),
    /// To the net keepalive.
    Alive,
    /// To the negotiation, where none is due if 127.0.0.1 is exempt.
    Acknowledged,
}

/// What is wrong with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NotObRpc,
    LoopbackExempt,
    SslIoRefused,
    CertificateDemanded,
    NotBelieved,
    Unauthenticated,
    Plaintext,
    TableApi,
    SslNoEncrypt,
    Unclear,
}

impl Port {
    /// The attempt whose TLS is the port's: the first that has seen a certificate.
    pub(super) fn shown(&self) -> Option<&Attempt> {
        self.attempts
            .iter()
            .find(|attempt| !attempt.seen.chain.is_empty())
    }

    /// Whether a call was answered over that TLS.
    pub(in crate::cli::probe) fn is_through(&self) -> bool {
        let shown = self.shown();
        shown.is_some_and(|attempt| attempt.is_taken() == Some(true))
    }

    /// What is wrong. `is_believed` says that the certificate passes full verification.
    pub(super) fn faults(&self, is_believed: bool) -> Vec<Fault> {
        if !self.attempts.iter().any(Attempt::is_ob_rpc) {
            return vec![Fault::NotObRpc];
        }
        if self.takes(Way::Local) == Some(true) {
            return vec![Fault::LoopbackExempt];
        }
        let demands = self.demands_certificate();
        let is_shown = self.shown().is_some();
        let takes_plaintext = self.takes_plaintext() == Some(true);
        let takes_table_api = self.takes(Way::TableApi) == Some(true);
        [
            (Fault::SslIoRefused, !demands && !self.takes_ssl_io()),
            (Fault::CertificateDemanded, demands),
            (Fault::NotBelieved, is_shown && !is_believed),
            (Fault::Unauthenticated, self.takes_anybody() == Some(true)),
            (Fault::Plaintext, takes_plaintext),
            (Fault::TableApi, takes_table_api && !takes_plaintext),
            (
                Fault::SslNoEncrypt,
                self.offers_ssl_no_encrypt() == Some(true),
            ),
            (Fault::Unclear, self.is_unclear()),
        ]
        .into_iter()
        .filter_map(|(fault, is_so)| is_so.then_some(fault))
        .collect()
    }

    /// Whether a call was answered over TLS; with a certificate where there is one.
    pub(super) fn takes_ssl_io(&self) -> bool {
        self.ssl_io()
            .any(|attempt| attempt.is_taken() == Some(true))
    }

    /// Whether a call was answered over TLS whose client showed no certificate.
    pub(super) fn takes_anybody(&self) -> Option<bool> {
        let shows_certificate = false;
        self.takes_one_of(&[
            Way::negotiated(Method::SslIo, shows_certificate),
            Way::DirectTls { shows_certificate },
        ])
    }

    /// Whether a call was answered over TLS without a negotiation.
    pub(super) fn takes_direct_tls(&self) -> Option<bool> {
        self.takes_one_of(
            &[true, false].map(|shows_certificate| Way::DirectTls { shows_certificate }),
        )
    }

    /// Whether a call was answered in the clear, negotiated or not.
    pub(super) fn takes_plaintext(&self) -> Option<bool> {
        let negotiated = Way::negotiated(Method::None, false);
        self.takes_one_of(&[negotiated, Way::Plain, Way::Libeasy])
    }

    /// Whether the method is there, be it for this client or for others: a server acknowledges no
    /// other one.
    pub(super) fn offers_ssl_no_encrypt(&self) -> Option<bool> {
        let mut attempts = self.attempts.iter();
        let attempt = attempts.find(|a| a.way.method() == Some(Method::SslNoEncrypt))?;
        match attempt.is_acknowledged() {
            true => Some(true),
            false => attempt.is_taken(),
        }
    }

    /// Nothing at all came back to a negotiation from 127.0.0.1, which in itself may be OceanBase's
    /// rule; but nothing came in the clear either.
    pub(super) fn is_silent_to_loopback(&self) -> bool {
        let is_silent = |attempt: &Attempt| attempt.received_len == 0 && attempt.how() == "silent";
        let mut attempts = self.attempts.iter();
        attempts.any(|attempt| attempt.way == Way::Local && is_silent(attempt))
            && self.ssl_io().any(is_silent)
    }

    /// Whether the server names the method in the handshake, where nobody can have changed it.
    pub(super) fn is_bound(&self) -> Option<bool> {
        let attempt = self.attempts.iter().find(|attempt| attempt.tls.is_some())?;
        let named = attempt.tls.as_ref()?.application_protocol.as_deref();
        let expected = attempt.way.method()?.application_protocol();
        Some(named.is_some() && named == expected)
    }

    /// Whether the way was taken; none where that was not tried or is not clear.
    pub(super) fn takes(&self, way: Way) -> Option<bool> {
        let mut attempts = self.attempts.iter();
        attempts.find(|attempt| attempt.way == way)?.is_taken()
    }

    /// Whether one of the ways was taken; false where each that was tried was refused.
    fn takes_one_of(&self, ways: &[Way]) -> Option<bool> {
        let attempts = self.attempts.iter().filter(|a| ways.contains(&a.way));
        let taken: Vec<_> = attempts.map(Attempt::is_taken).collect();
        match taken.contains(&Some(true)) {
            true => Some(true),
            false => (!taken.contains(&None)).then_some(false),
        }
    }

    fn ssl_io(&self) -> impl Iterator<Item = &Attempt> {
        let attempts = self.attempts.iter();
        attempts.filter(|attempt| attempt.way.method() == Some(Method::SslIo))
    }

    /// A certificate was asked for, and whoever had none to show was refused.
    fn demands_certificate(&self) -> bool {
        self.ssl_io().all(Attempt::lacks_certificate)
    }

    /// Something that should be refused was not, and was not taken either.
    fn is_unclear(&self) -> bool {
        [
            self.takes_plaintext(),
            self.takes(Way::TableApi),
            self.offers_ssl_no_encrypt(),
            self.takes_anybody(),
        ]
        .contains(&None)
    }
}

impl Way {
    /// All of them; those with a client certificate where there is one.
    pub(super) fn all(has_certificate: bool, is_loopback: bool) -> Vec<Self> {
        let mut ways = vec![
            Self::negotiated(Method::SslIo, has_certificate),
            Self::negotiated(Method::SslNoEncrypt, has_certificate),
            Self::negotiated(Method::None, false),
            Self::Plain,
            Self::Libeasy,
            Self::TableApi,
            Self::NetKeepalive,
        ];
        if has_certificate {
            ways.insert(1, Self::negotiated(Method::SslIo, false));
            ways.push(Self::DirectTls {
                shows_certificate: true,
            });
        }
        ways.push(Self::DirectTls {
            shows_certificate: false,
        });
        if is_loopback {
            ways.push(Self::Local);
        }
        ways
    }

    pub(super) fn negotiated(method: Method, shows_certificate: bool) -> Self {
        Self::Negotiated {
            method,
            shows_certificate,
        }
    }

    pub(super) fn shows_certificate(self) -> bool {
        matches!(
            self,
            Self::Negotiated {
                shows_certificate: true,
                ..
            } | Self::DirectTls {
                shows_certificate: true
            }
        )
    }

    /// What is negotiated and awaited.
    pub(super) fn method(self) -> Option<Method> {
        match self {
            Self::Negotiated { method, .. } => Some(method),
            _ => None,
        }
    }
}

impl Attempt {
    /// Whether the server took it; none where it neither answered nor refused.
    pub(super) fn is_taken(&self) -> Option<bool> {
        match &self.outcome {
            Ok(Answer::Called(code)) => Some(code.rcode != ResultCode::UNKNOWN_CONNECTION),
            Ok(Answer::Alive) => Some(true),
            Ok(Answer::Acknowledged) => Some(false),
            Err(error) => match error.kind() {
                ErrorKind::Truncated | ErrorKind::TlsAlert(_) => Some(false),
                ErrorKind::Io if is_reset(error) => Some(false),
                // It has an answer of its own to a ClientHello.
                ErrorKind::NotTls if matches!(self.way, Way::DirectTls { .. }) => Some(false),
                _ => None,
            },
        }
    }

    /// How the server took or refused it, in one word.
    pub(super) fn how(&self) -> &'static str {
        match &self.outcome {
            Ok(Answer::Acknowledged) => "acknowledged",
            Ok(_) if self.is_taken() == Some(true) => "answered",
            Ok(_) => "error_packet",
            Err(error) => match error.kind() {
                ErrorKind::Truncated => "closed",
                ErrorKind::Timeout => "silent",
                ErrorKind::TlsAlert(_) => "alert",
                ErrorKind::Io if is_reset(error) => "reset",
                ErrorKind::Io => "io",
                ErrorKind::Protocol | ErrorKind::Limit => "not_obrpc",
                _ => "not_tls",
            },
        }
    }

    /// The server has agreed to the method that was asked for.
    pub(super) fn is_acknowledged(&self) -> bool {
        let is_broken = matches!(&self.outcome, Err(error) if error.kind() == ErrorKind::Protocol);
        let is_whole = self.received_len >= USSL_MESSAGE_LEN as u64;
        self.is_awaited() && (self.tls.is_some() || is_whole && !is_broken)
    }

    /// The method is one that servers acknowledge.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(
            self.way.method(),
            Some(Method::SslIo | Method::SslNoEncrypt)
        )
    }

    /// It was refused where a certificate was asked for and none was shown.
    pub(super) fn lacks_certificate(&self) -> bool {
        let is_tls = self.is_awaited() || matches!(self.way, Way::DirectTls { .. });
        is_tls
            && !self.way.shows_certificate()
            && self.seen.requests_certificate
            && self.is_taken() == Some(false)
    }

    /// The server has said something that only an OB-RPC port says.
    fn is_ob_rpc(&self) -> bool {
        self.outcome.is_ok() || self.is_acknowledged()
    }
}

impl Fault {
    /// For machines.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::NotObRpc => "not_obrpc",
            Self::LoopbackExempt => "loopback_exempt",
            Self::SslIoRefused => "ssl_io_refused",
            Self::CertificateDemanded => "certificate_demanded",
            Self::NotBelieved => "not_believed",
            Self::Unauthenticated => "unauthenticated",
            Self::Plaintext => "plaintext",
            Self::TableApi => "table_api",
            Self::SslNoEncrypt => "ssl_no_encrypt",
            Self::Unclear => "unclear",
        }
    }

    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NotObRpc => "nothing that came back is OB-RPC; is it an RPC port?",
            Self::LoopbackExempt => {
                "whoever comes from 127.0.0.1 speaks in the clear, whatever is asked for \
                 (OceanBase's rule, compat_loopback): probe it from another address"
            }
            Self::SslIoRefused => "ssl_io is not taken",
            Self::CertificateDemanded => {
                "a client certificate is demanded; give one with --cert and --key"
            }
            Self::NotBelieved => "tls = \"verify-full\" would not believe the server",
            Self::Unauthenticated => "clients without a certificate are taken",
            Self::Plaintext => "plaintext is taken",
            Self::TableApi => "requests of the table API are taken in the clear",
            Self::SslNoEncrypt => "ssl_no_encrypt is taken",
            Self::Unclear => "not all that should be refused was refused in time",
        }
    }
}

fn is_reset(error: &Error) -> bool {
    let kind = error.os_error().map(io::Error::from_raw_os_error);
    matches!(
        kind.map(|error| error.kind()),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const IO: Way = Way::Negotiated {
        method: Method::SslIo,
        shows_certificate: true,
    };
    const ANYBODY: Way = Way::Negotiated {
        method: Method::SslIo,
        shows_certificate: false,
    };
    const AUTH: Way = Way::Negotiated {
        method: Method::SslNoEncrypt,
        shows_certificate: true,
    };
    const DIRECT: Way = Way::DirectTls {
        shows_certificate: true,
    };
    const DIRECT_ANYBODY: Way = Way::DirectTls {
        shows_certificate: false,
    };
    const NONE: Way = Way::Negotiated {
        method: Method::None,
        shows_certificate: false,
    };

    fn attempt(way: Way, outcome: Result<Answer>, received_len: u64) -> Attempt {
        Attempt {
            way,
            outcome,
            tls: None,
            seen: Seen::default(),
            received_len,
        }
    }

    fn answered(way: Way, rcode: i32) -> Attempt {
        let mut attempt = attempt(way, Ok(Answer::Called(ResultCode::new(rcode))), 300);
        if attempt.is_awaited() {
            attempt.seen.chain = vec![vec![0x30]];
            attempt.seen.requests_certificate = true;
        }
        attempt
    }

    fn taken(way: Way) -> Attempt {
        answered(way, ResultCode::UNKNOWN_PACKET)
    }

    fn failed(way: Way, kind: ErrorKind) -> Attempt {
        attempt(way, Err(Error::new(kind, "as tried")), 0)
    }

    fn closed(way: Way) -> Attempt {
        failed(way, ErrorKind::Truncated)
    }

    /// Agreed to, and refused once the certificate was missing.
    fn demanded(way: Way) -> Attempt {
        let mut attempt = failed(way, ErrorKind::TlsAlert(116));
        attempt.received_len = 2_000;
        attempt.seen.chain = vec![vec![0x30]];
        attempt.seen.requests_certificate = true;
        attempt
    }

    fn good() -> Vec<Attempt> {
        vec![
            taken(IO),
            demanded(ANYBODY),
            closed(AUTH),
            closed(NONE),
            answered(Way::Plain, ResultCode::UNKNOWN_CONNECTION),
            answered(Way::Libeasy, ResultCode::UNKNOWN_CONNECTION),
            closed(Way::TableApi),
            closed(DIRECT),
            closed(DIRECT_ANYBODY),
            attempt(Way::NetKeepalive, Ok(Answer::Alive), 30),
            attempt(Way::Local, Ok(Answer::Acknowledged), 28),
        ]
    }

    /// The faults of a good port, some ways of which ended otherwise.
    fn faults_with(changes: Vec<Attempt>) -> Vec<Fault> {
        let mut attempts = good();
        for change in changes {
            let at = attempts.iter().position(|a| a.way == change.way);
            attempts[at.unwrap()] = change;
        }
        Port { attempts }.faults(true)
    }

    #[test]
    fn a_good_port_has_no_fault_and_each_other_one_its_own() {
        let silent = |way| failed(way, ErrorKind::Timeout);
        let rows = [
            (vec![], vec![]),
            (vec![closed(Way::NetKeepalive)], vec![]),
            (vec![silent(Way::Local)], vec![]),
            (vec![closed(IO)], vec![Fault::SslIoRefused]),
            (vec![silent(IO)], vec![Fault::SslIoRefused]),
            (vec![demanded(IO)], vec![Fault::SslIoRefused]),
            (vec![taken(ANYBODY)], vec![Fault::Unauthenticated]),
            (vec![taken(NONE)], vec![Fault::Plaintext]),
            (vec![taken(Way::Plain)], vec![Fault::Plaintext]),
            (
                vec![taken(Way::Plain), taken(Way::TableApi)],
                vec![Fault::Plaintext],
            ),
            (vec![taken(Way::Libeasy)], vec![Fault::Plaintext]),
            (vec![silent(Way::Libeasy)], vec![Fault::Unclear]),
            (vec![taken(DIRECT)], vec![]),
            (vec![taken(DIRECT), demanded(DIRECT_ANYBODY)], vec![]),
            (vec![taken(DIRECT_ANYBODY)], vec![Fault::Unauthenticated]),
            (vec![silent(DIRECT_ANYBODY)], vec![Fault::Unclear]),
            (vec![taken(Way::TableApi)], vec![Fault::TableApi]),
            (vec![taken(AUTH)], vec![Fault::SslNoEncrypt]),
            (vec![demanded(AUTH)], vec![Fault::SslNoEncrypt]),
            (vec![silent(NONE)], vec![Fault::Unclear]),
            (vec![silent(Way::TableApi)], vec![Fault::Unclear]),
            (vec![silent(AUTH)], vec![Fault::Unclear]),
            (vec![silent(ANYBODY)], vec![Fault::Unclear]),
            (
                vec![taken(NONE), silent(Way::Plain)],
                vec![Fault::Plaintext],
            ),
            (vec![taken(Way::Local)], vec![Fault::LoopbackExempt]),
            (
                vec![taken(AUTH), taken(NONE), taken(ANYBODY)],
                vec![
                    Fault::Unauthenticated,
                    Fault::Plaintext,
                    Fault::SslNoEncrypt,
                ],
            ),
        ];
        for (index, (changes, expected)) in rows.into_iter().enumerate() {
            assert_eq!(faults_with(changes), expected, "row {index}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_believed_is_a_fault_where_one_was_seen() {
        let port = Port { attempts: good() };
        assert_eq!(port.faults(false), [Fault::NotBelieved]);
        let mut attempts = good();
        attempts[0] = closed(IO);
        attempts[1] = closed(ANYBODY);
        assert_eq!(Port { attempts }.faults(false), [Fault::SslIoRefused]);
    }

    #[test]
    fn without_a_certificate_of_ours_one_is_demanded_or_anybody_is_taken() {
        let without = |io| {
            let mut attempts = good();
            attempts.remove(0);
            attempts[0] = io;
            attempts[1].way = Way::negotiated(Method::SslNoEncrypt, false);
            Port { attempts }.faults(true)
        };
        assert_eq!(without(demanded(ANYBODY)), [Fault::CertificateDemanded]);
        assert_eq!(without(taken(ANYBODY)), [Fault::Unauthenticated]);
        assert_eq!(without(closed(ANYBODY)), [Fault::SslIoRefused]);
    }

    #[test]
    fn a_port_that_never_speaks_ob_rpc_is_none() {
        for kind in [
            ErrorKind::Truncated,
            ErrorKind::Timeout,
            ErrorKind::Protocol,
        ] {
            let mut attempts: Vec<_> = good();
            for attempt in &mut attempts {
                *attempt = failed(attempt.way, kind);
                attempt.received_len = if kind == ErrorKind::Protocol { 90 } else { 0 };
            }
            let port = Port { attempts };
            assert_eq!(port.faults(true), [Fault::NotObRpc], "{kind:?}");
            assert!(!port.attempts.iter().any(Attempt::is_acknowledged));
        }
    }

    #[test]
    fn each_end_has_its_word() {
        let reset = Error::io("read", &io::Error::from_raw_os_error(libc::ECONNRESET));
        let refused = Error::io("connect", &io::Error::from_raw_os_error(libc::ECONNREFUSED));
        let rows = [
            (taken(IO), Some(true), "answered"),
            (
                answered(Way::Plain, ResultCode::UNKNOWN_CONNECTION),
                Some(false),
                "error_packet",
            ),
            (
                attempt(Way::Local, Ok(Answer::Acknowledged), 28),
                Some(false),
                "acknowledged",
            ),
            (closed(IO), Some(false), "closed"),
            (attempt(IO, Err(reset), 0), Some(false), "reset"),
            (attempt(IO, Err(refused), 0), None, "io"),
            (demanded(ANYBODY), Some(false), "alert"),
            (failed(IO, ErrorKind::Timeout), None, "silent"),
            (failed(IO, ErrorKind::Protocol), None, "not_obrpc"),
            (failed(IO, ErrorKind::NotTls), None, "not_tls"),
            (failed(DIRECT, ErrorKind::NotTls), Some(false), "not_tls"),
            (failed(IO, ErrorKind::TlsIncompatible), None, "not_tls"),
        ];
        for (attempt, is_taken, how) in rows {
            assert_eq!((attempt.is_taken(), attempt.how()), (is_taken, how));
        }
    }
}
