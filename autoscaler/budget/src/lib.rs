//! Splits one chain's objective into a self-time budget per visit for every service, at the least requested CPU.
//!
//! What this crate does **not** do: it measures nothing and corrects no tail (budgets of a path add up to the
//! objective, κ = 1), takes one chain at a time, and refuses chains in which a service recurs.
//!
//! The method is a dynamic program over a grid of budget units: exact on series-parallel trees for that grid, where
//! greedy unit-wise descent (Parslo, SoCC'21) is not once replicas are whole numbers.

mod reference;

pub use reference::{Assignment, Service, Split, SplitError, SplitRequest, split};
