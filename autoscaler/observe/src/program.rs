//! What a program says of itself on its own metrics page, by the names of a preset. Pure.
//!
//! The page has none of the labels that Prometheus adds. A metric's own conditions count; one of [`Preset::only`] that no
//! series of the page meets is about such labels, or tells shadow pods from others, and is passed over.

use regex::Regex;

use crate::exposition::{Line, lines};
use crate::preset::{Calls, Histogram, Matcher, Preset};
use crate::signals::count;
use crate::{Buckets, TimeUnit};

/// What one process has counted so far; what its page has not is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Program {
    /// CPU seconds.
    pub cpu_seconds: Option<f64>,
    /// Self times in seconds.
    pub self_times: Option<Buckets>,
    /// Times of calls in seconds.
    pub call_times: Option<Buckets>,
    /// Seconds waited for callees.
    pub waited: Option<f64>,
    /// Calls that failed, where the preset tells which did.
    pub failed_calls: Option<f64>,
}

impl Program {
    /// Reads a page in Prometheus' text format.
    pub fn read(preset: &Preset, page: &str) -> Self {
        let page = Page {
            text: page,
            only: tests(&preset.only),
        };
        let calls = preset.calls.as_ref();
        Self {
            cpu_seconds: preset
                .process_cpu
                .as_ref()
                .and_then(|own| sum(&page.own(&own.metric, &own.matchers))),
            self_times: preset.self_time.as_ref().and_then(|own| page.times(own)),
            call_times: calls.and_then(|calls| page.times(&calls.wait)),
            waited: calls.and_then(|calls| page.waited(&calls.wait)),
            failed_calls: calls.and_then(|calls| page.failed(calls)),
        }
    }
}

struct Page<'a> {
    text: &'a str,
    only: Vec<Test<'a>>,
}

impl Page<'_> {
    fn own<'b>(&'b self, metric: &'b str, matchers: &[Matcher]) -> Vec<Line<'b>> {
        let tests = tests(matchers);
        lines(self.text, metric)
            .filter(|line| tests.iter().all(|test| test.meets(line)))
            .collect()
    }

    fn series<'b>(&'b self, metric: &'b str, matchers: &[Matcher]) -> Vec<Line<'b>> {
        let mut found = self.own(metric, matchers);
        for test in &self.only {
            if found.iter().any(|line| test.meets(line)) {
                found.retain(|line| test.meets(line));
            }
        }
        found
    }

    fn times(&self, histogram: &Histogram) -> Option<Buckets> {
        let metric = format!("{}_bucket", histogram.metric);
        let found = self.series(&metric, &histogram.matchers);
        let pairs = found.iter().map(|line| (line.label("le"), line.value));
        Some(Buckets::new(pairs).ok()?.scaled(seconds(histogram.unit)))
    }

    fn waited(&self, wait: &Histogram) -> Option<f64> {
        let metric = format!("{}_sum", wait.metric);
        Some(sum(&self.series(&metric, &wait.matchers))? * seconds(wait.unit))
    }

    fn failed(&self, calls: &Calls) -> Option<f64> {
        if calls.failed.is_empty() {
            return None;
        }
        let (metric, own) = count(calls.count.as_ref(), &calls.wait);
        let failed = tests(&calls.failed);
        let made = self.series(&metric, &own);
        let any = |line: &&Line<'_>| failed.iter().any(|test| test.meets(line));
        let wrong: f64 = made.iter().filter(any).map(|line| line.value).sum();
        (!made.is_empty()).then_some(wrong)
    }
}

fn sum(lines: &[Line<'_>]) -> Option<f64> {
    lines.iter().map(|line| line.value).reduce(|a, b| a + b)
}

fn seconds(unit: TimeUnit) -> f64 {
    unit.ms() / 1000.0
}

/// A condition, ready for many lines.
struct Test<'a> {
    matcher: &'a Matcher,
    /// Of one that is an expression; [`Preset::check`] has refused those that are none.
    expression: Option<Regex>,
}

fn tests(matchers: &[Matcher]) -> Vec<Test<'_>> {
    let all = matchers.iter().map(|matcher| Test {
        matcher,
        expression: (matcher.op.is_expression())
            .then(|| matcher.expression().ok())
            .flatten(),
    });
    all.collect()
}

impl Test<'_> {
    fn meets(&self, line: &Line<'_>) -> bool {
        let value = line.label(&self.matcher.label);
        let same = if self.matcher.op.is_expression() {
            self.expression.as_ref().is_some_and(|e| e.is_match(value))
        } else {
            value == self.matcher.value
        };
        same == self.matcher.op.wants()
    }
}

#[cfg(test)]
mod tests {
    use msars_domain::Percentile;

    use super::*;

    /// Two calls of 10 and 30 ms, one of which failed; probes beside requests; CPU of the process.
    const SHOP: &str = r#"
process_cpu_seconds_total 12.5
shop_self_seconds_bucket{service="carts",route="get",le="0.002"} 40
shop_self_seconds_bucket{service="carts",route="get",le="+Inf"} 50
shop_call_seconds_bucket{caller="carts",callee="carts-db",le="0.01"} 1
shop_call_seconds_bucket{caller="carts",callee="carts-db",le="0.03"} 2
shop_call_seconds_bucket{caller="carts",callee="carts-db",le="+Inf"} 2
shop_call_seconds_sum{caller="carts",callee="carts-db"} 0.04
shop_calls_total{caller="carts",callee="carts-db",outcome="ok"} 1
shop_calls_total{caller="carts",callee="carts-db",outcome="timeout"} 1
"#;
    const PROMETHEUS: &str = r#"
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
http_request_duration_seconds_bucket{method="GET",path="/",status="200",le="+Inf"} 9
"#;
    const OPENTELEMETRY: &str = r#"
process_cpu_time_seconds_total{cpu_mode="user"} 10
process_cpu_time_seconds_total{cpu_mode="system"} 2.5
process_cpu_time_seconds_total{cpu_mode="wait"} 99
http_client_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",le="0.01"} 1
http_client_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",le="0.03"} 1
http_client_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="200",le="+Inf"} 1
http_client_request_duration_seconds_bucket{http_request_method="GET",error_type="timeout",le="0.01"} 0
http_client_request_duration_seconds_bucket{http_request_method="GET",error_type="timeout",le="0.03"} 1
http_client_request_duration_seconds_bucket{http_request_method="GET",error_type="timeout",le="+Inf"} 1
http_client_request_duration_seconds_sum{http_request_method="GET",http_response_status_code="200"} 0.01
http_client_request_duration_seconds_sum{http_request_method="GET",error_type="timeout"} 0.03
http_client_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200"} 1
http_client_request_duration_seconds_count{http_request_method="GET",error_type="timeout"} 1
http_client_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404",error_type="404"} 0
"#;
    const ISTIO: &str = r#"
process_cpu_seconds_total 12.5
istio_request_duration_milliseconds_bucket{reporter="source",response_code="200",le="10"} 1
istio_request_duration_milliseconds_bucket{reporter="source",response_code="200",le="30"} 2
istio_request_duration_milliseconds_bucket{reporter="source",response_code="200",le="+Inf"} 2
istio_request_duration_milliseconds_bucket{reporter="destination",response_code="200",le="10"} 70
istio_request_duration_milliseconds_bucket{reporter="destination",response_code="200",le="30"} 70
istio_request_duration_milliseconds_bucket{reporter="destination",response_code="200",le="+Inf"} 70
istio_request_duration_milliseconds_sum{reporter="source",response_code="200"} 40
istio_request_duration_milliseconds_sum{reporter="destination",response_code="200"} 700
istio_requests_total{reporter="source",response_code="200"} 1
istio_requests_total{reporter="source",response_code="503"} 1
istio_requests_total{reporter="destination",response_code="503"} 7
"#;

    fn near(found: Option<f64>, wanted: Option<f64>, what: &str) {
        match (found, wanted) {
            (Some(found), Some(wanted)) => {
                assert!((found - wanted).abs() < 1e-9, "{what}: {found}");
            }
            (found, wanted) => assert_eq!(found, wanted, "{what}"),
        }
    }

    #[test]
    fn each_preset_reads_the_page_of_its_programs() {
        // (preset, page, self times, longest call in seconds, waited, failed)
        let called = (Some(0.03), Some(0.04), Some(1.0));
        let none = (None, None, None);
        let table = [
            ("shop", SHOP, Some(50.0), called),
            ("prometheus", PROMETHEUS, None, none),
            ("opentelemetry", OPENTELEMETRY, None, called),
            ("istio", ISTIO, None, called),
            ("istio", PROMETHEUS, None, none),
        ];
        for (name, page, own, (longest, waited, failed)) in table {
            let read = Program::read(&Preset::named(name).unwrap(), page);
            near(read.cpu_seconds, Some(12.5), name);
            near(read.self_times.as_ref().map(Buckets::count), own, name);
            let last = Percentile::new(1.0 - 1e-9).unwrap();
            let found = read.call_times.and_then(|times| times.quantile(last));
            let rounded = found.map(|quantile| (quantile.value * 1e6).round() / 1e6);
            near(rounded, longest, name);
            near(read.waited, waited, name);
            near(read.failed_calls, failed, name);
        }
        for name in Preset::BUILT_IN {
            let preset = Preset::named(name).unwrap();
            assert_eq!(Program::read(&preset, "other 1"), Program::default());
        }
    }

    #[test]
    fn conditions_that_the_page_cannot_meet_are_prometheus_own() {
        let mut preset = Preset::shop();
        let condition = |label, op, value| Matcher::new(label, op, value);
        preset.only = vec![
            condition("shadow", crate::MatchOp::IsNot, "true"),
            condition("job", crate::MatchOp::Is, "apps"),
            condition("route", crate::MatchOp::Unlike, "health.*"),
        ];
        // The program marks itself as a shadow; two of its three requests are probes.
        let page = r#"
shop_self_seconds_bucket{route="health",shadow="true",le="+Inf"} 2
shop_self_seconds_bucket{route="get",shadow="true",le="+Inf"} 1
"#;
        let read = Program::read(&preset, page);
        near(read.self_times.map(|b| b.count()), Some(1.0), "requests");
    }

    #[test]
    fn without_conditions_no_call_is_known_to_have_failed() {
        let mut preset = Preset::shop();
        preset.calls.as_mut().unwrap().failed.clear();
        let read = Program::read(&preset, SHOP);
        near(read.failed_calls, None, "failed");
        near(read.waited, Some(0.04), "waited");
    }
}
