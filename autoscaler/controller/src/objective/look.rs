//! Looking at Prometheus: calls, end-to-end latency, live work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use msars_api::crd::Observed;
use msars_domain::{MilliCpu, Millis, ObjectKey};
use msars_observe::{Entry, GraphError, Pod, Scope};

use super::application::{Application, Declare, declare};
use super::assemble::{Class, round};
use super::board::{FELT, STRAIN};
use super::classes::{classes, needs_no_calls};
use super::room::{reached, room, work};
use super::tail::{fill_unmeasured, tail_factor};
use super::{Objectives, SignalMap, Strain};
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

    /// Looks at one application: its classes, what its services show, how its entry does.
    pub(super) async fn look(
        &mut self,
        application: &Application,
        workloads: &BTreeMap<ObjectKey, Workload>,
        signals: &SignalMap,
    ) {
        let now = (self.now)();
        let known = self.known();
        let classes = self.classes(application, signals).await;
        let entry = self.entry(application).await;
        let memory = self.memory.entry(application.key.clone()).or_default();
        memory.observed.clear();
        for key in &application.members {
            let Some(signals) = signals.get(key) else {
                continue;
            };
            let own = signals.self_quantile.value().map(|own| own.get());
            let wait = signals.callee_wait.value().map_or(0.0, |wait| wait.get());
            let request = signals.request_quantile.value().map(|all| all.get());
            let time = own.or_else(|| request.map(|all| (all - wait).max(all / 10.0)));
            if let Some(time) = time.and_then(|time| Millis::new(time).ok()) {
                memory.observed.insert(key.name.clone(), time);
            }
            let work = match (signals.cpu_cores.value(), signals.rate.value()) {
                (Some(cores), Some(rate)) if rate.get() > 1.0 => Some(cores * 1000.0 / rate.get()),
                _ => None,
            };
            let profile = workloads
                .get(key)
                .and_then(|workload| known.get(&(key.clone(), workload.running().to_owned())));
            match (work, profile) {
                (Some(work), Some(profile)) if profile.work_ms > 0.0 => {
                    let ratio = work / profile.work_ms;
                    // Below a fifth, the difference is within what scrapes can tell.
                    let counted = if (ratio - 1.0).abs() > 0.2 {
                        ratio
                    } else {
                        1.0
                    };
                    memory.work_ratio.insert(key.name.clone(), counted);
                }
                _ => {
                    memory.work_ratio.remove(&key.name);
                }
            }
        }
        // What is assumed of the others below is no sign of strain.
        let measured = memory.observed.clone();
        match classes {
            Ok(mut classes) => {
                for class in &classes {
                    fill_unmeasured(&class.chain, &mut memory.observed);
                }
                let quantile = entry.as_ref().and_then(|entry| entry.quantile_ms);
                let tail = tail_factor(&classes, quantile, &memory.observed);
                for class in &mut classes {
                    class.tail = tail;
                }
                memory.classes = classes;
                memory.trouble = None;
            }
            // The last chain stays: a gap in the metrics changes no one's calls.
            Err(why) => memory.trouble = Some(why),
        }
        if entry.is_some() {
            memory.entry = entry;
        }
        let namespace = &application.key.namespace;
        let observed: BTreeMap<ObjectKey, f64> = measured
            .iter()
            .map(|(name, time)| (ObjectKey::new(namespace, name), time.get()))
            .collect();
        let strained = memory
            .split
            .iter()
            .flat_map(|split| &split.services)
            .filter_map(|service| {
                let key = ObjectKey::new(namespace, &service.service);
                let now = *observed.get(&key)?;
                let strain = Strain {
                    now_ms: now,
                    felt_ms: FELT * application.objective.get(),
                };
                (now > STRAIN * service.budget.get()).then_some((key, strain))
            })
            .collect();
        let callees = reached(namespace, &memory.classes);
        let limits = limits(&self.world.pods(), application, workloads);
        let rooms = application.members.iter().map(|key| {
            let seen = signals.get(key);
            let last = memory.work.get(&key.name).copied();
            let work = seen.and_then(|seen| work(seen, last));
            memory
                .work
                .extend(work.map(|work| (key.name.clone(), work)));
            let room = seen.and_then(|seen| room(seen, work, limits.get(key).copied()));
            (key.clone(), room)
        });
        self.board.with(|posted| {
            posted.make_room(rooms);
            posted.strained.insert(application.key.clone(), strained);
            posted.callees.extend(callees);
            posted.observed.extend(observed);
        });
        tracing::debug!(application = application.name, at = %now, classes = memory.classes.len(), "looked");
    }

    async fn classes(
        &self,
        application: &Application,
        signals: &SignalMap,
    ) -> Result<Vec<Class>, String> {
        let members: BTreeSet<String> = application
            .members
            .iter()
            .map(|key| key.name.clone())
            .collect();
        let graph = self
            .observer
            .call_graph(
                &application.key.namespace,
                &members,
                self.windows.tail(),
                (self.now)(),
            )
            .await;
        let entry = &application.entry.name;
        let graph = match graph {
            // Chains that are declared, and one workload alone, need no calls: the entry's rate is enough.
            Err(GraphError::NotMeasured(_)) if needs_no_calls(application) => {
                let seen = signals.get(&application.entry);
                let rate = seen.and_then(|seen| seen.rate.value().copied());
                return classes(application, rate, None);
            }
            graph => graph.map_err(|error| error.to_string())?,
        };
        classes(application, graph.rates.get(entry).copied(), Some(&graph))
    }

    async fn entry(&self, application: &Application) -> Option<Observed> {
        let entries = [Entry {
            workload: application.entry.clone(),
            percentile: application.percentile,
            target: application.objective,
        }];
        let now = (self.now)();
        let read = self
            .observer
            .entries(&entries, self.windows.tail(), &self.windows, now)
            .await;
        let reading = read.readings.into_iter().next()?;
        let requests = *reading.requests.value()?;
        let attainment = reading.attainment.value().copied();
        Some(Observed {
            quantile_ms: reading.quantile.value().map(|ms| round(ms.get(), 1)),
            attainment: attainment.map(|share| round(share, 5)),
            requests: requests.round(),
            error_budget_left: attainment
                .map(|share| round(1.0 - (1.0 - share) / application.percentile.miss(), 3)),
            at: now.to_string(),
        })
    }
}

/// CPU limits of each member's Ready pods together; none where a pod has no limit.
fn limits(
    pods: &[Arc<ApiPod>],
    application: &Application,
    workloads: &BTreeMap<ObjectKey, Workload>,
) -> BTreeMap<ObjectKey, MilliCpu> {
    let serving = pods::serving(pods);
    let of = |key: &ObjectKey| {
        let (container, _) = workloads.get(key)?.serving.as_ref()?;
        let ready = serving
            .get(key)?
            .iter()
            .filter(|pod| pod.ready_since.is_some());
        let limits = ready.map(|found| pods::actual(&found.pod, container)?.limit);
        let sum = limits.map(|limit| Some(limit?.0)).sum::<Option<u32>>()?;
        Some((key.clone(), MilliCpu(sum)))
    };
    application.members.iter().filter_map(of).collect()
}
