//! The objects that run the shop on a node of two CPUs.

use serde_json::{Map, Value, json};

use crate::mix::profile_request;
use crate::role::{ROLES, Role, Version, image};

/// What differs from one install to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the shop runs.
    pub namespace: String,
    /// Version of every role.
    pub version: Version,
    /// `msars.io/slo` of the front end.
    pub slo: String,
    /// `msars.io/mode` of every role.
    pub mode: String,
    /// `msars.io/gate` of every role.
    pub gate: String,
    /// `msars.io/cpu` of every role, such as `10m..2`; the product's own bounds when none.
    pub cpu: Option<String>,
    /// Roles export self time.
    pub self_time: bool,
    /// Roles export their process's CPU time.
    pub process_cpu: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: "shop".to_owned(),
            version: Version::V1,
            slo: "p99<400ms".to_owned(),
            mode: "auto".to_owned(),
            gate: "hold".to_owned(),
            cpu: None,
            self_time: false,
            process_cpu: false,
        }
    }
}

/// CPU in millicores and replicas of one Deployment.
struct Sizing {
    request: u32,
    limit: Option<u32>,
    replicas: u32,
}

const fn sized(request: u32, limit: u32, replicas: u32) -> Sizing {
    Sizing {
        request,
        limit: Some(limit),
        replicas,
    }
}

/// CPU request of the sidecar, millicores.
const SIDECAR_REQUEST: u32 = 10;
/// CPU limit of the sidecar, millicores.
const SIDECAR_LIMIT: u32 = 50;
/// The role with a container beside its own.
const WITH_SIDECAR: Role = Role::Orders;

/// Carts has no CPU limit, payment is Guaranteed, orders has a sidecar.
fn sizing(role: Role) -> Sizing {
    match role {
        Role::FrontEnd => sized(60, 300, 2),
        Role::Catalogue => sized(100, 200, 2),
        Role::Carts => Sizing {
            request: 50,
            limit: None,
            replicas: 1,
        },
        Role::Orders => sized(60, 300, 1),
        Role::User => sized(60, 200, 1),
        Role::Payment => sized(60, 60, 1),
        Role::CatalogueDb => sized(50, 200, 1),
        Role::Shipping | Role::CartsDb | Role::UserDb | Role::OrdersDb => sized(40, 200, 1),
        Role::QueueMaster | Role::Rabbitmq | Role::SessionDb | Role::Sidecar => sized(30, 150, 1),
    }
}

/// Sum of all CPU requests with the replicas of the manifests, millicores.
pub fn requests_milli() -> u32 {
    let own: u32 = ROLES
        .into_iter()
        .map(sizing)
        .map(|s| s.request * s.replicas)
        .sum();
    own + SIDECAR_REQUEST * sizing(WITH_SIDECAR).replicas
}

fn resources(role: Role) -> Value {
    let Sizing { request, limit, .. } = sizing(role);
    let guaranteed = limit == Some(request);
    let mut limits = json!({"memory": "64Mi"});
    if let Some(limit) = limit {
        limits["cpu"] = json!(format!("{limit}m"));
    }
    let memory = if guaranteed { "64Mi" } else { "24Mi" };
    json!({"requests": {"cpu": format!("{request}m"), "memory": memory}, "limits": limits})
}

fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

fn sidecar() -> Value {
    json!({
        "name": "sidecar",
        "image": image(Role::Sidecar, Version::V1).reference,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve", "--listen", "0.0.0.0:8081", "--workers", "1"],
        "resources": {
            "requests": {"cpu": format!("{SIDECAR_REQUEST}m"), "memory": "16Mi"},
            "limits": {"cpu": format!("{SIDECAR_LIMIT}m"), "memory": "32Mi"},
        },
        "securityContext": restricted(),
    })
}

fn environment(options: &Options) -> Vec<Value> {
    let flag = |name: &str| json!({"name": name, "value": "1"});
    let mut env = Vec::new();
    if options.self_time {
        env.push(flag("SHOP_SELF_TIME"));
    }
    if options.process_cpu {
        env.push(flag("SHOP_PROCESS_CPU"));
    }
    env
}

fn containers(role: Role, options: &Options) -> Vec<Value> {
    // Role and version are the image's, so that `kubectl set image` changes what a pod does.
    let mut app = json!({
        "name": "app",
        "image": image(role, options.version).reference,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 1,
            "failureThreshold": 2,
        },
        "resources": resources(role),
        "securityContext": restricted(),
    });
    let env = environment(options);
    if !env.is_empty() {
        app["env"] = Value::Array(env);
    }
    let mut containers = vec![app];
    if role == WITH_SIDECAR {
        containers.push(sidecar());
    }
    containers
}

fn annotations(role: Role, options: &Options) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: &str| map.insert(format!("msars.io/{name}"), json!(value));
    put("mode", &options.mode);
    put("gate", &options.gate);
    put("application", "shop");
    if let Some(cpu) = &options.cpu {
        put("cpu", cpu);
    }
    if role == Role::FrontEnd {
        put("slo", &options.slo);
    }
    put("profile-request", &profile_request(role));
    Value::Object(map)
}

/// The Deployment of a role.
pub fn deployment(role: Role, options: &Options) -> Value {
    let labels = json!({"app": role});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": role,
            "namespace": options.namespace,
            "labels": labels,
            "annotations": annotations(role, options),
        },
        "spec": {
            "replicas": sizing(role).replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": "8080",
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": {
                    "serviceAccountName": "shop",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 20,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": containers(role, options),
                },
            },
        },
    })
}

/// The Service of a role, port 80.
pub fn service(role: Role, options: &Options) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": role, "namespace": options.namespace, "labels": {"app": role}},
        "spec": {
            "selector": {"app": role},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    })
}

/// The namespace, in reach of the webhooks and closed to pods that are not restricted.
pub fn namespace(options: &Options) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": options.namespace,
            "labels": {
                "msars.io/enabled": "true",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    })
}

/// All objects as one `List`, in an order that can be applied as it is.
pub fn manifests(options: &Options) -> Value {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "shop", "namespace": options.namespace},
        "automountServiceAccountToken": false,
    });
    let mut items = vec![namespace(options), account];
    items.extend(ROLES.into_iter().map(|role| service(role, options)));
    items.extend(ROLES.into_iter().map(|role| deployment(role, options)));
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
