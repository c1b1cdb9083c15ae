//! How long it takes until a connection can be used.

use super::*;

impl Sessions {
    /// Counts a connection that was just made, a TLS handshake that is just complete, or both.
    pub(super) fn measure(&mut self, engine: &Engine, key: usize, side: Side) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let is_connecting = session.phase == Phase::Connecting;
        let leg = session.leg(side);
        let (Some(id), Some(mut since)) = (leg.id, leg.since) else {
            return;
        };
        let mut connected = None;
        if side == Side::Server && is_connecting {
            let opened_at = engine.opened_at(id);
            connected = Some(opened_at.since(since));
            since = opened_at;
        }
        let facts = engine.facts(id);
        leg.since = match facts {
            Some(_) => None,
            None => Some(since),
        };
        let shard = session.state.counters.shard(self.worker);
        if let Some(took) = connected {
            shard.connects.observe(took);
        }
        if let Some(facts) = facts {
            let took = engine.now().monotonic.since(since);
            shard.handshakes(side).done(facts, took);
        }
    }

    /// Counts a TLS handshake that has failed, once.
    pub(super) fn measure_failure(&mut self, key: usize, side: Side) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        if session.leg(side).since.take().is_some() {
            let shard = session.state.counters.shard(self.worker);
            shard.handshakes(side).failed();
        }
    }
}
