//! Splits against every allocation there is, what they mean, and how long they take.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test: a panic is its way to fail"
)]

mod answers;
mod application;
mod brute;
mod exact;
mod meaning;
mod speed;
