//! Decides replicas and CPU of every workload, and lets pods grow between decisions.
//!
//! What this crate does **not** do: it measures nothing, writes nothing, reads no clock and draws no random number.
//! Everything it knows is in the [`Tick`], everything it wants done is in the [`Decision`]s, and what it must remember
//! goes back in with the next tick as [`State`]. The same tick gives the same decisions.
//!
//! [`decide`] is the only place that chains a [`Forecaster`], a [`Policy`] and the shield: a policy proposes, the
//! shield disposes. [`reflex`] is the fast path between ticks and [`leave`] the way out.

mod aim;
mod behavior;
mod capacity;
mod condition;
mod decide;
mod facts;
mod forecast;
mod leave;
mod limits;
mod numbers;
mod policy;
mod quota;
mod reason;
mod reflex;
mod resize;
mod search;
mod shield;
mod state;
mod tick;
mod windows;

pub use behavior::{Paced, Windows, pace, stabilize, windows, within_tolerance};
pub use capacity::{Lack, Profile};
pub use condition::{Condition, ConditionReason, ConditionType};
pub use decide::decide;
pub use forecast::{Forecast, Forecaster, LastPeak, Window};
pub use leave::{Blind, Hindrance, Leaving, Short, leave};
pub use limits::{Limits, ReflexLimits};
pub use numbers::Numbers;
pub use policy::{Analytic, Policy, Proposal};
pub use reason::{Guard, Reason, Signal};
pub use reflex::{ReflexInput, ReflexPod, ReflexWorkload, bearable, reflex};
pub use resize::gives_way;
pub use state::{
    Emergency, Lacking, Load, Recommendation, Refused, Refuser, ScaleEvent, Shrink, State,
    Uncreated,
};
pub use tick::{Decision, Engines, Fleet, Tick};
