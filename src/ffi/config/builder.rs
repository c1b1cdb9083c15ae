//! `sealwire_config_builder`: the options of a configuration, collected and then checked together.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use super::{Config, Ends, sealwire_config};
use crate::error::Error;
use crate::ffi::handle::{self, Fallible, Opaque, guarded};
use crate::ffi::pointer::{self, Out};
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result::{self, *};
use crate::tls::{
    ClientAuth, ClientConfig, ClientOptions, Identity, Pem, Roots, ServerConfig, ServerOptions,
    Verify,
};

/// The options of a configuration, while they are being collected.
///
/// Made by sealwire_config_builder_new_client() or _new_server(), freed by
/// sealwire_config_builder_free(), after a build too. One thread at a time.
pub struct sealwire_config_builder {
    _opaque: [u8; 0],
}

pub(in crate::ffi) struct Builder {
    end: End,
    roots: Vec<Vec<u8>>,
    identity: Option<Arc<Identity>>,
    verifies: bool,
    handshake_timeout: Option<Duration>,
    error_text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// Begins the configuration of clients. As it stands, servers are verified in full: a chain to a
/// trusted authority, dates, and the name; authorities have to be added.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_new_client(
    builder_out: *mut *mut sealwire_config_builder,
) -> sealwire_result {
    begin(End::Client, builder_out)
}

/// Begins the configuration of servers. It needs an identity. As it stands, clients are asked for a
/// certificate where authorities were added, and may do without.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_new_server(
    builder_out: *mut *mut sealwire_config_builder,
) -> sealwire_result {
    begin(End::Server, builder_out)
}

/// Frees a builder. NULL is fine. Configurations that it built live on.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_free(builder: *mut sealwire_config_builder) {
    handle::free(builder);
}

/// Adds trusted certificate authorities: one or more certificates as PEM.
///
/// ::SEALWIRE_ERR_CONFIG where there is none in it or one cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_add_roots_pem(
    builder: *mut sealwire_config_builder,
    pem: *const u8,
    pem_len: usize,
) -> sealwire_result {
    handle::call(builder, |builder| {
        let text = pointer::bytes("pem", pem.cast::<c_void>(), pem_len)?;
        Roots::from_pem(&[Pem {
            name: "roots",
            text,
        }])?;
        builder.roots.push(text.to_vec());
        Ok(SEALWIRE_OK)
    })
}

/// Sets who this end is: its certificate chain, leaf first, and its private key, both as PEM. Keys
/// may be PKCS#8, PKCS#1 or SEC1.
///
/// ::SEALWIRE_ERR_CONFIG where one cannot be read or they do not belong together.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_identity_pem(
    builder: *mut sealwire_config_builder,
    chain: *const u8,
    chain_len: usize,
    key: *const u8,
    key_len: usize,
) -> sealwire_result {
    handle::call(builder, |builder| {
        let chain = pointer::bytes("chain", chain.cast::<c_void>(), chain_len)?;
        let key = pointer::bytes("key", key.cast::<c_void>(), key_len)?;
        let identity = Identity::from_pem(
            Pem {
                name: "chain",
                text: chain,
            },
            Pem {
                name: "key",
                text: key,
            },
        )?;
        builder.identity = Some(identity);
        Ok(SEALWIRE_OK)
    })
}

/// Sets the time from the first use of a connection to the end of its handshake, in milliseconds.
/// 10,000 where it is not set; 0 is an error.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_set_handshake_timeout_ms(
    builder: *mut sealwire_config_builder,
    timeout_ms: u32,
) -> sealwire_result {
    handle::call(builder, |builder| {
        if timeout_ms == 0 {
            return Err(Failure::argument(
                "timeout_ms is 0: no handshake could end in time",
            ));
        }
        builder.handshake_timeout = Some(Duration::from_millis(timeout_ms.into()));
        Ok(SEALWIRE_OK)
    })
}

/// Accepts any server certificate: whoever answers is believed to be the server, and anybody on the
/// path can read and change everything. For clients only.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_danger_accept_any_certificate(
    builder: *mut sealwire_config_builder,
) -> sealwire_result {
    handle::call(builder, |builder| {
        builder.expect(End::Client)?;
        builder.verifies = false;
        Ok(SEALWIRE_OK)
    })
}

/// Checks the options together and makes a configuration of them. The builder stays, to be freed or
/// built from again.
///
/// ::SEALWIRE_ERR_CONFIG where they do not go together; sealwire_config_builder_error_text() says
/// why.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_build(
    builder: *const sealwire_config_builder,
    config_out: *mut *const sealwire_config,
) -> sealwire_result {
    handle::call(builder, |builder| {
        let out = Out::new("config_out", config_out)?;
        out.set(Config::into_handle(builder.build()?));
        Ok(SEALWIRE_OK)
    })
}

/// Copies the words for the builder's last failed call to `buf`, cut to `len` and ended by NUL, and
/// returns their whole length without the NUL (snprintf's rule). 0 where no call failed.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_error_text(
    builder: *const sealwire_config_builder,
    buf: *mut c_char,
    len: usize,
) -> usize {
    handle::ask(builder, 0, |builder| {
        pointer::copy_text(&builder.error_text, buf, len)
    })
}

fn begin(end: End, builder_out: *mut *mut sealwire_config_builder) -> sealwire_result {
    guarded(|| {
        let out = Out::new("builder_out", builder_out)?;
        out.set(handle::make::<sealwire_config_builder>(Builder::new(end)));
        Ok(SEALWIRE_OK)
    })
}

impl Opaque for sealwire_config_builder {
    type Inner = Builder;
    const NAME: &'static str = "builder";
}

impl Fallible for Builder {
    fn keep(&mut self, error: Error) {
        self.error_text = error.to_string();
    }
}

impl Builder {
    fn new(end: End) -> Self {
        Self {
            end,
            roots: Vec::new(),
            identity: None,
            verifies: true,
            handshake_timeout: None,
            error_text: String::new(),
        }
    }

    fn expect(&self, end: End) -> Result<(), Failure> {
        if self.end == end {
            return Ok(());
        }
        Err(Failure::state(match end {
            End::Client => "this is an option of clients, and the builder is one of servers",
            End::Server => "this is an option of servers, and the builder is one of clients",
        }))
    }

    fn build(&self) -> Result<Ends, Failure> {
        match self.end {
            End::Client => self.build_client(),
            End::Server => self.build_server(),
        }
    }

    fn build_client(&self) -> Result<Ends, Failure> {
        let verify = match self.verifies {
            true => Verify::Full(self.roots()?),
            false => Verify::DangerNone,
        };
        let needs_name = matches!(verify, Verify::Full(_));
        let mut options = ClientOptions::new(verify);
        options.identity = self.identity.clone();
        if let Some(timeout) = self.handshake_timeout {
            options.handshake_timeout = timeout;
        }
        let config = ClientConfig::new(&options)?;
        Ok(Ends::Client { config, needs_name })
    }

    fn build_server(&self) -> Result<Ends, Failure> {
        let Some(identity) = &self.identity else {
            return Err(Failure::caller(
                SEALWIRE_ERR_CONFIG,
                "a server needs an identity: a certificate and its key",
            ));
        };
        let mut options = ServerOptions::new(Arc::clone(identity));
        if !self.roots.is_empty() {
            options.client_auth = ClientAuth::Optional(self.roots()?);
        }
        if let Some(timeout) = self.handshake_timeout {
            options.handshake_timeout = timeout;
        }
        let config = ServerConfig::new(&options)?;
        Ok(Ends::Server { config })
    }

    fn roots(&self) -> Result<Arc<Roots>, Failure> {
        if self.roots.is_empty() {
            return Err(Failure::caller(
                SEALWIRE_ERR_CONFIG,
                "no certificate authority was added to verify the server by",
            ));
        }
        let pems = self.roots.iter().map(|text| Pem {
            name: "roots",
            text,
        });
        Ok(Roots::from_pem(&pems.collect::<Vec<_>>())?)
    }
}
