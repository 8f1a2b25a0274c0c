//! Splits the objectives of an application's chains into one self-time budget, size and replica count per service,
//! at the least requested CPU.
//!
//! What this crate does **not** do: it measures nothing, reads no clock, draws no random number, and knows no tail
//! but the factor it is given. Budgets of a path add up to the objective over that factor.
//!
//! Replicas are whole numbers, so each service has finitely many useful budgets: the self-time quantile of every
//! (size, replicas) that no other beats on both budget and cost. [`Reference`] chooses among those:
//!
//! - Services that occur once are solved by a dynamic program over the tree: parts in series share a budget, parallel
//!   branches each get all of it. Greedy unit-wise descent (Parslo, SoCC'21) is not exact here.
//! - Services that occur more than once, in one chain or in several, are enumerated outside of it. A dynamic program
//!   over a grid of a surrogate budget (budgets rounded down) gives the bound that prunes the enumeration.
//! - The enumeration has a fixed number of steps, not of seconds: past it the best split found stands, improved by
//!   moves, labelled [`Method::Bounded`] and with the proved gap.

mod allocator;
mod baseline;
mod bound;
mod choices;
mod front;
mod moves;
mod outcome;
mod problem;
mod relax;
mod report;
mod request;
mod search;
mod slack;
mod tail;

pub use allocator::{Allocator, Equal, Proportional, Reference};
pub use outcome::{Bound, ChainSplit, Method, Pods, ServiceSplit, Shortfall, Split};
pub use problem::path_latency;
pub use request::{
    ChainRequest, Floor, Latency, Service, SplitError, SplitRequest, TailFactor, Weight, on_chains,
};
pub use tail::fit_tail;
