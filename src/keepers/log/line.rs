//! The line of a request: what it says, and how it is written in JSON, one member after the other, or shown to a
//! person.
//!
//! # Why
//! Every request writes one. A serializer that knows nothing of the line looks for what must be escaped byte by
//! byte and hands each piece on by itself; here a text that needs no escaping, and hardly any does, is looked at
//! many bytes at a time and copied in one piece.

use std::fmt::{Display, Write as _};
use std::io::Write;
use std::net::IpAddr;

use serde_json::to_writer;

use crate::keepers::log::clock_time;
use crate::words::digits;
use crate::words::secret::Reference;
use crate::words::time::Timestamp;

/// Bytes that nearly every line has room in.
const LINE_BYTES_USUALLY: usize = 640;

/// What is said of one request.
#[derive(Debug)]
pub struct RequestLine<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// Our own name for the request.
    pub request_id: &'a str,
    /// The route's name, if one was found.
    pub route: Option<&'a str>,
    /// How it ended.
    pub outcome: &'static str,
    /// What the sender was told.
    pub status: u16,
    /// The true reason of a refusal, or what kind of a duplicate it was.
    pub reason: Option<&'a str>,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// Bytes of the body that were read.
    pub body_bytes: usize,
    /// From the complete head to the answer.
    pub latency_ms: f64,
    /// The rest, once the event was verified.
    pub event: Option<EventFields>,
}

/// What is said of a verified event.
#[derive(Debug, Clone)]
pub struct EventFields {
    /// The idempotency key.
    pub event_id: String,
    /// The provider's name of what happened.
    pub event_type: String,
    /// The provider's delivery id.
    pub delivery_id: Option<String>,
    /// How strong the proof is.
    pub assurance: &'static str,
    /// Which secret matched, by its reference.
    pub secret: Option<Reference>,
    /// How the proof was written.
    pub proof: &'static str,
    /// The delivery id came with other content before.
    pub id_conflict: bool,
    /// How long the app took, if it was asked.
    pub upstream_ms: Option<f64>,
}

/// A line in the making: one JSON object.
struct Line(Vec<u8>);

/// The line of a request, with its line feed.
pub(super) fn of_request(request: &RequestLine<'_>) -> Vec<u8> {
    let mut line = Line::begin(request.at);
    line.text("request_id", request.request_id);
    line.text_if_any("route", request.route);
    line.text("outcome", request.outcome);
    line.plain("status", request.status);
    line.text_if_any("reason", request.reason);
    line.text("client", &digits::of_address(request.client));
    line.text("method", request.method);
    line.plain("body_bytes", request.body_bytes);
    line.fraction("latency_ms", request.latency_ms);
    if let Some(event) = &request.event {
        line.text("event_id", &event.event_id);
        line.text("event_type", &event.event_type);
        line.text_if_any("delivery_id", event.delivery_id.as_deref());
        line.text("assurance", event.assurance);
        line.text_if_any("secret", event.secret.as_ref().map(Reference::as_str));
        line.text("proof", event.proof);
        if event.id_conflict {
            line.plain("id_conflict", true);
        }
        if let Some(took) = event.upstream_ms {
            line.fraction("upstream_ms", took);
        }
    }
    line.end()
}

/// The line as a person at a terminal reads it.
pub(super) fn shown(line: &RequestLine<'_>) -> String {
    let mut text = format!(
        "{} {} {:<12} {}",
        clock_time(line.at),
        line.status,
        line.outcome,
        line.route.unwrap_or("-"),
    );
    if let Some(event) = &line.event {
        let _ = write!(
            text,
            " {} {}",
            event.event_type.escape_debug(),
            event.event_id
        );
    }
    let _ = write!(text, " {:.1} ms", line.latency_ms);
    if let Some(reason) = line.reason {
        let _ = write!(text, " ({})", reason.escape_debug());
    }
    let _ = write!(text, " {} {}", line.client, line.request_id);
    text
}

// === impl Line ===

impl Line {
    fn begin(at: Timestamp) -> Self {
        let mut line = Self(Vec::with_capacity(LINE_BYTES_USUALLY));
        line.0.extend_from_slice(b"{\"time\":");
        line.value(&at.to_rfc3339());
        line.0
            .extend_from_slice(b",\"level\":\"info\",\"message\":\"request\"");
        line
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }

    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.value(value);
    }

    fn text_if_any(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A number or a truth value, which are written as they are shown.
    fn plain(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        // Writing into memory cannot fail, here and below.
        let _ = write!(self.0, "{value}");
    }

    fn fraction(&mut self, name: &'static str, value: f64) {
        self.name(name);
        let _ = to_writer(&mut self.0, &value);
    }

    fn value(&mut self, text: &str) {
        // Without a way out half-way, so that many bytes are looked at in one step.
        let needs_escape = |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\');
        match text.bytes().fold(false, needs_escape) {
            true => {
                let _ = to_writer(&mut self.0, text);
            }
            false => {
                self.0.push(b'"');
                self.0.extend_from_slice(text.as_bytes());
                self.0.push(b'"');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn request(text: &str) -> RequestLine<'_> {
        RequestLine {
            at: Timestamp::from_secs(0),
            request_id: "r1",
            route: None,
            outcome: "forwarded",
            status: 200,
            reason: Some(text),
            client: [192, 0, 2, 1].into(),
            method: text,
            body_bytes: 7,
            latency_ms: 2.0,
            event: None,
        }
    }

    fn read(line: &[u8]) -> Value {
        let (last, object) = line.split_last().unwrap();
        assert_eq!(*last, b'\n');
        assert!(!object.contains(&b'\n'), "one line");
        serde_json::from_slice(object).unwrap()
    }

    #[test]
    fn a_line_says_what_is_known_and_leaves_out_what_is_not() {
        let mut line = request("why");
        let without = json!({
            "time": "1970-01-01T00:00:00Z", "level": "info", "message": "request", "request_id": "r1", "outcome": "forwarded",
            "status": 200, "reason": "why", "client": "192.0.2.1", "method": "why", "body_bytes": 7,
            "latency_ms": 2.0,
        });
        assert_eq!(read(&of_request(&line)), without);
        line.route = Some("cards");
        line.client = std::net::Ipv6Addr::LOCALHOST.into();
        line.event = Some(EventFields {
            event_id: "evt_1".to_owned(),
            event_type: "card.active".to_owned(),
            delivery_id: Some("d1".to_owned()),
            assurance: "signature",
            secret: Some(Reference::new("env:S")),
            proof: "hex",
            id_conflict: true,
            upstream_ms: Some(0.25),
        });
        let with = json!({
            "time": "1970-01-01T00:00:00Z", "level": "info", "message": "request", "request_id": "r1", "route": "cards",
            "outcome": "forwarded", "status": 200, "reason": "why", "client": "::1", "method": "why",
            "body_bytes": 7, "latency_ms": 2.0, "event_id": "evt_1", "event_type": "card.active",
            "delivery_id": "d1", "assurance": "signature", "secret": "env:S", "proof": "hex",
            "id_conflict": true, "upstream_ms": 0.25,
        });
        assert_eq!(read(&of_request(&line)), with);
    }

    #[test]
    fn each_character_reads_back_where_it_stands_alone() {
        for text in ('\0'..='\u{2fff}').map(String::from) {
            assert_eq!(read(&of_request(&request(&text)))["reason"], text);
        }
    }

    proptest! {
        #[test]
        fn whatever_a_sender_wrote_reads_back_from_one_line(text in "(?s)[ -~\u{0}-\u{1f}]{0,40}.{0,40}") {
            let read = read(&of_request(&request(&text)));
            prop_assert_eq!(&read["reason"], &Value::from(text.clone()));
            prop_assert_eq!(&read["method"], &Value::from(text));
        }
    }
}
