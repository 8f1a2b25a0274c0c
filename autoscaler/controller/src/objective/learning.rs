//! Looking at Prometheus: calls, end-to-end latency, live work, and profiles learnt from live pods.

use std::collections::{BTreeMap, BTreeSet};

use msars_api::crd::{LoadLatencyProfile, Observed, PhaseSeconds, ProfileSource};
use msars_budget::{TailFactor, path_latency};
use msars_domain::{Call, Chain, Millis, ObjectKey, Percentile};
use msars_observe::{Entry, GraphError, Pod, Scope};

use super::application::{Application, Declare, declare};
use super::assemble::{Class, round};
use super::classes::{classes, needs_no_calls};
use super::passive::{self, NEEDED, Window};
use super::{FELT, Objectives, STRAIN, SignalMap, Strain};
use crate::pods;
use crate::profiles::{self, Found};
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

    fn scope(
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
        let observed: BTreeMap<ObjectKey, f64> = memory
            .observed
            .iter()
            .map(|(name, time)| (ObjectKey::new(namespace, name), time.get()))
            .collect();
        let strained = memory
            .budgets
            .iter()
            .filter_map(|(name, budget)| {
                let key = ObjectKey::new(namespace, name);
                let now = *observed.get(&key)?;
                let strain = Strain {
                    now_ms: now,
                    felt_ms: FELT * application.objective.get(),
                };
                (now > STRAIN * budget.get()).then_some((key, strain))
            })
            .collect();
        let callees = reached(namespace, &memory.classes);
        self.board.with(|posted| {
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

    /// Learns profiles of running revisions that have none from their live pods.
    pub(super) async fn learn(
        &self,
        applications: &[Application],
        workloads: &BTreeMap<ObjectKey, Workload>,
    ) {
        let known = self.known();
        let now = (self.now)();
        let serving = pods::serving(&self.world.pods());
        let settled = |key: &ObjectKey, workload: &Workload| {
            let hash = workload
                .owned
                .get(workload.running())
                .map(|owned| owned.pod_template_hash.clone());
            let pods = serving.get(key).map_or(&[][..], Vec::as_slice);
            !pods.is_empty()
                && pods.iter().all(|pod| {
                    Some(&pod.pod_template_hash) == hash.as_ref()
                        && pod.ready_since.is_some_and(|since| {
                            now.duration_since(since).as_secs_f64()
                                >= self.windows.tail().as_secs_f64()
                        })
                })
        };
        let mut wanted: Vec<(&Application, &Workload, u32)> = Vec::new();
        for application in applications {
            if self.board.profiling_in(&application.key.namespace) {
                continue;
            }
            for key in &application.members {
                let Some(workload) = workloads.get(key) else {
                    continue;
                };
                let unknown = !known.contains_key(&(key.clone(), workload.running().to_owned()));
                if unknown
                    && !workload.held()
                    && workload.serving.is_some()
                    && settled(key, workload)
                {
                    let pods = serving.get(key).map_or(1, Vec::len) as u32;
                    wanted.push((application, workload, pods));
                }
            }
        }
        tracing::debug!(wanted = wanted.len(), "to be learnt from live pods");
        if wanted.is_empty() {
            return;
        }
        let mut at: Vec<SignalMap> = Vec::new();
        for share in NEEDED {
            let Ok(percentile) = Percentile::new(share) else {
                return;
            };
            let mut scope = self.scope(applications, workloads);
            scope
                .workloads
                .retain(|key, _| wanted.iter().any(|(_, workload, _)| &workload.key == key));
            for wish in scope.workloads.values_mut() {
                *wish = percentile;
            }
            let observed = self.observer.signals(&scope, now).await;
            at.push(
                observed
                    .signals
                    .into_iter()
                    .map(|signals| (signals.workload.clone(), signals))
                    .collect(),
            );
        }
        for (application, workload, pods) in wanted {
            let found: Vec<_> = at.iter().filter_map(|map| map.get(&workload.key)).collect();
            let [p50, p90, p99] = found[..] else { continue };
            let Some((_, cpu)) = &workload.serving else {
                continue;
            };
            let window = Window {
                size: cpu.size(),
                pods,
                seconds: self.windows.tail().as_secs_f64(),
            };
            let Some(point) = passive::point([p50, p90, p99], window) else {
                tracing::info!(
                    workload = %workload.key, rate = ?p50.rate, cores = ?p50.cpu_cores,
                    p50 = ?p50.request_quantile, p90 = ?p90.request_quantile,
                    "not enough is known to learn from live pods"
                );
                continue;
            };
            self.keep(application, workload, point).await;
        }
    }

    async fn keep(&self, application: &Application, workload: &Workload, point: msars_llp::Point) {
        let grid = profiles::grid(workload, self.cores);
        let (cores, percentile) = (self.cores, application.percentile);
        let sizes = grid.clone();
        let learnt =
            tokio::task::spawn_blocking(move || passive::learn(point, cores, percentile, &sizes));
        let (fitted, profile) = match learnt.await {
            Ok(Ok(learnt)) => learnt,
            Ok(Err(error)) => {
                tracing::info!(%error, workload = %workload.key, "nothing learnt from live pods");
                return;
            }
            Err(error) => {
                tracing::error!(%error, workload = %workload.key, "learning failed");
                return;
            }
        };
        let revision = workload.running();
        let mut object = profiles::object(workload, revision, &grid);
        object.spec.requests = String::new();
        let key = profiles::key(&workload.key, revision);
        let now = (self.now)();
        let written = match self.own.create(&object).await {
            Ok(()) => {
                self.own
                    .status::<LoadLatencyProfile>(&key, |stored| {
                        let generation = stored.metadata.generation;
                        let found = Found {
                            fitted: &fitted,
                            profile: &profile,
                            points: &[point],
                            percentile,
                            source: ProfileSource::Passive,
                            seconds: PhaseSeconds::default(),
                            message: format!(
                                "learnt from {} requests of live pods",
                                point.requests
                            ),
                        };
                        profiles::done(
                            stored.status.get_or_insert_default(),
                            &found,
                            generation,
                            now,
                        );
                    })
                    .await
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {
                tracing::info!(workload = %workload.key, revision, work_ms = fitted.mechanism.work_ms, "learnt a profile from live pods");
            }
            Err(error) => tracing::warn!(%error, "a learnt profile was not written"),
        }
    }
}

/// Every workload of the chains with all that its requests reach.
fn reached(namespace: &str, classes: &[Class]) -> BTreeMap<ObjectKey, BTreeSet<ObjectKey>> {
    fn walk(
        namespace: &str,
        call: &Call,
        out: &mut BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    ) -> BTreeSet<ObjectKey> {
        let mut below = BTreeSet::new();
        for child in &call.children {
            below.insert(ObjectKey::new(namespace, &child.service));
            below.extend(walk(namespace, child, out));
        }
        let key = ObjectKey::new(namespace, &call.service);
        out.entry(key).or_default().extend(below.iter().cloned());
        below
    }
    let mut out = BTreeMap::new();
    for class in classes {
        walk(namespace, &class.chain.root, &mut out);
    }
    out
}

/// κ: the entry's observed quantile over what the chain's own times add up to, those of services with too few requests
/// included as they are assumed. One where several classes share the entry, whose quantile is of all of them together.
fn tail_factor(
    classes: &[Class],
    quantile_ms: Option<f64>,
    observed: &BTreeMap<String, Millis>,
) -> TailFactor {
    let [class] = classes else {
        return TailFactor::ONE;
    };
    let quantile = quantile_ms.and_then(|ms| Millis::new(ms).ok());
    let predicted = path_latency(&class.chain, |name| observed.get(name).copied());
    match (quantile, predicted) {
        (Some(quantile), Some(predicted)) => TailFactor::observed(quantile, predicted),
        _ => TailFactor::ONE,
    }
}

/// Services with too few requests for a quantile count with the median of those measured in the same chain: they take
/// time, and no more is known.
fn fill_unmeasured(chain: &Chain, observed: &mut BTreeMap<String, Millis>) {
    let names: Vec<String> = chain
        .visits()
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut measured: Vec<f64> = names
        .iter()
        .filter_map(|name| observed.get(name).map(|ms| ms.get()))
        .collect();
    measured.sort_by(f64::total_cmp);
    let Some(median) = measured
        .get(measured.len() / 2)
        .and_then(|ms| Millis::new(*ms).ok())
    else {
        return;
    };
    for name in names {
        observed.entry(name).or_insert(median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_domain::{EdgeKind, Rate};

    fn call(service: &str, children: Vec<Call>) -> Call {
        Call {
            service: service.into(),
            visits: 1.0,
            max_visits: 1,
            kind: EdgeKind::Sequential,
            children,
        }
    }

    #[test]
    fn a_service_with_few_requests_does_not_hide_the_tail_factor() {
        let ms = |value| Millis::new(value).unwrap();
        let chain = Chain {
            name: "all".into(),
            root: call("a", vec![call("b", vec![]), call("rare", vec![])]),
            percentile: Percentile::new(0.99).unwrap(),
        };
        let class = Class {
            chain,
            rate: Rate::new(10.0).unwrap(),
            objective: ms(400.0),
            tail: TailFactor::ONE,
        };
        let mut observed = BTreeMap::from([("a".to_owned(), ms(20.0)), ("b".to_owned(), ms(60.0))]);
        fill_unmeasured(&class.chain, &mut observed);
        assert_eq!(observed.get("rare"), Some(&ms(60.0)));
        let classes = [class];
        let tail = tail_factor(&classes, Some(70.0), &observed);
        assert!((tail.get() - 0.5).abs() < 1e-9, "{tail:?}");
        assert_eq!(tail_factor(&classes, None, &observed), TailFactor::ONE);
        let two = [classes[0].clone(), classes[0].clone()];
        assert_eq!(tail_factor(&two, Some(70.0), &observed), TailFactor::ONE);
    }
}
