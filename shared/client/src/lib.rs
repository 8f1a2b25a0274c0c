//! Does **not** decide what to write: it holds the connections to the API server, the
//! Lease that says which replica may write at all, guarded watches, the question what we may do, events, and the one
//! function that performs an [`msars_domain::Action`].

pub mod access;
pub mod apply;
pub mod connect;
pub mod events;
pub mod leader;
pub mod lease;
pub mod slim;
pub mod unread;
pub mod watched;
