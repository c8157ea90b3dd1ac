//! The request that the app receives, built from an allow-list.
//!
//! Nothing is passed on because it was there: what is not named here is dropped, `Authorization`, cookies,
//! hop-by-hop headers and everything that imitates our own headers among it. What is added follows
//! standards, so that one receiver serves all providers with libraries off the shelf: CloudEvents 1.0 in
//! binary mode, Standard Webhooks, `Idempotency-Key`, RFC 7239 and RFC 9110.

use std::net::IpAddr;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Version};

use crate::rules::config::Route;
use crate::rules::hmac::Signer;
use crate::rules::letterhead::{Letterhead, encode_attribute, source};
use crate::words::digits;
use crate::words::identity::Key;
use crate::words::message::{Head, Message};
use crate::words::record::{Record, Stamp};
use crate::words::time::Timestamp;
use crate::words::verdict::Verdict;

/// One try at the app.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The present; the Standard Webhooks signature is made for it.
    pub at: Timestamp,
    /// An operator sends the event again.
    pub is_replay: bool,
}

/// The head of a request to an app, while it is written.
struct Fields<'a> {
    into: &'a mut Vec<u8>,
}

/// Headers that there is room for at once; most providers send no more.
const KEPT_USUALLY: usize = 8;

/// A CloudEvents attribute or a host longer than this is left out rather than passed on.
const VALUE_BYTES_MAX: usize = 1024;

/// What stands between a header's name and its value.
const BETWEEN: &[u8] = b": ";

/// What ends a line.
const END: &[u8] = b"\r\n";

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers of any sender that go to the app.
static GENERAL: [HeaderName; 3] = [CONTENT_TYPE, USER_AGENT, TRACEPARENT];

// === impl Attempt ===

impl Attempt {
    /// The first one, made at `at`.
    pub const fn first(at: Timestamp) -> Self {
        Self {
            number: 1,
            at,
            is_replay: false,
        }
    }
}

/// What is kept of a verified message, as far as the app is to receive it.
pub fn record(route: &Route, message: &Message, verdict: Verdict, content: Key) -> Record {
    let head = &message.head;
    let kind = route.provider.kind();
    let stamp = Stamp {
        content,
        time: verdict.time,
        received_at: head.received_at,
    };
    let mut record = Record::new(kind.name, stamp, verdict.assurance, head.client);
    record.method = match head.method {
        Method::POST => "POST".into(),
        Method::GET => "GET".into(),
        ref other => other.to_string().into(),
    };
    if kind.keeps_query {
        record.query = head.query().to_owned();
    }
    record.headers = kept(route, head, &verdict);
    record.event_type = verdict.event_type.into();
    record.ce_type = verdict.ce_type;
    record.subject = verdict.subject;
    record.delivery_id = verdict.identity.delivery_id.map(String::from);
    record.host = head.text(&HOST).map(str::to_owned);
    record.is_secure = head.is_secure;
    record.http = head.version;
    record
}

/// Appends the head of the request for one attempt to `into`, its empty line included. After it comes the body: the one
/// that was verified, byte for byte.
pub fn write_head(
    route: &Route,
    record: &Record,
    body: &Bytes,
    attempt: Attempt,
    into: &mut Vec<u8>,
) {
    let mut fields = Fields { into };
    fields.begin(record, &route.letterhead);
    if let Some(host) = &route.letterhead.host {
        fields.line("host", host.as_bytes());
    }
    for (name, value) in &record.headers {
        fields.line(name.as_str(), value.as_bytes());
    }
    let key = record.content();
    fields.written("idempotency-key", |text| key.write_idempotency_key(text));
    fields.written("ce-id", |text| key.write_idempotency_key(text));
    describe(&mut fields, route, record);
    tell_way(&mut fields, record);
    fields.written("passgate-attempt", |text| {
        digits::write_number(text, attempt.number);
    });
    if !body.is_empty() {
        fields.written("content-length", |text| {
            digits::write_number(text, body.len());
        });
    }
    fields.line("passgate-assurance", record.assurance.label().as_bytes());
    if attempt.is_replay {
        fields.line("passgate-replay", b"true");
    }
    if let Some(signer) = &route.sign_with {
        sign(&mut fields, signer, body, key, attempt.at);
    }
    into.extend_from_slice(END);
}

/// The headers that go to the app, where the sender wrote them.
fn kept_names(route: &Route) -> impl Iterator<Item = &'static HeaderName> {
    let of_provider = route.provider.kind().kept_headers.iter().copied();
    GENERAL.iter().chain(of_provider)
}

/// The sender's headers that go to the app, corrected where the body overrules them.
fn kept(route: &Route, head: &Head, verdict: &Verdict) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(KEPT_USUALLY);
    for name in kept_names(route) {
        let corrected = verdict.corrections.iter().find(|(other, _)| other == name);
        let value = match corrected {
            Some((_, value)) => value.as_ref(),
            None => head.single(name).ok().flatten(),
        };
        if let Some(value) = value {
            headers.push((name.clone(), value.clone()));
        }
    }
    headers
}

/// CloudEvents 1.0, HTTP binding in binary mode.
fn describe(fields: &mut Fields<'_>, route: &Route, record: &Record) {
    fields.line("ce-specversion", b"1.0");
    match record.provider == route.provider.kind().name {
        true => fields.compose("ce-source", &[&route.letterhead.source]),
        // It was stored when the route had another provider.
        false => fields.compose("ce-source", &[&source(&record.provider, &route.name)]),
    }
    fields.compose("ce-type", &[&encode_attribute(&record.ce_type)]);
    if let Some(time) = record.time() {
        fields.written("ce-time", |text| time.write_rfc3339(text));
    }
    if let Some(subject) = &record.subject {
        fields.compose("ce-subject", &[&encode_attribute(subject)]);
    }
}

/// Where the request came from, said anew: what the sender said of it is not believed.
fn tell_way(fields: &mut Fields<'_>, record: &Record) {
    let host = record.host.as_deref().filter(|host| is_sayable(&[host]));
    if let Some(host) = host {
        fields.line("x-forwarded-host", host.as_bytes());
    }
    let proto = if record.is_secure { "https" } else { "http" };
    fields.written("forwarded", |text| {
        let (open, close): (&[u8], &[u8]) = match record.client {
            IpAddr::V4(_) => (b"for=", b""),
            IpAddr::V6(_) => (b"for=\"[", b"]\""),
        };
        text.extend_from_slice(open);
        digits::write_address(text, record.client);
        text.extend_from_slice(close);
        if let Some(host) = host {
            // Quoted because of the colon before a port; a host that passed holds no quotes.
            text.extend_from_slice(b";host=\"");
            text.extend_from_slice(host.as_bytes());
            text.push(b'"');
        }
        text.extend_from_slice(b";proto=");
        text.extend_from_slice(proto.as_bytes());
    });
    fields.written("x-forwarded-for", |text| {
        digits::write_address(text, record.client);
    });
    fields.line("x-forwarded-proto", proto.as_bytes());
    // The protocol as received (RFC 9110, 7.6.3), which is not the one that the app is spoken to in.
    let via: &[u8] = match record.http {
        Version::HTTP_10 => b"1.0 passgate",
        Version::HTTP_2 => b"2.0 passgate",
        _ => b"1.1 passgate",
    };
    fields.line("via", via);
}

/// Standard Webhooks 1.0.0: `v1` is HMAC-SHA256 over `{id}.{timestamp}.{body}`. A GET has an empty body,
/// so its query is not covered.
fn sign(fields: &mut Fields<'_>, signer: &Signer, body: &Bytes, key: Key, at: Timestamp) {
    let mut digits = itoa::Buffer::new();
    let timestamp = digits.format(at.as_secs());
    let id = key.idempotency_key();
    let tag = signer.sign(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    fields.line("webhook-id", id.as_bytes());
    fields.line("webhook-timestamp", timestamp.as_bytes());
    fields.compose("webhook-signature", &["v1,", &BASE64.encode(&tag)]);
}

// === impl Fields ===

impl Fields<'_> {
    /// The request line: path and query of the upstream, with the event's query where there is one to keep.
    fn begin(&mut self, record: &Record, letterhead: &Letterhead) {
        // It was the method of a request before.
        let method = Method::from_bytes(record.method.as_bytes()).unwrap_or(Method::POST);
        // As it was the query of one. What could not have been would end the line.
        let is_visible = |byte: u8| byte > b' ' && byte != 0x7f;
        let query = match record.query.bytes().all(is_visible) {
            true => &*record.query,
            false => "",
        };
        let target = &*letterhead.target;
        let joint = match (query, target.contains('?')) {
            ("", _) => "",
            (_, true) => "&",
            (_, false) => "?",
        };
        for part in [method.as_str(), " ", target, joint, query, " HTTP/1.1"] {
            self.into.extend_from_slice(part.as_bytes());
        }
        self.into.extend_from_slice(END);
    }

    /// A header whose value is known to be one.
    fn line(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), BETWEEN, value, END] {
            self.into.extend_from_slice(part);
        }
    }

    /// The same, of what is written in digits and letters.
    fn written(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.into.extend_from_slice(name.as_bytes());
        self.into.extend_from_slice(BETWEEN);
        write(self.into);
        self.into.extend_from_slice(END);
    }

    /// A header that we compose, left out where that is no value for one.
    fn compose(&mut self, name: &str, parts: &[&str]) {
        if is_sayable(parts) {
            self.written(name, |text| {
                for part in parts {
                    text.extend_from_slice(part.as_bytes());
                }
            });
        }
    }
}

/// Whether a header's value may read like these parts together (RFC 9110, 5.5), and is not unreasonably long.
fn is_sayable(parts: &[&str]) -> bool {
    let is_plain = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let mut bytes = parts.iter().flat_map(|part| part.bytes());
    let length: usize = parts.iter().map(|part| part.len()).sum();
    length <= VALUE_BYTES_MAX && bytes.all(is_plain)
}

#[cfg(test)]
mod tests;
