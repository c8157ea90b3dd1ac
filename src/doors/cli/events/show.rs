//! `passgate events show`: one event with its headers and its attempts, or its body.

use std::io::{self, Write};

use serde_json::Value;

use crate::doors::cli::events::list::text;
use crate::doors::cli::events::way::Way;
use crate::doors::cli::events::{Failed, client};
use crate::doors::cli::terminal::{foreign, say};
use crate::doors::cli::{DONE, REFUSED};
use crate::words::identity::Key;

/// What `events show` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The event's id, evt_ and 32 hex digits.
    #[arg(value_name = "ID", value_parser = read_id)]
    id: String,
    /// Write the event's body to stdout, byte for byte, and nothing else.
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// JSON, as the admin API answers.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: Way,
}

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:
  passgate events show evt_0123456789abcdef0123456789abcdef
  passgate events show evt_0123456789abcdef0123456789abcdef --body | jq .";

/// Shows and gives the exit code.
pub(super) async fn run(arguments: &Arguments) -> Result<u8, Failed> {
    let client = client(&arguments.way)?;
    if arguments.body {
        let body = client
            .bytes(&format!("events/{}/body", arguments.id))
            .await?;
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&body).and_then(|()| stdout.flush());
        // Half a body must not pass for a whole one.
        return Ok(written.map_or(REFUSED, |()| DONE));
    }
    let event = client.get(&format!("events/{}", arguments.id)).await?;
    if arguments.json {
        say(&event.to_string());
        return Ok(DONE);
    }
    for line in lines(&event) {
        say(&line);
    }
    Ok(DONE)
}

fn lines(event: &Value) -> Vec<String> {
    let mut lines: Vec<String> = FIELDS
        .iter()
        .map(|(field, label)| (label, text(event, field)))
        .filter(|(_, value)| value != "-")
        .map(|(label, value)| format!("{label:13} {value}"))
        .collect();
    let headers = event.get("headers").and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        let value = foreign(value.as_str().unwrap_or_default());
        lines.push(format!("{:13} {}: {value}", "header", foreign(name)));
    }
    let attempts = event.get("attempts").and_then(Value::as_array);
    for attempt in attempts.into_iter().flatten() {
        let result = match attempt.get("status").and_then(Value::as_u64) {
            Some(status) => format!("answered {status}"),
            None => text(attempt, "error"),
        };
        lines.push(format!(
            "{:13} {} at {}: {result} after {} ms",
            "attempt",
            text(attempt, "number"),
            text(attempt, "at"),
            text(attempt, "duration_ms"),
        ));
    }
    lines
}

/// Reads an event's id.
pub(super) fn read_id(text: &str) -> Result<String, String> {
    match Key::from_idempotency_key(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("an id is evt_ and 32 hex digits in lower case".to_owned()),
    }
}

const FIELDS: [(&str, &str); 10] = [
    ("id", "id"),
    ("route", "route"),
    ("provider", "provider"),
    ("type", "type"),
    ("subject", "subject"),
    ("delivery_id", "delivery id"),
    ("received_at", "received at"),
    ("state", "state"),
    ("reason", "reason"),
    ("next_attempt_at", "next attempt"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_a_line_and_what_is_not_is_none() {
        let lines = lines(&json!({
            "id": "evt_1", "subject": null, "state": "queued",
            "headers": {"content-type": "application/json"},
            "attempts": [
                {"number": 1, "at": "T1", "status": 503, "error": null, "duration_ms": 1.5},
                {"number": 2, "at": "T2", "status": null, "error": "connection refused", "duration_ms": 2.0},
            ],
        }));
        assert_eq!(
            lines,
            [
                "id            evt_1",
                "state         queued",
                "header        content-type: application/json",
                "attempt       1 at T1: answered 503 after 1.5 ms",
                "attempt       2 at T2: connection refused after 2.0 ms",
            ]
        );
    }
}
