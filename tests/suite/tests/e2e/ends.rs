//! How holds end, and pauses that are not ours.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use msars_suite::folder;
use serde_json::json;

use crate::bed::{Bed, SYSTEM, until};
use crate::clock::{Watch, now};
use crate::patience::slowly;
use crate::{Case, case, strike};

pub const CASES: &[Case] = &[
    case(
        "gate: a user's pause is never a hold and never touched",
        users_pause,
    ),
    case(
        "gate: paused in a manifest is the user's, also while held",
        paused_declared,
    ),
    case("gate: mode off while held ends the hold", mode_off),
    case(
        "gate: deleted while held: its shadow pods go with it",
        deleted,
    ),
    case(
        "gate: a deadline too short for a profile ends at once or by its time",
        short_deadline,
    ),
    case(
        "gate: an image that cannot be pulled is let through with that reason",
        unknown_image,
    ),
    strike(
        "gate: holds off in the cluster ends and prevents holds",
        holds_off,
    ),
    case(
        "gate: the grant taken away while held: the next update ends the hold, and no other begins",
        ungranted,
    ),
];

/// The webhook's replicas ask for a grant that was there once a minute.
const ASKED: u64 = 75;

fn users_pause(bed: &Bed) -> Result<()> {
    bed.settle("shipping")?;
    bed.shopped(&["rollout", "pause", "deployment/shipping"])?;
    let said = bed.change("shipping")?;
    let seen = bed.deployment("shipping")?;
    ensure!(
        seen.paused() && seen.stamps().is_empty() && said.err.is_empty(),
        "expected: the user's pause, no hold, no warning; found: {}; kubectl said: {}",
        seen.words(),
        said.err
    );
    // A hold elsewhere begins and ends meanwhile: rounds of the controller pass over the user's pause.
    bed.settle("session-db")?;
    bed.hold("session-db")?;
    bed.shopped(&[
        "annotate",
        "deployment/session-db",
        "msars.io/skip-gate=true",
    ])?;
    bed.settle("session-db")?;
    let seen = bed.deployment("shipping")?;
    ensure!(
        seen.paused(),
        "expected: still paused by its user; found: {}",
        seen.words()
    );
    bed.shopped(&["rollout", "resume", "deployment/shipping"])?;
    bed.must_be_free("shipping", "after the user's resume")?;
    bed.rolled("shipping")?;
    bed.hold("shipping")?;
    bed.shopped(&["rollout", "resume", "deployment/shipping"])
        .map(drop)
}

fn paused_declared(bed: &Bed) -> Result<()> {
    bed.baseline("rabbitmq")?;
    let mut manifest = bed.manifest("rabbitmq", &bed.mark())?;
    manifest["spec"]["paused"] = json!(true);
    bed.apply(&manifest)?;
    let seen = bed.deployment("rabbitmq")?;
    ensure!(
        seen.paused() && seen.stamps().is_empty(),
        "expected: paused by its user, no hold; found: {}",
        seen.words()
    );
    manifest["spec"]["paused"] = json!(false);
    bed.apply(&manifest)?;
    bed.must_be_free("rabbitmq", "after apply with paused: false")?;
    bed.rolled("rabbitmq")?;
    // Declared, even as false: a hold would fight with the manifest.
    let mut next = bed.manifest("rabbitmq", &bed.mark())?;
    next["spec"]["paused"] = json!(false);
    let said = bed.apply(&next)?;
    bed.must_be_free("rabbitmq", "while the manifest declares paused")?;
    ensure!(
        said.err.contains("spec.paused is declared"),
        "expected: a warning that names spec.paused; found: {}",
        said.err
    );
    bed.rolled("rabbitmq")?;

    bed.baseline("rabbitmq")?;
    let mut manifest = bed.manifest("rabbitmq", &bed.mark())?;
    let said = bed.apply(&manifest)?;
    bed.held_by("rabbitmq", &said)?;
    manifest["spec"]["paused"] = json!(true);
    bed.apply(&manifest)?;
    let seen = bed.deployment("rabbitmq")?;
    ensure!(
        seen.paused() && seen.stamps().is_empty(),
        "expected: taken over by its user, without a hold's annotations; found: {}",
        seen.words()
    );
    bed.baseline("rabbitmq")
}

fn mode_off(bed: &Bed) -> Result<()> {
    bed.settle("session-db")?;
    bed.hold("session-db")?;
    bed.shopped(&[
        "annotate",
        "--overwrite",
        "deployment/session-db",
        "msars.io/mode=off",
    ])?;
    bed.must_be_free("session-db", "after mode=off")?;
    bed.settle("session-db")?;
    bed.no_shadows("session-db", 20)
}

fn deleted(bed: &Bed) -> Result<()> {
    bed.settle("queue-master")?;
    bed.hold("queue-master")?;
    bed.profiling("queue-master")?;
    bed.shopped(&["delete", "deployment", "queue-master"])?;
    bed.no_shadows("queue-master", 40)?;
    bed.apply(&bed.manifest("queue-master", "0")?)?;
    bed.rolled("queue-master")
}

fn short_deadline(bed: &Bed) -> Result<()> {
    bed.settle("payment")?;
    bed.shopped(&[
        "annotate",
        "--overwrite",
        "deployment/payment",
        "msars.io/gate-deadline=15s",
    ])?;
    let watch = Watch::start();
    let said = bed.change("payment")?;
    ensure!(
        said.err.contains("up to 15s"),
        "expected: a warning of 15 s; found: {}",
        said.err
    );
    // It may have ended before anybody looks.
    bed.until_free("payment", 30)?;
    ensure!(
        watch.seconds() <= 22.0,
        "expected: an end within 5 s of the deadline; found: {:.1} s after the update",
        watch.seconds()
    );
    until("the event says queue or deadline", 20, || {
        let notes = bed.notes("payment", "RevisionReleased")?;
        let why = ["before the deadline", "its deadline passed"];
        let told = notes
            .iter()
            .any(|note| why.iter().any(|why| note.contains(why)));
        Ok(told.then_some(()).ok_or(format!("{notes:?}")))
    })?;
    bed.settle("payment")
}

fn unknown_image(bed: &Bed) -> Result<()> {
    bed.settle("catalogue-db")?;
    let image = format!("app=shop/nowhere:{}", bed.mark());
    let said = bed.shopped(&["set", "image", "deployment/catalogue-db", &image])?;
    let hold = bed.held_by("catalogue-db", &said)?;
    bed.until_free("catalogue-db", 60)?;
    let told = bed.told("catalogue-db", "RevisionReleased", &hold.hash)?;
    ensure!(
        told.contains("its image can't be pulled"),
        "expected: released since its image can't be pulled; found: {told}"
    );
    bed.shopped(&["rollout", "undo", "deployment/catalogue-db"])?;
    bed.must_be_free("catalogue-db", "after undo")?;
    bed.rolled("catalogue-db")
}

fn holds_off(bed: &Bed) -> Result<()> {
    bed.settle("session-db")?;
    bed.settle("user-db")?;
    let switch = |value: &str| {
        let patch = json!({"data": {"holds": value}}).to_string();
        bed.must(&[
            "-n",
            SYSTEM,
            "patch",
            "configmap",
            "msars-switches",
            "--type=merge",
            "-p",
            &patch,
        ])
    };
    bed.hold("session-db")?;
    switch("off")?;
    let ended = bed.until_free("session-db", 10);
    let passed = until("an update passes with holds off", 10, || {
        bed.change("user-db")?;
        let seen = bed.deployment("user-db")?;
        Ok(seen.free().then_some(()).ok_or(seen.words()))
    });
    switch("on")?;
    ended?;
    passed?;
    bed.settle("user-db")?;
    held_again(bed, "user-db", 20)
}

fn ungranted(bed: &Bed) -> Result<()> {
    bed.settle("session-db")?;
    bed.settle("user-db")?;
    let hold = bed.hold("session-db")?;
    let grant = folder("namespace").display().to_string();
    bed.shopped(&["delete", "-k", &grant])?;
    let seen = without_grant(bed);
    bed.shopped(&["apply", "-k", &grant])?;
    let ended = seen?;
    ensure!(
        ended < hold.until,
        "expected: an end before {}; found: {ended}",
        hold.until
    );
    bed.no_shadows("session-db", 60)?;
    bed.settle("session-db")?;
    bed.settle("user-db")?;
    held_again(bed, "user-db", 30)
}

/// When the hold ended.
fn without_grant(bed: &Bed) -> Result<Timestamp> {
    slowly(
        "an update that is no new template ends the hold",
        ASKED,
        || {
            let mark = format!("e2e/touch={}", bed.mark());
            bed.shopped(&["annotate", "--overwrite", "deployment/session-db", &mark])?;
            let seen = bed.deployment("session-db")?;
            Ok(seen.free().then_some(()).ok_or(seen.words()))
        },
    )?;
    let ended = now();
    let said = bed.change("user-db")?;
    bed.must_be_free("user-db", "without the grant")?;
    ensure!(
        said.err.contains("kubectl apply -k manifests/namespace"),
        "expected: a warning that names the grant's command; found: {}",
        said.err
    );
    Ok(ended)
}

/// Waits until an update of this workload is held again, and lets it through.
pub fn held_again(bed: &Bed, name: &str, seconds: u64) -> Result<()> {
    until("updates are held again", seconds, || {
        bed.change(name)?;
        let seen = bed.deployment(name)?;
        Ok(seen.held().then_some(()).ok_or(seen.words()))
    })?;
    bed.shopped(&["rollout", "resume", &format!("deployment/{name}")])
        .map(drop)
}
