//! What each command runs, as data.

use clap::ValueEnum;

/// A part of the test suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Decisions and maths, no cluster.
    Pure,
    /// The real local cluster.
    E2e,
}

/// One cargo call with a name for the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What the reader sees.
    pub name: &'static str,
    /// Cargo's arguments.
    pub args: Vec<&'static str>,
}

fn stage(name: &'static str, args: &'static str) -> Stage {
    // The tables below hold no argument with a blank, so splitting at blanks is exact.
    Stage {
        name,
        args: args.split(' ').collect(),
    }
}

/// Format and lints.
pub fn lints() -> Vec<Stage> {
    vec![
        stage("format", "fmt --all --check"),
        stage(
            "lints",
            "clippy --profile ci --workspace --all-targets -- -D warnings",
        ),
    ]
}

/// The stages of one part.
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
        Part::E2e => {
            vec![stage(
                "cluster life cycle",
                "test --profile ci -p msars-cluster --test lifecycle -- --nocapture",
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_tests_never_start_the_cluster() {
        for stage in tests(Part::Pure) {
            assert!(!stage.args.contains(&"lifecycle"), "{stage:?}");
        }
        assert_eq!(tests(Part::E2e).len(), 1);
    }
}
