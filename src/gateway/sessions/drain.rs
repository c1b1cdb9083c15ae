//! The end of sessions that a drain waits for.

use super::*;

impl Sessions {
    /// From now on a session that is followed ends at its first safe moment, which may be now. The
    /// others go on until their peers end them.
    pub(in crate::gateway) fn drain(&mut self, engine: &mut Engine) {
        self.is_draining = true;
        let keys: Vec<_> = self.slab.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.leave(engine, key);
        }
    }

    /// Ends a session where it is at a safe moment: no command is under way, nor has one come that
    /// was not passed on, and no transaction is open.
    pub(super) fn leave(&mut self, engine: &mut Engine, key: usize) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let is_read = session.ids().all(|id| engine.peek(id).is_empty());
        let follower = session.follower.as_ref();
        let Some(follower) = follower.filter(|it| is_read && it.is_safe_to_close()) else {
            return;
        };
        if session.phase != Phase::Relaying {
            return;
        }
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
}
