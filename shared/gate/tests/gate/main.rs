//! Every rule of the gate: rows of tables, and what holds for every write.

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
    reason = "tables: a row is a closure of one statement, and there are many"
)]

mod begin;
mod ends;
mod hazards;
mod next;
mod order;
mod properties;
mod told;
mod undo;
mod world;
