//! `sealwire_conn`: one connection (`SSL`), whatever moves its bytes.

mod fd;
mod frames;
mod link;
pub(super) mod mysql;

pub(super) mod facts;

pub(super) mod obrpc;

pub(super) mod require;

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

pub(in crate::ffi) use self::fd::Fd;
use self::frames::Frames;
pub(in crate::ffi) use self::link::Role;
use self::link::{Driven, Link};
use self::mysql::Upgrade;
use self::obrpc::Obrpc;
use super::config::{self, Accounts, Ends, sealwire_config};
use super::engine::{Shared, core};
use super::handle::{self, Fallible, Opaque, ask, guarded};
use super::pointer::{self, Out};
use super::result::sealwire_result::{self, *};
use super::result::{Failure, Outcome};
use crate::buf::Pools;
use crate::conn::Connection;
use crate::engine::{ConnId, Engine};
use crate::error::{Error, ErrorKind};
use crate::tls::ServerName;

/// One end of a connection.
///
/// Made by sealwire_conn_new_client() or _new_server(), or accepted by an engine; freed by
/// sealwire_conn_free(). It begins with its first use: until then it can be given a transport, and
/// be set to begin in plaintext. One thread at a time.
///
/// Four things can move its bytes: a descriptor of the caller, blocking or not
/// (sealwire_conn_set_fd()), an engine (sealwire_engine_attach()), or the caller itself
/// (sealwire_conn_feed() and sealwire_conn_output()), which is what happens where nothing else was
/// asked for.
pub struct sealwire_conn {
    _opaque: [u8; 0],
}

/// What is behind a `sealwire_conn`.
pub(super) struct Conn {
    link: Link,
    frames: Frames,
    upgrade: Upgrade,
    obrpc: Obrpc,
    user_data: *mut c_void,
    /// What accounts must come with; none at a client, nor in a protocol without accounts.
    accounts: Option<Arc<Accounts>>,
    error: Option<Error>,
}

/// Makes the client end of a connection to the server that is to be known as `server_name`: a DNS
/// name or an IP address. It may be NULL where the configuration does not look at names.
///
/// ::SEALWIRE_ERR_ARGUMENT where it is neither, or the configuration is one of servers.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_new_client(
    config: *const sealwire_config,
    server_name: *const c_char,
    conn_out: *mut *mut sealwire_conn,
) -> sealwire_result {
    guarded(|| {
        let out = Out::new("conn_out", conn_out)?;
        let Ends::Client { config, needs_name } = config::current(config)? else {
            return Err(Failure::argument("config is one of servers"));
        };
        let name = match pointer::optional_text("server_name", server_name)? {
            Some(name) => server_name_of(name)?,
            None if needs_name => return Err(Failure::null("server_name")),
            None => config::unnamed(),
        };
        out.set(Conn::into_handle(Role::Client { config, name }, None));
        Ok(SEALWIRE_OK)
    })
}

/// Makes the server end of a connection.
///
/// ::SEALWIRE_ERR_ARGUMENT where the configuration is one of clients.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_new_server(
    config: *const sealwire_config,
    conn_out: *mut *mut sealwire_conn,
) -> sealwire_result {
    guarded(|| {
        let out = Out::new("conn_out", conn_out)?;
        let Ends::Server { config, accounts } = config::current(config)? else {
            return Err(Failure::argument("config is one of clients"));
        };
        out.set(Conn::into_handle(Role::Server { config }, accounts));
        Ok(SEALWIRE_OK)
    })
}

/// Frees a connection; NULL is fine. Nothing is sent that was not sent before: call
/// sealwire_conn_shutdown() for an orderly end. A descriptor of the caller stays open.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_free(conn: *mut sealwire_conn) {
    handle::free(conn);
}

/// Lets the connection read from and write to `fd`, a connected stream socket, which stays the
/// caller's: it must be open until the connection is freed, and the caller closes it.
///
/// On a blocking descriptor calls wait; SO_RCVTIMEO and SO_SNDTIMEO hold, and end them with
/// ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE. On one with O_NONBLOCK no call waits.
///
/// ::SEALWIRE_ERR_STATE where the connection has begun or has a transport;
/// ::SEALWIRE_ERR_ARGUMENT where `fd` is no open socket.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_set_fd(conn: *mut sealwire_conn, fd: c_int) -> sealwire_result {
    call(conn, |conn, _| conn.link.set_fd(fd))
}

/// Lets the connection begin in plaintext, as protocols with an upgrade in their stream do;
/// sealwire_conn_start_tls() ends that.
///
/// ::SEALWIRE_ERR_STATE where the connection has begun.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_set_plaintext(conn: *mut sealwire_conn) -> sealwire_result {
    call(conn, |conn, _| conn.link.set_plaintext())
}

/// Begins TLS on a connection that began in plaintext. What was read so far was plain; every byte
/// behind it, received already or not, belongs to TLS. What was written goes out in front.
///
/// ::SEALWIRE_ERR_STATE where the connection is not in plaintext.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_start_tls(conn: *mut sealwire_conn) -> sealwire_result {
    call(conn, |conn, pools| conn.link.start_tls(pools))
}

/// Completes the handshake. Reading and writing do so by themselves.
///
/// ::SEALWIRE_WANT_READ or ::SEALWIRE_WANT_WRITE where the peer has to act first.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_handshake(conn: *mut sealwire_conn) -> sealwire_result {
    call(conn, |conn, pools| conn.link.handshake(pools))
}

/// Reads up to `len` bytes of plaintext; `*read_out` is at least 1 where the result is
/// ::SEALWIRE_OK and `len` is not 0.
///
/// A read that filled `buf` may have left more behind, which no poll of the descriptor tells:
/// see sealwire_conn_pending() and sealwire_conn_timeout_ms().
///
/// ::SEALWIRE_WANT_READ where nothing has arrived; ::SEALWIRE_EOF at the clean end of the stream;
/// ::SEALWIRE_ERR_TRUNCATED where it ended without close_notify.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_read(
    conn: *mut sealwire_conn,
    buf: *mut c_void,
    len: usize,
    read_out: *mut usize,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let out = Out::new("read_out", read_out)?;
        let target = pointer::bytes_mut("buf", buf, len)?;
        let (result, read) = conn.link.read(target, pools)?;
        out.set(read);
        Ok(result)
    })
}

/// Writes up to `len` bytes of plaintext, and tells in `*written_out` how many were taken. Those
/// are the library's: they are sent in order, and are not to be given again. The rest may be given
/// in a later call from any place. The memory is the caller's again when the call returns.
///
/// Over a descriptor the bytes are sent at once as far as the socket takes them; what is left
/// (sealwire_conn_queued()) goes out with the next call, or with sealwire_conn_flush().
///
/// ::SEALWIRE_WANT_WRITE or, in mid-handshake, ::SEALWIRE_WANT_READ where nothing was taken.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_write(
    conn: *mut sealwire_conn,
    buf: *const c_void,
    len: usize,
    written_out: *mut usize,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let out = Out::new("written_out", written_out)?;
        let data = pointer::bytes("buf", buf, len)?;
        let settled = conn.settle(pools)?;
        if settled != SEALWIRE_OK {
            out.set(0);
            return Ok(settled);
        }
        let (result, written) = conn.link.write(data, pools)?;
        out.set(written);
        Ok(result)
    })
}

/// Sends what was written and is still queued.
///
/// ::SEALWIRE_WANT_WRITE where some of it could not be sent yet.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_flush(conn: *mut sealwire_conn) -> sealwire_result {
    call(conn, |conn, pools| match conn.settle(pools)? {
        SEALWIRE_OK => conn.link.flush(pools),
        condition => Ok(condition),
    })
}

/// Ends this side with close_notify, behind what was written. The peer may go on sending, and what
/// it sends can be read.
///
/// ::SEALWIRE_WANT_WRITE where some of it could not be sent yet: sealwire_conn_flush() goes on.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_shutdown(conn: *mut sealwire_conn) -> sealwire_result {
    call(conn, |conn, pools| match conn.settle(pools)? {
        SEALWIRE_OK => conn.link.shutdown(pools),
        condition => Ok(condition),
    })
}

/// Plaintext that can be read without waiting for the peer, in bytes; more may lie behind it.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_pending(conn: *const sealwire_conn) -> usize {
    ask(conn, 0, |conn| conn.link.pending())
}

/// Bytes that were written and not sent, sealed or not.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_queued(conn: *const sealwire_conn) -> usize {
    ask(conn, 0, |conn| conn.queued())
}

/// True where the connection waits for its descriptor to become readable.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_wants_read(conn: *const sealwire_conn) -> bool {
    ask(conn, false, |conn| conn.link.wants_read())
}

/// True where the connection waits for its descriptor to become writable.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_wants_write(conn: *const sealwire_conn) -> bool {
    ask(conn, false, |conn| conn.queued() > 0)
}

/// How long to wait for the descriptor at most, in milliseconds, as poll() takes it: -1 for ever; 0
/// where something can be read without waiting, so that a loop which polls with it never hangs on
/// plaintext that the descriptor does not tell of. When the time has passed, any call judges the
/// deadline of the handshake, and sealwire_conn_obrpc_next_reply() those of calls.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_timeout_ms(conn: *const sealwire_conn) -> c_int {
    ask(conn, -1, |conn| conn.link.timeout_ms())
}

/// Takes bytes that arrived, where the caller moves them, and tells in `*consumed_out` how many:
/// fewer than given where what arrived before has to be read first. `tls_len` 0 says that the
/// peer's stream has ended.
///
/// ::SEALWIRE_ERR_STATE where the connection has another transport.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_feed(
    conn: *mut sealwire_conn,
    tls: *const u8,
    tls_len: usize,
    consumed_out: *mut usize,
) -> sealwire_result {
    call(conn, |conn, pools| {
        let out = Out::new("consumed_out", consumed_out)?;
        let bytes = pointer::bytes("tls", tls.cast::<c_void>(), tls_len)?;
        out.set(conn.link.feed(bytes, pools)?);
        Ok(SEALWIRE_OK)
    })
}

/// The next bytes to send, where the caller moves them, and their number; 0 where there are none.
/// They are borrowed until the next call that takes the connection.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_output(
    conn: *const sealwire_conn,
    tls_out: *mut *const u8,
) -> usize {
    let output = handle::enter(conn, |conn| {
        let out = Out::new("tls_out", tls_out)?;
        let output = with_pools(|pools| conn.link.output(pools))?;
        out.set(output.as_ptr());
        Ok(output.len())
    });
    output.unwrap_or(0)
}

/// Tells that the first `len` bytes of sealwire_conn_output() were sent.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_output_sent(
    conn: *mut sealwire_conn,
    len: usize,
) -> sealwire_result {
    call(conn, |conn, pools| conn.link.output_sent(len, pools))
}

/// Keeps a word of the caller with the connection; the events of an engine carry it. NULL before.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_set_user_data(
    conn: *mut sealwire_conn,
    user_data: *mut c_void,
) -> sealwire_result {
    call(conn, |conn, _| {
        conn.user_data = user_data;
        Ok(SEALWIRE_OK)
    })
}

/// The word of the caller; NULL where none was kept.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_user_data(conn: *const sealwire_conn) -> *mut c_void {
    user_data(conn)
}

/// Whether ::SEALWIRE_EVENT_READABLE is told and bytes are received, on a connection of an engine:
/// true before. While it is false the kernel's memory fills, which stops the peer: for a program
/// that cannot pass on at once what it reads. A handshake goes on regardless.
///
/// ::SEALWIRE_ERR_STATE where the connection belongs to no engine.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_set_reading(
    conn: *mut sealwire_conn,
    is_on: bool,
) -> sealwire_result {
    call(conn, |conn, _| conn.link.set_reading(is_on))
}

/// Copies the address of the peer of a connection of an engine ("192.0.2.7:50123", or "unix") to
/// `buf`, cut to `len` and ended by NUL, and returns its whole length without the NUL (snprintf's
/// rule). 0 where the connection belongs to no engine.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_peer_address(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    ask(conn, 0, |conn| {
        let peer = conn.link.peer().map(|peer| peer.to_string());
        pointer::copy_text(&peer.unwrap_or_default(), buf, len)
    })
}

/// errno of the connection's last failed call; 0 where it was no system call that failed.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_os_error(conn: *const sealwire_conn) -> c_int {
    ask(conn, 0, |conn| {
        conn.error.as_ref().and_then(Error::os_error).unwrap_or(0)
    })
}

/// The number of the TLS alert (RFC 8446 section 6) by which the peer gave up; -1 where it did not.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_alert(conn: *const sealwire_conn) -> c_int {
    ask(conn, -1, |conn| {
        match conn.error.as_ref().map(Error::kind) {
            Some(ErrorKind::TlsAlert(alert)) => alert.into(),
            _ => -1,
        }
    })
}

/// Copies the words for the connection's last failed call to `buf`, cut to `len` and ended by NUL,
/// and returns their whole length without the NUL (snprintf's rule). 0 where no call failed.
///
/// The words name certificates and reasons: for a log, or whoever runs this end; never for the
/// peer.
#[unsafe(no_mangle)]
pub extern "C" fn sealwire_conn_error_text(
    conn: *const sealwire_conn,
    buf: *mut c_char,
    len: usize,
) -> usize {
    handle::ask_text(conn, buf, len, |conn| {
        conn.error.as_ref().map(Error::to_string)
    })
}

/// Gives a connection that has not begun to the engine of this thread, whose `start` begins it.
pub(super) fn attach(
    handle: *mut sealwire_conn,
    shared: &Shared,
    start: impl FnOnce(&mut Engine, Connection, u64) -> Result<ConnId, Error>,
) -> Result<(), Failure> {
    handle::enter(handle, |conn| {
        let key = conn.link.attach(shared, start)?;
        core(shared)?.set_handle(key, handle);
        handle::bind_to_this_thread(handle)
    })
}

/// The handle of a connection that has begun on the engine of this thread.
pub(super) fn accepted(
    shared: &Shared,
    key: usize,
    role: Role,
    accounts: Option<Arc<Accounts>>,
) -> *mut sealwire_conn {
    let link = Link::Driven(Driven::accepted(shared, key, role));
    handle::make_for_this_thread(Conn::new(link, accounts))
}

/// The caller's word for a connection.
pub(super) fn user_data(handle: *const sealwire_conn) -> *mut c_void {
    ask(handle, ptr::null_mut(), |conn| conn.user_data)
}

/// Keeps why the engine ended a connection.
pub(super) fn keep(handle: *const sealwire_conn, error: Error) {
    ask(handle, (), |conn| conn.keep(error));
}

impl Conn {
    fn into_handle(role: Role, accounts: Option<Arc<Accounts>>) -> *mut sealwire_conn {
        handle::make(Self::new(Link::new(role), accounts))
    }

    fn new(link: Link, accounts: Option<Arc<Accounts>>) -> Self {
        Self {
            link,
            frames: Frames::default(),
            upgrade: Upgrade::default(),
            obrpc: Obrpc::default(),
            user_data: ptr::null_mut(),
            accounts,
            error: None,
        }
    }

    /// Sends what is left of packets, in front of everything else.
    fn settle(&mut self, pools: &mut Pools) -> Outcome {
        if self.frames.queued() > 0 {
            return self.frames.send(&mut self.link, pools);
        }
        self.obrpc.send(&mut self.link, pools)
    }

    fn queued(&self) -> usize {
        self.frames.queued() + self.obrpc.queued() + self.link.queued()
    }
}

impl Fallible for Conn {
    fn keep(&mut self, error: Error) {
        self.error = Some(error);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        with_pools(|pools| self.link.release(pools));
    }
}

thread_local! {
    /// Buffers that the connections of a thread share, which would otherwise be made and freed with
    /// every message.
    static POOLS: Rc<RefCell<Pools>> = Rc::new(RefCell::new(Pools::new(POOL_FREE_MAX)));
}

/// Lends the buffers of this thread, or others for the one call: there are none behind the
/// destructors of thread-locals, as where atexit() has a connection freed, and they are in use
/// where a callback calls back.
fn with_pools<R>(call: impl FnOnce(&mut Pools) -> R) -> R {
    let shared = POOLS.try_with(Rc::clone).ok();
    match shared
        .as_ref()
        .and_then(|pools| pools.try_borrow_mut().ok())
    {
        Some(mut pools) => call(&mut pools),
        None => call(&mut Pools::new(0)),
    }
}

fn call(
    conn: *const sealwire_conn,
    call: impl FnOnce(&mut Conn, &mut Pools) -> Outcome,
) -> sealwire_result {
    handle::call(conn, |conn| with_pools(|pools| call(conn, pools)))
}

impl Opaque for sealwire_conn {
    type Inner = Conn;
    const NAME: &'static str = "conn";
}

fn server_name_of(name: &str) -> Result<ServerName<'static>, Failure> {
    let name = ServerName::try_from(name.to_owned());
    name.map_err(|_| Failure::argument("server_name is neither a DNS name nor an IP address"))
}

/// Unused buffers of each kind that a thread keeps.
const POOL_FREE_MAX: usize = 16;
