//! `passgate events list`: a table for people, JSON for machines.

use std::num::NonZeroUsize;

use form_urlencoded::Serializer;
use serde_json::{Value, json};

use crate::doors::cli::DONE;
use crate::doors::cli::events::selection::Selection;
use crate::doors::cli::events::way::Way;
use crate::doors::cli::events::{Failed, client};
use crate::doors::cli::terminal::{complain, foreign, say};

/// What `events list` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// How many.
    #[arg(long, value_name = "N", default_value = "50")]
    limit: NonZeroUsize,
    /// Where an earlier list ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// JSON, as the admin API answers.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: Way,
}

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:
  passgate events list --route walletwerk --state dead_letter
  passgate events list --q card_123 --since 2026-01-31T00:00:00Z --json";

/// Lists and gives the exit code.
pub(super) async fn run(arguments: &Arguments) -> Result<u8, Failed> {
    let filter = arguments.selection.filter()?;
    let client = client(&arguments.way)?;
    let wanted = arguments.limit.get();
    let mut events: Vec<Value> = Vec::new();
    let mut cursor = arguments.cursor.clone();
    loop {
        let limit = (wanted - events.len()).min(PAGE_MAX).to_string();
        let mut query = Serializer::new("events?".to_owned());
        query.extend_pairs(filter.parameters());
        query.append_pair("limit", &limit);
        query.extend_pairs(cursor.as_ref().map(|cursor| ("cursor", cursor)));
        let mut page = client.get(&query.finish()).await?;
        if let Some(Value::Array(found)) = page.get_mut("events").map(Value::take) {
            events.extend(found);
        }
        let next = page.get("next_cursor").and_then(Value::as_str);
        cursor = next.map(str::to_owned);
        if cursor.is_none() || events.len() >= wanted {
            break;
        }
    }
    if arguments.json {
        say(&json!({ "events": events, "next_cursor": cursor }).to_string());
        return Ok(DONE);
    }
    for line in table(&events) {
        say(&line);
    }
    if events.is_empty() {
        complain("there are no such events");
    }
    if let Some(cursor) = cursor {
        complain(&format!("there may be more: --cursor {}", foreign(&cursor)));
    }
    Ok(DONE)
}

/// Lines whose columns are as wide as they must be.
fn table(events: &[Value]) -> Vec<String> {
    if events.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(events.iter().map(row));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; HEADINGS.len()]| {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(event: &Value) -> [String; HEADINGS.len()] {
    let next = text(event, "next_attempt_at");
    let note = match next.as_str() {
        "-" => text(event, "reason"),
        next => format!("next at {next}"),
    };
    let note = if note == "-" { String::new() } else { note };
    [
        text(event, "id"),
        text(event, "received_at"),
        text(event, "route"),
        text(event, "type"),
        text(event, "state"),
        text(event, "attempt_count"),
        note,
    ]
}

/// A field as it may go to a terminal.
pub(super) fn text(event: &Value, field: &str) -> String {
    match event.get(field) {
        Some(Value::String(text)) => foreign(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => foreign(&other.to_string()),
    }
}

const HEADINGS: [&str; 7] = [
    "ID", "RECEIVED", "ROUTE", "TYPE", "STATE", "ATTEMPTS", "NOTE",
];

/// What the admin API gives at once.
const PAGE_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_a_senders_text_cannot_steer_the_terminal() {
        let event = |kind: &str, reason: Value| {
            json!({
                "id": "evt_1", "received_at": "2026-01-01T00:00:00Z", "route": "walletwerk", "type": kind,
                "state": "dead_letter", "attempt_count": 3, "reason": reason, "next_attempt_at": null,
            })
        };
        let lines = table(&[
            event("card.active", "refused".into()),
            event("a\u{1b}[2J", Value::Null),
        ]);
        assert_eq!(
            lines[0],
            "ID     RECEIVED              ROUTE       TYPE         STATE        ATTEMPTS  NOTE"
        );
        assert_eq!(
            lines[1],
            "evt_1  2026-01-01T00:00:00Z  walletwerk  card.active  dead_letter  3         refused"
        );
        assert!(lines[2].contains("a\\u{1b}[2J") && lines[2].ends_with('3'));
    }
}
