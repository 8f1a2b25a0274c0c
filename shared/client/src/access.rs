//! Whether we may do something, as the API server says it.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};

/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(2);

/// A write, in RBAC's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// API group; empty for the core's.
    pub group: &'static str,
    /// In plural.
    pub resource: &'static str,
    /// Empty for the object itself.
    pub subresource: &'static str,
    /// As RBAC has it.
    pub verb: &'static str,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
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

impl AccessError {
    /// For metrics and logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api(_) => "api",
            Self::Late => "late",
            Self::Empty => "empty",
        }
    }

    /// Whether to ask again: always, since rights come and go.
    pub fn retry(&self) -> bool {
        true
    }
}

/// Asks whether this program's own account may do it in a namespace (SelfSubjectAccessReview).
///
/// # Errors
/// When there is no answer within two seconds.
pub async fn allowed(
    client: &Client,
    namespace: &str,
    access: Access,
) -> Result<bool, AccessError> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(access.group.to_owned()),
                resource: Some(access.resource.to_owned()),
                subresource: some(access.subresource),
                verb: Some(access.verb.to_owned()),
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
    let answer = answered.map_err(|_elapsed| AccessError::Late)??;
    let status = answer.status.ok_or(AccessError::Empty)?;
    Ok(status.allowed)
}
