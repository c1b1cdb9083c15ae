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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::gateway::config;

    #[test]
    fn the_next_check_is_when_there_is_something_new_to_tell() {
        let dir = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for (name, text) in [
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
            ("gateway.toml", CONFIG.to_owned()),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let plan = config::load(&dir.path().join("gateway.toml")).unwrap();
        let end_s = plan.routes[0].expiring().next().unwrap().validity.until_s;
        let warn_s = end_s - 30 * DAY_S;
        for (now_s, expected_s) in [
            (0, DAY_S),
            (warn_s - 10, 10),
            (warn_s, DAY_S),
            (end_s - 10, 11),
            (end_s + 1, DAY_S),
        ] {
            assert_eq!(next_check(&plan, now_s), Duration::from_secs(expected_s));
        }
    }

    const CONFIG: &str = r#"
[[route]]
name = "db"
protocol = "tcp"
listen = ["127.0.0.1:1"]
[route.client]
cert = "cert.pem"
key = "key.pem"
[route.server]
address = "127.0.0.1:2"
tls = "off"
"#;
}
