//! One Prometheus server over HTTP, with bounds on time and size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;

use crate::{Access, Answer, PromError, RangeAnswer};

/// How long a query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection alone.
    pub connect: Duration,
    /// For the whole query, connection and body included; Prometheus is told to give up after it as well.
    pub query: Duration,
}

impl Default for Timeouts {
    /// 2 s and 10 s: a tick of 15 s still has time to act.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            query: Duration::from_secs(10),
        }
    }
}

/// Bytes of an answer unless told otherwise: 10,000 workloads with 16 buckets and two revisions take about 48 MB.
const LARGEST_ANSWER: usize = 64 << 20;

/// Called when a query ends: without an error when it was answered, and with the time it took.
pub type Hear = dyn Fn(Option<&PromError>, Duration) + Send + Sync;

/// Who hears of every query; nobody by default. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hears(Option<Arc<Hear>>);

impl Hears {
    /// Calls `hear`, which must not block.
    pub fn new(hear: Arc<Hear>) -> Self {
        Self(Some(hear))
    }
}

impl std::fmt::Debug for Hears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hears").field(&self.0.is_some()).finish()
    }
}

/// A Prometheus server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    hears: Hears,
    base: String,
    access: Access,
    timeouts: Timeouts,
    largest: usize,
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// A client of `http[s]://host[:port][/prefix]`. Nothing is sent yet; needs a Tokio runtime once it is used.
    pub fn new(base_url: &str, access: Access, timeouts: Timeouts) -> Result<Self, PromError> {
        let base = base_url.trim_end_matches('/').to_owned();
        let refuse = |why: &str| PromError::BaseUrl {
            url: base_url.to_owned(),
            why: why.to_owned(),
        };
        let uri: Uri = base.parse().map_err(|_| refuse("it is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse("it must start with http:// or https://")),
        };
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(refuse("it must be a host with an optional port and prefix"));
        }
        access.fits(secure).map_err(|why| refuse(&why))?;
        let connector = access
            .connector(timeouts.connect)
            .map_err(|why| refuse(&why))?;
        let http =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            hears: Hears::default(),
            base,
            access,
            timeouts,
            largest: LARGEST_ANSWER,
            http,
        })
    }

    /// Refuses answers of more than `bytes`.
    #[must_use]
    pub fn at_most(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// Tells `hears` how every query ends.
    #[must_use]
    pub fn heard_by(mut self, hears: Hears) -> Self {
        self.hears = hears;
        self
    }

    /// An instant query evaluated at `at`.
    pub async fn query(&self, promql: &str, at: Timestamp) -> Result<Answer, PromError> {
        let form = [
            ("query", promql.to_owned()),
            ("time", seconds(at)),
            ("timeout", self.patience()),
        ];
        self.told("/api/v1/query", &form, Answer::decode).await
    }

    /// A range query from `start` to `end`, both included, every `step`.
    pub async fn range(
        &self,
        promql: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<RangeAnswer, PromError> {
        let form = [
            ("query", promql.to_owned()),
            ("start", seconds(start)),
            ("end", seconds(end)),
            ("step", format!("{:.3}", step.as_secs_f64())),
            ("timeout", self.patience()),
        ];
        self.told("/api/v1/query_range", &form, RangeAnswer::decode)
            .await
    }

    fn patience(&self) -> String {
        format!("{}ms", self.timeouts.query.as_millis())
    }

    /// Sends a query, reads its answer, and tells who hears how that ended.
    async fn told<T>(
        &self,
        path: &str,
        form: &[(&str, String)],
        decode: impl Fn(&[u8]) -> Result<T, PromError>,
    ) -> Result<T, PromError> {
        let begun = tokio::time::Instant::now();
        let answer = self.post(path, form).await.and_then(|body| decode(&body));
        if let Some(hear) = &self.hears.0 {
            hear(answer.as_ref().err(), begun.elapsed());
        }
        answer
    }

    async fn post(&self, path: &str, form: &[(&str, String)]) -> Result<Bytes, PromError> {
        tokio::time::timeout(self.timeouts.query, self.exchange(path, form))
            .await
            .unwrap_or(Err(PromError::Timeout(self.timeouts.query)))
    }

    async fn exchange(&self, path: &str, form: &[(&str, String)]) -> Result<Bytes, PromError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(encode(form))))
            .map_err(|e| PromError::BaseUrl {
                url: self.base.clone(),
                why: e.to_string(),
            })?;
        if let Some(login) = self.access.authorization().await? {
            request.headers_mut().insert(header::AUTHORIZATION, login);
        }
        let response = self
            .http
            .request(request)
            .await
            .map_err(|e| PromError::Unreachable(causes(&e)))?;
        let status = response.status();
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|e| PromError::BrokenOff(causes(&e)))?;
            if let Some(data) = frame.data_ref() {
                if body.len() + data.len() > self.largest {
                    return Err(PromError::TooLarge(self.largest));
                }
                body.extend_from_slice(data);
            }
        }
        if status.is_success() {
            return Ok(body.into());
        }
        match Answer::decode(&body) {
            Err(refused @ PromError::Refused { .. }) => Err(refused),
            _ => Err(PromError::Status {
                code: status.as_u16(),
                body: String::from_utf8_lossy(&body).chars().take(200).collect(),
            }),
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn seconds(at: Timestamp) -> String {
    let ms = at.as_millisecond();
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

fn encode(form: &[(&str, String)]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for (key, value) in form {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(key);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(byte as char);
                }
                _ => {
                    let _ = write!(out, "%{byte:02X}");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_carries_any_text() {
        let form = [
            ("query", "up{a=~\"b|c\"} + 1 é".to_owned()),
            ("time", "1.5".into()),
        ];
        assert_eq!(
            encode(&form),
            "query=up%7Ba%3D~%22b%7Cc%22%7D%20%2B%201%20%C3%A9&time=1.5"
        );
    }

    #[test]
    fn times_are_decimal_seconds() {
        let at = Timestamp::from_millisecond(1_769_000_000_007).unwrap();
        assert_eq!(seconds(at), "1769000000.007");
    }

    #[test]
    fn addresses_that_cannot_work_are_refused_at_once() {
        for bad in [
            "prometheus:9090",
            "https://prometheus",
            "http://",
            "",
            "http://a/?b=c",
            "ftp://a",
        ] {
            let error = Client::new(bad, Access::default(), Timeouts::default()).unwrap_err();
            assert_eq!(error.category(), "InvalidPrometheusAddress", "{bad}");
            assert!(!error.retry());
        }
        assert!(
            Client::new(
                "http://prometheus.monitoring:9090/prom/",
                Access::default(),
                Timeouts::default()
            )
            .is_ok()
        );
    }
}
