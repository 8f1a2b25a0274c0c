//! What a stored certificate says.

use jiff::Timestamp;
use rcgen::KeyPair;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::{Pem as Block, parse_x509_pem};

use crate::{CertError, Pem};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

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

/// The first block of a PEM text.
fn block(pem: &str) -> Result<Block, CertError> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| unreadable(&error))?;
    Ok(block)
}

fn certificate(block: &Block) -> Result<X509Certificate<'_>, CertError> {
    block.parse_x509().map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::fmt::Display) -> CertError {
    CertError::Read(error.to_string())
}

/// Reads the first certificate of a PEM text.
pub fn inspect(pem: &str) -> Result<Validity, CertError> {
    let block = block(pem)?;
    let cert = certificate(&block)?;
    let second = |at: i64| Timestamp::from_second(at).map_err(|error| unreadable(&error));
    Ok(Validity {
        not_before: second(cert.validity().not_before.timestamp())?,
        not_after: second(cert.validity().not_after.timestamp())?,
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
    })
}

/// Every certificate of a text that can be read, alone, and what it says. What lies between them is passed over.
pub fn readable(text: &str) -> Vec<(String, Validity)> {
    text.split_inclusive(END)
        .filter_map(|piece| {
            let pem = piece.get(piece.rfind(BEGIN)?..)?;
            Some((pem.to_owned(), inspect(pem).ok()?))
        })
        .collect()
}

/// Refuses a key that is not that of its certificate, the first of the text.
pub fn own_key(pem: &Pem) -> Result<(), CertError> {
    let block = block(&pem.cert)?;
    let cert = certificate(&block)?;
    let key =
        KeyPair::from_pem(&pem.key).map_err(|_| CertError::Misfit("its key is unreadable"))?;
    let public: &[u8] = &cert.public_key().subject_public_key.data;
    if public == key.public_key_raw() {
        Ok(())
    } else {
        Err(CertError::Misfit("its key is another certificate's"))
    }
}

/// Refuses a certificate that this authority did not sign; of both texts the first certificate counts.
pub fn signed(cert: &str, authority: &str) -> Result<(), CertError> {
    let (cert, authority) = (block(cert)?, block(authority)?);
    let (cert, authority) = (certificate(&cert)?, certificate(&authority)?);
    cert.verify_signature(Some(authority.public_key()))
        .map_err(|_| CertError::Misfit("another authority signed it"))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{Authority, Leaf, Usage};

    fn authority(name: &str) -> Authority {
        let from = "2026-01-01T00:00:00Z".parse().unwrap();
        Authority::new(name, from, SignedDuration::from_hours(9)).unwrap()
    }

    fn leaf(authority: &Authority) -> Pem {
        let from = "2026-01-01T00:00:00Z".parse().unwrap();
        let leaf = Leaf {
            name: "webhook",
            group: None,
            sans: &["webhook.svc"],
            usage: Usage::Server,
        };
        let life = SignedDuration::from_hours(1);
        authority.issue(&leaf, from, life).unwrap()
    }

    #[test]
    fn what_can_be_read_of_a_text_is_found_and_the_rest_passed_over() {
        let (one, two) = (authority("one"), authority("two"));
        let (one, two) = (one.pem().cert.trim(), two.pem().cert.trim());
        let cut = one.replace(END, "");
        for (text, wanted) in [
            (String::new(), vec![]),
            ("no PEM".to_owned(), vec![]),
            (format!("{BEGIN}\nAAAA\n{END}\n"), vec![]),
            (format!("{one}\n{two}\n"), vec![one, two]),
            (format!("a note\n{one}\n\n# another\n{two}"), vec![one, two]),
            (format!("{cut}{two}\n{BEGIN}"), vec![two]),
        ] {
            let found = readable(&text);
            let found: Vec<&str> = found.iter().map(|(pem, _)| pem.as_str()).collect();
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn a_key_fits_its_own_certificate_alone() {
        let authority = authority("one");
        let (mine, other) = (leaf(&authority), leaf(&authority));
        own_key(&mine).unwrap();
        own_key(authority.pem()).unwrap();
        let mixed = |key: &str| Pem {
            cert: mine.cert.clone(),
            key: key.to_owned(),
        };
        for key in [
            other.key.as_str(),
            authority.pem().key.as_str(),
            "garbage",
            "",
        ] {
            let error = own_key(&mixed(key)).unwrap_err();
            assert_eq!(error.category(), "CertificateMisfit");
            assert!(Authority::load(mixed(key)).is_err());
        }
        let unreadable = own_key(&Pem {
            cert: String::new(),
            ..mine
        });
        assert_eq!(unreadable.unwrap_err().category(), "CertificateUnreadable");
    }

    #[test]
    fn a_certificate_is_of_the_authority_that_signed_it_whatever_its_name() {
        let (one, other) = (authority("same"), authority("same"));
        let leaf = leaf(&one);
        signed(&leaf.cert, &one.pem().cert).unwrap();
        let error = signed(&leaf.cert, &other.pem().cert).unwrap_err();
        assert_eq!(error.category(), "CertificateMisfit");
        assert!(signed(&leaf.cert, "garbage").is_err());
        assert!(signed("garbage", &one.pem().cert).is_err());
    }
}
