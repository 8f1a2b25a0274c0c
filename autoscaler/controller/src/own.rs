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

use crate::lead::Lead;
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
    /// Without one it writes whoever leads.
    lead: Option<Lead>,
}

impl Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

/// A failed write of an own object: logged, counted, and tried again at the next round.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The API server refused it, or gave no answer.
    #[error("writing {kind} {name}: {source}")]
    Api {
        /// The object's kind.
        kind: String,
        /// Its namespace and name.
        name: String,
        /// What happened.
        source: kube::Error,
    },
    /// Nothing was written: it is the next leader's to do.
    #[error("writing {kind} {name}: this replica leads no more")]
    NotLeading {
        /// The object's kind.
        kind: String,
        /// Its namespace and name.
        name: String,
    },
}

impl OwnError {
    /// A bounded label for metrics.
    pub fn category(&self) -> &'static str {
        let source = match self {
            Self::NotLeading { .. } => return "not_leading",
            Self::Api { source, .. } => source,
        };
        match source {
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
            lead: None,
        }
    }

    /// Writes objects only while `lead` holds; events speak of what was done, whoever leads by then.
    #[must_use]
    pub fn led(mut self, lead: Lead) -> Self {
        self.lead = Some(lead);
        self
    }

    fn api<K: Kept>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Whether a write is still this replica's to make; asked right before it.
    fn ours<K: Kept>(&self, key: &ObjectKey) -> Result<(), OwnError> {
        if self.lead.as_ref().is_none_or(Lead::holds) {
            return Ok(());
        }
        Err(OwnError::NotLeading {
            kind: K::kind(&()).into_owned(),
            name: key.to_string(),
        })
    }

    /// Creates an object; one that is there already is fine.
    pub async fn create<K: Kept>(&self, object: &K) -> Result<(), OwnError> {
        let key = key(object);
        self.ours::<K>(&key)?;
        match self
            .api::<K>(&key.namespace)
            .create(&parameters(), object)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(source) => Err(failed::<K>(&key, source)),
        }
    }

    /// Replaces an object's spec at the version that was read.
    pub async fn replace<K: Kept>(&self, object: &K) -> Result<(), OwnError> {
        let key = key(object);
        self.ours::<K>(&key)?;
        self.api::<K>(&key.namespace)
            .replace(&key.name, &parameters(), object)
            .await
            .map(drop)
            .map_err(|source| failed::<K>(&key, source))
    }

    /// Replaces an object's status. `edit` gets the stored object; it is read again once if somebody was faster.
    pub async fn status<K: Kept>(
        &self,
        key: &ObjectKey,
        edit: impl Fn(&mut K),
    ) -> Result<(), OwnError> {
        let api = self.api::<K>(&key.namespace);
        let wrong = |source| failed::<K>(key, source);
        for last in [false, true] {
            let mut object = api.get(&key.name).await.map_err(wrong)?;
            edit(&mut object);
            // The read is new: it would not conflict with what the next leader wrote.
            self.ours::<K>(key)?;
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
        let wrong = |source| failed::<K>(key, source);
        let Some(object) = api.get_opt(&key.name).await.map_err(wrong)? else {
            return Ok(false);
        };
        if !worthless(&object) {
            return Ok(false);
        }
        self.ours::<K>(key)?;
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

fn key<K: Kept>(object: &K) -> ObjectKey {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = object.meta();
    ObjectKey::new(part(&meta.namespace), part(&meta.name))
}

fn failed<K: Kept>(key: &ObjectKey, source: kube::Error) -> OwnError {
    OwnError::Api {
        kind: K::kind(&()).into_owned(),
        name: key.to_string(),
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
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use jiff::SignedDuration;
    use kube::client::Body;
    use msars_api::crd::ServiceLevelObjective;
    use serde_json::json;
    use tokio::sync::watch;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn objective() -> ServiceLevelObjective {
        serde_json::from_value(json!({
            "apiVersion": "msars.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"namespace": "shop", "name": "front-end", "uid": "o", "resourceVersion": "7"},
            "spec": {"application": "shop", "entry": "front-end", "percentile": 99.0, "latencyMs": 400.0},
        }))
        .unwrap()
    }

    /// A server of one objective; the lead is over as soon as it is asked with this method. What it was asked.
    fn served(ends: Option<Method>) -> (Own, Arc<Mutex<Vec<Method>>>) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let (claim, seen) = watch::channel(Some(now() + SignedDuration::from_secs(15)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                if ends.as_ref() == Some(request.method()) {
                    claim.send_replace(None);
                }
                all.lock().unwrap().push(request.method().clone());
                let body = serde_json::to_vec(&objective()).unwrap();
                answer.send_response(Response::new(Body::from(body)));
            }
        });
        let own = Own::new(Client::new(service, "shop"), "test");
        (own.led(Lead::new(seen, now)), asked)
    }

    #[tokio::test]
    async fn who_leads_no_more_writes_no_own_object() {
        let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
        let table: [(Option<Method>, usize, &[&Method]); 3] = [
            (None, 0, &[&post, &put, &get, &put, &get, &delete]),
            (Some(Method::POST), 3, &[&post, &get, &get]),
            // Between what is read and the write that rests on it.
            (Some(Method::GET), 2, &[&post, &put, &get, &get]),
        ];
        for (ends, wanted, asks) in table {
            let (own, asked) = served(ends.clone());
            let (object, key) = (objective(), ObjectKey::new("shop", "front-end"));
            let deleted = own.delete_if::<ServiceLevelObjective>(&key, |_stored| true);
            let ended = [
                own.create(&object).await,
                own.replace(&object).await,
                own.status::<ServiceLevelObjective>(&key, |_stored| {})
                    .await,
                deleted.await.map(|_deleted| ()),
            ];
            let left = ended.iter().filter_map(|ended| ended.as_ref().err());
            let left: Vec<_> = left.map(OwnError::category).collect();
            assert_eq!(left, vec!["not_leading"; wanted], "{ends:?}: {ended:?}");
            let asked = asked.lock().unwrap().clone();
            assert_eq!(asked.iter().collect::<Vec<_>>(), asks, "{ends:?}");
        }
    }

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
