use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::address::{Address, PeerAddress};
use super::backend::{
    self, Backend, BackendOptions, Completion, ListenOptions, SocketKey, SocketOptions,
};
use super::choice;
use super::events::{ConnId, Event, ListenerId, Stage};
use super::fifo::Fifos;
use super::io::Io;
use super::listener::{Listener, ListenerState};
use super::options::EngineOptions;
use super::relay::{self, RelayState, Relayed};
use super::slot::Slot;
use super::timer::Timers;
use super::waker::Waker;
use crate::buf::{BufPool, Pools};
use crate::conn::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::obrpc::Beginning;
use crate::limits;
use crate::time::{Monotonic, Now};
use crate::tls::{ClientConfig, Facts, ServerConfig, ServerName};

/// Connections and listeners of one thread, and the back end that moves their bytes.
///
/// A call with the id of a connection that is gone does nothing; what it returns is empty or zero.
pub struct Engine {
    pub(super) io: Io,
    pub(super) slots: Slab<Slot>,
    pub(super) listeners: Slab<Listener>,
    /// Whose the back end's keys are.
    pub(super) owners: Vec<Owner>,
    /// Connections that something happened to, or that have something to report.
    pub(super) dirty: Vec<u32>,
    /// Connections that found no receive buffer in this cycle, the one that waits longest first.
    pub(super) starved: Vec<u32>,
    /// Connections whose end has been reported, to be freed by the next cycle.
    pub(super) dead: Vec<u32>,
    pub(super) timers: Timers,
    /// When accepting is tried again, where it is paused.
    pub(super) accept_retry_at: Option<Monotonic>,
    /// Empty between the cycles; kept for its memory.
    pub(super) completions: Vec<Completion>,
    pub(super) counters: Counters,
    generation: u32,
    fallback_reason: Option<String>,
}

/// Whose a key of the back end is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    None,
    Conn(u32),
    Listener(u32),
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
    /// An explicit choice that this machine refuses is an error; [`BackendChoice::Auto`] takes the
    /// next one and keeps the reason for [`Engine::fallback_reason`].
    ///
    /// [`BackendChoice::Auto`]: super::BackendChoice::Auto
    pub fn new(options: &EngineOptions) -> Result<Self> {
        let backend_options = BackendOptions {
            recv_buf_len: options.recv_buf_len,
            recv_buf_count: options.recv_buf_count,
            queue_len: limits::BACKEND_QUEUE_LEN,
        };
        let (backend, fallback_reason) = choice::open(options.backend, &backend_options)?;
        Ok(Self {
            fallback_reason,
            ..Self::with_backend(backend, options)
        })
    }

    /// An engine on a back end that exists already.
    pub fn with_backend(backend: Box<dyn Backend>, options: &EngineOptions) -> Self {
        Self {
            io: Io {
                now: backend.now(),
                backend,
                pools: Pools::new(options.pool_free_max),
                backlog: BufPool::new(options.recv_buf_len, options.pool_free_max),
                chunks: Fifos::new(),
                own: options.own.clone(),
            },
            slots: Slab::new(),
            listeners: Slab::new(),
            owners: Vec::new(),
            dirty: Vec::new(),
            starved: Vec::new(),
            dead: Vec::new(),
            timers: Timers::default(),
            accept_retry_at: None,
            completions: Vec::new(),
            counters: Counters::default(),
            generation: 0,
            fallback_reason: None,
        }
    }

    /// Why the automatic choice did not take io_uring, where it did not.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// The name of the back end: `io_uring`, `epoll` or `sim`.
    pub fn backend_name(&self) -> &'static str {
        self.io.backend.name()
    }

    /// The back end, and what it switched on or off.
    pub fn describe(&self) -> String {
        self.io.backend.describe()
    }

    /// The time of the present cycle.
    pub fn now(&self) -> Now {
        self.io.now
    }

    /// Reads the clock within a cycle: whoever does other work between two waits calls it before
    /// what sets a deadline.
    pub fn update_now(&mut self) -> Now {
        self.io.now = self.io.backend.now();
        self.io.now
    }

    /// A descriptor that polls as readable where [`Engine::wait`] has something to do, to nest the
    /// engine in another loop, which waits for no longer than [`Engine::poll_timeout`]; none on a
    /// back end without a kernel.
    pub fn fd(&self) -> Option<RawFd> {
        self.io.backend.fd()
    }

    /// How long nothing is to be done unless the descriptor is readable; `None`: for ever.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if !self.dirty.is_empty() || self.io.backend.has_work() {
            return Some(Duration::ZERO);
        }
        self.shorten(None)
    }

    /// A handle by which other threads end a wait early.
    pub fn waker(&self) -> Waker {
        self.io.backend.waker()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        Counters {
            backend: self.io.backend.counters(),
            ..self.counters
        }
    }

    /// The memory of the engine's connections, which
    /// [`Connection::client`] needs.
    pub fn pools(&mut self) -> &mut Pools {
        &mut self.io.pools
    }

    /// Opens a listening socket and accepts on it from the next wait on.
    pub fn listen(&mut self, address: &Address, options: &ListenOptions) -> Result<ListenerId> {
        let key = self
            .io
            .backend
            .listen(address, options)
            .map_err(|error| Error::io(format_args!("listen on {address}"), &error))?;
        self.io.backend.accept(key);
        let generation = self.next_generation();
        let entry = self.listeners.vacant_entry();
        let id = ListenerId {
            index: entry.key() as u32,
            generation,
        };
        entry.insert(Listener {
            id,
            key,
            state: ListenerState::Accepting,
            is_redirected: options.is_redirected,
        });
        self.own(key, Owner::Listener(id.index));
        Ok(id)
    }

    /// The address a listener is bound to, which tells the port chosen for port 0.
    pub fn local_address(&self, id: ListenerId) -> Result<Address> {
        let listener = self
            .listeners
            .get(id.index as usize)
            .filter(|listener| listener.id == id)
            .ok_or_else(|| Error::new(ErrorKind::Misuse, "the listener is gone"))?;
        self.io
            .backend
            .local_address(listener.key)
            .map_err(|error| Error::io("ask for the address of a listener", &error))
    }

    /// Stops accepting. Connections that the kernel has accepted are still reported, then
    /// [`Event::Unlistened`].
    pub fn unlisten(&mut self, id: ListenerId) {
        let listener = self.listeners.get_mut(id.index as usize);
        let Some(listener) = listener.filter(|listener| listener.id == id) else {
            return;
        };
        if listener.state != ListenerState::Stopping {
            listener.state = ListenerState::Stopping;
            self.io.backend.accept_stop(listener.key);
        }
    }

    /// Opens a socket, connects it within `timeout`, and starts `conn` on it. `user_data` is the
    /// caller's own.
    pub fn connect(
        &mut self,
        to: &Address,
        conn: Connection,
        options: &SocketOptions,
        timeout: Duration,
        user_data: u64,
    ) -> Result<ConnId> {
        let key = self
            .io
            .backend
            .connect(to, options)
            .map_err(|error| Error::io(format_args!("connect to {to}"), &error))?;
        let peer = match to {
            Address::Ip(address) => PeerAddress::Ip(*address),
            Address::Unix(_) => PeerAddress::Unix,
        };
        let deadline = self.io.backend.now().monotonic.after(timeout);
        let slot = self.insert(key, peer);
        slot.connect(conn, user_data, deadline, options.is_recognized);
        let id = slot.id;
        self.touch(id.index);
        Ok(id)
    }

    /// Answers [`Event::Accepted`]: gives the socket its protocol. Nothing is received on it
    /// before.
    pub fn start(&mut self, id: ConnId, conn: Connection, user_data: u64) {
        self.with(id, |slot, io| slot.start(conn, user_data, io));
    }

    /// Begins TLS as the server of a plain connection that is in use. What was consumed was plain;
    /// everything after it, received already or not, belongs to TLS. [`Event::Connected`] tells
    /// once more, when the handshake is complete; where TLS cannot begin the connection fails.
    pub fn start_tls_server(&mut self, id: ConnId, config: &Arc<ServerConfig>) {
        self.with(id, |slot, io| {
            slot.start_tls(io, |conn, io| conn.start_tls_server(config, io.now));
        });
    }

    /// Begins TLS as the client of a plain connection, to the server that is to be known as `name`:
    /// the counterpart of [`Engine::start_tls_server`]. The ClientHello follows what was written.
    pub fn start_tls_client(
        &mut self,
        id: ConnId,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) {
        self.with(id, |slot, io| {
            slot.start_tls(io, |conn, io| {
                conn.start_tls_client(config, name, io.now, &mut io.pools)
            });
        });
    }

    /// Takes a connected stream socket and starts `conn` on it. On error the socket is closed.
    pub fn adopt(
        &mut self,
        fd: OwnedFd,
        conn: Connection,
        options: &SocketOptions,
        user_data: u64,
    ) -> Result<ConnId> {
        let doing = "take a socket";
        let address = socket2::SockRef::from(&fd.as_fd())
            .peer_addr()
            .map_err(|error| Error::io(doing, &error))?;
        let peer = address
            .as_socket()
            .map_or(PeerAddress::Unix, PeerAddress::Ip);
        let key = self
            .io
            .backend
            .adopt(fd, options)
            .map_err(|error| Error::io(doing, &error))?;
        let id = self.insert(key, peer).id;
        self.start(id, conn, user_data);
        Ok(id)
    }

    /// One cycle: submits what was asked for, waits once, feeds every connection that something
    /// happened to, and reports (`events` is cleared first).
    ///
    /// It waits for at most `timeout` (`None`: for ever) and no longer than up to the next
    /// deadline, and may come back without an event.
    pub fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<()> {
        self.cycle(timeout, events)
    }

    /// The next chunk of plaintext, at most one record's worth; empty where there is none.
    pub fn peek(&mut self, id: ConnId) -> &[u8] {
        self.slot(id)
            .map_or(&[], |slot| slot.plain(&self.io.chunks))
    }

    /// Drops the first `len` bytes of the chunk; where it is spent the next record is opened.
    pub fn consume(&mut self, id: ConnId, len: usize) {
        self.with(id, |slot, io| slot.consume(len, io));
    }

    /// Takes plaintext to send and says how much of it was taken: nothing while the connection is
    /// not in use, and less than given where its queue is full.
    pub fn write(&mut self, id: ConnId, data: &[u8]) -> usize {
        self.with(id, |slot, io| slot.write(data, io))
    }

    /// Moves plaintext from one connection to another until the source is empty or the sink is
    /// full. The only copy is the one into the sink's record. A connection is not relayed to
    /// itself: nothing moves.
    pub fn relay(&mut self, from: ConnId, to: ConnId) -> Relayed {
        self.relay_watched(from, to, |_| {})
    }

    /// The same, and shows `watch` what is moved, where it lies. None of it leaves before the next
    /// wait.
    pub fn relay_watched(&mut self, from: ConnId, to: ConnId, watch: impl FnMut(&[u8])) -> Relayed {
        let mut relayed = Relayed {
            bytes: 0,
            records: 0,
            state: RelayState::Drained,
        };
        if from == to || self.slot(from).is_none() {
            return relayed;
        }
        if self.slot(to).is_none() {
            relayed.state = RelayState::SinkFull;
            return relayed;
        }
        let (from, to) = (from.index, to.index);
        if let Some((source, sink)) = self.slots.get2_mut(from as usize, to as usize) {
            relayed = relay::relay(source, sink, &mut self.io, watch);
        }
        self.touch(from);
        self.touch(to);
        self.counters.relayed_records += relayed.records as u64;
        self.counters.relayed_bytes += relayed.bytes as u64;
        relayed
    }

    /// Whether [`Event::Readable`] is reported and bytes are received. While it is off the kernel's
    /// receive window fills, which stops the peer. A handshake goes on regardless.
    pub fn set_reading(&mut self, id: ConnId, on: bool) {
        self.with(id, |slot, _| slot.set_reading(on));
    }

    /// Ends this side's stream behind what is queued; the peer may still send. On a connection that
    /// is not in use yet it ends as soon as it begins.
    pub fn shutdown(&mut self, id: ConnId) {
        self.with(id, Slot::shutdown);
    }

    /// Ends the connection behind what is queued; what the peer still sends is dropped. It is given
    /// up where nothing moves for [`LINGER_MS`](crate::limits::LINGER_MS), with an error where
    /// something was left.
    pub fn close(&mut self, id: ConnId) {
        self.with(id, Slot::close);
    }

    /// Closes the socket at once, by a reset: the peer must not take it for an orderly end.
    pub fn abort(&mut self, id: ConnId) {
        self.with(id, Slot::abort);
    }

    /// Sets the connection's one timer, or takes it back; [`Event::Timer`] is reported once.
    pub fn set_timer(&mut self, id: ConnId, at: Option<Monotonic>) {
        self.with(id, |slot, _| slot.set_timer(at));
    }

    /// The caller's own word.
    pub fn user_data(&self, id: ConnId) -> u64 {
        self.slot(id).map_or(0, |slot| slot.user_data)
    }

    /// Replaces the caller's own word.
    pub fn set_user_data(&mut self, id: ConnId, user_data: u64) {
        self.with(id, |slot, _| slot.user_data = user_data);
    }

    /// The other end's address.
    pub fn peer(&self, id: ConnId) -> PeerAddress {
        self.slot(id).map_or(PeerAddress::Unix, |slot| slot.peer)
    }

    /// True where the other end of a connection that was redirected here is one that an engine has
    /// made which shares [`EngineOptions::own`], by [`SocketOptions::is_recognized`]. That is known
    /// when the first bytes have arrived.
    pub fn is_own(&self, id: ConnId) -> bool {
        self.slot(id).is_some_and(Slot::is_own)
    }

    /// The address that the peer of an accepted connection connected to, or a connection comes from
    /// that is recognized; none on a Unix socket.
    pub fn local(&self, id: ConnId) -> Option<SocketAddr> {
        let slot = self.slot(id)?;
        if slot.redirected_from.is_some() {
            return slot.redirected_from;
        }
        let key = slot.key()?;
        match self.io.backend.local_address(key) {
            Ok(Address::Ip(address)) => Some(address),
            _ => None,
        }
    }

    /// How far the connection has come; nothing once it is gone.
    pub fn stage(&self, id: ConnId) -> Option<Stage> {
        self.slot(id).map(Slot::stage)
    }

    /// What the TLS handshake agreed on, once it is complete.
    pub fn facts(&self, id: ConnId) -> Option<&Arc<Facts>> {
        self.slot(id)?.facts()
    }

    /// How a negotiated connection began, once that is known to its server end.
    pub fn beginning(&self, id: ConnId) -> Option<&Beginning> {
        self.slot(id)?.beginning()
    }

    /// When the connection's socket was connected; the time of its making before.
    pub fn opened_at(&self, id: ConnId) -> Monotonic {
        self.slot(id)
            .map_or(Monotonic::default(), |slot| slot.opened_at)
    }

    /// When bytes last arrived or were last taken by the kernel; the time of the connection's
    /// making before.
    pub fn last_activity(&self, id: ConnId) -> Monotonic {
        self.slot(id)
            .map_or(Monotonic::default(), |slot| slot.last_activity)
    }

    /// Bytes that wait to be taken by the kernel.
    pub fn queued(&self, id: ConnId) -> usize {
        self.slot(id).map_or(0, Slot::queued)
    }

    /// Number of connections whose [`Event::Closed`] has not been reported.
    pub fn conns_len(&self) -> usize {
        self.slots.len() - self.dead.len()
    }

    pub(super) fn insert(&mut self, key: SocketKey, peer: PeerAddress) -> &mut Slot {
        let generation = self.next_generation();
        let index = self.slots.vacant_key() as u32;
        self.own(key, Owner::Conn(index));
        let id = ConnId { index, generation };
        let now = self.io.now.monotonic;
        self.slots
            .vacant_entry()
            .insert(Slot::accepted(id, key, peer, now))
    }

    /// Has the connection visited by the next cycle.
    pub(super) fn touch(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push(index);
        }
    }

    fn with<T: Default>(&mut self, id: ConnId, act: impl FnOnce(&mut Slot, &mut Io) -> T) -> T {
        let slot = self.slots.get_mut(id.index as usize);
        let Some(slot) = slot.filter(|slot| slot.id == id) else {
            return T::default();
        };
        let result = act(slot, &mut self.io);
        self.touch(id.index);
        result
    }

    fn slot(&self, id: ConnId) -> Option<&Slot> {
        self.slots
            .get(id.index as usize)
            .filter(|slot| slot.id == id)
    }

    fn own(&mut self, key: SocketKey, owner: Owner) {
        let index = key.0 as usize;
        if self.owners.len() <= index {
            self.owners.resize(index + 1, Owner::None);
        }
        self.owners[index] = owner;
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }
}
