//! The certificates that are served at the moment, and which of them a sender is shown.
//!
//! A handshake sees one whole set. A connection keeps what it was shown, so that a new set drops nothing. Whoever
//! speaks nothing but `acme-tls/1` is an authority that looks for the answer to its challenge (RFC 8737): it is
//! shown that answer or nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::rules::certificate::Certificate;

/// What an authority speaks to see the answer to its challenge.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// The certificates of the moment.
#[derive(Default)]
pub struct Certificates {
    /// From files, the default first.
    files: ArcSwap<Vec<Certificate>>,
    /// By ACME; the default where there are no files.
    acme: ArcSwapOption<Certificate>,
    /// The answers to challenges that are open, by domain.
    challenges: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
}

// === impl Certificates ===

impl Certificates {
    /// Serves these from files, from the next handshake on.
    pub fn serve_files(&self, files: Vec<Certificate>) {
        self.files.store(Arc::new(files));
    }

    /// Serves this one by ACME, from the next handshake on.
    pub fn serve_acme(&self, certificate: Certificate) {
        self.acme.store(Some(Arc::new(certificate)));
    }

    /// Shows these answers to whoever looks for them, and no others.
    pub fn answer_challenges(&self, answers: HashMap<String, Arc<CertifiedKey>>) {
        self.challenges.store(Arc::new(answers));
    }

    /// What a sender is shown that asks for this name: the first certificate that is one of it, else the default.
    pub fn chosen(&self, name: Option<&str>) -> Option<Certificate> {
        let (files, acme) = (self.files.load(), self.acme.load());
        let all = || files.iter().chain(acme.as_deref());
        let named = name.and_then(|name| all().find(|one| one.is_for(name)));
        named.or_else(|| all().next()).cloned()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let is_authority = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS));
        match is_authority {
            true => self.challenges.load().get(name?).cloned(),
            false => self.chosen(name).map(|chosen| chosen.certified()),
        }
    }
}
