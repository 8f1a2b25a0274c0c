//! Prometheus to observations: queries, decoding, staleness.
//!
//! What this crate does **not** do: it decides nothing, caches nothing, retries nothing and reads no clock; it knows no
//! login but a bearer token and trusts no authority unasked, reads classic histograms only (a native histogram in an
//! answer counts as a partial answer), and knows no Kubernetes API: which pods serve is told by the caller.
//!
//! The number of queries of one call does not depend on the number of workloads. Texts of queries and the meaning of
//! their answers are pure ([`signal_queries`], [`assemble`]); [`Observer`] only carries one to the other.

mod access;
mod answer;
pub mod cadvisor;
mod client;
mod entry;
mod error;
pub mod exposition;
mod graph;
mod histogram;
mod observer;
mod preset;
mod program;
mod promql;
mod scope;
mod signals;

pub use access::Access;
pub use answer::{Answer, RangeAnswer, Sample, Series};
pub use client::{Client, Hear, Hears, Timeouts};
pub use entry::{
    BudgetReading, Budgeted, Budgets, Entries, Entry, EntryReading, assemble_budgets,
    assemble_entries, budget_queries, entry_queries,
};
pub use error::PromError;
pub use graph::{CallGraph, Edge, GraphError, Graphs, graph_queries, merged_chain};
pub use histogram::{Buckets, Quantile, enough};
pub use observer::Observer;
pub use preset::{
    Alive, Calls, Counter, Cpu, Histogram, Labels, MatchOp, Matcher, Preset, PresetError, TimeUnit,
    WorkloadFrom,
};
pub use program::Program;
pub use promql::Ask;
pub use scope::{Pod, Scope, Windows};
pub use signals::{Observed, Problem, Revision, assemble, signal_queries};

/// Answers by what was asked.
pub type Answers = std::collections::BTreeMap<Ask, Result<Answer, PromError>>;
