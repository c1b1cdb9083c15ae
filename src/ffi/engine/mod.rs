//! `sealwire_engine`: the connections of one thread, whose bytes move while it waits.

mod core;
#[cfg(test)]
mod tests;

pub(super) mod event;

pub(super) mod listener;

pub(super) mod options;

use std::ffi::{c_char, c_int};
use std::time::Duration;

use self::core::Core;
pub(in crate::ffi) use self::core::{Driving, Shared, core};
use self::event::sealwire_event;
use self::options::{SEALWIRE_BACKEND_EPOLL, SEALWIRE_BACKEND_IO_URING, sealwire_engine_options};
use super::conn::{self, Fd, sealwire_conn};
use super::handle::{self, Fallible, Opaque, guarded};
use super::pointer::{self, Out, OutSlice};
use super::result::Failure;
use super::result::sealwire_result::{self, *};
use crate::engine::{Address, Engine, SocketOptions};
use crate::error::Error;

/// The connections and listeners of one thread.
///
/// Made by sealwire_engine_new(), freed by sealwire_engine_free(). It belongs to the thread that
/// made it, with its connections and listeners: calls from other threads are answered
/// ::SEALWIRE_ERR_THREAD, but for sealwire_engine_wake(). A program with several threads makes an
/// engine on each, all of which may listen on one port (`reuse_port`).
///
/// Bytes move in sealwire_engine_wait() only: what was written since goes out at its beginning,
/// in as few records as it fits. Nothing is called back; what happened is told as events.
pub struct sealwire_engine {
    _opaque: [u8; 0],
}

pub(in crate::ffi) struct EngineHandle {
    shared: Shared,
    is_uring: bool,
}

/// Makes an engine for the calling thread; `options` may be NULL, for the defaults.
///
/// ::SEALWIRE_ERR_ARGUMENT where an option cannot be; ::SEALWIRE_ERR_IO where the back end that was
/// asked for cannot be used.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_new(
    options: *const sealwire_engine_options,
    engine_out: *mut *mut sealwire_engine,
) -> sealwire_result {
    guarded(|| {
        let out = Out::new("engine_out", engine_out)?;
        let options = pointer::options("options", options)?.check()?;
        let engine = Engine::new(&options)?;
        let waker = engine.waker();
        let handle = EngineHandle {
            is_uring: engine.backend_name() == "io_uring",
            shared: Core::new(engine),
        };
        out.set(handle::make_with_waker::<sealwire_engine>(handle, waker));
        Ok(SEALWIRE_OK)
    })
}

/// What moves the bytes: ::SEALWIRE_BACKEND_IO_URING or ::SEALWIRE_BACKEND_EPOLL; -1 where it may
/// not be asked.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_backend(engine: *const sealwire_engine) -> c_int {
    handle::ask(engine, -1, |engine| match engine.is_uring {
        true => SEALWIRE_BACKEND_IO_URING,
        false => SEALWIRE_BACKEND_EPOLL,
    })
}

/// Copies a description of the back end for a log to `buf` (what it has switched on, and why it is
/// not io_uring), cut to `len` and ended by NUL, and returns its whole length without the NUL
/// (snprintf's rule).
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_describe(
    engine: *const sealwire_engine,
    buf: *mut c_char,
    len: usize,
) -> usize {
    handle::ask(engine, 0, |engine| {
        let text = engine.describe().unwrap_or_default();
        pointer::copy_text(&text, buf, len)
    })
}

/// Connects `conn`, which sealwire_conn_new_client() made and which has not begun, to `address`
/// ("127.0.0.1:3306", "[::1]:3306" or "unix:/run/db.sock"), within `timeout_ms` milliseconds; the
/// handshake has its own time. ::SEALWIRE_EVENT_READY tells that it is in use, or
/// ::SEALWIRE_EVENT_CLOSED why it failed.
///
/// Names are not resolved: a resolver would block the thread. From success on the connection is one
/// of the engine and of its thread; on an error it is as before.
///
/// ::SEALWIRE_ERR_STATE where the connection has begun or has a transport; ::SEALWIRE_ERR_ARGUMENT
/// where the address cannot be read, or `timeout_ms` is 0; ::SEALWIRE_ERR_IO where no socket could
/// be opened.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_connect(
    engine: *mut sealwire_engine,
    conn: *mut sealwire_conn,
    address: *const c_char,
    timeout_ms: u32,
) -> sealwire_result {
    handle::call(engine, |engine| {
        let address = self::address(address)?;
        if timeout_ms == 0 {
            let text = "timeout_ms is 0: no connection could be made in time";
            return Err(Failure::argument(text));
        }
        let timeout = Duration::from_millis(timeout_ms.into());
        let options = SocketOptions::default();
        conn::attach(conn, &engine.shared, |engine, conn, key| {
            engine.connect(&address, conn, &options, timeout, key)
        })?;
        Ok(SEALWIRE_OK)
    })
}

/// Gives `conn`, which has not begun, and the connected stream socket `fd` to the engine, which
/// begins the connection on it as its client or its server.
///
/// On success the descriptor is the engine's, which closes it: the caller must not use its number
/// again. On an error it stays the caller's, and the connection is as before. From success on the
/// connection is one of the engine and of its thread.
///
/// ::SEALWIRE_ERR_STATE where the connection has begun or has a transport; ::SEALWIRE_ERR_ARGUMENT
/// where `fd` is no open stream socket; ::SEALWIRE_ERR_IO where it is not connected, or cannot be
/// taken.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_attach(
    engine: *mut sealwire_engine,
    conn: *mut sealwire_conn,
    fd: c_int,
) -> sealwire_result {
    handle::call(engine, |engine| {
        let fd = Fd::new(fd)?;
        // The engine closes what it cannot take, and the caller's descriptor is not its own yet.
        let copy = fd.duplicate();
        let copy = copy.map_err(|error| Error::io("copy the descriptor", &error))?;
        let options = SocketOptions::default();
        conn::attach(conn, &engine.shared, |engine, conn, key| {
            engine.adopt(copy, conn, &options, key)
        })?;
        fd.close();
        Ok(SEALWIRE_OK)
    })
}

/// Sends what was written, waits until something happens, and tells what did: up to `events_max`
/// events, and their number in `*count_out`. What there was no room for is told by the next call,
/// without waiting; nothing is lost. Events of a connection that was freed are not told.
///
/// It waits for `timeout_ms` milliseconds at most; -1: for ever; 0: not at all. It ends early for
/// an event only: for a signal it does not, whose handler may call sealwire_engine_wake().
///
/// ::SEALWIRE_OK with 0 events where the time has passed; ::SEALWIRE_ERR_ARGUMENT where
/// `events_max` is 0; ::SEALWIRE_ERR_IO where the system refuses to wait.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_wait(
    engine: *mut sealwire_engine,
    timeout_ms: c_int,
    events_out: *mut sealwire_event,
    events_max: usize,
    count_out: *mut usize,
) -> sealwire_result {
    handle::call(engine, |engine| {
        let count = Out::new("count_out", count_out)?;
        let mut events = OutSlice::new("events_out", events_out, events_max)?;
        // All that is negative is for ever, as for poll().
        let timeout_ms = u64::try_from(timeout_ms).ok();
        let timeout = timeout_ms.map(Duration::from_millis);
        core(&engine.shared)?.wait(&engine.shared, timeout, &mut events)?;
        count.set(events.len());
        Ok(SEALWIRE_OK)
    })
}

/// Ends the present wait of the engine, or its next one, by ::SEALWIRE_EVENT_WOKEN.
///
/// Any thread, and signal handlers too: it takes no lock, asks for no memory and leaves errno where
/// it succeeds. The engine must not be freed meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_wake(engine: *const sealwire_engine) -> sealwire_result {
    handle::wake(engine)
}

/// A descriptor that is readable, as poll() and epoll see it, where sealwire_engine_wait() has
/// something to do: by it, and by sealwire_engine_timeout_ms(), the engine is nested in another
/// loop. Each turn of that loop asks for the timeout, polls, and calls
/// sealwire_engine_wait() with a timeout of 0 whatever the poll said.
///
/// It is the engine's, which closes it. Nothing but to poll it is allowed; register it
/// level-triggered. -1 where it may not be asked for.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_fd(engine: *const sealwire_engine) -> c_int {
    handle::ask(engine, -1, |engine| engine.fd().unwrap_or(-1))
}

/// How long another loop may wait for sealwire_engine_fd(), in milliseconds as poll() takes it: -1:
/// for ever; 0 where something is to be done at once, such as sending what was written. To be asked
/// right before each poll.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_timeout_ms(engine: *const sealwire_engine) -> c_int {
    handle::ask(engine, -1, |engine| engine.timeout_ms().unwrap_or(-1))
}

/// Number of connections that have not ended, with those that were freed and are being ended in the
/// background: a program waits until it is 0 before it frees the engine, so that all is sent.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_conn_count(engine: *const sealwire_engine) -> usize {
    handle::ask(engine, 0, |engine| engine.conn_count().unwrap_or(0))
}

/// Copies the words for the engine's last failed call to `buf`, cut to `len` and ended by NUL, and
/// returns their whole length without the NUL (snprintf's rule). 0 where no call failed.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_error_text(
    engine: *const sealwire_engine,
    buf: *mut c_char,
    len: usize,
) -> usize {
    handle::ask(engine, 0, |engine| {
        let text = engine.error().map(|error| error.to_string());
        pointer::copy_text(&text.unwrap_or_default(), buf, len)
    })
}

/// errno of the engine's last failed call; 0 where it was no system call that failed.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_os_error(engine: *const sealwire_engine) -> c_int {
    handle::ask(engine, 0, |engine| {
        let error = engine.error();
        error.and_then(|error| error.os_error()).unwrap_or(0)
    })
}

/// Frees an engine; NULL is fine. Its connections are cut at once and its listeners closed: what
/// was written and not sent is lost (sealwire_engine_conn_count()). Handles of them that are left
/// answer ::SEALWIRE_ERR_STATE and are still to be freed.
///
/// The engine's thread; on another one nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_engine_free(engine: *mut sealwire_engine) {
    handle::free(engine);
}

impl EngineHandle {
    fn describe(&self) -> Result<String, Failure> {
        let mut core = core(&self.shared)?;
        let engine = core.engine()?;
        Ok(match engine.fallback_reason() {
            Some(reason) => format!("{}; {reason}", engine.describe()),
            None => engine.describe(),
        })
    }

    fn fd(&self) -> Option<c_int> {
        core(&self.shared).ok()?.engine().ok()?.fd()
    }

    fn timeout_ms(&self) -> Option<c_int> {
        let timeout = core(&self.shared).ok()?.poll_timeout()?;
        Some(pointer::poll_ms(timeout))
    }

    fn conn_count(&self) -> Option<usize> {
        Some(core(&self.shared).ok()?.engine().ok()?.conns_len())
    }

    fn error(&self) -> Option<Error> {
        core(&self.shared).ok()?.error.clone()
    }
}

impl Fallible for EngineHandle {
    fn keep(&mut self, error: Error) {
        if let Ok(mut core) = core(&self.shared) {
            core.error = Some(error);
        }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        let engine = core(&self.shared)
            .ok()
            .and_then(|mut core| core.take_engine());
        drop(engine);
    }
}

impl Opaque for sealwire_engine {
    type Inner = EngineHandle;
    const NAME: &'static str = "engine";
}

fn address(address: *const c_char) -> Result<Address, Failure> {
    let address = pointer::text("address", address)?;
    address.parse().map_err(Failure::argument)
}
