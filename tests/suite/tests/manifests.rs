//! What the manifests say, without a cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use std::collections::BTreeSet;

use msars_api::names;
use msars_suite::{alerts, documents, folder, given, held};
use prometheus_client::registry::Registry;
use promql_parser::parser::{Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

fn base() -> Vec<Value> {
    documents(&folder("")).unwrap()
}

fn one<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    documents
        .iter()
        .find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("the base has a {kind} {name}"))
}

#[test]
fn every_right_is_in_the_table_with_what_it_is_for() {
    let mut all = base();
    all.extend(documents(&folder("namespace")).unwrap());
    let (given, held) = (given(&all), held());
    let more: Vec<_> = given.difference(&held).collect();
    let fewer: Vec<_> = held.difference(&given).collect();
    assert!(more.is_empty(), "given without a reason: {more:#?}");
    assert!(fewer.is_empty(), "in the table, but not given: {fewer:#?}");
    for row in msars_suite::HELD {
        assert!(!row.why.is_empty());
    }
}

#[test]
fn the_base_writes_nothing_of_a_users_and_the_overlay_grants_what_the_namespace_does() {
    let written = |rights: &BTreeSet<msars_suite::Right>| -> BTreeSet<(String, String)> {
        rights
            .iter()
            .filter(|right| right.scope != msars_suite::Scope::Own)
            .filter(|right| !["get", "list", "watch"].contains(&right.verb.as_str()))
            .filter(|right| {
                !["msars.io", "events.k8s.io", "authorization.k8s.io"]
                    .contains(&right.group.as_str())
            })
            .filter(|right| right.group != "admissionregistration.k8s.io")
            .map(|right| (right.resource.clone(), right.verb.clone()))
            .collect()
    };
    assert_eq!(written(&given(&base())), BTreeSet::new());
    let mut granted = base();
    granted.extend(documents(&folder("namespace")).unwrap());
    let wide = documents(&folder("overlays/cluster-wide")).unwrap();
    let of_namespace = written(&given(&granted));
    assert!(!of_namespace.is_empty());
    assert_eq!(written(&given(&wide)), of_namespace);
}

#[test]
fn names_are_those_that_the_programs_use() {
    let all = base();
    one(&all, "Namespace", names::SYSTEM_NAMESPACE);
    one(&all, "Service", names::WEBHOOK_SERVICE);
    one(&all, "PriorityClass", names::SHADOW_PRIORITY_CLASS);
    let switches = one(&all, "ConfigMap", names::SWITCHES);
    assert!(
        switches.get("data").is_none(),
        "applying again must not switch holds on in an incident"
    );
    let lease = held()
        .into_iter()
        .any(|right| right.resource == "leases" && right.name.as_deref() == Some(names::LEASE));
    assert!(lease, "the leader may renew its own Lease");
    for webhook in one(
        &all,
        "MutatingWebhookConfiguration",
        names::WEBHOOK_CONFIGURATION,
    )["webhooks"]
        .as_array()
        .unwrap()
    {
        assert_eq!(
            webhook["clientConfig"]["service"]["name"],
            names::WEBHOOK_SERVICE
        );
        assert_eq!(
            webhook["namespaceSelector"]["matchLabels"][names::ENABLED_LABEL],
            "true"
        );
    }
    let volumes =
        &one(&all, "Deployment", "msars-admission")["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes[0]["secret"]["secretName"], names::WEBHOOK_SECRET);
    assert!(
        volumes[0]["secret"].get("optional").is_none(),
        "an absent optional Secret is found a minute and a half late"
    );
    assert!(
        !volumes.to_string().contains("ca.key"),
        "the authority's key stays with the leader"
    );
}

#[test]
fn the_webhooks_can_neither_block_nor_slow_anybody() {
    let all = base();
    let configuration = one(
        &all,
        "MutatingWebhookConfiguration",
        names::WEBHOOK_CONFIGURATION,
    );
    let webhooks = configuration["webhooks"].as_array().unwrap();
    assert_eq!(webhooks.len(), 2);
    for webhook in webhooks {
        assert_eq!(webhook["failurePolicy"], "Ignore");
        assert_eq!(webhook["timeoutSeconds"], 1);
        assert_eq!(webhook["sideEffects"], "None");
        assert!(
            webhook["clientConfig"].get("caBundle").is_none(),
            "the leader writes it; applying again must not take it away"
        );
        assert!(!webhook["rules"].to_string().contains('*'), "narrow rules");
    }
}

#[test]
fn both_programs_run_twice_restricted_and_without_a_cpu_limit() {
    let all = base();
    for name in ["msars-autoscaler", "msars-admission"] {
        let spec = &one(&all, "Deployment", name)["spec"];
        assert_eq!(spec["replicas"], 2);
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], name);
        assert_eq!(pod["priorityClassName"], "system-cluster-critical");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(
            container["securityContext"]["capabilities"]["drop"][0],
            "ALL"
        );
        assert!(container["resources"]["limits"].get("cpu").is_none());
        for probe in ["livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "admin");
        }
        let budget = one(&all, "PodDisruptionBudget", name);
        assert_eq!(budget["spec"]["minAvailable"], 1);
        assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
        one(&all, "NetworkPolicy", name);
    }
}

/// Where a priority is kept for `kube-system` (GKE), a quota that names it lets other namespaces have it.
#[test]
fn a_quota_names_the_priority_and_has_room_for_every_pod() {
    let all = base();
    let spec = &one(&all, "ResourceQuota", "msars-critical")["spec"];
    let scopes = &spec["scopeSelector"]["matchExpressions"];
    assert_eq!(scopes.as_array().unwrap().len(), 1);
    assert_eq!(scopes[0]["scopeName"], "PriorityClass");
    assert_eq!(scopes[0]["operator"], "In");
    assert_eq!(scopes[0]["values"][0], "system-cluster-critical");
    let hard = spec["hard"].as_object().unwrap();
    assert_eq!(hard.len(), 1, "nothing but pods is bounded");
    let pods: u64 = hard["pods"].as_str().unwrap().parse().unwrap();
    // Old and new pods of both programs, one more each while they roll, and the drain.
    assert!(pods > 2 * (2 + 2 + 1), "{pods} pods");
}

/// Values of a flag by its name, in a container's arguments.
fn flag<'a>(container: &'a Value, name: &str) -> &'a str {
    let args = container["args"].as_array().unwrap().iter();
    let mut values = args.filter_map(|arg| arg.as_str()?.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn decisions_are_logged_where_there_is_room_for_both_files() {
    let all = base();
    let pod = &one(&all, "Deployment", "msars-autoscaler")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mount = &container["volumeMounts"][0];
    let folder = mount["mountPath"].as_str().unwrap();
    assert!(flag(container, "--decisions").starts_with(&format!("{folder}/")));
    let volume = &pod["volumes"][0];
    assert_eq!(volume["name"], mount["name"]);
    let limit = volume["emptyDir"]["sizeLimit"].as_str().unwrap();
    let limit: u64 = limit.strip_suffix("Mi").unwrap().parse().unwrap();
    let file: u64 = flag(container, "--decisions-mib").parse().unwrap();
    assert!(limit >= 2 * file + 16, "{limit} Mi for two files of {file}");
}

#[test]
fn the_drain_runs_as_the_autoscaler_does() {
    let all = base();
    let deployment = &one(&all, "Deployment", "msars-autoscaler")["spec"]["template"];
    let all = documents(&folder("drain")).unwrap();
    let job = one(&all, "Job", "msars-drain");
    assert_eq!(job["metadata"]["namespace"], names::SYSTEM_NAMESPACE);
    let template = &job["spec"]["template"];
    let (theirs, ours) = (&deployment["spec"], &template["spec"]);
    for part in ["serviceAccountName", "priorityClassName", "securityContext"] {
        assert_eq!(ours[part], theirs[part], "{part}");
    }
    let (theirs, ours) = (&theirs["containers"][0], &ours["containers"][0]);
    // Prometheus and the preset stand in `envFrom`.
    for part in ["image", "env", "envFrom", "resources", "securityContext"] {
        assert_eq!(ours[part], theirs[part], "{part}");
    }
    assert_eq!(ours["args"][0], "drain");
    let settings = theirs["envFrom"][0]["configMapRef"]["name"].as_str();
    let settings = one(&base(), "ConfigMap", settings.unwrap())["data"].clone();
    assert!(settings["MSARS_PROMETHEUS_URL"].is_string());
    let wait: u64 = flag(ours, "--wait").parse().unwrap();
    // The Lease and the watches have a minute each.
    assert!(job["spec"]["activeDeadlineSeconds"].as_u64().unwrap() >= wait + 180);
    // Neither the Service's nor the disruption budget's.
    assert_ne!(
        template["metadata"]["labels"]["app.kubernetes.io/name"],
        deployment["metadata"]["labels"]["app.kubernetes.io/name"]
    );
}

/// Every alert by name, with its parsed expression and the rule.
fn parsed() -> Vec<(String, Expr, Value)> {
    let parse = |(name, rule): (String, Value)| {
        let expression = promql_parser::parser::parse(rule["expr"].as_str().unwrap());
        let expression = expression.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, expression, rule)
    };
    alerts().unwrap().into_iter().map(parse).collect()
}

#[test]
fn every_alert_parses_and_says_what_to_do() {
    let alerts = parsed();
    assert!(alerts.len() >= 13);
    for (name, _expression, rule) in alerts {
        for annotation in ["summary", "runbook"] {
            assert!(
                rule["annotations"][annotation].as_str().unwrap().len() > 20,
                "{name} has a {annotation}"
            );
        }
    }
}

/// Collects what an expression selects.
#[derive(Default)]
struct Selected(Vec<VectorSelector>);

impl ExprVisitor for Selected {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(range) => self.0.push(range.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// What says that nothing happens must be there while nothing happens; and a series that begins with its first count is
/// compared with its own absence at a time when there was somebody to see it.
#[test]
fn alerts_on_silence_rest_on_what_is_exported_in_silence() {
    let alerts = parsed();
    for (name, metrics, offsets) in [
        ("MsarsAdmissionDown", &["msars_admission_ready"][..], 0),
        (
            "MsarsLeaderIdle",
            &["msars_leader", "msars_ticks_total"][..],
            0,
        ),
        (
            "MsarsAdmissionFailsOpen",
            &["apiserver_admission_webhook_fail_open_count", "up"][..],
            2,
        ),
    ] {
        let (_, expression, _) = alerts.iter().find(|(found, ..)| found == name).unwrap();
        let mut selected = Selected::default();
        walk_expr(&mut selected, expression).unwrap();
        let all = selected.0.iter();
        let found: BTreeSet<&str> = all.clone().filter_map(|one| one.name.as_deref()).collect();
        let wanted: BTreeSet<&str> = metrics.iter().copied().collect();
        assert_eq!(found, wanted, "{name}");
        assert_eq!(
            all.filter(|one| one.offset.is_some()).count(),
            offsets,
            "{name}"
        );
    }
}

#[test]
fn an_alert_names_only_metrics_and_labels_that_a_program_exports() {
    let mut registry = Registry::default();
    let _autoscaler = msars_controller::metrics::Metrics::register(&mut registry);
    let _admission = msars_server::Metrics::register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut checked = 0;
    for (name, expression, _rule) in parsed() {
        let mut selected = Selected::default();
        walk_expr(&mut selected, &expression).unwrap();
        for selector in selected.0 {
            let metric = selector.name.unwrap_or_default();
            if !metric.starts_with("msars_") {
                continue;
            }
            let series: Vec<&&str> = lines
                .iter()
                .filter(|line| line.split(['{', ' ']).next() == Some(metric.as_str()))
                .collect();
            assert!(!series.is_empty(), "{name}: no program exports {metric}");
            for matcher in &selector.matchers.matchers {
                for value in matcher.value.split('|') {
                    let label = format!("{}=\"{value}\"", matcher.name);
                    let found = series.iter().any(|line| line.contains(&label));
                    assert!(found, "{name}: no series of {metric} has {label}");
                }
            }
            checked += 1;
        }
    }
    assert!(checked >= 8);
}
