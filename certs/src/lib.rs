//! Certificates: issue them, read them, decide when to renew, notice when their files change.
//!
//! What this crate does **not** do: it knows no Kubernetes, opens no socket, reads no clock and keeps no task. The
//! callers store what it makes and pass the time in.

mod inspect;
mod issue;
mod poll;
mod rotation;

pub use inspect::{Validity, inspect, own_key, readable, signed};
pub use issue::{Authority, Leaf, Pem, Usage};
pub use poll::Poll;
pub use rotation::{Rotation, bundle, rotation};

/// What can go wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// Making or signing failed.
    #[error("issuing the certificate for {subject}")]
    Issue {
        /// Whose certificate.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// The bytes are no PEM certificate.
    #[error("reading a PEM certificate: {0}")]
    Read(String),
    /// Parts that can be read and do not belong together.
    #[error("a certificate that is of no use: {0}")]
    Misfit(&'static str),
    /// A time outside what X.509 can say.
    #[error("the time {0} cannot stand in a certificate")]
    Time(jiff::Timestamp),
}

impl CertError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Issue { .. } => "CertificateNotIssued",
            Self::Read(_) => "CertificateUnreadable",
            Self::Misfit(_) => "CertificateMisfit",
            Self::Time(_) => "CertificateTimeOutOfRange",
        }
    }
}
