//! Images of the product's programs, and how a cluster gets them, as data and texts.

use std::fmt::Write as _;

/// Where archives and kustomization go, below the repository's root.
pub const FOLDER: &str = "target/images";

/// One program of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The image's name after the registry.
    pub image: &'static str,
    /// The program's file.
    pub program: &'static str,
    /// The archive's file.
    pub archive: &'static str,
}

/// Every program that runs in a cluster: the two that are installed, and the load driver that profiles start.
pub const PARTS: [Part; 3] = [
    Part {
        image: "admission",
        program: "msars-admission",
        archive: "admission.tar",
    },
    Part {
        image: "autoscaler",
        program: "msars-autoscaler",
        archive: "autoscaler.tar",
    },
    Part {
        image: "profile",
        program: "msars-profile",
        archive: "profile.tar",
    },
];

/// The processor of the nodes that can run the images, as Kubernetes says it: they are built for this machine's.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// Patches of every workload of a kind, after `patches:`: only on nodes with the images' processor.
fn on_nodes(kind: &str) -> String {
    format!(
        "- target:\n    kind: {kind}\n  patch: |\n    - op: add\n      path: /spec/template/spec/nodeSelector\n      \
         value: {{kubernetes.io/arch: {ARCHITECTURE}}}\n"
    )
}

/// An image's whole name.
pub fn name(registry: &str, part: Part, tag: &str) -> String {
    format!("{registry}/{}:{tag}", part.image)
}

/// Installs the manifests with these images. The load driver's is an argument of the autoscaler, which starts it.
pub fn kustomization(registry: &str, tag: &str) -> String {
    let mut text = String::from(
        "# kubectl apply -k target/images\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
         resources:\n- ../../manifests\nimages:\n",
    );
    let [installed @ .., driver] = PARTS;
    for part in installed {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "- name: msars/{}\n  newName: {registry}/{}\n  newTag: {tag:?}",
            part.image, part.image
        );
    }
    let _ = write!(
        text,
        "patches:\n- target:\n    kind: Deployment\n    name: msars-autoscaler\n  patch: |\n    \
         - op: add\n      path: /spec/template/spec/containers/0/args/-\n      value: --load-image={}\n{}",
        name(registry, driver, tag),
        on_nodes("Deployment")
    );
    text
}

/// Drains with the same image, before an uninstallation.
pub fn drain(registry: &str, tag: &str) -> String {
    format!(
        "# manifests/drain says when: kubectl apply -k {FOLDER}/drain\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- ../../../manifests/drain\nimages:\n\
         - name: msars/autoscaler\n  newName: {registry}/autoscaler\n  newTag: {tag:?}\npatches:\n{}",
        on_nodes("Job")
    )
}

/// What the reader does next.
pub fn next(registry: &str, tag: &str) -> String {
    let mut text = format!("written to {FOLDER}; for each of them, one of\n");
    for part in PARTS {
        let _ = writeln!(
            text,
            "  skopeo copy oci-archive:{FOLDER}/{} docker://{}",
            part.archive,
            name(registry, part, tag)
        );
    }
    let _ = writeln!(
        text,
        "or on a node:  ctr -n k8s.io images import {FOLDER}/admission.tar   (and so on)\n\
         then:          kubectl apply -k {FOLDER}"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::{PARTS, drain, kustomization, name, next};

    #[test]
    fn the_kustomization_names_every_image() {
        let text = kustomization("registry.example/team", "v1");
        for wanted in [
            "newName: registry.example/team/admission",
            "newName: registry.example/team/autoscaler",
            "newTag: \"v1\"",
            "value: --load-image=registry.example/team/profile:v1",
            "    kind: Deployment\n  patch: |\n    - op: add\n      path: /spec/template/spec/nodeSelector",
            "- ../../manifests",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
    }

    #[test]
    fn the_drain_has_the_same_image() {
        let text = drain("registry.example/team", "v1");
        for wanted in [
            "newName: registry.example/team/autoscaler",
            "newTag: \"v1\"",
            "- ../../../manifests/drain",
            "    kind: Job\n  patch: |\n    - op: add\n      path: /spec/template/spec/nodeSelector",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
    }

    #[test]
    fn every_archive_is_pushed_by_its_name() {
        let text = next("registry.example/team", "v1");
        for part in PARTS {
            assert!(text.contains(part.archive), "{text}");
            assert!(
                text.contains(&name("registry.example/team", part, "v1")),
                "{text}"
            );
        }
    }
}
