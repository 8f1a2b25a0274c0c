//! Writing PromQL.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::preset::{Labels, MatchOp, Matcher, WorkloadFrom};

/// What a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// Requests per second.
    Rate,
    /// Highest rate of the recent past.
    Peak,
    /// Request time buckets.
    Buckets,
    /// Self time buckets.
    SelfBuckets,
    /// Time spent waiting for callees per second.
    CalleeWait,
    /// Failed requests per second.
    Errors,
    /// Cores in use per container.
    Cpu,
    /// Share of CFS periods throttled per container.
    Throttled,
    /// When each pod (or workload) was last seen alive.
    Alive,
    /// When each pod's CPU was last read.
    CpuAt,
    /// Calls per second by caller and callee.
    Calls,
    /// Time waited per second by caller and callee.
    CallWait,
    /// Waits counted per second by caller and callee.
    CallWaits,
    /// Request time buckets over the window of an error budget.
    Budget,
    /// The oldest sample in the window of an error budget.
    BudgetSince,
}

impl Ask {
    /// A bounded label for metrics and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Peak => "peak",
            Self::Buckets => "buckets",
            Self::SelfBuckets => "self-buckets",
            Self::CalleeWait => "callee-wait",
            Self::Errors => "errors",
            Self::Cpu => "cpu",
            Self::Throttled => "throttled",
            Self::Alive => "alive",
            Self::CpuAt => "cpu-at",
            Self::Calls => "calls",
            Self::CallWait => "call-wait",
            Self::CallWaits => "call-waits",
            Self::Budget => "budget",
            Self::BudgetSince => "budget-since",
        }
    }
}

/// Names of shadow pods and of the pods that load them.
const SHADOW_PODS: &str = ".+-msars-[0-9a-z]+-(subject|load)";
/// Label that the workload is written into where it stands in the pod's name.
const WORKLOAD: &str = "msars_workload";
/// Label that the revision is written into where it stands in the pod's name.
const REVISION: &str = "msars_revision";
/// Label that tells the windows of one answer apart, in seconds.
const WINDOW: &str = "msars_window";

pub(crate) fn span(window: Duration) -> String {
    format!("{}s", window.as_secs().max(1))
}

/// The series with their window as a label, so that one query may ask for several.
pub(crate) fn in_window(inner: &str, window: Duration) -> String {
    format!(
        "label_replace({inner}, \"{WINDOW}\", \"{}\", \"\", \"\")",
        window.as_secs()
    )
}

fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

fn literal(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars() {
        if !(c.is_alphanumeric() || c == '-' || c == '_') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `label="a"`, `label=~"a|b"`, or `label!=""` for all.
pub(crate) fn one_of(label: &str, values: Option<&BTreeSet<&str>>) -> Matcher {
    match values {
        None => Matcher::new(label, MatchOp::IsNot, ""),
        Some(values) if values.len() == 1 => {
            let only = values.first().copied().unwrap_or_default();
            Matcher::new(label, MatchOp::Is, only)
        }
        Some(values) => {
            let any: Vec<String> = values.iter().map(|v| literal(v)).collect();
            Matcher::new(label, MatchOp::Like, &any.join("|"))
        }
    }
}

/// Leaves shadow pods out by their names, whatever labels Prometheus gives them.
pub(crate) fn no_shadow(pod: &str) -> Matcher {
    Matcher::new(pod, MatchOp::Unlike, SHADOW_PODS)
}

/// `metric{...}` with all matchers in order.
pub(crate) fn select<'a>(metric: &str, matchers: impl IntoIterator<Item = &'a Matcher>) -> String {
    let parts: Vec<String> = matchers
        .into_iter()
        .map(|m| format!("{}{}{}", m.label, m.op.text(), quoted(&m.value)))
        .collect();
    format!("{metric}{{{}}}", parts.join(","))
}

/// Conditions that every series of these labels must meet.
pub(crate) fn conditions(labels: &Labels, namespaces: Option<&BTreeSet<&str>>) -> Vec<Matcher> {
    let mut out = vec![one_of(&labels.namespace, namespaces)];
    if let WorkloadFrom::Label(workload) = &labels.workload {
        out.push(Matcher::new(workload, MatchOp::IsNot, ""));
    }
    if let Some(pod) = &labels.pod {
        out.push(no_shadow(pod));
    }
    out
}

/// How rows of request metrics are grouped, and how their labels are read back.
#[derive(Debug, Clone)]
pub(crate) struct Keys<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) workload: &'a str,
    pub(crate) revision: Option<&'a str>,
    /// The pod's label, where the workload stands in its value.
    workload_in: Option<&'a str>,
    /// The pod's label, where the revision stands in its value.
    revision_in: Option<&'a str>,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(labels: &'a Labels) -> Self {
        let pod = labels.pod.as_deref();
        let (workload, workload_in) = match &labels.workload {
            WorkloadFrom::Label(name) => (name.as_str(), None),
            WorkloadFrom::PodName => (WORKLOAD, pod),
        };
        let own = labels.revision.as_deref().filter(|_| workload_in.is_none());
        let revision_in = if own.is_none() { pod } else { None };
        Self {
            namespace: &labels.namespace,
            workload,
            revision: own.or(revision_in.map(|_| REVISION)),
            workload_in,
            revision_in,
        }
    }

    /// The same without revisions.
    pub(crate) fn whole(self) -> Self {
        Self {
            revision: None,
            revision_in: None,
            ..self
        }
    }

    /// To read back rows of [`in_window`]: the window stands in the place of the revision.
    pub(crate) fn by_window(self) -> Self {
        Self {
            revision: Some(WINDOW),
            ..self
        }
    }

    /// `aggregate by (namespace, workload[, revision], more...) (inner)`.
    pub(crate) fn grouped(&self, aggregate: &str, inner: &str, more: &[&str]) -> String {
        let mut inner = inner.to_owned();
        if let Some(pod) = self.workload_in {
            inner = format!(
                "label_replace({inner}, \"{WORKLOAD}\", \"$1\", \"{pod}\", \"(.+)-[a-z0-9]+-[a-z0-9]{{5}}\")"
            );
        }
        if let Some(pod) = self.revision_in {
            inner = format!(
                "label_replace({inner}, \"{REVISION}\", \"$1\", \"{pod}\", \".+-([a-z0-9]+)-[a-z0-9]{{5}}\")"
            );
        }
        let mut by = vec![self.namespace, self.workload];
        by.extend(self.revision);
        by.extend(more);
        format!("{aggregate} by ({}) ({inner})", by.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_quotes() {
        let hostile = Matcher::new("a", MatchOp::Is, "x\"} or vector(1) # \\ \n");
        assert_eq!(
            select("m", [&hostile]),
            r#"m{a="x\"} or vector(1) # \\ \n"}"#
        );
    }

    #[test]
    fn one_value_is_compared_and_more_are_matched_literally() {
        let text = |values: &[&str]| {
            let set = values.iter().copied().collect();
            select("m", [&one_of("n", Some(&set))])
        };
        assert_eq!(text(&["a"]), r#"m{n="a"}"#);
        assert_eq!(text(&["a.b", "c-d"]), r#"m{n=~"a\\.b|c-d"}"#);
        assert_eq!(select("m", [&one_of("n", None)]), r#"m{n!=""}"#);
    }
}
