//! `explain`: the last decision in sentences, and recorded decisions made anew.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use kube::api::ListParams;
use msars_api::crd::SloAutoscaler;
use msars_controller::autoscalers::Targets;
use msars_controller::workload::explain::explain;
use msars_controller::workload::replay::replay;
use msars_domain::ObjectKey;

/// Flags of `explain`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// The Deployment, NAMESPACE/NAME. With `--replay`, only its decisions are printed.
    #[arg(required_unless_present = "replay")]
    workload: Option<String>,
    /// A log of `run --decisions`, `-` for the program's input: every decision is made anew, and the exit tells
    /// whether all are the recorded ones to the last bit. A line that cannot be read is told and counts as another one.
    #[arg(long)]
    replay: Option<PathBuf>,
}

/// Prints what was asked for.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match (args.replay, args.workload) {
        (Some(path), workload) => again(&path, workload.as_deref()),
        (None, Some(workload)) => last(&workload).await,
        (None, None) => bail!("name a Deployment as NAMESPACE/NAME, or a log with --replay FILE"),
    }
}

async fn last(workload: &str) -> anyhow::Result<()> {
    let (namespace, name) = workload
        .split_once('/')
        .with_context(|| format!("{workload}: expected NAMESPACE/NAME"))?;
    crate::tls()?;
    let client = kube::Client::try_default()
        .await
        .context("finding the API server: set KUBECONFIG")?;
    let api: kube::Api<SloAutoscaler> = kube::Api::namespaced(client, namespace);
    let all = api
        .list(&ListParams::default())
        .await
        .with_context(|| format!("listing the SloAutoscalers of {namespace}"))?;
    let all: Vec<_> = all.items.into_iter().map(Arc::new).collect();
    let targets = Targets::of(&all);
    let found = targets
        .all(&ObjectKey::new(namespace, name))
        .first()
        .with_context(|| {
            format!("{workload} has no SloAutoscaler: annotate its Deployment with msars.io/mode=recommend")
        })?;
    print!("{}", explain(found));
    Ok(())
}

fn again(path: &Path, workload: Option<&str>) -> anyhow::Result<()> {
    let log: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file =
            std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Box::new(BufReader::new(file))
    };
    let replayed = replay(log, |at, decided, told| {
        if workload.is_some_and(|wanted| wanted == decided.to_string()) {
            println!("{at} {told}");
        }
    })
    .with_context(|| format!("replaying {}", path.display()))?;
    for sentence in replayed.different.iter().chain(&replayed.unreadable) {
        println!("{sentence}");
    }
    let (different, unreadable) = (replayed.different.len(), replayed.unreadable.len());
    println!("{} decisions, {different} different", replayed.decisions);
    match (different, unreadable) {
        (0, 0) => Ok(()),
        (_, 0) => bail!("{different} decisions are not the recorded ones"),
        (0, _) => bail!("{unreadable} lines are no record of a decision"),
        _ => bail!(
            "{different} decisions are not the recorded ones, {unreadable} lines are no record of one"
        ),
    }
}
