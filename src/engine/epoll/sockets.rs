use std::io::{self, Read};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::{SockAddr, SockRef, Socket};

use crate::buf::{Buf, BufPool};
use crate::engine::address::Address;
use crate::engine::backend::{BackendOptions, Completion, Counters, SocketKey};
use crate::engine::lease::{Lease, Memory};
use crate::engine::socket;

/// Receives of one socket in one wait at most, so that none starves the others.
const RECVS_MAX: u32 = 8;

/// Accepts of one listener in one wait at most, for the same reason.
const ACCEPTS_MAX: u32 = 64;

/// The sockets of one epoll instance, and what is to be done on them.
///
/// The lists of keys are hints: what a key stands for is looked at again when its turn comes.
pub(super) struct Sockets {
    pub(super) counters: Counters,
    registry: Registry,
    sockets: Slab<EpollSocket>,
    pool: BufPool,
    buf_len: usize,
    leases_len: usize,
    leases_max: usize,
    /// Sockets that were just armed and may be readable: their turn is before that of the others,
    /// who have had theirs.
    armed: Vec<SocketKey>,
    /// Sockets that may be armed and readable.
    readable: Vec<SocketKey>,
    /// Sockets with a send that was not tried yet.
    sends: Vec<SocketKey>,
    /// Sockets that are to be closed.
    closing: Vec<SocketKey>,
    /// Completions that need no readiness.
    ready: Vec<Completion>,
}

/// One socket.
struct EpollSocket {
    io: Socket,
    /// Where it listens; none for a stream.
    bound: Option<socket::Bound>,
    /// Where the peer of an accepted connection connected to; of a connection that is recognized,
    /// where it came from.
    local: Option<SocketAddr>,
    send: Option<Buf>,
    is_connecting: bool,
    /// Whether a receive is armed, or on a listener an accept.
    is_armed: bool,
    /// Whether it stands in the list of readable sockets.
    is_queued: bool,
    is_readable: bool,
    /// The peer has ended or broken the stream: there is something to read until the receive has
    /// said so.
    is_read_closed: bool,
    is_writable: bool,
}

impl Sockets {
    pub(super) fn new(registry: Registry, options: &BackendOptions) -> Self {
        let leases_max = usize::from(options.recv_buf_count);
        Self {
            counters: Counters::default(),
            registry,
            sockets: Slab::new(),
            pool: BufPool::new(options.recv_buf_len, leases_max),
            buf_len: options.recv_buf_len,
            leases_len: 0,
            leases_max,
            armed: Vec::new(),
            readable: Vec::new(),
            sends: Vec::new(),
            closing: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// The number of receive buffers, and the length of each.
    pub(super) fn lease_limits(&self) -> (usize, usize) {
        (self.leases_max, self.buf_len)
    }

    pub(super) fn add_listener(
        &mut self,
        io: Socket,
        bound: socket::Bound,
    ) -> io::Result<SocketKey> {
        self.add(EpollSocket {
            bound: Some(bound),
            ..EpollSocket::new(io)
        })
    }

    pub(super) fn add_stream(&mut self, io: Socket) -> io::Result<SocketKey> {
        self.add(EpollSocket::new(io))
    }

    pub(super) fn connect(
        &mut self,
        io: Socket,
        to: &SockAddr,
        is_recognized: bool,
    ) -> io::Result<SocketKey> {
        // Before it is registered, or epoll reports that the socket has hung up.
        self.counters.syscalls += 1;
        let result = io.connect(to);
        let is_connecting = matches!(&result, Err(error) if is_in_progress(error));
        self.counters.syscalls += u64::from(is_recognized);
        let local = is_recognized.then(|| socket::own_address(&SockRef::from(&io)));
        let key = self.add(EpollSocket {
            is_connecting,
            local: local.flatten(),
            ..EpollSocket::new(io)
        })?;
        if !is_connecting {
            self.ready.push(Completion::Connected { key, result });
        }
        Ok(key)
    }

    /// Where a listener listens, the peer of an accepted connection connected to, or a connection
    /// came from that is recognized.
    pub(super) fn local_address(&self, key: SocketKey) -> Option<Address> {
        let socket = &self.sockets[key.0 as usize];
        let local = || socket.local.map(Address::Ip);
        let bound = socket.bound.as_ref().map(|bound| bound.address.clone());
        bound.or_else(local)
    }

    /// Receives, or accepts, from now on.
    pub(super) fn arm(&mut self, key: SocketKey) {
        let socket = self.socket_mut(key);
        debug_assert!(!socket.is_armed, "armed twice");
        socket.is_armed = true;
        if socket.is_readable && !socket.is_queued {
            socket.is_queued = true;
            self.armed.push(key);
        }
    }

    pub(super) fn recv_stop(&mut self, key: SocketKey) {
        let socket = self.socket_mut(key);
        debug_assert!(socket.is_armed, "not armed");
        socket.is_armed = false;
        self.ready.push(Completion::RecvStopped { key });
    }

    /// Accepts what the kernel has completed, and no more.
    pub(super) fn accept_stop(&mut self, listener: SocketKey) {
        let socket = &mut self.sockets[listener.0 as usize];
        socket.is_armed = false;
        let syscalls = &mut self.counters.syscalls;
        let (streams, mut result) = socket::empty_queue(&socket.io, syscalls);
        for (io, sockaddr) in streams {
            match self.accepted(listener, io, &sockaddr) {
                Ok(completion) => self.ready.push(completion),
                Err(error) => result = Err(error),
            }
        }
        if let Err(error) = result {
            self.ready
                .push(Completion::AcceptFailed { listener, error });
        }
        self.ready.push(Completion::AcceptStopped { listener });
    }

    pub(super) fn send(&mut self, key: SocketKey, buf: Buf) {
        let socket = self.socket_mut(key);
        assert!(socket.send.is_none(), "one send at a time");
        socket.send = Some(buf);
        self.sends.push(key);
    }

    pub(super) fn shutdown(&mut self, key: SocketKey) {
        self.counters.syscalls += 1;
        // It fails where the peer has reset the connection, which a receive or a send reports.
        let _ = self.socket_mut(key).io.shutdown(Shutdown::Write);
    }

    pub(super) fn reset(&mut self, key: SocketKey) {
        self.counters.syscalls += 1;
        // It fails on a Unix socket, which has no reset.
        let _ = SockRef::from(&self.socket_mut(key).io).set_linger(Some(Duration::ZERO));
    }

    pub(super) fn close(&mut self, key: SocketKey) {
        self.socket_mut(key).is_armed = false;
        self.ready.retain(|completion| match completion {
            Completion::Connected { key: of, .. } | Completion::RecvStopped { key: of } => {
                *of != key
            }
            _ => true,
        });
        self.closing.push(key);
    }

    pub(super) fn recycle(&mut self, lease: Lease) {
        if let Memory::Heap(buf) = lease.into_memory() {
            self.leases_len = self.leases_len.saturating_sub(1);
            self.pool.give(buf);
        }
    }

    /// Reports what needs no readiness, and closes.
    pub(super) fn report_ready(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.ready);
        for key in self.closing.drain(..) {
            self.counters.syscalls += 2;
            let socket = self.sockets.remove(key.0 as usize);
            // Closing does not do that where another process still holds the socket, as one does
            // between fork and exec (epoll(7)): events would come for a key that is no more.
            let _ = self
                .registry
                .deregister(&mut SourceFd(&socket.io.as_raw_fd()));
            if let Some(buf) = socket.send {
                let result = Err(io::Error::from_raw_os_error(libc::ECANCELED));
                completions.push(Completion::Sent { key, buf, result });
            }
            completions.push(Completion::Closed { key });
        }
    }

    /// Tries the sends that are new.
    pub(super) fn send_queued(&mut self, completions: &mut Vec<Completion>) {
        let mut sends = mem::take(&mut self.sends);
        for key in sends.drain(..) {
            self.send_one(key, completions);
        }
        self.sends = sends;
    }

    /// Whether there is something to read without waiting.
    pub(super) fn has_readable(&self) -> bool {
        !self.armed.is_empty() || !self.readable.is_empty()
    }

    /// Whether there is something to do without waiting.
    pub(super) fn has_work(&self) -> bool {
        let is_quiet = self.ready.is_empty() && self.closing.is_empty() && self.sends.is_empty();
        !is_quiet || self.has_readable()
    }

    /// Notes what epoll said about a socket, and does what that unblocked except for reading.
    pub(super) fn on_event(
        &mut self,
        key: SocketKey,
        event: &Event,
        completions: &mut Vec<Completion>,
    ) {
        let socket = self.socket_mut(key);
        let is_broken = event.is_error();
        let can_write = event.is_writable() || event.is_write_closed() || is_broken;
        socket.is_read_closed |= event.is_read_closed() || is_broken;
        socket.is_readable |= event.is_readable() || socket.is_read_closed;
        socket.is_writable |= can_write;
        if socket.is_connecting {
            if can_write {
                self.finish_connect(key, completions);
            }
            return;
        }
        self.send_one(key, completions);
        self.queue_readable(key);
    }

    /// Receives from, and accepts on, the sockets that are readable.
    pub(super) fn read_queued(&mut self, completions: &mut Vec<Completion>) {
        let mut queue = mem::take(&mut self.armed);
        queue.append(&mut self.readable);
        for key in queue.drain(..) {
            let Some(socket) = self.sockets.get_mut(key.0 as usize) else {
                continue;
            };
            socket.is_queued = false;
            if !socket.is_armed {
                continue;
            }
            match socket.bound {
                Some(_) => self.accept_some(key, completions),
                None => self.recv_some(key, completions),
            }
            self.queue_readable(key);
        }
        self.armed = queue;
    }

    fn add(&mut self, socket: EpollSocket) -> io::Result<SocketKey> {
        let key = self.sockets.vacant_key();
        self.counters.syscalls += 1;
        self.registry.register(
            &mut SourceFd(&socket.io.as_raw_fd()),
            Token(key),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(SocketKey(self.sockets.insert(socket) as u32))
    }

    fn socket_mut(&mut self, key: SocketKey) -> &mut EpollSocket {
        &mut self.sockets[key.0 as usize]
    }

    fn queue_readable(&mut self, key: SocketKey) {
        let socket = &mut self.sockets[key.0 as usize];
        if socket.is_armed && socket.is_readable && !socket.is_queued {
            socket.is_queued = true;
            self.readable.push(key);
        }
    }

    fn finish_connect(&mut self, key: SocketKey, completions: &mut Vec<Completion>) {
        self.counters.syscalls += 1;
        let socket = self.socket_mut(key);
        socket.is_connecting = false;
        let result = match socket.io.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        completions.push(Completion::Connected { key, result });
    }

    fn send_one(&mut self, key: SocketKey, completions: &mut Vec<Completion>) {
        let Some(socket) = self.sockets.get_mut(key.0 as usize) else {
            return;
        };
        if !socket.is_writable {
            return;
        }
        let Some(buf) = socket.send.take() else {
            return;
        };
        self.counters.syscalls += 1;
        let result = socket.io.send_with_flags(buf.filled(), libc::MSG_NOSIGNAL);
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            socket.is_writable = false;
            socket.send = Some(buf);
            return;
        }
        self.counters.sends += 1;
        self.counters.sent_bytes += *result.as_ref().unwrap_or(&0) as u64;
        completions.push(Completion::Sent { key, buf, result });
    }

    fn recv_some(&mut self, key: SocketKey, completions: &mut Vec<Completion>) {
        for _ in 0..RECVS_MAX {
            if self.leases_len == self.leases_max {
                self.counters.starved += 1;
                self.socket_mut(key).is_armed = false;
                return completions.push(Completion::RecvStarved { key });
            }
            let mut buf = self.pool.take();
            self.counters.syscalls += 1;
            let socket = &mut self.sockets[key.0 as usize];
            let result = (&socket.io).read(buf.spare_mut());
            let len = *result.as_ref().unwrap_or(&0);
            buf.fill(len);
            if len > 0 {
                // A short receive has emptied the socket (epoll(7)), unless its end is still to be
                // read.
                socket.is_readable = len == self.buf_len || socket.is_read_closed;
                self.leases_len += 1;
                self.counters.recvs += 1;
                self.counters.recv_bytes += len as u64;
                completions.push(Completion::Received {
                    key,
                    lease: Lease::from_buf(buf),
                    more: true,
                });
            } else {
                self.pool.give(buf);
                self.recv_ended(key, result, completions);
            }
            let socket = self.socket_mut(key);
            if !socket.is_armed || !socket.is_readable {
                return;
            }
        }
    }

    /// A receive that brought nothing: for now, or for ever.
    fn recv_ended(
        &mut self,
        key: SocketKey,
        result: io::Result<usize>,
        completions: &mut Vec<Completion>,
    ) {
        let socket = self.socket_mut(key);
        let end = match result {
            Ok(_) => Completion::Eof { key },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.is_readable = false;
                return;
            }
            Err(error) => Completion::RecvFailed { key, error },
        };
        socket.is_armed = false;
        completions.push(end);
    }

    fn accept_some(&mut self, listener: SocketKey, completions: &mut Vec<Completion>) {
        for _ in 0..ACCEPTS_MAX {
            self.counters.syscalls += 1;
            let socket = self.socket_mut(listener);
            let result = match socket::accept(&socket.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.is_readable = false;
                    return;
                }
                Ok((io, sockaddr)) => self.accepted(listener, io, &sockaddr),
                Err(error) => Err(error),
            };
            let is_failed = result.is_err();
            completions
                .push(result.unwrap_or_else(|error| Completion::AcceptFailed { listener, error }));
            if is_failed {
                self.socket_mut(listener).is_armed = false;
                return;
            }
        }
    }

    fn accepted(
        &mut self,
        listener: SocketKey,
        io: Socket,
        sockaddr: &SockAddr,
    ) -> io::Result<Completion> {
        let bound = self.sockets[listener.0 as usize].bound.as_ref();
        let local = socket::local(&SockRef::from(&io), bound, &mut self.counters.syscalls);
        let key = self.add_stream(io)?;
        self.socket_mut(key).local = local;
        Ok(Completion::Accepted {
            listener,
            key,
            peer: socket::peer(sockaddr),
        })
    }
}

impl EpollSocket {
    fn new(io: Socket) -> Self {
        Self {
            io,
            bound: None,
            local: None,
            send: None,
            is_connecting: false,
            is_armed: false,
            is_queued: false,
            is_readable: false,
            is_read_closed: false,
            // Until the kernel says otherwise: an unnecessary attempt is cheaper than a wait.
            is_writable: true,
        }
    }
}

/// What connect answers on a socket that does not block: the outcome comes later.
fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}
