//! The stream itself, run inside the cluster's network: HTTPS to the Service, reviews at times drawn beforehand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::answers::{Answer, Checked, verdict};
use super::reviews::{Kind, Template, uid};

/// What to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The Service's address.
    pub address: SocketAddr,
    /// The name in its certificate.
    pub name: String,
    /// The authorities, PEM.
    pub authorities: String,
    /// Reviews with their weights.
    pub reviews: Vec<(f64, Template)>,
    /// Mean reviews per second.
    pub rate: f64,
    /// Length in seconds.
    pub seconds: f64,
    /// Kept-alive connections.
    pub connections: usize,
    /// Same seed, same times and kinds.
    pub seed: u64,
}

/// Quantiles in milliseconds, to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Reviews sent.
    pub sent: u64,
    /// Reviews per second, from the first intended time to the last answer.
    pub rate: f64,
    /// From the intended time of sending to the whole answer.
    pub latency: Times,
    /// The same from the moment that this program was ready to send: without its own lateness.
    pub from_ready: Times,
    /// Waiting for one of the connections to be free, part of both.
    pub queue: Times,
    /// How late this program itself was.
    pub lag: Times,
    /// CPU seconds of this program.
    pub cpu_s: f64,
    /// Bytes of a review, mean.
    pub review_bytes: f64,
    /// The first answer of each kind; every other must say the same.
    pub expected: BTreeMap<Kind, String>,
    /// Answers, all of them checked.
    pub checked: Checked,
    /// Reviews without an answer, by why.
    pub broken: BTreeMap<String, u64>,
}

type Sender = SendRequest<Full<Bytes>>;

/// One review on its way.
struct Done {
    lag: Duration,
    queued: Duration,
    latency: Duration,
    bytes: usize,
    answer: Result<Answer, String>,
}

struct Client {
    plan: Plan,
    connector: TlsConnector,
    name: ServerName<'static>,
    idle: Mutex<Vec<Sender>>,
    free: Semaphore,
}

impl Client {
    fn new(plan: Plan) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(plan.authorities.as_bytes()) {
            roots.add(certificate.context("reading the authorities")?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(plan.name.clone())?,
            idle: Mutex::default(),
            free: Semaphore::new(plan.connections),
            plan,
        })
    }

    async fn connect(&self) -> Result<Sender> {
        let stream = TcpStream::connect(self.plan.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped; its error is also the request's.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, kind: Kind, uid: String, body: Vec<u8>) -> Result<Answer> {
        let taken = self.idle().pop();
        let mut sender = match taken {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        let request = http::Request::post(kind.path())
            .header(HOST, &self.plan.name)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes().to_vec();
        self.idle().push(sender);
        Ok(Answer {
            kind,
            uid,
            status,
            body,
        })
    }

    async fn send(self: Arc<Self>, intended: Instant, n: u64, which: usize) -> Done {
        let lag = intended.elapsed();
        let (_, template) = &self.plan.reviews[which];
        let name = uid(n);
        let body = template.review(&name, n);
        let bytes = body.len();
        let begin = Instant::now();
        let permit = self.free.acquire().await;
        let queued = begin.elapsed();
        let answer = match permit {
            Ok(_permit) => self.ask(template.kind, name, body).await,
            Err(closed) => Err(closed.into()),
        };
        Done {
            lag,
            queued,
            latency: intended.elapsed(),
            bytes,
            answer: answer.map_err(|error| format!("{error:#}")),
        }
    }
}

/// Times in seconds from the start and the review of each, drawn beforehand.
fn draw(plan: &Plan) -> Vec<(f64, usize)> {
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let all: f64 = plan.reviews.iter().map(|(weight, _)| weight).sum();
    let (mut at, mut drawn) = (0.0, Vec::new());
    loop {
        let gap: f64 = Exp1.sample(&mut rng);
        at += gap / plan.rate;
        if at >= plan.seconds {
            return drawn;
        }
        let mut point = rng.random::<f64>() * all;
        let which = plan.reviews.iter().position(|(weight, _)| {
            point -= weight;
            point < 0.0
        });
        drawn.push((at, which.unwrap_or(plan.reviews.len().saturating_sub(1))));
    }
}

/// Asks each kind once and fills the connections, so that the stream finds them open.
async fn warm(client: &Arc<Client>) -> Result<BTreeMap<Kind, String>> {
    let mut expected = BTreeMap::new();
    let mut opened = Vec::new();
    for _ in 0..client.plan.connections {
        opened.push(
            client
                .connect()
                .await
                .context("connecting to the webhook")?,
        );
    }
    client.idle().extend(opened);
    // Numbers that the stream never reaches.
    for (n, which) in (0..client.plan.connections * client.plan.reviews.len()).enumerate() {
        let which = which % client.plan.reviews.len();
        let done = Arc::clone(client)
            .send(Instant::now(), u64::from(u32::MAX) + n as u64, which)
            .await;
        let answer = done
            .answer
            .map_err(|why| anyhow!("asking the webhook: {why}"))?;
        let said = verdict(&answer).map_err(|why| anyhow!("the first answer is wrong: {why}"))?;
        expected.insert(answer.kind, said);
    }
    Ok(expected)
}

/// Runs the plan to its end.
pub fn run(plan: Plan) -> Result<Seen> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let drawn = draw(&plan);
    let client = Arc::new(Client::new(plan)?);
    let expected = runtime.block_on(warm(&client))?;
    let cpu = cpu_s();
    let start = Instant::now() + Duration::from_millis(50);
    let mut tasks = Vec::with_capacity(drawn.len());
    // From a thread of its own: its sleep ends within some tens of microseconds, tokio's timer within a millisecond.
    for (n, (at, which)) in drawn.into_iter().enumerate() {
        let intended = start + Duration::from_secs_f64(at);
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        tasks.push(runtime.spawn(Arc::clone(&client).send(intended, n as u64, which)));
    }
    let all: Vec<Done> = runtime.block_on(async {
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            all.push(task.await?);
        }
        Ok::<_, tokio::task::JoinError>(all)
    })?;
    let took = start.elapsed().as_secs_f64();
    judge(&all, took, cpu_s() - cpu, expected)
}

/// After the stream, so that checking costs it nothing.
fn judge(all: &[Done], took: f64, cpu_s: f64, expected: BTreeMap<Kind, String>) -> Result<Seen> {
    let (mut checked, mut broken) = (Checked::default(), BTreeMap::new());
    for done in all {
        match &done.answer {
            Ok(answer) => checked.take(answer, &expected),
            Err(why) => *broken.entry(why.clone()).or_default() += 1,
        }
    }
    let count = all.len().max(1) as f64;
    Ok(Seen {
        sent: all.len() as u64,
        rate: all.len() as f64 / took,
        latency: times(all.iter().map(|done| done.latency))?,
        from_ready: times(all.iter().map(|done| done.latency.saturating_sub(done.lag)))?,
        queue: times(all.iter().map(|done| done.queued))?,
        lag: times(all.iter().map(|done| done.lag))?,
        cpu_s,
        review_bytes: all.iter().map(|done| done.bytes as f64).sum::<f64>() / count,
        expected,
        checked,
        broken,
    })
}

fn times(all: impl Iterator<Item = Duration>) -> Result<Times> {
    // Microseconds up to a minute.
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    for one in all {
        histogram.saturating_record(u64::try_from(one.as_micros()).unwrap_or(u64::MAX));
    }
    let ms = |q: f64| histogram.value_at_quantile(q) as f64 / 1000.0;
    Ok(Times {
        p50_ms: ms(0.5),
        p90_ms: ms(0.9),
        p99_ms: ms(0.99),
        p999_ms: ms(0.999),
        max_ms: histogram.max() as f64 / 1000.0,
    })
}

fn cpu_s() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Plan, draw, times};
    use crate::webhook::reviews::{birth, set_image};
    use serde_json::json;

    #[test]
    fn reviews_come_at_the_rate_and_in_the_mix() {
        let stored = json!({"metadata": {}, "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "i:v1"}]}}}});
        let set = json!({"metadata": {"name": "a-5f"},
            "spec": {"template": {"metadata": {"labels": {"pod-template-hash": "5f"}}}}});
        let plan = Plan {
            address: "127.0.0.1:1".parse().unwrap(),
            name: "a".to_owned(),
            authorities: String::new(),
            reviews: vec![
                (4.0, set_image(&stored, "app").unwrap()),
                (1.0, birth(&set).unwrap()),
            ],
            rate: 1000.0,
            seconds: 10.0,
            connections: 1,
            seed: 7,
        };
        let drawn = draw(&plan);
        assert_eq!(drawn, draw(&plan));
        // Four standard deviations.
        assert!(
            (drawn.len() as f64 - 10_000.0).abs() < 400.0,
            "{}",
            drawn.len()
        );
        let pods = drawn.iter().filter(|(_, which)| *which == 1).count() as f64;
        assert!((pods / drawn.len() as f64 - 0.2).abs() < 0.016, "{pods}");
        assert!(drawn.is_sorted_by(|one, other| one.0 <= other.0));
    }

    #[test]
    fn quantiles_are_milliseconds() {
        let seen = times((1..=100).map(Duration::from_millis)).unwrap();
        assert!((seen.p50_ms - 50.0).abs() < 0.1 && (seen.max_ms - 100.0).abs() < 0.1);
    }
}
