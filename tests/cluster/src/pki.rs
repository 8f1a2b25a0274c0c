//! Certificates and kubeconfigs of the cluster: one authority, one for the front proxy, a key for service accounts.

use std::fs::write;
use std::process::Command;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use msars_certs::{Authority, Leaf, Usage};

use crate::network::NODE_ADDRESS;
use crate::paths::{Paths, put};
use crate::process::run;

/// The node's name.
pub const NODE: &str = "node1";

#[allow(
    clippy::disallowed_methods,
    reason = "the test bed's own clock, outside the product"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

#[allow(
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "one table of certificates, read top to bottom"
)]
/// Makes everything once per run.
pub fn make(paths: &Paths) -> Result<()> {
    let pki = paths.folder("pki")?;
    paths.folder("cfg")?;
    if pki.join("done").exists() {
        return Ok(());
    }
    let from = now() - SignedDuration::from_hours(1);
    let life = SignedDuration::from_hours(24 * 365);
    let authority = Authority::new("msars-cluster", from, life)?;
    let front = Authority::new("msars-cluster-front-proxy", from, life)?;
    for (name, authority) in [("ca", &authority), ("front-proxy-ca", &front)] {
        write(pki.join(format!("{name}.crt")), &authority.pem().cert)?;
        write(pki.join(format!("{name}.key")), &authority.pem().key)?;
    }
    let api = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "10.96.0.1",
        NODE_ADDRESS,
    ];
    let node = [NODE, NODE_ADDRESS, "127.0.0.1"];
    let node_user = format!("system:node:{NODE}");
    let leaves: [(&str, &str, Option<&str>, &[&str], Usage); 9] = [
        ("apiserver", "kube-apiserver", None, &api, Usage::Server),
        (
            "apiserver-kubelet",
            "apiserver-kubelet",
            Some("system:masters"),
            &[],
            Usage::Client,
        ),
        ("kubelet-server", NODE, None, &node, Usage::Server),
        ("admin", "admin", Some("system:masters"), &[], Usage::Client),
        (
            "kcm",
            "system:kube-controller-manager",
            None,
            &[],
            Usage::Client,
        ),
        (
            "scheduler",
            "system:kube-scheduler",
            None,
            &[],
            Usage::Client,
        ),
        ("proxy", "system:kube-proxy", None, &[], Usage::Client),
        ("prometheus", "prometheus", None, &[], Usage::Client),
        (
            "kubelet",
            &node_user,
            Some("system:nodes"),
            &[],
            Usage::Client,
        ),
    ];
    for (file, name, group, sans, usage) in leaves {
        let pem = authority.issue(
            &Leaf {
                name,
                group,
                sans,
                usage,
            },
            from,
            life,
        )?;
        write(pki.join(format!("{file}.crt")), &pem.cert)?;
        write(pki.join(format!("{file}.key")), &pem.key)?;
        if usage == Usage::Client {
            put(
                &paths.run.join(format!("cfg/{file}.conf")),
                &kubeconfig(paths, file),
            )?;
        }
    }
    let client = Leaf {
        name: "front-proxy-client",
        group: None,
        sans: &[],
        usage: Usage::Client,
    };
    let pem = front.issue(&client, from, life)?;
    write(pki.join("front-proxy-client.crt"), &pem.cert)?;
    write(pki.join("front-proxy-client.key"), &pem.key)?;
    let key = pki.join("sa.key");
    run(Command::new("openssl")
        .args([
            "genpkey",
            "-quiet",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
        ])
        .arg(&key))
    .context("making the service accounts' key")?;
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&key)
        .arg("-out")
        .arg(pki.join("sa.pub")))?;
    write(pki.join("done"), "")?;
    Ok(())
}

fn kubeconfig(paths: &Paths, user: &str) -> String {
    let pki = paths.text("pki");
    format!(
        r#"apiVersion: v1
kind: Config
clusters: [{{name: msars, cluster: {{server: "https://127.0.0.1:6443", certificate-authority: {pki}/ca.crt}}}}]
users: [{{name: {user}, user: {{client-certificate: {pki}/{user}.crt, client-key: {pki}/{user}.key}}}}]
contexts: [{{name: msars, context: {{cluster: msars, user: {user}}}}}]
current-context: msars
"#
    )
}
