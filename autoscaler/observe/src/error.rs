//! Why Prometheus gave no usable answer.

use std::path::PathBuf;
use std::time::Duration;

/// A query without a usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromError {
    /// The base URL is no `http[s]://host[:port][/prefix]`, or what TLS needs for it is missing or unreadable.
    #[error("{url:?} is no Prometheus address: {why}")]
    BaseUrl {
        /// What was configured.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token of the login can't be had.
    #[error("the token {path} for Prometheus can't be read: {why}")]
    Token {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No connection, or it broke before the answer's head.
    #[error("Prometheus can't be reached: {0}")]
    Unreachable(String),
    /// No complete answer within the time allowed.
    #[error("Prometheus did not answer within {0:?}")]
    Timeout(Duration),
    /// An HTTP status other than success, without Prometheus' own error body.
    #[error("Prometheus answered with status {code}: {body}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// The first 200 characters of the body.
        body: String,
    },
    /// Prometheus refused or gave up the query.
    #[error("Prometheus refused the query ({kind}): {message}")]
    Refused {
        /// `errorType` of Prometheus' HTTP API: `bad_data`, `execution`, `timeout`, `canceled`, `unavailable`, ...
        kind: String,
        /// Its message.
        message: String,
    },
    /// The body is larger than allowed, in bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke within the body.
    #[error("the answer broke off: {0}")]
    BrokenOff(String),
    /// The body is not what Prometheus' HTTP API promises.
    #[error("the answer can't be read: {0}")]
    Malformed(String),
}

impl PromError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::BaseUrl { .. } => "InvalidPrometheusAddress",
            Self::Token { .. } => "PrometheusToken",
            Self::Unreachable(_) => "PrometheusUnreachable",
            Self::Timeout(_) => "PrometheusTimeout",
            Self::Status { .. } => "PrometheusStatus",
            Self::Refused { .. } => "QueryRefused",
            Self::TooLarge(_) => "AnswerTooLarge",
            Self::BrokenOff(_) => "AnswerBrokenOff",
            Self::Malformed(_) => "AnswerMalformed",
        }
    }

    /// Whether the same query may succeed later without a change of configuration.
    pub fn retry(&self) -> bool {
        match self {
            // It is mounted, and exchanged, while the program runs.
            Self::Token { .. } | Self::Unreachable(_) | Self::Timeout(_) | Self::BrokenOff(_) => {
                true
            }
            Self::Status { code, .. } => *code >= 500 || *code == 429,
            Self::Refused { kind, .. } => {
                matches!(
                    kind.as_str(),
                    "timeout" | "canceled" | "unavailable" | "internal"
                )
            }
            Self::BaseUrl { .. } | Self::TooLarge(_) | Self::Malformed(_) => false,
        }
    }
}
