//! An engine, as the handles of it, of its connections and of its listeners share it. They may be
//! freed in any order.

use std::cell::{RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::event::sealwire_event;
use super::event::sealwire_event_kind::{self, *};
use super::listener::sealwire_listener;
use crate::conn::Connection;
use crate::engine::{Address, ConnId, Engine, Event, ListenOptions, ListenerId, PeerAddress};
use crate::error::Error;
use crate::ffi::config::{Config, Ends};
use crate::ffi::conn::{self, Role, sealwire_conn};
use crate::ffi::pointer::OutSlice;
use crate::ffi::result::Failure;
use crate::ffi::result::sealwire_result::{self, *};
use crate::frame::obrpc::Then;
use crate::tls::Facts;

pub(in crate::ffi) type Shared = Rc<RefCell<Core>>;

/// The engine, and what its handles know of each other.
pub(in crate::ffi) struct Core {
    /// None once its handle was freed.
    engine: Option<Engine>,
    /// By the word that the engine keeps of each connection.
    conns: Slab<Driving>,
    listeners: HashMap<ListenerId, Listening>,
    /// What happened and was not told yet.
    happened: VecDeque<Event>,
    /// Connections whose peer has ended and whose reader does not know yet.
    ended: Vec<usize>,
    /// Empty between two waits; kept for its memory.
    events: Vec<Event>,
    /// Why the engine's last failed call did, or it paused accepting.
    pub(super) error: Option<Error>,
}

/// One connection of the engine, from its start until both its handle was freed and the engine has
/// ended it.
pub(in crate::ffi) struct Driving {
    pub(in crate::ffi) id: ConnId,
    pub(in crate::ffi) peer: PeerAddress,
    /// True until TLS begins on a connection that began without.
    pub(in crate::ffi) is_plain: bool,
    pub(in crate::ffi) is_reading: bool,
    /// NULL once it was freed.
    handle: *const sealwire_conn,
    is_shutdown: bool,
    peer_end: PeerEnd,
    /// Set when the engine has ended it: why, where not in order.
    closed: Option<Result<(), Error>>,
    /// Kept when the engine has ended it.
    facts: Option<Arc<Facts>>,
    /// Likewise, of a negotiation.
    then: Option<Then>,
}

/// How far the clean end of the peer's stream has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PeerEnd {
    None,
    Unread,
    Read,
}

/// One listener of the engine, from its start to its last event.
struct Listening {
    /// NULL once it was freed.
    handle: *const sealwire_listener,
    config: Option<Arc<Config>>,
    is_plain_first: bool,
    user_data: *mut c_void,
}

/// What a listener is opened with.
pub(super) struct Listen<'a> {
    pub(super) address: &'a Address,
    pub(super) options: ListenOptions,
    pub(super) config: Option<Arc<Config>>,
    pub(super) is_plain_first: bool,
    pub(super) user_data: *mut c_void,
}

/// The engine and its handles' state, unless a call on it is under way, from which this one was
/// made by a callback.
pub(in crate::ffi) fn core(shared: &Shared) -> Result<RefMut<'_, Core>, Failure> {
    let text = "the engine is in use by the call that this one was made from";
    let core = shared.try_borrow_mut();
    core.map_err(|_| Failure::caller(SEALWIRE_ERR_THREAD, text))
}

impl Core {
    pub(super) fn new(engine: Engine) -> Shared {
        Rc::new(RefCell::new(Self {
            engine: Some(engine),
            conns: Slab::new(),
            listeners: HashMap::new(),
            happened: VecDeque::new(),
            ended: Vec::new(),
            events: Vec::new(),
            error: None,
        }))
    }

    pub(super) fn engine(&mut self) -> Result<&mut Engine, Failure> {
        self.engine.as_mut().ok_or_else(engine_freed)
    }

    /// Takes the engine away from all that are left.
    pub(super) fn take_engine(&mut self) -> Option<Engine> {
        self.happened.clear();
        self.engine.take()
    }

    /// The engine, and what is known of one of its connections.
    pub(in crate::ffi) fn parts(
        &mut self,
        key: usize,
    ) -> Result<(&mut Engine, &mut Driving), Failure> {
        let engine = self.engine.as_mut().ok_or_else(engine_freed)?;
        Ok((engine, &mut self.conns[key]))
    }

    /// Has `start` begin a connection, which is then known by the key that is returned.
    pub(in crate::ffi) fn attach(
        &mut self,
        role: &Role,
        is_plain_first: bool,
        start: impl FnOnce(&mut Engine, Connection, u64) -> Result<ConnId, Error>,
    ) -> Result<usize, Failure> {
        let engine = self.engine.as_mut().ok_or_else(engine_freed)?;
        let now = engine.update_now();
        let conn = role.begin(is_plain_first, now, engine.pools())?;
        let entry = self.conns.vacant_entry();
        let key = entry.key();
        let id = start(engine, conn, key as u64)?;
        let is_plain = is_plain_first || matches!(role, Role::Plain);
        entry.insert(Driving {
            id,
            peer: engine.peer(id),
            is_plain,
            is_reading: true,
            handle: ptr::null(),
            is_shutdown: false,
            peer_end: PeerEnd::None,
            closed: None,
            facts: None,
            then: None,
        });
        Ok(key)
    }

    /// Makes known which handle the connection is reached by.
    pub(in crate::ffi) fn set_handle(&mut self, key: usize, handle: *const sealwire_conn) {
        self.conns[key].handle = handle;
    }

    /// What the handshake agreed on, also of a connection that has ended.
    pub(in crate::ffi) fn facts(&self, key: usize) -> Option<Arc<Facts>> {
        let conn = &self.conns[key];
        let live = self.engine.as_ref();
        let live = live.and_then(|engine| engine.facts(conn.id).cloned());
        live.or_else(|| conn.facts.clone())
    }

    /// Ends a connection whose handle is being freed: behind what is queued where it was shut down,
    /// else at once.
    pub(in crate::ffi) fn release(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        let Some(engine) = self.engine.as_mut().filter(|_| conn.closed.is_none()) else {
            self.conns.remove(key);
            return;
        };
        conn.handle = ptr::null();
        engine.update_now();
        match conn.is_shutdown {
            true => engine.close(conn.id),
            false => engine.abort(conn.id),
        }
    }

    pub(super) fn listen(&mut self, listen: Listen<'_>) -> Result<(ListenerId, Address), Failure> {
        let engine = self.engine()?;
        let id = engine.listen(listen.address, &listen.options)?;
        let address = engine.local_address(id)?;
        let listening = Listening {
            handle: ptr::null(),
            config: listen.config,
            is_plain_first: listen.is_plain_first,
            user_data: listen.user_data,
        };
        self.listeners.insert(id, listening);
        Ok((id, address))
    }

    /// Makes known which handle the listener is reached by.
    pub(super) fn set_listener(&mut self, id: ListenerId, handle: *const sealwire_listener) {
        if let Some(listening) = self.listeners.get_mut(&id) {
            listening.handle = handle;
        }
    }

    /// Stops the listener whose handle is being freed.
    pub(super) fn unlisten(&mut self, id: ListenerId) {
        self.set_listener(id, ptr::null());
        if let Some(engine) = &mut self.engine {
            engine.unlisten(id);
        }
    }

    /// Waits until something happens, for at most `timeout`, and tells as much of it as there is
    /// room for. The rest is told by the next call.
    pub(super) fn wait(
        &mut self,
        shared: &Shared,
        timeout: Option<Duration>,
        events: &mut OutSlice<sealwire_event>,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut is_last = false;
        loop {
            self.tell(shared, events)?;
            if events.len() > 0 || is_last {
                return Ok(());
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
            is_last = left == Some(Duration::ZERO);
            self.gather(left)?;
        }
    }

    /// How long nothing is to be done unless the engine's descriptor is readable; `None`: for ever.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match &self.engine {
            Some(engine) if self.happened.is_empty() && !self.has_end_to_tell() => {
                engine.poll_timeout()
            }
            _ => Some(Duration::ZERO),
        }
    }

    /// One cycle of the engine.
    fn gather(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        let timeout = match self.has_end_to_tell() {
            true => Some(Duration::ZERO),
            false => timeout,
        };
        let engine = self.engine.as_mut().ok_or_else(engine_freed)?;
        engine.wait(timeout, &mut self.events)?;
        for event in self.events.drain(..) {
            let Event::PeerClosed { id } = event else {
                self.happened.push_back(event);
                continue;
            };
            if let Some(key) = key_of(engine, &self.conns, id) {
                self.conns[key].handle_peer_end(engine);
                self.ended.push(key);
            }
        }
        let conns = &self.conns;
        self.ended
            .retain(|key| conns.get(*key).is_some_and(Driving::has_unread_end));
        let ends = self.ended.iter().filter(|key| conns[**key].is_reading);
        let ends = ends.map(|key| Event::Readable { id: conns[*key].id });
        self.happened.extend(ends);
        Ok(())
    }

    fn has_end_to_tell(&self) -> bool {
        let mut ended = self.ended.iter().filter_map(|key| self.conns.get(*key));
        ended.any(|conn| conn.has_unread_end() && conn.is_reading)
    }

    /// Tells what happened, as far as there is room.
    fn tell(
        &mut self,
        shared: &Shared,
        events: &mut OutSlice<sealwire_event>,
    ) -> Result<(), Failure> {
        while events.has_room()
            && let Some(event) = self.happened.pop_front()
        {
            if let Some(event) = self.event(shared, event)? {
                events.push(event);
            }
        }
        Ok(())
    }

    /// An event as the caller gets it; nothing where it is no longer so, or nobody is left to hear
    /// it.
    fn event(&mut self, shared: &Shared, event: Event) -> Result<Option<sealwire_event>, Failure> {
        Ok(match event {
            Event::Accepted { listener, id, .. } => Some(self.accepted(shared, listener, id)?),
            Event::Connected { id } => self.conn_event(SEALWIRE_EVENT_READY, id),
            Event::Readable { id } => self.readable(id),
            Event::Writable { id } => self.conn_event(SEALWIRE_EVENT_WRITABLE, id),
            Event::Closed { id, error, .. } => self.closed(id, error),
            Event::Unlistened { listener } => {
                let event = self.listener_event(SEALWIRE_EVENT_UNLISTENED, listener);
                self.listeners.remove(&listener);
                Some(event)
            }
            Event::AcceptPaused { listener, error } => Some(self.accept_paused(listener, error)),
            Event::AcceptResumed { listener } => {
                Some(self.listener_event(SEALWIRE_EVENT_ACCEPT_RESUMED, listener))
            }
            Event::Woken => Some(sealwire_event::new(SEALWIRE_EVENT_WOKEN)),
            // The one is gathered apart, the other is never asked for.
            Event::PeerClosed { .. } | Event::Timer { .. } => None,
        })
    }

    /// Begins an accepted connection, and makes its handle.
    fn accepted(
        &mut self,
        shared: &Shared,
        listener: ListenerId,
        id: ConnId,
    ) -> Result<sealwire_event, Failure> {
        let mut event = self.listener_event(SEALWIRE_EVENT_ACCEPTED, listener);
        let listening = self.listeners.get(&listener);
        let is_plain_first = listening.is_some_and(|listening| listening.is_plain_first);
        let config = listening.and_then(|listening| listening.config.as_ref());
        let (role, accounts) = match config.map(|config| config.current()) {
            Some(Ends::Server { config, accounts }) => (Role::Server { config }, accounts),
            _ => (Role::Plain, None),
        };
        let key = self.attach(&role, is_plain_first, |engine, conn, key| {
            engine.start(id, conn, key);
            Ok(id)
        })?;
        let handle = conn::accepted(shared, key, role, accounts);
        self.set_handle(key, handle);
        event.conn = handle;
        Ok(event)
    }

    fn readable(&mut self, id: ConnId) -> Option<sealwire_event> {
        let mut event = self.conn_event(SEALWIRE_EVENT_READABLE, id)?;
        let engine = self.engine.as_mut()?;
        let conn = &self.conns[key_of(engine, &self.conns, id)?];
        let len = engine.peek(id).len();
        event.bytes = len as u64;
        (conn.is_reading && (len > 0 || conn.has_unread_end())).then_some(event)
    }

    fn closed(&mut self, id: ConnId, error: Option<Error>) -> Option<sealwire_event> {
        let event = self.conn_event(SEALWIRE_EVENT_CLOSED, id);
        let engine = self.engine.as_mut()?;
        let key = key_of(engine, &self.conns, id)?;
        let Some(mut event) = event else {
            self.conns.remove(key);
            return None;
        };
        let conn = &mut self.conns[key];
        conn.facts = engine.facts(id).cloned();
        conn.then = conn.then(engine);
        conn.closed = Some(error.clone().map_or(Ok(()), Err));
        if let Some(error) = error {
            event.result = Failure::from(error.clone()).code;
            conn::keep(conn.handle, error);
        }
        Some(event)
    }

    fn accept_paused(&mut self, listener: ListenerId, error: Error) -> sealwire_event {
        let mut event = self.listener_event(SEALWIRE_EVENT_ACCEPT_PAUSED, listener);
        event.result = Failure::from(error.clone()).code;
        self.error = Some(error);
        event
    }

    /// An event of a connection whose handle was not freed.
    fn conn_event(&self, kind: sealwire_event_kind, id: ConnId) -> Option<sealwire_event> {
        let engine = self.engine.as_ref()?;
        let conn = &self.conns[key_of(engine, &self.conns, id)?];
        if conn.handle.is_null() {
            return None;
        }
        Some(sealwire_event {
            conn: conn.handle.cast_mut(),
            user_data: conn::user_data(conn.handle),
            ..sealwire_event::new(kind)
        })
    }

    fn listener_event(&self, kind: sealwire_event_kind, id: ListenerId) -> sealwire_event {
        let mut event = sealwire_event::new(kind);
        if let Some(listening) = self.listeners.get(&id) {
            event.listener = listening.handle.cast_mut();
            event.user_data = listening.user_data;
        }
        event
    }
}

impl Driving {
    pub(in crate::ffi) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// What followed the negotiation of a server's connection, also of one that has ended.
    pub(in crate::ffi) fn then(&self, engine: &Engine) -> Option<Then> {
        let beginning = engine.beginning(self.id);
        beginning.map(|beginning| beginning.then).or(self.then)
    }

    /// True while the peer may still send.
    pub(in crate::ffi) fn is_receiving(&self) -> bool {
        !self.is_closed() && self.peer_end == PeerEnd::None
    }

    /// The error that ended the connection.
    pub(in crate::ffi) fn check_unfailed(&self) -> Result<(), Failure> {
        match &self.closed {
            Some(Err(error)) => Err(error.clone().into()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// An error where nothing can be sent any more.
    pub(in crate::ffi) fn check_open(&self) -> Result<(), Failure> {
        self.check_unfailed()?;
        match self.is_shutdown || self.is_closed() {
            true => Err(Failure::state("this side of the connection has ended")),
            false => Ok(()),
        }
    }

    /// What a reader is told where there is nothing to read.
    pub(in crate::ffi) fn end(&mut self) -> Result<sealwire_result, Failure> {
        self.check_unfailed()?;
        if self.is_receiving() {
            return Ok(SEALWIRE_WANT_READ);
        }
        self.peer_end = PeerEnd::Read;
        Ok(SEALWIRE_EOF)
    }

    /// Ends this side's stream, and the connection where the peer's has ended.
    pub(in crate::ffi) fn shutdown(&mut self, engine: &mut Engine) -> Result<(), Failure> {
        self.check_unfailed()?;
        self.is_shutdown = true;
        engine.update_now();
        match self.peer_end {
            PeerEnd::None => engine.shutdown(self.id),
            PeerEnd::Unread | PeerEnd::Read => engine.close(self.id),
        }
        Ok(())
    }

    fn handle_peer_end(&mut self, engine: &mut Engine) {
        self.peer_end = PeerEnd::Unread;
        if self.is_shutdown {
            engine.close(self.id);
        }
    }

    fn has_unread_end(&self) -> bool {
        self.peer_end == PeerEnd::Unread && !self.handle.is_null() && !self.is_closed()
    }
}

/// What a connection is known by, once it has begun.
fn key_of(engine: &Engine, conns: &Slab<Driving>, id: ConnId) -> Option<usize> {
    let key = engine.user_data(id) as usize;
    conns.get(key).filter(|conn| conn.id == id).map(|_| key)
}

fn engine_freed() -> Failure {
    Failure::state("the engine of the connection was freed")
}
