//! The certificates that are served at the moment, and which of them a sender is shown.
//!
//! A handshake sees one whole set. A connection keeps what it was shown, so that a new set drops nothing.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::rules::certificate::Certificate;

/// The certificates of the moment, the default first.
pub struct Certificates(ArcSwap<Vec<Certificate>>);

// === impl Certificates ===

impl Certificates {
    /// Serves these.
    pub fn new(served: Vec<Certificate>) -> Self {
        Self(ArcSwap::from_pointee(served))
    }

    /// Serves these from the next handshake on.
    pub fn serve(&self, served: Vec<Certificate>) {
        self.0.store(Arc::new(served));
    }

    /// What a sender is shown that asks for this name: the first certificate that is one of it, else the default.
    pub fn chosen(&self, name: Option<&str>) -> Option<Certificate> {
        let served = self.0.load();
        let named = name.and_then(|name| served.iter().find(|one| one.is_for(name)));
        named.or_else(|| served.first()).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.chosen(hello.server_name())?;
        Some(chosen.certified())
    }
}
