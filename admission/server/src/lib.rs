//! Does **not** decide: it carries admission reviews over HTTPS to a [`Decide`] and back.
//! Does no I/O while answering, and never denies: whatever goes wrong (a late decision, a
//! panic, a body cut short or too large), the answer is "allowed", unchanged.

mod answer;
mod metrics;
mod route;
mod tls;

pub use answer::{Decide, Decision, Outcome};
pub use axum_server::tls_rustls::RustlsConfig;
pub use metrics::Metrics;
pub use route::{Limits, router};
pub use tls::{Pair, TlsError, first, follow, rustls_config, serve};
