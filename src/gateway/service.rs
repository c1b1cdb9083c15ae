use std::collections::HashMap;
use std::sync::Arc;

use super::config::{Plan, Route};
use super::counters::RouteCounters;

/// A plan in service: its routes with their counters.
pub(crate) struct Service {
    pub(crate) plan: Arc<Plan>,
    pub(crate) routes: Vec<Arc<RouteState>>,
    /// Open connections of clients, all routes and workers together.
    pub(crate) connections_max: usize,
}

/// A route in service.
pub(crate) struct RouteState {
    pub(crate) route: Arc<Route>,
    pub(crate) counters: Arc<RouteCounters>,
}

impl Service {
    /// Puts `plan` into service; a route that was there under the same name goes on counting.
    pub(crate) fn new(
        plan: Arc<Plan>,
        previous: Option<&Self>,
        workers: usize,
        connections_max: usize,
    ) -> Self {
        let counters: HashMap<_, _> = previous
            .into_iter()
            .flat_map(|service| &service.routes)
            .map(|state| (state.route.name.clone(), state.counters.clone()))
            .collect();
        let state = |route: &Arc<Route>| {
            let known = counters.get(&route.name).cloned();
            Arc::new(RouteState {
                route: route.clone(),
                counters: known.unwrap_or_else(|| Arc::new(RouteCounters::new(workers))),
            })
        };
        Self {
            routes: plan.routes.iter().map(state).collect(),
            connections_max,
            plan,
        }
    }
}
