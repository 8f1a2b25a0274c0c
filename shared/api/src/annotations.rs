//! Names and parsers of the `msars.io/` annotations. A bad value is a warning and the default.

use std::collections::BTreeMap;

/// Prefix of every annotation.
pub const PREFIX: &str = "msars.io/";
/// `off`, `recommend` or `auto`.
pub const MODE: &str = "msars.io/mode";
/// `observe` or `hold`.
pub const GATE: &str = "msars.io/gate";
/// Application name.
pub const APPLICATION: &str = "msars.io/application";
/// Objective text such as `p99<400ms`.
pub const SLO: &str = "msars.io/slo";
/// Weighted list of requests.
pub const PROFILE_REQUEST: &str = "msars.io/profile-request";
/// Rates to probe.
pub const PROFILE_RATES: &str = "msars.io/profile-rates";
/// Longest hold, whole seconds such as `120s`.
pub const GATE_DEADLINE: &str = "msars.io/gate-deadline";
/// Passes the gate when `true`.
pub const SKIP_GATE: &str = "msars.io/skip-gate";
/// Fewest replicas.
pub const MIN_REPLICAS: &str = "msars.io/min-replicas";
/// Most replicas.
pub const MAX_REPLICAS: &str = "msars.io/max-replicas";
/// CPU bounds such as `50m..1`.
pub const CPU: &str = "msars.io/cpu";
/// Stops all changes when `true`.
pub const PAUSE: &str = "msars.io/pause";
/// Stops scale-down when `true`.
pub const PAUSE_SCALE_DOWN: &str = "msars.io/pause-scale-down";
/// Emergency switch.
pub const EMERGENCY: &str = "msars.io/emergency";
/// Hash of the held template.
pub const HOLD_HASH: &str = "msars.io/hold-hash";
/// Hash of the template before the hold.
pub const HOLD_FROM: &str = "msars.io/hold-from";
/// Deadline of the hold, RFC 3339.
pub const HOLD_UNTIL: &str = "msars.io/hold-until";
/// Start of the hold, RFC 3339.
pub const HOLD_SINCE: &str = "msars.io/hold-since";

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

/// A value that was not understood; the default was used.
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

/// Settings of one workload. Texts of `slo`, `profile-request`, `profile-rates`, `cpu` and
/// `emergency` are kept as given, not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the product may do.
    pub mode: Mode,
    /// Whether revisions are held.
    pub gate: Gate,
    /// Application name.
    pub application: Option<String>,
    /// Objective, as given.
    pub slo: Option<String>,
    /// Requests, as given.
    pub profile_request: Option<String>,
    /// Rates, as given.
    pub profile_rates: Option<String>,
    /// Longest hold, seconds.
    pub gate_deadline_s: u32,
    /// Passes the gate.
    pub skip_gate: bool,
    /// Fewest replicas.
    pub min_replicas: Option<u32>,
    /// Most replicas.
    pub max_replicas: Option<u32>,
    /// CPU bounds, as given.
    pub cpu: Option<String>,
    /// Stops all changes.
    pub pause: bool,
    /// Stops scale-down.
    pub pause_scale_down: bool,
    /// Emergency text, as given.
    pub emergency: Option<String>,
}

fn read<T>(
    map: &BTreeMap<String, String>,
    out: &mut Vec<Warning>,
    annotation: &'static str,
    accepted: &'static str,
    default_used: &'static str,
    parser: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let value = map.get(annotation)?;
    let parsed = parser(value.trim());
    if parsed.is_none() {
        out.push(Warning {
            annotation,
            value: value.clone(),
            accepted,
            default_used,
        });
    }
    parsed
}

fn positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| *n > 0)
}

fn flag(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// Reads the settings; every bad value gives one warning and never an error.
#[must_use]
pub fn parse(annotations: &BTreeMap<String, String>) -> (Settings, Vec<Warning>) {
    let mut w = Vec::new();
    let a = annotations;
    let text = |name: &str| {
        a.get(name)
            .map(|v| v.trim().to_owned())
            .filter(|v| !v.is_empty())
    };
    let settings = Settings {
        mode: read(
            a,
            &mut w,
            MODE,
            "off|recommend|auto",
            "recommend",
            |v| match v {
                "off" => Some(Mode::Off),
                "recommend" => Some(Mode::Recommend),
                "auto" => Some(Mode::Auto),
                _ => None,
            },
        )
        .unwrap_or_default(),
        gate: read(a, &mut w, GATE, "observe|hold", "observe", |v| match v {
            "observe" => Some(Gate::Observe),
            "hold" => Some(Gate::Hold),
            _ => None,
        })
        .unwrap_or_default(),
        application: text(APPLICATION),
        slo: text(SLO),
        profile_request: text(PROFILE_REQUEST),
        profile_rates: text(PROFILE_RATES),
        gate_deadline_s: read(
            a,
            &mut w,
            GATE_DEADLINE,
            "whole seconds, as 120s",
            "120s",
            |v| v.strip_suffix('s').and_then(positive),
        )
        .unwrap_or(120),
        skip_gate: read(a, &mut w, SKIP_GATE, "true|false", "false", flag).unwrap_or(false),
        min_replicas: read(
            a,
            &mut w,
            MIN_REPLICAS,
            "whole number above 0",
            "none",
            positive,
        ),
        max_replicas: read(
            a,
            &mut w,
            MAX_REPLICAS,
            "whole number above 0",
            "none",
            positive,
        ),
        cpu: text(CPU),
        pause: read(a, &mut w, PAUSE, "true|false", "false", flag).unwrap_or(false),
        pause_scale_down: read(a, &mut w, PAUSE_SCALE_DOWN, "true|false", "false", flag)
            .unwrap_or(false),
        emergency: text(EMERGENCY),
    };
    (settings, w)
}
