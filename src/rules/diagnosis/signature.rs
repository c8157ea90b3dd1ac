//! Explains a signature over the raw body that does not verify.
//!
//! Every likely other body is tried with every configured secret, then every likely reading of a secret
//! with the body, then both together; the first that gives the tag is the cause.

use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName};
use sha2::{Digest, Sha256, Sha512};

use crate::rules::diagnosis::bodies::{Candidate, candidates};
use crate::rules::diagnosis::secrets::{Reading, readings};
use crate::rules::diagnosis::{Case, Finding, json, tags};
use crate::rules::hmac::{SignatureEncoding, Signer, Tag};
use crate::words::secret::{Reference, Secret};

/// An HMAC-SHA256 of the raw body in a header.
#[derive(Clone, Copy, Debug)]
pub struct BodySignature<'a> {
    /// The header.
    pub header: &'static HeaderName,
    /// The encodings that the route takes.
    pub encoding: SignatureEncoding,
    /// Headers that other platforms sign together with the body: time and id.
    pub stamps: &'a [&'static HeaderName],
}

/// Why the signature does not verify.
pub fn explain(case: &Case<'_>, signature: &BodySignature<'_>) -> Vec<Finding> {
    let name = signature.header;
    let value = match case.message.head.single(name) {
        Err(_) => {
            return vec![Finding::cause(format!(
                "There is more than one `{name}` header, and which one counts would be a guess. \
                 A proxy or the capture doubled it."
            ))];
        }
        Ok(None) => return missing(case, name),
        Ok(Some(value)) => value.as_bytes(),
    };
    let mut findings = Vec::new();
    let tag = match signature.encoding.decode(value) {
        Some(tag) => Some(tag),
        None => {
            let misshape = tags::explain(value, signature.encoding);
            findings.push(Finding::cause(format!(
                "The value of `{name}` {}.",
                misshape.problem
            )));
            findings.extend(misshape.other.and_then(|bytes| other_hash(case, &bytes)));
            misshape.meant
        }
    };
    if let Some(tag) = tag {
        findings.extend(search(case, signature, &tag));
    }
    findings.extend(about_the_body(case));
    findings
}

fn missing(case: &Case<'_>, name: &HeaderName) -> Vec<Finding> {
    let mut findings = vec![Finding::cause(format!(
        "The header `{name}` is not there. Proxies drop headers that they do not know when told to; \
         `run` needs it as the platform sent it."
    ))];
    // Names only: their values may be credentials.
    let similar: Vec<String> = case
        .message
        .head
        .headers
        .keys()
        .filter(|other| other.as_str().contains("signature") || other.as_str().contains("hmac"))
        .map(|other| format!("`{other}`"))
        .collect();
    if !similar.is_empty() {
        findings.push(Finding::hint(format!(
            "Signed some other way: {} is there. Is this the right provider?",
            similar.join(", ")
        )));
    }
    findings
}

fn search(case: &Case<'_>, signature: &BodySignature<'_>, tag: &Tag) -> Option<Finding> {
    let body: &[u8] = &case.message.body;
    if verifying(case.secrets, &[body], tag).is_some() {
        // Only the shape was wrong, which is said already.
        return Some(Finding::hint(
            "Once that is undone the signature verifies: body and secret are right.",
        ));
    }
    let bodies = candidates(body);
    let readings: Vec<Reading> = case.secrets.iter().flat_map(readings).collect();
    changed_body(case.secrets, &bodies, tag)
        .or_else(|| changed_secret(&readings, body, tag))
        .or_else(|| changed_both(&readings, &bodies, tag))
        .or_else(|| signed_with_stamps(case, signature.stamps, &readings, tag))
        .or_else(|| no_hmac(case, tag))
        .or_else(|| {
            Some(Finding::hint(format!(
                "No usual change explains it ({} other bodies and {} other readings of the secrets were \
                 tried). Most likely it was made with another secret: that of another endpoint, or one \
                 that has been replaced since. Otherwise the body was changed in some rarer way.",
                bodies.len(),
                readings.len()
            )))
        })
}

fn verifying<'a>(secrets: &'a [Secret], parts: &[&[u8]], tag: &Tag) -> Option<&'a Reference> {
    secrets
        .iter()
        .find(|secret| makes(secret, parts, tag))
        .map(Secret::reference)
}

fn makes(secret: &Secret, parts: &[&[u8]], tag: &Tag) -> bool {
    Signer::find(&[Signer::new(secret)], parts, tag).is_some()
}

fn changed_body(secrets: &[Secret], bodies: &[Candidate], tag: &Tag) -> Option<Finding> {
    bodies.iter().find_map(|candidate| {
        let reference = verifying(secrets, &[&candidate.bytes], tag)?;
        Some(Finding::cause(format!(
            "The signature, made with {reference}, is of the body {}. {}",
            candidate.change, candidate.advice
        )))
    })
}

fn changed_secret(readings: &[Reading], body: &[u8], tag: &Tag) -> Option<Finding> {
    let reading = readings
        .iter()
        .find(|reading| makes(&reading.secret, &[body], tag))?;
    Some(Finding::cause(format!(
        "The signature is made with {} {}. A secret is used as its raw bytes: change what {} holds.",
        reading.secret.reference(),
        reading.change,
        reading.secret.reference()
    )))
}

fn changed_both(readings: &[Reading], bodies: &[Candidate], tag: &Tag) -> Option<Finding> {
    readings.iter().find_map(|reading| {
        let candidate = bodies
            .iter()
            .filter(|candidate| candidate.bytes.len() <= BOTH_BYTES_MAX)
            .find(|candidate| makes(&reading.secret, &[&candidate.bytes], tag))?;
        Some(Finding::cause(format!(
            "Two things differ: the signature is made with {} {}, and it is of the body {}. {}",
            reading.secret.reference(),
            reading.change,
            candidate.change,
            candidate.advice
        )))
    })
}

fn signed_with_stamps(
    case: &Case<'_>,
    stamps: &[&'static HeaderName],
    readings: &[Reading],
    tag: &Tag,
) -> Option<Finding> {
    let body: &[u8] = &case.message.body;
    let values: Vec<(&HeaderName, &[u8])> = stamps
        .iter()
        .filter_map(|name| Some((*name, case.message.head.text(name)?.as_bytes())))
        .collect();
    let secrets = || {
        case.secrets
            .iter()
            .chain(readings.iter().map(|reading| &reading.secret))
    };
    let found = |name: String, parts: &[&[u8]]| {
        let secret = secrets().find(|secret| makes(secret, parts, tag))?;
        Some(Finding::cause(format!(
            "The signature, made with {}, is not of the body alone but of {name}. The platform signs the \
             body only: is this the right provider?",
            secret.reference()
        )))
    };
    for (name, value) in &values {
        for dot in [&b"."[..], b"", b"\n", b":"] {
            let text = || format!("the value of `{name}` and the body");
            if let Some(finding) = found(text(), &[value, dot, body]) {
                return Some(finding);
            }
        }
        for (other, more) in &values {
            let text = format!("the values of `{name}` and `{other}` and the body");
            if let Some(finding) = found(text, &[value, b".", more, b".", body]) {
                return Some(finding);
            }
        }
    }
    None
}

/// Digests that are no HMAC at all.
fn no_hmac(case: &Case<'_>, tag: &Tag) -> Option<Finding> {
    let body: &[u8] = &case.message.body;
    if Sha256::digest(body)[..] == tag.as_bytes()[..] {
        return Some(Finding::cause(
            "It is the plain SHA-256 of the body, made without a secret, so it proves nothing.",
        ));
    }
    case.secrets.iter().find_map(|secret| {
        let joined = [(secret.expose(), body), (body, secret.expose())];
        let is_joined = joined.iter().any(|(first, second)| {
            let digest = Sha256::new()
                .chain_update(first)
                .chain_update(second)
                .finalize();
            digest[..] == tag.as_bytes()[..]
        });
        is_joined.then(|| {
            Finding::cause(format!(
                "It is the plain SHA-256 of {} and the body joined, not an HMAC of the body.",
                secret.reference()
            ))
        })
    })
}

/// Tags of another length: a known hash, made with a configured secret.
fn other_hash(case: &Case<'_>, bytes: &[u8]) -> Option<Finding> {
    use hmac::{Hmac, KeyInit, Mac};
    if bytes.len() != 64 {
        return None;
    }
    case.secrets.iter().find_map(|secret| {
        let mut mac = Hmac::<Sha512>::new_from_slice(secret.expose()).ok()?;
        mac.update(&case.message.body);
        mac.verify_slice(bytes).ok()?;
        Some(Finding::cause(format!(
            "It is the HMAC-SHA512 of this very body, made with {}: body and secret are right, the hash is not.",
            secret.reference()
        )))
    })
}

/// What is suspicious about the body, whatever the signature says.
fn about_the_body(case: &Case<'_>) -> Vec<Finding> {
    let head = &case.message.head;
    let body = &case.message.body;
    let mut findings = Vec::new();
    let stated = head
        .text(&CONTENT_LENGTH)
        .and_then(|value| value.parse::<usize>().ok());
    if let Some(stated) = stated.filter(|stated| *stated != body.len()) {
        let len = body.len();
        findings.push(Finding::hint(format!(
            "`content-length` says {stated} bytes, but the captured body has {len}: these are not the \
             bytes that were sent."
        )));
    }
    if let Some(encoding) = head
        .text(&CONTENT_ENCODING)
        .filter(|value| *value != "identity")
    {
        // Shown only if it is one of the registered words.
        let encoding = ["gzip", "br", "deflate", "zstd", "compress"]
            .into_iter()
            .find(|known| encoding.eq_ignore_ascii_case(known))
            .unwrap_or("something");
        findings.push(Finding::hint(format!(
            "`content-encoding` says {encoding}: the signature may be of the body before it was compressed."
        )));
    }
    if !body.is_empty() && json::read(body).is_none() {
        findings.push(Finding::hint(
            "The body is not one whole JSON value: it may have been cut off or replaced.",
        ));
    }
    findings
}

/// Trying both at once costs about a thousand HMACs; larger bodies get one change at a time.
const BOTH_BYTES_MAX: usize = 64 << 10;
