//! Every number of the scenario, in one place. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use msars_shop::{Role, Version};

/// Where the shop runs.
pub const NAMESPACE: &str = "shop";
/// Where the product runs.
pub const SYSTEM: &str = "msars-system";
/// The workload that changes.
pub const WORKLOAD: Role = Role::Catalogue;
/// The entry workload, which carries the objective.
pub const ENTRY: Role = Role::FrontEnd;
/// The container that serves.
pub const CONTAINER: &str = "app";
/// Percentile of the objective, percent.
pub const PERCENTILE: f64 = 99.0;
/// Latency of the objective, milliseconds.
pub const TARGET_MS: f64 = 400.0;
/// The versions that are rolled out, in order, after v1.
pub const CHANGES: [Version; 2] = [Version::V2, Version::V3];

/// Requests per second at night.
pub const RATE_LOW: f64 = 12.0;
/// Requests per second at noon.
pub const RATE_HIGH: f64 = 30.0;
/// Length of a step of the load, seconds.
pub const STEP_S: f64 = 10.0;
/// Length of a day of the load, seconds, at time scale 1.
pub const DAY_S: f64 = 300.0;
/// The load ends by itself after this, whatever becomes of the scenario.
pub const LOAD_LIMIT: Duration = Duration::from_mins(40);
/// Load goes on for this after the last step.
pub const LAST_LOAD: Duration = Duration::from_secs(20);

/// Until our own Deployments are Available: the webhook's pods start when the leader has made their certificate.
pub const INSTALL_LIMIT: Duration = Duration::from_mins(4);
/// Until the shop is Available.
pub const SHOP_LIMIT: Duration = Duration::from_mins(3);
/// Until the objective is split from what live pods show.
pub const SPLIT_LIMIT: Duration = Duration::from_mins(6);
/// Until a hold ends: its deadline of 120 s, and what the slowest watcher adds.
pub const HOLD_LIMIT: Duration = Duration::from_secs(160);
/// Until the objective's status speaks of a new revision.
pub const BUDGET_LIMIT: Duration = Duration::from_secs(30);
/// Until the objective's status speaks of the running revision alone.
pub const SETTLE_LIMIT: Duration = Duration::from_mins(1);
/// Until the controller has said why it released.
pub const WORD_LIMIT: Duration = Duration::from_secs(10);
/// Until a rollout is complete.
pub const ROLLOUT_LIMIT: Duration = Duration::from_mins(3);
/// Until shadow pods are gone after the last hold.
pub const SWEEP_LIMIT: Duration = Duration::from_secs(40);

/// Oldest copy of the wanted sizes that the pod webhook may read, seconds.
pub const BIRTH_LAG_S: f64 = 2.0;

/// The objective as its annotation spells it.
pub fn slo() -> String {
    format!("p{PERCENTILE}<{TARGET_MS}ms")
}

/// One rate per line: days that begin between night and noon.
pub fn trace(day_s: f64) -> String {
    let mut out = String::from("# requests per second, one line per step\n");
    let steps = (LOAD_LIMIT.as_secs_f64() / STEP_S).ceil() as u32;
    for step in 0..steps {
        let phase = std::f64::consts::TAU * f64::from(step) * STEP_S / day_s.max(STEP_S);
        let rate = f64::midpoint(RATE_LOW, RATE_HIGH) + (RATE_HIGH - RATE_LOW) / 2.0 * phase.sin();
        let _ = writeln!(out, "{rate:.2}");
    }
    out
}

/// What to try while the cluster is kept.
pub fn hints(tools: &str) -> String {
    let name = WORKLOAD.name();
    format!(
        "The cluster stays up. Inside it (cargo xtask cluster shell):\n\
         \x20 kubectl -n {NAMESPACE} get slo,slas,llp\n\
         \x20 kubectl -n {NAMESPACE} set image deploy/{name} {CONTAINER}=shop/{name}:v4    # held\n\
         \x20 kubectl -n {NAMESPACE} rollout resume deploy/{name}                   # lets it through\n\
         \x20 kubectl -n {NAMESPACE} rollout undo deploy/{name}                     # never held\n\
         \x20 kubectl -n {NAMESPACE} annotate deploy/{name} msars.io/mode=off --overwrite\n\
         \x20 kubectl -n {SYSTEM} logs deploy/msars-autoscaler -f\n\
         Programs: {tools}\n\
         Away with it: cargo xtask cluster down"
    )
}

#[cfg(test)]
mod tests {
    use super::{DAY_S, LOAD_LIMIT, RATE_HIGH, RATE_LOW, slo, trace};

    #[test]
    fn a_day_visits_both_rates() {
        let text = trace(DAY_S);
        let rates: Vec<f64> = text
            .lines()
            .skip(1)
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(rates.len() as u64, LOAD_LIMIT.as_secs() / 10);
        let day = &rates[..30];
        let most = day.iter().copied().fold(0.0, f64::max);
        let least = day.iter().copied().fold(f64::INFINITY, f64::min);
        assert!((most - RATE_HIGH).abs() < 0.2 && (least - RATE_LOW).abs() < 0.2);
        assert_eq!(slo(), "p99<400ms");
    }
}
