//! The autoscaler's status out of a decision. This module is the one writer of conditions, memory, current and wanted
//! replicas, size and last change; sizes per revision are the split's (`crate::autoscalers::want`) except those that
//! run. Pure.

use jiff::Timestamp;
use msars_api::conditions::ConditionType;
use msars_api::crd::{
    AdoptedAutoscaler, LastChange, SloAutoscaler, SloAutoscalerStatus, WantedSize,
};
use msars_domain::{MilliCpu, Observation};
use msars_plan::{ConditionReason, Decision, Fleet, Reason, State};

use super::adopt::{self, Told};
use crate::own::set_condition;

/// A status that means the same is written at most this often, seconds.
pub const EVERY_S: f64 = 300.0;
/// Revisions whose sizes are kept.
const SIZES: usize = 10;

/// What must be remembered from an earlier leader. The last recommendation counts as made now: it held until then.
pub fn remembered(status: Option<&SloAutoscalerStatus>, now: Timestamp) -> State {
    let memory = status.and_then(|status| status.memory.as_deref());
    let mut state: State = memory
        .and_then(|text| match serde_json::from_str(text) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(%error, "a memory that cannot be read is forgotten");
                None
            }
        })
        .unwrap_or_default();
    if let Some(last) = state.recommendations.last_mut() {
        last.at = last.at.max(now);
    }
    state
}

/// What a status is to say.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The decision.
    pub decision: &'a Decision,
    /// What it rests on.
    pub seen: &'a Observation,
    /// What to remember.
    pub state: &'a State,
    /// Why the write of replicas failed.
    pub failed: Option<&'a str>,
    /// How the adoption of another autoscaler stands; `None` when nobody asked for one.
    pub adoption: Option<&'a Told>,
    /// When.
    pub now: Timestamp,
}

/// The reason as one word.
pub fn word(reason: &Reason) -> String {
    let tagged = serde_json::to_value(reason).ok();
    let word = tagged.as_ref().and_then(|value| value.get("is")?.as_str());
    let mut letters = word.unwrap_or("decided").chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn kind(kind: msars_plan::ConditionType) -> ConditionType {
    use msars_plan::ConditionType as Plan;
    match kind {
        Plan::AbleToScale => ConditionType::AbleToScale,
        Plan::ScalingActive => ConditionType::ScalingActive,
        Plan::ScalingLimited => ConditionType::ScalingLimited,
        Plan::ReplicasConflict => ConditionType::ReplicasConflict,
        Plan::ResizeBlocked => ConditionType::ResizeBlocked,
        Plan::SafeMode => ConditionType::SafeMode,
    }
}

/// Type, status, reason, message.
type Row = (ConditionType, bool, String, String);

/// How GitOps tools are told to leave replicas alone.
const IGNORE: &str = "Argo CD: spec.ignoreDifferences: [{group: apps, kind: Deployment, jsonPointers: [/spec/replicas]}] with syncOptions: [RespectIgnoreDifferences=true]; Flux and others: leave spec.replicas out of the manifest";

/// The conditions that a decision asks for, the summary last.
fn conditions(said: &Said<'_>) -> Vec<Row> {
    let mut rows: Vec<Row> = said
        .decision
        .conditions
        .iter()
        .map(|condition| {
            let mut message = condition.message.clone();
            if condition.reason == ConditionReason::DeclaredReplicas {
                message = format!("{message}. {IGNORE}");
            }
            if condition.reason == ConditionReason::AmbiguousSelector && said.adoption.is_none() {
                let name = &said.decision.workload.name;
                message = format!("{message}. MSARS takes it over with: kubectl annotate deploy/{name} msars.io/adopt=hpa");
            }
            let row = (kind(condition.kind), condition.status);
            match (row.0, said.failed) {
                (ConditionType::AbleToScale, Some(error)) => {
                    (row.0, false, "FailedUpdateScale".into(), error.to_owned())
                }
                _ => (row.0, row.1, condition.reason.to_string(), message),
            }
        })
        .collect();
    let wrong = |row: &&Row| match row.0 {
        ConditionType::AbleToScale | ConditionType::ScalingActive => !row.1,
        ConditionType::ReplicasConflict | ConditionType::ResizeBlocked => row.1,
        _ => false,
    };
    let wrong = rows.iter().find(wrong).map(|row| row.2.clone());
    if let Some((status, reason, message)) = said.adoption {
        rows.push((
            ConditionType::Adopted,
            *status,
            (*reason).to_owned(),
            message.clone(),
        ));
    }
    let usual = if said.seen.wishes.acts {
        "Scaling"
    } else {
        "Recommending"
    };
    let good = wrong.is_none();
    let reason = wrong.unwrap_or_else(|| usual.to_owned());
    let summary = (ConditionType::Ready, good, reason, said.decision.explain());
    rows.push(summary);
    rows
}

/// The largest replicas and size recommended within the window: a new high must outlive this leader.
fn heights(state: &State) -> Option<Fleet> {
    let fleets = state.recommendations.iter().map(|entry| entry.fleet);
    fleets.reduce(Fleet::at_least)
}

/// Whether the stored status means something else than the decision: then it is written at once.
pub fn news(stored: Option<&SloAutoscalerStatus>, said: &Said<'_>) -> bool {
    let Some(stored) = stored else {
        return true;
    };
    let decision = said.decision;
    let same = |row: &Row| {
        stored.conditions.iter().any(|condition| {
            let status = if row.1 { "True" } else { "False" };
            condition.type_ == row.0.as_str()
                && condition.status == status
                && condition.reason == row.2
        })
    };
    let kept = stored
        .memory
        .as_deref()
        .and_then(|text| serde_json::from_str::<State>(text).ok());
    let rose = match (kept.as_ref().and_then(heights), heights(said.state)) {
        (Some(kept), Some(now)) => now.grows_from(kept),
        (None, now) => now.is_some(),
        (Some(_), None) => false,
    };
    stored.current_replicas != decision.current.replicas
        || stored.desired_replicas != decision.wanted.replicas
        || stored.size_milli != Some(decision.wanted.size.0)
        || rose
        || !conditions(said).iter().all(same)
        || sizes(&stored.sizes, said) != stored.sizes
}

/// Writes the decision into a status.
pub fn write(status: &mut SloAutoscalerStatus, generation: Option<i64>, said: &Said<'_>) {
    let decision = said.decision;
    status.observed_generation = generation;
    status.current_replicas = decision.current.replicas;
    status.desired_replicas = decision.wanted.replicas;
    status.size_milli = Some(decision.wanted.size.0);
    status.sizes = sizes(&status.sizes, said);
    remember(status, said.state);
    if !decision.actions.is_empty() && said.failed.is_none() {
        status.last_change = Some(LastChange {
            at: said.now.to_string(),
            reason: word(&decision.reason),
            message: decision.explain(),
        });
    }
    for (type_, value, reason, message) in conditions(said) {
        set_condition(
            &mut status.conditions,
            type_,
            value,
            &reason,
            &message,
            generation,
            said.now,
        );
    }
}

/// Puts the memory into a status.
pub fn remember(status: &mut SloAutoscalerStatus, state: &State) {
    match serde_json::to_string(state) {
        Ok(text) => status.memory = Some(text),
        Err(error) => tracing::error!(%error, "a memory cannot be written"),
    }
}

/// Pods of what runs are born with the size in force; a waiting revision keeps at least what its split gave it.
fn sizes(stored: &[WantedSize], said: &Said<'_>) -> Vec<WantedSize> {
    let Some(size) = said.state.size.filter(|_| said.seen.wishes.acts) else {
        return stored.to_vec();
    };
    born_with(stored, said.seen, size)
}

/// The same list with the size in force for every revision that has pods or is the newest.
pub fn born_with(stored: &[WantedSize], seen: &Observation, size: MilliCpu) -> Vec<WantedSize> {
    let mut out = stored.to_vec();
    let runs = |revision: &str| seen.pods.iter().any(|pod| pod.revision == revision);
    for revision in &seen.revisions {
        let running = runs(&revision.hash);
        if !running && !revision.current {
            continue;
        }
        match out.iter_mut().find(|entry| entry.revision == revision.hash) {
            Some(entry) if running && !seen.rolling => entry.size_milli = size.0,
            Some(entry) => entry.size_milli = entry.size_milli.max(size.0),
            None => {
                let entry = WantedSize {
                    revision: revision.hash.clone(),
                    size_milli: size.0,
                    replicas: seen.replicas,
                };
                out.insert(0, entry);
            }
        }
    }
    out.truncate(SIZES);
    out
}

/// A workload that opted out: nothing is remembered, and new pods are born as their template says.
pub fn leave(status: &mut SloAutoscalerStatus, generation: Option<i64>, now: Timestamp) {
    status.observed_generation = generation;
    status.memory = None;
    status.size_milli = None;
    status.sizes.clear();
    let message = "the workload opted out; pods of the template's size carry the load";
    for type_ in [ConditionType::ScalingActive, ConditionType::Ready] {
        set_condition(
            &mut status.conditions,
            type_,
            false,
            "ScalingDisabled",
            message,
            generation,
            now,
        );
    }
}

/// What an autoscaler keeps of the one that was taken over.
pub fn stored(autoscaler: &SloAutoscaler) -> Option<&AdoptedAutoscaler> {
    autoscaler.status.as_ref()?.adopted.as_ref()
}

/// Stores the autoscaler that is taken over, before it is deleted.
pub fn store(
    status: &mut SloAutoscalerStatus,
    copy: &AdoptedAutoscaler,
    generation: Option<i64>,
    now: Timestamp,
) {
    let at = now.to_string();
    status.adopted = Some(AdoptedAutoscaler { at, ..copy.clone() });
    let told = adopt::stored_told(&copy.name);
    adoption(status, told, false, generation, now);
}

/// Says how an adoption stands, and drops what was stored when it is not needed any more.
pub fn adoption(
    status: &mut SloAutoscalerStatus,
    (value, reason, message): Told,
    drops: bool,
    generation: Option<i64>,
    now: Timestamp,
) {
    if drops {
        status.adopted = None;
    }
    set_condition(
        &mut status.conditions,
        ConditionType::Adopted,
        value,
        reason,
        &message,
        generation,
        now,
    );
}

/// Whether the last write of an adoption failed: until one succeeds, the condition says why.
pub fn adoption_failed(status: Option<&SloAutoscalerStatus>) -> bool {
    let conditions = status.map(|status| &status.conditions);
    conditions.into_iter().flatten().any(|condition| {
        condition.type_ == ConditionType::Adopted.as_str() && condition.reason == adopt::FAILED
    })
}
