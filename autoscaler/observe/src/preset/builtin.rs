//! The presets that are built in.

use super::{
    Alive, Calls, Counter, Cpu, Histogram, Labels, MatchOp, Matcher, Preset, TimeUnit, WorkloadFrom,
};

impl Preset {
    /// The shop of this repository's demo.
    pub fn shop() -> Self {
        let labels = labels("namespace", label("workload"), Some("pod_template_hash"));
        Self {
            name: "shop".into(),
            requests: seconds("shop_request_seconds"),
            counter: None,
            failed: vec![Matcher::new("code", MatchOp::Like, "5..")],
            self_time: Some(seconds("shop_self_seconds")),
            calls: Some(Calls {
                wait: seconds("shop_call_seconds"),
                count: Some(Counter {
                    metric: "shop_calls_total".into(),
                    matchers: vec![],
                }),
                failed: vec![Matcher::new("outcome", MatchOp::IsNot, "ok")],
                labels: Labels {
                    workload: label("caller"),
                    ..labels.clone()
                },
                callee: Some("callee".into()),
                callee_namespace: None,
            }),
            labels,
            only: vec![not_shadow()],
            alive: Some(up()),
            cpu: cadvisor(),
            process_cpu: Some(process()),
        }
    }

    /// HTTP conventions of Prometheus client libraries, as podinfo exports them. Requests are counted by the
    /// histogram and not by `http_requests_total`, which has no path and so counts probes and scrapes too.
    pub fn prometheus() -> Self {
        Self {
            name: "prometheus".into(),
            requests: seconds("http_request_duration_seconds"),
            counter: None,
            failed: vec![Matcher::new("status", MatchOp::Like, "5..")],
            self_time: None,
            calls: None,
            labels: labels("namespace", WorkloadFrom::PodName, None),
            only: vec![not_shadow(), not_probe("path")],
            alive: Some(up()),
            cpu: cadvisor(),
            process_cpu: Some(process()),
        }
    }

    /// OpenTelemetry's HTTP semantic conventions with the resource attributes that Prometheus' OTLP guide promotes. Every
    /// export of a pod brings its `target_info`, whether it served or not; the revision is found in the pod's name.
    pub fn opentelemetry() -> Self {
        let labels = Labels {
            namespace: "k8s_namespace_name".into(),
            workload: label("k8s_deployment_name"),
            revision: None,
            pod: Some("k8s_pod_name".into()),
        };
        Self {
            name: "opentelemetry".into(),
            requests: seconds("http_server_request_duration_seconds"),
            counter: None,
            failed: vec![Matcher::new(
                "http_response_status_code",
                MatchOp::Like,
                "5..",
            )],
            self_time: None,
            calls: Some(Calls {
                wait: seconds("http_client_request_duration_seconds"),
                count: None,
                failed: vec![
                    Matcher::new("http_response_status_code", MatchOp::Like, "5.."),
                    // No status at all: `timeout`, a name that is not found, a broken connection.
                    Matcher::new("error_type", MatchOp::Unlike, "([0-9]{3})?"),
                ],
                labels: labels.clone(),
                callee: None,
                callee_namespace: None,
            }),
            only: vec![not_probe("http_route")],
            alive: Some(Alive {
                metric: "target_info".into(),
                namespace: labels.namespace.clone(),
                pod: "k8s_pod_name".into(),
                matchers: vec![],
            }),
            labels,
            cpu: cadvisor(),
            process_cpu: Some(Counter {
                metric: "process_cpu_time_seconds_total".into(),
                matchers: vec![Matcher::new("cpu_mode", MatchOp::IsNot, "wait")],
            }),
        }
    }

    /// Istio's standard metrics with sidecars: requests as the destination reports them, calls as the source does.
    pub fn istio() -> Self {
        let reporter = |who| vec![Matcher::new("reporter", MatchOp::Is, who)];
        let time = |who| Histogram {
            metric: "istio_request_duration_milliseconds".into(),
            unit: TimeUnit::Milliseconds,
            matchers: reporter(who),
        };
        let count = |who| Counter {
            metric: "istio_requests_total".into(),
            matchers: reporter(who),
        };
        let failed = vec![
            Matcher::new("response_code", MatchOp::Like, "5.."),
            Matcher::new("grpc_response_status", MatchOp::Like, "2|4|8|13|14|15"),
        ];
        let side =
            |namespace, workload| labels(namespace, label(workload), Some("pod_template_hash"));
        Self {
            name: "istio".into(),
            requests: time("destination"),
            counter: Some(count("destination")),
            failed: failed.clone(),
            self_time: None,
            calls: Some(Calls {
                wait: time("source"),
                count: Some(count("source")),
                failed,
                labels: side("source_workload_namespace", "source_workload"),
                callee: Some("destination_workload".into()),
                callee_namespace: Some("destination_workload_namespace".into()),
            }),
            labels: side("destination_workload_namespace", "destination_workload"),
            only: vec![],
            alive: Some(up()),
            cpu: cadvisor(),
            process_cpu: Some(process()),
        }
    }
}

fn seconds(metric: &str) -> Histogram {
    Histogram {
        metric: metric.into(),
        unit: TimeUnit::Seconds,
        matchers: vec![],
    }
}

fn label(name: &str) -> WorkloadFrom {
    WorkloadFrom::Label(name.into())
}

fn labels(namespace: &str, workload: WorkloadFrom, revision: Option<&str>) -> Labels {
    Labels {
        namespace: namespace.into(),
        workload,
        revision: revision.map(Into::into),
        pod: Some("pod".into()),
    }
}

fn not_shadow() -> Matcher {
    Matcher::new("shadow", MatchOp::IsNot, "true")
}

fn not_probe(route: &str) -> Matcher {
    Matcher::new(route, MatchOp::Unlike, "/?(healthz|livez|readyz|metrics)")
}

fn up() -> Alive {
    Alive {
        metric: "up".into(),
        namespace: "namespace".into(),
        pod: "pod".into(),
        matchers: vec![],
    }
}

/// The counter that Prometheus' client libraries export of their own process.
fn process() -> Counter {
    Counter {
        metric: "process_cpu_seconds_total".into(),
        matchers: vec![],
    }
}

fn cadvisor() -> Cpu {
    Cpu {
        usage: "container_cpu_usage_seconds_total".into(),
        periods: "container_cpu_cfs_periods_total".into(),
        throttled: "container_cpu_cfs_throttled_periods_total".into(),
        namespace: "namespace".into(),
        pod: "pod".into(),
        container: "container".into(),
        matchers: vec![],
    }
}
