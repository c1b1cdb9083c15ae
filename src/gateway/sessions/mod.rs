mod drain;
mod live;
mod login;
mod measure;
mod obrpc;
mod proxy;

pub(super) use proxy::Announcement;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use drain::Drain;
use slab::Slab;

use super::config::{ClientTls, HostPort, ServerAddress, ServerTls};
use super::counters::{AddressSlot, Gauges, Shard, Slot};
use super::follower::Follower;
use super::mysql::{Login, Refusal};
use super::report::{self, Refusals};
use super::resolver::{Answer, Names, Reply};
use super::service::{Bounds, RouteState};
use super::session::{Leg, Phase, Session, Side, Targets, from_user_data, to_user_data};
use crate::conn::Connection;
use crate::engine::{Address, ConnId, Engine, Event, PeerAddress, RelayState, Stage};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Monotonic;
pub(super) use live::{Live, LiveSession};

/// The sessions of one worker.
///
/// A session is made by [`Sessions::accepted`], goes through the phases of [`Phase`] as events
/// come, and is gone when both of its connections are closed.
pub(super) struct Sessions {
    worker: usize,
    slab: Slab<Session>,
    names: Names,
    /// Makes the way by which answers of the resolver come back to [`Sessions::resolved`].
    reply: Box<dyn Fn() -> Reply>,
    /// Sessions that wait for a name; some may have ended meanwhile.
    waiting: HashMap<HostPort, Vec<usize>>,
    gauges: Gauges,
    refusals: Refusals,
    drain: Drain,
}

impl Sessions {
    pub(super) fn new(
        worker: usize,
        names: Names,
        reply: Box<dyn Fn() -> Reply>,
        gauges: Gauges,
    ) -> Self {
        Self {
            worker,
            slab: Slab::new(),
            names,
            reply,
            waiting: HashMap::new(),
            gauges,
            refusals: Refusals::default(),
            drain: Drain::None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Lets a connection in, or refuses it where a bound is reached.
    pub(super) fn accepted(
        &mut self,
        engine: &mut Engine,
        id: ConnId,
        peer: PeerAddress,
        state: &Arc<RouteState>,
        bounds: Bounds,
    ) {
        let announcement = proxy::due(state, peer, bounds);
        let is_announced = announcement.is_some();
        let login = login::of(state, peer, true);
        let entered = self.enter(state, bounds).and_then(|slots| {
            // Whose connection it is, and counts as, only the header tells.
            let half_open = match is_announced {
                true => None,
                false => self.enter_half_open(peer, bounds)?,
            };
            Ok((slots, half_open))
        });
        let (slots, half_open) = match entered {
            Ok(entered) => entered,
            Err(error) => {
                match login {
                    Some(_) => login::turn_away(engine, id, &error),
                    None => engine.abort(id),
                }
                self.shard(state).count_failure(error.kind().class());
                return self
                    .refusals
                    .report(engine.now().monotonic, peer, state, &error);
            }
        };
        self.shard(state).connections.fetch_add(1, Relaxed);
        let conn = match &state.route.client.tls {
            ClientTls::Terminated { config, .. } if login.is_none() && !is_announced => {
                Connection::server(config, engine.now())
            }
            ClientTls::Negotiated { server, .. } => {
                let is_exempt = obrpc::is_client_exempt(state, peer);
                Connection::negotiated_server(server, is_exempt, engine.now())
            }
            _ => Connection::plain(),
        };
        let key = self.slab.insert(Session {
            state: state.clone(),
            peer,
            destination: None,
            phase: match is_announced {
                true => Phase::Announcing,
                false => Phase::Handshake,
            },
            client: Leg {
                id: Some(id),
                since: Some(engine.now().monotonic),
                is_ended: false,
            },
            server: Leg::default(),
            targets: Targets::default(),
            announcement,
            login: login.filter(|_| !is_announced),
            follower: None,
            moved: [0; 2],
            leaving: self.drain.leaving(state),
            last_error: None,
            half_open,
            _slots: slots,
        });
        engine.start(id, conn, to_user_data(key, Side::Client));
        if is_announced {
            let limit = state.route.handshake_timeout;
            engine.set_timer(id, Some(engine.now().monotonic.after(limit)));
        }
    }

    /// Takes an event of a connection. One that was refused belongs to no session; its end says
    /// nothing.
    pub(super) fn handle(&mut self, engine: &mut Engine, event: Event) {
        let find = |id| from_user_data(engine.user_data(id)).map(|(key, side)| (key, side, id));
        let found = match &event {
            Event::Connected { id }
            | Event::Readable { id }
            | Event::Writable { id }
            | Event::PeerClosed { id }
            | Event::Timer { id }
            | Event::Closed { id, .. } => find(*id),
            _ => None,
        };
        let Some((key, side, id)) = found else {
            return;
        };
        match event {
            Event::Connected { .. } | Event::Readable { .. } if self.is_announcing(key) => {
                self.read_announcement(engine, key);
            }
            Event::Connected { .. } => {
                self.measure(engine, key, side);
                match side {
                    _ if self.is_logging_in(key) => self.login_secured(engine, key, side),
                    Side::Client => self.client_ready(engine, key, id),
                    Side::Server => self.server_ready(engine, key),
                }
            }
            Event::Readable { .. } | Event::Writable { .. } if self.is_logging_in(key) => {
                self.login(engine, key);
            }
            Event::Readable { .. } => self.relay(engine, key, side),
            Event::Writable { .. } => self.resume(engine, key, side.other()),
            Event::PeerClosed { .. } => self.peer_closed(engine, key, side),
            Event::Timer { .. } => self.timer(engine, key),
            Event::Closed { error, stage, .. } => {
                self.closed(engine, key, (side, id), error, stage);
            }
            _ => {}
        }
    }

    /// Takes an answer of the resolver.
    pub(super) fn resolved(&mut self, engine: &mut Engine, answer: &Answer) {
        self.names.learn(answer, engine.now().monotonic);
        for key in self.waiting.remove(&answer.name).unwrap_or_default() {
            let Some(session) = self.slab.get_mut(key) else {
                continue;
            };
            let is_waiting = session.phase == Phase::Resolving
                && matches!(&session.state.route.server.address,
                    ServerAddress::Named(name) if *name == answer.name);
            if !is_waiting {
                continue;
            }
            match &answer.result {
                Ok(addresses) => {
                    session.targets.set_named(addresses.clone());
                    self.connect(engine, key);
                }
                Err(error) => self.unreachable(engine, key, error),
            }
        }
    }

    /// Ends every session at once.
    pub(super) fn abort_all(&mut self, engine: &mut Engine) {
        for (_, session) in &mut self.slab {
            session.phase = Phase::Ending;
            session.ids().for_each(|id| engine.abort(id));
        }
    }

    fn enter(&self, state: &RouteState, bounds: Bounds) -> Result<[Slot; 2]> {
        let full = |max: usize, whose: &str| {
            let text = format!("all {max} connections of the {whose} are open");
            Error::new(ErrorKind::Limit, text)
        };
        let connections_max = bounds.connections_max;
        let route_max = state.route.connections_max;
        let ours = self.gauges.open.enter(connections_max);
        let ours = ours.ok_or_else(|| full(connections_max, "gateway"))?;
        let routes = state.counters.open.enter(route_max);
        let routes = routes.ok_or_else(|| full(route_max, "route"))?;
        Ok([ours, routes])
    }

    fn enter_half_open(&self, peer: PeerAddress, bounds: Bounds) -> Result<Option<AddressSlot>> {
        let PeerAddress::Ip(address) = peer else {
            return Ok(None);
        };
        let max = bounds.half_open_max_per_address;
        let half_open = self.gauges.half_open.enter(address.ip(), max);
        half_open.map(Some).ok_or_else(|| {
            let text = format!("{max} connections of its address are half-open");
            Error::new(ErrorKind::Limit, text)
        })
    }

    fn is_announcing(&self, key: usize) -> bool {
        let session = self.slab.get(key);
        session.is_some_and(|session| session.phase == Phase::Announcing)
    }

    fn is_logging_in(&self, key: usize) -> bool {
        let session = self.slab.get(key);
        session.is_some_and(|session| matches!(session.phase, Phase::Login | Phase::Abandoning))
    }

    fn shard<'s>(&self, state: &'s RouteState) -> &'s Shard {
        state.counters.shard(self.worker)
    }

    /// The client's side is in use: the server's side is begun. Until that is in use nothing is
    /// read here.
    fn client_ready(&mut self, engine: &mut Engine, key: usize, id: ConnId) {
        engine.set_reading(id, false);
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        if session.phase != Phase::Handshake {
            return;
        }
        let name = match &session.state.route.server.address {
            ServerAddress::Fixed(address) => {
                session.targets.set_fixed(address.clone());
                return self.connect(engine, key);
            }
            ServerAddress::Original => return self.connect_to_original(engine, key, id),
            ServerAddress::Named(name) => name.clone(),
        };
        let now = engine.now().monotonic;
        match self.names.lookup(&name, now, &self.reply) {
            Ok(Some(addresses)) => {
                session.targets.set_named(addresses);
                self.connect(engine, key);
            }
            Ok(None) => self.await_name(engine, key, name),
            Err(error) => self.unreachable(engine, key, &error),
        }
    }

    fn await_name(&mut self, engine: &mut Engine, key: usize, name: HostPort) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.phase = Phase::Resolving;
        let deadline = engine
            .now()
            .monotonic
            .after(session.state.route.connect_timeout);
        if let Some(id) = session.client.id {
            engine.set_timer(id, Some(deadline));
        }
        self.waiting.entry(name).or_default().push(key);
    }

    /// Tries the next address of the server.
    fn connect(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.phase = Phase::Connecting;
        let route = session.state.route.clone();
        let header = proxy::header(session, engine);
        while let Some(address) = session.targets.pop() {
            let connected =
                server_connection(session, &address, &header, engine).and_then(|conn| {
                    let user_data = to_user_data(key, Side::Server);
                    let socket = &route.server.socket;
                    engine.connect(&address, conn, socket, route.connect_timeout, user_data)
                });
            match connected {
                Ok(id) => {
                    session.server.id = Some(id);
                    session.server.since = Some(engine.now().monotonic);
                    return;
                }
                Err(error) => session.last_error = Some(error),
            }
        }
        let last = session.last_error.clone();
        if let ServerAddress::Named(name) = &route.server.address {
            let now = engine.now().monotonic;
            let is_second = session.targets.is_second();
            if !is_second && self.names.refresh(name, now, &self.reply) {
                return self.await_name(engine, key, name.clone());
            }
        }
        let none = || Error::new(ErrorKind::Io, "no address is left to try");
        self.unreachable(engine, key, &last.unwrap_or_else(none));
    }

    fn server_ready(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        if session.phase != Phase::Connecting {
            return;
        }
        match session.login {
            Some(_) => self.begin_login(engine, key),
            None => self.start_relay(engine, key),
        }
    }

    fn start_relay(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let login = session.login.take().map(|run| run.login);
        session.half_open = None;
        session.phase = Phase::Relaying;
        if login.as_ref().is_none_or(Login::is_first) {
            report::opened(session);
        }
        let (Some(client), Some(server)) = (session.client.id, session.server.id) else {
            return;
        };
        session.follower = match login {
            Some(login) => Some(Follower::Mysql(Box::new(login.follow()))),
            None => obrpc::follow(session, client, engine),
        };
        engine.set_reading(client, true);
        engine.set_reading(server, true);
        if session.client.is_ended {
            engine.shutdown(server);
        }
        self.check_time(engine, key);
        self.leave(engine, key);
    }

    /// Moves what `from` has to say to the other side.
    fn relay(&mut self, engine: &mut Engine, key: usize, from: Side) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        if session.phase != Phase::Relaying {
            return;
        }
        let (Some(source), Some(sink)) = (session.leg(from).id, session.leg(from.other()).id)
        else {
            return;
        };
        let begins_login = |it: &mut Follower| it.begins_login(engine.peek(source));
        if from == Side::Client
            && let Some(Follower::Mysql(follower)) = session.follower.take_if(begins_login)
        {
            return self.change_user(engine, key, follower.into_login());
        }
        let relayed = match &mut session.follower {
            Some(follower) => {
                engine.relay_watched(source, sink, |bytes| follower.passed(from, bytes))
            }
            None => engine.relay(source, sink),
        };
        if relayed.state == RelayState::SinkFull {
            engine.set_reading(source, false);
        }
        let shard = session.state.counters.shard(self.worker);
        let bytes = match from {
            Side::Client => &shard.to_server_bytes,
            Side::Server => &shard.to_client_bytes,
        };
        bytes.fetch_add(relayed.bytes as u64, Relaxed);
        session.moved[from as usize] += relayed.bytes as u64;
        if let Some((answer, error)) = session.follower.as_ref().and_then(Follower::violation) {
            return self.end_violation(engine, key, &answer, &error);
        }
        self.leave(engine, key);
    }

    /// The client has sent what must not pass. Nothing of it has left yet, and nothing will.
    fn end_violation(&mut self, engine: &mut Engine, key: usize, answer: &[u8], error: &Error) {
        self.count_failure(key, error);
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        report::session_failed(session, Side::Client, error);
        session.phase = Phase::Ending;
        if let Some(server) = session.server.id {
            engine.abort(server);
        }
        if let Some(client) = session.client.id {
            engine.write(client, answer);
            engine.close(client);
        }
    }

    /// The sink of `from` has room again.
    fn resume(&mut self, engine: &mut Engine, key: usize, from: Side) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        if session.phase != Phase::Relaying {
            return;
        }
        if let Some(source) = session.leg(from).id {
            engine.set_reading(source, true);
            self.relay(engine, key, from);
        }
    }

    /// The stream of `side` has ended; so does the one that continues it. When both have, so does
    /// the session. No end of a protocol that is followed keeps half a connection: whoever ends its
    /// stream has closed, and the other one may have nothing to say to that for ever.
    fn peer_closed(&mut self, engine: &mut Engine, key: usize, side: Side) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.leg(side).is_ended = true;
        if session.phase == Phase::Abandoning {
            return session.end(engine);
        }
        if session.phase == Phase::Announcing {
            let error = Error::new(ErrorKind::Truncated, "the stream ended before it was whole");
            return self.not_announced(engine, key, error);
        }
        if session.login.is_some() {
            let error = Error::new(ErrorKind::Truncated, "the stream ended in the login");
            return self.login_broken(engine, key, side, error, Stage::Established);
        }
        if session.phase != Phase::Relaying {
            return;
        }
        let has_closed = session.follower.is_some();
        if has_closed || session.leg(side.other()).is_ended {
            session.end(engine);
        } else if let Some(id) = session.leg(side.other()).id {
            engine.shutdown(id);
        }
    }

    fn timer(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        match session.phase {
            Phase::Resolving => {
                let wait = session.state.route.connect_timeout.as_millis();
                let text = format!("resolve {}: no answer in {wait} ms", session.server_name());
                self.unreachable(engine, key, &Error::new(ErrorKind::Timeout, text));
            }
            Phase::Announcing => self.announcement_late(engine, key),
            Phase::Login => self.login_late(engine, key),
            Phase::Abandoning => session.end(engine),
            Phase::Relaying => self.check_time(engine, key),
            Phase::Handshake | Phase::Connecting | Phase::Ending => {}
        }
    }

    /// Ends a session that relays where its time is over, and is told when that may be.
    fn check_time(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let Some(client) = session
            .client
            .id
            .filter(|_| session.phase == Phase::Relaying)
        else {
            return;
        };
        let now = engine.now().monotonic;
        let leaves = session.leaving.and_then(|leaving| leaving.by);
        if leaves.is_some_and(|leaves| leaves <= now) {
            return self.leave_late(engine, key);
        }
        let idle = session.state.route.idle_timeout;
        let active = session.ids().map(|id| engine.last_activity(id)).max();
        let idles = idle.map(|idle| active.unwrap_or_default().after(idle));
        match (idle, idles) {
            (Some(idle), Some(idles)) if idles <= now => self.idle(engine, key, idle),
            _ => engine.set_timer(client, idles.into_iter().chain(leaves).min()),
        }
    }

    fn idle(&mut self, engine: &mut Engine, key: usize, idle: Duration) {
        let text = format!("no byte in either direction for {} s", idle.as_secs());
        let error = Error::new(ErrorKind::Timeout, text);
        self.count_failure(key, &error);
        if let Some(session) = self.slab.get_mut(key) {
            report::session_failed(session, Side::Client, &error);
            session.end(engine);
        }
    }

    fn closed(
        &mut self,
        engine: &mut Engine,
        key: usize,
        (side, id): (Side, ConnId),
        error: Option<Error>,
        stage: Stage,
    ) {
        if stage == Stage::Handshake && error.is_some() {
            self.measure_failure(key, side);
        }
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.leg(side).id = None;
        let was_connecting = session.phase == Phase::Connecting && side == Side::Server;
        if was_connecting && stage == Stage::Connect {
            session.last_error = error;
            return self.connect(engine, key);
        }
        if session.phase == Phase::Abandoning {
            return self.forget_if_closed(key);
        }
        if session.phase != Phase::Ending {
            let ended = || Error::new(ErrorKind::Truncated, "the connection ended");
            let error = error.unwrap_or_else(ended);
            if session.phase == Phase::Announcing {
                return self.not_announced(engine, key, error);
            }
            if session.login.is_some() {
                return self.login_broken(engine, key, side, error, stage);
            }
            if side == Side::Client && engine.is_own(id) {
                return self.came_back(engine, key, id);
            }
            if session.is_end_in_order(&error) {
                session.end(engine);
                return self.forget_if_closed(key);
            }
            match (side, stage) {
                (_, Stage::Established) => report::session_failed(session, side, &error),
                _ => report::handshake_failed(session, side, &error),
            }
            self.count_failure(key, &error);
            self.abort(engine, key);
        }
        self.forget_if_closed(key);
    }

    /// No address of the server is in use: the client is told by a reset where its protocol is not
    /// known to have an answer to give.
    fn unreachable(&mut self, engine: &mut Engine, key: usize, error: &Error) {
        if let Some(session) = self.slab.get(key) {
            if session.login.is_some() {
                return self.refuse(engine, key, &Refusal::unreachable(error.clone()));
            }
            report::server_unreachable(session, error);
            self.count_failure(key, error);
            self.abort(engine, key);
            self.forget_if_closed(key);
        }
    }

    fn abort(&mut self, engine: &mut Engine, key: usize) {
        if let Some(session) = self.slab.get_mut(key) {
            session.phase = Phase::Ending;
            session.ids().for_each(|id| engine.abort(id));
        }
    }

    fn forget_if_closed(&mut self, key: usize) {
        let session = self.slab.get(key);
        if session.is_some_and(|session| session.ids().next().is_none()) {
            report::closed(&self.slab.remove(key));
        }
    }

    fn count_failure(&self, key: usize, error: &Error) {
        if let Some(session) = self.slab.get(key) {
            self.shard(&session.state)
                .count_failure(error.kind().class());
        }
    }
}

/// A connection that begins with `header`, whatever its protocol.
fn server_connection(
    session: &Session,
    address: &Address,
    header: &[u8],
    engine: &mut Engine,
) -> Result<Connection> {
    let tls = &session.state.route.server.tls;
    if let ServerTls::Negotiated { .. } = tls {
        return obrpc::server_connection(session, address, engine);
    }
    let now = engine.now();
    let pools = engine.pools();
    let mut conn = Connection::plain();
    let begun = conn.write(header, pools).and_then(|_| match tls {
        ServerTls::Verify { config, name, .. } if session.login.is_none() => {
            conn.start_tls_client(config, name, now, pools)
        }
        _ => Ok(()),
    });
    match begun {
        Ok(()) => Ok(conn),
        Err(error) => {
            conn.release(pools);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
