//! The login of protocols that have one, between the connections being made and the relay.

use std::mem;

use super::*;
use crate::frame::mysql::{Sequence, ServerKind};
use crate::gateway::config::{Protocol, Route, VerifyMode};
use crate::gateway::mysql::{LoginPolicy, PasswordKeys, Refusal, ServerUpgrade, Step};
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

    /// The client logs in as another user.
    pub(super) fn change_user(&mut self, engine: &mut Engine, key: usize, login: Login) {
        if let Some(session) = self.slab.get_mut(key) {
            session.login = Some(Box::new(LoginRun {
                login,
                step: Step::Go,
            }));
            self.begin_login(engine, key);
        }
    }

    /// TLS that the login asked for is in use.
    pub(super) fn login_secured(&mut self, engine: &mut Engine, key: usize, side: Side) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let facts = session.leg(side).id.and_then(|id| engine.facts(id));
        let facts = facts.map(Arc::clone);
        if let Some(run) = &mut session.login {
            run.login.secured(side, facts);
            self.login(engine, key);
        }
    }

    /// Goes on with the login as far as it gets.
    pub(super) fn login(&mut self, engine: &mut Engine, key: usize) {
        loop {
            let Some(session) = self.slab.get_mut(key) else {
                return;
            };
            let is_abandoned = session.phase == Phase::Abandoning;
            let client = session.client.id.filter(|_| !is_abandoned);
            let (Some(run), Some(server)) = (&mut session.login, session.server.id) else {
                return;
            };
            let legs = client.map(|id| (Side::Client, id)).into_iter();
            let legs = legs.chain([(Side::Server, server)]);
            if !flush(engine, &mut run.login, legs.clone()) {
                return;
            }
            match mem::replace(&mut run.step, Step::Go) {
                Step::Go => {}
                Step::StartTls(side) => {
                    let kind = run.login.server_kind();
                    let leg = legs.clone().find(|leg| leg.0 == side);
                    if let Some((_, id)) = leg {
                        let since = match side {
                            Side::Client => &mut session.client.since,
                            Side::Server => &mut session.server.since,
                        };
                        *since = Some(engine.now().monotonic);
                        start_tls(engine, &session.state.route, side, id, kind);
                    }
                }
                Step::End if is_abandoned => return session.end(engine),
                Step::Relay => return self.start_relay(engine, key),
                Step::End => return self.end_login(engine, key),
                Step::Blocked(error) => return self.login_blocked(engine, key, &error),
            }
            match feed(engine, run, legs) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) if is_abandoned => return session.end(engine),
                Err(refusal) => return self.refuse(engine, key, &refusal),
            }
        }
    }

    /// The server has refused, whoever the client is.
    fn login_blocked(&mut self, engine: &mut Engine, key: usize, error: &Error) {
        if let Some(session) = self.slab.get(key) {
            report::handshake_failed(session, Side::Server, error);
            self.count_failure(key, error);
            self.end_login(engine, key);
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
            (Side::Server, _) => {
                report::handshake_failed(session, Side::Server, &refusal.error);
            }
            (Side::Client, _) => report::login_refused(session, &refusal.error),
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
        let Some(run) = self.slab.get(key).and_then(|s| s.login.as_ref()) else {
            return;
        };
        let is_greeted = run.login.is_greeted();
        let (_, awaited) = run.login.awaited();
        match (side, stage) {
            (Side::Client, Stage::Handshake) if error.kind() == ErrorKind::NotTls => {
                let text = "plaintext after SSLRequest: nothing of it was read";
                self.login_over(engine, key, &Error::new(ErrorKind::NotTls, text), true);
            }
            (Side::Client, _) => {
                let is_refusal = error.kind() == ErrorKind::Timeout;
                self.login_over(engine, key, &error, is_refusal);
            }
            (Side::Server, Stage::Handshake) => {
                let error = error.at(format_args!("server {}", run.login.server_version()));
                self.refuse(engine, key, &Refusal::server_tls(error));
            }
            (Side::Server, _) => {
                let error = error.at(format_args!("waiting for {awaited}"));
                let refusal = match is_greeted {
                    true => Refusal::lost(error),
                    false => Refusal::unreachable(error),
                };
                self.refuse(engine, key, &refusal);
            }
        }
    }

    /// The client's leg has failed: what there is to tell went out with that. A denial is told all
    /// the same to the log.
    fn login_over(&mut self, engine: &mut Engine, key: usize, error: &Error, is_refusal: bool) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let denial = session.login.as_mut().and_then(|run| run.login.denial());
        let is_refusal = is_refusal || denial.is_some();
        let error = denial.as_ref().map_or(error, |denial| &denial.error);
        match is_refusal {
            true => report::login_refused(session, error),
            false => report::handshake_failed(session, Side::Client, error),
        }
        self.count_failure(key, error);
        self.end_login(engine, key);
    }

    pub(super) fn login_late(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get(key) else {
            return;
        };
        let Some(run) = &session.login else {
            return;
        };
        let (side, awaited) = run.login.awaited();
        let is_in_handshake = run.login.is_in_handshake();
        let limit = session.state.route.handshake_timeout.as_secs();
        let text = match side {
            Side::Client => format!("waiting for {awaited}: timeout after {limit} s"),
            Side::Server => format!("timeout after {limit} s"),
        };
        if is_in_handshake {
            self.measure_failure(key, side);
        }
        let error = Error::new(ErrorKind::Timeout, text);
        self.login_broken(engine, key, side, error, Stage::Established);
    }

    /// Ends the client's connection behind what it is still to be told, and the server's when the
    /// login is over there.
    fn end_login(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let Some(run) = &mut session.login else {
            return;
        };
        if let Some(id) = session.client.id {
            engine.write(id, run.login.out(Side::Client));
            engine.close(id);
        }
        if let Some(id) = session.server.id {
            let out = run.login.out(Side::Server);
            let taken = engine.write(id, out);
            out.drain(..taken);
        }
        run.step = match session.server.id {
            Some(_) if !session.server.is_ended => run.login.abandon(),
            _ => Step::End,
        };
        if run.step == Step::End {
            session.end(engine);
            return self.forget_if_closed(key);
        }
        session.phase = Phase::Abandoning;
        let limit = session.state.route.handshake_timeout;
        if let Some(id) = session.server.id {
            engine.set_timer(id, Some(engine.now().monotonic.after(limit)));
        }
        self.login(engine, key);
    }
}

/// A login, where the route's protocol has one that the gateway takes part in. A client that is not
/// known is trusted with nothing.
pub(super) fn of(state: &RouteState, peer: PeerAddress, is_known: bool) -> Option<Box<LoginRun>> {
    let RouteState { route, .. } = state;
    if route.protocol != Protocol::Mysql || matches!(route.client.tls, ClientTls::Passthrough) {
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
        is_client_local: is_known && peer == PeerAddress::Unix,
        is_proxy_trusted: is_known && route.client.trusted_proxies.contains(peer),
        server_tls: match &route.server.tls {
            ServerTls::Off | ServerTls::Negotiated { .. } => ServerUpgrade::Never,
            ServerTls::Verify {
                mode: VerifyMode::DangerPreferred,
                ..
            } => ServerUpgrade::Offered,
            ServerTls::Verify { .. } => ServerUpgrade::Always,
        },
        is_server_local: matches!(address, ServerAddress::Fixed(Address::Unix(_))),
        keys: PasswordKeys {
            server: Arc::clone(&route.server.public_key),
            own: state.password_key.clone(),
        },
        accounts: (route.client.require.clone()).map(|rules| (rules, peer)),
    };
    Some(Box::new(LoginRun {
        login: Login::new(policy),
        step: Step::Go,
    }))
}

/// Tells a client that there is no room, in place of a greeting.
pub(super) fn turn_away(engine: &mut Engine, id: ConnId, error: &Error) {
    engine.start(id, Connection::plain(), NOBODY);
    say_full(engine, id, error);
}

/// The same on a connection that is in use.
pub(super) fn say_full(engine: &mut Engine, id: ConnId, error: &Error) {
    let mut packet = Vec::new();
    Refusal::full(error.clone()).write(&mut packet, Sequence::default(), false);
    engine.write(id, &packet);
    engine.close(id);
}

/// True where all that the login has to say was taken.
fn flush(
    engine: &mut Engine,
    login: &mut Login,
    mut legs: impl Iterator<Item = (Side, ConnId)>,
) -> bool {
    legs.all(|(side, id)| {
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
    legs: impl Iterator<Item = (Side, ConnId)>,
) -> Result<bool, Refusal> {
    for (side, id) in legs {
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

fn start_tls(engine: &mut Engine, route: &Route, side: Side, id: ConnId, server: ServerKind) {
    match (side, &route.client.tls, &route.server.tls) {
        (Side::Client, ClientTls::Terminated { config, .. }, _) => {
            engine.start_tls_server(id, config);
        }
        (Side::Server, _, ServerTls::Verify { config, name, .. }) => match server {
            // Its servers hand out tickets and answer their use with internal_error.
            ServerKind::OceanBase => {
                engine.start_tls_client(id, &config.without_resumption(), name);
            }
            ServerKind::MySql | ServerKind::MariaDb => engine.start_tls_client(id, config, name),
        },
        _ => {}
    }
}

/// What belongs to no session.
const NOBODY: u64 = 0;
