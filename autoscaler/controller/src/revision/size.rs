//! The size of a copy while it is measured: in-place resizes, and sizes that node or namespace have no room for.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use msars_client::apply::ApplyError;
use msars_domain::MilliCpu;

use super::again::{self, passes};
use super::measure::{Bench, Subject, status};
use super::shadow::Blueprint;
use super::task::JobError;

/// How long an in-place resize may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long the node may take to find room.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Sizes are multiples of this, thousandths of a core.
const STEP: u32 = 25;

/// What became of a resize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resized {
    /// The status shows the limit.
    Done,
    /// The node has no room for it, now or ever, or the API server refused it (quota, LimitRange); the pod keeps the
    /// size that it had.
    NoRoom(String),
}

fn actual_limit(pod: &Pod, container: &str) -> Option<u32> {
    let resources = status(pod, container)?.resources.as_ref()?;
    let cpu = resources.limits.as_ref()?.get("cpu")?;
    msars_api::annotations::cpu_millis(&cpu.0)
}

/// Why the kubelet does not resize: `Deferred` or `Infeasible`, with its message.
fn pending(pod: &Pod) -> Option<(bool, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|c| c.type_ == "PodResizePending" && c.status == "True")?;
    let reason = found.reason.as_deref().unwrap_or_default();
    let message = found.message.clone().unwrap_or_default();
    Some((reason == "Infeasible", format!("{reason}: {message}")))
}

/// The sizes left to measure when a copy does not get from one to another: that one goes with all beyond it. Where only
/// one remains, half of that comes, since two sizes tell what one cannot, unless it is small sizes that do not fit.
/// Never below a twentieth of a core.
pub fn without(sizes: &[MilliCpu], (from, unfit): (MilliCpu, MilliCpu)) -> Vec<MilliCpu> {
    let grows = unfit > from;
    let beyond = |size: &MilliCpu| *size == unfit || (*size > unfit) == grows;
    let mut left: Vec<MilliCpu> = sizes.to_vec();
    left.retain(|size| !beyond(size));
    if let [only] = left[..]
        && grows
    {
        let half = MilliCpu((only.0 / 2 / STEP * STEP).max(2 * STEP));
        if half < only {
            left.push(half);
        }
    }
    left
}

/// Resizes the copy in place and waits until it took effect. Where there is no room the old size is asked for again, so
/// that the kubelet does not grow the copy in the midst of a window.
///
/// # Errors
/// When a write or a read fails, or nothing happens in time.
pub async fn resize(
    bench: &Bench,
    blueprint: &Blueprint,
    subject: &Subject,
    (from, to): (MilliCpu, MilliCpu),
) -> Result<Resized, JobError> {
    match again::apply(bench, &blueprint.resize(&subject.uid, to)).await {
        Ok(_) => {}
        Err(JobError::Apply(ApplyError::Refused { message, .. })) => {
            return Ok(Resized::NoRoom(message));
        }
        Err(error) => return Err(error),
    }
    let api: Api<Pod> = Api::namespaced(bench.client.clone(), &subject.key.namespace);
    let begin = tokio::time::Instant::now();
    let mut seen = String::from("none");
    while begin.elapsed() < WITHIN {
        let pod = match api.get(&subject.key.name).await {
            Ok(pod) => pod,
            // The API server is away for a moment; the kubelet goes on.
            Err(error) if passes(&error) => {
                seen = error.to_string();
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(error) => {
                return Err(JobError::Read {
                    step: "reading the copy",
                    message: error.to_string(),
                });
            }
        };
        let found = actual_limit(&pod, &subject.container);
        if found == Some(to.0) {
            return Ok(Resized::Done);
        }
        seen = found.map_or("none".into(), |found| MilliCpu(found).to_string());
        if let Some((never, why)) = pending(&pod)
            && (never || begin.elapsed() > PATIENCE)
        {
            again::apply(bench, &blueprint.resize(&subject.uid, from)).await?;
            return Ok(Resized::NoRoom(why));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(JobError::Read {
        step: "resizing the copy in place",
        message: format!(
            "wanted a limit of {to}, found {seen} after {} s",
            WITHIN.as_secs()
        ),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kubelet::Kubelets;
    use crate::lead::Lead;
    use crate::metrics::Metrics;
    use crate::objective::Board;
    use crate::plain::Plain;
    use http::{Request, Response};
    use jiff::Timestamp;
    use kube::client::Body;
    use kube::{Client, Config};
    use msars_domain::{ObjectKey, Token};
    use msars_observe::Preset;
    use serde_json::{Value, json};
    use tokio::sync::watch;

    fn failure(code: u16, message: &str) -> (u16, Value) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "message": message, "reason": "x"});
        (code, status)
    }

    /// A lead that lasts, or that is over.
    pub(in crate::revision) fn lead(lasts: bool) -> Lead {
        let claim = lasts.then_some(Timestamp::MAX);
        Lead::new(watch::channel(claim).1, || Timestamp::UNIX_EPOCH)
    }

    /// Leads and measures through an API server that answers so, the last answer again and again.
    pub(in crate::revision) fn answers(answers: Vec<(u16, Value)>) -> Bench {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            let mut asked = 0_usize;
            while let Some((_request, answer)) = handle.next_request().await {
                let (code, body) = &answers[asked.min(answers.len() - 1)];
                asked += 1;
                let body = Body::from(body.to_string().into_bytes());
                answer.send_response(Response::builder().status(*code).body(body).unwrap());
            }
        });
        Bench {
            client: Client::new(service, "shop"),
            lead: lead(true),
            kubelets: Kubelets::new(Config::new("http://127.0.0.1".parse().unwrap())),
            plain: Plain::default(),
            load_image: String::new(),
            preset: Preset::shop(),
            counts: Metrics::default(),
            board: Arc::new(Board::default()),
            now: || Timestamp::UNIX_EPOCH,
        }
    }

    fn pod(conditions: &Value, limit: &str) -> Pod {
        serde_json::from_value(json!({"status": {
            "conditions": conditions,
            "containerStatuses": [{
                "name": "app", "image": "x", "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"limits": {"cpu": limit}},
            }],
        }}))
        .unwrap()
    }

    #[test]
    fn what_the_kubelet_says_of_a_resize() {
        let waits = |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason, "message": "cpu"}]);
        let table = [
            (json!([]), None),
            (waits("Deferred"), Some((false, "Deferred: cpu".to_owned()))),
            (
                waits("Infeasible"),
                Some((true, "Infeasible: cpu".to_owned())),
            ),
            (
                json!([{"type": "PodResizePending", "status": "False", "reason": "Deferred"}]),
                None,
            ),
        ];
        for (conditions, wanted) in table {
            assert_eq!(pending(&pod(&conditions, "200m")), wanted);
        }
        assert_eq!(actual_limit(&pod(&json!([]), "0.2"), "app"), Some(200));
    }

    #[test]
    fn two_sizes_remain_where_one_does_not_fit() {
        let milli = |sizes: &[u32]| sizes.iter().copied().map(MilliCpu).collect::<Vec<_>>();
        for (sizes, from, unfit, wanted) in [
            (&[200, 400][..], 200, 400, &[200, 100][..]),
            (&[200, 400, 800], 400, 800, &[200, 400]),
            (&[400, 200, 100], 200, 400, &[200, 100]),
            (&[60, 120], 60, 120, &[60, 50]),
            (&[50, 100], 50, 100, &[50]),
            // A LimitRange has a minimum, too.
            (&[200, 100], 200, 100, &[200]),
            (&[400, 200, 100], 400, 200, &[400]),
        ] {
            let change = (MilliCpu(from), MilliCpu(unfit));
            assert_eq!(without(&milli(sizes), change), milli(wanted), "{sizes:?}");
        }
    }

    pub(in crate::revision) fn blueprint() -> Blueprint {
        Blueprint {
            workload: ObjectKey::new("shop", "carts"),
            owner_uid: "d1".into(),
            revision: "r1".into(),
            template: json!({}),
            container: "app".into(),
            size: MilliCpu(200),
            request_share: 0.5,
            token: Token::new("t0ken").unwrap(),
            run: "run1".into(),
        }
    }

    fn subject(blueprint: &Blueprint) -> Subject {
        Subject {
            key: blueprint.subject_key(),
            uid: "p1".into(),
            ip: String::new(),
            host_ip: String::new(),
            container: "app".into(),
        }
    }

    #[tokio::test]
    async fn a_resize_outlives_a_moment_without_an_api_server() {
        let resized = serde_json::to_value(pod(&json!([]), "400m")).unwrap();
        let away = || failure(503, "shutting down");
        let (written, read) = ((200, resized.clone()), (200, resized));
        for (script, wanted) in [
            (
                vec![away(), written.clone(), away(), read],
                Ok(Resized::Done),
            ),
            (vec![written, failure(404, "no pod")], Err("ReadFailed")),
        ] {
            let (blueprint, bench) = (blueprint(), answers(script));
            let change = (MilliCpu(200), MilliCpu(400));
            let found = resize(&bench, &blueprint, &subject(&blueprint), change).await;
            assert_eq!(found.map_err(|error| error.category()), wanted);
        }
    }

    #[tokio::test]
    async fn who_leads_no_more_resizes_nothing() {
        let resized = serde_json::to_value(pod(&json!([]), "400m")).unwrap();
        for (leads, wanted) in [(true, Ok(Resized::Done)), (false, Err("Stopped"))] {
            let (blueprint, mut bench) = (blueprint(), answers(vec![(200, resized.clone())]));
            bench.lead = lead(leads);
            let change = (MilliCpu(200), MilliCpu(400));
            let found = resize(&bench, &blueprint, &subject(&blueprint), change).await;
            assert_eq!(found.map_err(|error| error.category()), wanted);
        }
    }

    #[tokio::test]
    async fn a_size_that_quota_or_limit_range_refuse_has_no_room() {
        let quota = "exceeded quota: q, requested: limits.cpu=200m, used: limits.cpu=2, limited: limits.cpu=2";
        let range = "pods \"copy\" is forbidden: maximum cpu usage per Container is 300m, but limit is 400m";
        let invalid = "Pod \"copy\" is invalid: spec.containers[0].resources: Invalid value";
        let grant = "User \"x\" cannot patch resource \"pods/resize\"";
        let no_room = |message: &str| Ok(Resized::NoRoom(message.to_owned()));
        for (code, message, wanted) in [
            (403, quota, no_room(quota)),
            (403, range, no_room(range)),
            (422, invalid, no_room(invalid)),
            (403, grant, Err("forbidden")),
            (503, "shutting down", Err("unavailable")),
        ] {
            let (blueprint, bench) = (blueprint(), answers(vec![failure(code, message)]));
            let change = (MilliCpu(200), MilliCpu(400));
            let found = resize(&bench, &blueprint, &subject(&blueprint), change).await;
            assert_eq!(found.map_err(|error| error.category()), wanted, "{message}");
        }
    }
}
