//! `ARCHITECTURE.md` names files, functions and tests that exist.

#![allow(clippy::unwrap_used, reason = "a test: a panic is its way to fail")]

use std::fs;
use std::path::{Path, PathBuf};

/// Sections whose paths are followed by the names to look for there, in parentheses.
const GUIDES: [&str; 2] = ["Where to find a behaviour", "How a held rollout flows"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The section of this title, up to the next one.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let rest = page.split_once(&format!("\n## {title}\n")).unwrap().1;
    rest.split_once("\n## ")
        .map_or(rest, |(section, _)| section)
}

/// What is between backticks, and whether a parenthesis is open there.
fn quoted(text: &str) -> Vec<(&str, bool)> {
    let mut open = false;
    let mut found = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            found.push((part, open));
        } else if let Some(last) = part.rfind(['(', ')']) {
            open = part.as_bytes()[last] == b'(';
        }
    }
    found
}

/// Rows of a table, numbered steps and paragraphs, each on one line.
fn entries(section: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    for line in section.lines() {
        if line.is_empty() || line.starts_with('|') || line.starts_with(char::is_numeric) {
            entries.push(line.to_owned());
        } else if let Some(last) = entries.last_mut() {
            last.push_str(line);
        }
    }
    entries
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn is_path(text: &str) -> bool {
    let in_a_room = [
        "admission/",
        "autoscaler/",
        "certs/",
        "manifests/",
        "shared/",
        "tests/",
    ];
    in_a_room.iter().any(|room| text.starts_with(room)) || is_rust(Path::new(text))
}

/// A function is defined there; anything else (a type, a variant, a constant) is written there.
fn names(code: &str, name: &str) -> bool {
    let last = name.rsplit("::").next().unwrap();
    let word = |at: usize| {
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        !code[..at].ends_with(inside) && !code[at + last.len()..].starts_with(inside)
    };
    let function = last.starts_with(char::is_lowercase);
    code.match_indices(last)
        .any(|(at, _)| word(at) && (!function || code[..at].ends_with("fn ")))
}

/// What an entry names and is not there. A short path is beside the one before it.
fn missing(entry: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut file = root();
    for (text, inside) in quoted(entry) {
        if is_path(text) {
            let beside = file.parent().unwrap().join(text);
            let found = [root().join(text), beside].into_iter().find(|p| p.exists());
            match found {
                Some(found) => file = found,
                None => wrong.push(format!("no file {text}")),
            }
        } else if inside && file.is_file() {
            let code = fs::read_to_string(&file).unwrap();
            if !names(&code, text) {
                let file = file.strip_prefix(root()).unwrap_or(&file);
                wrong.push(format!("{} does not name {text}", file.display()));
            }
        }
    }
    wrong
}

fn page() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, into);
        } else if is_rust(&path) {
            into.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_file_and_function_of_the_guides_is_there() {
    let page = page();
    let wrong: Vec<String> = GUIDES
        .iter()
        .flat_map(|title| entries(section(&page, title)))
        .flat_map(|entry| missing(&entry))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_and_test_of_the_invariants_is_there() {
    let page = page();
    let mut code = String::new();
    sources(&root(), &mut code);
    let mut wrong = Vec::new();
    for row in entries(section(&page, "Invariants")) {
        wrong.extend(missing(&row));
        let tests = quoted(&row)
            .into_iter()
            .filter(|(text, _)| text.contains('_') && !is_path(text));
        wrong.extend(
            tests
                .filter(|(test, _)| !code.contains(&format!("fn {test}(")))
                .map(|(test, _)| format!("no test {test}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_not_there_is_told() {
    let here = "`shared/xtask/tests/architecture.rs`";
    for (entry, wrong) in [
        (format!("{here} (`missing`, `GUIDES`), `edges.rs`"), 0),
        (format!("{here} (of `nothing`: `entry`)"), 2),
        (format!("{here} (as above) and `nothing`"), 0),
        ("`shared/xtask/none.rs`; `none.yaml`".to_owned(), 1),
    ] {
        assert_eq!(missing(&entry).len(), wrong, "{entry}");
    }
}
