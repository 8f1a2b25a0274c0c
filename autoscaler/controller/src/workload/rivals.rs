//! Who else moves a workload's replicas or sizes: a second autoscaler, or a tool that keeps replicas as its own; and what
//! the user can do about it. Pure.

use jiff::Timestamp;
use kube::api::DynamicObject;
use msars_api::names::{FIELD_MANAGER, HANDOVER_MANAGER};
use msars_domain::{ObjectKey, Rival};
use serde_json::{Value, json};

use crate::world::optional::{SCALED_OBJECT, VPA};
use crate::world::scalers::Scalers;

/// The first other autoscaler of a Deployment; the HorizontalPodAutoscaler, which alone can be taken over, comes last.
pub fn rival(all: &Scalers, workload: &ObjectKey) -> Option<Rival> {
    let hpa = || all.hpas.at(workload).first();
    beside(all, workload).or_else(|| Some(named("HorizontalPodAutoscaler", hpa()?)))
}

/// The first one that cannot be taken over: a ScaledObject, paused or not, or a VerticalPodAutoscaler that acts.
pub fn beside(all: &Scalers, workload: &ObjectKey) -> Option<Rival> {
    let scaled = all.scaled_objects.at(workload).first();
    let scaled = scaled.map(|object| named(SCALED_OBJECT.kind, object));
    let sized = || {
        let vpa = all.vpas.at(workload).iter().find(|object| acts(object))?;
        Some(named(VPA.kind, vpa))
    };
    scaled.or_else(sized)
}

/// Whether a VerticalPodAutoscaler changes sizes: every mode but `Off` does, `Initial` at the birth of a pod. Without a
/// mode it acts.
fn acts(vpa: &DynamicObject) -> bool {
    let mode = vpa.data.pointer("/spec/updatePolicy/updateMode");
    mode.and_then(Value::as_str) != Some("Off")
}

fn named(kind: &str, object: &DynamicObject) -> Rival {
    Rival {
        kind: kind.into(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

/// What the user can do about a second autoscaler; `adopting` when taking its HorizontalPodAutoscaler over was asked for.
pub fn remedy(rival: &Rival, workload: &ObjectKey, adopting: bool) -> Option<String> {
    let Rival { kind, name } = rival;
    let namespace = &workload.namespace;
    if kind == VPA.kind {
        let off = json!({"spec": {"updatePolicy": {"updateMode": "Off"}}});
        return Some(format!(
            "MSARS scales once it only recommends: kubectl -n {namespace} patch vpa {name} --type merge -p '{off}'"
        ));
    }
    if kind == SCALED_OBJECT.kind {
        return Some(format!(
            "MSARS scales once it is gone: kubectl -n {namespace} delete scaledobject {name}"
        ));
    }
    let takes_over = format!(
        "MSARS takes it over with: kubectl annotate deploy/{} msars.io/adopt=hpa",
        workload.name
    );
    (!adopting).then_some(takes_over)
}

/// Tools that write a Deployment again and again by plain updates.
const UPDATERS: [&str; 5] = [
    "argocd",
    "kustomize-controller",
    "helm-controller",
    "fleet",
    "kapp-controller",
];
/// Replicas that were taken back are left alone for so long, as those that nobody's name is known of are.
const LEFT_S: f64 = 3600.0;
/// Clocks of the API server and of ours differ by less, seconds.
const SKEW_S: f64 = 60.0;

/// A field manager that keeps `spec.replicas` as its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    /// Its name.
    pub manager: String,
    /// What makes it one.
    pub claim: Claim,
}

/// How replicas are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// By server-side apply: the field is in what it applies.
    Applies,
    /// By updates: it wrote the field after we had.
    TookBack,
}

/// The field manager that keeps `spec.replicas`. An update leaves its writer as the owner until another value is written,
/// also of a tool that ignores the field by now: it counts only after `wrote`, our own last write, and for an hour. A
/// person at a terminal (`kubectl`) keeps nothing.
pub fn keeper(deployment: &Value, wrote: Option<Timestamp>, now: Timestamp) -> Option<Keeper> {
    let entries = deployment.pointer("/metadata/managedFields")?.as_array()?;
    entries.iter().find_map(|entry| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        entry.pointer("/fieldsV1/f:spec/f:replicas")?;
        let manager = text("manager");
        let keeps_nothing = [FIELD_MANAGER, HANDOVER_MANAGER].contains(&manager)
            || manager.starts_with("kubectl")
            || !text("subresource").is_empty();
        let updates = || UPDATERS.iter().any(|tool| manager.starts_with(tool));
        let claim = if text("operation") == "Apply" {
            Claim::Applies
        } else if updates() && taken_back(text("time").parse().ok()?, wrote, now) {
            Claim::TookBack
        } else {
            return None;
        };
        (!keeps_nothing).then(|| Keeper {
            manager: manager.to_owned(),
            claim,
        })
    })
}

fn taken_back(at: Timestamp, wrote: Option<Timestamp>, now: Timestamp) -> bool {
    let seconds = |later: Timestamp, earlier| later.duration_since(earlier).as_secs_f64();
    wrote.is_some_and(|wrote| seconds(at, wrote) > -SKEW_S) && seconds(now, at) < LEFT_S
}

impl Keeper {
    /// How replicas come to MSARS without a fall to 1 on the way.
    pub fn advice(&self, workload: &ObjectKey, replicas: u32) -> String {
        let ObjectKey { namespace, name } = workload;
        match self.claim {
            Claim::Applies => {
                let fields = json!({
                    "apiVersion": "apps/v1", "kind": "Deployment",
                    "metadata": {"namespace": namespace, "name": name}, "spec": {"replicas": replicas},
                });
                format!(
                    "A field that leaves the manifest of its only owner falls back to its default, 1 replica. So first give it a second one: echo '{fields}' | kubectl apply --server-side --field-manager={HANDOVER_MANAGER} --validate=false -f - ; then take spec.replicas out of the manifest; MSARS scales from the sync after that"
                )
            }
            Claim::TookBack => format!(
                "It wrote them after MSARS had. Argo CD: spec.ignoreDifferences: [{{group: apps, kind: Deployment, jsonPointers: [/spec/replicas]}}] with syncOptions: [RespectIgnoreDifferences=true]; others: take spec.replicas out of the manifest, which may set 1 once. MSARS tries again after an hour, or as soon as somebody changes the value: kubectl -n {namespace} scale deploy/{name} --replicas={}",
                replicas + 1
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::world::hpa::Targeted;

    /// Objects whose reference of this name is `target`.
    fn one(namespace: &str, reference: &str, target: &Value, more: &Value) -> Targeted {
        let mut object =
            json!({"metadata": {"namespace": namespace, "name": "other"}, "spec": more});
        object["spec"][reference] = target.clone();
        let object = Arc::new(serde_json::from_value(object).unwrap());
        Targeted::by(vec![object], reference)
    }

    fn target(api: &str, kind: &str, name: &str) -> Value {
        json!({"apiVersion": api, "kind": kind, "name": name})
    }

    fn kind(rival: Option<Rival>) -> String {
        rival.map(|rival| rival.kind).unwrap_or_default()
    }

    #[test]
    fn an_hpa_on_the_same_deployment_is_a_rival() {
        let key = ObjectKey::new("shop", "carts");
        for (namespace, target, wanted) in [
            ("shop", target("apps/v1", "Deployment", "carts"), true),
            ("other", target("apps/v1", "Deployment", "carts"), false),
            ("shop", target("apps/v1", "StatefulSet", "carts"), false),
            (
                "shop",
                target("example.io/v1", "Deployment", "carts"),
                false,
            ),
            ("shop", target("apps/v1", "Deployment", "orders"), false),
        ] {
            let all = Scalers {
                hpas: one(namespace, "scaleTargetRef", &target, &json!({})),
                ..Scalers::default()
            };
            assert_eq!(rival(&all, &key).is_some(), wanted, "{namespace} {target}");
            assert_eq!(beside(&all, &key), None);
        }
    }

    #[test]
    fn a_vpa_that_acts_is_a_rival() {
        let key = ObjectKey::new("shop", "carts");
        let ours = target("apps/v1", "Deployment", "carts");
        let mode = |mode: &str| json!({"updatePolicy": {"updateMode": mode}});
        for (target, spec, wanted) in [
            (&ours, json!({}), true),
            (&ours, json!({"updatePolicy": {"minReplicas": 2}}), true),
            (&ours, mode("Auto"), true),
            (&ours, mode("Recreate"), true),
            (&ours, mode("InPlaceOrRecreate"), true),
            (&ours, mode("Initial"), true),
            (&ours, mode("Off"), false),
            (
                &target("apps/v1", "Deployment", "orders"),
                mode("Auto"),
                false,
            ),
            (
                &target("apps/v1", "DaemonSet", "carts"),
                mode("Auto"),
                false,
            ),
        ] {
            let all = Scalers {
                vpas: one("shop", "targetRef", target, &spec),
                ..Scalers::default()
            };
            let wanted = if wanted { "VerticalPodAutoscaler" } else { "" };
            assert_eq!(kind(rival(&all, &key)), wanted, "{target} {spec}");
        }
    }

    #[test]
    fn a_scaled_object_is_a_rival_with_and_without_its_hpa() {
        let key = ObjectKey::new("shop", "carts");
        let ours = target("apps/v1", "Deployment", "carts");
        let hpas = one("shop", "scaleTargetRef", &ours, &json!({}));
        for (reference, wanted) in [
            (json!({"name": "carts"}), true),
            (ours, true),
            (json!({"name": "orders"}), false),
            (target("apps/v1", "StatefulSet", "carts"), false),
        ] {
            for by_hpa in [false, true] {
                let hpas = if by_hpa {
                    hpas.clone()
                } else {
                    Targeted::default()
                };
                let all = Scalers {
                    scaled_objects: one("shop", "scaleTargetRef", &reference, &json!({})),
                    hpas,
                    ..Scalers::default()
                };
                let wanted = match (wanted, by_hpa) {
                    (true, _) => "ScaledObject",
                    (false, true) => "HorizontalPodAutoscaler",
                    (false, false) => "",
                };
                assert_eq!(kind(rival(&all, &key)), wanted, "{reference}");
            }
        }
    }

    #[test]
    fn each_rival_has_the_command_that_ends_it() {
        let key = ObjectKey::new("shop", "carts");
        for (kind, adopting, wanted) in [
            (
                "HorizontalPodAutoscaler",
                false,
                Some("kubectl annotate deploy/carts msars.io/adopt=hpa"),
            ),
            ("HorizontalPodAutoscaler", true, None),
            (
                "VerticalPodAutoscaler",
                true,
                Some(
                    r#"kubectl -n shop patch vpa x --type merge -p '{"spec":{"updatePolicy":{"updateMode":"Off"}}}'"#,
                ),
            ),
            (
                "ScaledObject",
                true,
                Some("kubectl -n shop delete scaledobject x"),
            ),
        ] {
            let rival = Rival {
                kind: kind.into(),
                name: "x".into(),
            };
            let found = remedy(&rival, &key, adopting);
            assert_eq!(found.is_some(), wanted.is_some(), "{kind}");
            let found = found.unwrap_or_default();
            assert!(found.ends_with(wanted.unwrap_or_default()), "{found}");
        }
    }

    /// A Deployment whose replicas this manager owns since noon.
    fn owned(manager: &str, operation: &str, subresource: &str) -> Value {
        let entry = json!({"manager": manager, "operation": operation, "subresource": subresource,
            "time": "2026-03-01T12:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        json!({"metadata": {"managedFields": [entry]}})
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-03-01T{time}Z").parse().unwrap()
    }

    #[test]
    fn who_applies_replicas_keeps_them() {
        for (manager, operation, subresource, wanted) in [
            ("kustomize-controller", "Apply", "", true),
            ("argocd-controller", "Apply", "", true),
            ("terraform", "Apply", "", true),
            ("kubectl", "Apply", "", false),
            ("msars-handover", "Apply", "", false),
            ("kubectl-client-side-apply", "Update", "", false),
            ("helm", "Update", "", false),
            ("msars", "Update", "scale", false),
            ("kube-controller-manager", "Update", "scale", false),
        ] {
            for wrote in [None, Some(at("11:59:00"))] {
                let found = keeper(
                    &owned(manager, operation, subresource),
                    wrote,
                    at("12:01:00"),
                );
                let claim = found.map(|found| found.claim);
                assert_eq!(
                    claim,
                    wanted.then_some(Claim::Applies),
                    "{manager} {operation}"
                );
            }
        }
        let mut other = owned("kustomize-controller", "Apply", "");
        other["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:spec": {"f:template": {}}});
        assert_eq!(keeper(&other, None, at("12:01:00")), None);
    }

    #[test]
    fn who_updates_replicas_keeps_them_only_once_it_took_them_back() {
        for (wrote, now, wanted) in [
            // Its own from before: nobody has written since, and nobody says that it will.
            (None, "12:01:00", false),
            // We did, and it did again.
            (Some("11:59:50"), "12:01:00", true),
            (Some("09:00:00"), "12:01:00", true),
            (Some("12:00:20"), "12:01:00", true),
            // The copy is from before our write.
            (Some("12:30:00"), "12:30:10", false),
            // Tried again after an hour.
            (Some("11:59:50"), "12:59:59", true),
            (Some("11:59:50"), "13:00:00", false),
        ] {
            let owned = owned("argocd-controller", "Update", "");
            let found = keeper(&owned, wrote.map(at), at(now));
            let claim = found.map(|found| found.claim);
            assert_eq!(claim, wanted.then_some(Claim::TookBack), "{wrote:?} {now}");
        }
    }

    #[test]
    fn the_advice_names_a_way_that_keeps_replicas() {
        let key = ObjectKey::new("shop", "carts");
        let advice = |claim| {
            let manager = "tool".into();
            Keeper { manager, claim }.advice(&key, 3)
        };
        let applies = advice(Claim::Applies);
        let parts = [
            r#""spec":{"replicas":3}"#,
            "kubectl apply --server-side --field-manager=msars-handover",
            "then take spec.replicas out",
        ];
        let places: Vec<_> = parts.map(|part| applies.find(part)).into();
        assert!(places.is_sorted() && places[0].is_some(), "{applies}");
        let took = advice(Claim::TookBack);
        for part in [
            "ignoreDifferences",
            "kubectl -n shop scale deploy/carts --replicas=4",
        ] {
            assert!(took.contains(part), "{took}");
        }
    }
}
