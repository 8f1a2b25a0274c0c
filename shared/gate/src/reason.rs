//! Why a revision passes and why a hold ends: stable labels for metrics and audit, sentences for people.

use msars_api::annotations as a;

/// Why a copy of a template can't be started beside the living ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hazard {
    /// The Deployment's strategy says that two versions must not run at once.
    Recreate,
    /// A PersistentVolumeClaim that the copy could write to.
    WritableClaim {
        /// The claim's name.
        claim: String,
    },
    /// A folder of the node.
    HostPath,
    /// A port of the node, which a second pod can't take.
    HostPort,
    /// The network of the node.
    HostNetwork,
    /// A NetworkPolicy selects the template's labels, and would not select the copy's.
    NetworkPolicy,
}

/// Why an update is not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassReason {
    /// Not an update of a Deployment.
    NotAnUpdate,
    /// Objects without metadata, spec or template.
    Unreadable,
    /// The Deployment is being deleted.
    Deleting,
    /// The template is the same revision, but for `restartedAt` or annotations of ours.
    Restart,
    /// The template did not change.
    SameTemplate,
    /// The revision has a profile, or a ReplicaSet of the Deployment runs it.
    Known,
    /// Only CPU sizes differ from a profiled revision, inside the range measured.
    ProfiledSize,
    /// The user's pause stands.
    UserPaused,
    /// The user ends a pause of the user's own.
    UserResumed,
    /// `spec.paused` is declared by somebody, so that a hold would fight with it.
    PauseDeclared,
    /// `msars.io/mode` is not `auto`.
    ModeNotAuto,
    /// `msars.io/gate` is not `hold`.
    GateObserves,
    /// `msars.io/skip-gate` is set.
    SkipGate,
    /// `msars.io/pause` is set.
    Paused,
    /// `msars.io/emergency` is set.
    Emergency,
    /// No `msars.io/profile-request`.
    NoProfileRequest,
    /// A `msars.io/profile-request` that can't be read.
    BadProfileRequest {
        /// What is wrong with it.
        why: String,
    },
    /// Holds are off in the whole cluster.
    HoldsOff,
    /// No controller leads that could profile.
    NoController,
    /// The snapshot is not complete yet.
    NotSynced,
    /// No chain with an objective visits the workload.
    NoObjective,
    /// Our writes are not known to be granted in the namespace, so that a hold could be ended by nobody of ours.
    NoGrant {
        /// The namespace.
        namespace: String,
    },
    /// No replicas.
    NoReplicas,
    /// The Deployment is not Available.
    NotAvailable,
    /// The error budget burns fast; a rollout may be the cure.
    BurningFast,
    /// A copy can't be started safely.
    Unsafe(Hazard),
}

impl PassReason {
    /// A stable label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotAnUpdate => "NotAnUpdate",
            Self::Unreadable => "Unreadable",
            Self::Deleting => "Deleting",
            Self::Restart => "Restart",
            Self::SameTemplate => "SameTemplate",
            Self::Known => "Known",
            Self::ProfiledSize => "ProfiledSize",
            Self::UserPaused => "UserPaused",
            Self::UserResumed => "UserResumed",
            Self::PauseDeclared => "PauseDeclared",
            Self::ModeNotAuto => "ModeNotAuto",
            Self::GateObserves => "GateObserves",
            Self::SkipGate => "SkipGate",
            Self::Paused => "Paused",
            Self::Emergency => "Emergency",
            Self::NoProfileRequest => "NoProfileRequest",
            Self::BadProfileRequest { .. } => "BadProfileRequest",
            Self::HoldsOff => "HoldsOff",
            Self::NoController => "NoController",
            Self::NotSynced => "NotSynced",
            Self::NoObjective => "NoObjective",
            Self::NoGrant { .. } => "NoGrant",
            Self::NoReplicas => "NoReplicas",
            Self::NotAvailable => "NotAvailable",
            Self::BurningFast => "BurningFast",
            Self::Unsafe(Hazard::Recreate) => "Recreate",
            Self::Unsafe(Hazard::WritableClaim { .. }) => "WritableClaim",
            Self::Unsafe(Hazard::HostPath) => "HostPath",
            Self::Unsafe(Hazard::HostPort) => "HostPort",
            Self::Unsafe(Hazard::HostNetwork) => "HostNetwork",
            Self::Unsafe(Hazard::NetworkPolicy) => "NetworkPolicy",
        }
    }

    /// A part of a sentence for the user: "not held: ...".
    pub fn sentence(&self) -> String {
        match self {
            Self::NotAnUpdate => "only updates of a Deployment are held".into(),
            Self::Unreadable => "the object has no metadata, spec or template".into(),
            Self::Deleting => "the Deployment is being deleted".into(),
            Self::Restart => "a restart runs the same revision".into(),
            Self::SameTemplate => "the pod template did not change".into(),
            Self::Known => "this revision is known".into(),
            Self::ProfiledSize => "the new size lies inside the profiled range".into(),
            Self::UserPaused => "the Deployment is paused by its user".into(),
            Self::UserResumed => "its user resumed it".into(),
            Self::PauseDeclared => {
                "spec.paused is declared in the manifest; remove it to let revisions be held".into()
            }
            Self::ModeNotAuto => format!("{} is not auto", a::MODE),
            Self::GateObserves => format!("{} is not hold", a::GATE),
            Self::SkipGate => format!("{} is set", a::SKIP_GATE),
            Self::Paused => format!("{} is set", a::PAUSE),
            Self::Emergency => format!("{} is set", a::EMERGENCY),
            Self::NoProfileRequest => format!("{} is missing", a::PROFILE_REQUEST),
            Self::BadProfileRequest { why } => format!("{}: {why}", a::PROFILE_REQUEST),
            Self::HoldsOff => "holds are off in this cluster".into(),
            Self::NoController => "no controller has led for 30s".into(),
            Self::NotSynced => "the webhook has not read the cluster's state yet".into(),
            Self::NoObjective => "no objective covers this workload".into(),
            Self::NoGrant { namespace } => format!(
                "writes in namespace {namespace} are not known to be granted; grant them with: kubectl apply -k manifests/namespace -n {namespace}"
            ),
            Self::NoReplicas => "it has no replicas".into(),
            Self::NotAvailable => "it is not Available".into(),
            Self::BurningFast => "its error budget burns fast".into(),
            Self::Unsafe(Hazard::Recreate) => "strategy Recreate forbids a second version".into(),
            Self::Unsafe(Hazard::WritableClaim { claim }) => {
                format!("a copy could write to PersistentVolumeClaim {claim}")
            }
            Self::Unsafe(Hazard::HostPath) => "the template mounts a hostPath".into(),
            Self::Unsafe(Hazard::HostPort) => "the template takes a hostPort".into(),
            Self::Unsafe(Hazard::HostNetwork) => "the template uses hostNetwork".into(),
            Self::Unsafe(Hazard::NetworkPolicy) => {
                "a NetworkPolicy selects the template's labels".into()
            }
        }
    }

    /// Whether a user who asked for holds should be told: something to mend, not the usual course.
    pub fn worth_a_warning(&self) -> bool {
        matches!(
            self,
            Self::PauseDeclared
                | Self::NoProfileRequest
                | Self::BadProfileRequest { .. }
                | Self::HoldsOff
                | Self::NoController
                | Self::NotSynced
                | Self::NoObjective
                | Self::NoGrant { .. }
                | Self::NotAvailable
                | Self::BurningFast
                | Self::Unsafe(_)
        )
    }
}

/// Why a hold ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseReason {
    /// Profiled, and everything that had to grow and could is Ready.
    Profiled,
    /// The hold's time is over.
    Deadline,
    /// The user resumed the rollout.
    UserResumed,
    /// The user declared a pause: from now on it is the user's.
    TakenOver,
    /// `msars.io/skip-gate` was set.
    SkipGate,
    /// A write of our own, made for a reason recorded where it was decided.
    Own,
    /// The queue of profiles is too long to finish in time.
    Queue,
    /// Its turn came, with less time left than a profile takes.
    NoTime,
    /// A callee came into trouble while profiling.
    Callee,
    /// The image can't be pulled.
    ImagePull,
    /// The copy was not Ready in time.
    NotReady,
    /// The copy was preempted, evicted or deleted.
    Evicted,
    /// The copy could not be measured.
    Errors,
    /// `msars.io/mode` or `msars.io/gate` no longer asks for holds.
    ModeOff,
    /// Holds were switched off in the whole cluster.
    HoldsOff,
    /// The template is the running one again.
    Reverted,
    /// The template is another known revision, or one of a profiled size.
    Known,
    /// The template was changed while no webhook answered; what is stored now was never held.
    Unseen,
    /// The changed template can't be held.
    NotHoldable(PassReason),
}

impl ReleaseReason {
    /// A stable label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Profiled => "Profiled",
            Self::Deadline => "Deadline",
            Self::UserResumed => "UserResumed",
            Self::TakenOver => "TakenOver",
            Self::SkipGate => "SkipGate",
            Self::Own => "Own",
            Self::Queue => "Queue",
            Self::NoTime => "NoTime",
            Self::Callee => "Callee",
            Self::ImagePull => "ImagePull",
            Self::NotReady => "NotReady",
            Self::Evicted => "Evicted",
            Self::Errors => "Errors",
            Self::ModeOff => "ModeOff",
            Self::HoldsOff => "HoldsOff",
            Self::Reverted => "Reverted",
            Self::Known => "Known",
            Self::Unseen => "Unseen",
            Self::NotHoldable(why) => why.label(),
        }
    }

    /// The word of reports: `profiled`, `deadline`, `user`, `queue`, `no-time`, `callee`, `image-pull`, `not-ready`,
    /// `evicted`, `errors`, `mode-off` or `reverted`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Profiled | Self::Own => "profiled",
            Self::Deadline => "deadline",
            Self::UserResumed | Self::TakenOver | Self::SkipGate => "user",
            Self::Queue => "queue",
            Self::NoTime => "no-time",
            Self::Callee => "callee",
            Self::ImagePull => "image-pull",
            Self::NotReady => "not-ready",
            Self::Evicted => "evicted",
            Self::Errors | Self::Unseen => "errors",
            Self::ModeOff | Self::HoldsOff => "mode-off",
            Self::Reverted | Self::Known => "reverted",
            Self::NotHoldable(why) => match why {
                PassReason::SkipGate | PassReason::PauseDeclared => "user",
                PassReason::ModeNotAuto | PassReason::GateObserves | PassReason::HoldsOff => {
                    "mode-off"
                }
                _ => "errors",
            },
        }
    }

    /// A part of a sentence for the user: "the hold ends: ...".
    pub fn sentence(&self) -> String {
        match self {
            Self::Profiled => "the revision is profiled".into(),
            Self::Deadline => "its deadline passed".into(),
            Self::UserResumed => "its user resumed the rollout".into(),
            Self::TakenOver => "its user paused the Deployment".into(),
            Self::SkipGate => format!("{} is set", a::SKIP_GATE),
            Self::Own => "msars released it".into(),
            Self::Queue => "other profiles leave no time for it before the deadline".into(),
            Self::NoTime => format!(
                "too little time for a profile, about {}s, was left before the deadline; raise {}",
                a::PROFILE_USUAL_S,
                a::GATE_DEADLINE
            ),
            Self::Callee => "a callee has no room for the load of its profile".into(),
            Self::ImagePull => "its image can't be pulled".into(),
            Self::NotReady => "its copy was not Ready in time".into(),
            Self::Evicted => "its copy was preempted by another pod, evicted or deleted".into(),
            Self::Errors => "its copy could not be measured".into(),
            Self::ModeOff => "the workload no longer asks for holds".into(),
            Self::HoldsOff => "holds are off in this cluster".into(),
            Self::Reverted => "the running template came back".into(),
            Self::Known => "this revision is known".into(),
            Self::Unseen => "the template changed while no webhook answered".into(),
            Self::NotHoldable(why) => why.sentence(),
        }
    }
}
