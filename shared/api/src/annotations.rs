//! Names and parsers of the `msars.io/` annotations. A bad value is a warning and the default.

mod values;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub use values::cpu_millis;
use values::{adopt, application, deadline, decimal, flag, gate, mode, rates, replicas};

/// Prefix of every annotation.
pub const PREFIX: &str = "msars.io/";
/// `off`, `recommend` or `auto`.
pub const MODE: &str = "msars.io/mode";
/// `observe` or `hold`.
pub const GATE: &str = "msars.io/gate";
/// Application name.
pub const APPLICATION: &str = "msars.io/application";
/// Objective of the application, on the entry workload, such as `p99<400ms`.
pub const SLO: &str = "msars.io/slo";
/// Weighted list of requests that are safe to send to a copy of the workload.
pub const PROFILE_REQUEST: &str = "msars.io/profile-request";
/// Rates to probe, requests per second, such as `10, 20, 40`.
pub const PROFILE_RATES: &str = "msars.io/profile-rates";
/// Longest hold, such as `120s` or `1m30s`.
pub const GATE_DEADLINE: &str = "msars.io/gate-deadline";
/// Passes the gate when `true`.
pub const SKIP_GATE: &str = "msars.io/skip-gate";
/// Fewest replicas.
pub const MIN_REPLICAS: &str = "msars.io/min-replicas";
/// Most replicas.
pub const MAX_REPLICAS: &str = "msars.io/max-replicas";
/// CPU bounds such as `50m..1`.
pub const CPU: &str = "msars.io/cpu";
/// `hpa`: the workload's HorizontalPodAutoscaler is taken over.
pub const ADOPT: &str = "msars.io/adopt";
/// Stops all changes when `true`.
pub const PAUSE: &str = "msars.io/pause";
/// Stops scale-down when `true`.
pub const PAUSE_SCALE_DOWN: &str = "msars.io/pause-scale-down";
/// Most replicas and no gate while `true`.
pub const EMERGENCY: &str = "msars.io/emergency";
/// Hash of the held template.
pub const HOLD_HASH: &str = "msars.io/hold-hash";
/// Hash of the template before the hold.
pub const HOLD_FROM: &str = "msars.io/hold-from";
/// Deadline of the hold, RFC 3339.
pub const HOLD_UNTIL: &str = "msars.io/hold-until";
/// Start of the hold, RFC 3339.
pub const HOLD_SINCE: &str = "msars.io/hold-since";

/// The annotations of a hold; all others under [`PREFIX`] are settings.
pub const HOLD: [&str; 4] = [HOLD_HASH, HOLD_FROM, HOLD_SINCE, HOLD_UNTIL];
/// Longest hold when none is given, seconds.
pub const DEADLINE_DEFAULT_S: u32 = 120;
/// Shortest and longest hold accepted, seconds.
pub const DEADLINE_BOUNDS_S: RangeInclusive<u32> = 10..=600;
/// Longest name of an application that a ServiceLevelObjective takes, characters.
pub const APPLICATION_MOST: usize = 63;
/// Percentiles that a ServiceLevelObjective takes, thousandths of a percent.
pub const PERCENTILE_BOUNDS: RangeInclusive<u32> = 50_000..=99_999;
/// Longest latency that a ServiceLevelObjective takes, microseconds: ten minutes.
pub const LATENCY_MOST_US: u64 = 600_000_000;
/// Numbers of replicas that an SloAutoscaler takes.
pub const REPLICA_BOUNDS: RangeInclusive<u32> = 1..=10_000;
/// Sizes that an SloAutoscaler takes as bounds, thousandths of a core.
pub const CPU_BOUNDS_M: RangeInclusive<u32> = 1..=1_000_000;
/// How long a profile usually takes, from two pods to a split, seconds.
pub const PROFILE_USUAL_S: u32 = 45;
/// Shortest hold that a profile fits into, seconds: it takes a moment to see a hold and to end it.
pub const DEADLINE_USEFUL_S: u32 = PROFILE_USUAL_S + 5;

/// What the product may do to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing.
    Off,
    /// Say what it would do.
    #[default]
    Recommend,
    /// Act.
    Auto,
}

/// Whether a new revision is held for profiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// Never held.
    #[default]
    Observe,
    /// Held until profiled or the deadline.
    Hold,
}

/// Which other autoscaler of the workload is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Adopt {
    /// None: with one on the same target, the workload is left to it.
    #[default]
    Nothing,
    /// Its HorizontalPodAutoscaler.
    Hpa,
}

/// An end-to-end objective: a share of requests that end within a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Objective {
    /// Percentile in thousandths of a percent: p99.9 is 99,900.
    pub percentile: u32,
    /// Latency in microseconds.
    pub latency_us: u64,
}

impl Objective {
    /// The share of requests in (0, 1): p99 is 0.99.
    pub fn share(self) -> f64 {
        f64::from(self.percentile) / 100_000.0
    }

    /// The latency in milliseconds.
    pub fn millis(self) -> f64 {
        self.latency_us as f64 / 1000.0
    }

    /// Reads `p99<400ms`, `p99.9 < 1.5s`; `<=` means the same.
    pub fn parse(text: &str) -> Option<Self> {
        let (percentile, latency) = text.split_once('<')?;
        let latency = latency.strip_prefix('=').unwrap_or(latency).trim();
        let percentile = percentile.trim().strip_prefix(['p', 'P'])?;
        let percentile = u32::try_from(decimal(percentile, 3)?).ok()?;
        let latency_us = if let Some(ms) = latency.strip_suffix("ms") {
            decimal(ms.trim_end(), 3)?
        } else {
            decimal(latency.strip_suffix('s')?.trim_end(), 6)?
        };
        let usual = (1..=LATENCY_MOST_US).contains(&latency_us);
        (usual && PERCENTILE_BOUNDS.contains(&percentile)).then_some(Self {
            percentile,
            latency_us,
        })
    }
}

/// Bounds of the serving container's CPU, thousandths of a core, both allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuBounds {
    /// Smallest size.
    pub min_m: u32,
    /// Largest size.
    pub max_m: u32,
}

impl CpuBounds {
    /// Reads `50m..1`.
    pub fn parse(text: &str) -> Option<Self> {
        let (min, max) = text.split_once("..")?;
        let bounds = Self {
            min_m: cpu_millis(min.trim())?,
            max_m: cpu_millis(max.trim())?,
        };
        let taken = CPU_BOUNDS_M.contains(&bounds.min_m) && CPU_BOUNDS_M.contains(&bounds.max_m);
        (taken && bounds.min_m <= bounds.max_m).then_some(bounds)
    }
}

/// A value that was not understood, or that is not good for what it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Annotation name.
    pub annotation: &'static str,
    /// The value as given.
    pub value: String,
    /// The accepted form.
    pub accepted: &'static str,
    /// What was used instead.
    pub default_used: &'static str,
}

/// Longest part of a bad value that a warning repeats, characters.
const SHOWN: usize = 40;

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: String = self
            .value
            .chars()
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let dots = if self.value.chars().nth(SHOWN).is_some() {
            "..."
        } else {
            ""
        };
        write!(
            f,
            "{}: \"{shown}{dots}\" is not {}; using {}",
            self.annotation, self.accepted, self.default_used
        )
    }
}

/// Settings of one workload. The text of `profile-request` is kept as given, not checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the product may do.
    pub mode: Mode,
    /// Whether revisions are held.
    pub gate: Gate,
    /// Application name.
    pub application: Option<String>,
    /// Objective of the application, on its entry workload.
    pub slo: Option<Objective>,
    /// Requests, as given.
    pub profile_request: Option<String>,
    /// Rates to probe, requests per second, rising, all above 0; empty leaves the choice to the product.
    pub profile_rates: Vec<f64>,
    /// Longest hold, seconds, within [`DEADLINE_BOUNDS_S`].
    pub gate_deadline_s: u32,
    /// Passes the gate.
    pub skip_gate: bool,
    /// Fewest replicas, at most `max_replicas`.
    pub min_replicas: Option<u32>,
    /// Most replicas.
    pub max_replicas: Option<u32>,
    /// CPU bounds of the serving container.
    pub cpu: Option<CpuBounds>,
    /// The autoscaler that is taken over.
    pub adopt: Adopt,
    /// Stops all changes.
    pub pause: bool,
    /// Stops scale-down.
    pub pause_scale_down: bool,
    /// Most replicas and no gate.
    pub emergency: bool,
}

struct Reader<'a> {
    map: &'a BTreeMap<String, String>,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn warn(&mut self, annotation: &'static str, accepted: &'static str, used: &'static str) {
        self.warnings.push(Warning {
            annotation,
            value: self.map.get(annotation).cloned().unwrap_or_default(),
            accepted,
            default_used: used,
        });
    }

    fn read<T>(
        &mut self,
        annotation: &'static str,
        accepted: &'static str,
        default_used: &'static str,
        parser: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parser(self.map.get(annotation)?.trim());
        if parsed.is_none() {
            self.warn(annotation, accepted, default_used);
        }
        parsed
    }

    fn flag(&mut self, annotation: &'static str) -> bool {
        self.read(annotation, "true or false", "false", flag)
            .unwrap_or(false)
    }

    fn text(&self, annotation: &str) -> Option<String> {
        let text = self.map.get(annotation)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// Whether any of an object's annotations is one of ours.
pub fn present(annotations: Option<&BTreeMap<String, String>>) -> bool {
    annotations.is_some_and(|map| map.keys().any(|name| name.starts_with(PREFIX)))
}

/// Reads the settings; every bad value gives one warning and never an error.
#[must_use]
pub fn parse(annotations: &BTreeMap<String, String>) -> (Settings, Vec<Warning>) {
    let whole = "a whole number from 1 to 10000";
    let mut r = Reader {
        map: annotations,
        warnings: Vec::new(),
    };
    let mut settings = Settings {
        mode: r
            .read(MODE, "off, recommend or auto", "recommend", mode)
            .unwrap_or_default(),
        gate: r
            .read(GATE, "observe or hold", "observe", gate)
            .unwrap_or_default(),
        // One that is empty is none.
        application: r.text(APPLICATION).and_then(|_given| {
            let used = "the application of the namespace";
            r.read(
                APPLICATION,
                "a name of at most 63 characters",
                used,
                application,
            )
        }),
        slo: r.read(
            SLO,
            "like p99<400ms, from p50 on and at most 10 minutes",
            "no objective",
            Objective::parse,
        ),
        profile_request: r.text(PROFILE_REQUEST),
        profile_rates: r
            .read(
                PROFILE_RATES,
                "like 10, 20, 40 (per second, at most 16 rates up to 2000)",
                "rates of our choice",
                rates,
            )
            .unwrap_or_default(),
        gate_deadline_s: r
            .read(
                GATE_DEADLINE,
                "10s to 600s, like 120s or 1m30s",
                "120s",
                deadline,
            )
            .unwrap_or(DEADLINE_DEFAULT_S),
        skip_gate: r.flag(SKIP_GATE),
        min_replicas: r.read(MIN_REPLICAS, whole, "no minimum", replicas),
        max_replicas: r.read(MAX_REPLICAS, whole, "no maximum", replicas),
        cpu: r.read(CPU, "like 50m..1", "no bounds", CpuBounds::parse),
        adopt: r
            .read(ADOPT, "hpa", "no adoption", adopt)
            .unwrap_or_default(),
        pause: r.flag(PAUSE),
        pause_scale_down: r.flag(PAUSE_SCALE_DOWN),
        emergency: r.flag(EMERGENCY),
    };
    if settings.gate_deadline_s < DEADLINE_USEFUL_S {
        r.warn(
            GATE_DEADLINE,
            "50s or more, which a profile needs",
            "it as given: holds end without a profile",
        );
    }
    if let (Some(min), Some(max)) = (settings.min_replicas, settings.max_replicas)
        && min > max
    {
        r.warn(
            MIN_REPLICAS,
            "at most msars.io/max-replicas",
            "the maximum for both",
        );
        settings.min_replicas = Some(max);
    }
    (settings, r.warnings)
}
