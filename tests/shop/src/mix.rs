//! What visitors ask for, and what that makes every role do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::behaviour::{Route, behaviour};
use crate::role::{Role, Version};

/// Weight of each front-end route in the visitors' mix.
pub const MIX: [(f64, &str); 7] = [
    (5.0, "GET /"),
    (3.0, "GET /catalogue"),
    (0.5, "GET /cart"),
    (1.0, "POST /cart"),
    (1.0, "GET /login"),
    (0.5, "POST /orders"),
    (0.5, "GET /orders"),
];

/// The same as a weighted request list, as `profile-request` and the load driver take it.
pub const FRONT_MIX: &str = r#"5 GET /; 3 GET /catalogue?size=5; 0.5 GET /cart; 1 POST /cart {"id":"sock-7","quantity":1}; 1 GET /login; 0.5 POST /orders {"customer":"c-1","card":"k-1","address":"a-1"}; 0.5 GET /orders"#;

/// A request class of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// The front-end routes that enter it.
    pub routes: &'static [&'static str],
}

/// The five chains.
pub const CHAINS: [Chain; 5] = [
    Chain {
        name: "browse",
        routes: &["GET /", "GET /catalogue"],
    },
    Chain {
        name: "cart",
        routes: &["GET /cart", "POST /cart"],
    },
    Chain {
        name: "login",
        routes: &["GET /login"],
    },
    Chain {
        name: "checkout",
        routes: &["POST /orders"],
    },
    Chain {
        name: "history",
        routes: &["GET /orders"],
    },
];

fn add(
    seen: &mut BTreeMap<(Role, &'static str), f64>,
    version: &impl Fn(Role) -> Version,
    (role, name): (Role, &'static str),
    rate: f64,
) {
    *seen.entry((role, name)).or_default() += rate;
    let behaviour = behaviour(role, version(role));
    for call in behaviour.route(name).into_iter().flat_map(Route::calls) {
        add(seen, version, (call.callee, call.route), rate * call.visits);
    }
}

/// Requests that each role's routes get per request of the visitors' mix, when every role
/// runs the version that `version` says.
pub fn visits(version: impl Fn(Role) -> Version) -> BTreeMap<(Role, &'static str), f64> {
    let all: f64 = MIX.iter().map(|(weight, _)| weight).sum();
    let mut seen = BTreeMap::new();
    for (weight, name) in MIX {
        add(&mut seen, &version, (Role::FrontEnd, name), weight / all);
    }
    seen
}

/// A role's own requests with their weights, three decimals, as the visitors' mix makes them
/// when every role runs v1. A role nobody calls gets its routes with equal weights.
pub fn own_requests(role: Role) -> Vec<(f64, Route)> {
    let routes = behaviour(role, Version::V1).routes;
    if role == Role::FrontEnd {
        let weight = |name| {
            MIX.iter()
                .find(|(_, route)| *route == name)
                .map_or(0.0, |w| w.0)
        };
        return routes
            .into_iter()
            .map(|route| (weight(route.name), route))
            .collect();
    }
    let visits = visits(|_| Version::V1);
    let rate = |name| visits.get(&(role, name)).copied().unwrap_or_default();
    let all: f64 = routes.iter().map(|route| rate(route.name)).sum();
    let share = |name| if all > 0.0 { rate(name) / all } else { 1.0 };
    routes
        .into_iter()
        .map(|route| ((share(route.name) * 1000.0).round() / 1000.0, route))
        .filter(|(weight, _)| *weight > 0.0)
        .collect()
}

/// A role's own requests as the annotation `msars.io/profile-request` takes them.
pub fn profile_request(role: Role) -> String {
    let requests = own_requests(role);
    if let [(_, only)] = requests.as_slice() {
        return only.example();
    }
    let texts: Vec<String> = requests
        .iter()
        .map(|(weight, route)| format!("{weight} {}", route.example()))
        .collect();
    texts.join("; ")
}

/// True mean CPU time per request of that version over the role's own requests, milliseconds:
/// what a profile should find.
pub fn mean_work_ms(role: Role, version: Version) -> f64 {
    let behaviour = behaviour(role, version);
    let requests = own_requests(role);
    let all: f64 = requests.iter().map(|(weight, _)| weight).sum();
    let work = |name| behaviour.route(name).map_or(0.0, |route| route.work_ms);
    let sum: f64 = requests
        .iter()
        .map(|(weight, route)| weight * work(route.name))
        .sum();
    sum / all
}

#[cfg(test)]
mod tests {
    use super::{CHAINS, FRONT_MIX, MIX, mean_work_ms, profile_request, visits};
    use crate::behaviour::behaviour;
    use crate::role::{ROLES, Role, Version};

    #[test]
    fn the_front_ends_own_requests_are_the_mix() {
        assert_eq!(profile_request(Role::FrontEnd), FRONT_MIX);
    }

    #[test]
    fn own_requests_follow_the_traffic() {
        assert_eq!(
            profile_request(Role::Catalogue),
            "0.762 GET /catalogue?size=5; 0.143 GET /tags; 0.095 GET /product?id=sock-7"
        );
        assert_eq!(profile_request(Role::UserDb), "GET /query");
        assert_eq!(profile_request(Role::Sidecar), "GET /");
    }

    #[test]
    fn the_mix_reaches_every_role_and_every_front_route_is_in_one_chain() {
        let visits = visits(|_| Version::V1);
        for role in ROLES {
            assert!(
                visits.keys().any(|(seen, _)| *seen == role),
                "{role} gets nothing"
            );
        }
        for (_, name) in MIX {
            let holders = CHAINS.iter().filter(|chain| chain.routes.contains(&name));
            assert_eq!(holders.count(), 1, "{name}");
        }
        // One more query per catalogue request in v4.
        let more = super::visits(|role| match role {
            Role::Catalogue => Version::V4,
            _ => Version::V1,
        });
        let ratio =
            more[&(Role::CatalogueDb, "GET /query")] / visits[&(Role::CatalogueDb, "GET /query")];
        assert!((ratio - 2.0).abs() < 1e-9);
    }

    #[test]
    fn forty_requests_a_second_cost_less_than_half_a_core() {
        let millicores = |version: fn(Role) -> Version| -> f64 {
            let work = |role, name| behaviour(role, version(role)).route(name).unwrap().work_ms;
            visits(version)
                .into_iter()
                .map(|((role, name), rate)| 40.0 * rate * work(role, name))
                .sum()
        };
        let base = millicores(|_| Version::V1);
        let slow = millicores(|role| {
            if role == Role::Catalogue {
                Version::V2
            } else {
                Version::V1
            }
        });
        assert!((150.0..400.0).contains(&base), "{base}");
        assert!(slow < 500.0, "{slow}");
    }

    #[test]
    fn the_truth_is_the_weighted_mean_of_the_routes() {
        let v1 = mean_work_ms(Role::Catalogue, Version::V1);
        let by_hand = 0.762 * 3.0 + 0.143 * 1.5 + 0.095 * 2.0;
        assert!((v1 - by_hand).abs() < 1e-9);
        assert!((mean_work_ms(Role::Catalogue, Version::V2) / v1 - 3.0).abs() < 1e-9);
    }
}
