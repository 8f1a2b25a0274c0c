//! One run, checked before it starts.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::Full;
use msars_domain::load::{LIMITS, OutOfBounds, RunRequest};
use msars_domain::{Request, RequestMix};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Schedule;

/// Stream of the seed that chooses among the requests.
const CHOICES: u64 = 1;

/// Where requests go: `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port` as sent in `Host`.
    authority: String,
    /// Name or address, without brackets.
    host: String,
    port: u16,
}

/// A run: what, where, when, and where it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where requests go.
    pub target: Target,
    /// What is sent.
    pub requests: RequestMix,
    /// When it is sent.
    pub schedule: Schedule,
    /// Sending ends after this time, or with the schedule.
    pub duration: Duration,
    /// Sending ends after so many requests.
    pub max_requests: u64,
    /// Requests waiting for their answer at once; an arrival above it is dropped and counted.
    pub in_flight: usize,
    /// Seed of arrivals and choices.
    pub seed: u64,
    /// Length of a reported window.
    pub window: Duration,
    /// A request without a full answer after so long has failed. At most 60 s, the histogram's end.
    pub timeout: Duration,
    /// A connection is not used again after this time, give or take a quarter, so that balancing by connection
    /// (kube-proxy) follows new pods.
    pub connection_age: Duration,
    /// Connections opened before one is used again, so that few requests at a time still reach several pods.
    pub spread: usize,
}

/// Why a run can't start.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A target that is no plain HTTP host and port.
    #[error("target `{found}`, expected `http://host:port` without a path")]
    Target {
        /// The text found.
        found: String,
    },
    /// A number out of bounds.
    #[error(transparent)]
    Bounds(#[from] OutOfBounds),
    /// A request that can't be written as HTTP.
    #[error("request `{request}`: {reason}")]
    Request {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl std::str::FromStr for Target {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let refuse = || PlanError::Target {
            found: text.to_owned(),
        };
        let uri: http::Uri = text.parse().map_err(|_| refuse())?;
        let plain = uri.scheme_str() == Some("http")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        let authority = uri
            .authority()
            .filter(|a| plain && !a.as_str().contains('@'));
        let authority = authority.ok_or_else(refuse)?;
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(refuse());
        }
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl Target {
    /// Name or address and port, for the resolver.
    pub(crate) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl Plan {
    /// A run at a constant rate with the usual bounds, for callers in this workspace that set the rest by field.
    pub fn new(
        target: Target,
        requests: RequestMix,
        schedule: Schedule,
        duration: Duration,
    ) -> Self {
        Self {
            target,
            requests,
            schedule,
            duration,
            max_requests: u64::MAX,
            in_flight: 200,
            seed: 1,
            window: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            connection_age: Duration::from_secs(5),
            spread: 8,
        }
    }

    /// What was asked over HTTP, within [`LIMITS`].
    pub fn from_request(run: &RunRequest) -> Result<Self, PlanError> {
        run.check(&LIMITS)?;
        let schedule = Schedule::constant(run.rate);
        let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
        Ok(Self {
            max_requests: run.max_requests,
            in_flight: run.in_flight as usize,
            seed: run.seed,
            window: seconds(run.windows_s),
            timeout: seconds(run.timeout_ms / 1000.0),
            ..Self::new(
                run.target.parse()?,
                run.requests.clone(),
                schedule,
                seconds(run.duration_s),
            )
        })
    }

    /// Time of sending: the duration, or less when the trace is shorter; never more than some years.
    pub(crate) fn length(&self) -> Duration {
        let seconds = self.schedule.length_s().min(1e8);
        self.duration.min(Duration::from_secs_f64(seconds))
    }
}

/// A request ready to be sent, and the class it counts under.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) class: usize,
    pub(crate) message: http::Request<Full<Bytes>>,
}

/// The requests of a plan, ready to be copied, and the draw among them.
pub(crate) struct Choice {
    /// Names of the classes: requests that differ only in weight or body share one.
    pub(crate) classes: Vec<String>,
    /// With the cumulated share up to and including each.
    prepared: Vec<(f64, Prepared)>,
    rng: ChaCha8Rng,
}

impl Choice {
    pub(crate) fn new(plan: &Plan) -> Result<Self, PlanError> {
        let mut classes = Vec::new();
        let mut prepared = Vec::new();
        let mut cumulated = 0.0;
        let shares = plan.requests.shares();
        for (request, share) in plan.requests.requests().iter().zip(shares) {
            cumulated += share;
            let name = request.class();
            let class = classes.iter().position(|c| *c == name).unwrap_or_else(|| {
                classes.push(name);
                classes.len() - 1
            });
            let message = message(&plan.target, request)?;
            prepared.push((cumulated, Prepared { class, message }));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(CHOICES);
        Ok(Self {
            classes,
            prepared,
            rng,
        })
    }

    /// The next request; `None` never happens for a checked list.
    pub(crate) fn draw(&mut self) -> Option<Prepared> {
        let point: f64 = self.rng.random();
        let drawn = self
            .prepared
            .iter()
            .find(|(cumulated, _)| point < *cumulated);
        drawn.or(self.prepared.last()).map(|(_, p)| p.clone())
    }
}

fn message(target: &Target, request: &Request) -> Result<http::Request<Full<Bytes>>, PlanError> {
    let mut builder = http::Request::builder()
        .method(request.method.as_str())
        .uri(&request.path)
        .header(HOST, &target.authority)
        .header(
            USER_AGENT,
            concat!("msars-profile/", env!("CARGO_PKG_VERSION")),
        );
    if request.body.is_some() {
        let kind = if request.has_json_body() {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        builder = builder.header(CONTENT_TYPE, kind);
    }
    let body = request.body.clone().unwrap_or_default();
    builder
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| PlanError::Request {
            request: request.class(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use msars_domain::Rate;

    fn plan(requests: &str) -> Plan {
        let schedule = Schedule::constant(Rate::new(1.0).unwrap());
        let target = "http://a:80".parse().unwrap();
        Plan::new(
            target,
            requests.parse().unwrap(),
            schedule,
            Duration::from_secs(1),
        )
    }

    #[test]
    fn targets() {
        for (text, address) in [
            ("http://cart.shop:8080", ("cart.shop", 8080)),
            ("http://10.0.0.1/", ("10.0.0.1", 80)),
            ("http://[::1]:9", ("::1", 9)),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.address(), address, "{text}");
        }
        for text in [
            "",
            "a:80",
            "https://a",
            "http://a/b",
            "http://a?x",
            "http://u@a",
            "http://",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn choices_follow_the_weights_and_classes_merge_bodies() {
        let mut choice = Choice::new(&plan("GET /a; 2 POST /b {}; POST /b [1]; 4 GET /c")).unwrap();
        assert_eq!(choice.classes, ["GET /a", "POST /b", "GET /c"]);
        let mut counts = [0.0; 3];
        let n = 8000.0;
        for _ in 0..8000 {
            counts[choice.draw().unwrap().class] += 1.0;
        }
        for (count, share) in counts.iter().zip([0.125, 0.375, 0.5]) {
            let sd = (n * share * (1.0_f64 - share)).sqrt();
            assert!((count - n * share).abs() < 4.0 * sd, "{counts:?}");
        }
    }

    #[test]
    fn every_path_the_annotation_accepts_can_be_sent() {
        let printable: String = ('!'..='~').filter(|c| !"\"#;<>`".contains(*c)).collect();
        let mix = format!("GET /{printable}?{printable}");
        let unsendable: String = printable
            .chars()
            .filter(|c| Choice::new(&plan(&format!("GET /{c}"))).is_err())
            .collect();
        assert_eq!(unsendable, "");
        assert!(Choice::new(&plan(&mix)).is_ok());
    }

    #[test]
    fn bodies_carry_their_type() {
        let typed = |text: &str| {
            let message = Choice::new(&plan(text)).unwrap().draw().unwrap().message;
            message.headers().get(CONTENT_TYPE).cloned()
        };
        assert_eq!(typed("GET /"), None);
        assert_eq!(typed("POST / {}").unwrap(), "application/json");
        assert_eq!(
            typed("POST / a=b").unwrap(),
            "application/x-www-form-urlencoded"
        );
    }
}
