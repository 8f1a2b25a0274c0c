//! The base of every role: Sock-Shop's call graph with work a small node can carry.
//! Sources of the graph: microservices-demo `front-end/api/*`, `OrdersController.java`,
//! shipping and queue-master. Work and visits are the shop's own.

use crate::behaviour::{Call, Route, Step};
use crate::role::Role;

fn route(name: &'static str, work_ms: f64, sigma: f64, steps: Vec<Step>) -> Route {
    Route {
        name,
        query: "",
        body: "",
        work_ms,
        sigma,
        steps,
    }
}

fn call(callee: Role, route: &'static str, visits: f64) -> Call {
    Call {
        callee,
        route,
        visits,
    }
}

fn then(callee: Role, route: &'static str, visits: f64) -> Step {
    Step::Sequential(call(callee, route, visits))
}

fn together(calls: &[(Role, &'static str)]) -> Step {
    Step::Parallel(
        calls
            .iter()
            .map(|(callee, route)| call(*callee, route, 1.0))
            .collect(),
    )
}

impl Route {
    fn query(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }

    fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }
}

const ITEM: &str = r#"{"id":"sock-7","quantity":1}"#;
const ORDER: &str = r#"{"customer":"c-1","card":"k-1","address":"a-1"}"#;

fn front_end() -> Vec<Route> {
    const SIGMA: f64 = 0.5;
    vec![
        route(
            "GET /",
            0.8,
            SIGMA,
            vec![
                then(Role::SessionDb, "GET /session", 0.3),
                then(Role::Catalogue, "GET /catalogue", 1.0),
            ],
        ),
        route(
            "GET /catalogue",
            0.8,
            SIGMA,
            vec![
                then(Role::Catalogue, "GET /catalogue", 1.0),
                then(Role::Catalogue, "GET /tags", 0.5),
            ],
        )
        .query("size=5"),
        route(
            "GET /cart",
            0.7,
            SIGMA,
            vec![
                then(Role::SessionDb, "GET /session", 1.0),
                then(Role::Carts, "GET /carts", 1.0),
            ],
        ),
        route(
            "POST /cart",
            0.9,
            SIGMA,
            vec![
                then(Role::Catalogue, "GET /product", 1.0),
                then(Role::Carts, "POST /carts", 1.0),
            ],
        )
        .body(ITEM),
        route(
            "GET /login",
            0.9,
            SIGMA,
            vec![
                then(Role::User, "GET /login", 1.0),
                then(Role::Carts, "POST /carts/merge", 1.0),
            ],
        ),
        route(
            "POST /orders",
            1.2,
            SIGMA,
            vec![
                then(Role::User, "GET /customers", 1.0),
                together(&[(Role::User, "GET /addresses"), (Role::User, "GET /cards")]),
                then(Role::Orders, "POST /orders", 1.0),
            ],
        )
        .body(ORDER),
        route(
            "GET /orders",
            0.8,
            SIGMA,
            vec![
                then(Role::SessionDb, "GET /session", 1.0),
                then(Role::Orders, "GET /orders", 1.0),
            ],
        ),
    ]
}

fn catalogue() -> Vec<Route> {
    const SIGMA: f64 = 0.6;
    let query = || vec![then(Role::CatalogueDb, "GET /query", 1.0)];
    vec![
        route("GET /catalogue", 3.0, SIGMA, query()).query("size=5"),
        route("GET /tags", 1.5, SIGMA, query()),
        route("GET /product", 2.0, SIGMA, query()).query("id=sock-7"),
    ]
}

fn carts() -> Vec<Route> {
    const SIGMA: f64 = 0.7;
    let read = || then(Role::CartsDb, "GET /query", 1.0);
    let write = |visits| then(Role::CartsDb, "POST /save", visits);
    vec![
        route("GET /carts", 1.0, SIGMA, vec![read()]),
        route("POST /carts", 1.2, SIGMA, vec![read(), write(1.0)]).body(ITEM),
        route("POST /carts/merge", 1.0, SIGMA, vec![read(), write(0.4)]).body("{}"),
    ]
}

fn orders() -> Vec<Route> {
    const SIGMA: f64 = 0.8;
    vec![
        route(
            "POST /orders",
            2.5,
            SIGMA,
            vec![
                together(&[
                    (Role::User, "GET /addresses"),
                    (Role::User, "GET /customers"),
                    (Role::User, "GET /cards"),
                    (Role::Carts, "GET /carts"),
                ]),
                then(Role::Payment, "POST /payment", 1.0),
                then(Role::Shipping, "POST /shipping", 1.0),
                then(Role::OrdersDb, "POST /save", 1.0),
            ],
        )
        .body(ORDER),
        route(
            "GET /orders",
            1.5,
            SIGMA,
            vec![then(Role::OrdersDb, "GET /query", 1.0)],
        ),
    ]
}

fn user() -> Vec<Route> {
    const SIGMA: f64 = 0.6;
    let query = || vec![then(Role::UserDb, "GET /query", 1.0)];
    vec![
        route("GET /login", 1.5, SIGMA, query()),
        route("GET /customers", 0.8, SIGMA, query()),
        route("GET /addresses", 0.7, SIGMA, query()),
        route("GET /cards", 0.7, SIGMA, query()),
    ]
}

fn database(read_ms: f64, write_ms: Option<f64>) -> Vec<Route> {
    const SIGMA: f64 = 0.4;
    let mut routes = vec![route("GET /query", read_ms, SIGMA, vec![])];
    if let Some(work_ms) = write_ms {
        routes.push(route("POST /save", work_ms, SIGMA, vec![]).body("{}"));
    }
    routes
}

/// What version 1 of a role does.
pub(crate) fn base(role: Role) -> Vec<Route> {
    match role {
        Role::FrontEnd => front_end(),
        Role::Catalogue => catalogue(),
        Role::Carts => carts(),
        Role::Orders => orders(),
        Role::User => user(),
        Role::CatalogueDb => database(0.6, None),
        Role::CartsDb | Role::OrdersDb => database(0.4, Some(0.6)),
        Role::UserDb => database(0.4, None),
        Role::SessionDb => vec![route("GET /session", 0.3, 0.3, vec![])],
        Role::Payment => vec![route("POST /payment", 0.6, 0.4, vec![]).body(ORDER)],
        Role::Shipping => {
            let publish = Step::Async(call(Role::Rabbitmq, "POST /publish", 1.0));
            vec![route("POST /shipping", 0.8, 0.5, vec![publish]).body(ORDER)]
        }
        Role::Rabbitmq => {
            let deliver = Step::Async(call(Role::QueueMaster, "POST /consume", 1.0));
            vec![route("POST /publish", 0.4, 0.4, vec![deliver]).body(ORDER)]
        }
        Role::QueueMaster => vec![route("POST /consume", 0.8, 0.6, vec![]).body(ORDER)],
        Role::Sidecar => vec![route("GET /", 0.3, 0.3, vec![])],
    }
}
