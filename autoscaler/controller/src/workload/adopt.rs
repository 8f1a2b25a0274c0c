//! Taking over a workload's HorizontalPodAutoscaler (`msars.io/adopt: hpa`), and handing it back: what is next. Pure.
//!
//! Everything follows from what is seen, so that a crash between two writes is no state of its own: stored and still
//! there is deleted next; stored and wanted back is created next, and an autoscaler that is there already ends that.

use std::fmt;

use msars_api::annotations::Adopt;
use msars_api::crd::AdoptedAutoscaler;
use msars_domain::{Action, Millis, ObjectKey, Observation, Reading, Unknown};
use msars_plan::{Decision, Guard, Reason};
use serde_json::{Value, json};

use crate::world::hpa::{self, Hpa};

/// Whether a decision was made from readings that are all known: the ground for taking over. A latency of too few
/// requests counts as known, as it does where something shrinks: a quiet workload never has more of them.
pub fn good(seen: &Observation, decision: &Decision) -> bool {
    let loaded = matches!(
        decision.reason,
        Reason::Fits
            | Reason::LoadRose
            | Reason::LoadFell
            | Reason::Bounds
            | Reason::Guests
            | Reason::Reshape
    );
    let signals = &seen.signals;
    let known = |reading: &Reading<_>| reading.value().is_some();
    let told = |reading: &Reading<Millis>| match reading {
        Reading::Known { .. } => true,
        Reading::Unknown { why } => *why == Unknown::TooFewSamples,
    };
    let lacks = |guard: &Guard| matches!(guard, Guard::UnknownSignal { .. });
    loaded
        && decision.numbers.need.is_some()
        && known(&signals.rate)
        && known(&signals.peak_rate)
        && (told(&signals.self_quantile) || told(&signals.request_quantile))
        && !decision.guards.iter().any(lacks)
}

/// What is known of one workload's adoption.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The Deployment.
    pub workload: &'a ObjectKey,
    /// The annotation.
    pub adopt: Adopt,
    /// The product acts on the workload: mode `auto` on the Deployment and its autoscaler.
    pub acts: bool,
    /// Its HorizontalPodAutoscalers.
    pub found: &'a [Hpa],
    /// What is stored of the one that was taken over.
    pub stored: Option<&'a AdoptedAutoscaler>,
    /// This tick's decision was made from known readings.
    pub good: bool,
    /// A team's own SloAutoscaler, where one counts, with the fewest and most replicas that it says or is given.
    pub teams: Option<(&'a str, (u32, u32))>,
}

/// Why a HorizontalPodAutoscaler is not taken over, or not created again.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// There is none.
    Absent,
    /// There are several: which of them counts is not ours to say.
    Several(Vec<String>),
    /// Something makes it, and would make it again.
    Made {
        /// The autoscaler.
        hpa: String,
        /// Kind and name.
        maker: (String, String),
    },
    /// It is being deleted.
    Deleting(String),
    /// Another one came after the one that was taken over.
    CameBack(String),
    /// It scales by more than CPU: what else it keeps, nobody would keep.
    Measures {
        /// The autoscaler.
        hpa: String,
        /// Its other metrics, in words.
        metrics: Vec<String>,
    },
    /// A team's own SloAutoscaler has other bounds, which nobody may have chosen.
    Bounded {
        /// The autoscaler.
        hpa: String,
        /// Its fewest and most replicas.
        bounds: (u32, u32),
        /// The team's own.
        teams: String,
        /// Its fewest and most replicas.
        teams_bounds: (u32, u32),
    },
    /// The mode is `recommend`.
    Recommends {
        /// The autoscaler.
        hpa: String,
        /// Its fewest and most replicas.
        bounds: (u32, u32),
    },
    /// No decision was made from known readings yet.
    Waits(String),
    /// Another one scales the workload now, so that the stored one would be a second.
    Other {
        /// The one that is there.
        hpa: String,
        /// The stored one.
        stored: String,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nobody asked, and nothing is stored.
    Nothing,
    /// Taken over: the product scales.
    Adopted,
    /// Nothing is written.
    Hold(Hold),
    /// The whole spec is stored.
    Store(AdoptedAutoscaler),
    /// The stored one is deleted.
    Delete(Action),
    /// The stored one is created again; when that is done, or one of its name is there, the copy is dropped.
    Create(Action),
}

/// What to do next with a workload's HorizontalPodAutoscaler.
pub fn next(case: &Case<'_>) -> Next {
    let wished = case.adopt == Adopt::Hpa;
    match case.stored {
        Some(stored) if !(wished && case.acts) => back(case, stored),
        None if !wished => Next::Nothing,
        stored => over(case, stored),
    }
}

fn over(case: &Case<'_>, stored: Option<&AdoptedAutoscaler>) -> Next {
    let hpa = match case.found {
        [] if stored.is_some() => return Next::Adopted,
        [] => return Next::Hold(Hold::Absent),
        [hpa] => hpa,
        several => {
            let names = several.iter().map(|hpa| hpa.key.name.clone()).collect();
            return Next::Hold(Hold::Several(names));
        }
    };
    let name = hpa.key.name.clone();
    if let Some(maker) = hpa.maker.clone() {
        return Next::Hold(Hold::Made { hpa: name, maker });
    }
    if hpa.deleting {
        return Next::Hold(Hold::Deleting(name));
    }
    if stored.is_some_and(|stored| stored.uid != hpa.copy.uid) {
        return Next::Hold(Hold::CameBack(name));
    }
    let metrics = hpa::beside_cpu(&hpa.copy.spec);
    if !metrics.is_empty() {
        return Next::Hold(Hold::Measures { hpa: name, metrics });
    }
    let bounds = hpa::bounds(&hpa.copy.spec);
    if let Some((teams, teams_bounds)) = case.teams.filter(|teams| teams.1 != bounds) {
        return Next::Hold(Hold::Bounded {
            hpa: name,
            bounds,
            teams: teams.to_owned(),
            teams_bounds,
        });
    }
    if !case.acts {
        return Next::Hold(Hold::Recommends { hpa: name, bounds });
    }
    if !case.good {
        return Next::Hold(Hold::Waits(name));
    }
    let same = |stored: &AdoptedAutoscaler| {
        let at = stored.at.clone();
        *stored
            == AdoptedAutoscaler {
                at,
                ..hpa.copy.clone()
            }
    };
    if stored.is_some_and(same) {
        return Next::Delete(Action::DeleteAutoscaler {
            autoscaler: hpa.key.clone(),
            uid: hpa.copy.uid.clone(),
            resource_version: hpa.version.clone(),
        });
    }
    Next::Store(hpa.copy.clone())
}

/// The copy of what is there may be old, so that creating is tried whenever the name could be free: the API server
/// alone knows, and overwrites nothing.
fn back(case: &Case<'_>, stored: &AdoptedAutoscaler) -> Next {
    let found = case.found;
    if let Some(hpa) = found.iter().find(|hpa| hpa.deleting) {
        return Next::Hold(Hold::Deleting(hpa.key.name.clone()));
    }
    let of_the_name = found.iter().any(|hpa| hpa.key.name == stored.name);
    if let Some(hpa) = found.first().filter(|_| !of_the_name) {
        return Next::Hold(Hold::Other {
            hpa: hpa.key.name.clone(),
            stored: stored.name.clone(),
        });
    }
    Next::Create(Action::CreateAutoscaler {
        autoscaler: ObjectKey::new(&case.workload.namespace, &stored.name),
        manifest: manifest(&case.workload.namespace, stored),
    })
}

fn manifest(namespace: &str, stored: &AdoptedAutoscaler) -> Value {
    let mut metadata = json!({"namespace": namespace, "name": stored.name});
    let parts = [
        ("labels", json!(stored.labels)),
        ("annotations", json!(stored.annotations)),
        ("ownerReferences", json!(stored.owner_references)),
    ];
    for (name, part) in parts {
        let empty = part.as_object().is_some_and(serde_json::Map::is_empty) || part == json!([]);
        if !empty {
            metadata[name] = part;
        }
    }
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": stored.spec,
    })
}

/// The reason when a write of an adoption failed.
pub const FAILED: &str = "FailedAdoption";

/// One condition: status, reason, message.
pub type Told = (bool, &'static str, String);

/// What the condition `Adopted` says of it; `None` leaves the condition as it is.
pub fn told(next: &Next, stored: Option<&AdoptedAutoscaler>) -> Option<Told> {
    let name = stored.map_or("", |stored| &stored.name);
    Some(match next {
        Next::Nothing => return None,
        Next::Adopted => {
            let text = format!(
                "HorizontalPodAutoscaler {name} is taken over, with its limits and behaviour; status.adopted keeps it until the workload is handed back"
            );
            (true, "Adopted", text)
        }
        Next::Store(copy) => {
            let text = format!(
                "HorizontalPodAutoscaler {} is about to be stored in status.adopted, then deleted",
                copy.name
            );
            (false, "Adopting", text)
        }
        Next::Delete(action) => stored_told(&action.target().name),
        Next::Create(action) => {
            let text = format!(
                "HorizontalPodAutoscaler {} is created again from status.adopted",
                action.target().name
            );
            (false, "HandingBack", text)
        }
        Next::Hold(hold) => (false, hold.reason(), hold.to_string()),
    })
}

/// What is said between the store and the delete.
pub fn stored_told(name: &str) -> Told {
    let text = format!(
        "the whole spec of HorizontalPodAutoscaler {name} is stored in status.adopted; it is deleted next"
    );
    (false, "Stored", text)
}

impl Hold {
    /// The reason as one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "NoAutoscaler",
            Self::Several(_) => "SeveralAutoscalers",
            Self::Made { .. } => "OwnedAutoscaler",
            Self::Deleting(_) => "BeingDeleted",
            Self::CameBack(_) => "CameBack",
            Self::Measures { .. } => "OtherMetrics",
            Self::Bounded { .. } => "OtherBounds",
            Self::Recommends { .. } => "Recommending",
            Self::Waits(_) => "WaitsForMetrics",
            Self::Other { .. } => "AnotherAutoscaler",
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "no HorizontalPodAutoscaler scales this Deployment"),
            Self::Several(names) => write!(
                f,
                "several HorizontalPodAutoscalers scale this Deployment ({}); leave one, and it is taken over",
                names.join(", ")
            ),
            Self::Made {
                hpa,
                maker: (kind, name),
            } => write!(
                f,
                "HorizontalPodAutoscaler {hpa} is made by {kind} {name}, which would make it again; delete {kind} {name}, and MSARS scales"
            ),
            Self::Deleting(hpa) => write!(f, "HorizontalPodAutoscaler {hpa} is being deleted"),
            Self::CameBack(hpa) => write!(
                f,
                "HorizontalPodAutoscaler {hpa} was made after the one that was taken over, and scales now; delete it where it is declared, or remove msars.io/adopt"
            ),
            Self::Measures { hpa, metrics } => write!(
                f,
                "HorizontalPodAutoscaler {hpa} scales by {} as well, which MSARS would not: take that out of its metrics if the latency objective is enough, and it is taken over",
                metrics.join(", ")
            ),
            Self::Bounded {
                hpa,
                bounds: (least, most),
                teams,
                teams_bounds: (teams_least, teams_most),
            } => write!(
                f,
                "HorizontalPodAutoscaler {hpa} scales from {least} to {most} replicas, and SloAutoscaler {teams} would from {teams_least} to {teams_most}: set its minReplicas and maxReplicas to {least} and {most}, and it is taken over; others may follow then"
            ),
            Self::Recommends {
                hpa,
                bounds: (least, most),
            } => write!(
                f,
                "with msars.io/mode=auto, MSARS would scale from {least} to {most} replicas as HorizontalPodAutoscaler {hpa} does, store its whole spec, delete it after the first decision from known readings, and create it again when the workload leaves"
            ),
            Self::Waits(hpa) => write!(
                f,
                "HorizontalPodAutoscaler {hpa} scales until a decision is made from known readings; Ready says what is missing"
            ),
            Self::Other { hpa, stored } => write!(
                f,
                "HorizontalPodAutoscaler {hpa} scales this Deployment now, so that {stored} would be a second; it stays in status.adopted and is created again when {hpa} is deleted"
            ),
        }
    }
}
