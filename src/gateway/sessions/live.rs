//! The sessions that there are, for whoever looks at the gateway.

use std::cmp::Reverse;
use std::time::Duration;

use super::*;
use crate::time::Monotonic;
use crate::tls::Facts;

/// Sessions of one worker at one moment: the newest, and how many there are in all.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Live {
    pub(in crate::gateway) sessions: Vec<LiveSession>,
    pub(in crate::gateway) count: usize,
}

/// One session at one moment. What it says of its peers is as they sent it.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct LiveSession {
    pub(in crate::gateway) route: Arc<str>,
    pub(in crate::gateway) peer: PeerAddress,
    pub(in crate::gateway) phase: Phase,
    /// Since the client was accepted.
    pub(in crate::gateway) age: Duration,
    /// TLS with the client, where there is some and the gateway ends it.
    pub(in crate::gateway) client: Option<Arc<Facts>>,
    /// TLS with the server, likewise.
    pub(in crate::gateway) server: Option<Arc<Facts>>,
    /// As whom the client has logged in, or is about to, where the gateway takes part in that.
    pub(in crate::gateway) user: Option<Box<[u8]>>,
    pub(in crate::gateway) to_server_bytes: u64,
    pub(in crate::gateway) to_client_bytes: u64,
}

impl Sessions {
    /// The newest sessions, `max` of them at most. It costs a look at every session and nothing
    /// else, so that it can be asked while they are served.
    pub(in crate::gateway) fn live(&self, engine: &Engine, max: usize) -> Live {
        let began = |session: &Session| session.client.id.map(|id| engine.opened_at(id));
        let mut found: Vec<_> = (self.slab.iter())
            .map(|(key, session)| (Reverse(began(session)), key))
            .collect();
        if found.len() > max {
            found.select_nth_unstable(max);
            found.truncate(max);
        }
        let live = |(Reverse(began), key): &(Reverse<Option<Monotonic>>, usize)| {
            self.live_session(engine, *key, *began)
        };
        Live {
            sessions: found.iter().map(live).collect(),
            count: self.slab.len(),
        }
    }

    fn live_session(&self, engine: &Engine, key: usize, began: Option<Monotonic>) -> LiveSession {
        let session = &self.slab[key];
        let facts = |leg: Leg| engine.facts(leg.id?).cloned();
        let login = session.login.as_ref().map(|run| run.login.user());
        let user = login.or_else(|| session.follower.as_ref().and_then(|it| it.user()));
        let [to_server_bytes, to_client_bytes] = session.moved;
        LiveSession {
            route: session.state.route.name.clone(),
            peer: session.peer,
            phase: session.phase,
            age: began.map_or(Duration::ZERO, |at| engine.now().monotonic.since(at)),
            client: facts(session.client),
            server: facts(session.server),
            user: user.filter(|user| !user.is_empty()).map(Box::from),
            to_server_bytes,
            to_client_bytes,
        }
    }
}
