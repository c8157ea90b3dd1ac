//! A certificate and its key: two PEM texts become what TLS can serve, or the reason why they cannot.
//!
//! No message shows anything of a key, and nothing here opens a file.

use std::fmt;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode;

use crate::words::time::Timestamp;

/// A certificate with its chain and the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why two texts are no certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is no certificate in the text.
    NoCertificate,
    /// There is something that says it is a certificate, and is none.
    BadCertificate,
    /// There is no private key in the text, or only one under a passphrase.
    NoKey,
    /// There is something that says it is a private key, and is none that can be used.
    BadKey,
    /// The key is another certificate's.
    OtherKey,
}

// === impl Certificate ===

impl Certificate {
    /// Reads a chain, the certificate itself first, and its key.
    ///
    /// # Errors
    /// Why they cannot be served.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, Unusable> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Unusable::BadCertificate)?;
        let first = chain.first().ok_or(Unusable::NoCertificate)?;
        let (not_before, not_after) = validity(first).ok_or(Unusable::BadCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => Unusable::NoKey,
            _ => Unusable::BadKey,
        })?;
        let provider = ring::default_provider();
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|_| Unusable::BadKey)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self {
                certified: Arc::new(certified),
                not_before,
                not_after,
            }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(Unusable::OtherKey),
            Err(_) => Err(Unusable::BadCertificate),
        }
    }

    /// What TLS serves.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// From when on it is good.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when it is good.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it is a certificate of this host: a DNS name, or an address without brackets.
    pub fn is_for(&self, host: &str) -> bool {
        let (Some(first), Ok(name)) = (self.certified.cert.first(), ServerName::try_from(host))
        else {
            return false;
        };
        ParsedCertificate::try_from(first)
            .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let validity = parsed.tbs_certificate().validity();
    let timestamp = |time: x509_cert::time::Time| {
        let secs = time.to_unix_duration().as_secs();
        i64::try_from(secs).ok().map(Timestamp::from_secs)
    };
    Some((
        timestamp(validity.not_before)?,
        timestamp(validity.not_after)?,
    ))
}

// === impl Unusable ===

impl Unusable {
    /// Whether the mistake lies in the certificate's text rather than in the key's.
    pub const fn is_of_certificate(self) -> bool {
        match self {
            Self::NoCertificate | Self::BadCertificate => true,
            Self::NoKey | Self::BadKey | Self::OtherKey => false,
        }
    }
}

impl fmt::Display for Unusable {
    /// Completes "the file …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "holds no certificate (PEM, `BEGIN CERTIFICATE`)",
            Self::BadCertificate => "holds a certificate that cannot be read",
            Self::NoKey => "holds no private key (PEM, `BEGIN PRIVATE KEY`, without a passphrase)",
            Self::BadKey => "holds a private key that cannot be used (RSA, ECDSA and Ed25519 can)",
            Self::OtherKey => "holds a private key that is not the certificate's",
        })
    }
}

impl std::error::Error for Unusable {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    fn refused(chain: &str, key: &str) -> Option<Unusable> {
        Certificate::read(chain.as_bytes(), key.as_bytes()).err()
    }

    #[test]
    fn a_certificate_and_its_key_are_read_from_one_text_or_two() {
        let (chain, key) = pair(&["a.example"]);
        assert_eq!(refused(&chain, &key), None);
        let both = format!("{key}{chain}");
        assert_eq!(refused(&both, &both), None);
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_its_reason() {
        let (chain, key) = pair(&["a.example"]);
        let (_, other_key) = pair(&["a.example"]);
        let half = |text: &str| text[..text.len() / 2].to_owned();
        for (chain, key, expected) in [
            ("", key.as_str(), Unusable::NoCertificate),
            (key.as_str(), key.as_str(), Unusable::NoCertificate),
            (&half(&chain), &key, Unusable::BadCertificate),
            (&chain.replace("MII", "MIJ"), &key, Unusable::BadCertificate),
            (&chain, "", Unusable::NoKey),
            (&chain, &chain, Unusable::NoKey),
            (
                &chain,
                &key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
                Unusable::NoKey,
            ),
            (&chain, &half(&key), Unusable::BadKey),
            (&chain, &key.replace("MI", "MA"), Unusable::BadKey),
            (&chain, &other_key, Unusable::OtherKey),
        ] {
            assert_eq!(refused(chain, key), Some(expected), "{chain}\n{key}");
        }
    }

    #[test]
    fn its_names_are_those_that_a_client_would_take_it_for() {
        let (chain, key) = pair(&["a.example", "*.b.example", "192.0.2.7"]);
        let certificate = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
        for (host, expected) in [
            ("a.example", true),
            ("A.Example", true),
            ("x.a.example", false),
            ("x.b.example", true),
            ("b.example", false),
            ("x.y.b.example", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(certificate.is_for(host), expected, "{host}");
        }
    }

    #[test]
    fn it_is_good_until_its_last_second() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let certificate =
            Certificate::read(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(certificate.not_after().to_rfc3339(), "2031-02-03T00:00:00Z");
    }
}
