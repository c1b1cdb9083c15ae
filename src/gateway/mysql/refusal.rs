use crate::error::{Error, ErrorKind};
use crate::frame::mysql::{ErrPacket, Sequence, Violation, write_packet};
use crate::gateway::session::Side;
use crate::tls::policy::Dialect;

/// Why a login ends here: what the client is told, and what the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Refusal {
    /// The number of the error that the client gets.
    code: u16,
    sql_state: [u8; 5],
    /// The side at fault.
    pub(in crate::gateway) side: Side,
    /// The whole reason. The client is told it only where it says nothing of the server's insides.
    pub(in crate::gateway) error: Error,
    /// What the client is told in place of the reason.
    told: Option<String>,
}

impl Refusal {
    /// Too many connections are open (ER_CON_COUNT_ERROR).
    pub(in crate::gateway) fn full(error: Error) -> Self {
        Self::new(1040, *b"08004", Side::Client, error)
    }

    /// The server is not there (CR_CONN_HOST_ERROR).
    pub(in crate::gateway) fn unreachable(error: Error) -> Self {
        Self::new(2003, *GENERAL, Side::Server, error)
    }

    /// The server was there and is lost, or says what it must not (CR_SERVER_LOST).
    pub(in crate::gateway) fn lost(error: Error) -> Self {
        Self::new(2013, *GENERAL, Side::Server, error)
    }

    /// TLS with the server failed (CR_SSL_CONNECTION_ERROR).
    pub(in crate::gateway) fn server_tls(error: Error) -> Self {
        Self::new(2026, *GENERAL, Side::Server, error)
    }

    /// The server's greeting offers no TLS, which the route demands.
    pub(super) fn no_server_tls() -> Self {
        let text = "the server offers no TLS, and [route.server] demands it";
        Self::server_tls(Error::new(ErrorKind::NotTls, text))
    }

    /// The client speaks no TLS and has to (ER_SECURE_TRANSPORT_REQUIRED).
    pub(super) fn plain_client() -> Self {
        let text = "plain login refused: TLS is required, and the client did not begin it";
        Self::client(INSECURE, GENERAL, ErrorKind::NotTls, text)
    }

    /// A password would cross a leg in clear where it must not.
    pub(super) fn clear_password() -> Self {
        let text = "this account's password would have to pass in clear where others may read it; \
                    use TLS on the way to the gateway and from there to the server";
        Self::client(INSECURE, GENERAL, ErrorKind::Misuse, text)
    }

    /// The password itself is due at a server whose key is not known.
    pub(super) fn no_server_key() -> Self {
        let text = "the server asks for this account's password itself, and the gateway's way \
                    there is not encrypted; in [route.server] use TLS, or name the server's RSA \
                    key in server_public_key, or set danger_fetch_server_public_key";
        Self::client(INSECURE, GENERAL, ErrorKind::Config, text)
    }

    /// The password that came is for another key than the gateway's.
    pub(super) fn foreign_key() -> Self {
        let text = "the password is not encrypted to the gateway's key: let the client ask for \
                    the key (--get-server-public-key) rather than name that of the server, or use \
                    TLS";
        Self::client(INSECURE, GENERAL, ErrorKind::Misuse, text)
    }

    /// The password that came cannot be encrypted.
    pub(super) fn unusable_password(error: Error) -> Self {
        Self::new(INSECURE, *GENERAL, Side::Client, error)
    }

    /// The client claims to be a proxy (ER_ACCESS_DENIED_ERROR).
    pub(super) fn proxy_claim(attribute: &[u8]) -> Self {
        let name = attribute.escape_ascii();
        let text = format!("access denied: connection attribute {name} claims to be a proxy");
        Self::client(1045, b"28000", ErrorKind::Protocol, text)
    }

    /// A rule on the account is not met: the client is told `message`, as of a wrong password.
    pub(super) fn denied(dialect: Dialect, message: String, error: Error) -> Self {
        let sql_state = dialect.refusal_sqlstate().as_bytes().try_into();
        let sql_state = sql_state.unwrap_or(*GENERAL);
        Self {
            told: Some(message),
            ..Self::new(dialect.refusal_code(), sql_state, Side::Client, error)
        }
    }

    /// The session would be in a framing in which a change of user cannot be seen, on a route that
    /// has rules on accounts.
    pub(super) fn hidden_framing() -> Self {
        let text = "this session's compression hides its commands, and accounts are checked here; \
                    turn zstd compression off, or that of OceanBase's protocol 2.0";
        Self::client(INSECURE, GENERAL, ErrorKind::Misuse, text)
    }

    /// What `side` sent breaks the protocol.
    pub(super) fn violation(side: Side, violation: Violation) -> Self {
        let error = Error::from(violation);
        match (side, violation) {
            (Side::Server, _) => Self::lost(error),
            (_, Violation::OutOfOrder { .. }) => Self::new(1156, *LINK, side, error),
            (_, Violation::TooLong { .. }) => Self::new(1153, *LINK, side, error),
            _ => Self::new(1043, *b"08S01", side, error),
        }
    }

    /// Appends the packet that tells a client which has been greeted or, without an SQLSTATE, one
    /// that has not.
    pub(in crate::gateway) fn write(
        &self,
        out: &mut Vec<u8>,
        mut sequence: Sequence,
        is_greeted: bool,
    ) {
        let message = self.message();
        let packet = ErrPacket {
            code: self.code,
            sql_state: is_greeted.then_some(self.sql_state),
            message: message.as_bytes(),
        };
        write_packet(out, &mut sequence, |writer| packet.write(writer));
    }

    /// The server's addresses and certificates are the operator's business: of those the client
    /// learns the class.
    fn message(&self) -> String {
        if let Some(told) = &self.told {
            return told.clone();
        }
        let class = self.error.kind().class();
        let doing = match (self.side, self.code) {
            (Side::Client, 1040) => return "Too many connections".into(),
            (Side::Client, INSECURE) if self.error.kind() == ErrorKind::NotTls => {
                let text = "connections must use TLS here; connect with --ssl or \
                            --ssl-mode=REQUIRED";
                return text.into();
            }
            (Side::Client, _) => return self.error.to_string(),
            (Side::Server, 2003) => "cannot reach the server",
            (Side::Server, 2026) => "TLS with the server failed",
            (Side::Server, _) => "lost the server during the login",
        };
        format!("sealwire: {doing} ({class}); the gateway's log has the reason")
    }

    fn client(code: u16, state: &[u8; 5], kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::new(code, *state, Side::Client, Error::new(kind, text))
    }

    fn new(code: u16, sql_state: [u8; 5], side: Side, error: Error) -> Self {
        Self {
            code,
            sql_state,
            side,
            error,
            told: None,
        }
    }
}

/// ER_SECURE_TRANSPORT_REQUIRED. Of the numbers from 2000 to 2999 MariaDB's clients show no text.
const INSECURE: u16 = 3159;

/// SQLSTATE of errors that have none of their own.
const GENERAL: &[u8; 5] = b"HY000";

/// SQLSTATE of a link that failed.
const LINK: &[u8; 5] = b"08S01";
