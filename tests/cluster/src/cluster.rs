//! The cluster in the hands of another program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::containerd::import;
use crate::image::Image;
use crate::network::inside;
use crate::paths::Paths;
use crate::process::{self, Process, limited, run};
use crate::tools::{Tools, prepare};
use crate::up::{self, Options};
use crate::{down, metrics_server, prometheus};

/// What [`Cluster::kubectl`] may take.
const CALL: Duration = Duration::from_mins(1);

/// A cluster that is up. It stays up when this is dropped; [`Cluster::down`] takes it away.
#[derive(Debug)]
pub struct Cluster {
    paths: Paths,
    tools: Tools,
    kubeconfig: PathBuf,
    /// Nobody else brings it up or down while this is held.
    lock: Option<File>,
}

impl Cluster {
    /// Brings it up (idempotent; minutes when programs must be built first, else seconds) and keeps it to this process
    /// until dropped. `say` hears each step as a line.
    ///
    /// # Errors
    /// When a part does not come up; the text ends with that part's log.
    pub fn up(options: Options, say: &dyn Fn(&str)) -> Result<Self> {
        let paths = Paths::from_env()?;
        let lock = paths.lock(say)?;
        let fresh = process::processes(&paths).is_empty();
        let tools = prepare(&paths, options.scrape.is_some(), say)?;
        if let Err(error) = up::up(&paths, &tools, options, say) {
            // What did not run before is not left half-way; the error carries the ends of the logs.
            return Err(match fresh.then(|| down::down(&paths)) {
                Some(Err(then)) => error.context(format!("and then, taking it down: {then:#}")),
                _ => error,
            });
        }
        Ok(Self {
            kubeconfig: paths.kubeconfig(),
            paths,
            tools,
            lock: Some(lock),
        })
    }

    /// Waits until no other run works on the cluster, as long as `check` has nothing against it.
    ///
    /// # Errors
    /// What `check` answers; when the lock cannot be opened.
    pub fn until_free(say: &dyn Fn(&str), check: &dyn Fn() -> Result<()>) -> Result<()> {
        Paths::from_env()?.until_free(say, check)
    }

    /// The cluster that another run brought up; others may take it down meanwhile.
    ///
    /// # Errors
    /// When none is up.
    pub fn attach() -> Result<Self> {
        let paths = Paths::from_env()?;
        if process::running(&paths, "kube-apiserver").is_none() {
            bail!("no cluster is up; start one: cargo xtask cluster up");
        }
        let tools = prepare(&paths, false, &|line| eprintln!("{line}"))?;
        Ok(Self {
            kubeconfig: paths.kubeconfig(),
            paths,
            tools,
            lock: None,
        })
    }

    /// Takes it down; nothing but the built programs stays.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn down(mut self) -> Result<()> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => self.paths.lock(&|_| {})?,
        };
        down::down(&self.paths)?;
        drop(lock);
        Ok(())
    }

    /// Takes down whatever is up, also what a killed run left behind.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn clear(say: &dyn Fn(&str)) -> Result<()> {
        let paths = Paths::from_env()?;
        let _lock = paths.lock(say)?;
        down::down(&paths)
    }

    /// The admin's kubeconfig. Its server answers only inside the namespace: see [`Cluster::enter`].
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where Kubernetes' own programs lie, kubectl among them.
    pub fn tools(&self) -> &Path {
        self.tools.folder()
    }

    /// The API server's log of writes, one JSON object a line; with bodies for Deployments, new
    /// pods, `pods/resize`, `pods/status` and `msars.io`.
    pub fn audit_log(&self) -> PathBuf {
        self.paths.run.join("audit/audit.log")
    }

    /// Prometheus' address inside the namespace, which is also that of the Service `prometheus.monitoring:9090`.
    pub fn prometheus(&self) -> String {
        prometheus::url()
    }

    /// The log of a program of the cluster or of a spawned one.
    pub fn log(&self, program: &str) -> PathBuf {
        self.paths.log(program)
    }

    /// One kubectl call as the admin, ended after a minute. The status is the caller's to judge.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.kubectl_command(CALL, args)
            .output()
            .context("starting kubectl")
    }

    /// What a successful kubectl call prints; a failed one is an error with kubectl's words.
    ///
    /// # Errors
    /// When the call fails or takes longer than a minute.
    pub fn ask<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let out = run(&mut self.kubectl_command(CALL, args))?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// `kubectl apply` of these manifests, YAML or JSON; answers with what was created or changed.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        let out = self.kubectl_fed(CALL, ["apply", "-f", "-"], manifests)?;
        if !out.status.success() {
            bail!(
                "kubectl apply: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// One kubectl call with something to read, ended after `limit`. The status is the caller's to judge.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn kubectl_fed<S: AsRef<OsStr>>(
        &self,
        limit: Duration,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Result<Output> {
        let mut child = self
            .kubectl_command(limit, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let mut pipe = child.stdin.take().context("kubectl reads")?;
        let input = input.to_owned();
        // In a thread of its own: kubectl may answer before it has read everything.
        let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
        let out = child.wait_with_output()?;
        // A kubectl that ends early closes the pipe: its exit code tells.
        let _ = writer.join();
        Ok(out)
    }

    /// A kubectl call of the caller's own limit, not yet started; the way to `wait` and `rollout status`.
    pub fn kubectl_command<S: AsRef<OsStr>>(
        &self,
        limit: Duration,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = up::kubectl(&self.paths, &self.tools);
        command.args(args);
        limited(&self.paths, limit, &command)
    }

    /// `GET` of a path of the API server, or of any address inside the namespace as `http://host:port/path`.
    ///
    /// # Errors
    /// When the answer is no success.
    pub fn get(&self, address: &str) -> Result<String> {
        match address.strip_prefix("http://") {
            None => self.ask(["get", "--raw", address]),
            Some(rest) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let server = format!("--server=http://{host}");
                self.ask([
                    "--kubeconfig=/dev/null",
                    &server,
                    "get",
                    "--raw",
                    &format!("/{path}"),
                ])
            }
        }
    }

    /// A command that runs inside the namespace, where API server, pods and Services answer, with KUBECONFIG set. It is
    /// the caller's child to stop; `down` ends by force what a caller that was killed has left, unless it is
    /// [`Cluster::unowned`].
    pub fn enter(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = inside(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.paths.text("kubectl-cache"))
            .env("PATH", format!("{}:{path}", self.tools().display()))
            .env(process::OWNER, self.paths.text(""))
            .env(process::PROGRAM, "entered");
        command
    }

    /// A command of [`Cluster::enter`] that `down` leaves alone: a user's own shell.
    pub fn unowned(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter(program);
        command
            .env_remove(process::OWNER)
            .env_remove(process::PROGRAM);
        command
    }

    /// Starts a program of ours inside the namespace, detached, unless one of this name runs; tells whether it did.
    /// KUBECONFIG is set unless the command sets its own, and its output is in [`Cluster::log`]. `down` stops it,
    /// whatever became of the caller.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, name: &str, command: &Command) -> Result<bool> {
        if NAMES.contains(&name) {
            bail!("{name} is the name of a program of the cluster itself");
        }
        let mut whole = Command::new(command.get_program());
        whole
            .env("KUBECONFIG", &self.kubeconfig)
            .args(command.get_args());
        process::pass_on(&mut whole, command);
        process::start(&self.paths, name, &whole)
    }

    /// Stops a spawned program by SIGTERM, after ten seconds by force. Fine when it is gone.
    ///
    /// # Errors
    /// When it survives SIGKILL.
    pub fn stop(&self, name: &str) -> Result<()> {
        process::stop(&self.paths, name)
    }

    /// Starts metrics-server and waits until its API answers, so that HorizontalPodAutoscalers see CPU. Built from its Go
    /// module the first time (minutes). `down` stops it.
    ///
    /// # Errors
    /// When it cannot be built, or its API does not become Available within two minutes.
    pub fn metrics_server(&self, say: &dyn Fn(&str)) -> Result<()> {
        metrics_server::up(self, say)
    }

    /// The program podinfo, a public HTTP service with Prometheus metrics; statically linked. Built from its Go module
    /// the first time (a minute).
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn podinfo(&self, say: &dyn Fn(&str)) -> Result<PathBuf> {
        Ok(crate::tools::podinfo(&self.paths, say)?.join("podinfo"))
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Every living process of the cluster and the spawned ones; pods' own processes are not among them.
    pub fn processes(&self) -> Vec<Process> {
        process::processes(&self.paths)
    }

    /// The process id of a program of the cluster or of a spawned one.
    pub fn pid(&self, name: &str) -> Option<u32> {
        process::running(&self.paths, name)
    }

    /// Whether a program neither runs nor holds its sockets any more, some milliseconds after it was killed.
    pub fn gone(&self, name: &str) -> bool {
        self.pid(name).is_none() && !process::dying(name)
    }

    /// Gives the node images, all by one archive; pods name them with `imagePullPolicy: IfNotPresent` or `Never`.
    ///
    /// # Errors
    /// When containerd refuses them.
    pub fn load_images(&self, images: &[Image]) -> Result<()> {
        import(&self.paths, images)
    }
}

const NAMES: &[&str] = &[
    "command",
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "prometheus",
];
