//! The steps in their order, between a cluster that comes up and one that goes down.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use msars_cluster::{Cluster, Options};
use msars_domain::load::RunResult;
use msars_shop::Version;

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::interrupt::Interrupt;
use crate::load::{self, Load, Part};
use crate::reconcile::{born_by, reconcile};
use crate::report::{Report, summary};
use crate::stage::Stage;
use crate::story::{BIRTH_LAG_S, CHANGES, DAY_S, LAST_LOAD, NAMESPACE, WORKLOAD, hints};
use crate::timeline::Timeline;
use crate::{
    adoption, agree, audit, bars, births, change, collect, fleet, images, install, page, scaling,
    surge, takeover, undo,
};

/// How a run is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Leave the cluster up.
    pub keep: bool,
    /// Where the report goes.
    pub out: PathBuf,
    /// Stretches the day of the load.
    pub minutes_scale: f64,
    /// Where the workspace lies.
    pub root: PathBuf,
}

/// The whole run; the report is written whatever the bars say. The cluster goes down after success, error and
/// interruption alike, unless it is kept.
///
/// # Errors
/// When a step fails or comes too late.
pub fn run(wish: &Wish) -> Result<Report> {
    let interrupt = Interrupt::listen()?;
    let coming = Timeline::new(Clock::start());
    let programs = images::folder()?;
    images::check(&programs)?;
    std::fs::create_dir_all(&wish.out).with_context(|| format!("making {}", wish.out.display()))?;
    // Until then nothing is up that would have to be taken down.
    Cluster::until_free(&|line| coming.show(line), &|| interrupt.check())?;
    coming.show("the cluster comes up");
    let up = Cluster::up(Options::default(), &|line| {
        coming.show(&format!("  {line}"));
    });
    let cluster = match up {
        Ok(cluster) => cluster,
        Err(error) => {
            if !wish.keep {
                Cluster::clear(&|line| coming.show(line)).context("taking down what came up")?;
            }
            return Err(error);
        }
    };
    // Seconds count from here: a first run builds for a quarter of an hour before.
    let timeline = Timeline::new(Clock::start());
    timeline.say("demo", "the cluster is up");
    let stage = Stage {
        cluster: &cluster,
        timeline: &timeline,
        interrupt: &interrupt,
        root: wish.root.clone(),
        programs,
        out: wish.out.clone(),
    };
    let leftovers = install::leftovers(&stage);
    if let Ok(found) = &leftovers
        && !found.is_empty()
    {
        // Not ours to take down.
        bail!(
            "the cluster holds an earlier run ({}); take it down first: cargo xtask cluster down",
            found.join(", ")
        );
    }
    let played = leftovers
        .and_then(|_| interrupt.check())
        .and_then(|()| play(&stage, wish));
    if played.is_err() {
        keep_log(&stage);
    }
    let written = played.and_then(|report| {
        write(&wish.out, &report)?;
        Ok(report)
    });
    if wish.keep {
        println!("{}", hints(&cluster.tools().display().to_string()));
    } else {
        timeline.show("the cluster goes down");
        let down = cluster.down().context("taking the cluster down");
        if let Err(error) = down {
            return Err(match written {
                Ok(_) => error,
                Err(first) => first.context(format!("and then: {error:#}")),
            });
        }
    }
    written
}

/// The story. A further step goes between the takeover and the end of the load.
fn play(stage: &Stage<'_>, wish: &Wish) -> Result<Report> {
    stage.say("the cluster is up");
    install::install(stage)?;
    let installed = stage.timeline.clock().at() + stage.timeline.clock().elapsed();

    let load = Load::start(stage, &Part::days(DAY_S * wish.minutes_scale))?;
    stage.say("live load runs");
    change::ready(stage, &|| load.last())?;
    stage.say("the objective is split into budgets");

    let mut report = Report::default();
    let mut from = Version::V1;
    let mut running = String::new();
    for version in CHANGES {
        let told = change::change(stage, from, version, &running)?;
        running.clone_from(&told.revision);
        stage.timeline.show(&format!("  load: {}", load.last()));
        report.revisions.push(told);
        from = version;
    }
    report.undo = Some(undo::undo(stage)?);
    let mut parts = vec![load.finish(stage)?];
    // What ran before the last change runs again.
    let running = report.revisions.iter().rev().nth(1);
    let running = running.map_or("", |revision| revision.revision.as_str());
    let (load, surge) = surge::surge(stage, running)?;
    report.surge = Some(surge);
    report.adoption = Some(adoption::adoption(stage)?);
    stage.pass("the last windows of the load", LAST_LOAD)?;
    parts.push(load.finish(stage)?);

    let zero = stage.timeline.clock().at();
    loaded(stage, &mut report, &parts)?;
    collect::collect(stage, &mut report, installed)?;
    let shown = collect::shown(stage)?;
    let log = stage.cluster.audit_log();
    let log =
        std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let mut writes = audit::writes(&log, NAMESPACE);
    writes.retain(|write| write.at >= zero);
    let wishes = births::wishes(&log, NAMESPACE);
    for revision in &mut report.revisions {
        let place = (
            NAMESPACE,
            revision.workload.as_str(),
            revision.revision.as_str(),
        );
        let born = births::births(&log, place, &wishes, BIRTH_LAG_S, zero);
        born_by(revision, born);
    }
    let found = (
        &audit::holds(&writes)[..],
        &audit::profiles(&log, NAMESPACE)[..],
    );
    reconcile(&mut report, &writes, found, zero);
    let fleet = fleet::read(&log, NAMESPACE);
    report.contradict(agree::contradictions(&fleet, &shown));
    if let Some(told) = &mut report.adoption {
        takeover::read(told, &log, NAMESPACE, &fleet);
    }
    let end = parts.last().map_or(shown.from, |part| part.ended);
    sized(&mut report, &fleet, zero, end);
    report.seconds = stage.timeline.seconds();
    report.bars = bars::judge(&report);
    report.summary = summary(&report);
    Ok(report)
}

/// What the load saw.
fn loaded(stage: &Stage<'_>, report: &mut Report, parts: &[RunResult]) -> Result<()> {
    (report.requests, report.windows) = load::seen(parts, stage.timeline.clock().at());
    report.slo = load::slo(parts)?;
    report.violation_rate = load::violation_rate(&report.windows, report.slo.target_ms);
    stage.say(&format!(
        "the load is over: {} sent, {} failed, {:.2} % within {:.0} ms",
        report.requests.sent,
        report.requests.failed,
        report.slo.attainment * 100.0,
        report.slo.target_ms
    ));
    Ok(())
}

/// What the API server's log says of pods and replicas.
fn sized(report: &mut Report, fleet: &Fleet, zero: Timestamp, end: Timestamp) {
    report.resizes = scaling::resizes(fleet);
    (report.scales, report.scaled) = scaling::scales(fleet, zero);
    report.cpu_core_seconds = scaling::core_seconds(fleet.pods.iter(), end);
    let profiling = fleet.pods.iter().filter(|pod| pod.shadow);
    report.cpu_core_seconds_profiling = scaling::core_seconds(profiling, end);
    report.fleet = scaling::steps(fleet, WORKLOAD.name(), zero, end);
}

/// What the controllers said of a run that failed, for whoever looks for the reason.
fn keep_log(stage: &Stage<'_>) {
    let path = stage.out.join("msars.log");
    let kept = change::controller_log(stage).map(|log| std::fs::write(&path, log));
    if matches!(kept, Ok(Ok(()))) {
        stage
            .timeline
            .show(&format!("the controllers' logs: {}", path.display()));
    }
}

fn write(out: &Path, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    for (name, text) in [("report.json", json), ("report.html", page::html(report))] {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
