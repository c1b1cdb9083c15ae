//! `sealwire_config`: what connections share (`SSL_CTX`).

pub(super) mod builder;

use std::sync::{Arc, PoisonError, RwLock};

use super::handle::{self, Opaque};
use super::result::Failure;
use crate::tls::{ClientConfig, ServerConfig};

/// What connections share: whom to trust, who we are, which versions and suites.
///
/// It is immutable, and shared by any number of connections and threads. A connection keeps what it
/// began with, so the handle may be freed while connections live.
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
        config: Arc<ClientConfig>,
        needs_name: bool,
    },
    Server {
        config: Arc<ServerConfig>,
    },
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
}

/// What the configuration is at this moment.
pub(super) fn current(config: *const sealwire_config) -> Result<Ends, Failure> {
    handle::share(config, |config| Ok(config.current()))
}

/// The configuration as reloads leave it, for those that outlive its handle.
pub(super) fn kept(config: *const sealwire_config) -> Result<Arc<Config>, Failure> {
    handle::share(config, |config| Ok(Arc::clone(config)))
}

impl Opaque for sealwire_config {
    type Inner = Arc<Config>;
    const NAME: &'static str = "config";
}
