//! `sealwire_listener`: where an engine accepts connections.

use std::ffi::c_char;

use super::core::{Listen, Shared, core};
use super::options::sealwire_listen_options;
use super::sealwire_engine;
use crate::engine::{Address, ListenerId};
use crate::ffi::config::{self, Ends, sealwire_config};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::pointer::{self, Out};
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result::{self, *};

/// A socket on which an engine accepts connections.
///
/// Made by sealwire_engine_listen(), freed by sealwire_listener_free(). It belongs to the thread of
/// its engine.
pub struct sealwire_listener {
    _opaque: [u8; 0],
}

pub(in crate::ffi) struct Listener {
    shared: Shared,
    id: ListenerId,
    address: Address,
}

/// Listens on `address` ("127.0.0.1:3306", "[::1]:3306" or "unix:/run/db.sock"; port 0: one that is
/// free) and accepts from the next wait on: each connection is told by ::SEALWIRE_EVENT_ACCEPTED.
///
/// Connections begin with TLS as servers of `config`, as it is when they are accepted; with the
/// option `plaintext_first` they begin in plaintext, and sealwire_conn_start_tls() ends that. Where
/// `config` is NULL they stay in plaintext. Where it is one of OB-RPC, what each client negotiates
/// decides. The listener keeps the configuration: its handle may be freed. `options` may be NULL,
/// for the defaults.
///
/// ::SEALWIRE_ERR_ARGUMENT where the address cannot be read, the configuration is one of clients,
/// or `plaintext_first` is set with one of OB-RPC; ::SEALWIRE_ERR_IO where the address is in use or
/// may not be listened on.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_listen(
    engine: *mut sealwire_engine,
    config: *const sealwire_config,
    address: *const c_char,
    options: *const sealwire_listen_options,
    listener_out: *mut *mut sealwire_listener,
) -> sealwire_result {
    handle::call(engine, |engine| {
        let out = Out::new("listener_out", listener_out)?;
        let address = super::address(address)?;
        let options = pointer::options("options", options)?;
        let config = match config.is_null() {
            true => None,
            false => Some(config::kept(config)?),
        };
        if let Some(Ends::Client { .. }) = config.as_ref().map(|config| config.current()) {
            return Err(Failure::argument("config is one of clients"));
        }
        let is_plain_first = options.plaintext_first != 0;
        if is_plain_first && config.as_ref().is_some_and(|config| config.negotiates()) {
            let text = "options->plaintext_first is set, and config has connections negotiate";
            return Err(Failure::argument(text));
        }
        let (id, address) = core(&engine.shared)?.listen(Listen {
            address: &address,
            options: options.check()?,
            config,
            is_plain_first,
            user_data: options.user_data,
        })?;
        let handle = handle::make_for_this_thread::<sealwire_listener>(Listener {
            shared: Shared::clone(&engine.shared),
            id,
            address,
        });
        core(&engine.shared)?.set_listener(id, handle);
        out.set(handle);
        Ok(SEALWIRE_OK)
    })
}

/// The TCP port, as the system chose it for port 0; 0 on a Unix socket, and on another thread.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_listener_port(listener: *const sealwire_listener) -> u16 {
    handle::ask(listener, 0, |listener| match listener.address {
        Address::Ip(address) => address.port(),
        Address::Unix(_) => 0,
    })
}

/// Copies the address, in the words that sealwire_engine_connect() takes, to `buf`, cut to `len`
/// and ended by NUL, and returns its whole length without the NUL (snprintf's rule).
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_listener_address(
    listener: *const sealwire_listener,
    buf: *mut c_char,
    len: usize,
) -> usize {
    handle::ask(listener, 0, |listener| {
        pointer::copy_text(&listener.address.to_string(), buf, len)
    })
}

/// Stops accepting and frees the handle; NULL is fine. Accepted connections live on. What the
/// kernel had accepted is still told, with `listener` NULL, then ::SEALWIRE_EVENT_UNLISTENED.
///
/// The engine's thread; on another one nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_listener_free(listener: *mut sealwire_listener) {
    handle::free(listener);
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Ok(mut core) = core(&self.shared) {
            core.unlisten(self.id);
        }
    }
}

impl Opaque for sealwire_listener {
    type Inner = Listener;
    const NAME: &'static str = "listener";
}
