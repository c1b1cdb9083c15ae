//! The back end on io_uring.
//!
//! The only place of the engine with unsafe code. What the kernel may touch is owned by
//! [`UringBackend`] until its last completion: receive buffers by `BufRing`, the buffer of a send
//! and the address of a connect by their socket. `user_data` is an operation and a key, never a
//! pointer.
#![allow(unsafe_code)]

mod bufring;
mod complete;
mod probe;
mod ring;

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::{opcode, squeue, types};
use slab::Slab;
use socket2::{SockAddr, SockRef, Socket};

use self::bufring::BufRing;
pub(super) use self::bufring::RingBuf;
use self::ring::Ring;
use super::address::Address;
use super::backend::{
    Backend, BackendOptions, Completion, Counters, ListenOptions, SocketKey, SocketOptions,
};
use super::clock::Clock;
use super::lease::{Lease, Memory};
use super::socket;
use super::waker::Waker;
use crate::buf::Buf;
use crate::error::Result;
use crate::time::Now;

/// Slots of the table of registered files at most: 512 KiB of kernel memory. Sockets beyond it keep
/// their descriptors.
const FILES_LEN_MAX: u32 = 65_536;

/// The address that is none.
static NOWHERE: libc::sockaddr = libc::sockaddr {
    sa_family: libc::AF_UNSPEC as libc::sa_family_t,
    sa_data: [0; 14],
};

const NOWHERE_LEN: libc::socklen_t = size_of::<libc::sockaddr>() as libc::socklen_t;

/// Calls, of at most [`DRAIN_WAIT`] each, that the end of a back end waits for cancelled
/// operations.
const DRAIN_CALLS_MAX: u32 = 50;

/// The longest wait of one of them.
const DRAIN_WAIT: Duration = Duration::from_millis(100);

/// The operations, as they stand in the upper half of `user_data` above the key.
mod op {
    pub(super) const ACCEPT: u64 = 0;
    pub(super) const CANCEL: u64 = 1;
    pub(super) const CLOSE: u64 = 2;
    pub(super) const CONNECT: u64 = 3;
    pub(super) const RECV: u64 = 4;
    pub(super) const RESET: u64 = 5;
    pub(super) const SEND: u64 = 6;
    pub(super) const SHUTDOWN: u64 = 7;
    pub(super) const WAKE: u64 = 8;
}

/// Sockets driven by one io_uring.
///
/// It belongs to the thread that made it, which the kernel demands of a SINGLE_ISSUER ring.
pub struct UringBackend {
    // Fields are dropped in this order: the kernel lets go of the ring before memory is freed.
    ring: Ring,
    bufs: BufRing,
    sockets: Slab<UringSocket>,
    eventfd: Arc<File>,
    waker: Waker,
    /// Rung by the kernel when completions can be taken, once somebody asked for it: with
    /// DEFER_TASKRUN, whoever polls the ring itself is not woken.
    bell: OnceCell<File>,
    /// Completions that did not come through the ring.
    ready: Vec<Completion>,
    files_len: u32,
    setup_flags: &'static str,
    counters: Counters,
    clock: Clock,
}

/// One socket.
struct UringSocket {
    file: FileRef,
    /// Operations whose last completion is still to come.
    in_flight: u32,
    /// The accept of a listener, the receive of a stream.
    multishot: Multishot,
    send: Option<Buf>,
    /// Boxed, as the kernel reads it when the connect is submitted, by when the slab may have
    /// moved.
    connect_to: Option<Box<SockAddr>>,
    /// Where it listens.
    bound: Option<socket::Bound>,
    /// Where the peer of an accepted connection connected to; of a connection that is recognized,
    /// where it came from.
    local: Option<SocketAddr>,
    is_closing: bool,
}

/// How the kernel knows a socket.
enum FileRef {
    /// By its slot in the table of registered files, which is its key. No descriptor is in use.
    Registered(u32),
    /// By a descriptor: listeners, whose address and queue are asked for, connections that are
    /// recognized, whose address is, and what the table has no room for.
    Descriptor(OwnedFd),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Multishot {
    Idle,
    Armed,
    Stopping,
}

impl UringBackend {
    /// Sets a ring up for the calling thread.
    ///
    /// # Errors
    ///
    /// Where the machine forbids io_uring or its kernel lacks something: the text says which call
    /// was refused, and the probable cause.
    pub fn new(options: &BackendOptions) -> Result<Self> {
        let (ring, setup_flags) = probe::set_up(options.queue_len)?;
        let ring = Ring::new(ring);
        let bufs = BufRing::new(options.recv_buf_count, options.recv_buf_len)
            .map_err(|error| probe::refused("receive buffers", &error))?;
        let eventfd = eventfd().map_err(|error| probe::refused("eventfd", &error))?;
        let eventfd = Arc::new(eventfd);
        let mut backend = Self {
            ring,
            bufs,
            sockets: Slab::new(),
            waker: Waker::from_eventfd(Arc::clone(&eventfd)),
            eventfd,
            bell: OnceCell::new(),
            ready: Vec::new(),
            files_len: files_limit().min(FILES_LEN_MAX),
            setup_flags,
            counters: Counters::default(),
            clock: Clock::start(),
        };
        backend.register()?;
        backend.arm_waker();
        Ok(backend)
    }

    fn register(&self) -> Result<()> {
        let (submitter, bufs) = (self.ring.submitter(), &self.bufs);
        // SAFETY: the address is that of `count` entries in page-aligned memory, which `bufs` owns;
        // the ring is dropped before it.
        unsafe {
            submitter.register_buf_ring_with_flags(bufs.address(), bufs.count(), bufring::GROUP, 0)
        }
        .map_err(|error| probe::refused("IORING_REGISTER_PBUF_RING", &error))?;
        submitter
            .register_files_sparse(self.files_len)
            .map_err(|error| probe::refused("IORING_REGISTER_FILES2", &error))
    }

    /// Watches the eventfd. It is never read: each write is a completion of its own.
    fn arm_waker(&mut self) {
        let entry = opcode::PollAdd::new(types::Fd(self.eventfd.as_raw_fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(op::WAKE << 32);
        // SAFETY: the operation points to no memory.
        unsafe { self.ring.push(entry) };
    }

    /// Gives a socket its key, and a slot of the table in place of its descriptor.
    fn add_stream(&mut self, fd: OwnedFd) -> SocketKey {
        let slot = self.sockets.vacant_key() as u32;
        let file = match self.install(slot, &fd) {
            true => FileRef::Registered(slot),
            false => FileRef::Descriptor(fd),
        };
        self.add(UringSocket::new(file))
    }

    /// The same for an accepted connection. Where its peer connected to is asked before it has no
    /// descriptor any more.
    fn add_accepted(&mut self, listener: SocketKey, fd: OwnedFd) -> SocketKey {
        let bound = self.sockets[listener.0 as usize].bound.as_ref();
        let syscalls = &mut self.counters.syscalls;
        let local = socket::local(&SockRef::from(&fd), bound, syscalls);
        let key = self.add_stream(fd);
        self.socket_mut(key).local = local;
        key
    }

    fn install(&mut self, slot: u32, fd: &OwnedFd) -> bool {
        if slot >= self.files_len {
            return false;
        }
        // The update, and the close of the descriptor.
        self.counters.syscalls += 2;
        self.ring.install(slot, fd.as_raw_fd()).is_ok()
    }

    fn add(&mut self, socket: UringSocket) -> SocketKey {
        SocketKey(self.sockets.insert(socket) as u32)
    }

    fn socket_mut(&mut self, key: SocketKey) -> &mut UringSocket {
        &mut self.sockets[key.0 as usize]
    }

    /// Queues an operation on the file of a socket.
    fn submit(&mut self, key: SocketKey, op: u64, entry: squeue::Entry) {
        let socket = self.socket_mut(key);
        socket.in_flight += 1;
        let flags = match socket.file {
            FileRef::Registered(_) => squeue::Flags::FIXED_FILE,
            FileRef::Descriptor(_) => squeue::Flags::empty(),
        };
        self.push(key, op, entry.flags(flags));
    }

    /// Queues an operation that is about a socket, but not on its file.
    fn submit_about(&mut self, key: SocketKey, op: u64, entry: squeue::Entry) {
        self.socket_mut(key).in_flight += 1;
        self.push(key, op, entry);
    }

    fn push(&mut self, key: SocketKey, op: u64, entry: squeue::Entry) {
        let entry = entry.user_data(user_data(key, op));
        // SAFETY: a send points into `send` of its socket and a connect into `connect_to`, boxes
        // both, which stay there until the completion, a reset to a static; no other operation in
        // use points to memory of this process.
        unsafe { self.ring.push(entry) };
    }

    /// Cancels the multishot of a socket.
    fn cancel(&mut self, key: SocketKey, op: u64) {
        self.socket_mut(key).multishot = Multishot::Stopping;
        let target = types::CancelBuilder::user_data(user_data(key, op));
        self.submit_about(key, op::CANCEL, opcode::AsyncCancel2::new(target).build());
    }

    /// Accepts what the kernel has completed, of a listener that has stopped.
    fn empty_queue(&mut self, listener: SocketKey, completions: &mut Vec<Completion>) {
        let FileRef::Descriptor(fd) = &self.sockets[listener.0 as usize].file else {
            return;
        };
        let syscalls = &mut self.counters.syscalls;
        let (streams, result) = socket::empty_queue(&SockRef::from(fd), syscalls);
        for (stream, sockaddr) in streams {
            let key = self.add_accepted(listener, stream.into());
            let peer = socket::peer(&sockaddr);
            completions.push(Completion::Accepted {
                listener,
                key,
                peer,
            });
        }
        if let Err(error) = result {
            completions.push(Completion::AcceptFailed { listener, error });
        }
        completions.push(Completion::AcceptStopped { listener });
    }
}

impl Backend for UringBackend {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn describe(&self) -> String {
        let registered = match self.ring.is_registered() {
            true => ", registered ring",
            false => "",
        };
        format!(
            "io_uring: {}{registered}, {} registered files, {} receive buffers of {} bytes",
            self.setup_flags,
            self.files_len,
            self.bufs.count(),
            self.bufs.buf_len(),
        )
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<SocketKey> {
        let syscalls = &mut self.counters.syscalls;
        let (socket, bound) = socket::listen(address, options, syscalls)?;
        let mut socket = UringSocket::new(FileRef::Descriptor(socket.into()));
        socket.bound = Some(bound);
        Ok(self.add(socket))
    }

    fn local_address(&self, key: SocketKey) -> io::Result<Address> {
        let socket = &self.sockets[key.0 as usize];
        let bound = socket.bound.as_ref().map(|bound| bound.address.clone());
        let local = || socket.local.map(Address::Ip);
        bound.or_else(local).ok_or_else(socket::unknown_address)
    }

    fn accept(&mut self, key: SocketKey) {
        let socket = self.socket_mut(key);
        socket.multishot = Multishot::Armed;
        let entry = opcode::AcceptMulti::new(socket.fd())
            .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
            .build();
        self.submit(key, op::ACCEPT, entry);
    }

    fn accept_stop(&mut self, key: SocketKey) {
        if self.socket_mut(key).multishot == Multishot::Armed {
            return self.cancel(key, op::ACCEPT);
        }
        let mut ready = mem::take(&mut self.ready);
        self.empty_queue(key, &mut ready);
        self.ready = ready;
    }

    fn connect(&mut self, address: &Address, options: &SocketOptions) -> io::Result<SocketKey> {
        let syscalls = &mut self.counters.syscalls;
        let (stream, sockaddr) = socket::open(address, options, syscalls)?;
        let key = match options.is_recognized {
            true => self.add(UringSocket::new(FileRef::Descriptor(stream.into()))),
            false => self.add_stream(stream.into()),
        };
        let socket = self.socket_mut(key);
        let fd = socket.fd();
        let sockaddr = socket.connect_to.insert(Box::new(sockaddr));
        let entry = opcode::Connect::new(fd, sockaddr.as_ptr().cast(), sockaddr.len()).build();
        self.submit(key, op::CONNECT, entry);
        Ok(key)
    }

    fn adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> io::Result<SocketKey> {
        let socket = Socket::from(fd);
        socket::adopt(&socket, options, &mut self.counters.syscalls)?;
        Ok(self.add_stream(socket.into()))
    }

    fn recv(&mut self, key: SocketKey) {
        let socket = self.socket_mut(key);
        debug_assert!(socket.multishot == Multishot::Idle, "armed twice");
        socket.multishot = Multishot::Armed;
        let entry = opcode::RecvMulti::new(socket.fd(), bufring::GROUP).build();
        self.submit(key, op::RECV, entry);
    }

    fn recv_stop(&mut self, key: SocketKey) {
        debug_assert!(
            self.socket_mut(key).multishot == Multishot::Armed,
            "not armed"
        );
        self.cancel(key, op::RECV);
    }

    fn send(&mut self, key: SocketKey, buf: Buf) {
        let socket = self.socket_mut(key);
        assert!(socket.send.is_none(), "one send at a time");
        let fd = socket.fd();
        let bytes = socket.send.insert(buf).filled();
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(fd, bytes.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        self.submit(key, op::SEND, entry);
    }

    fn shutdown(&mut self, key: SocketKey) {
        let fd = self.socket_mut(key).fd();
        let entry = opcode::Shutdown::new(fd, libc::SHUT_WR).build();
        self.submit(key, op::SHUTDOWN, entry);
    }

    fn reset(&mut self, key: SocketKey) {
        // Connecting a socket to no address (AF_UNSPEC) breaks its connection, connect(2): a
        // registered file has no descriptor on which SO_LINGER could be set.
        let fd = self.socket_mut(key).fd();
        let entry = opcode::Connect::new(fd, (&raw const NOWHERE).cast(), NOWHERE_LEN).build();
        self.submit(key, op::RESET, entry);
    }

    fn close(&mut self, key: SocketKey) {
        let socket = self.socket_mut(key);
        assert!(!socket.is_closing, "closed twice");
        socket.is_closing = true;
        let (target, slot) = match &socket.file {
            FileRef::Registered(slot) => {
                let slot = types::Fixed(*slot);
                (types::CancelBuilder::fd(slot), Some(slot))
            }
            FileRef::Descriptor(fd) => (types::CancelBuilder::fd(types::Fd(fd.as_raw_fd())), None),
        };
        let cancel = opcode::AsyncCancel2::new(target.all()).build();
        self.submit_about(key, op::CANCEL, cancel);
        // Behind the cancellation, which finds its file by the slot. What is still under way holds
        // the file itself. A descriptor is closed with the last completion.
        if let Some(slot) = slot {
            self.submit_about(key, op::CLOSE, opcode::Close::new(slot).build());
        }
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let may_wait = self.ready.is_empty() && timeout != Some(Duration::ZERO);
        completions.append(&mut self.ready);
        self.bufs.publish();
        if let Some(bell) = self.bell.get() {
            // Before completions are taken: what comes later has to be heard.
            let _ = (&*bell).read(&mut [0; 8]);
        }
        let want = u32::from(may_wait);
        self.ring.enter(want, timeout)?;
        while let Some(cqe) = self.ring.pop() {
            self.complete(&cqe, completions);
        }
        Ok(())
    }

    fn has_work(&self) -> bool {
        let is_asked = self.ring.has_queued() || self.bufs.has_unpublished();
        is_asked || !self.ready.is_empty() || self.ring.has_completions()
    }

    fn fd(&self) -> Option<RawFd> {
        if self.bell.get().is_none() {
            let bell = eventfd().ok()?;
            let submitter = self.ring.submitter();
            submitter.register_eventfd(bell.as_raw_fd()).ok()?;
            let _ = self.bell.set(bell);
        }
        self.bell.get().map(AsRawFd::as_raw_fd)
    }

    fn recycle(&mut self, lease: Lease) {
        if let Memory::Ring(buf) = lease.into_memory() {
            self.bufs.recycle(&buf);
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn counters(&self) -> Counters {
        Counters {
            enters: self.ring.enters(),
            ..self.counters
        }
    }
}

impl Drop for UringBackend {
    fn drop(&mut self) {
        let open = self.sockets.iter().filter(|(_, socket)| !socket.is_closing);
        let keys = open
            .map(|(key, _)| SocketKey(key as u32))
            .collect::<Vec<_>>();
        keys.into_iter().for_each(|key| self.close(key));
        let mut completions = Vec::new();
        for _ in 0..DRAIN_CALLS_MAX {
            if self.sockets.is_empty() || self.wait(Some(DRAIN_WAIT), &mut completions).is_err() {
                break;
            }
            completions.clear();
        }
        // Memory that the kernel may still use is better lost than freed.
        if !self.sockets.is_empty() {
            mem::forget(mem::take(&mut self.sockets));
            self.bufs.leak();
        }
    }
}

impl UringSocket {
    fn new(file: FileRef) -> Self {
        Self {
            file,
            in_flight: 0,
            multishot: Multishot::Idle,
            send: None,
            connect_to: None,
            bound: None,
            local: None,
            is_closing: false,
        }
    }

    /// What stands for the file in an operation: a descriptor, or with FIXED_FILE a slot.
    fn fd(&self) -> types::Fd {
        match &self.file {
            FileRef::Registered(slot) => types::Fd(*slot as i32),
            FileRef::Descriptor(fd) => types::Fd(fd.as_raw_fd()),
        }
    }
}

fn user_data(key: SocketKey, op: u64) -> u64 {
    op << 32 | u64::from(key.0)
}

/// The number of descriptors that this process may have, which also bounds the table of registered
/// files.
fn files_limit() -> u32 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is what the call writes to.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    u32::try_from(limit.rlim_cur).unwrap_or(u32::MAX)
}

fn eventfd() -> io::Result<File> {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel just made is no one else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
