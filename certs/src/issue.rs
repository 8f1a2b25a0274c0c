//! A certificate authority and the leaves it signs (ECDSA P-256, ring).

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::{CertError, own_key};

/// A certificate and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The certificate.
    pub cert: String,
    /// The private key (PKCS#8).
    pub key: String,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A private key never reaches a log.
        f.debug_struct("Pem")
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

/// What a leaf may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// To be connected to.
    Server,
    /// To connect with.
    Client,
}

/// What stands in a leaf.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// Common name.
    pub name: &'a str,
    /// Organisation; Kubernetes reads it as the group.
    pub group: Option<&'a str>,
    /// DNS names and IP addresses.
    pub sans: &'a [&'a str],
    /// Server or client.
    pub usage: Usage,
}

/// A certificate authority with its key.
pub struct Authority {
    pem: Pem,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("pem", &self.pem)
            .finish_non_exhaustive()
    }
}

fn moment(at: Timestamp) -> Result<time::OffsetDateTime, CertError> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| CertError::Time(at))
}

fn params(
    name: &str,
    group: Option<&str>,
    from: Timestamp,
    life: SignedDuration,
) -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = moment(from)?;
    params.not_after = moment(from + life)?;
    Ok(params)
}

impl Authority {
    /// Makes a new authority that is valid from `from` for `life`.
    pub fn new(name: &str, from: Timestamp, life: SignedDuration) -> Result<Self, CertError> {
        let failed = |source| CertError::Issue {
            subject: name.to_owned(),
            source,
        };
        let mut params = params(name, None, from, life)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.self_signed(&key).map_err(failed)?;
        let pem = Pem {
            cert: cert.pem(),
            key: key.serialize_pem(),
        };
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up an authority that was stored, with the key of its own certificate.
    pub fn load(pem: Pem) -> Result<Self, CertError> {
        own_key(&pem)?;
        let failed = |source| CertError::Issue {
            subject: "the stored authority".to_owned(),
            source,
        };
        let key = KeyPair::from_pem(&pem.key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&pem.cert, key).map_err(failed)?;
        Ok(Self { pem, issuer })
    }

    /// The authority's own certificate and key.
    pub fn pem(&self) -> &Pem {
        &self.pem
    }

    /// Signs a leaf that is valid from `from` for `life`.
    pub fn issue(
        &self,
        leaf: &Leaf<'_>,
        from: Timestamp,
        life: SignedDuration,
    ) -> Result<Pem, CertError> {
        let failed = |source| CertError::Issue {
            subject: leaf.name.to_owned(),
            source,
        };
        let mut params = params(leaf.name, leaf.group, from, life)?;
        let sans = leaf
            .sans
            .iter()
            .map(|&san| san.to_owned())
            .collect::<Vec<_>>();
        params.subject_alt_names = CertificateParams::new(sans)
            .map_err(failed)?
            .subject_alt_names;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![match leaf.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Pem {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}
