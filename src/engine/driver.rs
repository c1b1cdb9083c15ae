use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, PeerAddress};
use super::backend::{self, Backend, ListenOptions, SocketOptions};
use super::events::{ConnId, Event, ListenerId};
use super::options::EngineOptions;
use super::relay::{RelayState, Relayed};
use super::waker::Waker;
use crate::conn::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Monotonic, Now};
use crate::tls::Facts;

/// Connections and listeners of one thread, and the back end that moves their bytes.
pub struct Engine {
    backend: Box<dyn Backend>,
    now: Now,
}

/// What an engine counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What its back end counted.
    pub backend: backend::Counters,
    /// Calls of [`Engine::wait`].
    pub cycles: u64,
    /// Events reported.
    pub events: u64,
    /// Records moved by [`Engine::relay`].
    pub relayed_records: u64,
    /// Plaintext bytes moved by [`Engine::relay`].
    pub relayed_bytes: u64,
}

impl Engine {
    /// An engine on the back end that `options` choose.
    ///
    /// An explicit choice that this machine refuses is an error; [`BackendChoice::Auto`] takes the next one and
    /// keeps the reason for [`Engine::fallback_reason`].
    ///
    /// [`BackendChoice::Auto`]: super::BackendChoice::Auto
    pub fn new(options: &EngineOptions) -> Result<Self> {
        let _ = options;
        Err(Error::new(ErrorKind::Config, "no back end"))
    }

    /// An engine on a back end that exists already.
    pub fn with_backend(backend: Box<dyn Backend>, options: &EngineOptions) -> Self {
        let _ = options;
        let now = backend.now();
        Self { backend, now }
    }

    /// Why the automatic choice did not take io_uring, where it did not.
    pub fn fallback_reason(&self) -> Option<&str> {
        None
    }

    /// The back end, and what it switched on or off.
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// The time of the present cycle.
    pub fn now(&self) -> Now {
        self.now
    }

    /// A handle by which other threads end a wait early.
    pub fn waker(&self) -> Waker {
        self.backend.waker()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Opens a listening socket and accepts on it from the next wait on.
    pub fn listen(&mut self, address: &Address, options: &ListenOptions) -> Result<ListenerId> {
        let _ = (address, options);
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// The address a listener is bound to, which tells the port chosen for port 0.
    pub fn local_address(&self, id: ListenerId) -> Result<Address> {
        let _ = id;
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Stops accepting. Connections that the kernel has accepted are still reported, then
    /// [`Event::Unlistened`].
    pub fn unlisten(&mut self, id: ListenerId) {
        let _ = id;
    }

    /// Opens a socket, connects it within `timeout`, and starts `conn` on it. `user_data` is the caller's own.
    pub fn connect(
        &mut self,
        to: &Address,
        conn: Connection,
        options: &SocketOptions,
        timeout: Duration,
        user_data: u64,
    ) -> Result<ConnId> {
        let _ = (to, conn, options, timeout, user_data);
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Answers [`Event::Accepted`]: gives the socket its protocol. Nothing is received on it before.
    pub fn start(&mut self, id: ConnId, conn: Connection, user_data: u64) {
        let _ = (id, conn, user_data);
    }

    /// Takes a connected stream socket and starts `conn` on it. On error the socket is closed.
    pub fn adopt(
        &mut self,
        fd: OwnedFd,
        conn: Connection,
        options: &SocketOptions,
        user_data: u64,
    ) -> Result<ConnId> {
        let _ = (fd, conn, options, user_data);
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// One cycle: submits what was asked for, waits once, feeds every connection that something happened to,
    /// and reports (`events` is cleared first).
    ///
    /// It waits for at most `timeout` (`None`: for ever) and no longer than up to the next deadline, and may
    /// come back without an event.
    pub fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<()> {
        let _ = timeout;
        events.clear();
        Ok(())
    }

    /// The next chunk of plaintext, at most one record's worth; empty where there is none.
    pub fn peek(&mut self, id: ConnId) -> &[u8] {
        let _ = id;
        &[]
    }

    /// Drops the first `len` bytes of the chunk; where it is spent the next record is opened.
    pub fn consume(&mut self, id: ConnId, len: usize) {
        let _ = (id, len);
    }

    /// Takes plaintext to send and says how much of it was taken: nothing while the connection is not in use,
    /// and less than given where its queue is full.
    pub fn write(&mut self, id: ConnId, data: &[u8]) -> usize {
        let _ = (id, data);
        0
    }

    /// Moves plaintext from one connection to another until the source is empty or the sink is full. The only
    /// copy is the one into the sink's record.
    pub fn relay(&mut self, from: ConnId, to: ConnId) -> Relayed {
        let _ = (from, to);
        Relayed {
            bytes: 0,
            records: 0,
            state: RelayState::Drained,
        }
    }

    /// Whether [`Event::Readable`] is reported and bytes are received. While it is off the kernel's receive
    /// window fills, which stops the peer.
    pub fn set_reading(&mut self, id: ConnId, on: bool) {
        let _ = (id, on);
    }

    /// Ends this side's stream behind what is queued; the peer may still send.
    pub fn shutdown(&mut self, id: ConnId) {
        let _ = id;
    }

    /// Ends the connection behind what is queued; what the peer still sends is dropped.
    pub fn close(&mut self, id: ConnId) {
        let _ = id;
    }

    /// Closes the socket at once.
    pub fn abort(&mut self, id: ConnId) {
        let _ = id;
    }

    /// Sets the connection's one timer, or takes it back; [`Event::Timer`] is reported once.
    pub fn set_timer(&mut self, id: ConnId, at: Option<Monotonic>) {
        let _ = (id, at);
    }

    /// The caller's own word.
    pub fn user_data(&self, id: ConnId) -> u64 {
        let _ = id;
        0
    }

    /// Replaces the caller's own word.
    pub fn set_user_data(&mut self, id: ConnId, user_data: u64) {
        let _ = (id, user_data);
    }

    /// The other end's address.
    pub fn peer(&self, id: ConnId) -> PeerAddress {
        let _ = id;
        PeerAddress::Unix
    }

    /// What the TLS handshake agreed on, once it is complete.
    pub fn facts(&self, id: ConnId) -> Option<&Arc<Facts>> {
        let _ = id;
        None
    }

    /// When bytes last arrived or were last taken by the kernel; the time of the connection's making before.
    pub fn last_activity(&self, id: ConnId) -> Monotonic {
        let _ = id;
        self.now.monotonic
    }

    /// Bytes that wait to be taken by the kernel.
    pub fn queued(&self, id: ConnId) -> usize {
        let _ = id;
        0
    }

    /// Number of connections whose [`Event::Closed`] has not been reported.
    pub fn conns_len(&self) -> usize {
        0
    }
}
