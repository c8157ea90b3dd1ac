//! The line of a request: what it says, and how it is written in JSON, one member after the other, or shown to a
//! person.
//!
//! # Why
//! Every request writes one. A serializer that knows nothing of the line looks for what must be escaped byte by
//! byte and hands each piece on by itself; here what stands before a value is one piece with its name, our own words
//! and numbers are not looked at, and a text that needs no escaping, and hardly any does, is looked at many bytes at a
//! time and copied in one piece.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::to_writer;

use crate::keepers::log::clock_time;
use crate::words::digits;
use crate::words::escaping::stops;
use crate::words::identity::Key;
use crate::words::secret::Reference;
use crate::words::time::Timestamp;

/// Bytes that are looked at in one step.
const WORD: usize = 8;

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
    pub latency: Duration,
    /// The rest, once the event was verified.
    pub event: Option<&'a EventFields>,
}

/// What is said of a verified event.
#[derive(Debug, Clone)]
pub struct EventFields {
    /// What the app knows it by, as its idempotency key.
    pub content: Key,
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
    pub upstream: Option<Duration>,
}

/// A line in the making: one JSON object.
struct Line<'a>(&'a mut Vec<u8>);

/// Appends the line of a request, with its line feed.
pub(super) fn of_request(lines: &mut Vec<u8>, request: &RequestLine<'_>) {
    lines.reserve(LINE_BYTES_USUALLY);
    let mut line = Line(lines);
    line.ours(r#"{"time":""#);
    request.at.write_rfc3339(line.0);
    line.ours(r#"","level":"info","message":"request""#);
    line.text(r#","request_id":""#, request.request_id);
    if let Some(route) = request.route {
        line.text(r#","route":""#, route);
    }
    line.word(r#","outcome":""#, request.outcome);
    line.number(r#","status":"#, request.status);
    if let Some(reason) = request.reason {
        line.text(r#","reason":""#, reason);
    }
    line.ours(r#","client":""#);
    digits::write_address(line.0, request.client);
    line.text(r#"","method":""#, request.method);
    line.number(r#","body_bytes":"#, request.body_bytes);
    line.millis(r#","latency_ms":"#, request.latency);
    if let Some(event) = request.event {
        line.event(event);
    }
    line.ours("}\n");
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
    if let Some(event) = line.event {
        let _ = write!(
            text,
            " {} {}",
            event.event_type.escape_debug(),
            event.content.idempotency_key()
        );
    }
    let _ = write!(text, " {:.1} ms", line.latency.as_secs_f64() * 1e3);
    if let Some(reason) = line.reason {
        let _ = write!(text, " ({})", reason.escape_debug());
    }
    let _ = write!(text, " {} {}", line.client, line.request_id);
    text
}

// === impl Line ===

impl Line<'_> {
    fn event(&mut self, event: &EventFields) {
        self.ours(r#","event_id":""#);
        event.content.write_idempotency_key(self.0);
        self.text(r#"","event_type":""#, &event.event_type);
        if let Some(delivery_id) = &event.delivery_id {
            self.text(r#","delivery_id":""#, delivery_id);
        }
        self.word(r#","assurance":""#, event.assurance);
        if let Some(secret) = &event.secret {
            self.text(r#","secret":""#, secret.as_str());
        }
        self.word(r#","proof":""#, event.proof);
        if event.id_conflict {
            self.ours(r#","id_conflict":true"#);
        }
        if let Some(took) = event.upstream {
            self.millis(r#","upstream_ms":"#, took);
        }
    }

    /// A piece of the line as it stands.
    fn ours(&mut self, piece: &'static str) {
        self.0.extend_from_slice(piece.as_bytes());
    }

    /// A value that is one of our own words and needs no escaping. `before` ends with its opening quote, as with
    /// [`Line::text`].
    fn word(&mut self, before: &'static str, word: &'static str) {
        debug_assert!(!needs_escape(word));
        self.ours(before);
        self.ours(word);
        self.0.push(b'"');
    }

    /// Any value.
    fn text(&mut self, before: &'static str, value: &str) {
        self.ours(before);
        if needs_escape(value) {
            // It brings quotes of its own.
            self.0.pop();
            // Writing into memory cannot fail.
            let _ = to_writer(&mut *self.0, value);
        } else {
            self.0.extend_from_slice(value.as_bytes());
            self.0.push(b'"');
        }
    }

    fn number(&mut self, before: &'static str, number: impl itoa::Integer) {
        self.ours(before);
        digits::write_number(self.0, number);
    }

    /// Milliseconds with three digits after the point.
    fn millis(&mut self, before: &'static str, duration: Duration) {
        let micros = (duration.as_nanos() + 500) / 1000;
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.number(before, micros / 1000);
        let rest = (micros % 1000) as u16;
        let [second, third] = digits::two((rest % 100) as u8);
        let first = b'0' + (rest / 100) as u8;
        self.0.extend_from_slice(&[b'.', first, second, third]);
    }
}

/// Whether a text cannot stand in JSON as it is.
fn needs_escape(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks();
    // Without a way out half-way, so that many bytes are looked at in one step.
    let found = words
        .iter()
        .fold(0, |found, word| found | stops(u64::from_le_bytes(*word)));
    let mut last = [b' '; WORD];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    found | stops(u64::from_le_bytes(last)) != 0
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
            latency: Duration::from_micros(2_000),
            event: None,
        }
    }

    fn read(line: &RequestLine<'_>) -> Value {
        let mut lines = b"the line before\n".to_vec();
        of_request(&mut lines, line);
        let line = lines.strip_prefix(b"the line before\n").unwrap();
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
        assert_eq!(read(&line), without);
        line.route = Some("cards");
        line.client = std::net::Ipv6Addr::LOCALHOST.into();
        let event = EventFields {
            content: Key::from_bytes([0xe1; Key::LEN]),
            event_type: "card.active".to_owned(),
            delivery_id: Some("d1".to_owned()),
            assurance: "signature",
            secret: Some(Reference::new("env:S")),
            proof: "hex",
            id_conflict: true,
            upstream: Some(Duration::from_nanos(249_500)),
        };
        line.event = Some(&event);
        let with = json!({
            "time": "1970-01-01T00:00:00Z", "level": "info", "message": "request", "request_id": "r1", "route": "cards",
            "outcome": "forwarded", "status": 200, "reason": "why", "client": "::1", "method": "why",
            "body_bytes": 7, "latency_ms": 2.0, "event_id": format!("evt_{}", "e1".repeat(16)), "event_type": "card.active",
            "delivery_id": "d1", "assurance": "signature", "secret": "env:S", "proof": "hex",
            "id_conflict": true, "upstream_ms": 0.25,
        });
        assert_eq!(read(&line), with);
    }

    #[test]
    fn each_character_reads_back_where_it_stands_alone() {
        for text in ('\0'..='\u{2fff}').map(String::from) {
            assert_eq!(read(&request(&text))["reason"], text);
        }
    }

    #[test]
    fn what_needs_escaping_is_found_wherever_it_stands_and_nothing_else() {
        for length in 0..=3 * WORD {
            for byte in 0..=u8::MAX {
                for place in 0..length {
                    let mut text = [b'z'; 3 * WORD];
                    text[place] = byte;
                    // As Latin-1, so that every byte is a character.
                    let text: String = text[..length]
                        .iter()
                        .map(|byte| char::from(*byte))
                        .collect();
                    let expected = text.chars().any(|c| c < ' ' || matches!(c, '"' | '\\'));
                    assert_eq!(needs_escape(&text), expected, "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_a_sender_wrote_reads_back_from_one_line(text in "(?s)[ -~\u{0}-\u{1f}]{0,40}.{0,40}") {
            let read = read(&request(&text));
            prop_assert_eq!(&read["reason"], &Value::from(text.clone()));
            prop_assert_eq!(&read["method"], &Value::from(text));
        }
    }
}
