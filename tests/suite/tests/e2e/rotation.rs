//! The webhook's certificate is exchanged while reviews run.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use msars_certs::{Authority, Leaf, Pem, Usage};
use serde_json::{Value, json};

use crate::bed::{Bed, SYSTEM, until};
use crate::clock::now;
use crate::proxy::Stream;
use crate::{Case, strike};

pub const CASES: &[Case] = &[strike(
    "three certificate rotations under a stream of admissions: none failed, none let through",
    rotations,
)];

const SECRET: &str = "msars-admission-tls";
const HOST: &str = "msars-admission.msars-system.svc";

fn file(secret: &Value, name: &str) -> Result<String> {
    let text = secret["data"][name].as_str();
    let bytes = STANDARD.decode(text.with_context(|| format!("no {name}"))?)?;
    Ok(String::from_utf8(bytes)?)
}

/// The pods of the webhook with their addresses.
fn pods(bed: &Bed) -> Result<Vec<(String, String)>> {
    let list = bed.own(&["pods", "-l", "app.kubernetes.io/name=msars-admission"])?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items
        .filter_map(|pod| {
            let text = |pointer: &str| pod.pointer(pointer)?.as_str().map(str::to_owned);
            Some((text("/metadata/name")?, text("/status/podIP")?))
        })
        .collect())
}

/// How often a pod of the webhook took another certificate into use.
fn reloads(bed: &Bed, address: &str) -> Result<u64> {
    let text = bed.cluster.get(&format!("http://{address}:8080/metrics"))?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| line.contains("certificate_reloads"));
    let count = line.and_then(|line| line.rsplit(' ').next());
    Ok(count.context("no certificate_reloads")?.parse()?)
}

/// Puts a leaf in place that has lived four fifths of its life, waits for the leader's new one, and until every pod
/// serves it.
fn rotate(bed: &Bed) -> Result<()> {
    let secret = bed.own(&["secret", SECRET])?;
    let authority = Authority::load(Pem {
        cert: file(&secret, "ca.crt")?,
        key: file(&secret, "ca.key")?,
    })?;
    let leaf = Leaf {
        name: HOST,
        group: None,
        sans: &[HOST],
        usage: Usage::Server,
    };
    let aged = authority.issue(
        &leaf,
        now() - SignedDuration::from_hours(40),
        SignedDuration::from_hours(50),
    )?;
    let data = json!({"data": {"tls.crt": STANDARD.encode(&aged.cert), "tls.key": STANDARD.encode(&aged.key)}});
    let before: Vec<(String, String, u64)> = pods(bed)?
        .into_iter()
        .map(|(name, address)| Ok((reloads(bed, &address)?, name, address)))
        .map(|found: Result<_>| found.map(|(count, name, address)| (name, address, count)))
        .collect::<Result<_>>()?;
    ensure!(
        before.len() == 2,
        "expected: two pods of the webhook; found: {}",
        before.len()
    );
    bed.must(&[
        "-n",
        SYSTEM,
        "patch",
        "secret",
        SECRET,
        "--type=merge",
        "-p",
        &data.to_string(),
    ])?;
    until("the leader renews the leaf", 30, || {
        let found = file(&bed.own(&["secret", SECRET])?, "tls.crt")?;
        Ok((found != aged.cert)
            .then_some(())
            .ok_or("the aged one".to_owned()))
    })?;
    // The kubelet looks at a pod's Secrets about once a minute, and whenever the pod changes.
    let mark = format!("e2e/rotation={}", bed.mark());
    for (name, _, _) in &before {
        bed.must(&["-n", SYSTEM, "annotate", "--overwrite", "pod", name, &mark])?;
    }
    for (name, address, count) in &before {
        until(&format!("{name} serves the new leaf"), 120, || {
            let found = reloads(bed, address)?;
            Ok((found > *count)
                .then_some(())
                .ok_or(format!("{found} reloads")))
        })?;
    }
    Ok(())
}

fn rotations(bed: &Bed) -> Result<()> {
    bed.settle("session-db")?;
    let stream = Stream::start(bed, "session-db")?;
    let outcome = (0..3).try_for_each(|_| rotate(bed));
    let [held, through, failed] = stream.end()?;
    println!("      {held} updates held, {through} let through, {failed} failed");
    outcome?;
    ensure!(held >= 50, "expected: at least 50 updates; found: {held}");
    ensure!(
        through == 0 && failed == 0,
        "expected: every update patched; found: {through} let through, {failed} failed"
    );
    Ok(())
}
