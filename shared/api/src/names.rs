//! Names of labels, our own objects, and the writer.

/// Namespace of the installation unless another is given.
pub const SYSTEM_NAMESPACE: &str = "msars-system";
/// The Lease of the autoscaler's leader; the webhook reads its age as "a live controller".
pub const LEASE: &str = "msars-autoscaler";
/// The Secret with the webhook's serving certificate and the authorities.
pub const WEBHOOK_SECRET: &str = "msars-admission-tls";
/// The MutatingWebhookConfiguration.
pub const WEBHOOK_CONFIGURATION: &str = "msars-admission";
/// The Service in front of the webhook's replicas.
pub const WEBHOOK_SERVICE: &str = "msars-admission";
/// The ConfigMap with the cluster-wide switches, such as `holds: "off"`.
pub const SWITCHES: &str = "msars-switches";
/// Key of [`SWITCHES`]: `on` (default), or `off`, which lets every revision pass. An unknown word is `off`.
pub const SWITCH_HOLDS: &str = "holds";
/// Field manager of our writes.
pub const FIELD_MANAGER: &str = "msars";
/// Field manager under which a user applies `spec.replicas` alone, so that a GitOps tool can leave the field out.
pub const HANDOVER_MANAGER: &str = "msars-handover";
/// Namespace label that puts its workloads in reach of the two webhooks.
pub const ENABLED_LABEL: &str = "msars.io/enabled";
/// Pod label: `subject` on the copy of a new template, `load` on the pod that drives it.
pub const SHADOW_LABEL: &str = "msars.io/shadow";
/// Pod label: the Deployment that a shadow pod belongs to.
pub const SHADOW_OF_LABEL: &str = "msars.io/shadow-of";
/// Label of shadow pods and load-latency profiles: the revision's hash.
pub const REVISION_LABEL: &str = "msars.io/revision";
/// Annotation of a shadow pod: the run that made it. The pod of another run, also of another leader, has the same name.
pub const SHADOW_RUN_ANNOTATION: &str = "msars.io/shadow-run";
/// Environment variable that tells a program that it runs in a shadow pod.
pub const SHADOW_ENV: &str = "MSARS_SHADOW";
/// Priority class of shadow pods: never preempts.
pub const SHADOW_PRIORITY_CLASS: &str = "msars-shadow";

/// The name of a revision's profile. A Deployment's name has at most 253 characters, and twenty digits and a dot are
/// added, so that long names are cut.
pub fn profile_name(deployment: &str, revision: &str) -> String {
    let room = 253 - revision.len().min(60) - 1;
    let kept: String = deployment.chars().take(room).collect();
    format!("{kept}.{revision}")
}

/// The name of a shadow pod (`role` is `subject` or `load`); a pod's name has at most 63 characters to be a host name.
pub fn shadow_name(deployment: &str, revision: &str, role: &str) -> String {
    let short: String = revision.chars().take(8).collect();
    let room = 63usize.saturating_sub(short.len() + role.len() + "-msars--".len());
    let kept: String = deployment.chars().take(room).collect();
    format!("{kept}-msars-{short}-{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_their_limits() {
        let long = "a".repeat(253);
        let hash = "0123456789abcdef0123";
        assert!(profile_name(&long, hash).len() <= 253);
        assert!(shadow_name(&long, hash, "subject").len() <= 63);
        assert_eq!(
            shadow_name("catalogue", hash, "load"),
            "catalogue-msars-01234567-load"
        );
    }
}
