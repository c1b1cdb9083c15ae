use super::alert::{Alert, Refused};
use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::wire::Reader;

/// A handshake message that may come after the handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// TLS 1.2, to a client: the server wants to renegotiate.
    HelloRequest,
    /// TLS 1.2, to a server: the client wants to renegotiate.
    ClientHello,
    /// TLS 1.3, to a client: a ticket for a later session.
    NewSessionTicket(&'a [u8]),
    /// TLS 1.3: the sender's key is replaced from the next record on.
    KeyUpdate { is_requested: bool },
}

/// Puts together handshake messages that arrive in pieces.
///
/// Invariant: `bytes` is the beginning of one message that has not arrived whole, or empty and
/// without memory.
#[derive(Default)]
pub(crate) struct Fragments {
    bytes: Vec<u8>,
}

impl Fragments {
    /// True where the next handshake bytes begin a message.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the pieces collected so far, with `body` behind them.
    pub(crate) fn join(&mut self, body: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(body);
        bytes
    }

    /// Keeps what [`next_message`] could not read yet.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.bytes = rest.to_vec();
        }
    }
}

/// Reads the message at the front; `None` where it is incomplete.
pub(crate) fn next_message<'a>(reader: &mut Reader<'a>) -> Result<Option<Message<'a>>, Refused> {
    let mut ahead = *reader;
    let (Some(kind), Some(len)) = (ahead.u8(), ahead.u24_be()) else {
        return Ok(None);
    };
    let len = len as usize;
    if len > limits::POST_HANDSHAKE_MESSAGE_LEN_MAX {
        let what = format!("a handshake message of {len} bytes");
        return Err(refused(Alert::DECODE_ERROR, what));
    }
    let Some(body) = ahead.take(len) else {
        return Ok(None);
    };
    *reader = ahead;
    match (kind, body) {
        (0, []) => Ok(Some(Message::HelloRequest)),
        (1, _) => Ok(Some(Message::ClientHello)),
        (4, _) => Ok(Some(Message::NewSessionTicket(body))),
        (24, [0]) => Ok(Some(Message::KeyUpdate {
            is_requested: false,
        })),
        (24, [1]) => Ok(Some(Message::KeyUpdate { is_requested: true })),
        // RFC 8446 section 4.6.3: any other value ends the connection with this alert.
        (24, [other]) => Err(refused(
            Alert::ILLEGAL_PARAMETER,
            format!("a KeyUpdate with the request {other}"),
        )),
        _ => {
            let what = format!("handshake message {kind} of {len} bytes after the handshake");
            Err(refused(Alert::UNEXPECTED_MESSAGE, what))
        }
    }
}

/// A KeyUpdate that asks for none in return (RFC 8446 section 4.6.3).
pub(crate) const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

fn refused(alert: Alert, what: String) -> Refused {
    Refused::new(
        alert,
        Error::new(ErrorKind::TlsProtocol, format!("peer sent {what}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_pieces_are_put_together() {
        let mut fragments = Fragments::default();
        for byte in [24, 0, 0, 1] {
            let bytes = fragments.join(&[byte]);
            let mut reader = Reader::new(&bytes);
            assert_eq!(next_message(&mut reader).unwrap(), None);
            fragments.keep(reader.take(reader.len()).unwrap());
            assert!(!fragments.is_empty());
        }
        let bytes = fragments.join(&[1]);
        let message = next_message(&mut Reader::new(&bytes)).unwrap().unwrap();
        assert_eq!(message, Message::KeyUpdate { is_requested: true });
        assert!(fragments.is_empty());
    }

    #[test]
    fn lengths_and_types_that_cannot_be_are_refused_before_they_arrive() {
        assert!(next_message(&mut Reader::new(&[4, 1, 0, 0])).is_err());
        assert!(next_message(&mut Reader::new(&[24, 0, 0, 1, 2])).is_err());
        assert!(next_message(&mut Reader::new(&[13, 0, 0, 0])).is_err());
    }
}
