//! From measured points to a load-latency profile.
//!
//! What this crate does **not** do: it measures nothing, reads no clock and resizes no pod. It says where to measure
//! next ([`next_probe`]), which mechanism explains the points ([`fit`]) and what latency follows at every size and
//! rate ([`curve`]). The tail of a short window is too noisy to be fitted directly, so the tail comes from the
//! simulation and measured points only correct it.

mod curve;
mod fit;
mod next_probe;
mod point;

pub use curve::{Profile, curve};
pub use fit::{FitError, Fitted, Setting, fit};
pub use next_probe::{Done, Next, Plan, next_probe};
pub use point::Point;
