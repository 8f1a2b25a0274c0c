//! The webhook's certificate and its authority are exchanged while reviews run.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use msars_certs::{Authority, Leaf, Pem, Usage, bundle};
use serde_json::{Value, json};

use crate::bed::{Bed, SYSTEM, until};
use crate::clock::now;
use crate::proxy::Stream;
use crate::{Case, strike};

pub const CASES: &[Case] = &[strike(
    "three certificate rotations, one of the authority, under a stream of admissions: none failed, none let through",
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

fn authority(secret: &Value) -> Result<Authority> {
    Ok(Authority::load(Pem {
        cert: file(secret, "ca.crt")?,
        key: file(secret, "ca.key")?,
    })?)
}

const LEAF: Leaf<'_> = Leaf {
    name: HOST,
    group: None,
    sans: &[HOST],
    usage: Usage::Server,
};

fn encoded(files: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!(STANDARD.encode(text))))
        .collect();
    json!({"data": data})
}

fn store(bed: &Bed, files: &[(&str, &str)]) -> Result<()> {
    let data = encoded(files).to_string();
    let patch = ["patch", "secret", SECRET, "--type=merge", "-p", &data];
    bed.must(&[&["-n", SYSTEM][..], &patch].concat()).map(drop)
}

/// A pod of the webhook: name, address, reloads so far.
type Serving = (String, String, u64);

fn serving(bed: &Bed) -> Result<Vec<Serving>> {
    let found = pods(bed)?;
    ensure!(
        found.len() == 2,
        "expected: two pods of the webhook; found: {}",
        found.len()
    );
    found
        .into_iter()
        .map(|(name, address)| reloads(bed, &address).map(|count| (name, address, count)))
        .collect()
}

/// Waits until the Secret's file is another one than `old`.
fn replaced(bed: &Bed, name: &str, old: &str, seconds: u64) -> Result<()> {
    until(&format!("the leader renews {name}"), seconds, || {
        let found = file(&bed.own(&["secret", SECRET])?, name)?;
        Ok((found != old)
            .then_some(())
            .ok_or("the aged one".to_owned()))
    })
}

/// Waits until every pod serves another leaf than before. The kubelet looks at a pod's Secrets about once a minute, and
/// whenever the pod changes.
fn served(bed: &Bed, before: &[Serving]) -> Result<()> {
    let mark = format!("e2e/rotation={}", bed.mark());
    for (name, _, _) in before {
        bed.must(&["-n", SYSTEM, "annotate", "--overwrite", "pod", name, &mark])?;
    }
    for (name, address, count) in before {
        until(&format!("{name} serves the new leaf"), 120, || {
            let found = reloads(bed, address)?;
            Ok((found > *count)
                .then_some(())
                .ok_or(format!("{found} reloads")))
        })?;
    }
    Ok(())
}

/// Puts a leaf in place that has lived four fifths of its life, waits for the leader's new one, and until every pod
/// serves it.
fn rotate(bed: &Bed) -> Result<()> {
    let authority = authority(&bed.own(&["secret", SECRET])?)?;
    let aged = authority.issue(
        &LEAF,
        now() - SignedDuration::from_hours(40),
        SignedDuration::from_hours(50),
    )?;
    let before = serving(bed)?;
    store(bed, &[("tls.crt", &aged.cert), ("tls.key", &aged.key)])?;
    replaced(bed, "tls.crt", &aged.cert, 30)?;
    served(bed, &before)
}

/// Puts an authority in charge that ends in four minutes, trusted beside the one before it; waits until every pod serves
/// a leaf of it, until the leader exchanges it at two thirds of its life, and until every pod serves a leaf of the next.
fn exchange(bed: &Bed) -> Result<()> {
    let old = authority(&bed.own(&["secret", SECRET])?)?;
    let (from, life) = (
        now() - SignedDuration::from_secs(60),
        SignedDuration::from_secs(300),
    );
    let short = Authority::new("msars-webhook-ca", from, life)?;
    let leaf = short.issue(&LEAF, from, life)?;
    let both = bundle(&short.pem().cert, &[old.pem().cert.as_str()]);
    let before = serving(bed)?;
    // Trusted first, as the leader does it: no pod may serve what the API server does not trust yet.
    let trusted: Vec<Value> = bed.own(&["mutatingwebhookconfiguration", "msars-admission"])?
        ["webhooks"]
        .as_array()
        .context("no webhooks")?
        .iter()
        .map(|one| json!({"name": one["name"], "clientConfig": {"caBundle": STANDARD.encode(&both)}}))
        .collect();
    let trusted = json!({"webhooks": trusted}).to_string();
    let configuration = ["patch", "mutatingwebhookconfiguration", "msars-admission"];
    bed.must(&[&configuration[..], &["-p", &trusted]].concat())?;
    store(
        bed,
        &[
            ("ca.crt", &short.pem().cert),
            ("ca.key", &short.pem().key),
            ("tls.crt", &leaf.cert),
            ("tls.key", &leaf.key),
            ("bundle.crt", &both),
        ],
    )?;
    served(bed, &before)?;
    let before = serving(bed)?;
    replaced(bed, "ca.crt", &short.pem().cert, 180)?;
    served(bed, &before)
}

fn rotations(bed: &Bed) -> Result<()> {
    bed.settle("session-db")?;
    let stream = Stream::start(bed, "session-db")?;
    let outcome = (0..2)
        .try_for_each(|_| rotate(bed))
        .and_then(|()| exchange(bed));
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
