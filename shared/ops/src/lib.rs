//! Does **not** know Kubernetes, and decides nothing about workloads: it is what every
//! program of ours needs to be run by somebody else. Flags, logs, the admin server, the
//! clock and an orderly end.

pub mod admin;
pub mod clock;
pub mod flags;
pub mod logging;
pub mod readiness;
pub mod shutdown;
