//! `sealwire_event`: what a wait reports.

use std::ffi::c_void;
use std::ptr;

use super::listener::sealwire_listener;
use crate::ffi::conn::sealwire_conn;
use crate::ffi::result::sealwire_result::{self, *};

/// What happened. Later versions may report more: ignore a kind that is unknown.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum sealwire_event_kind {
    /// A listener accepted `conn`, which is the caller's from here, to be freed by
    /// sealwire_conn_free(). Its handshake goes on by itself. `user_data` is the listener's.
    SEALWIRE_EVENT_ACCEPTED = 1,
    /// `conn` is in use: connected, and its handshake complete where it has one. Once more after
    /// sealwire_conn_start_tls().
    SEALWIRE_EVENT_READY = 2,
    /// Plaintext can be read from `conn`, at least `bytes` of it; or the peer has ended its side
    /// cleanly (`bytes` 0), and a read says so. Repeated by every wait until it was read, so a
    /// short read is never a hang; sealwire_conn_set_reading() stops that.
    SEALWIRE_EVENT_READABLE = 3,
    /// `conn` takes bytes again, after a write that took fewer than were given. Once per such
    /// write.
    SEALWIRE_EVENT_WRITABLE = 4,
    /// The last event of `conn`: both ends have ended it and all was sent (`result` is
    /// ::SEALWIRE_OK), or it failed with `result`, and sealwire_conn_error_text() has the words.
    /// Its facts can be asked for until it is freed, which is still the caller's to do.
    SEALWIRE_EVENT_CLOSED = 5,
    /// sealwire_engine_wake() was called, once or more often.
    SEALWIRE_EVENT_WOKEN = 6,
    /// `listener` found no descriptor or no memory for a connection: `result` says so, and
    /// sealwire_engine_error_text() how. It tries again when a connection ends, and every second.
    SEALWIRE_EVENT_ACCEPT_PAUSED = 7,
    /// `listener` accepts again.
    SEALWIRE_EVENT_ACCEPT_RESUMED = 8,
    /// The last event of a listener that was freed: its socket is closed. `user_data` is the
    /// listener's, `listener` is NULL.
    SEALWIRE_EVENT_UNLISTENED = 9,
}

/// Something that happened, 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sealwire_event {
    /// What.
    pub kind: sealwire_event_kind,
    /// ::SEALWIRE_OK, or why it happened.
    pub result: sealwire_result,
    /// The connection; NULL where it is about none.
    pub conn: *mut sealwire_conn,
    /// The listener, of an accepted connection too; NULL where it is about none, or about one that
    /// was freed.
    pub listener: *mut sealwire_listener,
    /// The word of the caller that belongs to the connection, or to the listener.
    pub user_data: *mut c_void,
    /// Plaintext that can be read at once, in bytes.
    pub bytes: u64,
    /// 0; later versions may tell more in it.
    pub reserved: [u64; 3],
}

const _: () = assert!(size_of::<sealwire_event>() == 64);

impl sealwire_event {
    pub(in crate::ffi) fn new(kind: sealwire_event_kind) -> Self {
        Self {
            kind,
            result: SEALWIRE_OK,
            conn: ptr::null_mut(),
            listener: ptr::null_mut(),
            user_data: ptr::null_mut(),
            bytes: 0,
            reserved: [0; 3],
        }
    }
}
