//! TLS: configuration, identities, verification, the handshake and the record layer.

mod call;
mod certificate;
mod config;
mod der;
mod failure;
mod identity;
mod key;
mod key_log;
mod names;
pub mod policy;
pub(crate) mod record;
mod resume;
mod revocation;
mod roots;
pub(crate) mod session;
mod suites;
mod validity;
mod verify;
mod witness;

pub use certificate::{AltName, Certificate, Fingerprint, read_fingerprint};
pub use config::{
    ApplicationProtocol, ClientAuth, ClientConfig, ClientIdentity, ClientOptions, RecordPath,
    ServerConfig, ServerOptions, Verify, Version,
};
pub use identity::{Identity, Pem};
pub use key_log::DangerKeyLog;
pub use names::Oneline;
pub use resume::{TICKET_KEY_LEN, TicketKeys, Tickets};
pub use revocation::Crls;
pub use roots::Roots;
pub use rustls::pki_types::ServerName;
pub use suites::{SUITES_LEN, spoken_suites};
pub use validity::Validity;
pub use witness::{Seen, Witness};

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
    /// The application protocol that both ends named (ALPN).
    pub application_protocol: Option<String>,
    /// The peer's certificates in DER, leaf first; empty where it presented none.
    pub peer_chain: Vec<Vec<u8>>,
}

impl Facts {
    /// The peer's own certificate; `None` where it presented none.
    pub fn peer(&self) -> Option<Certificate<'_>> {
        Certificate::from_der(self.peer_chain.first()?)
    }

    /// The cipher suite by OpenSSL's name, as in `ECDHE-RSA-AES128-GCM-SHA256`; in TLS 1.3 it is
    /// IANA's.
    pub fn openssl_suite(&self) -> &'static str {
        suites::openssl_name(self.suite)
    }
}
