//! OB-RPC on the wire, and the negotiation, "ussl", in front of it.
//!
//! ```text
//! first bytes ──► FirstBytes ──► Message: a negotiation, then TLS or not      once per connection
//!                           └──► EasyPreamble, a request, HTTP/2, TLS
//! bytes ──► PacketDecoder ──► Frame ──► Packet: header, payload ──► payload
//! ```
//!
//! Decoded packets borrow from the received bytes where they lie in one piece. Headers are big
//! endian, the negotiation is little endian, payloads are serialized with integers of variable
//! length.

#![forbid(unsafe_code)]
#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable
)]

mod checksum;
mod compression;
mod decoder;
mod easy;
mod first_bytes;
mod flags;
mod header;
mod negotiation;
mod net;
mod packet;
pub mod payload;
mod pcode;
mod rcode;
mod unis;
mod ussl;
mod violation;
mod watch;

pub use checksum::checksum;
pub use compression::Compressor;
pub use decoder::{Frame, PacketDecoder};
pub use easy::{EASY_PREAMBLE_LEN, EasyChannel, EasyPreamble, KEEPALIVE_BYTE, KeepaliveAnswer};
pub use first_bytes::FirstBytes;
pub use flags::Flags;
pub use header::{
    ANY_CLUSTER, PRIORITY, RPC_HEADER_LEN, RPC_HEADER_LEN_MIN, RpcHeader, SYS_TENANT,
};
pub use negotiation::{
    Beginning, Bypass, ClientRequest, ClientVerdict, Refusal, RefusalReason, ServerPolicy,
    ServerVerdict, Then,
};
pub use net::{FrameKind, NET_HEADER_LEN, NetHeader};
pub use packet::{Packet, read_response, refusal, write_packet, write_response};
pub use pcode::Pcode;
pub use rcode::{ResultCode, Warning};
pub use ussl::{
    DEFAULT_GID, Decoded, Message, Method, Methods, USSL_MESSAGE_LEN, USSL_MESSAGE_LEN_MAX,
};
pub use violation::Violation;
pub use watch::{CallActivity, CallStart, CallWatch};

#[cfg(test)]
mod tests;
