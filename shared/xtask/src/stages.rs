//! What each command runs, as data.

use clap::ValueEnum;

/// A part of the test suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Decisions and maths, no cluster.
    Pure,
    /// What the real API server makes of our kinds, manifests and rights.
    Contract,
    /// The real local cluster's own life.
    E2e,
    /// The gate's rules as a user of a cluster sees them, and what becomes of holds when programs of ours die.
    Gate,
    /// Everything that a user of a cluster sees of the product: the gate, faults, profiles against the truth, scaling,
    /// a program that is not ours. Half an hour.
    Product,
}

impl Part {
    /// The parts that `test` runs when none is named.
    pub const DEFAULT: [Self; 4] = [Self::Pure, Self::Contract, Self::E2e, Self::Gate];
}

/// One cargo call with a name for the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What the reader sees.
    pub name: &'static str,
    /// Cargo's arguments.
    pub args: Vec<&'static str>,
    /// Environment of this stage alone.
    pub env: &'static [(&'static str, &'static str)],
}

fn stage(name: &'static str, args: &'static str) -> Stage {
    // The tables below hold no argument with a blank, so splitting at blanks is exact.
    Stage {
        name,
        args: args.split(' ').collect(),
        env: &[],
    }
}

/// Format and lints. A target that needs the cluster is left out of `--all-targets` and named instead.
pub fn lints() -> Vec<Stage> {
    vec![
        stage("format", "fmt --all --check"),
        stage(
            "lints",
            "clippy --profile ci --workspace --all-targets -- -D warnings",
        ),
        stage(
            "lints of the tests on a cluster",
            "clippy --profile ci --workspace --test contract --test e2e -- -D warnings",
        ),
    ]
}

/// The stages of one part. All select the same packages where they can, so that cargo resolves the same features and
/// nothing is compiled twice.
pub fn tests(part: Part) -> Vec<Stage> {
    match part {
        Part::Pure => vec![
            stage(
                "pure tests",
                "test --profile ci --workspace --exclude msars-cluster",
            ),
            stage(
                "cluster's pure tests",
                "test --profile ci -p msars-cluster --lib",
            ),
        ],
        Part::Contract => vec![stage(
            "contract with the API server",
            "test --profile ci --workspace --exclude msars-cluster --test contract",
        )],
        Part::E2e => vec![stage(
            "cluster life cycle",
            "test --profile ci -p msars-cluster --test * -- --nocapture",
        )],
        Part::Gate => vec![
            programs(),
            stage(
                "the gate on a cluster, and faults",
                "test --profile ci --workspace --exclude msars-cluster --test e2e -- gate: fault:",
            ),
        ],
        Part::Product => vec![
            programs(),
            stage(
                "the product on a cluster",
                "test --profile ci --workspace --exclude msars-cluster --test e2e",
            ),
        ],
    }
}

/// Lints, then every default part from the quickest to the longest.
pub fn everything() -> Vec<Stage> {
    let mut list = lints();
    for part in Part::DEFAULT {
        list.extend(tests(part));
    }
    list
}

/// Writes what is generated: the test that compares it does, when told to.
pub fn generate() -> Vec<Stage> {
    vec![Stage {
        env: &[("MSARS_UPDATE_GENERATED", "1")],
        ..stage(
            "generated files",
            "test --profile ci --workspace --exclude msars-cluster --test definitions",
        )
    }]
}

/// Something measured and published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// Seconds and memory of one tick over 1,000 and 10,000 workloads.
    Tick,
    /// Seconds of one split, and how far it is proved.
    Split,
    /// Ten million random observations and proposals through `decide`: invariants broken.
    Decide,
    /// The deployed webhook at 1,000 reviews per second: latency, memory, CPU.
    Webhook,
    /// The same trace under the product, under HorizontalPodAutoscalers and without any: hours, or `--quick`.
    Peers,
    /// A slower version of one service, with budgets that follow it and with budgets that stay: three quarters of an
    /// hour, or `--repeats 1`.
    Resplit,
}

impl Figure {
    /// The command of `msars-bench` that measures it on the real cluster.
    pub fn on_the_cluster(self) -> Option<&'static str> {
        match self {
            Self::Tick | Self::Split | Self::Decide => None,
            Self::Webhook => Some("webhook"),
            Self::Peers => Some("peers"),
            Self::Resplit => Some("resplit"),
        }
    }
}

/// The measurement behind a figure that needs no cluster.
pub fn bench(figure: Figure) -> Option<Stage> {
    let stage = match figure {
        Figure::Webhook | Figure::Peers | Figure::Resplit => return None,
        Figure::Tick => stage("one tick", "run --profile ci -p msars-plan --example tick"),
        Figure::Split => stage(
            "one split",
            "test --profile ci -p msars-budget --test budget speed -- --nocapture",
        ),
        Figure::Decide => Stage {
            env: &[("MSARS_DECIDE_CASES", "10000000")],
            ..stage(
                "ten million decisions",
                "test --profile ci -p msars-plan --test million -- --nocapture",
            )
        },
    };
    Some(stage)
}

/// Every program that runs on a cluster, and those that start one. Built as the tests build them: the same features
/// of every dependency, so that nothing is compiled a second time. Each has a test named `cli`.
pub fn programs() -> Stage {
    stage(
        "programs",
        "test --profile ci --workspace --exclude msars-cluster --no-run --test cli",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_tests_never_start_the_cluster() {
        for stage in tests(Part::Pure) {
            for needs_cluster in ["lifecycle", "contract", "e2e", "*"] {
                assert!(!stage.args.contains(&needs_cluster), "{stage:?}");
            }
        }
    }

    #[test]
    fn everything_is_the_lints_and_each_default_part_once() {
        let all = everything();
        for part in Part::DEFAULT {
            for stage in tests(part) {
                assert_eq!(all.iter().filter(|other| **other == stage).count(), 1);
            }
        }
        assert_eq!(&all[..3], &lints()[..]);
    }

    #[test]
    fn programs_are_built_before_they_are_put_on_a_cluster() {
        let list = tests(Part::Product);
        let place = |wanted: &str| list.iter().position(|stage| stage.args.contains(&wanted));
        let built = list.iter().position(|stage| *stage == programs());
        assert!(built.is_some() && built < place("e2e"), "{list:?}");
    }

    #[test]
    fn every_figure_is_measured_in_one_way() {
        for figure in Figure::value_variants() {
            assert_eq!(
                bench(*figure).is_none(),
                figure.on_the_cluster().is_some(),
                "{figure:?}"
            );
        }
    }

    #[test]
    fn one_profile_serves_everything() {
        for stage in everything()
            .into_iter()
            .chain(generate())
            .chain([programs()])
            .chain(
                Figure::value_variants()
                    .iter()
                    .filter_map(|figure| bench(*figure)),
            )
        {
            assert!(
                stage.args[0] == "fmt"
                    || stage.args.windows(2).any(|two| two == ["--profile", "ci"]),
                "{stage:?}"
            );
        }
    }
}
