//! Whether our writes are granted, by namespace: what was asked, what is to be asked, and the question.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use msars_client::access::{Access, AccessError, allowed};
use msars_gate::snapshot::Grant;

/// A grant that is there is asked for again after this time.
const GIVEN: SignedDuration = SignedDuration::from_secs(60);
/// One that is missing, or whose question failed, sooner: somebody may just have granted it.
const MISSING: SignedDuration = SignedDuration::from_secs(4);
/// What was answered longer ago than this is not known any more: a question and some more failed meanwhile.
const KEPT: SignedDuration = SignedDuration::from_secs(90);
/// Most questions in one go.
const AT_ONCE: usize = 50;

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

/// The right that stands for all: the grant of a namespace gives the controller its writes together with it.
const OURS: Access = Access {
    group: "apps",
    resource: "deployments",
    subresource: "",
    verb: "patch",
};

/// Asks whether we may patch Deployments there.
pub(super) async fn ask(client: &Client, namespace: &str) -> Result<bool, AccessError> {
    allowed(client, namespace, OURS).await
}

#[cfg(test)]
mod tests;
