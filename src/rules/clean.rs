//! The request that the app receives, built from an allow-list.
//!
//! Nothing is passed on because it was there: what is not named here is dropped, `Authorization`, cookies,
//! hop-by-hop headers and everything that imitates our own headers among it. What is added follows
//! standards, so that one receiver serves all providers with libraries off the shelf: CloudEvents 1.0 in
//! binary mode, Standard Webhooks, `Idempotency-Key`, RFC 7239 and RFC 9110.

use std::net::IpAddr;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
    VIA,
};
use hyper::{Method, Request, Uri, Version};

use crate::rules::config::Route;
use crate::rules::hmac::Signer;
use crate::rules::letterhead::{Letterhead, encode_attribute, source};
use crate::words::composed::Composer;
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

/// The headers of a request to an app, while they are written.
struct Fields<'a> {
    headers: &'a mut HeaderMap,
    composer: Composer,
}

/// Headers that there is room for at once; most providers send no more.
const KEPT_USUALLY: usize = 8;

/// Bytes that the values of nearly every request to an app have room in.
const VALUES_USUALLY: usize = 1024;

/// A CloudEvents attribute or forwarding header longer than this is left out rather than passed on.
const VALUE_BYTES_MAX: usize = 1024;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const CE_SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
const CE_ID: HeaderName = HeaderName::from_static("ce-id");
const CE_SOURCE: HeaderName = HeaderName::from_static("ce-source");
const CE_TYPE: HeaderName = HeaderName::from_static("ce-type");
const CE_TIME: HeaderName = HeaderName::from_static("ce-time");
const CE_SUBJECT: HeaderName = HeaderName::from_static("ce-subject");

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PASSGATE_ATTEMPT: HeaderName = HeaderName::from_static("passgate-attempt");
const PASSGATE_REPLAY: HeaderName = HeaderName::from_static("passgate-replay");
const PASSGATE_ASSURANCE: HeaderName = HeaderName::from_static("passgate-assurance");

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

/// The request for one attempt. The body is the one that was verified, byte for byte. Of `room` nothing is used
/// but the memory.
pub fn request(
    route: &Route,
    record: &Record,
    body: &Bytes,
    attempt: Attempt,
    mut room: HeaderMap,
) -> Request<Full<Bytes>> {
    room.clear();
    let mut request = Request::new(Full::new(body.clone()));
    *request.headers_mut() = room;
    // It was the method of a request before.
    *request.method_mut() = Method::from_bytes(record.method.as_bytes()).unwrap_or(Method::POST);
    *request.uri_mut() = target(&route.letterhead, &record.query);
    let headers = request.headers_mut();
    headers.reserve(24);
    let composer = Composer::with_room(VALUES_USUALLY);
    let mut fields = Fields { headers, composer };
    fields.insert(HOST, route.letterhead.host.clone());
    for (name, value) in &record.headers {
        fields.insert(name.clone(), Some(value.clone()));
    }
    let key = record.content();
    let id = fields
        .composer
        .written(|text| key.write_idempotency_key(text));
    fields.insert(IDEMPOTENCY_KEY, id.clone());
    fields.insert(CE_ID, id.clone());
    describe(&mut fields, route, record);
    tell_way(&mut fields, record);
    match attempt.number {
        // As nearly always, and it needs no memory.
        1 => fields.say(PASSGATE_ATTEMPT, "1"),
        number => {
            let number = fields.composer.number(number);
            fields.insert(PASSGATE_ATTEMPT, number);
        }
    }
    if !body.is_empty() {
        // hyper would set it too, each part of it in memory of its own.
        let length = fields.composer.number(body.len());
        fields.insert(CONTENT_LENGTH, length);
    }
    fields.say(PASSGATE_ASSURANCE, record.assurance.label());
    if attempt.is_replay {
        fields.say(PASSGATE_REPLAY, "true");
    }
    if let Some(signer) = &route.sign_with {
        fields.insert(WEBHOOK_ID, id);
        sign(&mut fields, signer, body, key, attempt.at);
    }
    request
}

/// Path and query of the upstream, with the event's query where there is one to keep.
fn target(letterhead: &Letterhead, query: &str) -> Uri {
    let target = &letterhead.target;
    if query.is_empty() {
        return target.clone();
    }
    let joint = if target.query().is_some() { '&' } else { '?' };
    // Both halves were parsed as parts of a target before; together they can only be too long, which
    // the limits on a head rule out.
    let joined = format!("{target}{joint}{query}").parse();
    joined.unwrap_or_else(|_| target.clone())
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
    fields.say(CE_SPECVERSION, "1.0");
    match record.provider == route.provider.kind().name {
        true => fields.insert(CE_SOURCE, route.letterhead.source.clone()),
        // It was stored when the route had another provider.
        false => fields.compose(CE_SOURCE, &[&source(&record.provider, &route.name)]),
    }
    fields.compose(CE_TYPE, &[&encode_attribute(&record.ce_type)]);
    if let Some(time) = record.time() {
        let time = fields.composer.written(|text| time.write_rfc3339(text));
        fields.insert(CE_TIME, time);
    }
    if let Some(subject) = &record.subject {
        fields.compose(CE_SUBJECT, &[&encode_attribute(subject)]);
    }
}

/// Where the request came from, said anew: what the sender said of it is not believed.
fn tell_way(fields: &mut Fields<'_>, record: &Record) {
    let address = fields
        .composer
        .written(|text| digits::write_address(text, record.client));
    let client = address.as_ref().and_then(|address| address.to_str().ok());
    let client = client.unwrap_or("unknown");
    let proto = if record.is_secure { "https" } else { "http" };
    let (open, close) = match record.client {
        IpAddr::V4(_) => ("for=", ""),
        IpAddr::V6(_) => ("for=\"[", "]\""),
    };
    // Quoted because of the colon before a port; a host that passed holds no quotes.
    let (host_open, host, host_close) = match &record.host {
        Some(host) => (";host=\"", host.as_str(), "\""),
        None => ("", "", ""),
    };
    if record.host.is_some() {
        fields.compose(X_FORWARDED_HOST, &[host]);
    }
    let forwarded = [
        open, client, close, host_open, host, host_close, ";proto=", proto,
    ];
    fields.compose(FORWARDED, &forwarded);
    fields.insert(X_FORWARDED_FOR, address.clone());
    fields.say(X_FORWARDED_PROTO, proto);
    // The protocol as received (RFC 9110, 7.6.3), which is not the one that the app is spoken to in.
    let via = match record.http {
        Version::HTTP_10 => "1.0 passgate",
        Version::HTTP_2 => "2.0 passgate",
        _ => "1.1 passgate",
    };
    fields.say(VIA, via);
}

/// Standard Webhooks 1.0.0: `v1` is HMAC-SHA256 over `{id}.{timestamp}.{body}`. A GET has an empty body,
/// so its query is not covered.
fn sign(fields: &mut Fields<'_>, signer: &Signer, body: &Bytes, key: Key, at: Timestamp) {
    let mut digits = itoa::Buffer::new();
    let timestamp = digits.format(at.as_secs());
    let tag = signer.sign(&[
        key.idempotency_key().as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        body,
    ]);
    fields.compose(WEBHOOK_TIMESTAMP, &[timestamp]);
    fields.compose(WEBHOOK_SIGNATURE, &["v1,", &BASE64.encode(&tag)]);
}

// === impl Fields ===

impl Fields<'_> {
    /// Sets a header that we compose, and leaves it out where it is unreasonably long or no header's value.
    fn compose(&mut self, name: HeaderName, parts: &[&str]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes <= VALUE_BYTES_MAX {
            let value = self.composer.value(parts);
            self.insert(name, value);
        }
    }

    /// Sets a header that always reads the same.
    fn say(&mut self, name: HeaderName, value: &'static str) {
        self.headers.insert(name, HeaderValue::from_static(value));
    }

    fn insert(&mut self, name: HeaderName, value: Option<HeaderValue>) {
        if let Some(value) = value {
            self.headers.insert(name, value);
        }
    }
}
