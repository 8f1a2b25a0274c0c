//! One cluster for the whole target: product, shop and live load; kubectl is the only client.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use msars_cluster::{Cluster, Options, Paths};
use msars_shop::{FRONT_MIX, Role};
use msars_suite::folder;
use serde_json::{Value, json};

use crate::clock::Watch;
use crate::install::{programs, small};
use crate::yard::Ground;

/// Where the product runs.
pub const SYSTEM: &str = "msars-system";
/// What one kubectl call may take.
const CALL: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Requests of the live load per second: the rarest role still gets enough of them to be learnt from in a window.
const RATE: &str = "25";

/// What a program said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Whether it ended well.
    pub good: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// How long it took, in seconds.
    pub took: f64,
}

/// The cluster with everything on it.
#[derive(Debug)]
pub struct Bed {
    /// The cluster.
    pub cluster: Cluster,
    /// The shop's namespace.
    pub namespace: String,
    /// Whether nobody else uses the cluster, so that the product itself may be struck.
    pub alone: bool,
    /// Whether the cluster was up before and stays up.
    attached: bool,
    load: Option<Child>,
    log: PathBuf,
    begin: i64,
    marks: AtomicU32,
    /// How far the workloads of the scaling cases are.
    pub yard: Mutex<Ground>,
}

fn say(line: &str) {
    println!("{line}");
}

impl Bed {
    /// Brings all of it up, to the moment when the gate holds. With `MSARS_E2E_ATTACH=1` the cluster that is up is
    /// used and left up, and the product on it is not struck unless `MSARS_E2E_ALONE=1`.
    /// The workloads of the scaling cases are laid out meanwhile when `yard`.
    pub fn up(yard: bool) -> Result<Self> {
        let flag = |name: &str| std::env::var_os(name).is_some_and(|value| value == "1");
        let attached = flag("MSARS_E2E_ATTACH");
        let cluster = if attached {
            Cluster::attach()?
        } else {
            // Asked when no other run works on it any more, whose cluster would be taken for one that stays up.
            let lock = Paths::from_env()?.lock(&say)?;
            let stays = Cluster::attach().is_ok();
            drop(lock);
            ensure!(
                !stays,
                "a cluster is up: take it down by `cargo xtask cluster down`, or use it with MSARS_E2E_ATTACH=1"
            );
            let scrape = Some("5s".parse().map_err(anyhow::Error::msg)?);
            Cluster::up(Options { scrape }, &say)?
        };
        let mut bed = Self {
            cluster,
            namespace: "e2e-shop".into(),
            alone: !attached || flag("MSARS_E2E_ALONE"),
            attached,
            load: None,
            log: std::env::temp_dir().join(format!("msars-e2e-load-{}.log", std::process::id())),
            begin: crate::clock::now().as_second(),
            marks: AtomicU32::new(0),
            yard: Mutex::default(),
        };
        match bed.fill(yard) {
            Ok(()) => Ok(bed),
            Err(error) => Err(match bed.leave() {
                Ok(()) => error,
                Err(then) => error.context(format!("and then, taking it down: {then:#}")),
            }),
        }
    }

    fn fill(&mut self, yard: bool) -> Result<()> {
        let watch = Watch::start();
        let lap = |what: &str| println!("{:6.1} s  {what}", watch.seconds());
        if !self.attached {
            self.images()?;
            lap("images loaded");
            self.install()?;
            lap("product Available");
        }
        self.shop()?;
        lap("shop Available");
        self.visit()?;
        lap("load runs");
        if yard {
            self.lay()?;
            lap("workloads of the scaling cases Available");
        }
        until("the gate knows the chains of the shop", 420, || {
            // The controller makes it from the annotations.
            let slo = match self.get(&["slo", "front-end"]) {
                Ok(slo) => slo,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let services = slo.pointer("/status/chains/0/services");
            let known = services.and_then(Value::as_array).map_or(0, Vec::len);
            let message = slo["status"]["conditions"][0]["message"].to_string();
            Ok((known >= 12)
                .then_some(())
                .ok_or(format!("{known} services, {message}")))
        })?;
        lap("the gate is live");
        Ok(())
    }

    fn shop(&self) -> Result<()> {
        let name = &self.namespace;
        if self.kubectl(&["get", "namespace", name])?.good {
            return self.available();
        }
        let options = msars_shop::Options {
            namespace: name.clone(),
            ..msars_shop::Options::default()
        };
        let mut list = msars_shop::manifests(&options);
        for object in list["items"].as_array_mut().into_iter().flatten() {
            self.fit(object);
        }
        self.must_with(&list.to_string(), &["apply", "-f", "-"])?;
        let grant = folder("namespace").display().to_string();
        self.must(&["apply", "-k", &grant, "-n", name])?;
        self.available()
    }

    fn available(&self) -> Result<()> {
        self.must(&[
            "-n",
            &self.namespace,
            "wait",
            "--for=condition=Available",
            "deployment",
            "--all",
            "--timeout=80s",
        ])
        .map(drop)
    }

    /// Starts the live load.
    fn visit(&mut self) -> Result<()> {
        let service = self.get(&["service", "front-end"])?;
        let address = service["spec"]["clusterIP"]
            .as_str()
            .context("no clusterIP")?;
        let log = std::fs::File::create(&self.log)?;
        let child = self
            .cluster
            .enter(programs()?.join("msars-profile"))
            .args(["run", "--target", &format!("http://{address}")])
            .args(["--requests", FRONT_MIX, "--rate", RATE])
            .args(["--duration", "3600s", "--window", "1s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting the load")?;
        self.load = Some(child);
        until("the load is answered", 30, || {
            let (sent, failed) = self.requests()?;
            Ok((sent > failed + 5)
                .then_some(())
                .ok_or(format!("{sent} sent, {failed} failed")))
        })
    }

    /// What the live load has said, one line per second.
    pub fn load_log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Requests of the live load so far: sent, and failed or dropped.
    pub fn requests(&self) -> Result<(u64, u64)> {
        let text = self.load_log()?;
        let sums = text.lines().map(counted);
        Ok(sums.fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1)))
    }

    /// The seconds in which requests of the live load failed or were dropped, as the load said them.
    pub fn losses(&self) -> Result<Vec<String>> {
        let text = self.load_log()?;
        let lost = text.lines().filter(|line| counted(line).1 > 0);
        Ok(lost.map(str::to_owned).collect())
    }

    /// Ends the load, and the cluster if this run brought it up.
    pub fn leave(mut self) -> Result<()> {
        if let Some(mut load) = self.load.take() {
            load.kill()?;
            load.wait()?;
        }
        match std::fs::remove_file(&self.log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        if self.attached {
            return self.clear_yard();
        }
        self.cluster.down()
    }

    /// A text that no template had before.
    pub fn mark(&self) -> String {
        let number = self.marks.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}-{number}", self.begin)
    }

    /// A role's Deployment as its team keeps it, with the variable `E2E_APPLIED`.
    pub fn manifest(&self, name: &str, applied: &str) -> Result<Value> {
        let role: Role = name.parse()?;
        let options = msars_shop::Options {
            namespace: self.namespace.clone(),
            ..msars_shop::Options::default()
        };
        let mut object = msars_shop::deployment(role, &options);
        self.fit(&mut object);
        object["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "E2E_APPLIED", "value": applied}]);
        Ok(object)
    }

    /// Beside another shop, the node has room for a small one only.
    fn fit(&self, object: &mut Value) {
        if self.attached {
            small(object);
        }
    }

    /// One kubectl call.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Said> {
        self.kubectl_with("", args)
    }

    /// One kubectl call with something to read.
    pub fn kubectl_with<S: AsRef<OsStr>>(&self, input: &str, args: &[S]) -> Result<Said> {
        let watch = Watch::start();
        let out = self.cluster.kubectl_fed(CALL, args, input)?;
        Ok(Said {
            good: out.status.success(),
            out: String::from_utf8_lossy(&out.stdout).into_owned(),
            err: String::from_utf8_lossy(&out.stderr).into_owned(),
            took: watch.seconds(),
        })
    }

    /// One kubectl call in the shop's namespace.
    pub fn shopping(&self, args: &[&str]) -> Result<Said> {
        let mut all = vec!["-n", &self.namespace];
        all.extend(args);
        self.kubectl(&all)
    }

    /// The same, which must end well.
    pub fn shopped(&self, args: &[&str]) -> Result<Said> {
        let said = self.shopping(args)?;
        ensure!(said.good, "kubectl {}: {}", args.join(" "), said.err);
        Ok(said)
    }

    /// A kubectl call that must end well; its output.
    pub fn must(&self, args: &[&str]) -> Result<String> {
        self.must_with("", args).map(|said| said.out)
    }

    /// The same with something to read.
    pub fn must_with(&self, input: &str, args: &[&str]) -> Result<Said> {
        let said = self.kubectl_with(input, args)?;
        ensure!(said.good, "kubectl {}: {}", args.join(" "), said.err);
        Ok(said)
    }

    /// An object or a list of the shop's namespace.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["-n", &self.namespace, "get", "-o", "json"];
        all.extend(args);
        Ok(serde_json::from_str(&self.must(&all)?)?)
    }

    /// An object or a list of the product's namespace.
    pub fn own(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["-n", SYSTEM, "get", "-o", "json"];
        all.extend(args);
        Ok(serde_json::from_str(&self.must(&all)?)?)
    }

    /// Waits until a rollout is complete.
    pub fn rolled_in(&self, namespace: &str, name: &str) -> Result<()> {
        let deployment = format!("deployment/{name}");
        let args = [
            "-n",
            namespace,
            "rollout",
            "status",
            &deployment,
            "--timeout=80s",
        ];
        self.must(&args).map(drop)
    }
}

/// Asks until there is an answer; the error after `seconds` names the question and what was seen last.
pub fn until<T>(
    what: &str,
    seconds: u64,
    ask: impl FnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    every(LOOK, what, seconds, ask)
}

/// The same with a pause of one's own between two looks.
pub fn every<T>(
    pause: Duration,
    what: &str,
    seconds: u64,
    mut ask: impl FnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let watch = Watch::start();
    loop {
        match ask()? {
            Ok(answer) => return Ok(answer),
            Err(seen) if watch.elapsed() >= Duration::from_secs(seconds) => {
                bail!("expected: {what}, within {seconds} s; found: {seen}");
            }
            Err(_seen) => std::thread::sleep(pause),
        }
    }
}

/// One line of the load: requests sent, and failed or dropped.
fn counted(line: &str) -> (u64, u64) {
    let (mut sent, mut failed) = (0, 0);
    let words: Vec<&str> = line.split(' ').collect();
    for two in words.windows(2) {
        let Ok(number) = two[0].parse::<u64>() else {
            continue;
        };
        match two[1] {
            "sent" => sent += number,
            "failed" | "dropped" => failed += number,
            _ => {}
        }
    }
    (sent, failed)
}
