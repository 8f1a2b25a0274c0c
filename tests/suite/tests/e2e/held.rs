//! Deployments as a user sees them: held, free, rolled out; and what the product says about them.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use msars_api::annotations::{HOLD, HOLD_HASH, HOLD_UNTIL, MODE};
use msars_api::names::SHADOW_LABEL;
use msars_api::names::{SHADOW_OF_LABEL, profile_name};
use serde_json::Value;

use crate::bed::{Bed, Said, until};

/// A Deployment as the API server has it.
#[derive(Debug, Clone)]
pub struct Seen(pub Value);

impl Seen {
    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.0["metadata"]["annotations"].get(name)?.as_str()
    }

    /// `spec.paused`.
    pub fn paused(&self) -> bool {
        self.0["spec"]["paused"] == true
    }

    /// The annotations of a hold that it has.
    pub fn stamps(&self) -> Vec<&'static str> {
        let has = |name: &&str| self.annotation(name).is_some();
        HOLD.into_iter().filter(has).collect()
    }

    /// Held by the product: paused, with every annotation of a hold.
    pub fn held(&self) -> bool {
        self.paused() && self.stamps().len() == HOLD.len()
    }

    /// Neither paused nor with any annotation of a hold.
    pub fn free(&self) -> bool {
        !self.paused() && self.stamps().is_empty()
    }

    /// The revision that waits.
    pub fn hash(&self) -> Result<String> {
        let hash = self.annotation(HOLD_HASH);
        Ok(hash.context("no hold-hash")?.to_owned())
    }

    /// The deadline of the hold.
    pub fn deadline(&self) -> Result<Timestamp> {
        Ok(self
            .annotation(HOLD_UNTIL)
            .context("no hold-until")?
            .parse()?)
    }

    /// Whether all of its pods are of its template.
    fn rolled(&self) -> bool {
        let (spec, status) = (&self.0["spec"], &self.0["status"]);
        let count = |name: &str| status[name].as_u64().unwrap_or(0);
        let wanted = spec["replicas"].as_u64().unwrap_or(1);
        status["observedGeneration"] == self.0["metadata"]["generation"]
            && count("updatedReplicas") == wanted
            && count("replicas") == wanted
            && count("availableReplicas") == wanted
    }

    /// Its state in one line.
    pub fn words(&self) -> String {
        let status = &self.0["status"];
        let (updated, all) = (&status["updatedReplicas"], &status["replicas"]);
        format!(
            "paused {}, hold annotations {:?}, {updated} of {all} pods updated",
            self.paused(),
            self.stamps()
        )
    }
}

/// A hold that began.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The revision that waits.
    pub hash: String,
    /// When it ends at the latest.
    pub until: Timestamp,
    /// What kubectl printed to its user.
    pub warning: String,
}

impl Bed {
    /// A Deployment of the shop.
    pub fn deployment(&self, name: &str) -> Result<Seen> {
        Ok(Seen(self.get(&["deployment", name])?))
    }

    /// Changes a template as `kubectl set env` does: a revision that nobody has seen.
    pub fn change(&self, name: &str) -> Result<Said> {
        let pair = format!("E2E_MARK={}", self.mark());
        self.shopped(&[
            "set",
            "env",
            &format!("deployment/{name}"),
            "-c",
            "app",
            &pair,
        ])
    }

    /// The hold that a write began.
    pub fn held_by(&self, name: &str, said: &Said) -> Result<Hold> {
        let seen = self.deployment(name)?;
        ensure!(
            seen.held(),
            "expected: {name} held; found: {}; kubectl said: {}",
            seen.words(),
            said.err
        );
        Ok(Hold {
            hash: seen.hash()?,
            until: seen.deadline()?,
            warning: said.err.clone(),
        })
    }

    /// Changes a template, which must be held.
    pub fn hold(&self, name: &str) -> Result<Hold> {
        let said = self.change(name)?;
        self.held_by(name, &said)
    }

    /// That a Deployment is free now, in the object that the last write left.
    pub fn must_be_free(&self, name: &str, when: &str) -> Result<()> {
        let seen = self.deployment(name)?;
        ensure!(
            seen.free(),
            "expected: {name} neither paused nor with a hold's annotations {when}; found: {}",
            seen.words()
        );
        Ok(())
    }

    /// Waits until no hold stands.
    pub fn until_free(&self, name: &str, seconds: u64) -> Result<()> {
        until(&format!("the hold of {name} ends"), seconds, || {
            let seen = self.deployment(name)?;
            Ok(seen.free().then_some(()).ok_or(seen.words()))
        })
    }

    /// Waits until the rollout is complete.
    pub fn rolled(&self, name: &str) -> Result<()> {
        until(&format!("{name} runs its template"), 80, || {
            let seen = self.deployment(name)?;
            let done = seen.free() && seen.rolled();
            Ok(done.then_some(()).ok_or(seen.words()))
        })
    }

    /// Brings a Deployment back from whatever the case before left: opted in, free, rolled out.
    pub fn settle(&self, name: &str) -> Result<()> {
        let target = format!("deployment/{name}");
        let seen = self.deployment(name)?;
        if seen.paused() {
            self.shopped(&["rollout", "resume", &target])?;
        }
        let odd = ["msars.io/skip-gate", "msars.io/gate-deadline"];
        let odd = odd.iter().any(|name| seen.annotation(name).is_some());
        if odd || seen.annotation(MODE) != Some("auto") {
            self.shopped(&[
                "annotate",
                "--overwrite",
                &target,
                "msars.io/mode=auto",
                "msars.io/gate=hold",
                "msars.io/skip-gate-",
                "msars.io/gate-deadline-",
            ])?;
        }
        self.rolled(name)
    }

    /// `kubectl apply` of a manifest, from the client's side.
    pub fn apply(&self, manifest: &Value) -> Result<Said> {
        self.must_with(&manifest.to_string(), &["apply", "-f", "-"])
    }

    /// Applies a role's manifest with `E2E_APPLIED` 0 past the gate, so that the next apply is a change.
    pub fn baseline(&self, name: &str) -> Result<()> {
        self.settle(name)?;
        let mut manifest = self.manifest(name, "0")?;
        manifest["metadata"]["annotations"]["msars.io/skip-gate"] = "true".into();
        self.apply(&manifest)?;
        self.settle(name)?;
        self.apply(&self.manifest(name, "0")?)?;
        self.rolled(name)
    }

    /// The notes of a Deployment's events of one reason, oldest first.
    pub fn notes(&self, name: &str, reason: &str) -> Result<Vec<String>> {
        let which = format!("involvedObject.name={name},reason={reason}");
        let list = self.get(&["events", "--field-selector", &which])?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items
            .filter_map(|event| event["message"].as_str().map(str::to_owned))
            .collect())
    }

    /// The event of one reason about one revision.
    pub fn told(&self, name: &str, reason: &str, hash: &str) -> Result<String> {
        until(&format!("an event {reason} about {hash}"), 20, || {
            let notes = self.notes(name, reason)?;
            let found = notes.iter().find(|note| note.contains(hash)).cloned();
            Ok(found.ok_or(format!("{notes:?}")))
        })
    }

    /// The shadow pods of a Deployment.
    pub fn shadows(&self, name: &str) -> Result<Vec<Value>> {
        let which = format!("{SHADOW_OF_LABEL}={name}");
        let list = self.get(&["pods", "-l", &which])?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until both shadow pods exist and the copy is Ready; the copy.
    pub fn profiling(&self, name: &str) -> Result<Value> {
        until(&format!("a Ready copy of {name}"), 40, || {
            let pods = self.shadows(name)?;
            let is_copy = |pod: &&Value| pod["metadata"]["labels"][SHADOW_LABEL] == "subject";
            let ready = |pod: &&Value| {
                let conditions = pod["status"]["conditions"].as_array();
                let mut conditions = conditions.into_iter().flatten();
                conditions.any(|found| found["type"] == "Ready" && found["status"] == "True")
            };
            let found = pods.iter().filter(is_copy).find(ready).cloned();
            Ok(found.ok_or(format!("{} shadow pods", pods.len())))
        })
    }

    /// Waits until no shadow pod of a Deployment is left.
    pub fn no_shadows(&self, name: &str, seconds: u64) -> Result<()> {
        until(&format!("no shadow pod of {name}"), seconds, || {
            let pods = self.shadows(name)?;
            let names: Vec<_> = pods.iter().map(|pod| &pod["metadata"]["name"]).collect();
            Ok(names.is_empty().then_some(()).ok_or(format!("{names:?}")))
        })
    }

    /// The ReplicaSets of a Deployment.
    pub fn sets(&self, name: &str) -> Result<Vec<Value>> {
        let list = self.get(&["replicasets", "-l", &format!("app={name}")])?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// A revision's profile, if there is one that is done.
    pub fn profile(&self, name: &str, hash: &str) -> Result<Option<Value>> {
        let said = self.shopping(&["get", "llp", &profile_name(name, hash), "-o", "json"])?;
        if !said.good {
            return Ok(None);
        }
        let profile: Value = serde_json::from_str(&said.out)?;
        Ok((profile["status"]["phase"] == "Done").then_some(profile))
    }

    /// The value of a variable of the serving container.
    pub fn variable(&self, name: &str, variable: &str) -> Result<Option<String>> {
        let seen = self.deployment(name)?;
        let list = seen.0.pointer("/spec/template/spec/containers/0/env");
        let mut list = list.and_then(Value::as_array).into_iter().flatten();
        let found = list.find(|entry| entry["name"] == variable);
        Ok(found.and_then(|entry| Some(entry["value"].as_str()?.to_owned())))
    }
}
