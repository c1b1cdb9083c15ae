use std::collections::HashMap;
use std::sync::Arc;

use super::config::{Plan, Route};
use super::counters::RouteCounters;
use crate::error::Result;
use crate::frame::mysql::auth::PrivateKey;

/// A plan in service: its routes with their counters.
pub(crate) struct Service {
    pub(crate) plan: Arc<Plan>,
    pub(crate) routes: Vec<Arc<RouteState>>,
    pub(crate) bounds: Bounds,
    password_key: Option<Arc<PrivateKey>>,
}

/// What connections of clients are bounded by, all routes and workers together; 0: not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) connections_max: usize,
    /// Of those that have not come to their session.
    pub(crate) half_open_max_per_address: usize,
}

/// A route in service.
pub(crate) struct RouteState {
    pub(crate) route: Arc<Route>,
    pub(crate) counters: Arc<RouteCounters>,
    /// To which clients without TLS encrypt their passwords, where a route has such clients. It is
    /// made once, before anybody is served: that takes a good part of a second.
    pub(crate) password_key: Option<Arc<PrivateKey>>,
}

impl Service {
    /// Puts `plan` into service. A route that has not changed stays as it is, with the TLS sessions
    /// and the verified chains that it remembers; one that has goes on counting under its name. The
    /// key for passwords stays.
    pub(crate) fn new(
        plan: Arc<Plan>,
        previous: Option<&Self>,
        workers: usize,
        connections_max: usize,
    ) -> Result<Self> {
        let known = previous.and_then(|service| service.password_key.clone());
        let password_key = match known {
            None if plan.routes.iter().any(|route| route.needs_password_key()) => {
                Some(Arc::new(PrivateKey::generate()?))
            }
            known => known,
        };
        let known: HashMap<_, _> = previous
            .into_iter()
            .flat_map(|service| &service.routes)
            .map(|state| (state.route.name.clone(), state))
            .collect();
        let state = |route: &Arc<Route>| match known.get(&route.name) {
            Some(known) if known.route.digest == route.digest => Arc::clone(known),
            known => Arc::new(RouteState {
                route: route.clone(),
                counters: match known {
                    Some(known) => known.counters.clone(),
                    None => Arc::new(RouteCounters::new(workers)),
                },
                password_key: password_key.clone(),
            }),
        };
        Ok(Self {
            routes: plan.routes.iter().map(state).collect(),
            bounds: Bounds {
                connections_max,
                half_open_max_per_address: plan.settings.half_open_max_per_address,
            },
            plan,
            password_key,
        })
    }

    /// True where this very state of a route is in service: nothing has changed it.
    pub(crate) fn holds(&self, state: &Arc<RouteState>) -> bool {
        self.routes.iter().any(|held| Arc::ptr_eq(held, state))
    }

    /// How many routes are not as they were in `previous`, those that are gone included.
    pub(crate) fn changes_since(&self, previous: &Self) -> usize {
        let is_gone = |state: &&Arc<RouteState>| {
            let name = &state.route.name;
            self.routes.iter().all(|held| held.route.name != *name)
        };
        let gone = previous.routes.iter().filter(is_gone).count();
        gone + (self.routes.iter())
            .filter(|state| !previous.holds(state))
            .count()
    }
}
