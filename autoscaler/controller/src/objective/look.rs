//! Looking at Prometheus: calls, end-to-end latency, live work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use msars_api::annotations::SLO;
use msars_api::crd::{Observed, ServiceLevelObjective};
use msars_budget::Split;
use msars_domain::{Millis, ObjectKey};
use msars_observe::{Entry, EntryReading, GraphError, Graphs, Pod, Scope};

use super::application::{Application, Declare, declare, unasked};
use super::assemble::round;
use super::classes::{Traffic, Trouble, chains, needs_no_calls, traffic};
use super::drift::{Live, live};
use super::memory::Look;
use super::room::{Served, reached, work};
use super::strain::{Strain, failed, strain};
use super::{Around, Objectives, SignalMap};
use crate::pods;
use crate::world::Workload;

impl Objectives {
    /// Makes the objectives that annotations ask for.
    pub(super) async fn declare(&self, workloads: &BTreeMap<ObjectKey, Workload>) {
        for step in declare(&self.world.objectives(), workloads) {
            let written = match &step {
                Declare::Create(slo) => self.own.create(&**slo).await,
                Declare::Replace(slo) => self.own.replace(&**slo).await,
            };
            if let Err(error) = written {
                tracing::warn!(%error, category = error.category(), "an objective was not written");
            }
        }
    }

    /// Tells once that an objective stays whose annotation is gone.
    pub(super) async fn tell_unasked(
        &mut self,
        objectives: &[Arc<ServiceLevelObjective>],
        workloads: &BTreeMap<ObjectKey, Workload>,
    ) {
        let unasked = unasked(objectives, workloads);
        for workload in &unasked {
            if self.unasked.contains(&workload.key) || !self.lead.holds() {
                continue;
            }
            let ObjectKey { namespace, name } = &workload.key;
            let note = format!(
                "annotation {SLO} is gone and objective {name} stays, since an undo takes annotations away too: kubectl -n {namespace} delete slo {name} ends it"
            );
            self.own
                .tell(workload, "Split", false, "ObjectiveStays", note)
                .await;
        }
        self.unasked = unasked.into_iter().map(|one| one.key.clone()).collect();
    }

    pub(super) fn scope(
        &self,
        applications: &[Application],
        workloads: &BTreeMap<ObjectKey, Workload>,
    ) -> Scope {
        let serving = pods::serving(&self.world.pods());
        let mut scope = Scope {
            windows: self.windows,
            ..Scope::default()
        };
        for application in applications {
            for key in &application.members {
                scope.workloads.insert(key.clone(), application.percentile);
                let container = workloads
                    .get(key)
                    .and_then(|workload| workload.serving.as_ref())
                    .map(|(name, _)| name.clone());
                for pod in serving.get(key).into_iter().flatten() {
                    let name = pod.pod.metadata.name.clone().unwrap_or_default();
                    scope.pods.insert(
                        ObjectKey::new(&key.namespace, name),
                        Pod {
                            workload: key.name.clone(),
                            revision: pod.pod_template_hash.clone(),
                            ready_since: pod.ready_since,
                            container: container.clone(),
                        },
                    );
                }
            }
        }
        scope
    }

    /// The signals of every member of every application.
    pub(super) async fn signals(
        &self,
        applications: &[Application],
        workloads: &BTreeMap<ObjectKey, Workload>,
    ) -> SignalMap {
        let scope = self.scope(applications, workloads);
        let observed = self.observer.signals(&scope, (self.now)()).await;
        for problem in &observed.problems {
            tracing::warn!(ask = ?problem.ask, category = problem.category, message = problem.message, "a query gave no usable answer");
        }
        observed
            .signals
            .into_iter()
            .map(|signals| (signals.workload.clone(), signals))
            .collect()
    }

    /// How the entries of these applications do, in their order.
    pub(super) async fn entries(&self, applications: &[Application]) -> Vec<EntryReading> {
        let entries: Vec<Entry> = applications.iter().map(entry).collect();
        let (window, now) = (self.windows.tail(), (self.now)());
        let read = self
            .observer
            .entries(&entries, window, &self.windows, now)
            .await;
        read.readings
    }

    /// Looks at one application: its requests, what its services show, how its entry does.
    pub(super) fn look(
        &mut self,
        application: &Application,
        (reading, traffic): (&EntryReading, Result<Traffic, Trouble>),
        around: &Around<'_>,
    ) {
        let now = (self.now)();
        let entry = observed(reading, now);
        let seen = Look {
            traffic,
            times: times(application, around.signals),
            live: lives(application, around),
            quantile_ms: reading.quantile.value().map(|ms| ms.get()),
            at: now,
        };
        // What is assumed of others, and what stood before a profile, is no sign of strain.
        let measured = seen.times.clone();
        let loaded = self.loaded(application, now);
        let memory = self.memory.entry(application.key.clone()).or_default();
        memory.take(seen, application, loaded);
        if entry.is_some() {
            memory.entry = entry;
        }
        self.post(application, &measured, around);
        tracing::debug!(application = application.name, at = %now, loaded, "looked");
    }

    /// Tells the revisions' task what a profile of one of these services would meet.
    fn post(
        &mut self,
        application: &Application,
        measured: &BTreeMap<String, Millis>,
        around: &Around<'_>,
    ) {
        let memory = self.memory.entry(application.key.clone()).or_default();
        let namespace = &application.key.namespace;
        let observed: BTreeMap<ObjectKey, f64> = measured
            .iter()
            .map(|(name, time)| (ObjectKey::new(namespace, name), time.get()))
            .collect();
        let split = memory.standing.as_ref().map(|standing| &standing.split);
        let strained = strained(application, split, &observed);
        let callees = reached(namespace, &memory.classes);
        let served = application.members.iter().map(|key| {
            let seen = around.signals.get(key);
            let last = memory.work.get(&key.name).copied();
            let work = seen.and_then(|seen| work(seen, last));
            memory
                .work
                .extend(work.map(|work| (key.name.clone(), work)));
            let rate = seen.and_then(|seen| Some(seen.rate.value()?.get()));
            let served = rate.zip(work).map(|(rate, work)| Served { rate, work });
            (key.clone(), served)
        });
        let window = self.windows.rate();
        let failing = application
            .members
            .iter()
            .filter_map(|key| Some((key.clone(), failed(around.signals.get(key)?, window))));
        self.board.with(|posted| {
            posted.serve(served);
            posted.failed.extend(failing);
            posted.strained.insert(application.key.clone(), strained);
            posted.callees.extend(callees);
            // A time that is not known any more would hide how much longer the next one is.
            for key in &application.members {
                posted.observed.remove(key);
            }
            posted.observed.extend(observed);
        });
    }

    /// The requests of each application.
    pub(super) async fn all_traffic(
        &self,
        applications: &[Application],
        signals: &SignalMap,
    ) -> Vec<Result<Traffic, Trouble>> {
        let namespaces: BTreeSet<&str> = applications
            .iter()
            .map(|application| application.key.namespace.as_str())
            .collect();
        if namespaces.is_empty() {
            return Vec::new();
        }
        let asked = self
            .observer
            .call_graphs(&namespaces, self.windows.tail(), (self.now)());
        let graphs = asked.await;
        applications
            .iter()
            .map(|application| requests(application, graphs.as_ref(), signals))
            .collect()
    }
}

/// The requests of one application.
fn requests(
    application: &Application,
    graphs: Result<&Graphs<'_>, &GraphError>,
    signals: &SignalMap,
) -> Result<Traffic, Trouble> {
    // What is declared wrongly is told whatever Prometheus says.
    chains(application)?;
    let members: BTreeSet<String> = application
        .members
        .iter()
        .map(|key| key.name.clone())
        .collect();
    let graph = graphs
        .map_err(Clone::clone)
        .and_then(|graphs| graphs.of(&application.key.namespace, &members));
    let entry = &application.entry.name;
    let graph = match graph {
        // Chains that are declared, and one workload alone, need no calls: the entry's rate is enough.
        Err(GraphError::NotMeasured(_)) if needs_no_calls(application) => {
            let seen = signals.get(&application.entry);
            let rate = seen.and_then(|seen| seen.rate.value().copied());
            return traffic(application, rate, None);
        }
        graph => graph.map_err(|error| Trouble::Unseen(error.to_string()))?,
    };
    traffic(application, graph.rates.get(entry).copied(), Some(&graph))
}

/// The entry with what is asked of it.
pub(super) fn entry(application: &Application) -> Entry {
    Entry {
        workload: application.entry.clone(),
        percentile: application.percentile,
        target: application.objective,
    }
}

/// A reading of the entry as it is stored; none without a count of requests.
fn observed(reading: &EntryReading, now: Timestamp) -> Option<Observed> {
    let requests = *reading.requests.value()?;
    let attainment = reading.attainment.value().copied();
    Some(Observed {
        quantile_ms: reading.quantile.least().map(|ms| round(ms.get(), 1)),
        attainment: attainment.map(|share| round(share, 5)),
        requests: requests.round(),
        at: now.to_string(),
    })
}

/// Self times at the objective's percentile; of a service that exports none, its request time less the mean wait.
fn times(application: &Application, signals: &SignalMap) -> BTreeMap<String, Millis> {
    let time = |key: &ObjectKey| {
        let signals = signals.get(key)?;
        // A time above its largest bound is at least that; what is assumed of unknown ones would hide its strain.
        let own = signals.self_quantile.least().map(Millis::get);
        let wait = signals.callee_wait.value().map_or(0.0, |wait| wait.get());
        let request = signals.request_quantile.least().map(Millis::get);
        let time = own.or_else(|| request.map(|all| (all - wait).max(all / 10.0)))?;
        Some((key.name.clone(), Millis::new(time).ok()?))
    };
    application.members.iter().filter_map(time).collect()
}

/// Live CPU per request of what runs alone: a mix of revisions is neither's.
fn lives(application: &Application, around: &Around<'_>) -> BTreeMap<String, Live> {
    let of = |key: &ObjectKey| {
        around.sizes.get(key)?;
        let (workload, signals) = (around.workloads.get(key)?, around.signals.get(key)?);
        Some((key.name.clone(), live(workload, signals, around.known)?))
    };
    application.members.iter().filter_map(of).collect()
}

/// Services whose self time nears or passes their budget.
fn strained(
    application: &Application,
    split: Option<&Split>,
    observed: &BTreeMap<ObjectKey, f64>,
) -> BTreeMap<ObjectKey, Strain> {
    split
        .into_iter()
        .flat_map(|split| &split.services)
        .filter_map(|service| {
            let key = ObjectKey::new(&application.key.namespace, &service.service);
            let now = *observed.get(&key)?;
            let strain = strain(now, service.budget, application.objective)?;
            Some((key, strain))
        })
        .collect()
}
