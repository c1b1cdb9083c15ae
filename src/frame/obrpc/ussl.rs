use std::ops::BitOr;

use crate::wire::{Reader, Writer};

use super::violation::Violation;

/// How a connection is protected, as its client asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all.
    None = 1,
    /// A TLS handshake, and everything after it in the clear.
    SslNoEncrypt = 2,
    /// TLS.
    SslIo = 4,
}

/// The thread that a connection is for whose client names none: the first one of OceanBase's
/// default group.
pub const DEFAULT_GID: u64 = 1 << 32;

/// A set of methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods(u32);

/// The message of a negotiation, the same in both directions: a head of twelve bytes and sixteen
/// behind it, all little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// 1, and looked at by nobody.
    pub version: u32,
    /// What the client asks for; in the acknowledgement, the same again.
    pub method: Method,
    /// The thread of the server that the connection is for: group in the upper half, index in the
    /// lower. In an acknowledgement it means nothing.
    pub gid: u64,
}

/// A message at the front of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// It is incomplete; so many bytes of it are needed to go on, from its first one counted.
    NeedMore(usize),
    /// It is whole.
    Whole {
        /// The message.
        message: Message,
        /// Its length, in bytes: what follows belongs to something else.
        len: usize,
    },
}

impl Method {
    /// The name that OceanBase's parameters use.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SslNoEncrypt => "ssl_no_encrypt",
            Self::SslIo => "ssl_io",
        }
    }

    /// What both ends name within the handshake (ALPN) where they know of it: who changes the
    /// method on its way cannot change that too. OceanBase's ends name nothing.
    pub fn application_protocol(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::SslNoEncrypt => Some("ob-rpc/auth"),
            Self::SslIo => Some("ob-rpc/io"),
        }
    }

    fn from_wire(value: u32) -> Result<Self, Violation> {
        [Self::None, Self::SslNoEncrypt, Self::SslIo]
            .into_iter()
            .find(|method| *method as u32 == value)
            .ok_or(Violation::UnknownMethod(value))
    }
}

impl Methods {
    /// TLS alone.
    pub const SSL_IO: Self = Self(Method::SslIo as u32);

    /// True where `method` is one of them.
    pub fn contains(self, method: Method) -> bool {
        self.0 & method as u32 != 0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [Method::None, Method::SslNoEncrypt, Method::SslIo]
            .into_iter()
            .filter(move |method| self.contains(*method))
            .map(Method::name)
    }
}

impl From<Method> for Methods {
    fn from(method: Method) -> Self {
        Self(method as u32)
    }
}

impl<M: Into<Self>> BitOr<M> for Methods {
    type Output = Self;

    fn bitor(self, other: M) -> Self {
        Self(self.0 | other.into().0)
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        methods.into_iter().fold(Self::default(), Self::bitor)
    }
}

impl Message {
    /// A message that asks for `method`.
    pub fn new(method: Method, gid: u64) -> Self {
        Self {
            version: VERSION,
            method,
            gid,
        }
    }

    /// Reads a message at the front of `bytes`, and not one byte beyond it. Any version is taken,
    /// and a message that is longer than is known: what is more is part of it, and ignored.
    ///
    /// # Errors
    ///
    /// [`Violation`] where the bytes cannot be such a message, however they go on.
    pub fn decode(bytes: &[u8]) -> Result<Decoded, Violation> {
        let mut reader = Reader::new(bytes);
        let Some((magic, version, body_len)) = read_head(&mut reader) else {
            return Ok(Decoded::NeedMore(HEAD_LEN));
        };
        if magic != USSL_MAGIC {
            return Err(Violation::Magic(magic));
        }
        let len = HEAD_LEN.saturating_add(body_len as usize);
        if !(USSL_MESSAGE_LEN..=USSL_MESSAGE_LEN_MAX).contains(&len) {
            return Err(Violation::MessageLen(body_len));
        }
        if bytes.len() < len {
            return Ok(Decoded::NeedMore(len));
        }
        let (method, gid) = read_body(&mut reader).ok_or(Violation::MessageLen(body_len))?;
        let message = Self {
            version,
            method: Method::from_wire(method)?,
            gid,
        };
        Ok(Decoded::Whole { message, len })
    }

    /// The message's bytes; the padding is zero.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(USSL_MESSAGE_LEN);
        let mut writer = Writer::new(&mut out);
        writer.bytes(&USSL_MAGIC);
        writer.u32_le(self.version);
        writer.u32_le((USSL_MESSAGE_LEN - HEAD_LEN) as u32);
        writer.u32_le(self.method as u32);
        writer.zeros(PADDING_LEN);
        writer.u64_le(self.gid);
        out
    }

    /// The acknowledgement of this message.
    pub fn acknowledgement(self) -> Self {
        Self::new(self.method, 0)
    }
}

fn read_head(reader: &mut Reader<'_>) -> Option<([u8; 4], u32, u32)> {
    Some((reader.array()?, reader.u32_le()?, reader.u32_le()?))
}

fn read_body(reader: &mut Reader<'_>) -> Option<(u32, u64)> {
    let method = reader.u32_le()?;
    reader.take(PADDING_LEN)?;
    Some((method, reader.u64_le()?))
}

/// What a negotiation message begins with.
pub(super) const USSL_MAGIC: [u8; 4] = 0xbeef_0312_u32.to_le_bytes();

/// Length of the message, in bytes.
pub const USSL_MESSAGE_LEN: usize = 28;

/// The longest message that is taken, in bytes: what OceanBase's servers look at.
pub const USSL_MESSAGE_LEN_MAX: usize = 256;

const VERSION: u32 = 1;

const HEAD_LEN: usize = 12;

/// The compiler's, behind the method. Peers send whatever is there.
const PADDING_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const GID: u64 = 0x0000_0001_0000_0003;

    fn vector(method: u8) -> Vec<u8> {
        let mut bytes = vec![
            0x12, 0x03, 0xef, 0xbe, 1, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0,
            1, 0, 0, 0,
        ];
        bytes[12] = method;
        bytes
    }

    #[test]
    fn vectors() {
        for (method, byte) in [
            (Method::None, 1),
            (Method::SslNoEncrypt, 2),
            (Method::SslIo, 4),
        ] {
            let message = Message::new(method, GID);
            assert_eq!(message.encode(), vector(byte));
            let mut bytes = vector(byte);
            bytes[16..20].copy_from_slice(b"junk");
            bytes.extend(b"what follows");
            let whole = Decoded::Whole { message, len: 28 };
            assert_eq!(Message::decode(&bytes), Ok(whole));
        }
    }

    #[test]
    fn every_prefix_says_how_much_is_needed() {
        let bytes = vector(4);
        for len in 0..bytes.len() {
            let wanted = if len < 12 { 12 } else { 28 };
            let decoded = Message::decode(&bytes[..len]);
            assert_eq!(decoded, Ok(Decoded::NeedMore(wanted)));
        }
    }

    #[test]
    fn other_versions_and_longer_messages_are_taken() {
        let mut bytes = vector(4);
        bytes[4] = 9;
        bytes.extend([0xaa; 300]);
        for body_len in [17, 20, 244_usize] {
            bytes[8] = body_len as u8;
            let wanted = 12 + body_len;
            let more = Message::decode(&bytes[..wanted - 1]);
            assert_eq!(more, Ok(Decoded::NeedMore(wanted)));
            let Ok(Decoded::Whole { message, len }) = Message::decode(&bytes) else {
                panic!("not taken")
            };
            assert_eq!((message.version, message.gid, len), (9, GID, wanted));
        }
    }

    #[test]
    fn lengths_that_lie_and_unknown_methods_are_refused() {
        for body_len in [0, 15, 245, 256, u32::MAX] {
            let mut bytes = vector(4);
            bytes[8..12].copy_from_slice(&body_len.to_le_bytes());
            let refused = Err(Violation::MessageLen(body_len));
            assert_eq!(Message::decode(&bytes), refused);
            assert_eq!(Message::decode(&bytes[..12]), refused, "by its head");
        }
        for method in [0, 3, 5, 7, 8] {
            let refused = Err(Violation::UnknownMethod(method.into()));
            assert_eq!(Message::decode(&vector(method)), refused);
        }
        let mut bytes = vector(4);
        bytes[0] = 0x13;
        assert!(matches!(Message::decode(&bytes), Err(Violation::Magic(_))));
    }

    #[test]
    fn sets_of_methods() {
        let methods: Methods = [Method::None, Method::SslIo].into_iter().collect();
        assert!(methods.contains(Method::SslIo) && !methods.contains(Method::SslNoEncrypt));
        assert_eq!(methods.names().collect::<Vec<_>>(), ["none", "ssl_io"]);
        assert!(Methods::default().names().next().is_none());
    }
}
