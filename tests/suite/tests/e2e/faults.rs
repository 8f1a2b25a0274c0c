//! Parts die while something is held.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bed::{Bed, SYSTEM, until};
use crate::clock::now;
use crate::ends::held_again;
use crate::held::Hold;
use crate::strikes::{kill_leader, leader, restart_api_server, scale, until_led};
use crate::{Case, case, strike};

pub const CASES: &[Case] = &[
    case(
        "fault: a namespace deleted while profiling goes, without an error loop",
        namespace_deleted,
    ),
    strike(
        "fault: kill -9 of the leading controller while held: the next goes on",
        leader_killed,
    ),
    strike("the API server killed while profiling", api_server_killed),
    strike(
        "fault: both webhook replicas gone: updates pass at once, holds do not outlive a change",
        webhook_gone,
    ),
    strike(
        "fault: no controller at all: the webhook ends the hold at its deadline",
        no_controller,
    ),
];

/// Seconds after its deadline by which a hold has ended whatever happened.
const GRACE: f64 = 30.0;

/// Waits for the end of a hold, and shows that it cost nobody anything.
fn ends_well(bed: &Bed, name: &str, hold: &Hold, lost: u64) -> Result<()> {
    let left = hold.until.duration_since(now()).as_secs_f64().max(0.0) + GRACE;
    bed.until_free(name, left as u64 + 1)?;
    let late = now().duration_since(hold.until).as_secs_f64();
    ensure!(
        late <= GRACE,
        "expected: an end within {GRACE} s of the deadline; found: {late:.1} s after it"
    );
    let told = bed.notes(name, "RevisionReleased")?;
    let told = told.iter().find(|note| note.contains(&hold.hash));
    println!(
        "      ended {:.0} s before its deadline; told: {}",
        -late,
        told.map_or("nothing by now", String::as_str)
    );
    bed.no_shadows(name, 40)?;
    bed.rolled(name)?;
    let (_, found) = bed.requests()?;
    ensure!(
        found == lost,
        "expected: no request of the live load lost; found: {}",
        found - lost
    );
    Ok(())
}

/// After a fault an update of this workload is held again.
fn holds_again(bed: &Bed, name: &str) -> Result<()> {
    bed.settle(name)?;
    held_again(bed, name, 60)
}

fn leader_killed(bed: &Bed) -> Result<()> {
    bed.settle("user")?;
    let (_, lost) = bed.requests()?;
    let before = bed.sets("user")?.len();
    let hold = bed.hold("user")?;
    bed.profiling("user")?;
    let killed = kill_leader(bed)?;
    until("somebody leads again", 60, || {
        let pods = bed.own(&["pods", &killed])?;
        let restarts = pods["status"]["containerStatuses"][0]["restartCount"].as_u64();
        let (pod, _) = leader(bed)?;
        let led = restarts.is_some_and(|count| count > 0) && !pod.is_empty();
        Ok(led
            .then_some(())
            .ok_or(format!("{pod} leads, {restarts:?} restarts of {killed}")))
    })?;
    // Read first: the hold may end between the two.
    let sets = bed.sets("user")?.len();
    if bed.deployment("user")?.held() {
        ensure!(
            sets == before,
            "expected: {before} ReplicaSets while held; found: {sets}"
        );
    }
    ends_well(bed, "user", &hold, lost)
}

fn api_server_killed(bed: &Bed) -> Result<()> {
    bed.settle("carts")?;
    let (_, lost) = bed.requests()?;
    let hold = bed.hold("carts")?;
    bed.profiling("carts")?;
    restart_api_server(bed)?;
    ends_well(bed, "carts", &hold, lost)?;
    until_led(bed, 1, 60)?;
    holds_again(bed, "carts")
}

fn webhook_gone(bed: &Bed) -> Result<()> {
    for name in ["user-db", "orders-db"] {
        bed.settle(name)?;
    }
    let hold = bed.hold("orders-db")?;
    scale(bed, "msars-admission", 0)?;
    let passed = bed.change("user-db").and_then(|said| {
        ensure!(
            said.took < 2.0,
            "expected: an update in less than 2 s; found: {:.2} s",
            said.took
        );
        println!("      an update without a webhook took {:.2} s", said.took);
        bed.must_be_free("user-db", "without a webhook")?;
        bed.rolled("user-db")
    });
    // What is stored now was never held: the leader lets it go.
    let changed = bed
        .change("orders-db")
        .and_then(|_said| bed.until_free("orders-db", 15));
    let told = bed.alert("MsarsAdmissionDown", true);
    scale(bed, "msars-admission", 2)?;
    passed?;
    changed?;
    told?;
    bed.alert("MsarsAdmissionDown", false)?;
    let (late, limit) = (now(), hold.until);
    ensure!(
        late < limit || bed.deployment("orders-db")?.free(),
        "expected: no hold after {limit}"
    );
    bed.no_shadows("orders-db", 40)?;
    holds_again(bed, "user-db")
}

fn no_controller(bed: &Bed) -> Result<()> {
    bed.settle("payment")?;
    let (_, lost) = bed.requests()?;
    bed.shopped(&[
        "annotate",
        "--overwrite",
        "deployment/payment",
        "msars.io/gate-deadline=60s",
    ])?;
    let hold = bed.hold("payment")?;
    let ended = scale(bed, "msars-autoscaler", 0).and_then(|()| {
        let seen = bed.deployment("payment")?;
        ensure!(
            seen.held(),
            "expected: still held without a controller; found: {}",
            seen.words()
        );
        ends_well(bed, "payment", &hold, lost)
    });
    let told = bed.alert("MsarsAutoscalerDown", true);
    scale(bed, "msars-autoscaler", 2)?;
    ended?;
    told?;
    bed.alert("MsarsAutoscalerDown", false)?;
    until_led(bed, 2, 60)?;
    holds_again(bed, "payment")
}

const GONE: &str = "e2e-gone";

fn namespace_deleted(bed: &Bed) -> Result<()> {
    let options = msars_shop::Options {
        namespace: GONE.into(),
        ..msars_shop::Options::default()
    };
    let mut workload = bed.manifest("session-db", &bed.mark())?;
    workload["metadata"]["namespace"] = json!(GONE);
    workload["metadata"]["annotations"]["msars.io/slo"] = json!("p99<400ms");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shop", "namespace": GONE}});
    let items = json!([msars_shop::namespace(&options), account, workload]);
    bed.must(&[
        "delete",
        "namespace",
        GONE,
        "--ignore-not-found",
        "--timeout=80s",
    ])?;
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
    let grant = msars_suite::folder("namespace").display().to_string();
    bed.must(&["apply", "-k", &grant, "-n", GONE])?;
    bed.rolled_in(GONE, "session-db")?;
    until("its objective is declared", 30, || {
        let said = bed.kubectl(&["-n", GONE, "get", "slo", "session-db"])?;
        Ok(said.good.then_some(()).ok_or(said.err))
    })?;
    // No traffic enters, so that no chain is discovered: the split is given.
    let chain = json!({
        "name": "all", "method": "equal", "reason": "given", "tailFactor": 1.0, "feasible": true, "tookMs": 0.0,
        "at": now().to_string(),
        "services": [{
            "workload": "session-db", "revision": "given", "budgetMs": 100.0, "sharePercent": 100.0,
            "sizeMilli": 150, "replicas": 1, "source": "observed",
        }],
    });
    let status = json!({"status": {"chains": [chain]}}).to_string();
    let held = |args: &[&str]| -> Result<Value> {
        let mut all = vec!["-n", GONE, "get", "-o", "json"];
        all.extend(args);
        Ok(serde_json::from_str(&bed.must(&all)?)?)
    };
    until("its update is held", 40, || {
        bed.must(&[
            "-n",
            GONE,
            "patch",
            "slo",
            "session-db",
            "--subresource=status",
            "--type=merge",
            "-p",
            &status,
        ])?;
        let pair = format!("E2E_MARK={}", bed.mark());
        let said = bed.must_with(
            "",
            &[
                "-n",
                GONE,
                "set",
                "env",
                "deployment/session-db",
                "-c",
                "app",
                &pair,
            ],
        )?;
        let paused = held(&["deployment", "session-db"])?["spec"]["paused"] == true;
        Ok(paused.then_some(()).ok_or(said.err))
    })?;
    until("its shadow pods", 40, || {
        let list = held(&["pods", "-l", "msars.io/shadow"])?;
        let count = list["items"].as_array().map_or(0, Vec::len);
        Ok((count == 2).then_some(()).ok_or(format!("{count}")))
    })?;
    bed.must(&["delete", "namespace", GONE, "--timeout=80s"])?;
    let gone = now();
    until_led(bed, 2, 30)?;
    let (pod, _) = leader(bed)?;
    let since = format!("--since-time={gone}");
    let log = bed.must(&["-n", SYSTEM, "logs", &pod, &since])?;
    let angry = |line: &&str| {
        (line.contains("\"WARN\"") || line.contains("\"ERROR\"")) && line.contains(GONE)
    };
    let lines: Vec<&str> = log.lines().filter(angry).collect();
    let last = lines.last().context("").map_or("", |line| *line);
    ensure!(
        lines.len() <= 3,
        "expected: no error loop about a namespace that is gone; found: {} lines, the last {last}",
        lines.len()
    );
    let pods = bed.must(&["get", "pods", "-A", "-l", "msars.io/shadow", "--no-headers"])?;
    ensure!(
        !pods.contains(GONE),
        "expected: no shadow pod there; found: {pods}"
    );
    Ok(())
}
