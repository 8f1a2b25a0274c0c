//! What the shop says about itself, in Prometheus's text form.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::clock;
use crate::peers::Outcome;
use crate::role::Role;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    route: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SelfLabels {
    service: &'static str,
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    caller: &'static str,
    callee: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EdgeLabels {
    caller: &'static str,
    callee: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// 0.25 ms to 14 s, each bucket 1.5 times the one before.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 1.5, 28))
}

/// `process_cpu_seconds_total`, read when scraped.
#[derive(Debug)]
struct ProcessCpu;

impl Collector for ProcessCpu {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(clock::process_cpu().as_secs_f64());
        let help = "CPU time of the process, user and system";
        let kind = prometheus_client::metrics::MetricType::Counter;
        counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)
    }
}

/// One role's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    service: &'static str,
    requests: Histograms<RequestLabels>,
    own: Option<Histograms<SelfLabels>>,
    calls: Family<CallLabels, Counter>,
    waits: Histograms<EdgeLabels>,
}

impl Metrics {
    /// Without self time and process CPU unless asked for.
    pub(crate) fn new(role: Role, self_time: bool, process_cpu: bool) -> Self {
        let mut registry = Registry::default();
        let requests = Histograms::new_with_constructor(buckets as fn() -> Histogram);
        registry.register(
            "shop_request_seconds",
            "Time from the request's arrival to its answer, queueing and callees included",
            requests.clone(),
        );
        let calls = Family::<CallLabels, Counter>::default();
        registry.register(
            "shop_calls",
            "Calls to other roles by outcome",
            calls.clone(),
        );
        let waits = Histograms::new_with_constructor(buckets as fn() -> Histogram);
        registry.register(
            "shop_call_seconds",
            "Wait for a callee, network included; calls nobody waits for are not in it",
            waits.clone(),
        );
        let own = self_time.then(|| {
            let own = Histograms::new_with_constructor(buckets as fn() -> Histogram);
            registry.register(
                "shop_self_seconds",
                "Request time less the time waited for callees, queueing included",
                own.clone(),
            );
            own
        });
        if process_cpu {
            registry.register_collector(Box::new(ProcessCpu));
        }
        Self {
            registry,
            service: role.name(),
            requests,
            own,
            calls,
            waits,
        }
    }

    /// One answered request; `waited` is the time no work could be done for callees.
    pub(crate) fn answered(
        &self,
        route: &'static str,
        code: u16,
        took: Duration,
        waited: Duration,
    ) {
        let labels = RequestLabels {
            service: self.service,
            route,
            code: code_text(code),
        };
        self.requests
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        if let Some(own) = &self.own {
            let labels = SelfLabels {
                service: self.service,
                route,
            };
            let spent = took.saturating_sub(waited);
            own.get_or_create(&labels).observe(spent.as_secs_f64());
        }
    }

    /// One call; `waited` is `None` when nobody waited.
    pub(crate) fn called(&self, callee: Role, outcome: Outcome, waited: Option<Duration>) {
        let labels = CallLabels {
            caller: self.service,
            callee: callee.name(),
            outcome: outcome.name(),
        };
        self.calls.get_or_create(&labels).inc();
        if let Some(waited) = waited {
            let labels = EdgeLabels {
                caller: self.service,
                callee: callee.name(),
            };
            self.waits
                .get_or_create(&labels)
                .observe(waited.as_secs_f64());
        }
    }

    /// The whole exposition, OpenMetrics text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The codes the shop answers with.
fn code_text(code: u16) -> &'static str {
    match code {
        200 => "200",
        400 => "400",
        404 => "404",
        502 => "502",
        503 => "503",
        _ => "500",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Metrics;
    use crate::peers::Outcome;
    use crate::role::Role;

    fn text(self_time: bool, process_cpu: bool) -> String {
        let metrics = Metrics::new(Role::FrontEnd, self_time, process_cpu);
        let ms = Duration::from_millis;
        metrics.answered("GET /", 200, ms(9), ms(4));
        metrics.called(Role::Catalogue, Outcome::Ok, Some(ms(4)));
        metrics.called(Role::Rabbitmq, Outcome::Refused, None);
        metrics.text().unwrap()
    }

    #[test]
    fn names_labels_and_units_are_the_announced_ones() {
        let text = text(true, true);
        for line in [
            r#"shop_request_seconds_count{service="front-end",route="GET /",code="200"} 1"#,
            r#"shop_self_seconds_sum{service="front-end",route="GET /"} 0.005"#,
            r#"shop_calls_total{caller="front-end",callee="catalogue",outcome="ok"} 1"#,
            r#"shop_calls_total{caller="front-end",callee="rabbitmq",outcome="refused"} 1"#,
            r#"shop_call_seconds_sum{caller="front-end",callee="catalogue"} 0.004"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.contains("\nprocess_cpu_seconds_total "));
        assert!(!text.contains(r#"shop_call_seconds_sum{caller="front-end",callee="rabbitmq"}"#));
    }

    #[test]
    fn self_time_and_process_cpu_are_there_only_when_asked_for() {
        let text = text(false, false);
        assert!(!text.contains("shop_self_seconds") && !text.contains("process_cpu"));
    }
}
