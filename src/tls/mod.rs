//! TLS: configuration, identities, verification, the handshake and the record layer.

mod call;
mod config;
mod failure;
mod identity;
mod names;
pub(crate) mod record;
pub(crate) mod session;
mod suites;
mod verify;

pub use config::{
    ClientAuth, ClientConfig, ClientOptions, RecordPath, ServerConfig, ServerOptions, Verify,
    Version,
};
pub use identity::{Identity, Pem, Roots};
pub use rustls::pki_types::ServerName;

/// What a handshake agreed on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The protocol version.
    pub version: Version,
    /// The cipher suite by its IANA name, as in `TLS_AES_128_GCM_SHA256`.
    pub suite: &'static str,
    /// The key exchange group, as in `X25519MLKEM768`.
    pub group: &'static str,
    /// True where an earlier session was resumed.
    pub resumed: bool,
    /// The server name that a client asked for (SNI).
    pub server_name: Option<String>,
    /// The peer's certificates in DER, leaf first; empty where it presented none.
    pub peer_chain: Vec<Vec<u8>>,
}
