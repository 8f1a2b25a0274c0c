//! The writers of our own objects: profiles, objectives, autoscalers and events.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, Resource, api::PostParams, core::NamespaceResourceScope};
use msars_api::conditions::ConditionType;
use msars_api::names;
use msars_client::events::Events;
use msars_domain::ObjectKey;
use serde::{Serialize, de::DeserializeOwned};

use crate::world::Workload;

/// A kind that is kept here: in a namespace, with a spec and a status.
pub trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Kept for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// Writes our own objects; cheap to clone.
#[derive(Clone)]
pub struct Own {
    client: Client,
    events: Events,
}

impl Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

/// A failed write of an own object: logged, counted, and tried again at the next round.
#[derive(Debug, thiserror::Error)]
#[error("writing {kind} {name}: {source}")]
pub struct OwnError {
    kind: String,
    name: String,
    source: kube::Error,
}

impl OwnError {
    /// A bounded label for metrics.
    pub fn category(&self) -> &'static str {
        match &self.source {
            kube::Error::Api(status) if status.code == 409 => "conflict",
            kube::Error::Api(status) if status.code == 403 => "forbidden",
            kube::Error::Api(status) if status.code == 404 => "gone",
            kube::Error::Api(_) => "refused",
            _ => "unavailable",
        }
    }
}

fn parameters() -> PostParams {
    PostParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

impl Own {
    /// With the strict client; `instance` names this replica in events.
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            events: Events::new(client.clone(), "msars-autoscaler", instance),
            client,
        }
    }

    fn api<K: Kept>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates an object; one that is there already is fine.
    pub async fn create<K: Kept>(&self, object: &K) -> Result<(), OwnError> {
        let meta = object.meta();
        let namespace = meta.namespace.clone().unwrap_or_default();
        match self
            .api::<K>(&namespace)
            .create(&parameters(), object)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(source) => Err(failed::<K>(object, source)),
        }
    }

    /// Replaces an object's spec at the version that was read.
    pub async fn replace<K: Kept>(&self, object: &K) -> Result<(), OwnError> {
        let meta = object.meta();
        let (namespace, name) = (
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        );
        self.api::<K>(&namespace)
            .replace(&name, &parameters(), object)
            .await
            .map(drop)
            .map_err(|source| failed::<K>(object, source))
    }

    /// Replaces an object's status. `edit` gets the stored object; it is read again once if somebody was faster.
    pub async fn status<K: Kept>(
        &self,
        key: &ObjectKey,
        edit: impl Fn(&mut K),
    ) -> Result<(), OwnError> {
        let api = self.api::<K>(&key.namespace);
        let wrong = |source| OwnError {
            kind: K::kind(&()).into_owned(),
            name: key.to_string(),
            source,
        };
        for last in [false, true] {
            let mut object = api.get(&key.name).await.map_err(wrong)?;
            edit(&mut object);
            match api.replace_status(&key.name, &parameters(), &object).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 && !last => {}
                Err(source) => return Err(wrong(source)),
            }
        }
        Ok(())
    }

    /// Deletes an object that, as it is stored now, is not worth keeping; one that is gone is fine, and one that changes
    /// meanwhile stays. True when this call deleted it.
    pub async fn delete_if<K: Kept>(
        &self,
        key: &ObjectKey,
        worthless: impl Fn(&K) -> bool,
    ) -> Result<bool, OwnError> {
        let api = self.api::<K>(&key.namespace);
        let wrong = |source| OwnError {
            kind: K::kind(&()).into_owned(),
            name: key.to_string(),
            source,
        };
        let Some(object) = api.get_opt(&key.name).await.map_err(wrong)? else {
            return Ok(false);
        };
        if !worthless(&object) {
            return Ok(false);
        }
        let meta = object.meta();
        let only = DeleteParams::default().preconditions(Preconditions {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        });
        match api.delete(&key.name, &only).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(source) => Err(wrong(source)),
        }
    }

    /// Tells a workload's user something about its rollouts.
    pub async fn event(&self, workload: &Workload, warning: bool, reason: &str, note: String) {
        self.tell(workload, "Gate", warning, reason, note).await;
    }

    /// Tells a workload's user something. A lost event is logged: it must not stop the work.
    pub async fn tell(
        &self,
        workload: &Workload,
        action: &str,
        warning: bool,
        reason: &str,
        note: String,
    ) {
        let about = &workload.object;
        self.events
            .tell(about, action, warning, reason, &note)
            .await;
    }
}

fn failed<K: Resource<DynamicType = ()>>(object: &K, source: kube::Error) -> OwnError {
    OwnError {
        kind: K::kind(&()).into_owned(),
        name: format!(
            "{}/{}",
            object.meta().namespace.as_deref().unwrap_or_default(),
            object.meta().name.as_deref().unwrap_or_default()
        ),
        source,
    }
}

/// The owner reference of our objects to a workload: they go when it goes, and nothing waits for them.
pub fn owner(workload: &Workload) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: workload.key.name.clone(),
        uid: workload.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

/// Sets a condition; its transition time moves only when its status does. True when anything changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    status: bool,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let status = if status { "True" } else { "False" };
    let found = conditions
        .iter()
        .position(|condition| condition.type_ == type_.as_str());
    let since = found
        .and_then(|index| conditions.get(index))
        .filter(|condition| condition.status == status)
        .map(|condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: type_.as_str().into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    match found.and_then(|index| conditions.get_mut(index)) {
        Some(place) if *place == condition => false,
        Some(place) => {
            *place = condition;
            true
        }
        None => {
            conditions.push(condition);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_transition_while_its_status_stays() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut list = Vec::new();
        let set = |list: &mut Vec<Condition>, status, message: &str, second| {
            set_condition(
                list,
                ConditionType::Ready,
                status,
                "R",
                message,
                Some(1),
                at(second),
            )
        };
        assert!(set(&mut list, true, "a", 1));
        assert!(!set(&mut list, true, "a", 2));
        assert!(set(&mut list, true, "b", 3));
        assert_eq!(list[0].last_transition_time, Time(at(1)));
        assert!(set(&mut list, false, "b", 4));
        assert_eq!(list[0].last_transition_time, Time(at(4)));
        assert_eq!(list.len(), 1);
    }
}
