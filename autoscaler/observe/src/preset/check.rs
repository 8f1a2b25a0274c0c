//! Whether a preset can be used, and if not, where it is wrong. Pure.

use regex::Regex;

use super::{Calls, Counter, Histogram, Labels, Matcher, Preset, WorkloadFrom};

/// Why a preset can't be used. `at` is the path of the field in a preset's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresetError {
    /// A metric's name that PromQL can't take unquoted.
    #[error(
        "{at}: {found:?} is no metric name; accepted: letters, digits, _ and :, no leading digit"
    )]
    Metric {
        /// Where.
        at: String,
        /// What is there.
        found: String,
    },
    /// A label's name that PromQL can't take unquoted.
    #[error("{at}: {found:?} is no label name; accepted: letters, digits and _, no leading digit")]
    Label {
        /// Where.
        at: String,
        /// What is there.
        found: String,
    },
    /// A condition whose value is no expression.
    #[error(
        "{at}: {found:?} is no regular expression: {why}; accepted: RE2, anchored at both ends"
    )]
    Expression {
        /// Where.
        at: String,
        /// What is there.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// `PodName` without a pod label.
    #[error(
        "{at}.workload: podName needs the label of the pod's name in {at}.pod; accepted: a label name"
    )]
    PodLabel {
        /// Where the labels are.
        at: String,
    },
}

impl PresetError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Metric { .. } | Self::Label { .. } => "InvalidMetricName",
            Self::Expression { .. } => "InvalidExpression",
            Self::PodLabel { .. } => "PodLabelMissing",
        }
    }
}

impl Matcher {
    /// The value as an expression, anchored as Prometheus does it.
    pub(crate) fn expression(&self) -> Result<Regex, regex::Error> {
        Regex::new(&format!("^(?s:{})$", self.value))
    }
}

impl Preset {
    /// Checks every name that is written into a query unquoted, and every expression.
    pub fn check(&self) -> Result<(), PresetError> {
        histogram("requests", &self.requests)?;
        if let Some(count) = &self.counter {
            counter("counter", count)?;
        }
        matchers("failed", &self.failed)?;
        if let Some(own) = &self.self_time {
            histogram("selfTime", own)?;
        }
        if let Some(made) = &self.calls {
            calls(made)?;
        }
        labels("labels", &self.labels)?;
        matchers("only", &self.only)?;
        if let Some(alive) = &self.alive {
            metric("alive.metric", &alive.metric)?;
            label("alive.namespace", &alive.namespace)?;
            label("alive.pod", &alive.pod)?;
            matchers("alive.matchers", &alive.matchers)?;
        }
        let cpu = &self.cpu;
        metric("cpu.usage", &cpu.usage)?;
        metric("cpu.periods", &cpu.periods)?;
        metric("cpu.throttled", &cpu.throttled)?;
        label("cpu.namespace", &cpu.namespace)?;
        label("cpu.pod", &cpu.pod)?;
        label("cpu.container", &cpu.container)?;
        matchers("cpu.matchers", &cpu.matchers)?;
        self.process_cpu
            .as_ref()
            .map_or(Ok(()), |own| counter("processCpu", own))
    }
}

fn calls(calls: &Calls) -> Result<(), PresetError> {
    histogram("calls.wait", &calls.wait)?;
    if let Some(count) = &calls.count {
        counter("calls.count", count)?;
    }
    matchers("calls.failed", &calls.failed)?;
    labels("calls.labels", &calls.labels)?;
    if let Some(callee) = &calls.callee {
        label("calls.callee", callee)?;
    }
    calls
        .callee_namespace
        .as_ref()
        .map_or(Ok(()), |name| label("calls.calleeNamespace", name))
}

fn histogram(at: &str, histogram: &Histogram) -> Result<(), PresetError> {
    metric(&format!("{at}.metric"), &histogram.metric)?;
    matchers(&format!("{at}.matchers"), &histogram.matchers)
}

fn counter(at: &str, counter: &Counter) -> Result<(), PresetError> {
    metric(&format!("{at}.metric"), &counter.metric)?;
    matchers(&format!("{at}.matchers"), &counter.matchers)
}

fn labels(at: &str, labels: &Labels) -> Result<(), PresetError> {
    label(&format!("{at}.namespace"), &labels.namespace)?;
    match &labels.workload {
        WorkloadFrom::Label(name) => label(&format!("{at}.workload.label"), name)?,
        WorkloadFrom::PodName if labels.pod.is_none() => {
            return Err(PresetError::PodLabel { at: at.into() });
        }
        WorkloadFrom::PodName => {}
    }
    for (field, name) in [("revision", &labels.revision), ("pod", &labels.pod)] {
        if let Some(name) = name {
            label(&format!("{at}.{field}"), name)?;
        }
    }
    Ok(())
}

fn matchers(at: &str, matchers: &[Matcher]) -> Result<(), PresetError> {
    for (index, matcher) in matchers.iter().enumerate() {
        label(&format!("{at}[{index}].label"), &matcher.label)?;
        if matcher.op.is_expression()
            && let Err(error) = matcher.expression()
        {
            // The library draws the expression first; what is wrong stands in the last line.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            return Err(PresetError::Expression {
                at: format!("{at}[{index}].value"),
                found: matcher.value.clone(),
                why: why.trim_start_matches("error: ").to_owned(),
            });
        }
    }
    Ok(())
}

fn metric(at: &str, name: &str) -> Result<(), PresetError> {
    if is_name(name, true) {
        return Ok(());
    }
    Err(PresetError::Metric {
        at: at.into(),
        found: name.into(),
    })
}

fn label(at: &str, name: &str) -> Result<(), PresetError> {
    if is_name(name, false) {
        return Ok(());
    }
    Err(PresetError::Label {
        at: at.into(),
        found: name.into(),
    })
}

fn is_name(name: &str, colons: bool) -> bool {
    let mut chars = name.chars();
    let good = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    chars.next().is_some_and(good) && chars.all(|c| good(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_a_query_is_refused_with_its_place() {
        type Row = (fn(&mut Preset), &'static str, &'static str);
        let table: [Row; 7] = [
            (
                |p| p.requests.metric = "x} or vector(1".into(),
                "requests.metric",
                "InvalidMetricName",
            ),
            (
                |p| p.only[0].label = "1a".into(),
                "only[0].label",
                "InvalidMetricName",
            ),
            (
                |p| p.labels.namespace = "a:b".into(),
                "labels.namespace",
                "InvalidMetricName",
            ),
            (
                |p| p.cpu.usage = String::new(),
                "cpu.usage",
                "InvalidMetricName",
            ),
            (
                |p| p.failed[0].value = "5(..".into(),
                "failed[0].value",
                "InvalidExpression",
            ),
            (
                |p| p.process_cpu.as_mut().unwrap().metric = "a-b".into(),
                "processCpu.metric",
                "InvalidMetricName",
            ),
            (
                |p| {
                    p.labels.workload = WorkloadFrom::PodName;
                    p.labels.pod = None;
                },
                "labels.workload",
                "PodLabelMissing",
            ),
        ];
        for (break_it, at, category) in table {
            let mut preset = Preset::shop();
            break_it(&mut preset);
            let found = preset.check().err();
            let told = found.as_ref().map_or("", PresetError::category);
            assert_eq!(told, category, "{at}");
            let text = found.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.starts_with(at), "{text}");
            assert!(text.contains("accepted: "), "{text}");
        }
    }
}
