//! Plain HTTP to pods of ours and to the subjects of profiles: bounded in size and time.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Largest answer read, in bytes.
const LARGEST: usize = 4 << 20;

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// No connection, a broken one, or an answer larger than 4 MiB.
    #[error("{method} {url}: {message}")]
    Failed {
        /// The method.
        method: &'static str,
        /// The address.
        url: String,
        /// What happened.
        message: String,
    },
    /// Another status than 200.
    #[error("{method} {url}: status {status}: {body}")]
    Status {
        /// The method.
        method: &'static str,
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// The start of the answer.
        body: String,
    },
    /// No answer in time.
    #[error("{method} {url}: no answer within {within:?}")]
    Time {
        /// The method.
        method: &'static str,
        /// The address.
        url: String,
        /// The limit.
        within: Duration,
    },
}

/// The client; cheap to clone.
#[derive(Clone, Debug)]
pub struct Plain(Client<HttpConnector, Full<Bytes>>);

impl Default for Plain {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Plain {
    /// `GET url`, the body as text.
    pub async fn get(&self, url: &str, within: Duration) -> Result<String, PlainError> {
        self.call("GET", url, Vec::new(), within).await
    }

    /// `POST url` with JSON, the body as text.
    pub async fn post(
        &self,
        url: &str,
        json: Vec<u8>,
        within: Duration,
    ) -> Result<String, PlainError> {
        self.call("POST", url, json, within).await
    }

    async fn call(
        &self,
        method: &'static str,
        url: &str,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<String, PlainError> {
        let failed = |message: String| PlainError::Failed {
            method,
            url: url.to_owned(),
            message,
        };
        let request = http::Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        let exchange = async {
            let answer = self
                .0
                .request(request)
                .await
                .map_err(|error| failed(error.to_string()))?;
            let status = answer.status().as_u16();
            let bytes = Limited::new(answer.into_body(), LARGEST)
                .collect()
                .await
                .map_err(|error| failed(error.to_string()))?
                .to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if status == 200 {
                Ok(text)
            } else {
                Err(PlainError::Status {
                    method,
                    url: url.to_owned(),
                    status,
                    body: text.chars().take(200).collect(),
                })
            }
        };
        tokio::time::timeout(within, exchange)
            .await
            .map_err(|_elapsed| PlainError::Time {
                method,
                url: url.to_owned(),
                within,
            })?
    }
}
