//! MySQL, MariaDB and OceanBase on the wire: login, commands, compressed and OB 2.0 framing.
//!
//! ```text
//! bytes -> PacketAssembler -> Greeting, FirstClientPacket, LoginReply      until the login has
//! ended bytes -> SessionWatch -> CommandTracker: idle, in flight, IN_TRANS       from then on
//! ```
//!
//! Parsed values borrow from the packet. What a relay has to change is changed in place, so that
//! every byte it does not understand stays as it was. Integers are little endian throughout.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable
)]

pub mod auth;
mod capabilities;
mod command;
mod compress;
mod handshake;
mod ob20;
mod packet;
mod reply;
mod response;
mod resultset;
mod ssl_request;
mod tracker;
mod violation;
mod watch;

pub use capabilities::{Capabilities, ServerKind};
pub use command::{ChangeUser, Command};
pub use compress::Inflater;
pub use handshake::{FirstServerPacket, Greeting};
pub use ob20::{Ob20Flags, Ob20Header, Ob20Reader};
pub use packet::{
    HEADER_LEN, Header, PAYLOAD_LEN_MAX, Packet, PacketAssembler, PacketHead, Scanner, Sequence,
    write_packet,
};
pub use reply::{AuthSwitch, EofPacket, ErrPacket, LoginReply, OkPacket, StatusFlags};
pub use response::{Attributes, HandshakeResponse};
pub use resultset::{ColumnDefinition, write_text_row};
pub use ssl_request::{FirstClientPacket, SSL_REQUEST_LEN, SslRequest, SslRequestSettings};
pub use tracker::{Activity, CommandStart, CommandTracker};
pub use violation::Violation;
pub use watch::{Framing, SessionWatch};
