//! What rustls' callbacks cannot be given or give back by their arguments.
//!
//! A configuration is shared by connections on several threads, while time belongs to one call and
//! a refused certificate to one connection. Both live here, for the length of one call into rustls.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::error::Error;
use crate::time::Now;

thread_local! {
    static WALL_S: Cell<u64> = const { Cell::new(0) };
    static REFUSAL: RefCell<Option<Error>> = const { RefCell::new(None) };
    static SERVER_NAME: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Begins a call: certificates are judged by `now`, and nothing is left of the call before.
pub(super) fn begin(now: Now) {
    WALL_S.set(now.wall_s);
    REFUSAL.set(None);
    SERVER_NAME.set(None);
}

/// The time of this call, in seconds since 1970-01-01 UTC.
pub(super) fn wall_s() -> u64 {
    WALL_S.get()
}

/// Notes why a handshake is going to be refused, in words that rustls' own error has no room for.
pub(super) fn refuse(error: Error) {
    REFUSAL.set(Some(error));
}

/// The refusal of this call.
pub(super) fn take_refusal() -> Option<Error> {
    REFUSAL.take()
}

/// Notes the server name of a ClientHello, which an unbuffered server connection does not tell.
pub(super) fn note_server_name(name: &str) {
    SERVER_NAME.set(Some(name.to_owned()));
}

/// The server name of this call.
pub(super) fn take_server_name() -> Option<String> {
    SERVER_NAME.take()
}

/// Tells rustls the time of the call.
#[derive(Debug)]
pub(super) struct CallTime;

impl TimeProvider for CallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(wall_s())))
    }
}
