//! The back end on epoll, through mio.
//!
//! Completions are made of readiness: a socket is registered once, for both directions and
//! edge-triggered; what is known of its readiness is kept until the kernel says EAGAIN.

mod sockets;

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use mio::{Events, Poll, Token};
use socket2::Socket;

use self::sockets::Sockets;
use super::address::Address;
use super::backend::{
    Backend, BackendOptions, Completion, Counters, ListenOptions, SocketKey, SocketOptions,
};
use super::clock::Clock;
use super::lease::Lease;
use super::socket;
use super::waker::Waker;
use crate::buf::Buf;
use crate::error::{Error, Result};
use crate::time::Now;

/// The token of the waker, which no key reaches.
const WAKER: Token = Token(usize::MAX);

/// Sockets driven by one epoll instance.
pub struct EpollBackend {
    poll: Poll,
    events: Events,
    waker: Waker,
    sockets: Sockets,
    clock: Clock,
}

impl EpollBackend {
    /// Opens an epoll instance.
    ///
    /// # Errors
    ///
    /// Where the system has no descriptor or no memory left.
    pub fn new(options: &BackendOptions) -> Result<Self> {
        let doing = "open an epoll instance";
        let poll = Poll::new().map_err(|error| Error::io(doing, &error))?;
        let waker =
            mio::Waker::new(poll.registry(), WAKER).map_err(|error| Error::io(doing, &error))?;
        let registry = poll
            .registry()
            .try_clone()
            .map_err(|error| Error::io(doing, &error))?;
        Ok(Self {
            poll,
            events: Events::with_capacity(options.queue_len as usize),
            waker: Waker::from_mio(waker),
            sockets: Sockets::new(registry, options),
            clock: Clock::start(),
        })
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.sockets.counters.enters += 1;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }
}

impl Backend for EpollBackend {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn describe(&self) -> String {
        let (count, len) = self.sockets.lease_limits();
        format!("epoll: {count} receive buffers of {len} bytes")
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<SocketKey> {
        let syscalls = &mut self.sockets.counters.syscalls;
        let (socket, bound) = socket::listen(address, options, syscalls)?;
        self.sockets.add_listener(socket, bound)
    }

    fn local_address(&self, key: SocketKey) -> io::Result<Address> {
        (self.sockets.local_address(key)).ok_or_else(socket::unknown_address)
    }

    fn accept(&mut self, key: SocketKey) {
        self.sockets.arm(key);
    }

    fn accept_stop(&mut self, key: SocketKey) {
        self.sockets.accept_stop(key);
    }

    fn connect(&mut self, address: &Address, options: &SocketOptions) -> io::Result<SocketKey> {
        let syscalls = &mut self.sockets.counters.syscalls;
        let (socket, sockaddr) = socket::open(address, options, syscalls)?;
        self.sockets
            .connect(socket, &sockaddr, options.is_recognized)
    }

    fn adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> io::Result<SocketKey> {
        let socket = Socket::from(fd);
        socket::adopt(&socket, options, &mut self.sockets.counters.syscalls)?;
        self.sockets.add_stream(socket)
    }

    fn recv(&mut self, key: SocketKey) {
        self.sockets.arm(key);
    }

    fn recv_stop(&mut self, key: SocketKey) {
        self.sockets.recv_stop(key);
    }

    fn send(&mut self, key: SocketKey, buf: Buf) {
        self.sockets.send(key, buf);
    }

    fn shutdown(&mut self, key: SocketKey) {
        self.sockets.shutdown(key);
    }

    fn reset(&mut self, key: SocketKey) {
        self.sockets.reset(key);
    }

    fn close(&mut self, key: SocketKey) {
        self.sockets.close(key);
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let before = completions.len();
        self.sockets.report_ready(completions);
        self.sockets.send_queued(completions);
        let is_idle = completions.len() == before && !self.sockets.has_readable();
        self.poll(if is_idle {
            timeout
        } else {
            Some(Duration::ZERO)
        })?;
        // Taken out for the loop, since its events are borrowed from it.
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                WAKER if self.waker.take() => completions.push(Completion::Woken),
                WAKER => {}
                Token(key) => self
                    .sockets
                    .on_event(SocketKey(key as u32), event, completions),
            }
        }
        self.events = events;
        self.sockets.read_queued(completions);
        Ok(())
    }

    fn has_work(&self) -> bool {
        self.sockets.has_work()
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.poll.as_raw_fd())
    }

    fn recycle(&mut self, lease: Lease) {
        self.sockets.recycle(lease);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn counters(&self) -> Counters {
        self.sockets.counters
    }
}
