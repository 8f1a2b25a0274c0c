//! Our own manifests as data, the rights that they give, and a real API server to hold them against.
//!
//! What this crate does **not** do: it knows nothing of the product's decisions, and it changes nothing in a cluster
//! outside the namespaces that it makes and what `kubectl apply -k manifests` installs.

mod bed;
mod manifests;
mod rights;
mod used;

pub use bed::{Bed, OTHER, REACHED, Said};
pub use manifests::{alerts, documents, folder};
pub use rights::{DENIED, Denied, HELD, Held, Right, Scope, Who, given, held};
pub use used::{Call, calls, missed, unused};
