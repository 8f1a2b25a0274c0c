//! The way out: enough pods of the template's size before the size in force is forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

#[path = "world/mod.rs"]
mod world;

use msars_domain::{Action, MilliCpu, Observation, Rate, Reading, Rival, Unknown};
use msars_plan::{Blind, Hindrance, Leaving, Limits, Load, State, leave};
use world::{plain, rate, start};

#[test]
fn leaving_scales_for_pods_of_the_templates_size() {
    let now = start();
    let seen = plain(now, 2, 150.0);
    let state = State {
        size: Some(MilliCpu(400)),
        ..State::default()
    };
    let leaving = leave(now, &seen, &state, &Limits::default());
    assert_eq!(
        leaving.action,
        Some(Action::Scale {
            target: seen.signals.workload.clone(),
            from: 2,
            to: 5,
        })
    );
    assert_eq!(leaving.short, None);
    let mut quiet = plain(now, 6, 150.0);
    quiet.signals.rate = rate(1.0, now);
    quiet.signals.peak_rate = rate(1.0, now);
    assert_eq!(
        leave(now, &quiet, &state, &Limits::default()),
        Leaving::default(),
        "never fewer"
    );
}

/// Nobody answers.
fn unknown(seen: &mut Observation) {
    let why = Unknown::Unreachable;
    seen.signals.rate = Reading::Unknown { why };
    seen.signals.peak_rate = Reading::Unknown { why };
}

type Change = fn(&mut Observation, &mut State);
type Lacks = Option<(u32, Option<Blind>, Hindrance)>;
/// What is changed; replicas written, if any; replicas that it takes, by what, and why it has fewer.
type Row = (&'static str, Change, Option<u32>, Lacks);

/// Leaves two pods of twice the template's size, which become five of the template's unless something is changed.
fn leaves(table: impl IntoIterator<Item = Row>) {
    for (name, change, to, lacks) in table {
        let mut seen = plain(start(), 2, 150.0);
        let mut state = State {
            size: Some(MilliCpu(400)),
            ..State::default()
        };
        change(&mut seen, &mut state);
        let leaving = leave(start(), &seen, &state, &Limits::default());
        let written = leaving.action.as_ref().map(|action| match action {
            Action::Scale { to, .. } => *to,
            other => panic!("{name}: {other:?}"),
        });
        assert_eq!(written, to, "{name}");
        let short = leaving.short;
        let found = short
            .clone()
            .map(|short| (short.needs, short.blind, short.why));
        assert_eq!(found, lacks, "{name}");
        if let Some(short) = short {
            let needs = short.needs;
            let command = format!("kubectl -n shop scale deploy/catalogue --replicas={needs}");
            assert!(short.to_string().ends_with(&command), "{short}");
        }
    }
}

#[test]
fn leaving_says_where_pods_of_the_templates_size_are_too_few() {
    let quota = || Hindrance::Quota(vec!["team".into()]);
    let table: [Row; 8] = [
        ("as it is", |_, _| {}, Some(5), None),
        (
            "maximum",
            |seen, _| seen.max_replicas = 3,
            Some(3),
            Some((5, None, Hindrance::Maximum(3))),
        ),
        (
            "maximum reached",
            |seen, _| seen.max_replicas = 2,
            None,
            Some((5, None, Hindrance::Maximum(2))),
        ),
        (
            "quota",
            |seen, _| {
                seen.quotas = vec!["team".into()];
                seen.headroom.pods = Some(2);
            },
            Some(4),
            Some((5, None, quota())),
        ),
        (
            "quota full",
            |seen, _| {
                seen.quotas = vec!["team".into()];
                seen.headroom.pods = Some(0);
            },
            None,
            Some((5, None, quota())),
        ),
        (
            "it only recommends",
            |seen, _| seen.wishes.acts = false,
            None,
            None,
        ),
        (
            "another one scales",
            |seen, _| {
                seen.max_replicas = 2;
                seen.rival = Some(Rival {
                    kind: "HorizontalPodAutoscaler".into(),
                    name: "team".into(),
                });
            },
            None,
            None,
        ),
        (
            "at 0",
            |seen, _| {
                seen.replicas = 0;
                seen.max_replicas = 2;
            },
            None,
            None,
        ),
    ];
    leaves(table);
}

#[test]
fn leaving_keeps_the_cpu_where_the_load_is_not_known() {
    let table: [Row; 7] = [
        ("no load", |seen, _| unknown(seen), Some(4), None),
        (
            "the last load known",
            |seen, state| {
                unknown(seen);
                state.load = Some(Load {
                    at: start(),
                    rate: Rate::new(150.0).unwrap(),
                    share: 0.5,
                });
            },
            Some(5),
            None,
        ),
        (
            "no load and no room",
            |seen, _| {
                unknown(seen);
                seen.max_replicas = 3;
            },
            Some(3),
            Some((4, Some(Blind::Load), Hindrance::Maximum(3))),
        ),
        (
            "what was added since",
            |seen, state| {
                unknown(seen);
                seen.replicas = 4;
                state.replicas = Some(2);
            },
            None,
            None,
        ),
        (
            "no profile",
            |seen, _| {
                seen.revisions[0].curve = None;
                seen.max_replicas = 2;
            },
            None,
            Some((4, Some(Blind::Profile), Hindrance::Maximum(2))),
        ),
        (
            "no objective",
            |seen, _| {
                seen.revisions.clear();
                seen.max_replicas = 2;
            },
            None,
            Some((4, Some(Blind::Objective), Hindrance::Maximum(2))),
        ),
        (
            "nothing known, and no more than the template's size in force",
            |seen, state| {
                unknown(seen);
                state.size = Some(seen.template.size());
            },
            None,
            None,
        ),
    ];
    leaves(table);
}
