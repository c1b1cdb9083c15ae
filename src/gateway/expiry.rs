//! Warnings of what is about to expire, and of what has.

use std::time::Duration;

use super::config::{Expiring, ExpiringKind, Plan};
use super::log::escape;

/// Warns of everything that has expired or is about to.
pub(super) fn warn(plan: &Plan, now_s: u64) {
    for route in &plan.routes {
        for expiring in route.expiring().filter(|it| it.warn_s() <= now_s) {
            warn_of(&route.name, expiring, now_s);
        }
    }
}

/// How long nothing more is to be warned of; a day at most, so that nothing is forgotten.
pub(super) fn next_check(plan: &Plan, now_s: u64) -> Duration {
    let all = plan.routes.iter().flat_map(|route| route.expiring());
    let moments = all.flat_map(|it| [it.warn_s(), it.validity.until_s.saturating_add(1)]);
    let next = moments.filter(|at_s| *at_s > now_s).min();
    Duration::from_secs(next.map_or(DAY_S, |at_s| (at_s - now_s).min(DAY_S)))
}

fn warn_of(route: &str, expiring: Expiring<'_>, now_s: u64) {
    let Expiring {
        side,
        kind,
        validity,
    } = expiring;
    let (name, file) = (escape(&validity.name), escape(&validity.file));
    let left_s = validity.until_s.checked_sub(now_s);
    match (kind, left_s) {
        (ExpiringKind::RevocationList, Some(left_s)) => {
            let hours = left_s / HOUR_S;
            tracing::warn!(
                route,
                side,
                issuer = name,
                file,
                hours,
                "revocation list is due soon"
            );
        }
        (ExpiringKind::RevocationList, None) => {
            tracing::warn!(
                route,
                side,
                issuer = name,
                file,
                "revocation list is overdue"
            );
        }
        (ExpiringKind::Certificate, Some(left_s)) => {
            let days = left_s / DAY_S;
            tracing::warn!(
                route,
                side,
                subject = name,
                file,
                days,
                "certificate expires soon"
            );
        }
        (ExpiringKind::Certificate, None) => {
            tracing::warn!(route, side, subject = name, file, "certificate expired");
        }
        (ExpiringKind::Authority, Some(left_s)) => {
            let days = left_s / DAY_S;
            tracing::warn!(
                route,
                side,
                subject = name,
                file,
                days,
                "authority expires soon"
            );
        }
        (ExpiringKind::Authority, None) => {
            tracing::warn!(route, side, subject = name, file, "authority expired");
        }
    }
}

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 86_400;
