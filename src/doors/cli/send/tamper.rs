//! Breaks a sample after it was signed.
//!
//! Where to break it is found by trying: the first change that the provider itself refuses. With a signed
//! body that is one bit of the body; elsewhere one bit of the credential, in a header or in the path.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hyper::Version;
use hyper::header::{HeaderMap, HeaderValue};

use crate::rules::provider::{Kind, Provider, Sample};
use crate::rules::reader;
use crate::rules::reader::secrets::Secrets;
use crate::words::message::{Head, Message, RequestId};
use crate::words::secret::Secret;
use crate::words::time::Timestamp;

/// Breaks samples of one provider.
#[derive(Debug)]
pub struct Tamperer {
    provider: Arc<dyn Provider>,
}

// === impl Tamperer ===

impl Tamperer {
    /// One that knows when it has succeeded.
    ///
    /// # Errors
    /// The secret is none that a route of this provider could have.
    pub fn new(kind: &Kind, secrets: &[Secret]) -> Result<Self, String> {
        let read = reader::read("", Secrets::Placeholders, |section| {
            (kind.build)(secrets.to_vec(), section)
        });
        let provider = read
            .value
            .ok_or_else(|| format!("{} takes no such secret", kind.name))?;
        Ok(Self { provider })
    }

    /// The sample with one bit flipped where it matters.
    pub fn tampered(&self, sample: Sample, now: Timestamp) -> Sample {
        let broken = changes(&sample)
            .into_iter()
            .find(|changed| self.refuses(changed, now));
        // Every provider can tell some change, or it would take anything; then there is nothing to break.
        broken.unwrap_or(sample)
    }

    fn refuses(&self, sample: &Sample, now: Timestamp) -> bool {
        let Some(message) = message(sample, now) else {
            return false;
        };
        let screened = self.provider.screen(&message.head);
        screened
            .and_then(|screened| self.provider.verify(&message, screened, now))
            .is_err()
    }
}

/// The sample with one bit flipped in the body, in each header, in the path.
fn changes(sample: &Sample) -> Vec<Sample> {
    let mut changes = Vec::new();
    if !sample.body.is_empty() {
        let mut changed = sample.clone();
        flip(&mut changed.body);
        changes.push(changed);
    }
    for place in 0..sample.headers.len() {
        let mut changed = sample.clone();
        if let Some((_, value)) = changed.headers.get_mut(place) {
            *value = flipped(value);
            changes.push(changed);
        }
    }
    let mut changed = sample.clone();
    changed.path_suffix = flipped(&sample.path_suffix);
    changes.push(changed);
    changes
}

/// Flips the lowest bit of the last digit: what was JSON stays JSON. Without a digit it is the last byte.
fn flip(bytes: &mut [u8]) {
    let place = bytes.iter().rposition(u8::is_ascii_digit);
    let place = place.unwrap_or(bytes.len().saturating_sub(1));
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 1;
    }
}

/// As [`flip`], for texts; one whose last character is not ASCII gets one more instead.
fn flipped(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    flip(&mut bytes);
    let has_changed = bytes != text.as_bytes();
    match String::from_utf8(bytes) {
        Ok(changed) if has_changed => changed,
        Ok(_) | Err(_) => format!("{text}0"),
    }
}

fn message(sample: &Sample, now: Timestamp) -> Option<Message> {
    let mut headers = HeaderMap::new();
    for (name, value) in &sample.headers {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    let uri = format!(
        "/{}?{}",
        sample.path_suffix.trim_start_matches('/'),
        sample.query
    );
    Some(Message {
        head: Head {
            method: sample.method.clone(),
            uri: uri.parse().ok()?,
            headers,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            version: Version::HTTP_11,
            is_secure: false,
            received_at: now,
            request_id: RequestId::new(0),
        }
        .into(),
        body: sample.body.clone().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::provider::{KINDS, SampleOrder};
    use crate::words::secret::Reference;

    #[test]
    fn breaks_every_provider_and_the_body_only_where_it_is_signed() {
        let secret = Secret::new(
            b"a-secret-of-24-characters".to_vec(),
            Reference::new("env:T"),
        );
        let now = Timestamp::from_secs(1_765_276_200);
        for kind in KINDS {
            let tamperer = Tamperer::new(kind, std::slice::from_ref(&secret)).unwrap();
            for event in kind.events {
                let sample = (kind.sample)(&SampleOrder {
                    event,
                    secret: Some(secret.expose()),
                    now,
                    nonce: 1,
                });
                assert!(!tamperer.refuses(&sample, now), "{kind:?} {event}");
                let tampered = tamperer.tampered(sample.clone(), now);
                assert!(tamperer.refuses(&tampered, now), "{kind:?} {event}");
                assert_eq!(tampered.body != sample.body, kind.name == "walletwerk");
            }
        }
    }
}
