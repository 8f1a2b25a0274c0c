//! Workloads for the scaling cases: roles of the shop that call nobody, each an application of its own with a load of
//! its own, so that a case changes one of them and leaves the shop alone.

use std::process::Command;
use std::sync::PoisonError;

use anyhow::{Context, Result};
use msars_shop::{Role, profile_request};
use msars_suite::folder;
use serde_json::{Value, json};

use crate::bed::{Bed, until};
use crate::install::programs;
use crate::patience::slowly;

/// Where they run.
pub const YARD: &str = "e2e-yard";
/// Where a quota will stand.
pub const WALLED: &str = "e2e-walled";

/// How far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ground {
    /// Nothing of them exists.
    #[default]
    Bare,
    /// They run under their loads.
    Laid,
    /// Those that can be learnt are scaled.
    Stands,
}

/// One workload.
#[derive(Debug, Clone, Copy)]
pub struct Plot {
    /// Where it runs.
    pub namespace: &'static str,
    /// What it does, and its name.
    pub role: Role,
    replicas: u32,
    /// CPU request and limit in thousandths of a core.
    cpu: (u32, u32),
    /// Requests per second; none without.
    rate: u32,
    scraped: bool,
    annotations: &'static [(&'static str, &'static str)],
}

const fn plot(role: Role, replicas: u32, cpu: (u32, u32), rate: u32) -> Plot {
    Plot {
        namespace: YARD,
        role,
        replicas,
        cpu,
        rate,
        scraped: true,
        annotations: &[],
    }
}

const AT_LEAST_TWO: &[(&str, &str)] = &[("msars.io/min-replicas", "2")];

/// Under a load that needs more than its smallest fleet; without a window downward, so that what would shrink does.
pub const WAVE: Plot = Plot {
    annotations: &[
        ("msars.io/min-replicas", "2"),
        ("msars.io/max-replicas", "8"),
    ],
    ..plot(Role::CatalogueDb, 2, (25, 50), 80)
};
/// Gets a second autoscaler.
pub const RIVALLED: Plot = plot(Role::UserDb, 1, (20, 60), 10);
/// Is scaled by somebody else.
pub const FOREIGN: Plot = Plot {
    annotations: AT_LEAST_TWO,
    ..plot(Role::CartsDb, 2, (20, 60), 10)
};
/// Will ask for more than the node has; Guaranteed, so that its request follows.
pub const GREEDY: Plot = plot(Role::Payment, 1, (60, 60), 10);
/// Stands in a namespace with a quota.
pub const QUOTED: Plot = Plot {
    namespace: WALLED,
    ..plot(Role::OrdersDb, 1, (20, 60), 10)
};
/// Has requests, but nobody reads its metrics; below its minimum, so that there is something to write.
pub const SILENT: Plot = Plot {
    scraped: false,
    annotations: AT_LEAST_TWO,
    ..plot(Role::SessionDb, 1, (20, 60), 5)
};
/// Has metrics, but no requests and so no profile; below its minimum.
pub const IDLE: Plot = Plot {
    annotations: AT_LEAST_TWO,
    ..plot(Role::Rabbitmq, 1, (20, 60), 0)
};

/// Has an autoscaler of its own, which is taken over.
pub const ADOPTED: Plot = plot(Role::QueueMaster, 1, (20, 60), 10);

const ALL: [Plot; 8] = [
    WAVE, RIVALLED, FOREIGN, GREEDY, QUOTED, SILENT, IDLE, ADOPTED,
];

impl Plot {
    /// The name of its Deployment and Service.
    pub fn name(&self) -> &'static str {
        self.role.name()
    }

    /// Requests per second that it has by itself.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Whether it can be learnt, and so scaled.
    fn known(&self) -> bool {
        self.scraped && self.rate > 0
    }

    fn load(&self) -> String {
        format!("load-{}", self.name())
    }

    fn options(&self) -> msars_shop::Options {
        msars_shop::Options {
            namespace: self.namespace.into(),
            gate: "observe".into(),
            ..msars_shop::Options::default()
        }
    }

    fn deployment(&self) -> Value {
        let mut object = msars_shop::deployment(self.role, &self.options());
        object["spec"]["replicas"] = json!(self.replicas);
        let notes = &mut object["metadata"]["annotations"];
        notes["msars.io/application"] = json!(self.name());
        notes["msars.io/slo"] = json!("p99<400ms");
        for (name, value) in self.annotations {
            notes[*name] = json!(value);
        }
        let template = &mut object["spec"]["template"];
        template["metadata"]["annotations"]["prometheus.io/scrape"] =
            json!(self.scraped.to_string());
        let cpu = &mut template["spec"]["containers"][0]["resources"];
        cpu["requests"]["cpu"] = json!(format!("{}m", self.cpu.0));
        cpu["limits"]["cpu"] = json!(format!("{}m", self.cpu.1));
        object
    }
}

impl Bed {
    /// Lays all of them out, with their loads.
    pub fn lay(&self) -> Result<()> {
        let mut ground = self.yard.lock().unwrap_or_else(PoisonError::into_inner);
        if *ground == Ground::Bare {
            self.lay_out()?;
            *ground = Ground::Laid;
        }
        Ok(())
    }

    fn lay_out(&self) -> Result<()> {
        for namespace in [YARD, WALLED] {
            let ours = || ALL.iter().filter(|plot| plot.namespace == namespace);
            let options = msars_shop::Options {
                namespace: namespace.into(),
                ..msars_shop::Options::default()
            };
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shop", "namespace": namespace}});
            let mut items = vec![msars_shop::namespace(&options), account];
            items.extend(ours().map(|plot| msars_shop::service(plot.role, &plot.options())));
            items.extend(ours().map(Plot::deployment));
            self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
            let grant = folder("namespace").display().to_string();
            self.must(&["apply", "-k", &grant, "-n", namespace])?;
        }
        for namespace in [YARD, WALLED] {
            self.must(&[
                "-n",
                namespace,
                "wait",
                "--for=condition=Available",
                "deployment",
                "--all",
                "--timeout=80s",
            ])?;
        }
        for plot in ALL.iter().filter(|plot| plot.rate > 0) {
            self.visit_plot(plot, plot.rate)?;
        }
        Ok(())
    }

    /// Waits until every one that can be learnt is scaled.
    pub fn yard(&self) -> Result<()> {
        self.lay()?;
        let mut ground = self.yard.lock().unwrap_or_else(PoisonError::into_inner);
        if *ground == Ground::Stands {
            return Ok(());
        }
        for plot in ALL.iter().filter(|plot| plot.known()) {
            self.until_says(plot, "ScalingActive", true, "ValidMetricFound", 180)?;
        }
        // What the last peak does not need goes at the next tick: a shrink by mistake would show at once.
        let behavior =
            json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}});
        let patch = behavior.to_string();
        self.at(
            &WAVE,
            &[
                "patch",
                "sloautoscaler",
                WAVE.name(),
                "--type=merge",
                "-p",
                &patch,
            ],
        )?;
        *ground = Ground::Stands;
        Ok(())
    }

    /// Sends so many requests per second to a plot instead of what it got before.
    pub fn visit_plot(&self, plot: &Plot, rate: u32) -> Result<()> {
        let service = self.get_at(plot, &["service", plot.name()])?;
        let address = service["spec"]["clusterIP"].as_str();
        let address = address.context("no clusterIP")?;
        let mut command = Command::new(programs()?.join("msars-profile"));
        command
            .args(["run", "--target", &format!("http://{address}")])
            .args(["--requests", &profile_request(plot.role)])
            .args(["--rate", &rate.to_string()])
            .args(["--duration", "3600s", "--window", "10s"]);
        self.cluster.stop(&plot.load())?;
        self.cluster.spawn(&plot.load(), &command).map(drop)
    }

    /// The load that it has by itself.
    pub fn calm(&self, plot: &Plot) -> Result<()> {
        self.visit_plot(plot, plot.rate)
    }

    /// Takes the loads and the namespaces away from a cluster that stays up.
    pub fn clear_yard(&self) -> Result<()> {
        for plot in &ALL {
            self.cluster.stop(&plot.load())?;
        }
        self.must(&[
            "delete",
            "namespace",
            YARD,
            WALLED,
            "--ignore-not-found",
            "--timeout=80s",
        ])
        .map(drop)
    }

    /// One kubectl call in a plot's namespace, which must end well.
    pub fn at(&self, plot: &Plot, args: &[&str]) -> Result<String> {
        let mut all = vec!["-n", plot.namespace];
        all.extend(args);
        self.must(&all)
    }

    /// An object or a list of a plot's namespace.
    pub fn get_at(&self, plot: &Plot, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(args);
        Ok(serde_json::from_str(&self.at(plot, &all)?)?)
    }

    /// Annotates a plot's Deployment.
    pub fn annotate(&self, plot: &Plot, pairs: &[&str]) -> Result<()> {
        let target = format!("deployment/{}", plot.name());
        let mut args = vec!["annotate", "--overwrite", &target];
        args.extend(pairs);
        self.at(plot, &args).map(drop)
    }

    /// `spec.replicas` of a plot.
    pub fn replicas(&self, plot: &Plot) -> Result<u64> {
        let object = self.get_at(plot, &["deployment", plot.name()])?;
        object["spec"]["replicas"].as_u64().context("no replicas")
    }

    /// Waits until a plot has so many replicas.
    pub fn until_replicas(&self, plot: &Plot, wanted: u64, seconds: u64) -> Result<()> {
        slowly(
            &format!("{} at {wanted} replicas", plot.name()),
            seconds,
            || {
                let found = self.replicas(plot)?;
                Ok((found == wanted)
                    .then_some(())
                    .ok_or(format!("{found} replicas")))
            },
        )
    }

    /// Waits until the rollout of a plot is complete.
    pub fn settled(&self, plot: &Plot) -> Result<()> {
        until(&format!("{} is complete", plot.name()), 60, || {
            let object = self.get_at(plot, &["deployment", plot.name()])?;
            let (wanted, found) = (
                &object["spec"]["replicas"],
                &object["status"]["availableReplicas"],
            );
            Ok((wanted == found)
                .then_some(())
                .ok_or(format!("{found} of {wanted} available")))
        })
    }
}
