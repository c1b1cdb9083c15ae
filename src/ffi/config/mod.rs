//! `sealwire_config`: what connections share (`SSL_CTX`).

mod files;

pub(super) mod builder;

pub(super) mod identity;

pub(super) mod trust;

pub(super) mod protocol;

pub(super) mod obrpc;

pub(super) mod require;

use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

use self::builder::sealwire_config_builder;
pub(super) use self::protocol::{SEALWIRE_TLS_1_2, SEALWIRE_TLS_1_3};
pub(super) use self::require::{Accounts, Claim};
use super::handle::{self, Opaque};
use super::result::sealwire_result::{self, *};
use super::result::{Failure, Outcome};
use crate::conn::{NegotiationClient, NegotiationServer};
use crate::tls::{ClientConfig, ServerConfig, ServerName};

/// What connections share: whom to trust, who we are, which versions and suites.
///
/// It is shared by any number of connections and threads. A connection keeps what it was made with,
/// so the handle may be freed while connections live, and sealwire_config_reload() is for those
/// that are made later.
///
/// Made by sealwire_config_builder_build(), freed by sealwire_config_free().
pub struct sealwire_config {
    _opaque: [u8; 0],
}

/// The configuration behind the handle, which a reload replaces.
pub(super) struct Config {
    current: RwLock<Ends>,
}

/// One end's configuration.
#[derive(Clone)]
pub(super) enum Ends {
    Client {
        config: ClientEnd,
        needs_name: bool,
    },
    Server {
        config: ServerEnd,
        /// What accounts must come with, where the protocol has any.
        accounts: Option<Arc<Accounts>>,
    },
}

/// How a client begins.
#[derive(Clone)]
pub(super) enum ClientEnd {
    Tls(Arc<ClientConfig>),
    /// By a negotiation, with whichever server it is.
    Obrpc(Arc<NegotiationClient>),
}

/// How a server begins.
#[derive(Clone)]
pub(super) enum ServerEnd {
    Tls(Arc<ServerConfig>),
    Obrpc(Arc<NegotiationServer>),
}

/// Replaces a configuration by what the builder says now, for connections that are made from here
/// on; those that live go on as they began. Where it fails the old one stays in service, whole.
///
/// Any thread, while others make connections of the configuration; the builder is this thread's.
///
/// ::SEALWIRE_ERR_CONFIG where the options do not go together, ::SEALWIRE_ERR_ARGUMENT where the
/// builder is one of the other end; sealwire_config_builder_error_text() says why.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_reload(
    config: *const sealwire_config,
    builder: *const sealwire_config_builder,
) -> sealwire_result {
    handle::call(builder, |builder| {
        let ends = builder.build()?;
        handle::share(config, |config| config.replace(ends))
    })
}

/// Frees a configuration. Connections that were made with it live on. NULL is fine.
///
/// Any thread, once.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_free(config: *const sealwire_config) {
    handle::free(config.cast_mut());
}

impl Config {
    pub(super) fn into_handle(ends: Ends) -> *const sealwire_config {
        let current = RwLock::new(ends);
        handle::make::<sealwire_config>(Arc::new(Self { current }))
    }

    /// What the configuration is at this moment.
    pub(super) fn current(&self) -> Ends {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether connections negotiate how they begin.
    pub(super) fn negotiates(&self) -> bool {
        let config = match self.current() {
            Ends::Client { config, .. } => return matches!(config, ClientEnd::Obrpc(_)),
            Ends::Server { config, .. } => config,
        };
        matches!(config, ServerEnd::Obrpc(_))
    }

    fn replace(&self, ends: Ends) -> Outcome {
        let current = self.current.write();
        let mut current = current.unwrap_or_else(PoisonError::into_inner);
        if discriminant(&*current) != discriminant(&ends) {
            return Err(Failure::argument(
                "the configuration is one of the other end than the builder",
            ));
        }
        *current = ends;
        Ok(SEALWIRE_OK)
    }
}

/// What the configuration is at this moment.
pub(super) fn current(config: *const sealwire_config) -> Result<Ends, Failure> {
    handle::share(config, |config| Ok(config.current()))
}

/// The configuration as reloads leave it, for those that outlive its handle.
pub(super) fn kept(config: *const sealwire_config) -> Result<Arc<Config>, Failure> {
    handle::share(config, |config| Ok(Arc::clone(config)))
}

/// The name of a server whose name nobody looks at: an address, which is never sent.
pub(super) fn unnamed() -> ServerName<'static> {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()
}

impl Opaque for sealwire_config {
    type Inner = Arc<Config>;
    const NAME: &'static str = "config";
}
