//! What is held, and what is not.

use anyhow::{Result, ensure};
use msars_api::annotations::{HOLD, MODE};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::{Case, case};

pub const CASES: &[Case] = &[
    case(
        "gate: set image is held, told, profiled outside every Service, and resume passes at once",
        set_image,
    ),
    case(
        "gate: client-side apply is held, again keeps it, the old manifest ends it",
        apply_by_client,
    ),
    case(
        "gate: server-side apply is held, nobody owns the pause, skip-gate ends it",
        apply_by_server,
    ),
    case(
        "gate: replace is held, and replace without paused is the user's resume",
        replace,
    ),
    case(
        "gate: undo of what was held and resumed passes, the old template back",
        undo_before_profile,
    ),
    case(
        "gate: an undo to before the opt-in keeps the workload opted in",
        undo_keeps_opt_in,
    ),
    case("gate: a restart is not held", restart),
    case(
        "gate: a change while held keeps the first deadline",
        change_while_held,
    ),
];

fn set_image(bed: &Bed) -> Result<()> {
    bed.settle("catalogue")?;
    let other =
        match bed.deployment("catalogue")?.0["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
        {
            Some("shop/catalogue:v4") => "app=shop/catalogue:v1",
            _ => "app=shop/catalogue:v4",
        };
    let before = bed.sets("catalogue")?.len();
    // In one write with a mark where an earlier run left this very template.
    let said = bed.shopped(&["set", "image", "deployment/catalogue", other])?;
    let hold = bed.held_by("catalogue", &said)?;
    for part in [
        "msars: holding this revision for up to 120s",
        "kubectl rollout resume deploy/catalogue",
    ] {
        ensure!(
            hold.warning.contains(part),
            "expected: a warning with {part:?}; found: {}",
            hold.warning
        );
    }
    let told = bed.told("catalogue", "RevisionHeld", &hold.hash)?;
    for exit in [
        "kubectl rollout resume deploy/catalogue",
        "msars.io/skip-gate=true",
        "msars.io/mode=off",
    ] {
        ensure!(
            told.contains(exit),
            "expected: an event that names the exit {exit:?}; found: {told}"
        );
    }
    let copy = bed.profiling("catalogue")?;
    let labels: Vec<&String> = copy["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    ensure!(
        labels.iter().all(|name| name.starts_with("msars.io/")),
        "expected: a copy without the template's labels; found: {labels:?}"
    );
    let address = copy["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let slices = bed
        .get(&[
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=catalogue",
        ])?
        .to_string();
    ensure!(
        !slices.contains(&format!("\"{address}\"")),
        "expected: {address} in no endpoint; found: {slices}"
    );
    let sets = bed.sets("catalogue")?.len();
    ensure!(
        sets == before,
        "expected: {before} ReplicaSets while held; found: {sets}"
    );

    bed.shopped(&["rollout", "resume", "deployment/catalogue"])?;
    bed.must_be_free("catalogue", "at once after resume")?;
    bed.rolled("catalogue")?;
    for set in bed.sets("catalogue")? {
        let annotations = &set["metadata"]["annotations"];
        let left: Vec<_> = HOLD
            .into_iter()
            .filter(|name| annotations.get(name).is_some())
            .collect();
        ensure!(
            left.is_empty(),
            "expected: a ReplicaSet without a hold's annotations; found: {left:?}"
        );
    }
    bed.no_shadows("catalogue", 20)
}

fn apply_by_client(bed: &Bed) -> Result<()> {
    bed.baseline("carts")?;
    let manifest = bed.manifest("carts", &bed.mark())?;
    let said = bed.apply(&manifest)?;
    let hold = bed.held_by("carts", &said)?;
    ensure!(
        hold.warning.contains("msars: holding"),
        "expected: a warning; found: {}",
        hold.warning
    );
    let again = bed.apply(&manifest)?;
    let kept = bed.held_by("carts", &again)?;
    ensure!(
        kept.until == hold.until,
        "expected: the deadline {}; found: {}",
        hold.until,
        kept.until
    );
    let back = bed.apply(&bed.manifest("carts", "0")?)?;
    bed.must_be_free("carts", "after the old manifest")?;
    ensure!(
        back.err
            .contains("the hold ends: the running template came back"),
        "expected: a warning that the hold ends; found: {}",
        back.err
    );
    bed.rolled("carts")
}

fn apply_by_server(bed: &Bed) -> Result<()> {
    bed.baseline("user")?;
    let mut manifest = bed.manifest("user", &bed.mark())?;
    let way = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=e2e",
        "-f",
        "-",
    ];
    let said = bed.must_with(&manifest.to_string(), &way)?;
    bed.held_by("user", &said)?;
    let live = bed.get(&["deployment", "user", "--show-managed-fields"])?;
    let managers = live["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let owners: Vec<&Value> = managers
        .iter()
        .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:paused").is_some())
        .map(|entry| &entry["manager"])
        .collect();
    ensure!(
        owners.is_empty(),
        "expected: nobody owns spec.paused; found: {owners:?}"
    );
    bed.shopped(&["annotate", "deployment/user", "msars.io/skip-gate=true"])?;
    bed.must_be_free("user", "with skip-gate")?;
    bed.rolled("user")?;
    // With skip-gate, the next change passes; without, it is held again.
    manifest["metadata"]["annotations"]["msars.io/skip-gate"] = json!("true");
    bed.change("user")?;
    bed.must_be_free("user", "after a change with skip-gate")?;
    bed.settle("user")?;
    bed.hold("user")?;
    bed.shopped(&["rollout", "resume", "deployment/user"])?;
    bed.must_be_free("user", "after resume")
}

fn replace(bed: &Bed) -> Result<()> {
    bed.baseline("orders")?;
    let manifest = bed.manifest("orders", &bed.mark())?.to_string();
    let said = bed.must_with(&manifest, &["replace", "-f", "-"])?;
    bed.held_by("orders", &said)?;
    bed.must_with(&manifest, &["replace", "-f", "-"])?;
    bed.must_be_free("orders", "after a replace without paused")?;
    bed.rolled("orders")
}

fn undo_before_profile(bed: &Bed) -> Result<()> {
    // A revision before this one, to go back to.
    bed.settle("orders-db")?;
    bed.hold("orders-db")?;
    bed.settle("orders-db")?;
    let before = bed.variable("orders-db", "E2E_MARK")?;
    bed.hold("orders-db")?;
    // kubectl itself refuses to undo what is paused.
    let refused = bed.shopping(&["rollout", "undo", "deployment/orders-db"])?;
    ensure!(
        !refused.good && refused.err.contains("paused"),
        "expected: kubectl refuses to undo what is paused; found: {} {}",
        refused.out,
        refused.err
    );
    bed.shopped(&["rollout", "resume", "deployment/orders-db"])?;
    bed.must_be_free("orders-db", "after resume")?;
    bed.rolled("orders-db")?;
    bed.shopped(&["rollout", "undo", "deployment/orders-db"])?;
    bed.must_be_free("orders-db", "after undo")?;
    let found = bed.variable("orders-db", "E2E_MARK")?;
    ensure!(
        found == before,
        "expected: the old template, {before:?}; found: {found:?}"
    );
    bed.rolled("orders-db")
}

fn undo_keeps_opt_in(bed: &Bed) -> Result<()> {
    let mut late = bed.manifest("user-db", &bed.mark())?;
    late["metadata"] = json!({"name": "late", "namespace": bed.namespace});
    late["spec"]["selector"]["matchLabels"] = json!({"app": "late"});
    late["spec"]["template"]["metadata"] = json!({"labels": {"app": "late"}});
    bed.shopped(&["delete", "deployment", "late", "--ignore-not-found"])?;
    bed.apply(&late)?;
    bed.rolled("late")?;
    let said = bed.shopped(&[
        "annotate",
        "deployment/late",
        "msars.io/mode=auto",
        "msars.io/gate=hold",
        "msars.io/profile-request=GET /query",
    ])?;
    ensure!(said.good, "{}", said.err);
    let changed = bed.change("late")?;
    ensure!(
        changed
            .err
            .contains("not held: no objective covers this workload"),
        "expected: a warning that no objective covers it; found: {}",
        changed.err
    );
    bed.rolled("late")?;
    let said = bed.shopped(&["rollout", "undo", "deployment/late", "--to-revision=1"])?;
    let seen = bed.deployment("late")?;
    ensure!(
        seen.annotation(MODE) == Some("auto") && seen.free(),
        "expected: mode auto after the undo; found: {:?}, {}; kubectl said: {}",
        seen.annotation(MODE),
        seen.words(),
        said.err
    );
    ensure!(
        bed.variable("late", "E2E_MARK")?.is_none(),
        "expected: the first template"
    );
    bed.shopped(&["delete", "deployment", "late"]).map(drop)
}

fn restart(bed: &Bed) -> Result<()> {
    bed.settle("carts-db")?;
    let said = bed.shopped(&["rollout", "restart", "deployment/carts-db"])?;
    bed.must_be_free("carts-db", "after a restart")?;
    ensure!(
        said.err.is_empty(),
        "expected: no warning; found: {}",
        said.err
    );
    bed.rolled("carts-db")
}

fn change_while_held(bed: &Bed) -> Result<()> {
    bed.settle("user-db")?;
    let first = bed.hold("user-db")?;
    let second = bed.hold("user-db")?;
    ensure!(
        second.hash != first.hash,
        "expected: the changed revision held; found: {}",
        second.hash
    );
    ensure!(
        second.until == first.until,
        "expected: the first deadline {}; found: {}",
        first.until,
        second.until
    );
    ensure!(
        second
            .warning
            .contains("msars: holding the changed revision"),
        "expected: a warning; found: {}",
        second.warning
    );
    bed.shopped(&["rollout", "resume", "deployment/user-db"])?;
    bed.must_be_free("user-db", "after resume")
}
