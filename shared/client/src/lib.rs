//! Does **not** decide what to write: it holds the connections to the API server, and the
//! Lease that says which replica may write at all.

pub mod connect;
pub mod leader;
pub mod lease;
