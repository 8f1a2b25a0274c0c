//! One cluster for a whole test target: brought up, installed on, asked by kubectl, and left as it was found.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use msars_cluster::{Cluster, Options, Paths};
use serde_json::{Value, json};

use crate::manifests::folder;

/// What one kubectl call may take.
const LIMIT: Duration = Duration::from_mins(1);

/// The namespace with the grant and the label.
pub const REACHED: &str = "msars-contract";
/// The namespace without either.
pub const OTHER: &str = "msars-contract-off";

/// What a program said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Whether it ended well.
    pub good: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// The cluster, with our manifests applied.
#[derive(Debug)]
pub struct Bed {
    cluster: Cluster,
    was_up: bool,
    was_installed: bool,
    /// What the first `kubectl apply -k manifests` said.
    pub installed: Said,
}

impl Bed {
    /// Waits for other runs, then brings the cluster up, installs, and makes the two namespaces.
    pub fn up() -> Result<Self> {
        let say = |line: &str| println!("{line}");
        // Asked when no other run works on it any more, whose cluster would be taken for one that was up.
        let was_up = {
            let _lock = Paths::from_env()?.lock(&say)?;
            Cluster::attach().is_ok()
        };
        let cluster = Cluster::up(Options { scrape: None }, &say)?;
        let mut bed = Self {
            cluster,
            was_up,
            was_installed: false,
            installed: Said {
                good: false,
                out: String::new(),
                err: String::new(),
            },
        };
        if let Err(error) = bed.install() {
            bed.leave()?;
            return Err(error);
        }
        Ok(bed)
    }

    fn install(&mut self) -> Result<()> {
        let system = msars_api::names::SYSTEM_NAMESPACE;
        self.was_installed = self.kubectl(&["get", "namespace", system])?.good;
        self.installed = self.apply("", &[])?;
        self.prepare()
    }

    fn prepare(&self) -> Result<()> {
        for (name, labels) in [
            (REACHED, json!({"msars.io/enabled": "true"})),
            (OTHER, json!({})),
        ] {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
            });
            self.must_with(&namespace.to_string(), &["apply", "-f", "-"])?;
            self.until("the namespace has its service account", || {
                Ok(self
                    .kubectl(&["-n", name, "get", "serviceaccount", "default"])?
                    .good)
            })?;
        }
        let granted = self.apply("namespace", &["-n", REACHED])?;
        if !granted.good {
            bail!("granting writes in {REACHED}: {}", granted.err);
        }
        for kind in [
            "loadlatencyprofiles",
            "servicelevelobjectives",
            "sloautoscalers",
        ] {
            self.must(&[
                "wait",
                "--for=condition=Established",
                &format!("crd/{kind}.msars.io"),
                "--timeout=30s",
            ])?;
        }
        Ok(())
    }

    /// Leaves the cluster as it was found: down, or without what this run put into it.
    pub fn leave(self) -> Result<()> {
        if !self.was_up {
            return self.cluster.down();
        }
        self.must(&["delete", "namespace", REACHED, OTHER, "--ignore-not-found"])?;
        if !self.was_installed {
            let base = folder("");
            self.must(&["delete", "-k", &base.display().to_string()])?;
        }
        Ok(())
    }

    /// `kubectl apply -k` of a folder below `manifests`.
    pub fn apply(&self, name: &str, more: &[&str]) -> Result<Said> {
        let path = folder(name).display().to_string();
        let mut args = vec!["apply", "-k", &path];
        args.extend(more);
        self.kubectl(&args)
    }

    /// One kubectl call.
    pub fn kubectl(&self, args: &[&str]) -> Result<Said> {
        self.kubectl_with("", args)
    }

    /// One kubectl call with something to read.
    pub fn kubectl_with(&self, input: &str, args: &[&str]) -> Result<Said> {
        let out = self.cluster.kubectl_fed(LIMIT, args, input)?;
        Ok(Said {
            good: out.status.success(),
            out: String::from_utf8_lossy(&out.stdout).into_owned(),
            err: String::from_utf8_lossy(&out.stderr).into_owned(),
        })
    }

    /// A kubectl call that must end well; its output.
    pub fn must(&self, args: &[&str]) -> Result<String> {
        self.must_with("", args)
    }

    /// The same with something to read.
    pub fn must_with(&self, input: &str, args: &[&str]) -> Result<String> {
        let said = self.kubectl_with(input, args)?;
        if !said.good {
            bail!("kubectl {}: {}", args.join(" "), said.err);
        }
        Ok(said.out)
    }

    /// An object as the API server has it.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(args);
        Ok(serde_json::from_str(&self.must(&all)?)?)
    }

    /// Creates objects of which the answer matters, in one call; the answers in the same order.
    pub fn ask(&self, objects: &[Value]) -> Result<Vec<Value>> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let out = self.must_with(&list.to_string(), &["create", "-f", "-", "-o", "json"])?;
        let mut answers = Vec::new();
        for answer in serde_json::Deserializer::from_str(&out).into_iter::<Value>() {
            let answer = answer?;
            match answer["items"].as_array() {
                Some(items) => answers.extend(items.iter().cloned()),
                None => answers.push(answer),
            }
        }
        Ok(answers)
    }

    /// Asks until the answer is yes; after half a minute an error that names the question.
    pub fn until(&self, what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ask()? {
            if Instant::now() >= deadline {
                bail!("{what}: not within 30 s");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}
