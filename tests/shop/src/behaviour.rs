//! What a role does per request, and how its versions differ. The truth that profiles are
//! compared to.

use serde::Serialize;

use crate::role::{Role, Version};
use crate::table;

/// A call to another role.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// Who is called.
    pub callee: Role,
    /// Its route, as `GET /query`.
    pub route: &'static str,
    /// Calls per request; the part below one is drawn per request.
    pub visits: f64,
}

/// One step after the work, in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Waits for each visit in turn.
    Sequential(Call),
    /// Starts all, waits for the last.
    Parallel(Vec<Call>),
    /// Waits for nothing; the worker is free.
    Async(Call),
}

impl Step {
    /// The calls of this step.
    pub fn calls(&self) -> &[Call] {
        match self {
            Self::Sequential(call) | Self::Async(call) => std::slice::from_ref(call),
            Self::Parallel(calls) => calls,
        }
    }
}

/// One request class of a role.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// Method and path, as `GET /catalogue`.
    pub name: &'static str,
    /// Query of an example request, empty when there is none.
    pub query: &'static str,
    /// Body of an example request, empty when there is none.
    pub body: &'static str,
    /// Mean CPU time per request, milliseconds.
    pub work_ms: f64,
    /// Standard deviation of the logarithm of that time.
    pub sigma: f64,
    /// What follows the work.
    pub steps: Vec<Step>,
}

impl Route {
    /// The method.
    pub fn method(&self) -> &'static str {
        self.name
            .split_once(' ')
            .map_or(self.name, |(method, _)| method)
    }

    /// The path without a query.
    pub fn path(&self) -> &'static str {
        self.name.split_once(' ').map_or("/", |(_, path)| path)
    }

    /// An example of it as `profile-request` spells it: `GET /catalogue?size=5`.
    pub fn example(&self) -> String {
        let mut text = self.name.to_owned();
        if !self.query.is_empty() {
            text.push('?');
            text.push_str(self.query);
        }
        if !self.body.is_empty() {
            text.push(' ');
            text.push_str(self.body);
        }
        text
    }

    /// Every call of every step.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().flat_map(Step::calls)
    }
}

/// All that one version of one role does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Behaviour {
    /// Which role.
    pub role: Role,
    /// Which version.
    pub version: Version,
    /// Requests worked on at once; a worker is held while its request waits for callees.
    pub workers: usize,
    /// Request classes.
    pub routes: Vec<Route>,
}

impl Behaviour {
    /// The class of that name.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.name == name)
    }
}

/// Work of v2 over that of v1.
const SLOWER: f64 = 3.0;
/// Work of v3 over that of v1.
const FASTER: f64 = 0.5;
/// What v4 adds to sigma.
const WIDER: f64 = 0.5;
/// Workers of v1, v2 and v3.
const WORKERS: usize = 8;
/// Workers of v4.
const FEW_WORKERS: usize = 2;

/// What that version of that role does.
pub fn behaviour(role: Role, version: Version) -> Behaviour {
    let mut routes = table::base(role);
    let mut workers = WORKERS;
    for route in &mut routes {
        match version {
            Version::V1 => {}
            Version::V2 => route.work_ms *= SLOWER,
            Version::V3 => route.work_ms *= FASTER,
            Version::V4 => {
                workers = FEW_WORKERS;
                route.sigma += WIDER;
                if let Some(Step::Sequential(call)) = route.steps.first_mut() {
                    call.visits += 1.0;
                }
            }
        }
    }
    Behaviour {
        role,
        version,
        workers,
        routes,
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, behaviour};
    use crate::role::{ROLES, Role, Version};

    #[test]
    fn versions_differ_as_announced_in_every_role() {
        for role in ROLES {
            let [v1, v2, v3, v4] = [Version::V1, Version::V2, Version::V3, Version::V4]
                .map(|version| behaviour(role, version));
            assert!(!v1.routes.is_empty(), "{role}");
            for (n, base) in v1.routes.iter().enumerate() {
                let ratio = |other: &super::Behaviour| other.routes[n].work_ms / base.work_ms;
                assert!((ratio(&v2) - 3.0).abs() < 1e-9, "{role}");
                assert!((ratio(&v3) - 0.5).abs() < 1e-9, "{role}");
                assert!((ratio(&v4) - 1.0).abs() < 1e-9, "{role}");
                assert!(v4.routes[n].sigma > base.sigma && v4.workers < v1.workers);
                assert_eq!(v2.routes[n].steps, base.steps);
            }
        }
        let calls = |version| {
            let catalogue = behaviour(Role::Catalogue, version);
            let route = catalogue.route("GET /catalogue").unwrap();
            route.calls().map(|call| call.visits).sum::<f64>()
        };
        assert!((calls(Version::V4) - calls(Version::V1) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn every_call_names_a_route_that_its_callee_has() {
        for role in ROLES {
            for route in behaviour(role, Version::V1).routes {
                for call in route.calls() {
                    let callee = behaviour(call.callee, Version::V1);
                    assert!(callee.route(call.route).is_some(), "{role} {call:?}");
                    assert!(call.visits > 0.0);
                }
                assert!(route.name.starts_with(route.method()) && route.path().starts_with('/'));
            }
        }
    }

    #[test]
    fn there_is_a_parallel_pair_an_async_call_and_a_fractional_visit() {
        let steps: Vec<Step> = ROLES
            .into_iter()
            .flat_map(|role| behaviour(role, Version::V1).routes)
            .flat_map(|route| route.steps)
            .collect();
        assert!(
            steps
                .iter()
                .any(|s| matches!(s, Step::Parallel(calls) if calls.len() == 2))
        );
        assert!(steps.iter().any(|s| matches!(s, Step::Async(_))));
        assert!(
            steps
                .iter()
                .flat_map(Step::calls)
                .any(|call| call.visits.fract() > 0.0)
        );
    }
}
