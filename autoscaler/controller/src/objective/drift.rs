//! Live CPU per request beside the profile's: what a split counts with, and what a profile's status says of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use msars_api::conditions::ConditionType;
use msars_api::crd::{LoadLatencyProfile, LoadLatencyProfileStatus};
use msars_domain::{ObjectKey, Signals};

use super::Objectives;
use super::application::Application;
use super::assemble::round;
use super::known::Profiles;
use crate::own::set_condition;
use crate::work::{BUSY, TELLS, counted};
use crate::world::Workload;

/// What has drifted has come back below this share, so that a service at the border is not told of every round.
const BACK: f64 = 0.15;
/// The reason of a profile that fits.
const FITS: &str = "AsProfiled";
/// What is to be said is said once every look for so long agreed: CPU per request of a quiet service swings by more
/// than a fifth from one window to the next.
const AGREES_S: i64 = 120;

/// What would be told of profiles, with the first look that found it so.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<ObjectKey, (&'static str, Timestamp)>);

impl Pending {
    /// Whether a piece of news has been the same for long enough; no news forgets what was pending. Pure.
    fn agreed(&mut self, profile: &ObjectKey, news: Option<&Told>, now: Timestamp) -> bool {
        let Some(told) = news else {
            self.0.remove(profile);
            return false;
        };
        let (reason, since) = self.0.entry(profile.clone()).or_insert((told.reason, now));
        if *reason != told.reason {
            (*reason, *since) = (told.reason, now);
        }
        now.duration_since(*since).as_secs() >= AGREES_S
    }
}

/// CPU per request of a running revision.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Live {
    /// The revision that runs.
    pub revision: String,
    /// The one whose profile counts for it.
    pub profiled: String,
    /// Mean CPU per request of its pods, ms.
    pub work_ms: f64,
    /// The profile's, ms, > 0.
    pub profile_ms: f64,
}

impl Live {
    fn ratio(&self) -> f64 {
        self.work_ms / self.profile_ms
    }

    /// Live CPU per request over the profile's; 1 where the difference is too small to tell.
    pub(super) fn counted(&self) -> f64 {
        counted(self.ratio())
    }
}

/// What runs of one workload takes; none below [`BUSY`], or without a profile.
pub(super) fn live(workload: &Workload, signals: &Signals, known: &Profiles) -> Option<Live> {
    let revision = workload.running();
    let standing = known.get(&(workload.key.clone(), revision.to_owned()))?;
    let (cores, rate) = (signals.cpu_cores.value()?, signals.rate.value()?.get());
    (rate > BUSY && standing.known.work_ms > 0.0).then(|| Live {
        revision: revision.to_owned(),
        profiled: standing.revision.clone(),
        work_ms: cores * 1000.0 / rate,
        profile_ms: standing.known.work_ms,
    })
}

/// What is to be said of a profile.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    drift: Option<f64>,
    drifted: bool,
    reason: &'static str,
    message: String,
}

/// What is to be said of a profile that does not say it yet; `live` is none where no live pod rests on the profile any
/// more. Pure.
fn news(profile: &LoadLatencyProfile, live: Option<&Live>) -> Option<Told> {
    let status = profile.status.as_ref()?;
    let stored = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::LLPDrift.as_str());
    let before = stored.is_some_and(|condition| condition.status == "True");
    let Some(live) = live else {
        return before.then(|| Told {
            drift: None,
            drifted: false,
            reason: "NotRunning",
            message: "no live pod rests on this profile any more".into(),
        });
    };
    let drift = live.ratio() - 1.0;
    let drifted = drift.abs() > if before { BACK } else { TELLS };
    let reason = match (drifted, drift > 0.0) {
        (false, _) => FITS,
        (true, true) => "MoreWork",
        (true, false) => "LessWork",
    };
    let same = stored.is_some_and(|condition| condition.reason == reason);
    let near = (status.drift).is_some_and(|stored| (stored - drift).abs() <= TELLS);
    (!(same && near)).then(|| Told {
        drift: Some(round(drift, 3)),
        drifted,
        reason,
        message: sentence(profile, live, reason),
    })
}

fn sentence(profile: &LoadLatencyProfile, live: &Live, reason: &str) -> String {
    let found = format!(
        "live pods take {:.2} ms of CPU per request, {:.2} ms were profiled",
        live.work_ms, live.profile_ms
    );
    match reason {
        FITS => found,
        "MoreWork" => {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let meta = &profile.metadata;
            format!(
                "{found}: every size is counted as so much slower. Learn it anew from live pods: kubectl -n {} delete llp {}",
                part(&meta.namespace),
                part(&meta.name)
            )
        }
        _ => format!("{found}: the profile counts, since it is the worse of the two"),
    }
}

fn write(
    status: &mut LoadLatencyProfileStatus,
    told: &Told,
    generation: Option<i64>,
    now: Timestamp,
) {
    status.drift = told.drift;
    set_condition(
        &mut status.conditions,
        ConditionType::LLPDrift,
        told.drifted,
        told.reason,
        &told.message,
        generation,
        now,
    );
}

/// Live work by the profile that counts for what runs; none where it was not measured.
type Resting<'a> = BTreeMap<(ObjectKey, String), Option<&'a Live>>;

impl Objectives {
    fn resting(
        &self,
        applications: &[Application],
        workloads: &BTreeMap<ObjectKey, Workload>,
        known: &Profiles,
    ) -> Resting<'_> {
        let mut out = Resting::new();
        for application in applications {
            let memory = self.memory.get(&application.key);
            let members = application.members.iter();
            for workload in members.filter_map(|key| workloads.get(key)) {
                let (key, running) = (&workload.key, workload.running());
                let live = memory.and_then(|memory| memory.live.get(&key.name));
                let live = live.filter(|live| live.revision == running);
                if let Some(standing) = known.get(&(key.clone(), running.to_owned())) {
                    out.insert((key.clone(), standing.revision.clone()), live);
                }
            }
        }
        out
    }

    /// Tells the drift of every profile of these applications, where it has meant something else than what is stored for
    /// a while. What was not measured keeps what it says.
    pub(super) async fn drift(
        &mut self,
        applications: &[Application],
        workloads: &BTreeMap<ObjectKey, Workload>,
        known: &Profiles,
    ) {
        let resting = self.resting(applications, workloads, known);
        let members: BTreeSet<&ObjectKey> = applications
            .iter()
            .flat_map(|application| &application.members)
            .collect();
        let (profiles, now) = (self.world.profiles(), (self.now)());
        let mut found: Vec<(ObjectKey, Option<Told>)> = Vec::new();
        let mut there = BTreeSet::new();
        for profile in &profiles {
            let meta = &profile.metadata;
            let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
                continue;
            };
            let key = ObjectKey::new(namespace, name);
            there.insert(key.clone());
            let workload = ObjectKey::new(namespace, &profile.spec.workload);
            let place = (workload, profile.spec.revision.clone());
            let live = match resting.get(&place) {
                Some(Some(live)) => Some(*live),
                None if members.contains(&place.0) => None,
                Some(None) | None => continue,
            };
            found.push((key, news(profile, live)));
        }
        self.pending.0.retain(|key, _| there.contains(key));
        for (key, news) in found {
            let agreed = self.pending.agreed(&key, news.as_ref(), now);
            if let Some(told) = news.filter(|_| agreed) {
                self.tell(&key, &told, now).await;
            }
        }
    }

    async fn tell(&self, key: &ObjectKey, told: &Told, now: Timestamp) {
        let written = self
            .own
            .status::<LoadLatencyProfile>(key, |stored| {
                let generation = stored.metadata.generation;
                write(stored.status.get_or_insert_default(), told, generation, now);
            })
            .await;
        match written {
            Ok(()) => {
                tracing::info!(profile = %key, reason = told.reason, drift = told.drift, "drift was told");
            }
            Err(error) => {
                tracing::warn!(%error, category = error.category(), "a profile's drift was not told");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;

    fn live(ratio: f64) -> Live {
        Live {
            revision: "v1".into(),
            profiled: "v1".into(),
            work_ms: 3.0 * ratio,
            profile_ms: 3.0,
        }
    }

    #[test]
    fn drift_is_told_when_it_means_something_else() {
        let at = Timestamp::UNIX_EPOCH;
        let mut profile = (*profile("carts", "v1", 0)).clone();
        // (live over profiled, none: not running any more; what is told, none: nothing new)
        for (ratio, wanted) in [
            (None, None),
            (Some(1.1), Some((false, "AsProfiled", Some(0.1)))),
            (Some(0.95), None),
            (Some(1.19), None),
            (Some(1.25), Some((true, "MoreWork", Some(0.25)))),
            // At the border nothing flaps, and a little more is no news.
            (Some(1.18), None),
            (Some(1.4), None),
            (Some(1.5), Some((true, "MoreWork", Some(0.5)))),
            (Some(1.1), Some((false, "AsProfiled", Some(0.1)))),
            (Some(0.7), Some((true, "LessWork", Some(-0.3)))),
            (None, Some((false, "NotRunning", None))),
            (None, None),
        ] {
            let live = ratio.map(live);
            let told = news(&profile, live.as_ref());
            let found = told
                .as_ref()
                .map(|told| (told.drifted, told.reason, told.drift));
            assert_eq!(found, wanted, "{ratio:?}");
            if let Some(told) = told {
                write(profile.status.as_mut().unwrap(), &told, Some(1), at);
            }
        }
        let told = news(&profile, Some(&live(2.0))).unwrap();
        assert_eq!(
            told.message,
            "live pods take 6.00 ms of CPU per request, 3.00 ms were profiled: every size is counted as so much slower. Learn it anew from live pods: kubectl -n shop delete llp carts.v1"
        );
    }

    #[test]
    fn only_what_every_look_agrees_on_is_told() {
        let profile = profile("carts", "v1", 0);
        let key = ObjectKey::new("shop", "carts.v1");
        let mut pending = Pending::default();
        // (seconds, live over profiled, none: no news of it; whether it is told)
        for (at, ratio, wanted) in [
            (0, Some(1.5), false),
            (110, Some(1.4), false),
            // It swings: from here on again.
            (115, Some(0.7), false),
            (120, Some(1.5), false),
            (230, Some(1.6), false),
            (235, None, false),
            (240, Some(1.5), false),
            (360, Some(1.5), true),
        ] {
            let now = Timestamp::from_second(at).unwrap();
            let told = ratio.and_then(|ratio| news(&profile, Some(&live(ratio))));
            assert_eq!(pending.agreed(&key, told.as_ref(), now), wanted, "{at}");
        }
    }

    #[test]
    fn a_difference_below_a_fifth_is_not_counted() {
        for (ratio, counted) in [(1.0, 1.0), (1.19, 1.0), (1.3, 1.3), (0.7, 0.7)] {
            assert!((live(ratio).counted() - counted).abs() < 1e-9, "{ratio}");
        }
    }
}
