//! Kinds of other projects, which a cluster may lack: watched while the API server offers them, looked for again and
//! again. One that is absent or forbidden is no fault of ours: nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Api, Client};
use msars_client::slim;
use msars_client::watched::{Watched, watched};
use msars_ops::shutdown::{Tasks, stopped};
use tokio::sync::{Notify, watch};

/// Between two looks for the kind.
const EVERY: Duration = Duration::from_mins(1);
/// Before the first answer.
const SOON: Duration = Duration::from_secs(2);
/// Longest time of one look.
const WITHIN: Duration = Duration::from_secs(10);

/// A kind of another project.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Of the task that watches it.
    task: &'static str,
    group: &'static str,
    version: &'static str,
    /// The kind.
    pub kind: &'static str,
    plural: &'static str,
}

/// Sizes pods.
pub const VPA: Kind = Kind {
    task: "watch verticalpodautoscalers",
    group: "autoscaling.k8s.io",
    version: "v1",
    kind: "VerticalPodAutoscaler",
    plural: "verticalpodautoscalers",
};
/// KEDA's: makes a HorizontalPodAutoscaler, and takes it away while it is paused.
pub const SCALED_OBJECT: Kind = Kind {
    task: "watch scaledobjects",
    group: "keda.sh",
    version: "v1alpha1",
    kind: "ScaledObject",
    plural: "scaledobjects",
};

/// The copy of a kind while the cluster has it.
#[derive(Debug, Clone)]
pub struct Optional(watch::Receiver<Look>);

#[derive(Debug, Clone, Default)]
enum Look {
    /// Not looked yet.
    #[default]
    Before,
    /// The API server does not offer it.
    Absent,
    There(Watched<DynamicObject>),
}

impl Optional {
    /// Starts looking as a task.
    pub(super) fn start(
        kind: Kind,
        client: &Client,
        changed: &Arc<Notify>,
        tasks: &mut Tasks,
    ) -> Self {
        let (copy, task) = optional(
            kind,
            client.clone(),
            Arc::clone(changed),
            EVERY,
            tasks.stop(),
        );
        tasks.spawn(kind.task, task);
        copy
    }

    /// All objects; none where the kind is absent.
    pub fn all(&self) -> Vec<Arc<DynamicObject>> {
        match &*self.0.borrow() {
            Look::Before | Look::Absent => Vec::new(),
            Look::There(copy) => copy.all(),
        }
    }

    /// Whether there is nothing to wait for: absent, complete once, or refused.
    pub fn settled(&self) -> bool {
        match &*self.0.borrow() {
            Look::Before => false,
            Look::Absent => true,
            Look::There(copy) => copy.synced() || copy.errors() > 0,
        }
    }
}

fn optional(
    kind: Kind,
    client: Client,
    changed: Arc<Notify>,
    every: Duration,
    stop: watch::Receiver<bool>,
) -> (Optional, impl Future<Output = ()> + Send + 'static) {
    let (look, seen) = watch::channel(Look::Before);
    let task = async move {
        let keeps = async {
            loop {
                match offered(&client, kind).await {
                    Offer::Yes => {}
                    // Nothing settles on what was not answered, and it is asked again soon.
                    Offer::Unanswered if matches!(*look.borrow(), Look::Before) => {
                        tokio::time::sleep(every.min(SOON)).await;
                        continue;
                    }
                    Offer::No | Offer::Refused | Offer::Unanswered => {
                        look.send_replace(Look::Absent);
                        tokio::time::sleep(every).await;
                        continue;
                    }
                }
                tracing::info!(kind = kind.kind, "this cluster has the kind: watched");
                let id = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
                let resource = ApiResource::from_gvk_with_plural(&id, kind.plural);
                let (copy, watches) = watched(
                    kind.task,
                    Api::all_with(client.clone(), &resource),
                    (resource, slim::unmanaged),
                    watcher::Config::default(),
                    Arc::clone(&changed),
                    stop.clone(),
                );
                look.send_replace(Look::There(copy));
                tokio::select! {
                    () = watches => {}
                    () = gone(&client, kind, every) => {
                        tracing::info!(kind = kind.kind, "this cluster has the kind no more");
                    }
                }
                look.send_replace(Look::Absent);
                changed.notify_one();
            }
        };
        tokio::select! {
            () = keeps => {}
            () = stopped(stop.clone()) => {}
        }
    };
    (Optional(seen), task)
}

/// Ends when the API server says that it offers the kind no more.
async fn gone(client: &Client, kind: Kind, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if offered(client, kind).await == Offer::No {
            return;
        }
    }
}

/// What the API server says of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Yes,
    No,
    /// It says nothing of it, and would say the same again.
    Refused,
    /// It was away or busy.
    Unanswered,
}

/// Whether the API server offers a kind.
async fn offered(client: &Client, kind: Kind) -> Offer {
    let group = format!("{}/{}", kind.group, kind.version);
    let asked = client.list_api_group_resources(&group);
    match tokio::time::timeout(WITHIN, asked).await {
        Ok(Ok(list)) if list.resources.iter().any(|found| found.name == kind.plural) => Offer::Yes,
        Ok(Ok(_)) => Offer::No,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Offer::No,
        Ok(Err(error)) => {
            tracing::warn!(%error, kind = kind.kind, "whether this cluster has the kind is not known");
            match error {
                kube::Error::Api(status) if status.code == 429 || status.code >= 500 => {
                    Offer::Unanswered
                }
                kube::Error::HyperError(_) | kube::Error::Service(_) => Offer::Unanswered,
                _ => Offer::Refused,
            }
        }
        Err(_elapsed) => {
            tracing::warn!(kind = kind.kind, within = ?WITHIN, "whether this cluster has the kind was not answered");
            Offer::Unanswered
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// What the API server says of a group and of the list of its objects.
    #[derive(Clone)]
    struct Server(Arc<Mutex<(Answer, Answer)>>);

    /// Code and body.
    type Answer = (u16, Value);

    fn refused(code: u16) -> (u16, Value) {
        (
            code,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no", "reason": "x"}),
        )
    }

    fn has(resources: &[&str]) -> (u16, Value) {
        let resources: Vec<Value> = resources
            .iter()
            .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "K", "verbs": []}))
            .collect();
        (
            200,
            json!({"kind": "APIResourceList", "groupVersion": "g/v1", "resources": resources}),
        )
    }

    fn list() -> (u16, Value) {
        let meta =
            json!({"namespace": "shop", "name": "carts", "resourceVersion": "1", "uid": "v"});
        let item = json!({"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "metadata": meta});
        (
            200,
            json!({"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscalerList",
                "metadata": {"resourceVersion": "1"}, "items": [item]}),
        )
    }

    impl Server {
        fn new(group: (u16, Value), objects: (u16, Value)) -> Self {
            Self(Arc::new(Mutex::new((group, objects))))
        }

        fn group(&self, group: (u16, Value)) {
            self.0.lock().unwrap().0 = group;
        }

        fn client(&self) -> Client {
            let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
            let said = Arc::clone(&self.0);
            tokio::spawn(async move {
                let mut open = Vec::new();
                while let Some((request, answer)) = handle.next_request().await {
                    if request
                        .uri()
                        .query()
                        .unwrap_or_default()
                        .contains("watch=true")
                    {
                        // Nothing changes.
                        open.push(answer);
                        continue;
                    }
                    let listed = request.uri().path().ends_with(VPA.plural);
                    let (code, body) = {
                        let said = said.lock().unwrap();
                        if listed {
                            said.1.clone()
                        } else {
                            said.0.clone()
                        }
                    };
                    let body = Body::from(body.to_string().into_bytes());
                    answer.send_response(Response::builder().status(code).body(body).unwrap());
                }
            });
            Client::new(service, "shop")
        }
    }

    async fn until(what: impl Fn() -> bool) -> bool {
        for _ in 0..500 {
            if what() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn watching(server: &Server) -> (Optional, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let stop = watch::Sender::new(false);
        let (copy, task) = optional(
            VPA,
            server.client(),
            Arc::default(),
            Duration::from_millis(20),
            stop.subscribe(),
        );
        (copy, stop, tokio::spawn(task))
    }

    #[tokio::test]
    async fn a_kind_is_watched_while_the_cluster_has_it() {
        let server = Server::new(refused(404), list());
        let (copy, stop, task) = watching(&server);
        assert!(!copy.settled());
        assert!(
            until(|| copy.settled()).await,
            "absent is nothing to wait for"
        );
        assert!(copy.all().is_empty());
        // The group alone, as another of its kinds makes it.
        server.group(has(&["verticalpodautoscalercheckpoints"]));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(copy.settled() && copy.all().is_empty());
        server.group(has(&["verticalpodautoscalers"]));
        assert!(until(|| copy.all().len() == 1).await, "it came later");
        // Without an answer the last one holds.
        server.group(refused(503));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(copy.all().len(), 1);
        server.group(refused(404));
        assert!(until(|| copy.all().is_empty()).await, "it went");
        stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn what_is_forbidden_is_not_waited_for() {
        for server in [
            Server::new(refused(403), list()),
            Server::new(has(&["verticalpodautoscalers"]), refused(403)),
        ] {
            let (copy, stop, task) = watching(&server);
            assert!(until(|| copy.settled()).await);
            assert!(copy.all().is_empty());
            stop.send_replace(true);
            tokio::time::timeout(Duration::from_secs(5), task)
                .await
                .unwrap()
                .unwrap();
        }
    }
}
