//! Every right that our manifests give, with what it is for, and rights that nobody of ours may ever have.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// One of our two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The controller.
    Autoscaler,
    /// The webhook.
    Admission,
}

impl Who {
    fn account(self) -> &'static str {
        match self {
            Self::Autoscaler => "msars-autoscaler",
            Self::Admission => "msars-admission",
        }
    }

    /// The program with a user's name.
    pub fn user(name: &str) -> Option<Self> {
        let ours = format!(
            "system:serviceaccount:{}:",
            msars_api::names::SYSTEM_NAMESPACE
        );
        name.strip_prefix(&ours).and_then(Self::named)
    }

    fn named(account: &str) -> Option<Self> {
        [Self::Autoscaler, Self::Admission]
            .into_iter()
            .find(|who| who.account() == account)
    }
}

/// Where a right holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// In every namespace.
    Everywhere,
    /// In our own namespace.
    Own,
    /// In a namespace with the grant of `manifests/namespace`.
    Granted,
}

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Who has it.
    pub who: Who,
    /// Where.
    pub scope: Scope,
    /// API group; empty for the core.
    pub group: String,
    /// Resource, with its subresource after a slash.
    pub resource: String,
    /// The only object that it holds for, if it is bound to one.
    pub name: Option<String>,
    /// The verb.
    pub verb: String,
}

impl Right {
    /// The question to the API server whether this right holds in `namespace`.
    pub fn review(&self, namespace: Option<&str>) -> Value {
        let (resource, subresource) = self
            .resource
            .split_once('/')
            .unwrap_or((&self.resource, ""));
        let system = msars_api::names::SYSTEM_NAMESPACE;
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{system}:{}", self.who.account()),
                "groups": [
                    "system:authenticated",
                    "system:serviceaccounts",
                    format!("system:serviceaccounts:{system}"),
                ],
                "resourceAttributes": {
                    "group": self.group,
                    "resource": resource,
                    "subresource": subresource,
                    "name": self.name.as_deref().unwrap_or_default(),
                    "namespace": namespace.unwrap_or_default(),
                    "verb": self.verb,
                },
            },
        })
    }
}

/// A row of rights with what they are for.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    who: Who,
    scope: Scope,
    group: &'static str,
    resources: &'static str,
    name: &'static str,
    verbs: &'static str,
    /// What it is for.
    pub why: &'static str,
}

const fn row(
    who: Who,
    scope: Scope,
    group: &'static str,
    resources: &'static str,
    name: &'static str,
    verbs: &'static str,
    why: &'static str,
) -> Held {
    Held {
        who,
        scope,
        group,
        resources,
        name,
        verbs,
        why,
    }
}

use Scope::{Everywhere, Granted, Own};
use Who::{Admission, Autoscaler};

/// Of what is copied: nothing of it is read one by one.
const READ: &str = "list watch";
const OURS: &str = "servicelevelobjectives loadlatencyprofiles sloautoscalers";
const OUR_STATUS: &str =
    "servicelevelobjectives/status loadlatencyprofiles/status sloautoscalers/status";

/// All that is given. A verb in the manifests without a row here fails a test, and so does a row without a verb.
#[rustfmt::skip]
pub const HELD: &[Held] = &[
    row(Autoscaler, Everywhere, "apps", "deployments replicasets", "", READ, "revisions, and which of them are known"),
    row(Autoscaler, Everywhere, "", "pods nodes", "", READ, "sizes, readiness, where the kubelet listens, and how large a pod can be"),
    row(Autoscaler, Everywhere, "", "pods", "", "get", "whether a copy is ready, or was taken away"),
    row(Autoscaler, Everywhere, "", "namespaces", "", READ, "whether the webhooks reach a namespace"),
    row(Autoscaler, Everywhere, "", "resourcequotas limitranges", "", READ, "what would be refused is not tried"),
    row(Autoscaler, Everywhere, "autoscaling", "horizontalpodautoscalers", "", READ, "hands off what another autoscaler owns"),
    row(Autoscaler, Everywhere, "autoscaling.k8s.io", "verticalpodautoscalers", "", "list watch", "hands off what one that acts sizes"),
    row(Autoscaler, Everywhere, "keda.sh", "scaledobjects", "", "list watch", "hands off what KEDA scales, also while it is paused"),
    row(Autoscaler, Everywhere, "", "nodes/metrics", "", "get", "CPU counters of shadow pods"),
    row(Autoscaler, Everywhere, "msars.io", OURS, "", "get list watch create", "our own kinds"),
    row(Autoscaler, Everywhere, "msars.io", "servicelevelobjectives sloautoscalers", "", "update", "follows annotations that change"),
    row(Autoscaler, Everywhere, "msars.io", "loadlatencyprofiles", "", "delete", "profiles that no revision needs"),
    row(Autoscaler, Everywhere, "msars.io", OUR_STATUS, "", "update", "what was found and decided"),
    row(Autoscaler, Everywhere, "events.k8s.io", "events", "", "create patch", "what the user must know"),
    row(Autoscaler, Everywhere, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "msars-admission", "get patch", "the authorities of our webhook"),
    row(Autoscaler, Own, "coordination.k8s.io", "leases", "", "get create", "the election"),
    row(Autoscaler, Own, "coordination.k8s.io", "leases", "msars-autoscaler", "update", "keeping and giving back the lead"),
    row(Autoscaler, Own, "", "configmaps", "", READ, "the switches"),
    row(Autoscaler, Own, "", "secrets", "", "create", "the first serving certificate"),
    row(Autoscaler, Own, "", "secrets", "msars-admission-tls", "get update", "its renewal"),
    row(Autoscaler, Granted, "apps", "deployments", "", "patch", "holds and releases"),
    row(Autoscaler, Granted, "apps", "deployments/scale", "", "get update", "replicas"),
    row(Autoscaler, Granted, "", "pods", "", "create delete", "shadow pods and their drivers"),
    row(Autoscaler, Granted, "", "pods/resize", "", "patch", "sizes, in place"),
    row(Autoscaler, Granted, "autoscaling", "horizontalpodautoscalers", "", "create delete", "takes over where msars.io/adopt says so, and hands back"),
    row(Admission, Everywhere, "apps", "deployments replicasets", "", READ, "known revisions"),
    row(Admission, Everywhere, "", "persistentvolumeclaims", "", READ, "whether a copy of a template is safe to start"),
    row(Admission, Everywhere, "networking.k8s.io", "networkpolicies", "", READ, "whether a copy could reach its callees"),
    row(Admission, Everywhere, "msars.io", OURS, "", READ, "profiles, budgets, and sizes at birth"),
    row(Admission, Everywhere, "authorization.k8s.io", "selfsubjectaccessreviews", "", "create", "whether a namespace grants the release of a hold"),
    row(Admission, Everywhere, "events.k8s.io", "events", "", "create patch", "a release past the deadline"),
    row(Admission, Own, "coordination.k8s.io", "leases", "", READ, "whether a controller lives"),
    row(Admission, Own, "", "configmaps", "", READ, "the switches"),
    row(Admission, Granted, "apps", "deployments", "", "patch", "releases a hold past its deadline"),
];

/// [`HELD`], one right at a time.
pub fn held() -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    for row in HELD {
        for resource in row.resources.split(' ') {
            for verb in row.verbs.split(' ') {
                all.insert(Right {
                    who: row.who,
                    scope: row.scope,
                    group: row.group.into(),
                    resource: resource.into(),
                    name: (!row.name.is_empty()).then(|| row.name.into()),
                    verb: verb.into(),
                });
            }
        }
    }
    all
}

/// A right that must not be held, with the namespace of the question: the granted one, one without the grant, our own.
#[derive(Debug, Clone, Copy)]
pub struct Denied {
    /// Who asks.
    pub who: Who,
    /// In which kind of namespace; `Everywhere` asks in one without a grant.
    pub scope: Scope,
    /// API group, resource, name and verb.
    what: (&'static str, &'static str, &'static str, &'static str),
}

impl Denied {
    /// As a right to ask for.
    pub fn right(&self) -> Right {
        let (group, resource, name, verb) = self.what;
        Right {
            who: self.who,
            scope: self.scope,
            group: group.into(),
            resource: resource.into(),
            name: (!name.is_empty()).then(|| name.into()),
            verb: verb.into(),
        }
    }
}

const fn no(
    who: Who,
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    name: &'static str,
    verb: &'static str,
) -> Denied {
    Denied {
        who,
        scope,
        what: (group, resource, name, verb),
    }
}

/// What is never given.
#[rustfmt::skip]
pub const DENIED: &[Denied] = &[
    // Without the grant of a namespace nothing of a user's is written.
    no(Autoscaler, Everywhere, "apps", "deployments", "", "patch"),
    no(Autoscaler, Everywhere, "apps", "deployments/scale", "", "update"),
    no(Autoscaler, Everywhere, "", "pods", "", "create"),
    no(Autoscaler, Everywhere, "", "pods", "", "delete"),
    no(Autoscaler, Everywhere, "", "pods/resize", "", "patch"),
    no(Autoscaler, Everywhere, "autoscaling", "horizontalpodautoscalers", "", "create"),
    no(Autoscaler, Everywhere, "autoscaling", "horizontalpodautoscalers", "", "delete"),
    no(Admission, Everywhere, "apps", "deployments", "", "patch"),
    no(Admission, Everywhere, "authorization.k8s.io", "subjectaccessreviews", "", "create"),
    // With it, only what is needed.
    no(Autoscaler, Granted, "apps", "deployments", "", "update"),
    no(Autoscaler, Granted, "apps", "deployments", "", "create"),
    no(Autoscaler, Granted, "apps", "deployments", "", "delete"),
    no(Autoscaler, Granted, "apps", "replicasets", "", "patch"),
    no(Autoscaler, Granted, "autoscaling", "horizontalpodautoscalers", "", "update"),
    no(Autoscaler, Granted, "autoscaling", "horizontalpodautoscalers", "", "patch"),
    no(Admission, Granted, "autoscaling", "horizontalpodautoscalers", "", "delete"),
    no(Autoscaler, Granted, "", "pods/exec", "", "create"),
    no(Autoscaler, Granted, "", "pods/eviction", "", "create"),
    no(Autoscaler, Granted, "", "pods/proxy", "", "get"),
    no(Autoscaler, Granted, "", "secrets", "", "get"),
    no(Autoscaler, Granted, "", "configmaps", "", "get"),
    no(Admission, Granted, "apps", "deployments", "", "update"),
    no(Admission, Granted, "apps", "deployments/scale", "", "update"),
    no(Admission, Granted, "", "pods", "", "create"),
    no(Admission, Granted, "", "pods/resize", "", "patch"),
    no(Admission, Granted, "msars.io", "sloautoscalers", "", "update"),
    // The webhook judges whether a copy may be started.
    no(Autoscaler, Everywhere, "", "services", "", "list"),
    no(Autoscaler, Everywhere, "", "persistentvolumeclaims", "", "list"),
    no(Autoscaler, Everywhere, "networking.k8s.io", "networkpolicies", "", "list"),
    // Nodes and the cluster as a whole.
    no(Autoscaler, Everywhere, "", "nodes/proxy", "", "get"),
    no(Autoscaler, Everywhere, "", "nodes", "", "patch"),
    no(Admission, Everywhere, "", "nodes/metrics", "", "get"),
    no(Autoscaler, Everywhere, "", "namespaces", "", "patch"),
    no(Autoscaler, Everywhere, "rbac.authorization.k8s.io", "clusterroles", "", "bind"),
    no(Autoscaler, Everywhere, "rbac.authorization.k8s.io", "rolebindings", "", "create"),
    no(Autoscaler, Everywhere, "apiextensions.k8s.io", "customresourcedefinitions", "", "patch"),
    // No configuration but our own, and of ours no other verb.
    no(Autoscaler, Everywhere, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "another", "patch"),
    no(Autoscaler, Everywhere, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "msars-admission", "delete"),
    no(Autoscaler, Everywhere, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "create"),
    no(Admission, Everywhere, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "msars-admission", "patch"),
    // In our own namespace.
    no(Autoscaler, Own, "", "secrets", "another", "get"),
    no(Autoscaler, Own, "", "secrets", "", "list"),
    no(Autoscaler, Own, "", "configmaps", "msars-switches", "update"),
    no(Autoscaler, Own, "coordination.k8s.io", "leases", "another", "update"),
    no(Autoscaler, Own, "coordination.k8s.io", "leases", "", "list"),
    no(Autoscaler, Own, "apps", "deployments", "", "patch"),
    no(Admission, Own, "", "secrets", "msars-admission-tls", "get"),
    no(Admission, Own, "coordination.k8s.io", "leases", "msars-autoscaler", "update"),
];

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().cloned().unwrap_or_default();
    list.iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The rights that `documents` give: `Granted` are those of bindings without a namespace of their own.
pub fn given(documents: &[Value]) -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    let kind = |document: &Value| document["kind"].as_str().unwrap_or_default().to_owned();
    for binding in documents
        .iter()
        .filter(|document| kind(document).ends_with("Binding"))
    {
        let namespace = &binding["metadata"]["namespace"];
        let scope = match kind(binding).as_str() {
            "ClusterRoleBinding" => Everywhere,
            _ if namespace.is_string() => Own,
            _ => Granted,
        };
        let role = documents.iter().find(|document| {
            document["kind"] == binding["roleRef"]["kind"]
                && document["metadata"]["name"] == binding["roleRef"]["name"]
                && (kind(document) == "ClusterRole"
                    || document["metadata"]["namespace"] == *namespace)
        });
        let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
        for who in subjects
            .iter()
            .filter_map(|subject| Who::named(subject["name"].as_str()?))
        {
            for rule in role
                .and_then(|role| role["rules"].as_array())
                .into_iter()
                .flatten()
            {
                all.extend(of_rule(who, scope, rule));
            }
        }
    }
    all
}

fn of_rule(who: Who, scope: Scope, rule: &Value) -> Vec<Right> {
    let mut names: Vec<Option<String>> = texts(&rule["resourceNames"])
        .into_iter()
        .map(Some)
        .collect();
    if names.is_empty() {
        names.push(None);
    }
    let mut all = Vec::new();
    for group in texts(&rule["apiGroups"]) {
        for resource in texts(&rule["resources"]) {
            for name in &names {
                for verb in texts(&rule["verbs"]) {
                    all.push(Right {
                        who,
                        scope,
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb,
                    });
                }
            }
        }
    }
    all
}
