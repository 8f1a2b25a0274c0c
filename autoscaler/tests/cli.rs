//! What the program says of itself. Also the reason that `cargo test` builds the program that the cluster's tests start.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_msars-autoscaler"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn help_teaches_and_a_wrong_argument_is_named() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for word in [
        "Profiles new revisions",
        "run",
        "explain",
        "drain",
        "presets",
        "crd",
    ] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    let wrong = run(&["--no-such-flag"]);
    assert_eq!(wrong.status.code(), Some(2));
    let text = String::from_utf8(wrong.stderr).unwrap();
    assert!(text.contains("--no-such-flag"), "{text}");
}

#[test]
fn what_decides_on_sizes_takes_the_largest_node_and_no_other_word_for_it() {
    for command in ["run", "drain"] {
        let wrong = run(&[command, "--node-cores", "many"]);
        assert_eq!(wrong.status.code(), Some(2), "{command}");
        let text = String::from_utf8(wrong.stderr).unwrap();
        assert!(text.contains("such as 4, 3.5 or 3500m"), "{text}");
    }
}

#[test]
fn a_preset_is_printed_checked_and_never_given_twice() {
    let printed = run(&["presets", "prometheus"]);
    assert!(printed.status.success());
    let file = std::env::temp_dir().join(format!("msars-preset-{}.yaml", std::process::id()));
    std::fs::write(&file, &printed.stdout).unwrap();
    let path = file.to_str().unwrap();
    let checked = run(&["presets", "--check", path]);
    let twice = run(&["drain", "--preset=shop", "--preset-file", path]);
    std::fs::write(&file, "name: mine\n").unwrap();
    let bad = run(&["presets", "--check", path]);
    std::fs::remove_file(&file).unwrap();

    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(text.contains("preset prometheus is good"), "{text}");
    assert_eq!(twice.status.code(), Some(2));
    let text = String::from_utf8(twice.stderr).unwrap();
    assert!(text.contains("--preset-file"), "{text}");
    assert_eq!(bad.status.code(), Some(1));
    let text = String::from_utf8(bad.stderr).unwrap();
    assert!(text.contains(path) && text.contains("requests"), "{text}");
    let unknown = run(&["drain", "--preset=statsd"]);
    let text = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        text.contains("statsd") && text.contains("opentelemetry"),
        "{text}"
    );
}
