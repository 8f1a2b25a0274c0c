//! Learning profiles from live pods: which revisions, and writing what was learnt.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use msars_api::crd::{LoadLatencyProfile, PhaseSeconds, ProfileSource};
use msars_domain::{MilliCpu, ObjectKey, Percentile};

use super::application::Application;
use super::known::{Profiles, Standing};
use super::passive::{self, NEEDED, Window};
use super::{Objectives, SignalMap};
use crate::pods::{self, Serving};
use crate::profiles::{self, Found};
use crate::world::Workload;

/// A workload whose running revision is to be learnt, with its serving pods.
type Wanted<'a> = (&'a Application, &'a Workload, Fleet);

/// Serving pods that may be learnt from.
#[derive(Debug, Clone, Copy)]
struct Fleet {
    pods: u32,
    /// What each of them has: they are born with, and resized to, other sizes than their template's.
    size: MilliCpu,
}

/// The time for learning in one look, after which splits go on; what is left comes with the next.
const LEARNING_S: f64 = 5.0;

/// The fleet where all pods have one size, none while they differ. Pure.
fn fleet(workload: &Workload, serving: &[Serving]) -> Option<Fleet> {
    let (container, _template) = workload.serving.as_ref()?;
    let mut sizes = serving
        .iter()
        .map(|found| Some(pods::actual(&found.pod, container)?.size()));
    let size = sizes.next()??;
    sizes.all(|other| other == Some(size)).then_some(Fleet {
        pods: u32::try_from(serving.len()).unwrap_or(u32::MAX),
        size,
    })
}

/// Percentiles closer than this are the same.
const ROUNDING: f64 = 1e-6;

/// Whether all pods run the running revision, and did over the whole window. Pure.
fn settled(workload: &Workload, pods: &[Serving], window_s: f64, now: Timestamp) -> bool {
    let owned = workload.owned.get(workload.running());
    let ours = |hash: &String| owned.is_some_and(|owned| owned.pod_template_hashes.contains(hash));
    let old = |since: Timestamp| now.duration_since(since).as_secs_f64() >= window_s;
    !pods.is_empty()
        && pods
            .iter()
            .all(|pod| ours(&pod.pod_template_hash) && pod.ready_since.is_some_and(old))
}

/// Whether a running revision is to be learnt: no profile counts for it, neither its own nor one that stands in, or only
/// one of a looser percentile than is asked for by now. Pure.
pub(super) fn unknown(workload: &Workload, known: &Profiles, asked: Percentile) -> bool {
    let key = (workload.key.clone(), workload.running().to_owned());
    let strict = |standing: &Standing| standing.known.percentile.get() >= asked.get() - ROUNDING;
    let enough = known.get(&key).is_some_and(strict);
    !enough && !workload.held() && workload.serving.is_some()
}

impl Objectives {
    /// Learns profiles of running revisions that have none from their live pods.
    pub(super) async fn learn(
        &self,
        applications: &[Application],
        workloads: &BTreeMap<ObjectKey, Workload>,
        known: &Profiles,
    ) {
        let wanted = self.wanted(applications, workloads, known);
        tracing::debug!(wanted = wanted.len(), "to be learnt from live pods");
        if wanted.is_empty() {
            return;
        }
        let Some(at) = self.quantiles(applications, workloads, &wanted).await else {
            return;
        };
        let began = (self.now)();
        for (application, workload, fleet) in wanted {
            // A held revision of another application waits for its split meanwhile.
            if (self.now)().duration_since(began).as_secs_f64() >= LEARNING_S {
                break;
            }
            let found: Vec<_> = at.iter().filter_map(|map| map.get(&workload.key)).collect();
            let [p50, p90, p99] = found[..] else { continue };
            let window = Window {
                size: fleet.size,
                pods: fleet.pods,
                seconds: self.windows.tail().as_secs_f64(),
            };
            let Some(point) = passive::point([p50, p90, p99], window) else {
                tracing::info!(
                    workload = %workload.key, rate = ?p50.rate, cores = ?p50.cpu_cores,
                    p50 = ?p50.request_quantile, p90 = ?p90.request_quantile,
                    p99 = ?p99.request_quantile,
                    "not enough is known to learn from live pods"
                );
                continue;
            };
            self.keep(application, workload, point).await;
        }
    }

    /// Revisions to be learnt whose pods and windows tell of nothing else.
    fn wanted<'a>(
        &self,
        applications: &'a [Application],
        workloads: &'a BTreeMap<ObjectKey, Workload>,
        known: &Profiles,
    ) -> Vec<Wanted<'a>> {
        let now = (self.now)();
        let window_s = self.windows.tail().as_secs_f64();
        let serving = pods::serving(&self.world.pods());
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for application in applications {
            if self.loaded(application, now) {
                continue;
            }
            let members = application.members.iter();
            for workload in members.filter_map(|key| workloads.get(key)) {
                let pods = serving.get(&workload.key).map_or(&[][..], Vec::as_slice);
                let asked = self.strictest(application, workload);
                if unknown(workload, known, asked)
                    && settled(workload, pods, window_s, now)
                    && let Some(fleet) = fleet(workload, pods)
                {
                    wanted.push((application, workload, fleet));
                }
            }
        }
        wanted
    }

    /// The strictest percentile of all objectives that a workload is part of.
    fn strictest(&self, application: &Application, workload: &Workload) -> Percentile {
        let posted = self.board.percentile(&workload.key);
        let posted = posted.and_then(|share| Percentile::new(share).ok());
        posted.unwrap_or(application.percentile)
    }

    /// Their signals at each percentile that a fit needs.
    async fn quantiles(
        &self,
        applications: &[Application],
        workloads: &BTreeMap<ObjectKey, Workload>,
        wanted: &[Wanted<'_>],
    ) -> Option<Vec<SignalMap>> {
        let now = (self.now)();
        let names: BTreeSet<&ObjectKey> = wanted
            .iter()
            .map(|(_, workload, _)| &workload.key)
            .collect();
        let mut at = Vec::new();
        for share in NEEDED {
            let percentile = Percentile::new(share).ok()?;
            let mut scope = self.scope(applications, workloads);
            scope.workloads.retain(|key, _| names.contains(key));
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
        Some(at)
    }

    async fn keep(&self, application: &Application, workload: &Workload, point: msars_llp::Point) {
        let Some(node) = self.world.node() else {
            return;
        };
        let grid = profiles::grid(workload, Some(node));
        let (cores, percentile) = (node.cores(), self.strictest(application, workload));
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
