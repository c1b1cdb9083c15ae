//! Who may begin how: both roles of the negotiation in front of OB-RPC, judged from the first
//! bytes.
//!
//! Nothing is kept here. Whoever moves the bytes collects as many as [`ServerVerdict::NeedMore`] or
//! [`ClientVerdict::NeedMore`] asks for and not one more, so that what follows the last one that
//! was needed is still untouched when it is given to TLS, or to whatever else follows.

use std::fmt;

use super::first_bytes::FirstBytes;
use super::packet::refusal;
use super::pcode::Pcode;
use super::rcode::ResultCode;
use super::ussl::{Decoded, Message, Method, Methods};
use super::violation::Violation;
use crate::error::{Error, ErrorKind};

/// What follows the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// OB-RPC, or whatever it is, in the clear.
    Plain,
    /// A TLS handshake, and then OB-RPC in the clear.
    Handshake,
    /// TLS to the end.
    Tls,
}

impl From<Method> for Then {
    fn from(method: Method) -> Self {
        match method {
            Method::None => Self::Plain,
            Method::SslNoEncrypt => Self::Handshake,
            Method::SslIo => Self::Tls,
        }
    }
}

impl From<Then> for Method {
    fn from(then: Then) -> Self {
        match then {
            Then::Plain => Self::None,
            Then::Handshake => Self::SslNoEncrypt,
            Then::Tls => Self::SslIo,
        }
    }
}

/// Whom a server admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerPolicy {
    /// The methods that clients may ask for. With [`Method::None`] among them everyone is admitted
    /// who negotiates nothing.
    pub methods: Methods,
    /// Who is admitted in the clear although [`Method::None`] is not among the methods.
    pub bypass: Bypass,
    /// Whether the keepalive of the network is admitted in the clear: servers that do not hear it
    /// take each other for dead.
    pub is_keepalive_admitted: bool,
    /// Whether TLS may begin without a negotiation.
    pub is_tls_admitted: bool,
}

/// Who is admitted in the clear although that is not among the methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bypass {
    /// Nobody.
    #[default]
    Nobody,
    /// Whose first request is one of the table API, whose clients know no TLS.
    TableApi,
    /// Everybody. Whoever reads the requests must refuse those that are not [`Pcode::is_bypass`].
    Everybody,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// What it began with.
    pub first: FirstBytes,
    /// The message of its negotiation, where it had one.
    pub message: Option<Message>,
    /// What follows.
    pub then: Then,
    /// It was admitted for some requests only: those that are not [`Pcode::is_bypass`] are to be
    /// refused.
    pub is_restricted: bool,
}

/// What a server does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerVerdict {
    /// It reads on until it has so many bytes, from the first one of the connection counted.
    NeedMore(usize),
    /// It lets the connection begin.
    Begin {
        /// How.
        beginning: Beginning,
        /// Bytes of the negotiation, which are used up. Those behind them are what follows.
        used: usize,
        /// What it sends first.
        answer: Option<Message>,
    },
}

/// Why a server refuses a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// What it sends before it closes, where the peer's protocol has something for that.
    pub answer: Vec<u8>,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The peer asks for a method that is not offered.
    Method(Method),
    /// The peer begins with something that is not admitted.
    NotAdmitted(FirstBytes),
    /// The peer broke the protocol.
    Violation(Violation),
}

impl ServerPolicy {
    /// Judges the first bytes of a connection. `is_exempt` is for a peer that neither negotiates
    /// nor authenticates, as OceanBase has it for 127.0.0.1: it speaks in the clear whatever it
    /// asked for, and expects no acknowledgement.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where the connection is to be closed.
    pub fn judge(&self, is_exempt: bool, bytes: &[u8]) -> Result<ServerVerdict, Refusal> {
        match FirstBytes::classify(bytes) {
            FirstBytes::NeedMore(len) => Ok(ServerVerdict::NeedMore(len)),
            FirstBytes::Ussl => self.judge_message(is_exempt, bytes),
            FirstBytes::Tls if self.is_tls_admitted => {
                Ok(begin_without_message(FirstBytes::Tls, Then::Tls, false))
            }
            first => match self.admission(is_exempt, first) {
                Some(is_restricted) => Ok(begin_without_message(first, Then::Plain, is_restricted)),
                None => Err(Refusal {
                    reason: RefusalReason::NotAdmitted(first),
                    answer: answer_to(first),
                }),
            },
        }
    }

    fn judge_message(&self, is_exempt: bool, bytes: &[u8]) -> Result<ServerVerdict, Refusal> {
        let (message, used) = match Message::decode(bytes) {
            Ok(Decoded::Whole { message, len }) => (message, len),
            Ok(Decoded::NeedMore(len)) => return Ok(ServerVerdict::NeedMore(len)),
            Err(violation) => return Err(RefusalReason::Violation(violation).into()),
        };
        let is_offered = self.methods.contains(message.method);
        let is_bypass = message.method == Method::None && self.bypass == Bypass::Everybody;
        if !(is_exempt || is_offered || is_bypass) {
            return Err(RefusalReason::Method(message.method).into());
        }
        let then = if is_exempt {
            Then::Plain
        } else {
            message.method.into()
        };
        Ok(ServerVerdict::Begin {
            beginning: Beginning {
                first: FirstBytes::Ussl,
                message: Some(message),
                then,
                is_restricted: !(is_exempt || is_offered),
            },
            used,
            answer: (then != Then::Plain).then(|| message.acknowledgement()),
        })
    }

    /// Whether a peer that negotiates nothing is admitted, and with restrictions.
    fn admission(&self, is_exempt: bool, first: FirstBytes) -> Option<bool> {
        if is_exempt || self.methods.contains(Method::None) {
            return Some(false);
        }
        let is_table_api = matches!(
            first,
            FirstBytes::ObRpc { pcode: Some(pcode), .. } if pcode.is_table_api()
        );
        match (first, self.bypass) {
            (FirstBytes::NetKeepalive, _) => self.is_keepalive_admitted.then_some(false),
            (_, Bypass::Everybody) => Some(true),
            (_, Bypass::TableApi) => is_table_api.then_some(true),
            (_, Bypass::Nobody) => None,
        }
    }
}

fn begin_without_message(first: FirstBytes, then: Then, is_restricted: bool) -> ServerVerdict {
    ServerVerdict::Begin {
        beginning: Beginning {
            first,
            message: None,
            then,
            is_restricted,
        },
        used: 0,
        answer: None,
    }
}

/// What tells a peer in its own protocol that it is refused.
fn answer_to(first: FirstBytes) -> Vec<u8> {
    match first {
        FirstBytes::ObRpc { chid, pcode } => {
            let pcode = pcode.unwrap_or(Pcode::ERROR_PACKET);
            refusal(chid, pcode, ResultCode::UNKNOWN_CONNECTION)
        }
        _ => Vec::new(),
    }
}

impl From<RefusalReason> for Refusal {
    fn from(reason: RefusalReason) -> Self {
        Self {
            reason,
            answer: Vec::new(),
        }
    }
}

impl From<RefusalReason> for Error {
    fn from(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::Violation(violation) => violation.into(),
            _ => Self::new(ErrorKind::NotTls, reason.to_string()),
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(method) => {
                write!(
                    f,
                    "peer asks for method {}, which is not offered",
                    method.name()
                )
            }
            Self::NotAdmitted(FirstBytes::ObRpc {
                pcode: Some(pcode), ..
            }) => write!(f, "peer begins with the request {pcode} in the clear"),
            Self::NotAdmitted(first) => write!(f, "peer begins with {}", first.name()),
            Self::Violation(violation) => write!(f, "{violation}"),
        }
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    /// The method. No other one is accepted in its place.
    pub method: Method,
    /// The server's thread that the connection is for.
    pub gid: u64,
    /// For a server that neither acknowledges nor encrypts, as OceanBase has it on 127.0.0.1: see
    /// [`ServerPolicy::judge`].
    pub is_exempt: bool,
}

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientVerdict {
    /// It reads on until it has so many bytes of the acknowledgement.
    NeedMore(usize),
    /// It goes on; so many bytes are used up.
    Begin {
        /// With what.
        then: Then,
        /// Bytes of the acknowledgement.
        used: usize,
    },
}

impl ClientRequest {
    /// What it sends first.
    pub fn message(&self) -> Message {
        Message::new(self.method, self.gid)
    }

    /// Judges what the server answered so far.
    ///
    /// # Errors
    ///
    /// [`Violation`] where that is no acknowledgement of what was asked for.
    pub fn judge(&self, bytes: &[u8]) -> Result<ClientVerdict, Violation> {
        let then = if self.is_exempt {
            Then::Plain
        } else {
            self.method.into()
        };
        if then == Then::Plain {
            return Ok(ClientVerdict::Begin { then, used: 0 });
        }
        match Message::decode(bytes)? {
            Decoded::NeedMore(len) => Ok(ClientVerdict::NeedMore(len)),
            Decoded::Whole { message, len } if message.method == self.method => {
                Ok(ClientVerdict::Begin { then, used: len })
            }
            Decoded::Whole { message, .. } => Err(Violation::OtherMethod {
                asked: self.method,
                got: message.method,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::obrpc::{EasyChannel, EasyPreamble};

    const STRICT: ServerPolicy = ServerPolicy {
        methods: Methods::SSL_IO,
        bypass: Bypass::Nobody,
        is_keepalive_admitted: true,
        is_tls_admitted: false,
    };

    fn methods(methods: &[Method]) -> Methods {
        methods.iter().copied().collect()
    }

    /// Reads exactly as much of `stream` as is asked for, which must not depend on what follows.
    fn drive(
        policy: ServerPolicy,
        is_exempt: bool,
        stream: &[u8],
    ) -> Result<ServerVerdict, Refusal> {
        let mut len = 0;
        loop {
            match policy.judge(is_exempt, &stream[..len])? {
                ServerVerdict::NeedMore(wanted) => {
                    assert!(len < wanted && wanted <= stream.len(), "{len}, {wanted}");
                    len = wanted;
                }
                verdict => {
                    let ServerVerdict::Begin { used, .. } = verdict else {
                        panic!("{verdict:?}")
                    };
                    assert!(used == 0 || used == len, "nothing is read beyond a message");
                    return Ok(verdict);
                }
            }
        }
    }

    fn request(pcode: u32) -> Vec<u8> {
        refusal(9, Pcode(pcode), 0)
    }

    #[test]
    fn each_method_needs_its_own_permission() {
        let all = [Method::None, Method::SslNoEncrypt, Method::SslIo];
        for offered in all {
            let policy = ServerPolicy {
                methods: offered.into(),
                ..STRICT
            };
            for asked in all {
                let message = Message::new(asked, 7);
                let mut stream = message.encode();
                stream.extend(b"glued behind it");
                let verdict = drive(policy, false, &stream);
                if asked != offered {
                    assert_eq!(verdict, Err(RefusalReason::Method(asked).into()));
                    continue;
                }
                let Ok(ServerVerdict::Begin {
                    beginning,
                    used,
                    answer,
                }) = verdict
                else {
                    panic!("{verdict:?}")
                };
                assert_eq!((beginning.message, used), (Some(message), 28));
                assert_eq!(beginning.then, asked.into());
                let acknowledged = answer.map(|answer| answer.method);
                assert_eq!(acknowledged, Some(asked).filter(|m| *m != Method::None));
                assert!(!beginning.is_restricted);
            }
        }
    }

    #[test]
    fn an_exempt_peer_speaks_in_the_clear_and_gets_no_answer() {
        for method in [Method::None, Method::SslNoEncrypt, Method::SslIo] {
            let stream = Message::new(method, 7).encode();
            let Ok(ServerVerdict::Begin {
                beginning, answer, ..
            }) = drive(STRICT, true, &stream)
            else {
                panic!("refused")
            };
            assert_eq!((beginning.then, answer), (Then::Plain, None));
            let client = ClientRequest {
                method,
                gid: 7,
                is_exempt: true,
            };
            let then = Then::Plain;
            assert_eq!(
                client.judge(&[]),
                Ok(ClientVerdict::Begin { then, used: 0 })
            );
        }
        assert!(drive(STRICT, true, &request(0x106)).is_ok());
    }

    #[test]
    fn who_negotiates_nothing_is_admitted_by_the_policy() {
        let keepalive = EasyPreamble {
            channel: EasyChannel::NetKeepalive,
            thread: 0,
        };
        let easy = EasyPreamble {
            channel: EasyChannel::Rpc,
            thread: 0,
        };
        let streams = [
            keepalive.encode(),
            easy.encode(),
            request(0x1101),
            request(0x106),
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ];
        let open = ServerPolicy {
            methods: methods(&[Method::None, Method::SslIo]),
            ..STRICT
        };
        let bypass = |bypass| ServerPolicy { bypass, ..STRICT };
        let deaf = ServerPolicy {
            is_keepalive_admitted: false,
            ..STRICT
        };
        // None: refused; Some(true): admitted for some requests.
        let (no, yes, some) = (None, Some(false), Some(true));
        for (policy, expected) in [
            (STRICT, [yes, no, no, no, no, no]),
            (deaf, [no; 6]),
            (open, [yes; 6]),
            (bypass(Bypass::TableApi), [yes, no, some, no, no, no]),
            (
                bypass(Bypass::Everybody),
                [yes, some, some, some, some, some],
            ),
        ] {
            for (stream, expected) in streams.iter().zip(expected) {
                let admitted = match drive(policy, false, stream) {
                    Ok(ServerVerdict::Begin { beginning, .. }) => {
                        assert_eq!(beginning.then, Then::Plain);
                        Some(beginning.is_restricted)
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => None,
                };
                assert_eq!(admitted, expected, "{policy:?}: {stream:x?}");
            }
        }
        let none = Message::new(Method::None, 1).encode();
        let verdict = drive(bypass(Bypass::Everybody), false, &none);
        let Ok(ServerVerdict::Begin { beginning, .. }) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(beginning.is_restricted);
    }

    #[test]
    fn tls_without_a_negotiation_is_a_matter_of_policy() {
        let hello = [0x16, 3, 1, 2, 0];
        assert!(drive(STRICT, false, &hello).is_err());
        let policy = ServerPolicy {
            is_tls_admitted: true,
            ..STRICT
        };
        let Ok(ServerVerdict::Begin { beginning, .. }) = drive(policy, false, &hello) else {
            panic!("refused")
        };
        assert_eq!(beginning.then, Then::Tls);
    }

    #[test]
    fn a_request_in_the_clear_is_answered_by_an_error_packet() {
        let refused = drive(STRICT, false, &request(0x106)).unwrap_err();
        let expected = refusal(9, Pcode::SET_CONFIG, ResultCode::UNKNOWN_CONNECTION);
        assert_eq!(refused.answer, expected);
        assert_eq!(
            refused.reason.to_string(),
            "peer begins with the request SET_CONFIG (0x106) in the clear"
        );
    }

    #[test]
    fn a_client_takes_nothing_but_what_it_asked_for() {
        for asked in [Method::SslNoEncrypt, Method::SslIo] {
            let client = ClientRequest {
                method: asked,
                gid: 7,
                is_exempt: false,
            };
            for got in [Method::None, Method::SslNoEncrypt, Method::SslIo] {
                let mut answer = Message::new(got, 0xdead_beef).encode();
                answer[16..20].copy_from_slice(b"junk");
                for len in 0..28 {
                    let wanted = if len < 12 { 12 } else { 28 };
                    let more = Ok(ClientVerdict::NeedMore(wanted));
                    assert_eq!(client.judge(&answer[..len]), more);
                }
                let expected = if got == asked {
                    Ok(ClientVerdict::Begin {
                        then: asked.into(),
                        used: 28,
                    })
                } else {
                    Err(Violation::OtherMethod { asked, got })
                };
                assert_eq!(client.judge(&answer), expected);
            }
            assert!(client.judge(b"HTTP/1.1 400").is_err());
        }
    }
}
