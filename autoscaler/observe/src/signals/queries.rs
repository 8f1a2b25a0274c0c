//! The ten questions of one round.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::preset::{Calls, Counter, Histogram, Labels, MatchOp, Matcher, Preset};
use crate::promql::{Ask, Keys, conditions, no_shadow, one_of, select, span};
use crate::scope::{Scope, named};

/// The queries of one round: their number depends on the preset alone.
pub fn signal_queries(preset: &Preset, scope: &Scope) -> Vec<(Ask, String)> {
    let namespaces = scope.namespaces();
    let asking = Asking {
        preset,
        scope,
        namespaces: named(&namespaces),
    };
    let mut out = asking.requests();
    if let Some(calls) = &preset.calls {
        out.push((Ask::CalleeWait, asking.wait(calls)));
    }
    out.push((Ask::Alive, asking.alive()));
    out.extend(asking.cpu());
    out
}

/// The number of requests: metric, then its conditions.
pub(crate) fn count(own: Option<&Counter>, histogram: &Histogram) -> (String, Vec<Matcher>) {
    match own {
        Some(counter) => (counter.metric.clone(), counter.matchers.clone()),
        None => (
            format!("{}_count", histogram.metric),
            histogram.matchers.clone(),
        ),
    }
}

struct Asking<'a> {
    preset: &'a Preset,
    scope: &'a Scope,
    namespaces: Option<&'a BTreeSet<&'a str>>,
}

impl Asking<'_> {
    fn series(&self, labels: &Labels, metric: &str, own: &[Matcher], more: &[Matcher]) -> String {
        let fixed = conditions(labels, self.namespaces);
        select(
            metric,
            fixed.iter().chain(&self.preset.only).chain(own).chain(more),
        )
    }

    fn requests(&self) -> Vec<(Ask, String)> {
        let preset = self.preset;
        let windows = &self.scope.windows;
        let keys = Keys::of(&preset.labels);
        let (metric, own) = count(preset.counter.as_ref(), &preset.requests);
        let counted = |more: &[Matcher]| {
            let series = self.series(&preset.labels, &metric, &own, more);
            format!("rate({series}[{}])", span(windows.rate()))
        };
        let peak = keys.clone().whole().grouped("sum", &counted(&[]), &[]);
        let mut out = vec![
            (Ask::Rate, keys.grouped("sum", &counted(&[]), &[])),
            (
                Ask::Peak,
                format!(
                    "max_over_time(({peak})[{}:{}])",
                    span(windows.peak),
                    span(windows.scrape)
                ),
            ),
            (Ask::Buckets, self.buckets(&preset.requests, windows.tail())),
        ];
        if let Some(own) = &preset.self_time {
            out.push((Ask::SelfBuckets, self.buckets(own, windows.tail())));
        }
        let failed: Vec<String> = preset
            .failed
            .iter()
            .map(|m| counted(std::slice::from_ref(m)))
            .collect();
        if !failed.is_empty() {
            let any = failed.join(" or ");
            out.push((Ask::Errors, keys.grouped("sum", &any, &[])));
        }
        out
    }

    fn buckets(&self, histogram: &Histogram, window: Duration) -> String {
        let labels = &self.preset.labels;
        let metric = format!("{}_bucket", histogram.metric);
        let series = self.series(labels, &metric, &histogram.matchers, &[]);
        let counted = format!("increase({series}[{}])", span(window));
        Keys::of(labels).grouped("sum", &counted, &["le"])
    }

    fn wait(&self, calls: &Calls) -> String {
        let metric = format!("{}_sum", calls.wait.metric);
        let series = self.series(&calls.labels, &metric, &calls.wait.matchers, &[]);
        let waited = format!("increase({series}[{}])", span(self.scope.windows.tail()));
        Keys::of(&calls.labels).grouped("sum", &waited, &[])
    }

    fn alive(&self) -> String {
        let Some(alive) = &self.preset.alive else {
            let labels = &self.preset.labels;
            let (metric, own) = count(self.preset.counter.as_ref(), &self.preset.requests);
            let seen = format!("timestamp({})", self.series(labels, &metric, &own, &[]));
            return match &labels.pod {
                Some(pod) => format!("max by ({}, {pod}) ({seen})", labels.namespace),
                None => Keys::of(labels).whole().grouped("max", &seen, &[]),
            };
        };
        let fixed = [
            one_of(&alive.namespace, self.namespaces),
            Matcher::new(&alive.pod, MatchOp::IsNot, ""),
            no_shadow(&alive.pod),
        ];
        let up = select(&alive.metric, fixed.iter().chain(&alive.matchers));
        format!(
            "max by ({}, {}) (timestamp({up}) and ({up} == 1))",
            alive.namespace, alive.pod
        )
    }

    fn cpu(&self) -> Vec<(Ask, String)> {
        let cpu = &self.preset.cpu;
        let window = span(self.scope.windows.cpu());
        let fixed = [
            one_of(&cpu.namespace, self.namespaces),
            no_shadow(&cpu.pod),
            // The pod's own cgroup has no container name; the pause container is called POD by old kubelets.
            Matcher::new(&cpu.container, MatchOp::IsNot, ""),
            Matcher::new(&cpu.container, MatchOp::IsNot, "POD"),
        ];
        let series = |metric: &str| select(metric, fixed.iter().chain(&cpu.matchers));
        let by = format!("{}, {}, {}", cpu.namespace, cpu.pod, cpu.container);
        let rate = |metric: &str| format!("sum by ({by}) (rate({}[{window}]))", series(metric));
        vec![
            // A slope between samples' own times: `rate` would fall with the age of the newest one.
            (
                Ask::Cpu,
                format!("sum by ({by}) (deriv({}[{window}]))", series(&cpu.usage)),
            ),
            (
                Ask::Throttled,
                format!("{} / {}", rate(&cpu.throttled), rate(&cpu.periods)),
            ),
            (
                Ask::CpuAt,
                format!(
                    "max by ({}, {}) (timestamp({}))",
                    cpu.namespace,
                    cpu.pod,
                    series(&cpu.usage)
                ),
            ),
        ]
    }
}
