//! Why a decision is what it is, as data and as words.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use msars_domain::{MilliCpu, Millis, Unknown};
use serde::{Deserialize, Serialize};

use crate::Fleet;

/// The main reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Reason {
    /// The fleet carries the load.
    Fits,
    /// The load asks for more.
    LoadRose,
    /// The load asks for less.
    LoadFell,
    /// Replicas or size are outside what is allowed, and the way in is all that is needed.
    Bounds,
    /// A profile of a caller is about to send it more.
    Guests,
    /// Another shape is cheaper; the first half of the way there.
    Reshape,
    /// The last scale-down broke the budget.
    UndoScaleDown {
        /// Measured self time.
        measured: Millis,
    },
    /// Somebody dropped replicas below the floor.
    RestoreDrop {
        /// Replicas as we left them.
        from: u32,
    },
    /// The user's emergency.
    Emergency,
    /// Metrics vanished while the load was high.
    MetricsVanished {
        /// Last load over capacity.
        share: f64,
        /// Why they are missing.
        why: Unknown,
    },
    /// An emergency is over; replicas return slowly.
    EmergencyReturn,
    /// Metrics are missing for now.
    MetricsLost {
        /// Why.
        why: Unknown,
    },
    /// There never were metrics, or too long ago.
    NoMetrics {
        /// Why.
        why: Unknown,
    },
    /// No load-latency profile of the revision.
    NoProfile,
    /// No objective reaches the workload.
    NoObjective,
    /// `spec.replicas` is 0.
    ScaledToZero,
    /// The pause annotation.
    Paused,
    /// A second autoscaler has the target.
    Rival {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fits => write!(f, "it carries the load"),
            Self::LoadRose => write!(f, "the load asks for more"),
            Self::LoadFell => write!(f, "the load asks for less"),
            Self::Bounds => write!(f, "it is brought into its bounds"),
            Self::Guests => write!(f, "the profile of a caller brings more for a minute"),
            Self::Reshape => write!(
                f,
                "another shape is cheaper and this is the first half of the way"
            ),
            Self::UndoScaleDown { measured } => {
                write!(f, "the last scale-down hurt: self time is {measured} now")
            }
            Self::RestoreDrop { from } => {
                write!(
                    f,
                    "somebody took replicas down from {from}, below what the load needs"
                )
            }
            Self::Emergency => write!(f, "msars.io/emergency asks for as many replicas as allowed"),
            Self::MetricsVanished { share, why } => write!(
                f,
                "metrics vanished ({}) at {:.0} % of capacity",
                missing(*why),
                share * 100.0
            ),
            Self::EmergencyReturn => write!(f, "the emergency is over and replicas return slowly"),
            Self::MetricsLost { why } => write!(f, "metrics are missing ({})", missing(*why)),
            Self::NoMetrics { why } => write!(f, "there are no metrics ({})", missing(*why)),
            Self::NoProfile => write!(f, "its revision has no load-latency profile"),
            Self::NoObjective => write!(f, "no objective gives it a latency budget"),
            Self::ScaledToZero => write!(f, "spec.replicas is 0, which pauses scaling"),
            Self::Paused => write!(f, "msars.io/pause is set"),
            Self::Rival { kind, name } => write!(f, "{kind} {name} scales it too"),
        }
    }
}

fn missing(why: Unknown) -> Cow<'static, str> {
    match why {
        Unknown::Unreachable => "the source did not answer".into(),
        Unknown::NoSeries => "no series matches".into(),
        Unknown::Stale => "the newest sample is too old".into(),
        Unknown::NotANumber => "not a number".into(),
        Unknown::TooFewSamples => "too few requests".into(),
        Unknown::Saturated { least } => format!(
            "above {} ms, the largest bound of its histogram: give it larger ones",
            least.get()
        )
        .into(),
    }
}

/// What changed or held back a proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "guard", rename_all = "camelCase")]
pub enum Guard {
    /// The policy's proposal lay below what the profile needs.
    BelowFloor {
        /// What it proposed.
        proposed: Fleet,
    },
    /// A higher recommendation of the window counts.
    DownStabilized {
        /// The window, seconds.
        window_s: u32,
    },
    /// A lower recommendation of the window counts.
    UpStabilized {
        /// The window, seconds.
        window_s: u32,
    },
    /// The rate policies bound replicas.
    RateLimited {
        /// What was wanted.
        wanted: u32,
        /// What they allow.
        allowed: u32,
    },
    /// Fewer replicas would do, but for the minimum.
    AtMinimum,
    /// More are needed than the bounds allow.
    AtMaximum,
    /// A hold or rollout: nothing shrinks.
    Rolling,
    /// `pause-scale-down`.
    ScaleDownPaused,
    /// A metric is missing: nothing shrinks.
    UnknownSignal {
        /// Which.
        signal: Signal,
        /// Why.
        why: Unknown,
    },
    /// An emergency holds: nothing shrinks below it.
    EmergencyFloor {
        /// Replicas.
        replicas: u32,
    },
    /// A shrink was undone; calm until then.
    Calm {
        /// Until when.
        until: Timestamp,
    },
    /// A move the other way was made within the window.
    Direction {
        /// The window, seconds.
        window_s: u32,
    },
    /// Self time is over the budget: nothing shrinks.
    Breach {
        /// Measured.
        measured: Millis,
    },
    /// An older revision's profile stands in: nothing shrinks by it.
    Borrowed,
    /// The shrink would not carry the measured peak.
    Floor,
    /// A namespace quota bounds the fleet.
    Quota {
        /// What was wanted.
        wanted: Fleet,
    },
    /// Pods that should be ready are not; they are replaced, or nothing shrinks.
    Unready {
        /// How many.
        pods: u32,
    },
    /// The ReplicaSet has not created pods for long: more replicas would get none either, so that only sizes grow.
    Uncreated {
        /// How many.
        pods: u32,
    },
    /// Pods have been without a node for long: they do not serve, more would wait beside them, and sizes grow.
    Waiting {
        /// How many.
        pods: u32,
    },
    /// Live self time is over the budget although the profile says otherwise: the load counts for more.
    Pressure {
        /// Percent more.
        percent: u32,
    },
    /// The CPU is used up: more was offered than was measured.
    Saturated,
    /// A pod's resize waits or was refused; its actual size is planned with.
    ResizeBlocked {
        /// How many pods.
        pods: u32,
        /// The smallest size among them.
        size: MilliCpu,
    },
    /// Somebody else resized pods; they stay as they are and are planned with at that.
    ForeignSize {
        /// How many pods have less than is wanted.
        pods: u32,
        /// The smallest size among them.
        size: MilliCpu,
    },
    /// A resize was deferred for too long and is withdrawn.
    Withdrawn {
        /// How many pods.
        pods: u32,
    },
    /// Pods that find no node with what they ask for come down to their template's size: they serve nobody.
    Unplaced {
        /// How many pods.
        pods: u32,
    },
    /// Replicas are left to somebody else.
    ReplicasLeft,
    /// The budget lies below what any size reaches; planned for is the nearest.
    Unreachable {
        /// The budget planned for.
        planned: Millis,
    },
    /// The change of shape must wait.
    ReshapeWaits,
}

/// A metric that a shrink depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    /// The request rate.
    Rate,
    /// Its recent peak.
    Peak,
    /// Request or self time.
    Latency,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Rate => "the request rate",
            Self::Peak => "the recent peak",
            Self::Latency => "latency",
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowFloor { proposed } => {
                write!(f, "the policy's {proposed} is less than the profile needs")
            }
            Self::DownStabilized { window_s } => {
                write!(f, "more was recommended within the last {window_s} s")
            }
            Self::UpStabilized { window_s } => {
                write!(f, "less was recommended within the last {window_s} s")
            }
            Self::RateLimited { wanted, allowed } => {
                write!(
                    f,
                    "behavior allows {allowed} replicas now instead of {wanted}"
                )
            }
            Self::AtMinimum => write!(f, "the minimum of replicas is reached"),
            Self::AtMaximum => write!(f, "the load needs more than the bounds allow"),
            Self::Rolling => write!(f, "nothing shrinks during a hold or rollout"),
            Self::ScaleDownPaused => write!(f, "msars.io/pause-scale-down is set"),
            Self::UnknownSignal { signal, why } => {
                let name = signal.name();
                write!(
                    f,
                    "nothing shrinks while {name} is unknown ({})",
                    missing(*why)
                )
            }
            Self::EmergencyFloor { replicas } => {
                write!(f, "an emergency keeps at least {replicas} replicas")
            }
            Self::Calm { until } => write!(
                f,
                "nothing shrinks before {until}, as the last scale-down hurt"
            ),
            Self::Direction { window_s } => {
                write!(f, "it moved the other way within the last {window_s} s")
            }
            Self::Breach { measured } => {
                write!(
                    f,
                    "nothing shrinks while self time is {measured}, over the budget"
                )
            }
            Self::Borrowed => write!(
                f,
                "nothing shrinks while an older revision's profile stands in"
            ),
            Self::Floor => write!(f, "less would not carry the measured peak"),
            Self::Quota { wanted } => write!(f, "the namespace's quota has no room for {wanted}"),
            Self::Unready { pods } => write!(f, "{pods} pods are not ready that should be"),
            Self::Uncreated { pods } => write!(
                f,
                "{pods} pods were not created, and more would not be either"
            ),
            Self::Waiting { pods } => write!(
                f,
                "{pods} pods wait for a node that has room, and more would as well"
            ),
            Self::Pressure { percent } => {
                write!(
                    f,
                    "live self time asks for {percent} % more than the profile"
                )
            }
            Self::Saturated => write!(f, "CPU is used up, so more was offered than was measured"),
            Self::ResizeBlocked { pods, size } => {
                write!(
                    f,
                    "{pods} pods did not get their size, the smallest has {size}"
                )
            }
            Self::ForeignSize { pods, size } => {
                write!(
                    f,
                    "{pods} pods keep the size that somebody else gave them, the smallest {size}"
                )
            }
            Self::Withdrawn { pods } => {
                write!(
                    f,
                    "the resize of {pods} pods was deferred too long and is withdrawn"
                )
            }
            Self::Unplaced { pods } => {
                write!(
                    f,
                    "{pods} pods that find no node come down to their template's size"
                )
            }
            Self::ReplicasLeft => write!(f, "replicas are left to another writer"),
            Self::Unreachable { planned } => {
                write!(
                    f,
                    "no size reaches the budget; {planned} is planned for instead"
                )
            }
            Self::ReshapeWaits => write!(f, "the change of shape waits"),
        }
    }
}
