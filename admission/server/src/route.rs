//! `POST /mutate`: body, deadline, decision, answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::header, response::IntoResponse, routing::post};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    answer::{self, Decide, Decision, Outcome},
    metrics::Metrics,
};

/// Bounds of one review.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest body, in bytes.
    pub body: usize,
    /// Bodies that arrive at once, in bytes, and at least the longest: anybody in the cluster may send some. A body counts
    /// with what came of it, so that one which is announced and never sent keeps nobody waiting. One body more is read on
    /// where there is no room: half-read ones would wait for each other.
    pub arriving: usize,
    /// Bodies that are decided on at once, in bytes, and at least the longest: reading one takes about ten times its
    /// length. They wait with all that they need, in the order in which they were complete.
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
            arriving: 32 << 20,
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
    /// KiB of bodies that arrive.
    arriving: Arc<Semaphore>,
    /// The one body that is read on beside them.
    beside: Arc<Semaphore>,
    /// KiB of bodies that are decided on.
    memory: Arc<Semaphore>,
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// The routes `/mutate`, `/mutate/deployments` and `/mutate/pods`.
pub fn router<D: Decide>(decide: Arc<D>, limits: Limits, metrics: Metrics) -> Router {
    let bytes = |most: usize| {
        let most = kibibytes(most.max(limits.body));
        Arc::new(Semaphore::new(most as usize))
    };
    let room = Room {
        permits: Arc::new(Semaphore::new(limits.parallel)),
        arriving: bytes(limits.arriving),
        beside: Arc::new(Semaphore::new(1)),
        memory: bytes(limits.memory),
    };
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

/// What a body takes while it arrives.
#[derive(Default)]
struct Taken {
    /// KiB of `room`.
    held: u32,
    room: Option<OwnedSemaphorePermit>,
    /// It is the one that is read on without more room.
    beside: Option<OwnedSemaphorePermit>,
}

impl Taken {
    /// Makes room for so many KiB in all, or gets the place beside the others, whichever can be had first. `None` when
    /// the server ends.
    async fn grow(&mut self, needed: u32, room: &Room) -> Option<()> {
        if needed <= self.held || self.beside.is_some() {
            return Some(());
        }
        let more = Arc::clone(&room.arriving).acquire_many_owned(needed - self.held);
        tokio::select! {
            biased;
            more = more => {
                let more = more.ok()?;
                match &mut self.room {
                    Some(room) => room.merge(more),
                    None => self.room = Some(more),
                }
                self.held = needed;
            }
            place = Arc::clone(&room.beside).acquire_owned() => self.beside = Some(place.ok()?),
        }
        Some(())
    }
}

/// A body, with what it takes while it arrives. `None` when it is longer than it may be, or broken off.
async fn arrived(mut body: Body, longest: usize, room: &Room) -> Option<(Vec<u8>, Taken)> {
    let (mut review, mut taken) = (Vec::new(), Taken::default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        let length = review.len() + data.len();
        if length > longest {
            return None;
        }
        taken.grow(kibibytes(length), room).await?;
        review.extend_from_slice(&data);
    }
    Some((review, taken))
}

async fn decided<D: Decide>(
    decide: &Arc<D>,
    limits: Limits,
    room: &Room,
    body: Body,
    uid: &mut String,
) -> Decision {
    let arrived = arrived(body, limits.body, room).await;
    let Some((review, arrived)) = arrived else {
        return open(Outcome::Unreadable, "", "body too large or broken off");
    };
    let Some(found) = answer::uid(&review) else {
        let guess = msars_mutate::guess_uid(&review);
        return open(Outcome::Unreadable, &guess, "body is no complete review");
    };
    *uid = found;
    let held = Arc::clone(&room.memory).acquire_many_owned(kibibytes(review.len()));
    let Ok(held) = held.await else {
        return open(Outcome::Failed, uid, "shutting down");
    };
    // From here on it counts as decided on.
    drop(arrived);
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
