//! A second SloAutoscaler of one Deployment: it is told that another one counts, and its sizes and memory go, so that no
//! pod is born by them. What it stored of an autoscaler that was taken over goes to the one that counts first.

use std::sync::Arc;

use jiff::Timestamp;
use msars_api::crd::SloAutoscaler;

use super::{Workloads, status};
use crate::autoscalers::{self, Targets};

/// What is next for one that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It says so already, and keeps nothing.
    Nothing,
    /// What it stored goes to the one that counts.
    Move,
    /// It is told.
    Tell,
}

fn next(second: &SloAutoscaler, first: &SloAutoscaler) -> Next {
    let stored = status::stored(second);
    if stored.is_some() && status::stored(first).is_none() {
        return Next::Move;
    }
    let status = second.status.as_ref();
    let told = status.is_some_and(|status| status::outdone(status, &text(first)));
    if told { Next::Nothing } else { Next::Tell }
}

fn text(first: &SloAutoscaler) -> String {
    format!(
        "SloAutoscaler {} scales deploy/{}, and this one does nothing: delete one of them",
        autoscalers::key(first).name,
        first.spec.target_ref.name
    )
}

impl Workloads {
    /// Tells all that do not count; whether something was moved, which is to be seen before anything is decided by it.
    pub(super) async fn outdo(&self, targets: &Targets, now: Timestamp) -> bool {
        let mut moved = false;
        for (second, first) in targets.others() {
            let outcome = match next(second, first) {
                Next::Nothing => continue,
                Next::Move => {
                    let outcome = self.move_over(second, first, now).await;
                    moved |= outcome.is_ok();
                    outcome
                }
                Next::Tell => self.tell_second(second, first, now).await,
            };
            if let Err(error) = outcome {
                let second = autoscalers::key(second);
                tracing::warn!(%error, category = error.category(), %second, "a second autoscaler was not told");
            }
        }
        moved
    }

    async fn move_over(
        &self,
        second: &Arc<SloAutoscaler>,
        first: &SloAutoscaler,
        now: Timestamp,
    ) -> Result<(), crate::own::OwnError> {
        let Some(copy) = status::stored(second) else {
            return Ok(());
        };
        let own = &self.hands.own;
        own.status::<SloAutoscaler>(&autoscalers::key(first), |first| {
            let generation = first.metadata.generation;
            let status = first.status.get_or_insert_default();
            status::store(status, copy, generation, now);
        })
        .await
    }

    async fn tell_second(
        &self,
        second: &SloAutoscaler,
        first: &SloAutoscaler,
        now: Timestamp,
    ) -> Result<(), crate::own::OwnError> {
        let text = text(first);
        let own = &self.hands.own;
        own.status::<SloAutoscaler>(&autoscalers::key(second), |second| {
            let generation = second.metadata.generation;
            let status = second.status.get_or_insert_default();
            status::outdo(status, &text, generation, now);
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use msars_api::crd::{AdoptedAutoscaler, WantedSize};
    use serde_json::json;

    use super::*;

    fn named(name: &str) -> SloAutoscaler {
        serde_json::from_value(json!({
            "apiVersion": "msars.io/v1alpha1", "kind": "SloAutoscaler", "metadata": {"namespace": "shop", "name": name},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "carts"}},
        }))
        .unwrap()
    }

    fn copy() -> AdoptedAutoscaler {
        serde_json::from_value(json!({"name": "hpa", "uid": "h", "at": "", "spec": {}})).unwrap()
    }

    #[test]
    fn one_that_does_not_count_is_told_once_and_keeps_nothing() {
        let (mut second, mut first) = (named("carts"), named("team"));
        assert_eq!(next(&second, &first), Next::Tell);
        let status = second.status.get_or_insert_default();
        status.memory = Some("{}".into());
        status.sizes = vec![WantedSize {
            revision: "r".into(),
            size_milli: 100,
            replicas: 1,
        }];
        status.adopted = Some(copy());
        // What it stored is kept before it goes.
        assert_eq!(next(&second, &first), Next::Move);
        first.status.get_or_insert_default().adopted = Some(copy());
        assert_eq!(next(&second, &first), Next::Tell);
        let now = Timestamp::UNIX_EPOCH;
        let status = second.status.get_or_insert_default();
        status::outdo(status, &text(&first), Some(1), now);
        assert!(status.memory.is_none() && status.sizes.is_empty() && status.adopted.is_none());
        let told = status.conditions.iter().find(|c| c.type_ == "Ready");
        let told = told.unwrap();
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            ("False", "AmbiguousSelector")
        );
        assert!(
            told.message.contains("SloAutoscaler team"),
            "{}",
            told.message
        );
        assert_eq!(next(&second, &first), Next::Nothing);
        // Another one counts now.
        assert_eq!(next(&second, &named("other")), Next::Tell);
    }
}
