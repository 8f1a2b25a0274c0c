//! Open-loop HTTP load: requests leave at times drawn beforehand, whatever the target does.
//!
//! What this crate does **not** do: it never waits for an answer before it sends the next request, follows no
//! redirect, speaks no TLS and no HTTP/2, and judges no result. It knows nothing of Kubernetes.
//!
//! - [`Schedule`]: Poisson arrivals at a rate or along a trace, from a seed; pure.
//! - [`Plan`] and [`drive`]: one run. Latency counts from the intended time of sending, so that a stall of the target
//!   shows in every request that should have left during it (no coordinated omission).
//! - [`serve`]: the same over HTTP, one run at a time, for the controller, which brings a [`Token`](msars_domain::Token).
//! - [`protocol`]: what is asked and answered, shared with those who may not depend on this crate.
//!
//! **Precision.** Arrivals wait on a `timerfd`, not on tokio's timer: tokio rounds up to the next millisecond, which
//! would stand in every latency. What lateness remains (a busy or throttled process) is part of the latencies and
//! reported beside them, per window, as `lag_p99_ms`: a caller rejects windows with [`Window::driver_late`].
//! Timeouts do use tokio's timer and fire up to 1 ms late.
//!
//! **Cost.** Measured on two cores shared with ten runnable processes: 102 µs of CPU per request at 300/s (30m), 57 µs
//! at 1,000/s, 48 µs at 2,000/s (96m); lag p50 0.05 to 0.1 ms, p99 4.5 to 5 ms, which is the wait for a core. A CPU
//! limit of 50m was not reached at 300/s; under 20m it was, and lag p99 rose to 67 ms. Every result states its own.
//!
//! [`Window::driver_late`]: msars_domain::load::Window::driver_late

mod arrivals;
mod clock;
mod drive;
mod plan;
mod pool;
mod record;
mod serve;
mod timer;

pub use arrivals::{Arrivals, Schedule, TraceError, TraceScale};
pub use drive::{DriveError, drive};
/// What is asked of a run and what it answers.
pub use msars_domain::load as protocol;
pub use plan::{Plan, PlanError, Target};
pub use serve::serve;
