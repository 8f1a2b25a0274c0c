//! Does **not** measure, scale or judge anything: the shop is the application under the
//! product, a stand-in for Sock-Shop whose truth is known. One program plays fourteen
//! roles; what each does per request is the table behind [`behaviour`], and nothing else
//! decides it.
//!
//! `work_ms` is CPU time of the whole process per request, HTTP included: what the process
//! spends beside its workers is measured and taken off the next requests' work, so that a
//! container's CPU counter agrees with the table.

mod behaviour;
mod clock;
mod connection;
mod draw;
mod handle;
mod manifests;
mod metrics;
mod mix;
mod overhead;
mod peers;
mod role;
mod serve;
mod table;
mod workers;

pub use behaviour::{Behaviour, Call, Route, Step, behaviour};
pub use draw::{Drawn, DrawnStep, draw};
pub use manifests::{Options, deployment, manifests, namespace, requests_milli, service};
pub use mix::{CHAINS, Chain, FRONT_MIX, MIX, mean_work_ms, own_requests, profile_request, visits};
pub use peers::{PeerMap, PeerMapError};
pub use role::{Image, ROLES, Role, UnknownName, VERSIONS, Version, image};
pub use serve::{Config, ServeError, serve};
