//! What the overlays change of the manifests, without a cluster.

#![allow(clippy::unwrap_used, reason = "a test: a panic is its way to fail")]

use msars_api::names;
use msars_observe::Preset;
use msars_suite::{documents, folder};
use serde_json::{Value, json};

/// The overlay's file is what a team begins with: the same as `msars-autoscaler presets prometheus` prints, at the path
/// that the argument names.
#[test]
fn the_overlay_with_a_preset_mounts_the_file_that_its_argument_names() {
    let read = |name: &str| {
        let path = folder("overlays/preset").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let preset: Preset = serde_saphyr::from_str(&read("preset.yaml")).unwrap();
    assert_eq!(preset.check(), Ok(()));
    assert_eq!(preset, Preset::prometheus());
    let kustomization: Value = serde_saphyr::from_str(&read("kustomization.yaml")).unwrap();
    let made = &kustomization["configMapGenerator"][0];
    assert_eq!(made["files"][0], "preset.yaml");
    assert_eq!(made["namespace"], names::SYSTEM_NAMESPACE);
    let patch = kustomization["patches"][0]["patch"].as_str().unwrap();
    let patch: Value = serde_saphyr::from_str(patch).unwrap();
    let (argument, mount, volume) = (&patch[0], &patch[1]["value"], &patch[2]["value"]);
    // What is mounted already stays.
    for appends in [&patch[1], &patch[2]] {
        assert!(appends["path"].as_str().unwrap().ends_with("/-"));
    }
    let mounted = mount["mountPath"].as_str().unwrap();
    assert_eq!(
        argument["value"],
        format!("--preset-file={mounted}/preset.yaml")
    );
    assert_eq!(mount["name"], volume["name"]);
    assert_eq!(volume["configMap"]["name"], made["name"]);
}

/// Its security context constraints give a namespace's pods a user and a group, and refuse others.
#[test]
fn on_openshift_nothing_names_a_user_or_a_group() {
    for (overlay, kind, wanted) in [
        ("overlays/openshift", "Deployment", 2),
        ("overlays/openshift/drain", "Job", 1),
    ] {
        let text = std::fs::read_to_string(folder(overlay).join("kustomization.yaml")).unwrap();
        let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
        let patches = kustomization["patches"].as_array().unwrap();
        assert_eq!(patches.len(), 1, "{overlay}");
        assert_eq!(patches[0]["target"], json!({"kind": kind}));
        let patch: Value = serde_saphyr::from_str(patches[0]["patch"].as_str().unwrap()).unwrap();
        let mut all = documents(&folder(overlay)).unwrap();
        let mut patched = 0;
        for workload in all.iter_mut().filter(|one| one["kind"] == kind) {
            for operation in patch.as_array().unwrap() {
                assert_eq!(operation["op"], "remove", "{overlay}");
                let path = operation["path"].as_str().unwrap();
                let (parent, field) = path.rsplit_once('/').unwrap();
                let parent = workload.pointer_mut(parent).unwrap();
                let removed = parent.as_object_mut().unwrap().shift_remove(field);
                assert!(removed.is_some(), "{overlay}: {path}");
            }
            let pod = &workload["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            let text = pod.to_string();
            for field in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert!(!text.contains(field), "{overlay}: {text}");
            }
            patched += 1;
        }
        assert_eq!(patched, wanted, "{overlay}");
    }
}
