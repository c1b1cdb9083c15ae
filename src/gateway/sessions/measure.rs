//! How long it takes until a connection can be used.

use super::*;

impl Sessions {
    /// Counts a connection that was just made, a TLS handshake that is just complete, or both.
    pub(super) fn measure(&mut self, engine: &Engine, key: usize, side: Side) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let shard = session.state.counters.shard(self.worker);
        let is_connecting = session.phase == Phase::Connecting;
        let leg = match side {
            Side::Client => &mut session.client,
            Side::Server => &mut session.server,
        };
        let Some(id) = leg.id else {
            return;
        };
        if side == Side::Server && is_connecting {
            let opened_at = engine.opened_at(id);
            shard.connects.observe(opened_at.since(leg.since));
            leg.since = opened_at;
        }
        if let Some(facts) = engine.facts(id) {
            let took = engine.now().monotonic.since(leg.since);
            shard.handshakes(side).done(facts, took);
        }
    }
}
