//! Reviews as the API server sends them, and reviews as nobody should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]
#![allow(
    clippy::too_many_lines,
    clippy::type_complexity,
    clippy::semicolon_if_nothing_returned,
    reason = "tables: a row is a closure of one statement"
)]

mod fuzz;
mod golden;
mod pods;
mod sent;
