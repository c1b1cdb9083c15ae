//! The login of protocols that have one, between the connections being made and the relay.

use std::mem;

use super::*;
use crate::frame::mysql::Sequence;
use crate::gateway::config::{Protocol, Route};
use crate::gateway::mysql::{Login, LoginPolicy, Refusal, Step};
use crate::gateway::session::LoginRun;

impl Sessions {
    /// Both connections are made, and nothing has passed.
    pub(super) fn begin_login(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.phase = Phase::Login;
        let limit = session.state.route.handshake_timeout;
        if let Some(client) = session.client.id {
            engine.set_timer(client, Some(engine.now().monotonic.after(limit)));
        }
        self.login(engine, key);
    }

    /// TLS that the login asked for is in use.
    pub(super) fn login_secured(&mut self, engine: &mut Engine, key: usize, side: Side) {
        if let Some(run) = self.slab.get_mut(key).and_then(|s| s.login.as_mut()) {
            run.login.secured(side);
            self.login(engine, key);
        }
    }

    /// Goes on with the login as far as it gets.
    pub(super) fn login(&mut self, engine: &mut Engine, key: usize) {
        loop {
            let Some(session) = self.slab.get_mut(key) else {
                return;
            };
            let ids = (session.client.id, session.server.id);
            let (Some(run), (Some(client), Some(server))) = (&mut session.login, ids) else {
                return;
            };
            let legs = [(Side::Client, client), (Side::Server, server)];
            if !flush(engine, &mut run.login, &legs) {
                return;
            }
            match mem::replace(&mut run.step, Step::Go) {
                Step::Go => {}
                Step::StartTls(side) => {
                    start_tls(engine, &session.state.route, side, legs[side as usize].1);
                }
                Step::Relay => return self.start_relay(engine, key),
                Step::End => return self.end_login(engine, key),
            }
            match feed(engine, run, &legs) {
                Ok(true) => {}
                Ok(false) => return,
                Err(refusal) => return self.refuse(engine, key, &refusal),
            }
        }
    }

    /// Tells the client why there is no session, and the log the whole of it.
    pub(super) fn refuse(&mut self, engine: &mut Engine, key: usize, refusal: &Refusal) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        match (refusal.side, session.phase) {
            (Side::Server, Phase::Resolving | Phase::Connecting) => {
                report::server_unreachable(session, &refusal.error);
            }
            (side, _) => report::handshake_failed(session, side, &refusal.error),
        }
        if let Some(run) = &mut session.login {
            run.login.refuse(refusal);
        }
        self.count_failure(key, &refusal.error);
        self.end_login(engine, key);
    }

    /// A connection has ended, or is to, before the login was over.
    pub(super) fn login_broken(
        &mut self,
        engine: &mut Engine,
        key: usize,
        side: Side,
        error: Error,
        stage: Stage,
    ) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let is_greeted = (session.login.as_ref()).is_some_and(|run| run.login.is_greeted());
        match (side, stage) {
            (Side::Client, _) => {
                report::handshake_failed(session, side, &error);
                self.count_failure(key, &error);
                self.end_login(engine, key);
            }
            (Side::Server, Stage::Handshake) => {
                self.refuse(engine, key, &Refusal::server_tls(error));
            }
            (Side::Server, _) if is_greeted => self.refuse(engine, key, &Refusal::lost(error)),
            (Side::Server, _) => self.refuse(engine, key, &Refusal::unreachable(error)),
        }
    }

    pub(super) fn login_late(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let Some(run) = &session.login else {
            return;
        };
        let side = match run.login.awaits_client() {
            true => Side::Client,
            false => Side::Server,
        };
        let limit = session.state.route.handshake_timeout.as_secs();
        let text = format!("the login was not complete within {limit} s");
        let error = Error::new(ErrorKind::Timeout, text);
        self.login_broken(engine, key, side, error, Stage::Established);
    }

    /// Ends both connections behind what they are still to be told. A server that waits for a login
    /// gets one that it refuses: one that is dropped counts against this host, and after
    /// max_connect_errors of them it lets nobody in.
    fn end_login(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        session.phase = Phase::Ending;
        let Some(mut run) = session.login.take() else {
            return;
        };
        run.login.abandon();
        for side in [Side::Client, Side::Server] {
            if let Some(id) = session.leg(side).id {
                engine.write(id, run.login.out(side));
                engine.close(id);
            }
        }
        self.forget_if_closed(key);
    }
}

/// A login, where the route's protocol has one that the gateway takes part in.
pub(super) fn of(route: &Route, peer: PeerAddress) -> Option<Box<LoginRun>> {
    if route.protocol == Protocol::Tcp || matches!(route.client.tls, ClientTls::Passthrough) {
        return None;
    }
    let address = &route.server.address;
    let policy = LoginPolicy {
        offers_tls: matches!(route.client.tls, ClientTls::Terminated { .. }),
        requires_tls: matches!(
            route.client.tls,
            ClientTls::Terminated {
                is_required: true,
                ..
            }
        ),
        is_client_local: peer == PeerAddress::Unix,
        server_tls: matches!(route.server.tls, ServerTls::Verify { .. }),
        is_server_local: matches!(address, ServerAddress::Fixed(Address::Unix(_))),
    };
    Some(Box::new(LoginRun {
        login: Login::new(policy),
        step: Step::Go,
    }))
}

/// Tells a client that there is no room, in place of a greeting.
pub(super) fn turn_away(engine: &mut Engine, id: ConnId, error: &Error) {
    let mut packet = Vec::new();
    Refusal::full(error.clone()).write(&mut packet, Sequence::default(), false);
    engine.start(id, Connection::plain(), NOBODY);
    engine.write(id, &packet);
    engine.close(id);
}

/// True where all that the login has to say was taken.
fn flush(engine: &mut Engine, login: &mut Login, legs: &[(Side, ConnId); 2]) -> bool {
    legs.iter().all(|&(side, id)| {
        let out = login.out(side);
        let taken = engine.write(id, out);
        out.drain(..taken);
        out.is_empty()
    })
}

/// Feeds what one of the legs has, where it is that one's turn; false where nothing came of it.
fn feed(
    engine: &mut Engine,
    run: &mut LoginRun,
    legs: &[(Side, ConnId); 2],
) -> Result<bool, Refusal> {
    for &(side, id) in legs {
        let is_turn = run.login.wants(side);
        engine.set_reading(id, is_turn);
        let bytes = engine.peek(id);
        if !is_turn || bytes.is_empty() {
            continue;
        }
        let (len, step) = run.login.feed(side, bytes);
        engine.consume(id, len);
        run.step = step?;
        return Ok(true);
    }
    Ok(false)
}

fn start_tls(engine: &mut Engine, route: &Route, side: Side, id: ConnId) {
    match (side, &route.client.tls, &route.server.tls) {
        (Side::Client, ClientTls::Terminated { config, .. }, _) => {
            engine.start_tls_server(id, config);
        }
        (Side::Server, _, ServerTls::Verify { config, name, .. }) => {
            engine.start_tls_client(id, config, name);
        }
        _ => {}
    }
}

/// What belongs to no session.
const NOBODY: u64 = 0;
