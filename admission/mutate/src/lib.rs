//! From the bytes of an admission review to the bytes of its answer.
//!
//! What this crate does **not** do: no I/O, no clock, and it never denies. Whatever arrives, the answer is "allowed";
//! what can't be read is allowed unchanged. Deployments go to [`msars_gate::admit`]; new pods get the size that their
//! revision is wanted to have, at birth.

mod decided;
mod pod;
mod review;

pub use review::{Answer, Outcome, decide, guess_uid};
