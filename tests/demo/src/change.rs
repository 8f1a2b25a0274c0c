//! One new version of one workload, from `kubectl set image` to the complete rollout.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use msars_shop::{Version, image, mean_work_ms};
use serde_json::Value;

use crate::logs;
use crate::report::Revision;
use crate::stage::Stage;
use crate::stored::{self, Budget, Profile};
use crate::story::{
    BUDGET_LIMIT, CONTAINER, ENTRY, HOLD_LIMIT, NAMESPACE, ROLLOUT_LIMIT, SETTLE_LIMIT,
    SPLIT_LIMIT, SYSTEM, WORD_LIMIT, WORKLOAD,
};

/// The objective as it is stored.
///
/// # Errors
/// When kubectl fails.
pub fn objective(stage: &Stage<'_>) -> Result<Value> {
    stage.object(&["servicelevelobjectives.msars.io", ENTRY.name()])
}

/// Waits until the objective is Ready and speaks of the workload; answers with the budgets.
///
/// # Errors
/// When it does not get there in time.
pub fn ready(stage: &Stage<'_>, load: &dyn Fn() -> String) -> Result<Vec<Budget>> {
    let what = format!("the objective Ready with a budget for {WORKLOAD}");
    stage.until(&what, SPLIT_LIMIT, || {
        let slo = objective(stage)?;
        let budgets = stored::budgets(&slo);
        let (status, reason, message) = stored::condition(&slo, "Ready").unwrap_or_default();
        let known = !stored::revisions(&budgets, WORKLOAD.name()).is_empty();
        Ok(if status == "True" && known {
            ControlFlow::Break(budgets)
        } else {
            ControlFlow::Continue(format!(
                "Ready={status} {reason}: {message}; load: {}",
                load()
            ))
        })
    })
}

/// The revision that runs, once the objective speaks of it alone; `last` when it goes on to speak of others.
fn settled(stage: &Stage<'_>, last: &str) -> Result<(String, Vec<Budget>)> {
    let what = "one running revision in the objective";
    let found = stage.until(what, SETTLE_LIMIT, || {
        let budgets = stored::budgets(&objective(stage)?);
        let revisions = stored::revisions(&budgets, WORKLOAD.name());
        Ok(match revisions.as_slice() {
            [only] if last.is_empty() || only == last => {
                ControlFlow::Break((only.clone(), budgets))
            }
            more => ControlFlow::Continue(more.join(", ")),
        })
    });
    match found {
        Err(error) if !last.is_empty() => {
            stage.interrupt.check()?;
            stage.say(&format!("{error:#}"));
            Ok((last.to_owned(), stored::budgets(&objective(stage)?)))
        }
        found => found,
    }
}

fn deployment(stage: &Stage<'_>) -> Result<Value> {
    stage.object(&["deployment", WORKLOAD.name()])
}

/// The stored profile of a revision of the workload, when it is done.
///
/// # Errors
/// When kubectl fails.
pub fn profile(stage: &Stage<'_>, revision: &str) -> Result<Option<Profile>> {
    let name = format!("{WORKLOAD}.{revision}");
    let found = stage.find("loadlatencyprofiles.msars.io", &name)?;
    Ok(found.as_ref().and_then(stored::profile))
}

/// The controllers' logs.
///
/// # Errors
/// When kubectl fails.
pub fn controller_log(stage: &Stage<'_>) -> Result<String> {
    stage.cluster.ask([
        "-n",
        SYSTEM,
        "logs",
        "-l",
        "app.kubernetes.io/name=msars-autoscaler",
        "--prefix",
        "--tail=-1",
    ])
}

/// Waits until a rollout is complete; answers with the seconds since the start of the run.
///
/// # Errors
/// When it does not complete in time.
pub fn complete(stage: &Stage<'_>) -> Result<f64> {
    stage.until(
        &format!("the rollout of {WORKLOAD} complete"),
        ROLLOUT_LIMIT,
        || {
            let state = stored::rolling(&deployment(stage)?);
            Ok(state.map_or(
                ControlFlow::Break(stage.timeline.seconds()),
                ControlFlow::Continue,
            ))
        },
    )
}

/// The budgets for a revision, once the objective speaks of it.
fn budgets_for(stage: &Stage<'_>, revision: &str) -> Result<Vec<Budget>> {
    let what = format!("a budget of {WORKLOAD} for revision {revision}");
    stage.until(&what, BUDGET_LIMIT, || {
        let budgets = stored::budgets(&objective(stage)?);
        let revisions = stored::revisions(&budgets, WORKLOAD.name());
        Ok(if revisions.iter().any(|known| known == revision) {
            ControlFlow::Break(budgets)
        } else {
            ControlFlow::Continue(format!("budgets for {}", revisions.join(", ")))
        })
    })
}

/// Follows a hold to its end; answers with its end in seconds since the start of the run: the middle of the look that
/// found it.
fn follow(stage: &Stage<'_>) -> Result<f64> {
    let what = format!("the end of the hold of {WORKLOAD}");
    stage.until(&what, HOLD_LIMIT, || {
        let before = stage.timeline.seconds();
        let held = stored::held(&deployment(stage)?);
        let end = f64::midpoint(before, stage.timeline.seconds());
        Ok(held.map_or(ControlFlow::Break(end), |revision| {
            ControlFlow::Continue(format!("revision {revision} is held"))
        }))
    })
}

/// The word that the controller has for the end of a hold; `unknown` when it says none.
fn word(stage: &Stage<'_>, revision: &str) -> Result<String> {
    let found = stage.until("the reason of the release", WORD_LIMIT, || {
        let releases = logs::releases(&controller_log(stage)?);
        let found = releases
            .into_iter()
            .rev()
            .find(|release| release.workload == WORKLOAD.name() && release.revision == revision);
        Ok(found.map_or_else(
            || ControlFlow::Continue("none in the controllers' logs".to_owned()),
            |release| ControlFlow::Break(release.word),
        ))
    });
    found.or_else(|error| {
        stage.interrupt.check()?;
        stage.say(&format!("{error:#}"));
        Ok("unknown".to_owned())
    })
}

/// Sets the image of `version` and follows it to the end. `running` is the revision that runs, empty when unknown.
///
/// # Errors
/// When a step does not come in time.
pub fn change(
    stage: &Stage<'_>,
    from: Version,
    version: Version,
    running: &str,
) -> Result<Revision> {
    let (running, before) = settled(stage, running)?;
    let workload = WORKLOAD.name();
    let mut told = Revision {
        workload: workload.to_owned(),
        image: image(WORKLOAD, version).reference,
        budgets_before: stored::by_service(&before, workload, &running),
        work_before_ms: mean_work_ms(WORKLOAD, from),
        work_true_ms: mean_work_ms(WORKLOAD, version),
        profile_before: profile(stage, &running)?,
        ..Revision::default()
    };
    let line = format!(
        "-n {NAMESPACE} set image deploy/{workload} {CONTAINER}={}",
        told.image
    );
    let (_, warned) = stage.command(&line)?;
    told.warning = warned;
    told.from_s = stage.timeline.seconds();
    if let Some(revision) = stored::held(&deployment(stage)?) {
        told.held = true;
        stage.say(&format!(
            "revision {revision} is held; the old version serves on"
        ));
        told.released_s = follow(stage)?;
        told.hold_s = told.released_s - told.from_s;
        told.released_by = word(stage, &revision)?;
        stage.say(&format!(
            "released after {:.1} s: {}",
            told.hold_s, told.released_by
        ));
        let autoscaler = autoscaler(stage)?;
        told.size_wanted = stored::wanted_size(&autoscaler, &revision);
        told.size_running = stored::wanted_size(&autoscaler, &running);
        told.profile = profile(stage, &revision)?;
        let budgets = budgets_for(stage, &revision).or_else(|error| {
            // A hold that ended without a profile has no split; the bars tell.
            stage.interrupt.check()?;
            stage.say(&format!("{error:#}"));
            anyhow::Ok(Vec::new())
        })?;
        told.budgets_after = stored::by_service(&budgets, workload, &revision);
        told.size_split = stored::split_size(&budgets, workload, &revision);
        told.revision = revision;
    } else {
        told.released_s = told.from_s;
        stage.say("the new revision is not held");
    }
    told.complete_s = complete(stage)?;
    stage.say(&format!(
        "the rollout is complete {:.1} s after its release",
        told.complete_s - told.released_s
    ));
    told.sizes_born = limits(stage, &told.image)?;
    if let Some(profile) = &told.profile {
        told.points = profile.points.len();
        told.sizes = profile.sizes();
        told.work_found_ms = Some(profile.work_ms);
    }
    stage.say(&sentence(&told));
    Ok(told)
}

fn autoscaler(stage: &Stage<'_>) -> Result<Value> {
    stage
        .object(&["sloautoscalers.msars.io", WORKLOAD.name()])
        .context("the workload's SloAutoscaler")
}

/// The limits that its pods have.
fn limits(stage: &Stage<'_>, image: &str) -> Result<Vec<Option<u32>>> {
    let pods = stage.object(&["pods", "-l", &format!("app={WORKLOAD}")])?;
    let limits = stored::limits(&pods, CONTAINER, image);
    Ok(limits.into_iter().map(|(_, limit)| limit).collect())
}

fn sentence(told: &Revision) -> String {
    let own = |map: &BTreeMap<String, f64>| {
        map.get(&told.workload)
            .map_or("none".to_owned(), |ms| format!("{ms:.1} ms"))
    };
    let found = told
        .work_found_ms
        .map_or("nothing".to_owned(), |ms| format!("{ms:.2} ms"));
    format!(
        "{}: {} points at {} sizes; found {found} of CPU per request, true {:.2} ms; budget {} → {}",
        told.image,
        told.points,
        told.sizes.len(),
        told.work_true_ms,
        own(&told.budgets_before),
        own(&told.budgets_after),
    )
}
