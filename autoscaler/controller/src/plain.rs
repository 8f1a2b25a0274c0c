//! Plain HTTP to pods of ours and to the subjects of profiles: bounded in size and time.

use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use msars_domain::Token;
use rand::TryRng as _;
use rand::rngs::SysRng;

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

/// A token that nobody can guess: 128 bits of the operating system's, or why it has none.
pub fn random_token() -> Result<Token, String> {
    let mut bytes = [0; 16];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| format!("no random numbers: {error}"))?;
    let text = format!("{:032x}", u128::from_be_bytes(bytes));
    Token::new(text).ok_or_else(|| "no random numbers".to_owned())
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
        self.call("GET", url, None, Vec::new(), within).await
    }

    /// `POST url` with JSON and a token, the body as text.
    pub async fn post(
        &self,
        url: &str,
        token: &Token,
        json: Vec<u8>,
        within: Duration,
    ) -> Result<String, PlainError> {
        self.call("POST", url, Some(token), json, within).await
    }

    async fn call(
        &self,
        method: &'static str,
        url: &str,
        token: Option<&Token>,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<String, PlainError> {
        let failed = |message: String| PlainError::Failed {
            method,
            url: url.to_owned(),
            message,
        };
        let mut request = http::Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json");
        if let Some(token) = token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
                .map_err(|error| failed(error.to_string()))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn tokens_differ_and_are_not_shown() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert!(one != other);
        assert_eq!(one.reveal().len(), 32);
        assert_eq!(format!("{one:?}"), "Token(hidden)");
    }

    #[tokio::test]
    async fn a_post_brings_its_token_and_a_get_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/run", listener.local_addr().unwrap());
        let pod = tokio::spawn(async move {
            let mut asked = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap();
                asked.push(String::from_utf8_lossy(&head[..read]).into_owned());
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
            asked
        });
        let (plain, token) = (Plain::default(), Token::new("t0ken").unwrap());
        let within = Duration::from_secs(10);
        plain.post(&url, &token, Vec::new(), within).await.unwrap();
        plain.get(&url, within).await.unwrap();
        let asked = pod.await.unwrap();
        let brought = "authorization: Bearer t0ken\r\n";
        assert!(asked[0].contains(brought), "{}", asked[0]);
        assert!(!asked[1].contains("authorization"), "{}", asked[1]);
    }
}
