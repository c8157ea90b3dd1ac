//! What every provider promises, tried on all of them; and the vectors of each.
//!
//! A new provider gets its settings into [`settings`]; a test holds that list against the registry.

mod any;
mod every;
mod passworks;
mod walletwerk;
mod wallit;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri, Version};
use zeroize::Zeroizing;

use crate::rules::provider::{Kind, Provider, Sample, SampleOrder, find};
use crate::rules::reader;
use crate::rules::reader::secrets::{SecretFile, SecretSource, Secrets, Unreadable};
use crate::words::identity::Keys;
use crate::words::message::{Head, Message, RequestId};
use crate::words::secret::{Reference, Secret};
use crate::words::time::Timestamp;
use crate::words::verdict::{Assurance, Unverified, Verdict};

/// A route as it could be configured, and what proves a message there.
#[derive(Clone, Copy)]
struct Setting {
    kind: &'static Kind,
    assurance: Assurance,
    /// Lines of `[route.verify]`.
    options: &'static str,
    /// The route's secret, where it has one.
    secret: Option<&'static str>,
    /// Headers without which nothing is proven.
    credentials: &'static [&'static str],
    /// What the platform adds to a sample beyond [`Kind::sample`].
    finish: fn(&mut Message),
}

/// Every grade of every provider.
fn settings() -> Vec<Setting> {
    let setting = |name: &str, assurance| Setting {
        kind: find(name).unwrap(),
        assurance,
        options: "",
        secret: None,
        credentials: &[],
        finish: |_| {},
    };
    vec![
        Setting {
            secret: Some("walletwerk_test_secret"),
            credentials: &["x-walletwerk-signature"],
            ..setting("walletwerk", Assurance::Signature)
        },
        Setting {
            secret: Some("passworks-api-key"),
            credentials: &["authorization"],
            ..setting("passworks", Assurance::ApiKey)
        },
        Setting {
            secret: Some("path-secret-0123456789"),
            ..setting("wallit", Assurance::Token)
        },
        Setting {
            options: "management_key = \"env:MANAGEMENT_KEY\"\nmanagement_secret = \"env:MANAGEMENT_SECRET\"",
            credentials: &["authentication", "timestamp"],
            finish: wallit::authenticate,
            ..setting("wallit", Assurance::Token)
        },
        Setting {
            options: "allow_unproven = true",
            ..setting("wallit", Assurance::None)
        },
    ]
}

impl Setting {
    fn shown(&self) -> String {
        format!(
            "{} {:?} {:?}",
            self.kind.name, self.assurance, self.credentials
        )
    }

    fn secrets(&self) -> Vec<Secret> {
        self.secret
            .iter()
            .map(|text| secret(text, "env:SECRET"))
            .collect()
    }

    fn provider(&self) -> Arc<dyn Provider> {
        build(self.kind, self.secrets(), self.options)
    }

    /// A sample as the platform would send it at [`now`].
    fn message(&self, event: &str, nonce: u64) -> Message {
        self.message_with(self.secret, event, nonce)
    }

    fn message_with(&self, secret: Option<&str>, event: &str, nonce: u64) -> Message {
        let sample = (self.kind.sample)(&SampleOrder {
            event,
            secret: secret.map(str::as_bytes),
            now: now(),
            nonce,
        });
        let mut message = received(sample);
        (self.finish)(&mut message);
        message
    }
}

/// 2025-12-09T10:30:00Z, the time of the vectors.
fn now() -> Timestamp {
    Timestamp::from_secs(1_765_276_200)
}

fn secret(text: &str, reference: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec(), Reference::new(reference))
}

/// What `env:` references in options lead to.
struct Fixed;

impl SecretSource for Fixed {
    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let value = match name {
            "MANAGEMENT_KEY" => wallit::KEY,
            "MANAGEMENT_SECRET" => wallit::SECRET,
            _ => return None,
        };
        Some(Zeroizing::new(value.as_bytes().to_vec()))
    }

    fn file(&self, _: &Path) -> Result<SecretFile, Unreadable> {
        Err(Unreadable::NotAFile)
    }
}

fn build(kind: &Kind, secrets: Vec<Secret>, options: &str) -> Arc<dyn Provider> {
    let source = Secrets::From(&Fixed, Path::new(""));
    let read = reader::read(options, source, |section| (kind.build)(secrets, section));
    assert!(read.remarks.is_empty(), "{:?}", read.remarks);
    read.value.unwrap()
}

/// A sample as it arrives on a route of the path `/hooks`.
fn received(sample: Sample) -> Message {
    let mut headers = HeaderMap::new();
    for (name, value) in sample.headers {
        headers.append(name, HeaderValue::try_from(value).unwrap());
    }
    let target = format!("/hooks{}?{}", sample.path_suffix, sample.query);
    message(sample.method, &target, headers, &sample.body)
}

fn message(method: Method, target: &str, headers: HeaderMap, body: &[u8]) -> Message {
    Message {
        head: Head {
            method,
            uri: target.parse().unwrap(),
            headers,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            version: Version::HTTP_11,
            is_secure: false,
            received_at: now(),
            request_id: RequestId::new(0),
        }
        .into(),
        body: body.to_vec().into(),
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        )
    });
    // `collect` would keep one of two with the same name.
    let mut headers = HeaderMap::new();
    pairs.for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}

/// The message with other headers.
fn with_headers(message: &Message, change: impl FnOnce(&mut HeaderMap)) -> Message {
    let mut head = Head::clone(&message.head);
    change(&mut head.headers);
    Message {
        head: head.into(),
        body: message.body.clone(),
    }
}

fn with_body(message: &Message, body: &[u8]) -> Message {
    Message {
        head: message.head.clone(),
        body: body.to_vec().into(),
    }
}

fn with_target(message: &Message, target: &str) -> Message {
    let mut head = Head::clone(&message.head);
    head.uri = target.parse::<Uri>().unwrap();
    Message {
        head: head.into(),
        body: message.body.clone(),
    }
}

/// As the gateway judges: the head first.
fn judge(
    provider: &dyn Provider,
    message: &Message,
    now: Timestamp,
) -> Result<Verdict, Unverified> {
    let screened = provider.screen(&message.head)?;
    provider.verify(message, screened, now)
}

fn keys(verdict: &Verdict) -> Keys {
    Keys::new("route", &verdict.identity, false)
}
