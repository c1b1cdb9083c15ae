use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{Beginning, DEFAULT_GID, EASY_PREAMBLE_LEN, FirstBytes, Method};

/// How a connection goes on to the server, by how it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Onward {
    /// As it came: the server tells by its first bytes what it is.
    AsItCame,
    /// With a negotiation of its own, for this thread of the server.
    Negotiated {
        gid: u64,
        /// Bytes at its front that are left out.
        skip: usize,
    },
}

impl Onward {
    /// A connection that began like this, to a server that is asked for `method`.
    ///
    /// What negotiated is negotiated anew, for the same thread. The net keepalive is always in the
    /// clear, since OceanBase's servers hear it nowhere else. The preamble of libeasy chooses among
    /// threads that are never reached by a negotiation, and is left out with one: the calls behind
    /// it are the same.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] for what a server takes in the clear only, and is asked to encrypt.
    pub(in crate::gateway) fn new(beginning: &Beginning, method: Method) -> Result<Self> {
        if let Some(message) = beginning.message {
            let gid = match message.gid {
                NOT_NEGOTIATED if method != Method::None => DEFAULT_GID,
                gid => gid,
            };
            return Ok(Self::Negotiated { gid, skip: 0 });
        }
        let skip = match beginning.first {
            FirstBytes::NetKeepalive => return Ok(Self::AsItCame),
            _ if method == Method::None => return Ok(Self::AsItCame),
            FirstBytes::EasyRpc(_) => EASY_PREAMBLE_LEN,
            FirstBytes::ObRpc { .. } | FirstBytes::Tls => 0,
            first => {
                let (what, method) = (first.name(), method.name());
                let text = format!(
                    "the connection begins with {what}, which a server takes in the clear only, \
                     and method = \"{method}\" is to be spoken to it"
                );
                return Err(Error::new(ErrorKind::Protocol, text));
            }
        };
        let gid = DEFAULT_GID;
        Ok(Self::Negotiated { gid, skip })
    }
}

/// The thread of a connection that has not negotiated: OceanBase hands it to the older network
/// library, which reads no TLS.
const NOT_NEGOTIATED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::obrpc::{EasyChannel, Message, Then};

    fn beginning(first: FirstBytes, message: Option<Message>) -> Beginning {
        Beginning {
            first,
            message,
            then: Then::Plain,
            is_restricted: false,
        }
    }

    #[test]
    fn what_negotiated_is_negotiated_anew_for_the_same_thread() {
        for (gid, method, expected) in [
            (0x2_0000_0007, Method::None, 0x2_0000_0007),
            (0x2_0000_0007, Method::SslIo, 0x2_0000_0007),
            (u64::MAX, Method::None, u64::MAX),
            (u64::MAX, Method::SslIo, DEFAULT_GID),
        ] {
            let asked = Message::new(Method::SslIo, gid);
            let began = beginning(FirstBytes::Ussl, Some(asked));
            let onward = Onward::new(&began, method).unwrap();
            let gid = expected;
            assert_eq!(onward, Onward::Negotiated { gid, skip: 0 });
        }
    }

    #[test]
    fn what_did_not_goes_on_as_the_server_can_take_it() {
        let call = FirstBytes::ObRpc {
            chid: 1,
            pcode: None,
        };
        let encrypted = |skip| {
            Some(Onward::Negotiated {
                gid: DEFAULT_GID,
                skip,
            })
        };
        for (first, onward) in [
            (FirstBytes::NetKeepalive, Some(Onward::AsItCame)),
            (call, encrypted(0)),
            (FirstBytes::Tls, encrypted(0)),
            (FirstBytes::EasyRpc(EasyChannel::Rpc), encrypted(19)),
            (FirstBytes::Http2, None),
            (FirstBytes::Unknown, None),
        ] {
            let began = beginning(first, None);
            let plain = Onward::new(&began, Method::None).unwrap();
            assert_eq!(plain, Onward::AsItCame);
            for method in [Method::SslNoEncrypt, Method::SslIo] {
                assert_eq!(Onward::new(&began, method).ok(), onward, "{first:?}");
            }
        }
        let refused = Onward::new(&beginning(FirstBytes::Http2, None), Method::SslIo).unwrap_err();
        assert!(refused.to_string().contains("HTTP/2"), "{refused}");
    }
}
