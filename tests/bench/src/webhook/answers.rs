//! Whether an answer is what the API server needs. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reviews::Kind;

/// An answer as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was asked about.
    pub kind: Kind,
    /// The review's uid.
    pub uid: String,
    /// Status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Answers by what they say, and the wrong ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// `deployment Hold HeldForProfile`: how often.
    pub verdicts: BTreeMap<String, u64>,
    /// Why an answer is wrong: how often.
    pub wrong: BTreeMap<String, u64>,
}

impl Checked {
    /// Reads one more.
    pub fn take(&mut self, answer: &Answer, expected: &BTreeMap<Kind, String>) {
        match judge(answer, expected) {
            Ok(verdict) => *self.verdicts.entry(verdict).or_default() += 1,
            Err(why) => *self.wrong.entry(why).or_default() += 1,
        }
    }

    /// How many are wrong.
    pub fn failures(&self) -> u64 {
        self.wrong.values().sum()
    }
}

/// The verdict with its reason, or what is wrong. A verdict other than the expected one is wrong, too.
fn judge(answer: &Answer, expected: &BTreeMap<Kind, String>) -> Result<String, String> {
    let verdict = verdict(answer)?;
    match expected.get(&answer.kind) {
        Some(wanted) if *wanted != verdict => Err(format!("{verdict} instead of {wanted}")),
        _ => Ok(verdict),
    }
}

/// `deployment Hold HeldForProfile` of an answer that keeps the protocol.
pub fn verdict(answer: &Answer) -> Result<String, String> {
    if answer.status != 200 {
        return Err(format!("status {}", answer.status));
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| "no JSON".to_owned())?;
    let response = &body["response"];
    if response["uid"] != answer.uid {
        return Err("another uid".to_owned());
    }
    if response["allowed"] != true {
        return Err("denied".to_owned());
    }
    let said = |name: &str| response["auditAnnotations"][name].as_str();
    if let Some(why) = said("fail-open") {
        return Err(format!("no decision: {why}"));
    }
    let (Some(verdict), Some(reason)) = (said("verdict"), said("reason")) else {
        return Err("no verdict".to_owned());
    };
    let patch = patch(response)?;
    match (verdict, patch) {
        ("Hold", Some(patch)) if !pauses(&patch) => {
            return Err("a hold that does not pause".to_owned());
        }
        ("Hold" | "Size", None) if reason != "SizedAlready" => {
            return Err(format!("{verdict} without a patch"));
        }
        ("Pass", Some(_)) => return Err("a pass with a patch".to_owned()),
        _ => {}
    }
    let kind = match answer.kind {
        Kind::Deployment => "deployment",
        Kind::Pod => "pod",
    };
    Ok(format!("{kind} {verdict} {reason}"))
}

fn patch(response: &Value) -> Result<Option<Vec<Value>>, String> {
    let Some(encoded) = response["patch"].as_str() else {
        return Ok(None);
    };
    if response["patchType"] != "JSONPatch" {
        return Err("a patch of another type".to_owned());
    }
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| "a patch that is no base64".to_owned())?;
    let patch: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|_| "a patch that is no list".to_owned())?;
    Ok(Some(patch))
}

fn pauses(patch: &[Value]) -> bool {
    patch
        .iter()
        .any(|step| step["path"] == "/spec/paused" && step["value"] == json!(true))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Checked, Kind, STANDARD, verdict};
    use base64::Engine as _;
    use serde_json::{Value, json};

    fn answer(response: &Value) -> Answer {
        Answer {
            kind: Kind::Deployment,
            uid: "u".to_owned(),
            status: 200,
            body: json!({"response": response}).to_string().into_bytes(),
        }
    }

    fn response(verdict: &str, patch: Option<&Value>) -> Value {
        let mut response = json!({
            "uid": "u", "allowed": true, "auditAnnotations": {"verdict": verdict, "reason": "Why"},
        });
        if let Some(patch) = patch {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(patch.to_string()));
        }
        response
    }

    #[test]
    fn what_the_api_server_needs() {
        let pause = json!([{"op": "add", "path": "/spec/paused", "value": true}]);
        let other = json!([{"op": "add", "path": "/spec/replicas", "value": 1}]);
        let rows = [
            (response("Hold", Some(&pause)), Ok("deployment Hold Why")),
            (
                response("Hold", Some(&other)),
                Err("a hold that does not pause"),
            ),
            (response("Hold", None), Err("Hold without a patch")),
            (response("Pass", None), Ok("deployment Pass Why")),
            (response("Pass", Some(&pause)), Err("a pass with a patch")),
            (json!({"uid": "v", "allowed": true}), Err("another uid")),
            (json!({"uid": "u", "allowed": false}), Err("denied")),
            (
                json!({"uid": "u", "allowed": true, "auditAnnotations": {"fail-open": "deadline"}}),
                Err("no decision: deadline"),
            ),
        ];
        for (response, wanted) in rows {
            let found = verdict(&answer(&response));
            assert_eq!(
                found.as_deref().map_err(String::as_str),
                wanted,
                "{response}"
            );
        }
    }

    #[test]
    fn another_verdict_than_the_first_counts_as_wrong() {
        let mut checked = Checked::default();
        let expected = [(Kind::Deployment, "deployment Hold Why".to_owned())].into();
        checked.take(&answer(&response("Pass", None)), &expected);
        assert_eq!(checked.failures(), 1);
        checked.take(&answer(&response("Pass", None)), &[].into());
        assert_eq!(checked.verdicts["deployment Pass Why"], 1);
    }
}
