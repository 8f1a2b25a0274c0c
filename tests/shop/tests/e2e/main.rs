#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]
//! The program as processes on loopback.

mod chain;
mod harness;
mod shutdown;
mod whole;
