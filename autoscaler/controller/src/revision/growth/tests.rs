#![allow(clippy::too_many_lines, reason = "tables: there are many rows")]

use msars_domain::{CpuSize, MilliCpu, ObjectKey, Unknown};
use msars_plan::{Numbers, State};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

fn ms(value: f64) -> Millis {
    Millis::new(value).unwrap()
}

fn fleet(replicas: u32, milli: u32) -> Fleet {
    Fleet {
        replicas,
        size: MilliCpu(milli),
    }
}

/// A Ready pod, ten seconds old.
fn pod(milli: u32) -> PodState {
    let size = CpuSize {
        request: MilliCpu(milli),
        limit: Some(MilliCpu(milli)),
    };
    PodState {
        name: "p".into(),
        uid: "u".into(),
        revision: "r1".into(),
        ready: true,
        born: Timestamp::from_second(990).unwrap(),
        asked: size,
        actual: size,
        resize: Resize::None,
        foreign: false,
        starting: false,
        unschedulable: false,
    }
}

/// A load of 100 requests/s needs 115 with headroom, a peak that is over more; `wanted` carries so many once all its pods
/// serve.
fn decision(reason: Reason, wanted: Fleet, carries: f64) -> Decision {
    Decision {
        workload: ObjectKey::new("shop", "carts"),
        current: fleet(2, 200),
        proposed: wanted,
        wanted,
        actions: Vec::new(),
        headroom: msars_domain::Headroom::default(),
        reason,
        guards: Vec::new(),
        numbers: Numbers {
            load: Some(100.0),
            asks: Some(115.0),
            peak: Some(300.0),
            need: Some(345.0),
            budget: Some(ms(40.0)),
            carries_now: Some(60.0),
            carries_then: Some(carries),
            each_now: Some(30.0),
            each_then: Some(carries / f64::from(wanted.replicas)),
            requested: None,
        },
        conditions: Vec::new(),
        state: State::default(),
    }
}

/// The service carts with a budget of 40 ms; one tick decided for that.
struct Case {
    budget: Option<Millis>,
    rests_on: Option<Millis>,
    acts: bool,
    decision: Decision,
    pods: Vec<PodState>,
    refused: Option<&'static str>,
}

impl Case {
    /// Two pods of 200m, and three of 300m are wanted.
    fn grows() -> Self {
        Self {
            budget: Some(ms(40.0)),
            rests_on: Some(ms(40.0)),
            acts: true,
            decision: decision(Reason::LoadRose, fleet(3, 300), 150.0),
            pods: vec![pod(200), pod(200)],
            refused: None,
        }
    }

    fn growth(&self) -> Growth {
        let planned = Planned {
            budget: self.rests_on,
            acts: self.acts,
            tolerance: 0.1,
            decision: &self.decision,
        };
        let service = Service {
            budget: self.budget,
            plan: Plan::Made(planned),
            pods: &self.pods,
            refused: self.refused,
        };
        growth(&service, now())
    }
}

fn growing(ready: u32) -> Growth {
    Growth::Growing {
        ready,
        wanted: fleet(3, 300),
    }
}

fn of_pods(pods: u32, fault: Fault) -> Growth {
    Growth::Stuck(Obstacle::Pods(pods, fault))
}

#[test]
fn a_release_waits_for_what_must_grow_and_can() {
    type Row = (&'static str, fn(&mut Case), Growth);
    let rival = || Reason::Rival {
        kind: "HorizontalPodAutoscaler".into(),
        name: "carts".into(),
    };
    let quota = || Guard::Quota {
        wanted: fleet(4, 300),
    };
    let said = |reason| Growth::Stuck(Obstacle::Decision(reason));
    let rows: Vec<Row> = vec![
        ("it grows: nothing is there yet", |_| {}, growing(0)),
        (
            "resized, and the third pod is not there yet",
            |c| c.pods = vec![pod(300), pod(300)],
            growing(2),
        ),
        (
            "the third pod starts",
            |c| {
                c.pods = vec![pod(300); 3];
                c.pods[2].ready = false;
            },
            growing(2),
        ),
        ("all there", |c| c.pods = vec![pod(300); 3], Growth::Enough),
        (
            "the runtime rounds a size",
            |c| {
                c.pods = vec![pod(300); 3];
                c.pods[0].actual.limit = Some(MilliCpu(290));
            },
            Growth::Enough,
        ),
        (
            "nothing must grow: the pods that are there carry the load",
            |c| c.decision = decision(Reason::Fits, fleet(2, 200), 116.0),
            Growth::Enough,
        ),
        (
            "nothing must grow, and a spare pod that is not Ready is not waited for",
            |c| {
                c.decision = decision(Reason::Fits, fleet(3, 200), 180.0);
                c.pods = vec![pod(200); 3];
                c.pods[0].ready = false;
            },
            Growth::Enough,
        ),
        (
            "it grows on its way to a cheaper shape, and has enough",
            |c| {
                c.decision.reason = Reason::Reshape;
                c.decision.numbers.each_now = Some(58.0);
            },
            Growth::Enough,
        ),
        ("no chain visits it", |c| c.budget = None, Growth::Enough),
        (
            "decided within a looser budget",
            |c| c.rests_on = Some(ms(41.0)),
            Growth::Undecided,
        ),
        (
            "decided without a budget",
            |c| c.rests_on = None,
            Growth::Undecided,
        ),
        (
            "decided within a tighter budget",
            |c| {
                c.rests_on = Some(ms(39.0));
                c.pods = vec![pod(300); 3];
            },
            Growth::Enough,
        ),
        (
            "without a profile nothing is wanted of it",
            |c| c.decision.reason = Reason::NoProfile,
            Growth::Enough,
        ),
        (
            "mode recommend, and it would have to grow",
            |c| c.acts = false,
            Growth::Stuck(Obstacle::Shown),
        ),
        (
            "mode recommend, and it has enough",
            |c| {
                c.acts = false;
                c.pods = vec![pod(300); 3];
            },
            Growth::Enough,
        ),
        (
            "no node has room for the third pod",
            |c| {
                c.pods = vec![pod(300); 3];
                c.pods[2].ready = false;
                c.pods[2].unschedulable = true;
            },
            of_pods(1, Fault::Unschedulable),
        ),
        (
            "two of four have no node, and the others carry the load",
            |c| {
                c.decision = decision(Reason::LoadRose, fleet(4, 300), 240.0);
                c.decision.numbers.carries_then = Some(120.0);
                c.pods = vec![pod(300); 4];
                for pod in &mut c.pods[2..] {
                    (pod.ready, pod.unschedulable) = (false, true);
                }
            },
            Growth::Enough,
        ),
        (
            "two of four have no node, and the others do not carry it",
            |c| {
                c.decision = decision(Reason::LoadRose, fleet(4, 300), 200.0);
                c.decision.numbers.carries_then = Some(100.0);
                c.pods = vec![pod(300); 4];
                for pod in &mut c.pods[2..] {
                    (pod.ready, pod.unschedulable) = (false, true);
                }
            },
            of_pods(2, Fault::Unschedulable),
        ),
        (
            "one pod has no node, another is on its way",
            |c| {
                c.pods = vec![pod(300); 3];
                c.pods[2].ready = false;
                c.pods[2].unschedulable = true;
                c.pods[1].resize = Resize::InProgress;
                c.pods[1].actual = pod(200).actual;
            },
            growing(1),
        ),
        (
            "pods that never become Ready",
            |c| {
                c.pods = vec![pod(300); 3];
                for pod in &mut c.pods[1..] {
                    pod.ready = false;
                    pod.born = Timestamp::from_second(900).unwrap();
                }
            },
            of_pods(2, Fault::NotReady),
        ),
        (
            "the node has no room for the new size",
            |c| {
                c.pods = vec![pod(300); 3];
                c.pods[0].actual = pod(200).actual;
                c.pods[0].resize = Resize::Deferred { since: now() };
            },
            of_pods(1, Fault::NoRoom),
        ),
        (
            "a resize that was withdrawn",
            |c| {
                c.pods = vec![pod(300), pod(300), pod(200)];
                c.decision.guards = vec![Guard::ResizeBlocked {
                    pods: 1,
                    size: MilliCpu(200),
                }];
            },
            of_pods(1, Fault::NoRoom),
        ),
        (
            "somebody else's size",
            |c| {
                c.pods = vec![pod(300), pod(300), pod(200)];
                c.pods[2].foreign = true;
            },
            of_pods(1, Fault::LeftAlone),
        ),
        (
            "the API server refuses its pods",
            |c| {
                c.pods = vec![pod(300), pod(300)];
                c.refused = Some("exceeded quota");
            },
            Growth::Stuck(Obstacle::Refused("exceeded quota".into())),
        ),
        (
            "it must grow by more than its behavior allows at once",
            |c| {
                c.pods = vec![pod(300); 3];
                c.decision.numbers.each_then = Some(30.0);
                c.decision.guards = vec![Guard::RateLimited {
                    wanted: 5,
                    allowed: 3,
                }];
            },
            growing(3),
        ),
        (
            "the maximum is there",
            |c| {
                c.pods = vec![pod(300); 3];
                c.decision.numbers.each_then = Some(30.0);
                c.decision.guards = vec![Guard::AtMaximum];
            },
            Growth::Stuck(Obstacle::Guard(Guard::AtMaximum)),
        ),
    ];
    for (name, edit, wanted) in rows {
        let mut case = Case::grows();
        edit(&mut case);
        assert_eq!(case.growth(), wanted, "{name}");
    }
    for reason in [
        Reason::Paused,
        Reason::ScaledToZero,
        rival(),
        Reason::NoMetrics {
            why: Unknown::NoSeries,
        },
    ] {
        let mut case = Case::grows();
        case.decision.reason = reason.clone();
        case.decision.numbers = Numbers::default();
        assert_eq!(case.growth(), said(reason));
    }
    let mut case = Case::grows();
    case.decision = decision(Reason::LoadRose, fleet(2, 200), 80.0);
    case.decision.guards = vec![quota()];
    assert_eq!(case.growth(), Growth::Stuck(Obstacle::Guard(quota())));
    for (plan, wanted) in [
        (Plan::Due, Growth::Undecided),
        (Plan::Left, Growth::Stuck(Obstacle::Left)),
    ] {
        let service = Service {
            budget: Some(ms(40.0)),
            plan,
            pods: &[],
            refused: None,
        };
        assert_eq!(growth(&service, now()), wanted);
    }
}
