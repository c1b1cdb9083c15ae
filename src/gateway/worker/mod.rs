use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use crossbeam_utils::sync::WaitGroup;

use super::config::ServerAddress;
use super::counters::Gauges;
use super::log::escape;
use super::resolver::{Answer, Names, Resolver};
use super::service::{RouteState, Service};
use super::sessions::{Live, Sessions};
use crate::engine::{
    Address, Counters, Engine, Event, ListenOptions, ListenerId, SocketOptions, Waker,
};
use crate::error::Result;

/// What is told to a worker.
pub(super) enum Message {
    /// Listen where `service` wants it and nothing listens yet. Nothing that listens now is
    /// changed.
    Prepare {
        service: Arc<Service>,
        bound: Bound,
        reply: Sender<Result<Bound>>,
    },
    /// Serve by the service that was prepared. What comes with it is dropped when that is so.
    Commit(WaitGroup),
    /// Forget the service that was prepared.
    Rollback,
    /// A name was resolved, or could not be.
    Resolved(Answer),
    /// Say which sessions there are, `max` of them at most.
    Look { max: usize, reply: Sender<Live> },
    /// Stop listening, and end with the last session.
    Drain,
    /// End now.
    Stop,
}

/// The address that is bound for each address that was asked for: they differ where port 0 is.
pub(super) type Bound = HashMap<Address, Address>;

/// The way to a worker.
#[derive(Clone)]
pub(super) struct Mailbox {
    pub(super) messages: Sender<Message>,
    pub(super) waker: Waker,
}

/// One thread of the gateway: an engine, its listeners and its sessions.
pub(super) struct Worker {
    index: usize,
    engine: Engine,
    inbox: Receiver<Message>,
    sessions: Sessions,
    service: Option<Arc<Service>>,
    prepared: Option<Arc<Service>>,
    listeners: Vec<Listener>,
    phase: Phase,
}

/// A listening socket. It accepts for its route to the last connection, whatever is in service by
/// then.
struct Listener {
    id: ListenerId,
    /// As asked for.
    address: Address,
    socket: SocketOptions,
    state: Arc<RouteState>,
    /// It is closing: its last connections are still coming.
    is_leaving: bool,
    /// It was opened for the service that is prepared.
    is_fresh: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Stopped,
}

impl Mailbox {
    /// Hands a message over. A worker that has ended hears nothing any more.
    pub(super) fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() {
            self.waker.wake();
        }
    }
}

impl Worker {
    pub(super) fn new(
        index: usize,
        engine: Engine,
        resolver: Resolver,
        gauges: Gauges,
    ) -> (Self, Mailbox) {
        let (messages, inbox) = bounded(MESSAGES_MAX);
        let waker = engine.waker();
        let mailbox = Mailbox { messages, waker };
        let own = mailbox.clone();
        let reply = Box::new(move || {
            let own = own.clone();
            Box::new(move |answer| own.send(Message::Resolved(answer))) as Box<_>
        });
        let worker = Self {
            index,
            engine,
            inbox,
            sessions: Sessions::new(index, Names::new(resolver), reply, gauges),
            service: None,
            prepared: None,
            listeners: Vec::new(),
            phase: Phase::Serving,
        };
        (worker, mailbox)
    }

    /// Serves until it is drained or stopped.
    pub(super) fn run(&mut self) -> Result<Counters> {
        let mut events = Vec::new();
        while !self.is_done() {
            self.cycle(None, &mut events)?;
        }
        Ok(self.engine.counters())
    }

    fn cycle(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<()> {
        self.engine.wait(timeout, events)?;
        for event in events.drain(..) {
            self.handle(event);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match self.phase {
            Phase::Serving => false,
            Phase::Draining => self.listeners.is_empty() && self.sessions.is_empty(),
            Phase::Stopped => true,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Woken => {
                while let Ok(message) = self.inbox.try_recv() {
                    self.obey(message);
                }
            }
            Event::Accepted { listener, id, peer } => {
                let state = self
                    .listener(listener)
                    .map(|listener| listener.state.clone());
                let Some(state) = state else {
                    return self.engine.abort(id);
                };
                let service = self.service.as_ref().or(self.prepared.as_ref());
                let bounds = service.map(|service| service.bounds).unwrap_or_default();
                self.sessions
                    .accepted(&mut self.engine, id, peer, &state, bounds);
            }
            Event::Unlistened { listener } => self.listeners.retain(|l| l.id != listener),
            Event::AcceptPaused { listener, error } => {
                if let Some(listener) = self.listener(listener) {
                    let route = &*listener.state.route.name;
                    let class = error.kind().class();
                    let reason = escape(&error);
                    tracing::warn!(route, %class, reason, stage = %"accept", "accept paused");
                }
            }
            Event::AcceptResumed { listener } => {
                if let Some(listener) = self.listener(listener) {
                    let route = &*listener.state.route.name;
                    tracing::info!(route, stage = %"accept", "accept resumed");
                }
            }
            event => self.sessions.handle(&mut self.engine, event),
        }
    }

    fn obey(&mut self, message: Message) {
        match message {
            Message::Prepare {
                service,
                bound,
                reply,
            } => {
                let prepared = self.prepare(&service, bound);
                self.prepared = prepared.is_ok().then_some(service);
                // The supervisor waits for this answer; where it is gone, so is the gateway.
                let _ = reply.send(prepared);
            }
            Message::Commit(_committed) => self.commit(),
            Message::Rollback => self.rollback(),
            Message::Resolved(answer) => self.sessions.resolved(&mut self.engine, &answer),
            Message::Look { max, reply } => {
                // Whoever has asked may have given up meanwhile.
                let _ = reply.send(self.sessions.live(&self.engine, max));
            }
            Message::Drain => {
                self.phase = Phase::Draining;
                self.leave(|_| true);
                self.sessions.drain(&mut self.engine);
            }
            Message::Stop => {
                self.phase = Phase::Stopped;
                self.sessions.abort_all(&mut self.engine);
            }
        }
    }

    fn prepare(&mut self, service: &Service, mut bound: Bound) -> Result<Bound> {
        for state in &service.routes {
            for address in &state.route.listen {
                if self.is_elsewhere(address) || self.find(address, state).is_some() {
                    continue;
                }
                if let Err(error) = self.listen(address, state, &mut bound) {
                    self.rollback();
                    return Err(error.at(format_args!("route {:?}", state.route.name)));
                }
            }
        }
        Ok(bound)
    }

    fn listen(
        &mut self,
        address: &Address,
        state: &Arc<RouteState>,
        bound: &mut Bound,
    ) -> Result<()> {
        let socket = state.route.client.socket.clone();
        let options = ListenOptions {
            backlog: BACKLOG,
            reuse_port: matches!(address, Address::Ip(_)),
            is_redirected: state.route.server.address == ServerAddress::Original,
            socket: socket.clone(),
        };
        let at = bound.get(address).unwrap_or(address);
        let id = self.engine.listen(at, &options)?;
        self.listeners.push(Listener {
            id,
            address: address.clone(),
            socket,
            state: state.clone(),
            is_leaving: false,
            is_fresh: true,
        });
        bound.insert(address.clone(), self.engine.local_address(id)?);
        Ok(())
    }

    fn commit(&mut self) {
        let Some(service) = self.prepared.take() else {
            return;
        };
        for listener in &mut self.listeners {
            listener.is_fresh = false;
        }
        let mut kept = Vec::new();
        for state in &service.routes {
            for address in &state.route.listen {
                if let Some(index) = self.find(address, state) {
                    self.listeners[index].state = state.clone();
                    kept.push(self.listeners[index].id);
                }
            }
        }
        self.leave(|listener| !kept.contains(&listener.id));
        self.sessions.reloaded(&mut self.engine, &service);
        self.service = Some(service);
    }

    fn rollback(&mut self) {
        self.prepared = None;
        self.leave(|listener| listener.is_fresh);
    }

    fn leave(&mut self, goes: impl Fn(&Listener) -> bool) {
        for listener in &mut self.listeners {
            if goes(listener) && !listener.is_leaving {
                listener.is_leaving = true;
                self.engine.unlisten(listener.id);
            }
        }
    }

    /// The path of a Unix socket can be bound once: the first worker has all of those.
    fn is_elsewhere(&self, address: &Address) -> bool {
        self.index != 0 && matches!(address, Address::Unix(_))
    }

    /// The listener that can go on at `address` for the route `state`.
    fn find(&self, address: &Address, state: &RouteState) -> Option<usize> {
        let socket = &state.route.client.socket;
        let fits = |listener: &Listener| match address {
            Address::Ip(_) => same_options(&listener.socket, socket),
            Address::Unix(_) => true,
        };
        self.listeners
            .iter()
            .position(|l| !l.is_leaving && l.address == *address && fits(l))
    }

    fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.id == id)
    }
}

fn same_options(a: &SocketOptions, b: &SocketOptions) -> bool {
    a.keepalive == b.keepalive && a.user_timeout == b.user_timeout && a.congestion == b.congestion
}

/// Connections that the kernel holds until they are accepted: its own default bound
/// (net.core.somaxconn).
const BACKLOG: u32 = 4_096;

/// Messages on their way to one worker: answers of the resolver, for the most part.
const MESSAGES_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
