//! From measured points to a load-latency profile.
//!
//! What this crate does **not** do: it measures nothing, reads no clock and resizes no pod. It says where to measure
//! next ([`next_probe`]), which mechanism explains the points ([`fit`]) and what latency follows at every size and
//! rate ([`curve`]). The tail of a short window is too noisy to be taken as it is, so each quantile counts by how much it
//! varies over simulated windows of the same length, the tail comes from the simulation, and measured points correct it.

mod curve;
mod fit;
mod likely;
mod next_probe;
mod point;
mod waits;

pub use curve::{Profile, curve};
pub use fit::{FitError, Fitted, Setting, fit};
pub use next_probe::{Done, Next, Plan, next_probe, room_wanted};
pub use point::{Point, Times};
pub use waits::Waits;
