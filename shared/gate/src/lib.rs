//! What a held rollout is, told from the stored object alone.
//!
//! What this crate does **not** do: it talks to nobody, reads no clock, and decides nothing about whether a revision
//! is to be held; it says what a revision is, whose pause a pause is, and which patch makes or ends a hold.
//!
//! Objects are JSON values, so that fields this crate does not know survive.

mod hash;
mod hold;

pub use hash::{RevisionHash, revision_hash, shape_hash};
pub use hold::{HoldState, hold_patch, release_patch, strip_patch};
