//! The words every room shares: units, readings, chains and load-latency curves.
//!
//! What this crate does **not** do: it reads no clock, talks to nobody, draws no random number and knows no
//! Kubernetes type. API types become these types once, at validation; from there on only these travel.

mod action;
mod address;
mod behavior;
mod chain;
mod curve;
pub mod load;
mod object;
mod observation;
mod reading;
mod requests;
mod signals;
mod token;
mod units;

pub use action::Action;
pub use address::authority;
pub use behavior::{Behavior, PolicyType, ScalingPolicy, ScalingRules, SelectPolicy};
pub use chain::{Call, Chain, ChainError, EdgeKind};
pub use curve::{Curve, CurveError, Knot, SizeCurve};
pub use object::ObjectKey;
pub use observation::{
    Beside, CpuBounds, CpuSize, Headroom, Observation, PodCost, PodState, Qos, RateSample, Resize,
    RevisionState, Rival, Wishes,
};
pub use reading::{Reading, Unknown};
pub use requests::{Method, MixError, Request, RequestMix};
pub use signals::Signals;
pub use token::{TOKEN_ENV, Token};
pub use units::{Bytes, MilliCpu, Millis, Percentile, Rate, UnitError};
