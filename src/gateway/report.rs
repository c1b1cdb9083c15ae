//! The log lines of connections. Their messages and field names are an interface: see
//! docs/gateway.md.

use std::time::Duration;

use super::log::escape;
use super::service::RouteState;
use super::session::{Session, Side};
use crate::engine::PeerAddress;
use crate::error::Error;
use crate::time::Monotonic;

/// Both connections of a session are in use.
pub(super) fn opened(session: &Session) {
    let route = &*session.state.route.name;
    let server = session.server_name();
    tracing::debug!(peer = %session.peer, route, server, "session opened");
}

/// Both connections of a session are closed.
pub(super) fn closed(session: &Session) {
    let route = &*session.state.route.name;
    tracing::debug!(peer = %session.peer, route, "session closed");
}

/// A connection ended before its handshake was complete: the client's fault is its own business,
/// the server's is the operator's.
pub(super) fn handshake_failed(session: &Session, side: Side, error: &Error) {
    let peer = session.peer;
    let route = &*session.state.route.name;
    let class = error.kind().class();
    let reason = escape(error);
    match side {
        Side::Client => {
            let stage = "client_handshake";
            tracing::info!(%peer, route, %class, reason, %stage, "handshake failed");
        }
        Side::Server => {
            let stage = "server_handshake";
            let server = session.server_name();
            tracing::warn!(%peer, route, server, %class, reason, %stage, "handshake failed");
        }
    }
}

/// The gateway has refused a client's login, or given it up: a program is configured wrongly, or
/// somebody tries what he should not.
pub(super) fn login_refused(session: &Session, error: &Error) {
    let peer = session.peer;
    let route = &*session.state.route.name;
    let class = error.kind().class();
    let reason = escape(error);
    let stage = "client_handshake";
    tracing::warn!(%peer, route, %class, reason, %stage, "handshake failed");
}

/// A connection that was in use broke, or was idle for too long.
pub(super) fn session_failed(session: &Session, side: Side, error: &Error) {
    let peer = session.peer;
    let route = &*session.state.route.name;
    let class = error.kind().class();
    let reason = escape(error);
    let stage = match side {
        Side::Client => "client_relay",
        Side::Server => "server_relay",
    };
    let server = session.server_name();
    tracing::info!(%peer, route, server, %class, reason, %stage, "session failed");
}

/// No address of the server could be connected to.
pub(super) fn server_unreachable(session: &Session, error: &Error) {
    let peer = session.peer;
    let route = &*session.state.route.name;
    let server = session.server_name();
    let class = error.kind().class();
    let reason = escape(error);
    let stage = "server_connect";
    tracing::warn!(%peer, route, server, %class, reason, %stage, "server unreachable");
}

/// Reports of refused connections, at most one per [`REFUSAL_REPORT_INTERVAL`]: whoever floods a
/// gateway that is full must not flood its log as well.
#[derive(Default)]
pub(super) struct Refusals {
    reported_at: Option<Monotonic>,
    /// Since the last report.
    count: u64,
}

impl Refusals {
    pub(super) fn report(
        &mut self,
        now: Monotonic,
        peer: PeerAddress,
        state: &RouteState,
        error: &Error,
    ) {
        let Some(count) = self.note(now) else {
            return;
        };
        let route = &*state.route.name;
        let class = error.kind().class();
        let reason = escape(error);
        let stage = "accept";
        tracing::warn!(
            %peer, route, %class, reason, %stage, count,
            "connection refused by limit"
        );
    }

    /// Counts one refusal; where a report is due, how many there are to report.
    fn note(&mut self, now: Monotonic) -> Option<u64> {
        self.count += 1;
        let is_due = self
            .reported_at
            .is_none_or(|at| now.since(at) >= REFUSAL_REPORT_INTERVAL);
        if !is_due {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// Per worker.
const REFUSAL_REPORT_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_reported_once_a_second_with_their_number() {
        let at = |ms: u64| Monotonic::from_ns(ms * 1_000_000);
        let mut refusals = Refusals::default();
        assert_eq!(refusals.note(at(5)), Some(1));
        assert_eq!(refusals.note(at(6)), None);
        assert_eq!(refusals.note(at(1_004)), None);
        assert_eq!(refusals.note(at(1_005)), Some(3));
    }
}
