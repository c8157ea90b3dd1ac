//! `[server.tls.acme]`: a certificate that the gateway asks for by itself (RFC 8555).
//!
//! The one challenge is TLS-ALPN-01 (RFC 8737), which needs no port but the one that events come in at.

use std::path::{Path, PathBuf};

use hyper::Uri;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName};

use crate::rules::config::{Server, Store};
use crate::rules::reader::Section;

/// `[server.tls.acme]`.
#[derive(Clone, Debug)]
pub struct Acme {
    /// The names that the certificate is to be of; at least one.
    pub domains: Vec<String>,
    /// Where the authority writes to when something is wrong.
    pub contact: Vec<String>,
    /// The authority's directory.
    pub directory: String,
    /// The folder that account and certificate are kept in.
    pub cache: PathBuf,
    /// Whose certificates the directory is believed by; without it the system's.
    pub roots: Option<PathBuf>,
}

/// As many names as the best-known authority puts into one certificate.
const DOMAINS_MAX: usize = 100;

const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
const CACHE: &str = "acme";
const DOMAIN: &str = "a domain such as \"hooks.example.com\"";
const CONTACT: &str = "a contact such as \"mailto:ops@example.com\"";

/// Reads `[server.tls.acme]`, if it is there; relative paths start from the configuration's folder.
pub fn acme(mut section: Section<'_>, folder: &Path) -> Option<Acme> {
    let domains = section.parse_one_or_each("domains", DOMAIN, domain);
    let contact = section.parse_one_or_each("contact", CONTACT, contact);
    let directory = section.parse("directory", "a URL in quotes", directory);
    let cache = section.path("cache");
    let roots = section.path("roots");
    if let Some(roots) = &roots
        && let Some(file) = section.file("roots", roots)
    {
        let mut certificates = CertificateDer::pem_slice_iter(&file.bytes);
        if certificates.next().is_none_or(|first| first.is_err()) {
            section.mistake("roots", "holds no certificate (PEM, `BEGIN CERTIFICATE`)");
        }
    }
    if !section.is_present() {
        return None;
    }
    if !section.has("domains") {
        section.missing("domains", format!("is needed: {DOMAIN}, or a list of them"));
    } else if domains.is_empty() && !section.is_spoiled("domains") {
        section.mistake("domains", format!("names none; write {DOMAIN}"));
    }
    if domains.len() > DOMAINS_MAX {
        section.mistake("domains", format!("are more than {DOMAINS_MAX}"));
    }
    section.finish();
    Some(Acme {
        domains,
        contact,
        directory: directory.unwrap_or_else(|| DIRECTORY.to_owned()),
        cache: cache.map_or_else(PathBuf::new, |cache| folder.join(cache)),
        roots: roots.map(|roots| folder.join(roots)),
    })
}

/// Where nothing else is said, the cache lies beside the store.
pub fn settle(server: &mut Server, store: &Store) {
    let acme = server.tls.as_mut().and_then(|tls| tls.acme.as_mut());
    if let Some(acme) = acme.filter(|acme| acme.cache.as_os_str().is_empty()) {
        acme.cache = store.path.with_file_name(CACHE);
    }
}

fn domain(text: &str) -> Result<String, String> {
    if text.starts_with("*.") {
        return Err(
            "is a wildcard, which no authority gives for a challenge by TLS; name each domain"
                .to_owned(),
        );
    }
    let is_name = DnsName::try_from(text).is_ok() && !text.ends_with('.');
    // The last label of a domain is no number, or it would be an address.
    let is_address = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    match is_name && !is_address {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!("is not a domain; write {DOMAIN}")),
    }
}

fn contact(text: &str) -> Result<String, String> {
    let is_mail = text
        .strip_prefix("mailto:")
        .and_then(|address| address.split_once('@'))
        .is_some_and(|(who, domain)| !who.is_empty() && domain.contains('.'));
    match is_mail && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("is not a contact; write {CONTACT}")),
    }
}

fn directory(text: &str) -> Result<String, String> {
    let uri: Option<Uri> = text.parse().ok();
    let is_secure = uri.is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    });
    match is_secure && !text.contains(['@', '#']) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "is not a directory's URL; write one such as {DIRECTORY:?}"
        )),
    }
}
