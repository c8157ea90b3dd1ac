//! `[server.tls]`: the certificates that senders are shown.
//!
//! The files are read here once, so that a mistake in them is said with its place before anything runs.
//! What is served is read again by whoever serves it, now and whenever a file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::rules::certificate::Certificate;
use crate::rules::config::acme::{self, Acme};
use crate::rules::reader::Section;

/// `[server.tls]`.
#[derive(Debug)]
pub struct Tls {
    /// The certificates in files, the default first; none only with ACME.
    pub pairs: Vec<Pair>,
    /// Where a certificate comes from by itself.
    pub acme: Option<Acme>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate's path as it is written: its name in metrics and in the log.
    pub name: Arc<str>,
    /// The chain in PEM, the certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// More would make the choice by name slow, and belong behind something that is made for it.
const PAIRS_MAX: usize = 64;

/// Reads `[server.tls]`, if it is there; relative paths start from the configuration's folder.
pub fn tls(mut section: Section<'_>, folder: &Path) -> Option<Tls> {
    let acme = acme::acme(section.section("acme"), folder);
    let http2 = section.flag("http2").unwrap_or(false);
    let has_files = section.has("certificate") || section.has("key");
    // With ACME, files are for what it is not asked for.
    let first = match acme.is_some() && !has_files {
        true => None,
        false => pair(&mut section, folder),
    };
    let mut pairs: Vec<Pair> = first.into_iter().collect();
    let more = section.sections("more");
    if more.len() >= PAIRS_MAX {
        section.mistake("more", format!("more than {} of them", PAIRS_MAX - 1));
    }
    for mut more in more {
        pairs.extend(pair(&mut more, folder));
        more.finish();
    }
    let is_present = section.is_present();
    section.finish();
    is_present.then_some(Tls { pairs, acme, http2 })
}

/// A certificate and its key, read once to see whether they can be served.
fn pair(section: &mut Section<'_>, folder: &Path) -> Option<Pair> {
    let certificate = section.path("certificate");
    let key = section.path("key");
    if !section.is_present() {
        return None;
    }
    for (name, what) in [
        ("certificate", "the file of a certificate with its chain"),
        ("key", "the file of its private key"),
    ] {
        if !section.has(name) {
            section.missing(name, format!("is needed: {what}, in PEM"));
        }
    }
    let (certificate, key) = (certificate?, key?);
    let chain = section.file("certificate", &certificate);
    let secret = section.file("key", &key);
    if let (Some(chain), Some(secret)) = (chain, secret) {
        if secret.is_world_readable {
            section.warn("key", "can be read by every user of this machine");
        }
        match Certificate::read(&chain.bytes, &secret.bytes) {
            Ok(certificate) => warn_if_expired(section, &certificate),
            Err(unusable) if unusable.is_of_certificate() => {
                section.unusable("certificate", unusable.to_string());
            }
            Err(unusable) => section.unusable("key", unusable.to_string()),
        }
    }
    Some(Pair {
        name: certificate.to_string_lossy().into(),
        certificate: folder.join(certificate),
        key: folder.join(key),
    })
}

fn warn_if_expired(section: &Section<'_>, certificate: &Certificate) {
    let not_after = certificate.not_after();
    if section.now().is_some_and(|now| now > not_after) {
        let message = format!(
            "expired at {}: senders will refuse it",
            not_after.to_rfc3339()
        );
        section.warn("certificate", message);
    }
}
