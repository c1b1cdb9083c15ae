//! OB-RPC as the demo speaks it: a server of a few calls, and a client on three ways to it.

mod client;
mod endpoint;
mod leg;
mod log;
mod tour;

use std::sync::Arc;
use std::time::Duration;

pub(super) use client::Client;
pub(super) use endpoint::serve;
pub(super) use leg::{IN_FLIGHT, Leg, Way};

use crate::conn::{NegotiationClient, NegotiationOptions, NegotiationServer};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::{Bypass, DEFAULT_GID, Method, Methods, Pcode, ServerPolicy};
use crate::limits::HANDSHAKE_TIMEOUT_MS;
use crate::tls::{ClientOptions, Facts, ServerName, ServerOptions};
use crate::wire::{Reader, Writer};

/// What a server end knows of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// By TLS 1.3, with the method bound to the handshake.
    pub(super) is_encrypted: bool,
    /// The same in words.
    pub(super) text: String,
}

impl Seen {
    pub(super) fn of(facts: Option<&Facts>) -> Self {
        let Some(facts) = facts else {
            return Self {
                is_encrypted: false,
                text: "plaintext".into(),
            };
        };
        let bound = facts.application_protocol.as_deref();
        let version = facts.version.number();
        let mut text = format!("TLS {version}, {}, {}", facts.suite, facts.group);
        if let Some(bound) = bound {
            text.push_str(&format!("; bound to {bound}"));
        }
        Self {
            is_encrypted: version == "1.3" && bound == Method::SslIo.application_protocol(),
            text,
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Some(Self {
            is_encrypted: reader.u8()? == 1,
            text: String::from_utf8(reader.rest().to_vec()).ok()?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(self.is_encrypted.into());
        writer.bytes(self.text.as_bytes());
    }
}

/// Admits clients in the clear and with TLS.
pub(super) fn negotiation_server(tls: &ServerOptions) -> Result<Arc<NegotiationServer>> {
    let policy = ServerPolicy {
        methods: [Method::None, Method::SslIo]
            .into_iter()
            .collect::<Methods>(),
        bypass: Bypass::Nobody,
        is_keepalive_admitted: true,
        is_tls_admitted: false,
    };
    // OceanBase's own ends bind nothing, and may be tried here.
    NegotiationServer::new(policy, Some(tls), options(false))
}

/// Asks for TLS, and for the method to be bound to it.
pub(super) fn negotiation_client(tls: &ClientOptions) -> Result<NegotiationClient> {
    let server = ServerName::try_from("localhost")
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    NegotiationClient::new(Method::SslIo, DEFAULT_GID, Some(tls), server, options(true))
}

fn options(requires_binding: bool) -> NegotiationOptions {
    NegotiationOptions {
        timeout: Duration::from_millis(HANDSHAKE_TIMEOUT_MS),
        requires_binding,
        danger_end_without_close_notify: false,
    }
}

// OceanBase keeps the first codes for tests.

/// Answers with what it was sent.
const ECHO: Pcode = Pcode(1);

/// Answers with what the server sees of its client's connection.
const LOOK: Pcode = Pcode(2);

/// Answers with a stream of numbers, down to zero.
const COUNT: Pcode = Pcode(3);
