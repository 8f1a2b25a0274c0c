//! The rooms of the house: only the listed edges exist, and pure rooms stay pure.

#![allow(clippy::unwrap_used, reason = "a test: a panic is its way to fail")]

use std::process::Command;

/// Package (without `msars-`) and the own packages it may depend on, dev-dependencies apart.
const EDGES: &[(&str, &[&str])] = &[
    (
        "admission",
        &[
            "mutate", "server", "client", "ops", "certs", "gate", "api", "domain",
        ],
    ),
    ("mutate", &["gate", "api", "domain"]),
    (
        "server",
        &["mutate", "gate", "api", "client", "ops", "certs"],
    ),
    (
        "autoscaler",
        &[
            "controller",
            "learned",
            "observe",
            "budget",
            "plan",
            "llp",
            "gate",
            "api",
            "client",
            "ops",
            "certs",
            "domain",
        ],
    ),
    ("budget", &["domain"]),
    ("plan", &["domain"]),
    ("sim", &["domain"]),
    ("llp", &["domain", "sim"]),
    ("arena", &["domain", "budget", "plan", "sim"]),
    ("observe", &["domain"]),
    ("loadgen", &["domain"]),
    ("learned", &["domain", "budget", "plan"]),
    (
        "lab",
        &[
            "arena", "learned", "llp", "report", "domain", "budget", "plan", "sim",
        ],
    ),
    (
        "controller",
        &[
            "plan", "budget", "llp", "gate", "domain", "api", "observe", "client", "ops", "certs",
        ],
    ),
    ("domain", &[]),
    ("gate", &["domain", "api"]),
    ("api", &[]),
    ("client", &["domain", "api"]),
    ("ops", &[]),
    ("report", &[]),
    ("testkit", &["domain", "api"]),
    ("xtask", &[]),
    ("certs", &[]),
    ("cluster", &["certs"]),
    ("shop", &[]),
    (
        "demo",
        &[
            "cluster", "shop", "loadgen", "observe", "report", "api", "domain",
        ],
    ),
    (
        "bench",
        &[
            "cluster", "shop", "loadgen", "observe", "report", "api", "domain",
        ],
    ),
    (
        "suite",
        &[
            "cluster", "shop", "loadgen", "observe", "report", "api", "domain", "testkit",
        ],
    ),
];

/// Rooms without async runtime, client, or global random numbers.
const PURE: &[&str] = &[
    "mutate", "budget", "plan", "sim", "llp", "arena", "domain", "gate", "api",
];

/// What a pure room's dependency tree must not reach.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "reqwest",
    "kube-client",
    "kube-runtime",
    "tch",
    "torch-sys",
    "axum",
];

fn cargo(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

fn members() -> Vec<(String, Vec<String>)> {
    let meta: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let own = |name: &str| name.strip_prefix("msars-").map(str::to_owned);
    meta["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let edges = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .filter_map(|dependency| own(dependency["name"].as_str().unwrap()))
                .collect();
            (own(package["name"].as_str().unwrap()).unwrap(), edges)
        })
        .collect()
}

#[test]
fn only_the_listed_edges_exist() {
    let mut wrong = Vec::new();
    for (package, edges) in members() {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package) else {
            wrong.push(format!("{package} is no room of the design"));
            continue;
        };
        for edge in edges {
            if !allowed.contains(&edge.as_str()) {
                wrong.push(format!("{package} → {edge}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_rooms_reach_no_runtime_and_no_client() {
    let mut wrong = Vec::new();
    for (package, _) in members() {
        if !PURE.contains(&package.as_str()) {
            continue;
        }
        let tree = cargo(&[
            "tree",
            "-p",
            &format!("msars-{package}"),
            "-e",
            "normal",
            "--prefix",
            "none",
        ]);
        for line in tree.lines() {
            let name = line.split_whitespace().next().unwrap_or_default();
            if IMPURE.contains(&name) {
                wrong.push(format!("{package} reaches {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
