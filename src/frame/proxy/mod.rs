//! The PROXY protocol, versions 1 and 2, of HAProxy's `proxy-protocol.txt`: what stands in front of
//! a stream that somebody passes on, and tells from where it comes.
//!
//! ```
//! use sealwire::frame::proxy::{HeaderDecoder, Origin};
//!
//! let mut input = &b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 3306\r\nwhat the client sent"[..];
//! let origin = HeaderDecoder::default().next(&mut input)?;
//! assert_eq!(
//!     origin,
//!     Some(Origin::Relayed {
//!         source: "192.0.2.7:50000".parse().unwrap(),
//!         destination: "192.0.2.1:3306".parse().unwrap(),
//!     })
//! );
//! assert_eq!(input, b"what the client sent");
//! # Ok::<(), sealwire::frame::proxy::Violation>(())
//! ```

mod decode;
mod encode;
mod violation;

use core::net::SocketAddr;

pub use decode::HeaderDecoder;
pub use encode::{ClientCertificate, ClientTls, write_v2};
pub use violation::Violation;

/// From where a stream comes, as whoever passes it on says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the sender of the header itself, as where it looks whether somebody is there: the
    /// addresses of its connection count.
    Sender,
    /// From somebody whose address cannot be told, or is the path of a Unix socket.
    Unknown,
    /// From elsewhere.
    Relayed {
        /// The client's own address.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
    },
}

/// With what a header of version 2 begins: no other protocol begins so.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 2 up to its length, that included.
const PREFIX_LEN: usize = SIGNATURE.len() + 4;

// Version and command, in one byte.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

// Address family and transport, in one byte.
const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

/// Kinds of the values that follow the addresses of version 2.
mod kind {
    pub(super) const CRC32C: u8 = 0x03;
    pub(super) const SSL: u8 = 0x20;
    pub(super) const SSL_VERSION: u8 = 0x21;
    pub(super) const SSL_CN: u8 = 0x22;
    pub(super) const SSL_CIPHER: u8 = 0x23;
    /// Of those that are left to applications (0xE0 to 0xEF) one that no cloud is known to use.
    pub(super) const SUBJECT: u8 = 0xE5;
}

#[cfg(test)]
mod tests;
