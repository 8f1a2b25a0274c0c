//! An autoscaler's status in sentences. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use msars_api::crd::SloAutoscaler;

/// When the status was written last.
fn written(autoscaler: &SloAutoscaler) -> Option<Timestamp> {
    let entries = autoscaler.metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.subresource.as_deref() == Some("status"));
    ours.filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
}

/// What is wanted and why, what changed last, and what is not as usual. The first sentence is as old as the last write
/// of the status, which it says: at most five minutes while nothing changes.
pub fn explain(autoscaler: &SloAutoscaler) -> String {
    let meta = &autoscaler.metadata;
    let spec = &autoscaler.spec;
    let mut text = format!(
        "{}/{}: mode {}, {} to {} replicas",
        meta.namespace.as_deref().unwrap_or_default(),
        spec.target_ref.name,
        spec.mode,
        spec.min_replicas,
        spec.max_replicas,
    );
    let Some(status) = &autoscaler.status else {
        text.push_str("; nothing was decided yet.\n");
        return text;
    };
    let _ = write!(
        text,
        "; {} found, {} wanted",
        status.current_replicas, status.desired_replicas
    );
    if let Some(size) = status.size_milli {
        let _ = write!(text, " of {size}m");
    }
    text.push_str(".\n");
    let ready = |type_: &str| type_ == "Ready";
    if let Some(summary) = status.conditions.iter().find(|c| ready(&c.type_)) {
        let at = written(autoscaler).map_or(String::new(), |at| format!(", as of {at}"));
        let _ = writeln!(text, "Why{at}: {}", summary.message);
    }
    if let Some(change) = &status.last_change {
        let _ = writeln!(
            text,
            "Last change, {} ({}): {}",
            change.at, change.reason, change.message
        );
    }
    let rest = status.conditions.iter().filter(|c| !ready(&c.type_));
    for condition in rest {
        let _ = writeln!(
            text,
            "{} {} since {}, {}: {}",
            condition.type_,
            condition.status,
            condition.last_transition_time.0,
            condition.reason,
            condition.message
        );
    }
    text
}
