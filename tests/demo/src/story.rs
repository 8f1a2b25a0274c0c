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

/// The sudden load after the undo. At its height the shop takes half of the node's two cores.
pub const SURGE: Wave = Wave {
    low: 14.0,
    high: 42.0,
    lead_s: 20.0,
    rise_s: 10.0,
    height_s: 75.0,
    decay_s: 15.0,
};
/// Length of a step of the sudden load, seconds.
pub const SURGE_STEP_S: f64 = 5.0;
/// Share of the sudden load that the replicas of before may carry at the largest size that the team then allows.
pub const SURGE_CARRIED: f64 = 0.8;
/// The smallest size that it allows, thousandths of a core.
pub const SURGE_SMALLEST: u32 = 100;
/// The largest, where no profile tells, thousandths of a core.
pub const SURGE_LARGEST: u32 = 250;
/// Most replicas that it allows: the node has two cores to request.
pub const SURGE_REPLICAS: u32 = 6;
/// Stabilisation of scale-down that the team sets: the planner's own memory of a peak is two minutes already.
pub const SCALE_DOWN_WINDOW_S: u32 = 30;
/// Until replicas rose, from the first answers of the sudden load on: its rise, two ticks, and the rate's window.
pub const OUT_LIMIT: Duration = Duration::from_secs(100);
/// Until replicas fell after it: the memory of the peak, the windows of rate and quantile, and two ticks.
pub const IN_LIMIT: Duration = Duration::from_mins(4);

/// The workload whose own autoscaler is taken over: no other figure is about it.
pub const ADOPTED: Role = Role::User;
/// Fewest and most replicas of that autoscaler; more than the load needs.
pub const HPA_REPLICAS: (u32, u32) = (2, 4);
/// Its window downward, seconds.
pub const HPA_WINDOW_S: u32 = 60;
/// Until it has looked at its target, 15 s after it was made, and a tick only recommends.
pub const BESIDE_LIMIT: Duration = Duration::from_mins(1);
/// Until it is taken over: a round of the objectives, a tick, and another one where a metric was late.
pub const ADOPT_LIMIT: Duration = Duration::from_mins(1);
/// Until it is back: a tick, and another one where somebody was faster.
pub const RETURN_LIMIT: Duration = Duration::from_secs(45);

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

/// A load that rises and falls between two rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wave {
    /// Requests per second before and after.
    pub low: f64,
    /// Requests per second at its height.
    pub high: f64,
    /// Time before it rises, seconds.
    pub lead_s: f64,
    /// Time of its rise, seconds.
    pub rise_s: f64,
    /// Time at its height, seconds.
    pub height_s: f64,
    /// Time of its fall, seconds.
    pub decay_s: f64,
}

impl Wave {
    /// When it begins to fall, seconds.
    pub fn falls_s(&self) -> f64 {
        self.lead_s + self.rise_s + self.height_s
    }

    /// When it is low again, seconds.
    pub fn over_s(&self) -> f64 {
        self.falls_s() + self.decay_s
    }

    /// Requests per second at a time.
    pub fn rate(&self, at_s: f64) -> f64 {
        let rising = (at_s - self.lead_s) / self.rise_s;
        let falling = (self.over_s() - at_s) / self.decay_s;
        self.low + (self.high - self.low) * rising.min(falling).clamp(0.0, 1.0)
    }
}

/// One rate per line: the sudden load, and then its low rate until the load's limit. A step has the rate of its end
/// while the load rises, so that the height is reached in time.
pub fn surge_trace() -> String {
    let mut out = String::from("# requests per second, one line per step\n");
    let steps = (LOAD_LIMIT.as_secs_f64() / SURGE_STEP_S).ceil() as u32;
    for step in 0..steps {
        let from = f64::from(step) * SURGE_STEP_S;
        let rate = SURGE.rate(from).max(SURGE.rate(from + SURGE_STEP_S));
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
    use super::{DAY_S, LOAD_LIMIT, RATE_HIGH, RATE_LOW, SURGE, slo, surge_trace, trace};

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

    #[test]
    fn the_surge_reaches_three_times_the_rate_within_ten_seconds_and_ends() {
        let text = surge_trace();
        let rates: Vec<f64> = text
            .lines()
            .skip(1)
            .map(|line| line.parse().unwrap())
            .collect();
        assert!((SURGE.high / SURGE.low - 3.0).abs() < 1e-9 && SURGE.rise_s <= 10.0);
        assert_eq!(rates[..7], [14.0, 14.0, 14.0, 14.0, 28.0, 42.0, 42.0]);
        let falls = (SURGE.falls_s() / 5.0) as usize;
        assert_eq!(
            rates[falls - 1..falls + 4],
            [42.0, 42.0, 32.67, 23.33, 14.0]
        );
        assert!(
            rates[falls + 4..]
                .iter()
                .all(|rate| (*rate - 14.0).abs() < 1e-9)
        );
        assert_eq!(rates.len() as u64, LOAD_LIMIT.as_secs() / 5);
    }
}
