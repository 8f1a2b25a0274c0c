//! Whether our writes are granted, by namespace: what was asked, what is to be asked, and the question.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use msars_gate::snapshot::Grant;

/// A grant that is there is asked for again after this time.
const GIVEN: SignedDuration = SignedDuration::from_secs(60);
/// One that is missing, or whose question failed, sooner: somebody may just have granted it.
const MISSING: SignedDuration = SignedDuration::from_secs(4);
/// What was answered longer ago than this is not known any more: a question and some more failed meanwhile.
const KEPT: SignedDuration = SignedDuration::from_secs(90);
/// Most questions in one go.
const AT_ONCE: usize = 50;
/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
struct Answer {
    given: bool,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// When the question was last put, answered or not.
    at: Timestamp,
    /// The last answer.
    answer: Option<Answer>,
}

/// What was answered, by namespace.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<String, Asked>);

impl Grants {
    /// What is known of a namespace at `now`.
    pub(super) fn grant(&self, namespace: &str, now: Timestamp) -> Grant {
        let answer = self.0.get(namespace).and_then(|asked| asked.answer);
        match answer.filter(|answer| now.duration_since(answer.at) <= KEPT) {
            Some(Answer { given: true, .. }) => Grant::Given,
            Some(Answer { given: false, .. }) => Grant::Missing,
            None => Grant::Unknown,
        }
    }

    /// The namespaces to ask about now, those that waited longest first; others than `wanted` are forgotten.
    pub(super) fn due(&mut self, wanted: &BTreeSet<String>, now: Timestamp) -> Vec<String> {
        self.0.retain(|namespace, _| wanted.contains(namespace));
        let asked = |namespace: &String| self.0.get(namespace).map(|asked| asked.at);
        let mut due: Vec<&String> = wanted
            .iter()
            .filter(|namespace| {
                self.0
                    .get(*namespace)
                    .is_none_or(|asked| now.duration_since(asked.at) >= asked.rest())
            })
            .collect();
        due.sort_by_key(|namespace| asked(namespace));
        due.into_iter().take(AT_ONCE).cloned().collect()
    }

    /// Takes an answer: whether it is given, or `None` where the question failed. Returns whether it is news.
    pub(super) fn take(&mut self, namespace: &str, given: Option<bool>, now: Timestamp) -> bool {
        let before = self.0.get(namespace).and_then(|asked| asked.answer);
        let answer = given.map(|given| Answer { given, at: now }).or(before);
        let asked = Asked { at: now, answer };
        self.0.insert(namespace.to_owned(), asked);
        given.is_some_and(|given| before.is_none_or(|before| before.given != given))
    }
}

impl Asked {
    /// How long it need not be asked again.
    fn rest(&self) -> SignedDuration {
        match self.answer {
            Some(Answer { given: true, at }) if at == self.at => GIVEN,
            Some(_) | None => MISSING,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The API server refused the question, or can't be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// None in time.
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
    /// One that says neither yes nor no.
    #[error("an answer without a status")]
    Empty,
}

/// Asks whether we may patch Deployments there. The grant of a namespace gives the controller its writes together
/// with this one.
pub(super) async fn ask(client: &Client, namespace: &str) -> Result<bool, AskError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some("apps".into()),
                resource: Some("deployments".into()),
                verb: Some("patch".into()),
                namespace: Some(namespace.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let params = PostParams::default();
    let answered = tokio::time::timeout(WITHIN, api.create(&params, &review)).await;
    let answer = answered.map_err(|_elapsed| AskError::Late)??;
    let status = answer.status.ok_or(AskError::Empty)?;
    Ok(status.allowed)
}

#[cfg(test)]
mod tests;
