//! The cluster with the product and the shop on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use msars_cluster::{Cluster, Image, Options};
use msars_shop::{Options as Shop, ROLES, Role, Version, image, manifests};
use serde_json::Value;

use crate::resplit;

/// Where the product runs.
pub const SYSTEM: &str = "msars-system";
/// Until the product is Available: its certificate takes the kubelet up to 90 s to mount.
const INSTALL: Duration = Duration::from_mins(4);
/// Until the shop is.
const SHOP: Duration = Duration::from_mins(4);

/// A cluster, and whether this run brought it up.
#[derive(Debug)]
pub struct Bed {
    /// The cluster.
    pub cluster: Cluster,
    ours: bool,
}

impl Bed {
    /// Measures on the cluster that is up (`attach`), else on a fresh one that goes afterwards unless `keep`.
    pub fn during<T>(
        shop: &Shop,
        (attach, keep): (bool, bool),
        measure: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let bed = if attach {
            Self::attach()?
        } else {
            Self::up(shop)?
        };
        let measured = measure(&bed);
        bed.leave(keep)?;
        measured
    }

    /// The cluster that is up with everything on it.
    fn attach() -> Result<Self> {
        let cluster = Cluster::attach()?;
        Ok(Self {
            cluster,
            ours: false,
        })
    }

    /// A fresh cluster with the product and this shop, both Available.
    fn up(shop: &Shop) -> Result<Self> {
        let say = |line: &str| println!("{line}");
        if Cluster::attach().is_ok() {
            bail!(
                "a cluster is up: measure on it by --attach, or take it down: cargo xtask cluster down"
            );
        }
        let cluster = Cluster::up(Options::default(), &say)?;
        let bed = Self {
            cluster,
            ours: true,
        };
        match bed.install(shop) {
            Ok(()) => Ok(bed),
            Err(error) => Err(match bed.leave(false) {
                Ok(()) => error,
                Err(then) => error.context(format!("and then, taking it down: {then:#}")),
            }),
        }
    }

    fn install(&self, shop: &Shop) -> Result<()> {
        let cluster = &self.cluster;
        cluster.load_images(&images()?)?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
        let text = |path: PathBuf| path.display().to_string();
        println!("installing the product and the shop");
        // Definitions first: what is of our kinds is known to the API server a moment after them.
        cluster.ask(["apply", "-k", &text(folder.join("crds"))])?;
        cluster.ask([
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=30s",
        ])?;
        cluster.ask(["apply", "-k", &text(folder.join("overlays/shop"))])?;
        self.available(SYSTEM, INSTALL)?;
        // Grants first, so that no pod of the shop is born unseen.
        cluster.apply(&msars_shop::namespace(shop).to_string())?;
        cluster.ask([
            "apply",
            "-n",
            &shop.namespace,
            "-k",
            &text(folder.join("namespace")),
        ])?;
        cluster.apply(&manifests(shop).to_string())?;
        self.available(&shop.namespace, SHOP)
    }

    /// Waits until every Deployment of a namespace is Available.
    pub fn available(&self, namespace: &str, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let wait = [
            "-n",
            namespace,
            "wait",
            "--for=condition=Available",
            "deploy",
            "--all",
            &timeout,
        ];
        let out = self
            .cluster
            .kubectl_command(limit + Duration::from_secs(5), wait)
            .output()
            .context("starting kubectl")?;
        if !out.status.success() {
            bail!(
                "{namespace} is not Available: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        Ok(())
    }

    /// What `kubectl get … -o json` shows.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(args);
        Ok(serde_json::from_str(&self.cluster.ask(all)?)?)
    }

    /// Takes the cluster down if this run brought it up and `keep` is false.
    fn leave(self, keep: bool) -> Result<()> {
        if self.ours && !keep {
            return self.cluster.down();
        }
        Ok(())
    }
}

/// A program that was built together with this one.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program's own file")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: cargo xtask bench builds it", path.display());
    }
    Ok(path)
}

fn images() -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for (name, file) in [
        ("msars/admission:dev", "msars-admission"),
        ("msars/autoscaler:dev", "msars-autoscaler"),
        ("msars/profile:dev", "msars-profile"),
    ] {
        images.push(Image::of_program(name, &program(file)?)?);
    }
    let shop = Image::of_program("unnamed", &program("msars-shop")?)?;
    let first = ROLES.into_iter().chain([Role::Sidecar]);
    let slower = (resplit::SERVICE, resplit::SLOWER);
    for (role, version) in first.map(|role| (role, Version::V1)).chain([slower]) {
        let wanted = image(role, version);
        let named = shop.named(&wanted.reference);
        images.push(wanted.env.into_iter().fold(named, Image::with_env));
    }
    Ok(images)
}
