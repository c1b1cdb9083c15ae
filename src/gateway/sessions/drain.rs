//! The end of sessions that a drain waits for.

use super::*;
use crate::gateway::service::Service;
use crate::gateway::session::Leaving;

/// Which sessions are to end, those that are still to come included.
pub(super) enum Drain {
    None,
    /// Those of routes that are no longer in service as they were.
    Outdated {
        service: Arc<Service>,
        by: Option<Monotonic>,
    },
    All,
}

impl Drain {
    /// What it means for a session of this route.
    pub(super) fn leaving(&self, state: &Arc<RouteState>) -> Option<Leaving> {
        match self {
            Self::Outdated { service, by } if !service.holds(state) => Some(Leaving { by: *by }),
            Self::None | Self::Outdated { .. } => None,
            Self::All => Some(Leaving { by: None }),
        }
    }
}

impl Sessions {
    /// From now on a session that is followed ends at its first safe moment, which may be now. The
    /// others go on until their peers end them.
    pub(in crate::gateway) fn drain(&mut self, engine: &mut Engine) {
        self.begin(engine, Drain::All);
    }

    /// From now on the sessions whose routes are not in `service` as they were when these sessions
    /// came end likewise, where it wants them to, and at its deadline at the latest.
    pub(in crate::gateway) fn reloaded(&mut self, engine: &mut Engine, service: &Arc<Service>) {
        let now = engine.now().monotonic;
        let drain = match service.plan.settings.reload_drain {
            Some(drain) => Drain::Outdated {
                service: Arc::clone(service),
                by: drain.timeout.map(|timeout| now.after(timeout)),
            },
            None => Drain::None,
        };
        self.begin(engine, drain);
    }

    /// A session that was to end before still is, no later than it was.
    fn begin(&mut self, engine: &mut Engine, drain: Drain) {
        let keys: Vec<_> = self.slab.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(session) = self.slab.get_mut(key)
                && let Some(Leaving { by }) = drain.leaving(&session.state)
            {
                let earlier = session.leaving.and_then(|leaving| leaving.by);
                let by = by.into_iter().chain(earlier).min();
                session.leaving = Some(Leaving { by });
                self.check_time(engine, key);
                self.leave(engine, key);
            }
        }
        self.drain = drain;
    }

    /// Ends a session that is to end where it is at a safe moment: no command is under way, nor has
    /// one come that was not passed on, and no transaction is open.
    pub(super) fn leave(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        if session.leaving.is_none() || session.phase != Phase::Relaying {
            return;
        }
        let is_read = session.ids().all(|id| engine.peek(id).is_empty());
        let follower = session.follower.as_ref();
        let Some(follower) = follower.filter(|it| is_read && it.is_safe_to_close()) else {
            return;
        };
        for (side, leg) in [
            (Side::Client, session.client),
            (Side::Server, session.server),
        ] {
            if let Some(id) = leg.id {
                engine.write(id, &follower.farewell(side));
            }
        }
        session.end(engine);
    }

    /// The time of a session that is to end is over. Its peers are told by a reset: something may
    /// have been under way.
    pub(super) fn leave_late(&mut self, engine: &mut Engine, key: usize) {
        let text = "not idle within reload_drain_s of the reload that changed its route";
        let error = Error::new(ErrorKind::Timeout, text);
        self.count_failure(key, &error);
        if let Some(session) = self.slab.get(key) {
            report::session_failed(session, Side::Client, &error);
            self.abort(engine, key);
        }
    }
}
