//! What a tick rests on and what it leaves: copies of the cluster's objects, memory, the decision log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use msars_api::annotations::Adopt;
use msars_api::crd::SloAutoscaler;
use msars_domain::ObjectKey;
use msars_plan::{Decision, Tick};
use tokio::time::Interval;

use super::gather::{self, Around};
use super::history::History;
use super::kept::Kept;
use super::record::{Line, TickLine};
use super::spared::Before;
use super::tell::Missing;
use super::{Memory, Workloads, status};
use crate::metrics::Queue;
use crate::objective::{Board, Decided};
use crate::profiles;
use crate::world::Workload;
use crate::world::hpa::{self, Hpa};

/// Whether the API server offers `pods/resize` is asked again after so many seconds.
const DISCOVERED_S: f64 = 600.0;
/// Longest time of asking; a tick has 15 s.
const DISCOVERY: Duration = Duration::from_secs(3);

/// Applications in which a rollout is held or under way: until it is complete nothing of them shrinks. One that its
/// user paused, or that passed its progress deadline, may last for ever and is not waited for.
pub(super) fn changing(workloads: &BTreeMap<ObjectKey, Workload>) -> BTreeSet<(String, String)> {
    workloads
        .values()
        .filter(|workload| {
            workload.held() || (gather::rolling(workload) && !gather::lasts(workload))
        })
        .map(Workload::member_of)
        .collect()
}

/// The time of the next tick: its period, or sooner where a release waits for it.
pub(super) async fn due(ticks: &mut Interval, board: &Board) {
    tokio::select! {
        _tick = ticks.tick() => {}
        () = board.asked.notified() => ticks.reset(),
    }
}

/// When the status of a workload counts as written last at the start of a leader: thousands of them would else fall due in
/// the same tick, every time.
fn spread(workload: &ObjectKey, now: Timestamp) -> Timestamp {
    let bytes = workload.namespace.bytes().chain(workload.name.bytes());
    let sum = bytes.fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let early = sum % status::EVERY_S as u64;
    let early = SignedDuration::from_secs(early.cast_signed());
    now.checked_sub(early).unwrap_or(now)
}

impl Workloads {
    /// Autoscalers that may be adopted.
    pub(super) fn found(&self, workload: &Workload) -> Vec<Hpa> {
        if workload.settings.adopt == Adopt::Nothing {
            return Vec::new();
        }
        hpa::found(&self.world.hpas(), &workload.key)
    }

    /// Posts a tick on the board, and hands its decisions to the log.
    pub(super) fn tell(&self, tick: &Arc<Tick>, decisions: &[Option<Decision>]) {
        self.means.board.decide(Decided {
            tick: Arc::clone(tick),
            decisions: decisions.to_vec(),
        });
        self.log(TickLine::each(tick, self.engine.limits(), decisions).collect());
    }

    /// Hands lines to the log, where there is one.
    pub(super) fn log(&self, lines: Vec<Line>) {
        let Some(log) = &self.means.log else {
            return;
        };
        if !log.record(lines) {
            self.means.metrics.dropped(Queue::Decisions);
            tracing::warn!("decisions are not logged: what reads or stores the log is too slow");
        }
    }

    /// The memory of a workload, from its status when this leader has none.
    pub(super) fn recall(
        &mut self,
        workload: &Workload,
        autoscaler: &SloAutoscaler,
        now: Timestamp,
    ) -> &mut Memory {
        let fresh = || Memory {
            uid: workload.uid.clone(),
            state: status::remembered(autoscaler.status.as_ref(), now),
            written: spread(&workload.key, now),
            history: History::default(),
            before: Before::default(),
            kept: Kept::default(),
            missing: Missing::default(),
            last: None,
        };
        let memory = self
            .memory
            .entry(workload.key.clone())
            .or_insert_with(fresh);
        // A Deployment of the same name is another workload.
        if memory.uid != workload.uid {
            *memory = fresh();
        }
        memory
    }

    /// What every decision of a tick rests on beside its own workload.
    pub(super) fn around(&self, workloads: &BTreeMap<ObjectKey, Workload>) -> Around {
        Around {
            budgets: gather::budgets(&self.world.objectives()),
            known: self
                .world
                .profiles()
                .iter()
                .filter_map(|profile| {
                    let namespace = profile.metadata.namespace.clone()?;
                    let key = ObjectKey::new(namespace, &profile.spec.workload);
                    let known = profiles::known(profile)?;
                    let found = (profile.spec.shape.clone(), known);
                    Some(((key, profile.spec.revision.clone()), found))
                })
                .collect(),
            now: (self.means.now)(),
            rivals: self.world.scalers(),
            ungranted: self.grants.missing(),
            quotas: self.world.quotas(),
            profiling: gather::profiling(&self.world.pods()),
            changing: changing(workloads),
            resizable: self.resizable.map(|(found, _)| found),
            node: self.world.node(),
        }
    }

    /// Asks now and then whether the API server offers `pods/resize`. Without an answer the last one holds; without any
    /// it is asked at every tick.
    pub(super) async fn discover(&mut self) {
        let now = (self.means.now)();
        let fresh = |at: Timestamp| now.duration_since(at).as_secs_f64() < DISCOVERED_S;
        if self.resizable.is_some_and(|(_, at)| fresh(at)) {
            return;
        }
        let asked = self.hands.client.list_core_api_resources("v1");
        match tokio::time::timeout(DISCOVERY, asked).await {
            Ok(Ok(list)) => {
                let found = list.resources.iter().any(|r| r.name == "pods/resize");
                self.resizable = Some((found, now));
            }
            failed => {
                let known = self.resizable.map(|(found, _)| found);
                tracing::warn!(
                    ?failed,
                    known,
                    "whether pods can be resized was not answered"
                );
            }
        }
    }
}
