//! When a split is made anew.

use msars_api::crd::{ChainSplit, ServiceLevelObjectiveStatus};
use msars_budget::TailFactor;
use msars_domain::{Call, Chain, EdgeKind, MilliCpu, Percentile, Rate};

use super::super::Members;
use super::super::assemble::Class;
use super::super::drift::Live;
use super::super::memory::Memory;
use super::super::solve::{Basis, due, members};
use super::*;

/// A stored split that was made at a time, with a tail factor.
fn split(at: &str, tail: f64) -> Value {
    json!({"name": "front-end", "method": "dp", "reason": "", "tailFactor": tail, "feasible": true, "tookMs": 1.0,
        "at": at, "services": []})
}

fn call(service: &str, visits: f64, children: Vec<Call>) -> Call {
    Call {
        service: service.into(),
        visits,
        max_visits: 2,
        kind: EdgeKind::Sequential,
        children,
    }
}

/// What a split would rest on.
struct Case {
    application: Application,
    shop: Shop,
    memory: Memory,
}

impl Case {
    /// The front end calls the catalogue 1.5 times; both are profiled and have 200m.
    fn new() -> Self {
        let mut shop = Shop::default();
        for name in ["front-end", "catalogue"] {
            shop.add(&deployment(name));
            let force = InForce {
                size: MilliCpu(200),
                pinned: None,
            };
            shop.sizes.insert(key(name), force);
        }
        let profiles: Vec<_> = shop
            .workloads
            .values()
            .map(|workload| profile(&workload.key.name, &workload.revision, 0))
            .collect();
        shop.learn(&profiles);
        let application = application("front-end", &["front-end", "catalogue"]);
        let catalogue = call("catalogue", 1.5, vec![]);
        let class = Class {
            chain: Chain {
                name: "front-end".into(),
                root: call("front-end", 1.0, vec![catalogue]),
                percentile: application.percentile,
            },
            rate: Rate::new(40.0).unwrap(),
            objective: application.objective,
            tail: TailFactor::ONE,
        };
        let memory = Memory {
            classes: vec![class],
            ..Memory::default()
        };
        Self {
            application,
            shop,
            memory,
        }
    }

    fn basis(&mut self, second: i64) -> Basis {
        self.memory.ask(&self.application);
        let around = self.shop.around();
        let current = members(&self.application, &around, &self.memory, false);
        let ahead = members(&self.application, &around, &self.memory, true);
        self.of((&current, &ahead), second)
    }

    fn of(&self, both: (&Members<'_>, &Members<'_>), second: i64) -> Basis {
        let at = Timestamp::from_second(second).unwrap();
        let (classes, sizes) = (&self.memory.classes, &self.shop.sizes);
        Basis::of(&self.application, classes, both, sizes, at)
    }

    /// Another image of the catalogue, with the profiles of both.
    fn release(&mut self, image: &str) {
        let mut catalogue = deployment("catalogue");
        catalogue["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        self.shop.add(&catalogue);
        let workloads = self.shop.workloads.values();
        let profiles: Vec<_> = workloads
            .map(|workload| profile(&workload.key.name, &workload.revision, 0))
            .collect();
        self.shop.learn(&profiles);
    }

    /// Stores a status of these splits; what they are as read.
    fn store(&mut self, splits: &[Value]) -> Vec<ChainSplit> {
        let mut slo = (*self.application.stored).clone();
        let status = json!({ "chains": splits });
        let status: ServiceLevelObjectiveStatus = serde_json::from_value(status).unwrap();
        let chains = status.chains.clone();
        slo.status = Some(status);
        self.application.stored = Arc::new(slo);
        chains
    }

    fn class(&mut self) -> &mut Class {
        &mut self.memory.classes[0]
    }

    fn catalogue(&mut self) -> &mut Call {
        &mut self.class().chain.root.children[0]
    }

    fn annotate(&mut self, name: &str, value: &str) {
        let mut catalogue = deployment("catalogue");
        catalogue["metadata"]["annotations"][name] = json!(value);
        self.shop.add(&catalogue);
    }

    fn size(&mut self, milli: u32) {
        let force = self.shop.sizes.get_mut(&key("catalogue")).unwrap();
        force.size = MilliCpu(milli);
    }

    /// Requests per second of the catalogue, which has 60 of its chain.
    fn elsewhere(&mut self, rate: f64) {
        let rate = Rate::new(rate).unwrap();
        self.memory.elsewhere.insert("catalogue".into(), rate);
    }

    fn work(&mut self, ratio: f64) {
        let revision = self.shop.workloads[&key("catalogue")].revision.clone();
        let live = Live {
            profiled: revision.clone(),
            revision,
            work_ms: 3.0 * ratio,
            profile_ms: 3.0,
        };
        self.memory.live.insert("catalogue".into(), live);
    }
}

/// What changes, and what at once means: a second later, or when the dwell of 30 s is over.
type Row = (&'static str, fn(&mut Case), [bool; 2]);

const AT_ONCE: [bool; 2] = [true, true];
const AFTER_A_WHILE: [bool; 2] = [false, true];
const NEVER: [bool; 2] = [false, false];

#[test]
fn what_is_asked_and_what_runs_counts_at_once_and_what_is_measured_after_a_while() {
    let table: [Row; 21] = [
        ("nothing", |_| {}, NEVER),
        (
            "latency",
            |case| case.application.objective = ms(200.0),
            AT_ONCE,
        ),
        (
            "percentile",
            |case| case.application.percentile = Percentile::new(0.95).unwrap(),
            AT_ONCE,
        ),
        (
            "another callee",
            |case| case.catalogue().children.push(call("db", 1.0, vec![])),
            AT_ONCE,
        ),
        // A rare call happens not to be seen in one window.
        (
            "no callee",
            |case| case.class().chain.root.children.clear(),
            AFTER_A_WHILE,
        ),
        (
            "a parallel call",
            |case| case.catalogue().kind = EdgeKind::Parallel,
            AT_ONCE,
        ),
        (
            "fewer replicas",
            |case| case.annotate("msars.io/max-replicas", "3"),
            AT_ONCE,
        ),
        (
            "more replicas",
            |case| case.annotate("msars.io/min-replicas", "2"),
            AT_ONCE,
        ),
        (
            "sizes",
            |case| case.annotate("msars.io/cpu", "100m..300m"),
            AT_ONCE,
        ),
        (
            "a revision",
            |case| {
                let mut catalogue = deployment("catalogue");
                catalogue["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop:v2");
                case.shop.add(&catalogue);
            },
            AT_ONCE,
        ),
        ("no profile", |case| case.shop.learn(&[]), AT_ONCE),
        (
            "a little more load",
            |case| case.class().rate = Rate::new(45.0).unwrap(),
            NEVER,
        ),
        (
            "load",
            |case| case.class().rate = Rate::new(60.0).unwrap(),
            AFTER_A_WHILE,
        ),
        (
            "a little load from elsewhere",
            |case| case.elsewhere(12.0),
            NEVER,
        ),
        (
            "load from elsewhere",
            |case| case.elsewhere(30.0),
            AFTER_A_WHILE,
        ),
        (
            "tail factor",
            |case| case.class().tail = TailFactor::new(0.5).unwrap(),
            AFTER_A_WHILE,
        ),
        (
            "a few more visits",
            |case| case.catalogue().visits = 1.8,
            NEVER,
        ),
        (
            "visits",
            |case| case.catalogue().visits = 3.0,
            AFTER_A_WHILE,
        ),
        ("work", |case| case.work(1.5), AFTER_A_WHILE),
        ("a little more CPU", |case| case.size(240), NEVER),
        ("CPU, whoever gave it", |case| case.size(400), AFTER_A_WHILE),
    ];
    for (what, change, wanted) in table {
        let mut case = Case::new();
        let last = case.basis(0);
        change(&mut case);
        let found = [1, 31].map(|second| due(Some(&last), &case.basis(second)));
        assert_eq!(found, wanted, "{what}");
    }
    assert!(due(None, &Case::new().basis(0)));
}

#[test]
fn a_split_for_what_waits_is_made_anew_as_its_hold_ends() {
    let (old, mut new) = (Case::new(), Case::new());
    new.release("shop:v2");
    let of = |case: &Case| {
        let around = case.shop.around();
        let names = members(&case.application, &around, &case.memory, false);
        let revision = |name: &str| names[name].revision.to_owned();
        revision("catalogue")
    };
    assert_ne!(of(&old), of(&new));
    let (before, after) = (old.shop.around(), new.shop.around());
    let runs = members(&old.application, &before, &old.memory, false);
    let waits = members(&new.application, &after, &new.memory, true);
    let held = new.of((&runs, &waits), 0);
    assert!(!due(Some(&held), &new.of((&runs, &waits), 1)), "still held");
    assert!(due(Some(&held), &new.of((&waits, &waits), 1)), "released");
}

#[test]
fn a_size_counts_from_when_it_is_known() {
    let mut case = Case::new();
    let known = case.basis(0);
    case.shop.sizes.clear();
    let unknown = case.basis(60);
    assert!(!due(Some(&known), &unknown));
    assert!(due(Some(&unknown), &Case::new().basis(91)));
}

#[test]
fn what_is_declared_counts_exactly() {
    let mut case = Case::new();
    let edge = json!({"caller": "front-end", "callee": "catalogue", "visits": 1.5});
    let chain = json!({"name": "front-end", "share": 1.0, "calls": [edge]});
    case.application.chains = vec![serde_json::from_value(chain).unwrap()];
    let last = case.basis(0);
    assert!(!due(Some(&last), &case.basis(1)));
    case.catalogue().visits = 1.6;
    assert!(due(Some(&last), &case.basis(1)));
    case.class().chain.root.children.clear();
    assert!(due(Some(&last), &case.basis(1)));
}

#[test]
fn a_split_that_somebody_wrote_over_is_made_anew() {
    let (ours, late) = ("2026-03-01T12:00:05Z", "2026-03-01T12:00:03Z");
    for (what, then, wanted) in [
        ("as it was written", vec![split(ours, 0.5)], NEVER),
        ("rounded", vec![split(ours, 0.501)], NEVER),
        ("a late leader's", vec![split(late, 0.5)], AFTER_A_WHILE),
        ("none", vec![], AFTER_A_WHILE),
    ] {
        let mut case = Case::new();
        let written = case.store(&[split(ours, 0.5)]);
        // The copy shows the one before until the watch tells of the write.
        case.store(&[split("2026-03-01T11:00:00Z", 0.5)]);
        let last = case.basis(0).stored_as(&written);
        case.store(&then);
        let found = [1, 31].map(|second| due(Some(&last), &case.basis(second)));
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn who_led_before_splits_anew_by_what_was_measured() {
    let mut case = Case::new();
    case.memory.basis = Some(case.basis(100));
    case.memory.give_up();
    assert!(case.memory.basis.is_none() && case.memory.standing.is_none());
    assert_eq!(case.memory.classes.len(), 1);
}
