//! `POST /mutate`: body, deadline, decision, answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::header,
    response::IntoResponse,
    routing::post,
};
use tokio::sync::Semaphore;

use crate::{
    answer::{self, Decide, Decision, Outcome},
    metrics::Metrics,
};

/// Bounds of one review.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest body, in bytes.
    pub body: usize,
    /// Longest time from the request's head to its answer.
    pub deadline: Duration,
    /// Most decisions under way at once; more wait within their deadline.
    pub parallel: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            deadline: Duration::from_millis(800),
            parallel: 64,
        }
    }
}

/// The routes `/mutate`, `/mutate/deployments` and `/mutate/pods`.
pub fn router<D: Decide>(decide: Arc<D>, limits: Limits, metrics: Metrics) -> Router {
    let permits = Arc::new(Semaphore::new(limits.parallel));
    let mutate = post(async move |body: Body| {
        let begun = Instant::now();
        let decision = within(&decide, limits, &permits, body).await;
        metrics.decided(decision.outcome, begun.elapsed().as_secs_f64());
        ([(header::CONTENT_TYPE, "application/json")], decision.body).into_response()
    });
    Router::new()
        .route("/mutate", mutate.clone())
        .route("/mutate/deployments", mutate.clone())
        .route("/mutate/pods", mutate)
}

async fn within<D: Decide>(
    decide: &Arc<D>,
    limits: Limits,
    permits: &Arc<Semaphore>,
    body: Body,
) -> Decision {
    let mut uid = String::new();
    let decided = decided(decide, limits, permits, body, &mut uid);
    match tokio::time::timeout(limits.deadline, decided).await {
        Ok(decision) => decision,
        Err(_elapsed) => open(Outcome::Late, &uid, "deadline"),
    }
}

async fn decided<D: Decide>(
    decide: &Arc<D>,
    limits: Limits,
    permits: &Arc<Semaphore>,
    body: Body,
    uid: &mut String,
) -> Decision {
    let Ok(review) = to_bytes(body, limits.body).await else {
        return open(Outcome::Unreadable, "", "body too large or broken off");
    };
    let Some(found) = answer::uid(&review) else {
        let guess = msars_mutate::guess_uid(&review);
        return open(Outcome::Unreadable, &guess, "body is no complete review");
    };
    *uid = found;
    let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
        return open(Outcome::Failed, uid, "shutting down");
    };
    let decide = Arc::clone(decide);
    let work = tokio::task::spawn_blocking(move || {
        // Held by the work, not by the request: a late decision still counts as under way.
        let _permit = permit;
        decide.decide(&review, msars_ops::clock::now())
    });
    work.await
        .unwrap_or_else(|_panicked| open(Outcome::Failed, uid, "decision failed"))
}

fn open(outcome: Outcome, uid: &str, why: &str) -> Decision {
    tracing::warn!(uid, why, "answered allow without a decision");
    Decision {
        body: answer::allow(uid, why),
        outcome,
    }
}
