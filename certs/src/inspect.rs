//! What a stored certificate says.

use jiff::Timestamp;

use crate::CertError;

/// The life of a certificate and the name it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: Timestamp,
    /// Last moment.
    pub not_after: Timestamp,
    /// The subject, as X.509 prints it.
    pub subject: String,
    /// The issuer, as X.509 prints it.
    pub issuer: String,
}

/// Reads the first certificate of a PEM text.
pub fn inspect(pem: &str) -> Result<Validity, CertError> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .map_err(|error| CertError::Read(error.to_string()))?;
    let cert = block
        .parse_x509()
        .map_err(|error| CertError::Read(error.to_string()))?;
    let second =
        |at: i64| Timestamp::from_second(at).map_err(|error| CertError::Read(error.to_string()));
    Ok(Validity {
        not_before: second(cert.validity().not_before.timestamp())?,
        not_after: second(cert.validity().not_after.timestamp())?,
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
    })
}
