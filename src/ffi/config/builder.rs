//! `sealwire_config_builder`: the options of a configuration, collected and then checked together.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::time::Duration;

use super::obrpc::ObrpcOptions;
use super::require::RequireOptions;
use super::trust::TrustOptions;
use super::{ClientEnd, Config, Ends, ServerEnd, sealwire_config};
use crate::error::Error;
use crate::ffi::handle::{self, Fallible, Opaque, guarded};
use crate::ffi::pointer::Out;
use crate::ffi::result::sealwire_result::{self, *};
use crate::ffi::result::{Failure, Outcome};
use crate::limits::HANDSHAKE_TIMEOUT_MS;
use crate::tls::{
    ClientConfig, ClientOptions, DangerKeyLog, Identity, RecordPath, ServerConfig, ServerOptions,
    Tickets, Verify, Version,
};

/// The options of a configuration, while they are being collected.
///
/// Made by sealwire_config_builder_new_client() or _new_server(), freed by
/// sealwire_config_builder_free(), after a build too. One thread at a time.
///
/// A call that fails sets nothing. Options of the other end are ::SEALWIRE_ERR_STATE. Files are
/// read at once; ::SEALWIRE_ERR_CONFIG where one cannot be read, and
/// sealwire_config_builder_error_text() names it and the reason.
pub struct sealwire_config_builder {
    _opaque: [u8; 0],
}

/// What is behind a `sealwire_config_builder`.
pub(in crate::ffi) struct Builder {
    pub(super) end: End,
    pub(super) trust: TrustOptions,
    pub(super) require: RequireOptions,
    pub(super) obrpc: ObrpcOptions,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) min_version: Version,
    pub(super) max_version: Version,
    pub(super) suites: Vec<String>,
    pub(super) records: RecordPath,
    pub(super) handshake_timeout: Duration,
    pub(super) tickets: Option<Tickets>,
    pub(super) resumes: bool,
    pub(super) key_log: Option<DangerKeyLog>,
    error_text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

/// Begins the configuration of clients. As it stands, servers are verified in full: a chain to a
/// trusted authority, dates, and the name; authorities have to be added.
///
/// ::SEALWIRE_ERR_NULL where `builder_out` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_new_client(
    builder_out: *mut *mut sealwire_config_builder,
) -> sealwire_result {
    begin(End::Client, builder_out)
}

/// Begins the configuration of servers. It needs an identity. As it stands, clients are asked for a
/// certificate where authorities were added, and may do without.
///
/// ::SEALWIRE_ERR_NULL where `builder_out` is NULL.
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

/// Checks the options together and makes a configuration of them, to be freed by
/// sealwire_config_free(). The builder stays, to be freed or built from again.
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
/// returns their whole length without the NUL (snprintf's rule). 0 where no call failed. `buf` may
/// be NULL where `len` is 0.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_config_builder_error_text(
    builder: *const sealwire_config_builder,
    buf: *mut c_char,
    len: usize,
) -> usize {
    handle::ask_text(builder, buf, len, |builder| {
        Some(builder.error_text.clone())
    })
}

fn begin(end: End, builder_out: *mut *mut sealwire_config_builder) -> sealwire_result {
    guarded(|| {
        let out = Out::new("builder_out", builder_out)?;
        out.set(handle::make::<sealwire_config_builder>(Builder::new(end)));
        Ok(SEALWIRE_OK)
    })
}

/// Sets one option, whatever it needs having been looked at.
pub(super) fn set(
    builder: *mut sealwire_config_builder,
    set: impl FnOnce(&mut Builder) -> Result<(), Failure>,
) -> sealwire_result {
    handle::call(builder, |builder| -> Outcome {
        set(builder)?;
        Ok(SEALWIRE_OK)
    })
}

/// The meaning of a number, of those that `name` may be.
pub(super) fn one_of<T: Copy>(
    name: &str,
    number: c_int,
    meanings: &[(c_int, T)],
) -> Result<T, Failure> {
    let known = meanings.iter().find(|(known, _)| *known == number);
    let meaning = known.map(|(_, meaning)| *meaning);
    meaning.ok_or_else(|| Failure::argument(format!("{name} cannot be {number}")))
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
            trust: TrustOptions::default(),
            require: RequireOptions::default(),
            obrpc: ObrpcOptions::default(),
            identity: None,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            suites: Vec::new(),
            records: RecordPath::default(),
            handshake_timeout: Duration::from_millis(HANDSHAKE_TIMEOUT_MS),
            tickets: None,
            resumes: true,
            key_log: None,
            error_text: String::new(),
        }
    }

    /// Refuses an option of the other end.
    pub(super) fn expect(&self, end: End) -> Result<(), Failure> {
        if self.end == end {
            return Ok(());
        }
        Err(Failure::state(match end {
            End::Client => "this is an option of clients, and the builder is one of servers",
            End::Server => "this is an option of servers, and the builder is one of clients",
        }))
    }

    pub(super) fn build(&self) -> Result<Ends, Failure> {
        self.obrpc.check()?;
        match self.end {
            End::Client => self.build_client(),
            End::Server => self.build_server(),
        }
    }

    fn build_client(&self) -> Result<Ends, Failure> {
        let (config, needs_name) = match self.obrpc.method {
            Some(method) => self.build_obrpc_client(method)?,
            None => {
                let options = self.client_options()?;
                let config = ClientConfig::new(&options)?;
                let config = match self.resumes {
                    true => config,
                    false => config.without_resumption(),
                };
                (ClientEnd::Tls(config), needs_name(&options))
            }
        };
        Ok(Ends::Client { config, needs_name })
    }

    fn build_server(&self) -> Result<Ends, Failure> {
        if let Some(methods) = self.obrpc.methods {
            return Ok(Ends::Server {
                config: self.build_obrpc_server(methods)?,
                accounts: None,
            });
        }
        let options = self.server_options()?;
        let config = ServerConfig::new(&options)?;
        let accounts = self.require.accounts(&config, &options.client_auth)?;
        Ok(Ends::Server {
            config: ServerEnd::Tls(match self.resumes {
                true => config,
                false => config.without_resumption(),
            }),
            accounts: Some(Arc::new(accounts)),
        })
    }

    pub(super) fn client_options(&self) -> Result<ClientOptions, Failure> {
        Ok(ClientOptions {
            identity: self.identity.clone(),
            min_version: self.min_version,
            max_version: self.max_version,
            suites: self.suites.clone(),
            records: self.records,
            handshake_timeout: self.handshake_timeout,
            allow_cn_name: self.trust.allow_cn_name,
            danger_key_log: self.key_log.clone(),
            ..ClientOptions::new(self.trust.verify()?)
        })
    }

    pub(super) fn server_options(&self) -> Result<ServerOptions, Failure> {
        let Some(identity) = &self.identity else {
            return Err(unusable(
                "a server needs an identity: a certificate and its key",
            ));
        };
        Ok(ServerOptions {
            client_auth: self.trust.client_auth()?,
            min_version: self.min_version,
            max_version: self.max_version,
            suites: self.suites.clone(),
            records: self.records,
            handshake_timeout: self.handshake_timeout,
            allowed_clients: self.trust.allowed_clients.clone(),
            tickets: self.tickets.clone(),
            danger_key_log: self.key_log.clone(),
            ..ServerOptions::new(Arc::clone(identity))
        })
    }
}

/// Whether a client must know who the server is to be.
pub(super) fn needs_name(options: &ClientOptions) -> bool {
    matches!(options.verify, Verify::Full(_))
}

/// Options that cannot be used as they are.
pub(super) fn unusable(text: impl Into<String>) -> Failure {
    Failure::caller(SEALWIRE_ERR_CONFIG, text)
}
