use crate::wire::Reader;

use super::easy::{EASY_MAGIC, EASY_PREAMBLE_LEN, EasyChannel, EasyPreamble};
use super::net::{MAGIC, NET_HEADER_LEN};
use super::pcode::Pcode;
use super::ussl::USSL_MAGIC;

/// What a connection to an RPC port begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// It cannot be told yet: so many bytes are needed to go on, from the first one counted.
    NeedMore(usize),
    /// A negotiation message.
    Ussl,
    /// The preamble of the older network library, for calls of this kind.
    EasyRpc(EasyChannel),
    /// The preamble of the net keepalive.
    NetKeepalive,
    /// A request at once.
    ObRpc {
        /// The number that an answer must carry.
        chid: u32,
        /// What is called, unless the packet is too short to say.
        pcode: Option<Pcode>,
    },
    /// The preface of HTTP/2, which gRPC speaks.
    Http2,
    /// A TLS handshake.
    Tls,
    /// Something else.
    Unknown,
}

impl FirstBytes {
    /// Judges the first bytes of a stream. The judgement does not depend on how they were cut.
    pub fn classify(bytes: &[u8]) -> Self {
        let mut waiting = None;
        for (start, judge) in KINDS {
            if bytes.starts_with(start) {
                return judge(bytes);
            }
            if start.starts_with(bytes) {
                waiting = waiting.min(Some(start.len())).or(Some(start.len()));
            }
        }
        waiting.map_or(Self::Unknown, Self::NeedMore)
    }

    /// What it is, for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::NeedMore(_) => "an incomplete beginning",
            Self::Ussl => "a negotiation",
            Self::EasyRpc(_) => "the preamble of libeasy",
            Self::NetKeepalive => "a net keepalive",
            Self::ObRpc { .. } => "a request in the clear",
            Self::Http2 => "HTTP/2",
            Self::Tls => "TLS without a negotiation",
            Self::Unknown => "no known protocol",
        }
    }
}

fn easy(bytes: &[u8]) -> FirstBytes {
    let Some(preamble) = bytes.first_chunk() else {
        return FirstBytes::NeedMore(EASY_PREAMBLE_LEN);
    };
    match EasyPreamble::decode(*preamble).map(|preamble| preamble.channel) {
        Some(EasyChannel::NetKeepalive) => FirstBytes::NetKeepalive,
        Some(channel) => FirstBytes::EasyRpc(channel),
        None => FirstBytes::Unknown,
    }
}

fn ob_rpc(bytes: &[u8]) -> FirstBytes {
    let Some((header, body)) = bytes.split_first_chunk::<NET_HEADER_LEN>() else {
        return FirstBytes::NeedMore(NET_HEADER_LEN);
    };
    let [_, _, _, _, len @ .., c, d, e, f, _, _, _, _] = *header;
    let chid = u32::from_be_bytes([c, d, e, f]);
    if u32::from_be_bytes(len) < PCODE_LEN as u32 {
        return FirstBytes::ObRpc { chid, pcode: None };
    }
    match Reader::new(body).u32_be() {
        Some(pcode) => FirstBytes::ObRpc {
            chid,
            pcode: Some(Pcode(pcode)),
        },
        None => FirstBytes::NeedMore(NET_HEADER_LEN + PCODE_LEN),
    }
}

/// How a kind begins, and who judges what does.
type Kind = (&'static [u8], fn(&[u8]) -> FirstBytes);

/// No one of these is the beginning of another.
const KINDS: [Kind; 5] = [
    (&USSL_MAGIC, |_| FirstBytes::Ussl),
    (&EASY_MAGIC, easy),
    (&MAGIC, ob_rpc),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", |_| FirstBytes::Http2),
    // A record of the handshake, of any TLS version.
    (&[0x16, 3], |_| FirstBytes::Tls),
];

const PCODE_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::obrpc::ussl::{Message, Method};

    /// A beginning of each kind, and the number of bytes from which on it can be told.
    fn beginnings() -> Vec<(Vec<u8>, FirstBytes, usize)> {
        let preamble = |channel| EasyPreamble { channel, thread: 1 }.encode();
        let ussl = Message::new(Method::SslIo, 1).encode();
        let mut request = MAGIC.to_vec();
        request.extend([0, 0, 0, 4, 0, 0, 0, 0x2a, 0, 0, 0, 0, 0, 0, 0x11, 1]);
        let mut empty = request[..16].to_vec();
        empty[7] = 3;
        let told = |pcode| FirstBytes::ObRpc { chid: 0x2a, pcode };
        let mut odd = preamble(EasyChannel::Rpc);
        odd[9] = 8;
        let rpc = FirstBytes::EasyRpc(EasyChannel::Rpc);
        vec![
            (ussl, FirstBytes::Ussl, 4),
            (preamble(EasyChannel::Rpc), rpc, 19),
            (
                preamble(EasyChannel::NetKeepalive),
                FirstBytes::NetKeepalive,
                19,
            ),
            (odd, FirstBytes::Unknown, 19),
            (request, told(Some(Pcode::TABLE_API_LOGIN)), 20),
            (empty, told(None), 16),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                FirstBytes::Http2,
                24,
            ),
            (vec![0x16, 3, 1, 2, 0], FirstBytes::Tls, 2),
            (b"GET / HTTP/1.1".to_vec(), FirstBytes::Unknown, 1),
            (b"PRI * HTTP/1".to_vec(), FirstBytes::Unknown, 12),
            (vec![0x12, 0x35], FirstBytes::Unknown, 2),
            (vec![1, 0xdb, 0xdb, 0xcc], FirstBytes::Unknown, 4),
        ]
    }

    #[test]
    fn every_kind_is_told_as_soon_as_it_can_be() {
        for (bytes, kind, told_at) in beginnings() {
            for len in 0..=bytes.len() {
                let judged = FirstBytes::classify(&bytes[..len]);
                match judged {
                    FirstBytes::NeedMore(wanted) => {
                        assert!(len < told_at, "{len} bytes of {bytes:x?}");
                        assert!(wanted > len, "no progress");
                    }
                    judged => {
                        assert!(len >= told_at, "{len} bytes of {bytes:x?}");
                        assert_eq!(judged, kind);
                    }
                }
            }
        }
    }

    /// Whoever reads exactly as much as is asked for never reads beyond what decides.
    #[test]
    fn no_more_is_asked_for_than_decides() {
        for (bytes, kind, told_at) in beginnings() {
            let mut len = 0;
            let judged = loop {
                match FirstBytes::classify(&bytes[..len]) {
                    FirstBytes::NeedMore(wanted) if wanted <= bytes.len() => len = wanted,
                    other => break other,
                }
            };
            if judged == kind {
                assert!(len <= told_at.max(4), "{kind:?}");
            }
        }
    }
}
