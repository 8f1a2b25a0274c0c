//! The words every room shares: units, readings, chains and load-latency curves.
//!
//! What this crate does **not** do: it reads no clock, talks to nobody, draws no random number and knows no
//! Kubernetes type. API types become these types once, at validation; from there on only these travel.

mod chain;
mod curve;
mod reading;
mod units;

pub use chain::{Call, Chain, ChainError, EdgeKind};
pub use curve::{Curve, CurveError, Knot, SizeCurve};
pub use reading::{Reading, Unknown};
pub use units::{MilliCpu, Millis, Percentile, Rate, UnitError};
