//! What the program says of itself. Also the reason that `cargo test` builds the program that the cluster's tests start.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_msars-profile"))
        .args(args)
        .env_remove("MSARS_RUN_TOKEN")
        .output()
        .unwrap()
}

#[test]
fn help_teaches_and_a_wrong_argument_is_named() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for word in ["Open-loop", "run", "serve"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    let wrong = run(&["--no-such-flag"]);
    assert_eq!(wrong.status.code(), Some(2));
    let text = String::from_utf8(wrong.stderr).unwrap();
    assert!(text.contains("--no-such-flag"), "{text}");
}

#[test]
fn what_was_dropped_is_told_and_in_no_latency() {
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", silent.local_addr().unwrap());
    let load = ["--rate", "200", "--duration", "300ms"];
    let bounds = ["--in-flight", "5", "--timeout", "600ms"];
    let told = run(&[&["run", "--target", &target][..], &load, &bounds].concat());
    assert!(told.status.success());
    let report: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let total = &report["total"];
    let dropped = total["dropped"].as_u64().unwrap();
    assert!(dropped > 0, "{total}");
    assert_eq!(total["latency"]["count"], total["sent"], "{total}");
    let text = String::from_utf8(told.stderr).unwrap();
    let first = format!("{dropped} requests were never sent");
    for words in [first, format!("{dropped} dropped; driver")] {
        assert!(text.contains(&words), "{words} is missing:\n{text}");
    }
}

#[test]
fn nothing_is_served_without_a_token() {
    let refused = run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("MSARS_RUN_TOKEN"), "{text}");
    assert!(!text.contains("listening"), "{text}");
}
