//! Learning profiles from live pods: which revisions, and writing what was learnt.

use std::collections::BTreeMap;

use msars_api::crd::{LoadLatencyProfile, PhaseSeconds, ProfileSource};
use msars_domain::{ObjectKey, Percentile};

use super::application::Application;
use super::passive::{self, NEEDED, Window};
use super::{Objectives, SignalMap};
use crate::pods;
use crate::profiles::{self, Found};
use crate::world::Workload;

impl Objectives {
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
