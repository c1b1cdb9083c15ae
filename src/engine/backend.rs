//! What an engine asks of the machine: io_uring, epoll through mio, or the simulator.
//!
//! A back end owns the descriptors and everything that the kernel may touch: a buffer given to
//! [`Backend::send`] and a [`Lease`] come back by a [`Completion`], never earlier. It reports what happened and
//! decides nothing: short sends, ended multishots and exhausted buffers are the engine's to answer, so that the
//! answers are tested under the simulator.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::address::{Address, PeerAddress};
use super::lease::Lease;
use super::waker::Waker;
use crate::buf::Buf;
use crate::time::Now;

/// A socket of a back end. A key is not used again before [`Completion::Closed`] was delivered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey(pub u32);

/// The operations of one machine. Nothing reaches the kernel before [`Backend::wait`].
pub trait Backend {
    /// Which one it is, and what it switched on or off.
    fn describe(&self) -> String;

    /// The time now.
    fn now(&self) -> Now;

    /// Opens a listening socket; nothing is accepted before [`Backend::accept`].
    fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<SocketKey>;

    /// The address that a listening socket is bound to, which tells the port chosen for port 0.
    fn local_address(&self, key: SocketKey) -> io::Result<Address>;

    /// Accepts from now on, until a completion says that it ended (`more` false) or
    /// [`Backend::accept_stop`].
    fn accept(&mut self, key: SocketKey);

    /// Stops accepting. Connections accepted before are still reported; then [`Completion::AcceptStopped`].
    fn accept_stop(&mut self, key: SocketKey);

    /// Opens a socket and connects it; [`Completion::Connected`] tells the outcome.
    fn connect(&mut self, address: &Address, options: &SocketOptions) -> io::Result<SocketKey>;

    /// Takes a connected stream socket. On error it is closed.
    fn adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> io::Result<SocketKey>;

    /// Receives from now on, until a completion says that it ended (`more` false) or [`Backend::recv_stop`].
    /// Only called while no receive is armed.
    fn recv(&mut self, key: SocketKey);

    /// Stops receiving. What was received before is still reported; then [`Completion::RecvStopped`].
    /// Only called while a receive is armed.
    fn recv_stop(&mut self, key: SocketKey);

    /// Sends the filled bytes of `buf`, in one call. At most one send per socket is under way.
    fn send(&mut self, key: SocketKey, buf: Buf);

    /// Ends the sending side (FIN). Only called while no send is under way.
    fn shutdown(&mut self, key: SocketKey);

    /// Closes the socket, cancelling what is under way. Every outstanding buffer still comes back;
    /// [`Completion::Closed`] is the last completion of the key.
    fn close(&mut self, key: SocketKey);

    /// Submits what was asked for, waits until something completes or `timeout` has passed (`None`: for ever),
    /// and appends all completions that there are. Interruption by a signal is an empty success.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()>;

    /// Gives the memory of a lease back.
    fn recycle(&mut self, lease: Lease);

    /// A handle by which other threads end a [`Backend::wait`] early.
    fn waker(&self) -> Waker;

    /// What was counted since the start.
    fn counters(&self) -> Counters;
}

/// Something that happened.
#[derive(Debug)]
pub enum Completion {
    /// A connection was accepted. No receive is armed on it.
    Accepted {
        listener: SocketKey,
        key: SocketKey,
        peer: PeerAddress,
    },
    /// An accept failed or ended by itself; it is not armed any more.
    AcceptFailed {
        listener: SocketKey,
        error: io::Error,
    },
    /// The answer to [`Backend::accept_stop`].
    AcceptStopped { listener: SocketKey },
    /// The outcome of [`Backend::connect`].
    Connected {
        key: SocketKey,
        result: io::Result<()>,
    },
    /// Bytes arrived. Where `more` is false the receive has ended by itself and must be armed again.
    Received {
        key: SocketKey,
        lease: Lease,
        more: bool,
    },
    /// The peer ended its stream; the receive has ended.
    Eof { key: SocketKey },
    /// No receive buffer was free (ENOBUFS); the receive has ended and is to be armed again.
    RecvStarved { key: SocketKey },
    /// The answer to [`Backend::recv_stop`].
    RecvStopped { key: SocketKey },
    /// The receive failed and has ended.
    RecvFailed { key: SocketKey, error: io::Error },
    /// A send ended; `result` is the number of bytes sent, which may be fewer than `buf` holds.
    Sent {
        key: SocketKey,
        buf: Buf,
        result: io::Result<usize>,
    },
    /// The kernel has let go of the socket and of everything that belonged to it.
    Closed { key: SocketKey },
    /// [`Waker::wake`] was called.
    Woken,
}

/// Options of a listening socket.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Length of the queue of connections that wait to be accepted.
    pub backlog: u32,
    /// Lets several engines share the port (SO_REUSEPORT).
    pub reuse_port: bool,
    /// Options of the accepted sockets.
    pub socket: SocketOptions,
}

/// Options of a stream socket. TCP_NODELAY is always set: the engine batches by itself.
#[derive(Clone, Debug, Default)]
pub struct SocketOptions {
    /// Idle time before TCP keepalive probes (TCP_KEEPIDLE), and their interval.
    pub keepalive: Option<Duration>,
    /// How long sent data may stay unacknowledged (TCP_USER_TIMEOUT).
    pub user_timeout: Option<Duration>,
    /// Congestion control by name (TCP_CONGESTION).
    pub congestion: Option<String>,
}

/// What a back end counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls into the kernel that submit or wait: io_uring_enter, or epoll_wait.
    pub enters: u64,
    /// Other system calls on sockets (epoll back end: recv, send, accept; io_uring: set-up of new ones).
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
