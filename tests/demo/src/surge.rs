//! A sudden load: three times the rate within seconds, and back. What is to be seen is that replicas follow, that pods
//! are resized in place, and that both come back.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, Result};
use msars_shop::Version;
use serde_json::Value;

use crate::load::{Load, Part};
use crate::report::Surge;
use crate::stage::Stage;
use crate::story::{
    IN_LIMIT, NAMESPACE, OUT_LIMIT, SCALE_DOWN_WINDOW_S, SURGE, SURGE_CARRIED, SURGE_LARGEST,
    SURGE_REPLICAS, SURGE_SMALLEST, WORKLOAD,
};
use crate::{bound, change, stored};

/// Plays the surge over the `running` revision; answers with the running load and what was seen.
///
/// # Errors
/// When kubectl fails or the load gets no answers.
pub fn surge(stage: &Stage<'_>, running: &str) -> Result<(Load, Surge)> {
    let begun = stage.timeline.seconds();
    let load = Load::start(stage, &Part::surge())?;
    let before = replicas(stage)?;
    let mut told = Surge {
        rate_low: SURGE.low,
        rate_high: SURGE.high,
        from_s: begun + SURGE.lead_s,
        falls_s: begun + SURGE.falls_s(),
        over_s: begun + SURGE.over_s(),
        replicas: (before, before, before),
    };
    until(
        stage,
        &mut told,
        "the rise of the load",
        begun + SURGE.lead_s,
    )?;
    stage.say(&format!(
        "the load goes from {:.0} to {:.0} requests per second within {:.0} s; {before} replicas of {WORKLOAD}",
        SURGE.low, SURGE.high, SURGE.rise_s
    ));
    wishes(stage, running, before)?;
    watch(stage, &mut told, "a scale out", OUT_LIMIT, |told| {
        told.replicas.2 > told.replicas.0
    })?;
    until(
        stage,
        &mut told,
        "the end of the surge",
        begun + SURGE.over_s(),
    )?;
    stage.say(&format!(
        "the surge is over, with {} replicas; load: {}",
        told.replicas.2,
        load.last()
    ));
    watch(stage, &mut told, "a scale in", IN_LIMIT, |told| {
        told.replicas.2 < told.replicas.1
    })?;
    Ok((load, told))
}

/// What a team may say of a workload: how large a pod may be, beyond which more load needs more pods, how many there may
/// be on a small node, and that they go sooner than after HPA's five minutes.
fn wishes(stage: &Stage<'_>, running: &str, replicas: u32) -> Result<()> {
    let cpu = sizes(stage, running, replicas)?;
    stage.command(&format!(
        "-n {NAMESPACE} annotate deploy/{WORKLOAD} msars.io/cpu={cpu} msars.io/max-replicas={SURGE_REPLICAS} --overwrite"
    ))?;
    stage.command(&format!(
        "-n {NAMESPACE} patch slas/{WORKLOAD} --type=merge -p '{{\"spec\":{{\"behavior\":{{\"scaleDown\":{{\"stabilizationWindowSeconds\":{SCALE_DOWN_WINDOW_S}}}}}}}}}'"
    ))?;
    Ok(())
}

/// Sizes at which the replicas of now do not carry the surge, by the profile of what runs.
fn sizes(stage: &Stage<'_>, running: &str, replicas: u32) -> Result<String> {
    let all = stored::budgets(&change::objective(stage)?);
    let name = WORKLOAD.name();
    let budget = stored::by_service(&all, name, running).get(name).copied();
    let profile = change::profile(stage, running)?;
    let rate = SURGE.high * visits();
    let found = profile.zip(budget).and_then(|(profile, budget)| {
        let most = SURGE_CARRIED * rate / f64::from(replicas.max(1));
        Some((bound::largest(&profile.curve, budget, most)?, budget))
    });
    let Some((bound, budget)) = found else {
        stage.say("no profile tells how large a pod may be");
        return Ok(format!("{SURGE_SMALLEST}m..{SURGE_LARGEST}m"));
    };
    stage.say(&format!(
        "by its profile a pod of {}m carries {:.1} requests per second within its budget of {budget:.1} ms; the surge brings {rate:.1}",
        bound.size, bound.carries
    ));
    Ok(format!(
        "{}m..{}m",
        SURGE_SMALLEST.min(bound.size),
        bound.size
    ))
}

/// Requests to the workload per request of a visitor; versions do the same calls.
fn visits() -> f64 {
    let all = msars_shop::visits(|_| Version::V1);
    let own = all.iter().filter(|((role, _), _)| *role == WORKLOAD);
    own.map(|(_, visits)| visits).sum()
}

/// Follows the replicas until the timeline has reached a time.
fn until(stage: &Stage<'_>, told: &mut Surge, what: &str, at_s: f64) -> Result<()> {
    stage.until(what, OUT_LIMIT * 2, || {
        look(stage, told)?;
        let left = at_s - stage.timeline.seconds();
        Ok(if left <= 0.0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(format!("{left:.0} s left, {} replicas", told.replicas.2))
        })
    })
}

/// Follows the replicas until `seen`; a limit that passes is told with what the autoscaler says, and the bars judge.
fn watch(
    stage: &Stage<'_>,
    told: &mut Surge,
    what: &str,
    limit: Duration,
    seen: impl Fn(&Surge) -> bool,
) -> Result<()> {
    let began = stage.timeline.seconds();
    let found = stage.until(&format!("{what} of {WORKLOAD}"), limit, || {
        let now = look(stage, told)?;
        Ok(if seen(told) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(format!("{now} replicas"))
        })
    });
    match found {
        Ok(()) => stage.say(&format!(
            "{what} of {WORKLOAD} to {} after {:.1} s",
            told.replicas.2,
            stage.timeline.seconds() - began
        )),
        Err(error) => {
            stage.interrupt.check()?;
            let autoscaler = stage.object(&["sloautoscalers.msars.io", WORKLOAD.name()])?;
            let (_, reason, message) = stored::condition(&autoscaler, "Ready").unwrap_or_default();
            stage.say(&format!("{error:#}; {reason}: {message}"));
        }
    }
    Ok(())
}

/// Notes the replicas of now.
fn look(stage: &Stage<'_>, told: &mut Surge) -> Result<u32> {
    let now = replicas(stage)?;
    told.replicas.1 = told.replicas.1.max(now);
    told.replicas.2 = now;
    Ok(now)
}

fn replicas(stage: &Stage<'_>) -> Result<u32> {
    let deployment = stage.object(&["deployment", WORKLOAD.name()])?;
    let wanted = deployment
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .and_then(|wanted| u32::try_from(wanted).ok());
    wanted.with_context(|| format!("deployment {WORKLOAD} has no spec.replicas"))
}

#[cfg(test)]
mod tests {
    use super::visits;

    #[test]
    fn most_visitors_see_the_catalogue() {
        assert!((visits() - 10.5 / 11.5).abs() < 1e-9, "{}", visits());
    }
}
