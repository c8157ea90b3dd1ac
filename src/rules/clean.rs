//! The request that the app receives, built from an allow-list.
//!
//! Nothing is passed on because it was there: what is not named here is dropped, `Authorization`, cookies,
//! hop-by-hop headers and everything that imitates our own headers among it. What is added follows
//! standards, so that one receiver serves all providers with libraries off the shelf: CloudEvents 1.0 in
//! binary mode, Standard Webhooks, `Idempotency-Key`, RFC 7239 and RFC 9110.

use std::fmt::Write;
use std::net::IpAddr;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::header::{
    CONTENT_TYPE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT, VIA,
};
use hyper::{Request, Uri};

use crate::rules::config::Route;
use crate::words::message::{Head, Message};
use crate::words::time::Timestamp;
use crate::words::verdict::Verdict;

/// One try at the app.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The present; the Standard Webhooks signature is made for it.
    pub at: Timestamp,
}

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
const PASSGATE_ASSURANCE: HeaderName = HeaderName::from_static("passgate-assurance");

/// The request for one attempt. The body is the one that was verified, byte for byte.
pub fn request(
    route: &Route,
    message: &Message,
    verdict: &Verdict,
    idempotency_key: &str,
    attempt: Attempt,
) -> Request<Bytes> {
    let mut request = Request::new(message.body.clone());
    *request.method_mut() = message.head.method.clone();
    *request.uri_mut() = target(route, &message.head);
    let headers = request.headers_mut();
    headers.reserve(24);
    keep(headers, route, &message.head, verdict);
    describe(headers, route, verdict, idempotency_key);
    tell_way(headers, &message.head);
    insert(headers, IDEMPOTENCY_KEY, idempotency_key);
    headers.insert(PASSGATE_ATTEMPT, HeaderValue::from(attempt.number));
    headers.insert(
        PASSGATE_ASSURANCE,
        HeaderValue::from_static(verdict.assurance.label()),
    );
    sign(headers, route, message, idempotency_key, attempt.at);
    request
}

/// The route's upstream; the query goes with it where it belongs to the message.
fn target(route: &Route, head: &Head) -> Uri {
    let query = head.query();
    if !route.provider.kind().keeps_query || query.is_empty() {
        return route.upstream.clone();
    }
    let path_and_query = match route.upstream.query() {
        Some(own) => format!("{}?{own}&{query}", route.upstream.path()),
        None => format!("{}?{query}", route.upstream.path()),
    };
    let mut parts = route.upstream.clone().into_parts();
    parts.path_and_query = path_and_query.parse().ok();
    // Both halves were parsed as parts of a target before; together they can only be too long, which
    // the limits on a head rule out.
    Uri::from_parts(parts).unwrap_or_else(|_| route.upstream.clone())
}

fn keep(headers: &mut HeaderMap, route: &Route, head: &Head, verdict: &Verdict) {
    let kind = route.provider.kind();
    let general = [&CONTENT_TYPE, &USER_AGENT, &TRACEPARENT];
    for name in general.into_iter().chain(kind.kept_headers.iter().copied()) {
        if let Ok(Some(value)) = head.single(name) {
            headers.insert(name, value.clone());
        }
    }
    for (name, value) in &verdict.corrections {
        match value {
            Some(value) => headers.insert(name, value.clone()),
            None => headers.remove(name),
        };
    }
}

/// CloudEvents 1.0, HTTP binding in binary mode.
fn describe(headers: &mut HeaderMap, route: &Route, verdict: &Verdict, idempotency_key: &str) {
    headers.insert(CE_SPECVERSION, HeaderValue::from_static("1.0"));
    insert(headers, CE_ID, idempotency_key);
    let source = format!("/{}/{}", route.provider.kind().name, route.name);
    insert(headers, CE_SOURCE, &encode_attribute(&source));
    insert(headers, CE_TYPE, &encode_attribute(&verdict.ce_type));
    if let Some(time) = verdict.time {
        insert(headers, CE_TIME, &time.to_rfc3339());
    }
    if let Some(subject) = &verdict.subject {
        insert(headers, CE_SUBJECT, &encode_attribute(subject));
    }
}

/// Where the request came from, said anew: what the sender said of it is not believed.
fn tell_way(headers: &mut HeaderMap, head: &Head) {
    let client = head.client.to_string();
    let mut forwarded = match head.client {
        IpAddr::V4(_) => format!("for={client}"),
        IpAddr::V6(_) => format!("for=\"[{client}]\""),
    };
    if let Some(host) = head.text(&HOST) {
        // Quoted because of the colon before a port; a host that passed holds no quotes.
        let _ = write!(forwarded, ";host=\"{host}\"");
        insert(headers, X_FORWARDED_HOST, host);
    }
    forwarded.push_str(";proto=http");
    insert(headers, FORWARDED, &forwarded);
    insert(headers, X_FORWARDED_FOR, &client);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(VIA, HeaderValue::from_static("1.1 passgate"));
}

/// Standard Webhooks 1.0.0: `v1` is HMAC-SHA256 over `{id}.{timestamp}.{body}`. A GET has an empty body,
/// so its query is not covered.
fn sign(
    headers: &mut HeaderMap,
    route: &Route,
    message: &Message,
    idempotency_key: &str,
    at: Timestamp,
) {
    let Some(signer) = &route.sign_with else {
        return;
    };
    let timestamp = at.as_secs().to_string();
    let tag = signer.sign(&[
        idempotency_key.as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        &message.body,
    ]);
    insert(headers, WEBHOOK_ID, idempotency_key);
    insert(headers, WEBHOOK_TIMESTAMP, &timestamp);
    insert(
        headers,
        WEBHOOK_SIGNATURE,
        &format!("v1,{}", BASE64.encode(&tag)),
    );
}

/// Sets a header that we compose, and leaves it out where it is unreasonably long or no header's value.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if value.len() > VALUE_BYTES_MAX {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Percent-encoding as the CloudEvents HTTP binding has it (3.1.3.2): space, double quote, percent and
/// all that is not printable ASCII.
fn encode_attribute(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' | ..=b' ' | 0x7f.. => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            plain => encoded.push(char::from(plain)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_encoded_as_the_binding_says() {
        assert_eq!(encode_attribute("card_abc123"), "card_abc123");
        assert_eq!(
            encode_attribute("Euro € \u{1F600} 100%\"\n"),
            "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25%22%0A"
        );
    }

    proptest! {
        #[test]
        fn every_encoded_attribute_is_a_header_value_and_decodes_back(text in ".{0,60}") {
            let encoded = encode_attribute(&text);
            prop_assert!(HeaderValue::from_str(&encoded).is_ok());
            let decoded: Vec<u8> = form_urlencoded::parse(encoded.replace('+', "%2B").replace('&', "%26").replace('=', "%3D").as_bytes())
                .next().map(|(name, _)| name.into_owned().into_bytes()).unwrap_or_default();
            prop_assert_eq!(decoded, text.into_bytes());
        }
    }
}
