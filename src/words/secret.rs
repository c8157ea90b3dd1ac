//! Secrets: named by reference, redacted wherever they could be printed, wiped when dropped.
//!
//! A [`Secret`] gives its bytes only through [`Secret::expose`], so that a search for that word finds
//! every use. Which secret matched is told by its [`Reference`], never by the secret.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Where a secret comes from: `env:NAME` or `file:/path`, as the configuration writes it. Safe to log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference(Arc<str>);

/// The bytes of a secret together with where they came from.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    reference: Reference,
}

/// A secret that a sender presents as it is (an API key, a path segment), ready to be compared.
///
/// Both sides are hashed first: digests are of one length, so neither the length nor a common prefix
/// of the secret shows in the time that the comparison takes.
#[derive(Clone)]
pub struct Presented {
    digest: Zeroizing<[u8; 32]>,
    reference: Reference,
}

// === impl Reference ===

impl Reference {
    /// A reference as the configuration writes it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// The text as the configuration writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Secret ===

impl Secret {
    /// A secret of at least this many bytes is accepted; shorter ones are guessable.
    pub const SHORTEST: usize = 8;

    /// Takes the bytes as they are; they need not be text.
    pub fn new(bytes: Vec<u8>, reference: Reference) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
            reference,
        }
    }

    /// The bytes themselves. Every call is a place to look at.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the secret came from.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The form that is compared with what a sender presents.
    pub fn to_presented(&self) -> Presented {
        Presented {
            digest: Zeroizing::new(Sha256::digest(self.expose()).into()),
            reference: self.reference.clone(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, [redacted])", self.reference)
    }
}

// === impl Presented ===

impl Presented {
    /// Where the secret came from.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The reference of the secret among `accepted` that `presented` equals.
    ///
    /// Every secret is always tried, so the time tells neither whether nor which one matched.
    pub fn find<'a>(accepted: &'a [Self], presented: &[u8]) -> Option<&'a Reference> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let mut matched = None;
        for secret in accepted {
            if bool::from(secret.digest.ct_eq(&digest)) && matched.is_none() {
                matched = Some(&secret.reference);
            }
        }
        matched
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({}, [redacted])", self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str, reference: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec(), Reference::new(reference))
    }

    #[test]
    fn debug_shows_the_reference_and_never_the_secret() {
        let secret = secret("hunter2hunter2", "env:KEY");
        let shown = format!("{secret:?} {:?}", secret.to_presented());
        assert!(shown.contains("env:KEY"));
        assert!(!shown.contains("hunter2"));
    }

    #[test]
    fn finds_the_one_that_is_equal_in_every_byte() {
        let accepted = [
            secret("current-key", "env:NEW").to_presented(),
            secret("previous-key", "env:OLD").to_presented(),
        ];
        assert_eq!(
            Presented::find(&accepted, b"previous-key"),
            Some(&Reference::new("env:OLD"))
        );
        for wrong in [
            &b""[..],
            b"previous-ke",
            b"previous-keyy",
            b"Previous-key",
            b"previous-key\n",
        ] {
            assert_eq!(Presented::find(&accepted, wrong), None);
        }
    }
}
