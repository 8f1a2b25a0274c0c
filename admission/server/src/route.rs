//! `POST /mutate`: body, deadline, decision, answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, HttpBody as _, to_bytes},
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
    /// Bodies under way at once, in bytes, and at least the longest: anybody in the cluster may send some, and reading one
    /// takes about ten times its length.
    pub memory: usize,
    /// Longest time from the request's head to its answer.
    pub deadline: Duration,
    /// Most decisions under way at once; more wait within their deadline.
    pub parallel: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            memory: 8 << 20,
            deadline: Duration::from_millis(800),
            parallel: 64,
        }
    }
}

/// What decisions under way at once share.
#[derive(Clone)]
struct Room {
    permits: Arc<Semaphore>,
    /// KiB of bodies.
    memory: Arc<Semaphore>,
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// The routes `/mutate`, `/mutate/deployments` and `/mutate/pods`.
pub fn router<D: Decide>(decide: Arc<D>, limits: Limits, metrics: Metrics) -> Router {
    let permits = Arc::new(Semaphore::new(limits.parallel));
    let memory = Arc::new(Semaphore::new(
        kibibytes(limits.memory.max(limits.body)) as usize
    ));
    let room = Room { permits, memory };
    let mutate = post(async move |body: Body| {
        let begun = Instant::now();
        let decision = within(&decide, limits, &room, body).await;
        metrics.decided(decision.outcome, begun.elapsed().as_secs_f64());
        ([(header::CONTENT_TYPE, "application/json")], decision.body).into_response()
    });
    Router::new()
        .route("/mutate", mutate.clone())
        .route("/mutate/deployments", mutate.clone())
        .route("/mutate/pods", mutate)
}

async fn within<D: Decide>(decide: &Arc<D>, limits: Limits, room: &Room, body: Body) -> Decision {
    let mut uid = String::new();
    let decided = decided(decide, limits, room, body, &mut uid);
    match tokio::time::timeout(limits.deadline, decided).await {
        Ok(decision) => decision,
        Err(_elapsed) => open(Outcome::Late, &uid, "deadline"),
    }
}

async fn decided<D: Decide>(
    decide: &Arc<D>,
    limits: Limits,
    room: &Room,
    body: Body,
    uid: &mut String,
) -> Decision {
    // Before the body is read: what waits to be read takes no memory.
    let length = body.size_hint().exact();
    let length = length.and_then(|bytes| usize::try_from(bytes).ok());
    let most = length.map_or(limits.body, |bytes| bytes.min(limits.body));
    let held = Arc::clone(&room.memory).acquire_many_owned(kibibytes(most));
    let Ok(held) = held.await else {
        return open(Outcome::Failed, "", "shutting down");
    };
    let Ok(review) = to_bytes(body, limits.body).await else {
        return open(Outcome::Unreadable, "", "body too large or broken off");
    };
    let Some(found) = answer::uid(&review) else {
        let guess = msars_mutate::guess_uid(&review);
        return open(Outcome::Unreadable, &guess, "body is no complete review");
    };
    *uid = found;
    let Ok(permit) = Arc::clone(&room.permits).acquire_owned().await else {
        return open(Outcome::Failed, uid, "shutting down");
    };
    let decide = Arc::clone(decide);
    let work = tokio::task::spawn_blocking(move || {
        // Held by the work, not by the request: a late decision still counts as under way.
        let _held = (permit, held);
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
