//! Which rollouts are held, whose pause a pause is, and when a hold ends.
//!
//! What this crate does **not** do: it talks to nobody and reads no clock. The webhook asks [`admit`] about an update,
//! the controller (and, without one, a webhook replica) asks [`next`] about a stored Deployment; both answer with
//! patches that others send.
//!
//! Objects are JSON values, so that fields this crate does not know survive. No patch touches `spec.template` or
//! `spec.replicas`.

mod admit;
mod containers;
mod deployment;
mod facts;
mod hash;
mod hazard;
mod hold;
mod judge;
mod next;
mod reason;
mod request;
mod running;
pub mod snapshot;
mod undo;
mod verdict;
mod warn;

pub use admit::{Admission, admit};
pub use containers::{Serving, images, serving};
pub use facts::Facts;
pub use hash::{RevisionHash, revision_hash, shape_hash};
pub use hold::{HoldState, Stamps, pause_declared};
pub use next::{OVERDUE, Phase, Progress, READY_LIMIT, Step, Trouble, Watcher, let_go, next};
pub use reason::{Hazard, PassReason, ReleaseReason};
pub use request::{Operation, Request};
pub use running::Running;
pub use snapshot::Snapshot;
pub use verdict::Verdict;
