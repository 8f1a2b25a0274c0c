//! Every name of the product's API: annotations, labels, the three kinds of group `msars.io`, condition types and
//! reasons.
//!
//! What this crate does **not** do: it talks to no cluster, reads no clock and decides nothing. Its types are what
//! the API server stores; the controllers turn them into domain types once, at validation.

pub mod annotations;
pub mod conditions;
pub mod crd;
pub mod names;
