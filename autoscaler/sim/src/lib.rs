//! One pod as a queue under a CPU quota, simulated event by event.
//!
//! What this crate does **not** do: it reads no clock, draws nothing but what its seed gives, models no network,
//! no balancing between pods and no start-up. Quota is one pool per period: runtime stranded in a core's 5 ms slice
//! is left out, which is exact when one core is busy.

mod pod;

pub use pod::{Demand, Mechanism, Run, Wait, lognormal, serve, simulate, stream};
