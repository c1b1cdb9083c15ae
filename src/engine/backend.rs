//! What an engine asks of the machine: io_uring, epoll through mio, or the simulator.
//!
//! A back end owns the descriptors and everything that the kernel may touch: a buffer given to
//! [`Backend::send`] and a [`Lease`] come back by a [`Completion`], never earlier. It reports what
//! happened and decides nothing: short sends, ended multishots and exhausted buffers are the
//! engine's to answer, so that the answers are tested under the simulator.
//!
//! Every operation is answered exactly once, whatever happens to it:
//!
//! | call | answer |
//! |---|---|
//! | `accept` | any number of `Accepted`, then `AcceptFailed` where it ended by itself |
//! | `accept_stop` | `Accepted` for all that the kernel had completed, then `AcceptStopped` |
//! | `connect` | `Connected` |
//! | `recv` | any number of `Received` with `more`, then one end notice |
//! | `send` | `Sent` |
//! | `close` | `Sent` where a send was under way, then `Closed`, and nothing else |
//!
//! The end notice of a receive is one of `Received` without `more`, `Eof`, `RecvStarved`,
//! `RecvFailed` and `RecvStopped`. After `recv_stop` it is `RecvStopped`, unless the stream had
//! ended or failed before: then it is `Eof` or `RecvFailed`. No receive has two end notices.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use super::address::{Address, PeerAddress};
use super::lease::Lease;
use super::waker::Waker;
use crate::buf::Buf;
use crate::time::Now;

/// A socket of a back end. A key is not used again before [`Completion::Closed`] was delivered for
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey(pub u32);

/// The operations of one machine. What `accept`, `recv`, `send`, `shutdown` and `close` ask for is
/// done by the next [`Backend::wait`], so that it travels in one batch.
///
/// A call with a key that was closed, or that breaks the order stated with the call, is a defect of
/// the caller and may panic.
pub trait Backend {
    /// Which one it is.
    fn name(&self) -> &'static str;

    /// Which one it is, and what it switched on or off.
    fn describe(&self) -> String;

    /// The time now.
    fn now(&self) -> Now;

    /// Opens a listening socket; nothing is accepted before [`Backend::accept`].
    fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<SocketKey>;

    /// The address that a listening socket is bound to, which tells the port chosen for port 0; of
    /// an accepted one, the address that its peer connected to; of a connected one its own, where
    /// [`SocketOptions::is_recognized`].
    fn local_address(&self, key: SocketKey) -> io::Result<Address>;

    /// Accepts from now on, until [`Completion::AcceptFailed`] or [`Backend::accept_stop`]. Only
    /// called while no accept is armed.
    fn accept(&mut self, key: SocketKey);

    /// Stops accepting, whether an accept is armed or not. Connections that the kernel completed
    /// before are still reported; then [`Completion::AcceptStopped`]. Where they cannot be (no
    /// descriptor is left), [`Completion::AcceptFailed`] says why before it.
    fn accept_stop(&mut self, key: SocketKey);

    /// Opens a socket and connects it; [`Completion::Connected`] tells the outcome.
    fn connect(&mut self, address: &Address, options: &SocketOptions) -> io::Result<SocketKey>;

    /// Takes a connected stream socket, whose blocking mode is the back end's from here. On error
    /// it is closed.
    fn adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> io::Result<SocketKey>;

    /// Receives from now on, until an end notice or [`Backend::recv_stop`]. Only called while no
    /// receive is armed: after the end notice of the one before. Where buffers are short those that
    /// are armed anew are served first, in the order of these calls.
    fn recv(&mut self, key: SocketKey);

    /// Stops receiving. What was received before is still reported, what was not stays in the
    /// kernel for the next [`Backend::recv`]; then [`Completion::RecvStopped`] (or another end
    /// notice, see above). Only called while a receive is armed, once.
    fn recv_stop(&mut self, key: SocketKey);

    /// Sends the filled bytes of `buf`, in one call. At most one send per socket is under way.
    fn send(&mut self, key: SocketKey, buf: Buf);

    /// Ends the sending side (FIN). Only called while no send is under way.
    fn shutdown(&mut self, key: SocketKey);

    /// Breaks a connected stream socket, so that its peer sees an error and not an end; only called
    /// right before [`Backend::close`]. TCP sends a reset; a Unix socket has none and ends like any
    /// other.
    fn reset(&mut self, key: SocketKey);

    /// Closes the socket, cancelling what is under way. The buffer of a send still comes back by
    /// [`Completion::Sent`]; [`Completion::Closed`] is the last completion of the key. Bytes and
    /// connections that arrive in between are dropped.
    fn close(&mut self, key: SocketKey);

    /// Submits what was asked for, waits until something completes or `timeout` has passed (`None`:
    /// for ever), and appends all completions that there are. It may also return early with none: a
    /// signal is an empty success.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()>;

    /// True where [`Backend::wait`] has something to do whatever the kernel says, as what was asked
    /// for and not submitted yet.
    fn has_work(&self) -> bool;

    /// A descriptor that polls as readable while the kernel has something for [`Backend::wait`];
    /// none where nothing waits in a kernel.
    fn fd(&self) -> Option<RawFd>;

    /// Gives the memory of a lease back, in any order. A lease that is dropped instead is memory
    /// that the back end cannot lend again.
    fn recycle(&mut self, lease: Lease);

    /// A handle by which other threads end a [`Backend::wait`] early.
    fn waker(&self) -> Waker;

    /// What was counted since the start.
    fn counters(&self) -> Counters;
}

/// Sizes of a back end.
#[derive(Clone, Copy, Debug)]
pub struct BackendOptions {
    /// Length of one receive buffer, in bytes.
    pub recv_buf_len: usize,
    /// Number of receive buffers that all sockets share; a power of two.
    pub recv_buf_count: u16,
    /// Operations, or events, that one system call carries. More of them take more calls.
    pub queue_len: u32,
}

/// Something that happened.
#[derive(Debug)]
pub enum Completion {
    /// A connection was accepted. No receive is armed on it.
    Accepted {
        /// Where it arrived.
        listener: SocketKey,
        /// The new connection.
        key: SocketKey,
        /// Its other end.
        peer: PeerAddress,
    },
    /// An accept failed and is not armed any more. EMFILE, ENFILE, ENOBUFS and ENOMEM last until
    /// something is freed; other errors concern one connection that broke before it was accepted.
    AcceptFailed {
        /// The listening socket.
        listener: SocketKey,
        /// Why.
        error: io::Error,
    },
    /// The answer to [`Backend::accept_stop`].
    AcceptStopped {
        /// The listening socket.
        listener: SocketKey,
    },
    /// The outcome of [`Backend::connect`].
    Connected {
        /// The socket; to be closed where it failed.
        key: SocketKey,
        /// Whether it is connected.
        result: io::Result<()>,
    },
    /// Bytes arrived.
    Received {
        /// The socket.
        key: SocketKey,
        /// The bytes, at least one; to be given back by [`Backend::recycle`].
        lease: Lease,
        /// False where the receive has ended by itself and must be armed again.
        more: bool,
    },
    /// The peer ended its stream; the receive has ended.
    Eof {
        /// The socket.
        key: SocketKey,
    },
    /// No receive buffer was free (ENOBUFS); the receive has ended and is to be armed again when
    /// leases were given back. Nothing is lost: the bytes are in the kernel.
    RecvStarved {
        /// The socket.
        key: SocketKey,
    },
    /// The answer to [`Backend::recv_stop`].
    RecvStopped {
        /// The socket.
        key: SocketKey,
    },
    /// The receive failed and has ended.
    RecvFailed {
        /// The socket.
        key: SocketKey,
        /// Why.
        error: io::Error,
    },
    /// A send ended.
    Sent {
        /// The socket.
        key: SocketKey,
        /// The buffer that was given, unchanged.
        buf: Buf,
        /// The number of bytes sent, which may be fewer than `buf` holds.
        result: io::Result<usize>,
    },
    /// The kernel has let go of the socket and of everything that belonged to it.
    Closed {
        /// The socket; its key may be used again from here.
        key: SocketKey,
    },
    /// [`Waker::wake`] was called, once or more often, since the last of these.
    Woken,
}

/// Options of a listening socket.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Length of the queue of connections that wait to be accepted.
    pub backlog: u32,
    /// Lets several engines share the port (SO_REUSEPORT).
    pub reuse_port: bool,
    /// The packet filter redirects connections here: where their peers meant to connect to is asked
    /// of it (SO_ORIGINAL_DST).
    pub is_redirected: bool,
    /// Options of the accepted sockets.
    pub socket: SocketOptions,
}

/// Options of a stream socket. TCP_NODELAY is always set: the engine batches by itself.
#[derive(Clone, Debug, Default)]
pub struct SocketOptions {
    /// Idle time before TCP keepalive probes (TCP_KEEPIDLE), and their interval; whole seconds, at
    /// least one.
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged (TCP_USER_TIMEOUT); whole milliseconds.
    pub user_timeout: Option<Duration>,
    /// Congestion control by name (TCP_CONGESTION).
    pub congestion: Option<String>,
    /// A connection made with these is known to [`Engine::is_own`](super::Engine::is_own) where it
    /// comes back. It costs a system call, and on io_uring a descriptor.
    pub is_recognized: bool,
}

/// What a back end counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls into the kernel that submit or wait: io_uring_enter, or epoll_wait.
    pub enters: u64,
    /// Other system calls on sockets. Epoll: every one, from socket to close. io_uring: the set-up
    /// of new ones, and the emptying of an accept queue.
    pub syscalls: u64,
    /// Receives that brought bytes.
    pub recvs: u64,
    /// Sends that ended.
    pub sends: u64,
    /// Bytes received.
    pub recv_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Receives that found no free buffer.
    pub starved: u64,
}
