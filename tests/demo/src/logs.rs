//! What programs said: what is worth a line of the timeline, and what nobody should have to read. Pure.

use jiff::Timestamp;
use serde_json::Value;

/// A warning that is known and harmless, with the reason why.
#[derive(Debug, Clone, Copy)]
struct Benign {
    /// Beginning of the message.
    message: &'static str,
    /// Harmless only while the installation is not complete.
    at_start: bool,
    /// Why it may be there.
    why: &'static str,
}

const BENIGN: &[Benign] = &[
    Benign {
        message: "the certificate cannot be used yet",
        at_start: true,
        why: "the leader makes the certificate after the first start of everything",
    },
    Benign {
        message: "watch failed; it is tried again",
        at_start: true,
        why: "programs start while the API server still learns the new kinds",
    },
];

/// What a program's log held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Lines that should not be there.
    pub unexpected: Vec<String>,
    /// Known and harmless lines, each with its reason.
    pub benign: Vec<String>,
}

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The product's: every line is JSON; warnings, errors and anything else count.
    Ours,
    /// The shop's: errors and panics count.
    Shop,
}

/// Splits a line of `kubectl logs --prefix` into `pod/container` and the rest.
fn prefixed(line: &str) -> (&str, &str) {
    let inner = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "));
    inner.map_or(("", line), |(pod, rest)| {
        (pod.trim_start_matches("pod/"), rest)
    })
}

fn at(line: &Value) -> Option<Timestamp> {
    line.get("timestamp")?.as_str()?.parse().ok()
}

/// Judges every line of `kubectl logs --prefix`; `installed` is when the installation was complete.
pub fn judge(whose: Whose, log: &str, installed: Timestamp) -> Judged {
    let mut judged = Judged::default();
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        let (pod, said) = prefixed(line);
        let Ok(parsed) = serde_json::from_str::<Value>(said) else {
            let panics = said.contains("panicked") || said.contains("stack backtrace");
            if panics || whose == Whose::Ours {
                judged.unexpected.push(short(line));
            }
            continue;
        };
        let field = |name: &str| parsed.get(name).and_then(Value::as_str).unwrap_or_default();
        let counts = match field("level") {
            "ERROR" => true,
            "WARN" => whose == Whose::Ours,
            _ => false,
        };
        if !counts {
            continue;
        }
        let early = at(&parsed).is_some_and(|at| at <= installed);
        let known = BENIGN
            .iter()
            .find(|b| field("message").starts_with(b.message) && (early || !b.at_start));
        match known {
            Some(known) => judged
                .benign
                .push(format!("{pod}: {}: {}", known.message, known.why)),
            None => judged.unexpected.push(short(line)),
        }
    }
    judged.benign.sort();
    judged.benign.dedup();
    judged
}

fn short(line: &str) -> String {
    const MOST: usize = 600;
    line.chars().take(MOST).collect()
}

/// The end of a hold as the controller tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The Deployment, without its namespace.
    pub workload: String,
    /// The revision.
    pub revision: String,
    /// The word: `profiled`, `deadline`, `user`, `queue`, `callee`, ...
    pub word: String,
}

/// A write as the controller tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// When.
    pub at: Timestamp,
    /// `scale`, `resize`, ...
    pub action: String,
    /// Of what, without its namespace.
    pub target: String,
}

/// Every write of the controllers that was accepted, to objects of a namespace.
pub fn applied(log: &str, namespace: &str) -> Vec<Applied> {
    let read = |line: &str| {
        let parsed: Value = serde_json::from_str(prefixed(line).1).ok()?;
        let field = |name: &str| parsed.get(name)?.as_str();
        let done = field("message") == Some("applied") && field("applied") == Some("Done");
        let (place, target) = field("object")?.split_once('/')?;
        (done && place == namespace).then_some(())?;
        Some(Applied {
            at: at(&parsed)?,
            action: field("action")?.to_owned(),
            target: target.to_owned(),
        })
    };
    log.lines().filter_map(read).collect()
}

/// Every hold's end in the controllers' logs.
pub fn releases(log: &str) -> Vec<Release> {
    let read = |line: &str| {
        let parsed: Value = serde_json::from_str(prefixed(line).1).ok()?;
        let field = |name: &str| parsed.get(name)?.as_str();
        (field("message") == Some("released")).then_some(())?;
        Some(Release {
            workload: field("workload")?.rsplit('/').next()?.to_owned(),
            revision: field("revision")?.to_owned(),
            word: field("reason")?.to_owned(),
        })
    };
    log.lines().filter_map(read).collect()
}

/// What of the controllers' logs tells the story, as sentences.
pub fn story(log: &str) -> Vec<(Timestamp, String)> {
    let read = |line: &str| {
        let parsed: Value = serde_json::from_str(prefixed(line).1).ok()?;
        let field = |name: &str| match parsed.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let message = field("message");
        let sentence = match message.as_str() {
            "profiling begins" => format!("profiling of {} begins", field("workload")),
            "measured a point" => {
                let rate = parsed
                    .get("rate")
                    .and_then(Value::as_f64)
                    .unwrap_or_default();
                format!("measured {} at {rate:.0}/s", field("size"))
            }
            "released" => {
                let held = parsed
                    .get("held_s")
                    .and_then(Value::as_f64)
                    .unwrap_or_default();
                format!(
                    "released {} after {held:.1} s: {}",
                    field("workload"),
                    field("reason")
                )
            }
            "split" => format!("budgets split anew: {}", field("reason")),
            // The sentence of a finished profile, which is logged as its message.
            text if text.starts_with("Profiled revision") => message,
            _ => return None,
        };
        Some((at(&parsed)?, sentence))
    };
    let mut all: Vec<(Timestamp, String)> = log.lines().filter_map(read).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"[pod/a-1/admission] {"timestamp":"2026-03-01T10:00:01Z","level":"WARN","message":"watch failed; it is tried again","watch":"slo"}"#;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_known_warning_is_harmless_only_at_the_start() {
        let early = judge(Whose::Ours, START, at("2026-03-01T10:00:05Z"));
        assert!(early.unexpected.is_empty());
        assert!(early.benign[0].starts_with("a-1/admission: watch failed"));
        let late = judge(Whose::Ours, START, at("2026-03-01T09:00:00Z"));
        assert_eq!((late.unexpected.len(), late.benign.len()), (1, 0));
    }

    #[test]
    fn what_is_no_json_counts_for_us_and_panics_for_all() {
        let log = "thread 'main' panicked at x.rs\nplain\n{\"level\":\"INFO\"}\n{\"level\":\"WARN\",\"message\":\"x\"}";
        let never = Timestamp::UNIX_EPOCH;
        assert_eq!(judge(Whose::Ours, log, never).unexpected.len(), 3);
        assert_eq!(judge(Whose::Shop, log, never).unexpected.len(), 1);
    }

    #[test]
    fn accepted_writes_are_told_with_their_target() {
        let line = |applied: &str, target: &str| {
            format!(
                r#"[pod/c-1/autoscaler] {{"timestamp":"2026-03-01T10:00:50Z","level":"INFO","message":"applied","action":"scale","object":"{target}","target":"msars_client::apply","applied":"{applied}"}}"#
            )
        };
        let log = [
            line("Done", "shop/catalogue"),
            line("Conflict", "shop/catalogue"),
            line("Done", "other/catalogue"),
            "plain".to_owned(),
        ]
        .join("\n");
        let applied = applied(&log, "shop");
        assert_eq!(applied.len(), 1);
        assert_eq!(
            (applied[0].action.as_str(), applied[0].target.as_str()),
            ("scale", "catalogue")
        );
    }

    #[test]
    fn the_controllers_log_tells_releases_and_the_story() {
        let log = r#"[pod/c-1/autoscaler] {"timestamp":"2026-03-01T10:00:50Z","level":"INFO","message":"released","workload":"shop/catalogue","revision":"ab","reason":"profiled","held_s":56.289}
[pod/c-1/autoscaler] {"timestamp":"2026-03-01T10:00:10Z","level":"INFO","message":"measured a point","size":"200m","rate":15.14}
[pod/c-1/autoscaler] {"timestamp":"2026-03-01T10:00:11Z","level":"INFO","message":"applied"}"#;
        let releases = releases(log);
        assert_eq!(
            (releases[0].workload.as_str(), releases[0].word.as_str()),
            ("catalogue", "profiled")
        );
        let story = story(log);
        assert_eq!(story[0].1, "measured 200m at 15/s");
        assert_eq!(story[1].1, "released shop/catalogue after 56.3 s: profiled");
    }
}
