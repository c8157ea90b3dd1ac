//! `events`: what is stored, and what went straight through, in one list by the newest first.

use std::net::IpAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use serde_json::{Map, Value, json};

use crate::doors::admin::Admin;
use crate::doors::admin::answer::{Answer, Problem, answer, json, json_with};
use crate::doors::admin::cursor::{Cursor, StoredPlace};
use crate::doors::admin::parameters::Parameters;
use crate::keepers::recent::{Numbered, Passed, Recent};
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{AttemptRecord, Changed};
use crate::rules::filter::{EventState, Filter, Traits};
use crate::words::identity::Key;
use crate::words::record::Record;
use crate::words::time::Timestamp;
use crate::work::ingest::Gate;
use crate::work::listing::{Listed, Page, Scene, Stretch};

/// Stored events that are looked at for one page; a page may be short and its list go on all the same.
const SCAN_MAX: usize = 10_000;

/// One page of the list.
struct Events {
    events: Vec<Value>,
    next: Option<Cursor>,
}

impl Admin {
    /// `GET events`
    pub(super) async fn events(&self, query: Option<&str>) -> Result<Answer, Problem> {
        let parameters = Parameters::read(query, &[&Filter::NAMES, &["limit", "cursor"]])?;
        let (filter, limit) = (parameters.filter()?, parameters.limit()?);
        let cursor = match parameters.find("cursor") {
            None => Cursor::START,
            Some(text) => Cursor::decode(text).ok_or_else(|| {
                Problem::parameter("cursor", "is none that a list gave as its next_cursor")
            })?,
        };
        let page = self
            .blocking(move |gate| list(gate, &filter, limit, cursor))
            .await?;
        Ok(json(&json!({
            "events": page.events,
            "next_cursor": page.next.map(Cursor::encode),
        })))
    }

    /// `GET events/{id}`
    pub(super) async fn event(&self, id: &str, query: Option<&str>) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let key = key(id)?;
        let stored = self
            .blocking(move |gate| {
                let Some(event) = find(gate, key)? else {
                    return Ok(None);
                };
                let attempts = gate.queue.attempts(event.job)?;
                Ok(Some((event, attempts)))
            })
            .await?;
        if let Some((event, attempts)) = stored {
            let mut body = of_stored(&event);
            add_details(&mut body, event.record.as_ref(), &attempts);
            return Ok(json(&body));
        }
        let recent = self.gate.recent.passed(u64::MAX).into_iter();
        let mut of_key = recent.filter(|(_, passed)| passed.record.content() == key);
        let (_, passed) = of_key.next().ok_or_else(unknown)?;
        let mut body = of_passed(&passed);
        let attempt = std::slice::from_ref(&passed.attempt);
        add_details(&mut body, Some(&passed.record), attempt);
        Ok(json(&body))
    }

    /// `GET events/{id}/body`
    pub(super) async fn event_body(
        &self,
        id: &str,
        query: Option<&str>,
        peer: IpAddr,
    ) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let key = key(id)?;
        let body = self
            .blocking(move |gate| {
                let Some(job) = gate.queue.find(None, key)? else {
                    return Ok(None);
                };
                let job = gate.queue.load(&[job], true)?.pop().flatten();
                Ok(job.and_then(|job| job.body))
            })
            .await?;
        let body = body.ok_or_else(|| Problem::not_found("No body of such an event is stored."))?;
        self.audit("an operator read an event's body", id, peer);
        let mut answer = answer(StatusCode::OK, "application/octet-stream", body);
        let attachment = format!("attachment; filename=\"{id}.bin\"");
        if let Ok(value) = HeaderValue::from_str(&attachment) {
            answer.headers_mut().insert(CONTENT_DISPOSITION, value);
        }
        Ok(answer)
    }

    /// `POST events/{id}/replay`
    pub(super) async fn replay_event(
        &self,
        id: &str,
        query: Option<&str>,
        peer: IpAddr,
    ) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let key = key(id)?;
        let Some(event) = self.blocking(move |gate| find(gate, key)).await? else {
            let recent = self.gate.recent.passed(u64::MAX);
            let went_through = recent
                .iter()
                .any(|(_, passed)| passed.record.content() == key);
            return Err(match went_through {
                true => Problem::conflict(
                    "The event was delivered and not kept: set queue.keep_delivered to replay such ones.",
                ),
                false => unknown(),
            });
        };
        let on_its_way = || Problem::conflict("The event is on its way already.");
        match event.state {
            EventState::Queued | EventState::InFlight => return Err(on_its_way()),
            // It is queued, and goes once its route is back.
            EventState::Parked => {}
            EventState::Delivered | EventState::DeadLetter => {
                match self.replays.requeue(event.job).await? {
                    Changed::Done { .. } => self.replays.wake_workers(),
                    Changed::Stale => return Err(on_its_way()),
                    Changed::Gone => return Err(unknown()),
                    Changed::NoRoom => return Err(no_room()),
                }
            }
        }
        self.audit("an operator replays an event", id, peer);
        let state = match event.has_route {
            true => EventState::Queued,
            false => EventState::Parked,
        };
        let body = json!({ "id": event.id, "state": state.label() });
        Ok(json_with(StatusCode::ACCEPTED, &body))
    }
}

/// After this long there may be room.
const NO_ROOM_WAIT: Duration = Duration::from_secs(5);

fn no_room() -> Problem {
    let title = "The route has no room for a replay of a delivered event: half of max_events or max_bytes is \
                 queued, or dead letters take the rest.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, title).after(NO_ROOM_WAIT)
}

fn list(gate: &Gate, filter: &Filter, limit: usize, cursor: Cursor) -> Result<Events, StoreError> {
    // What went straight through was delivered; with it, the store's part must say how far back it goes.
    let shows_passed = filter
        .state
        .is_none_or(|state| state == EventState::Delivered);
    let page = match cursor.stored {
        StoredPlace::End => Page::default(),
        StoredPlace::Newest | StoredPlace::At(_) => {
            let stretch = Stretch {
                from: match cursor.stored {
                    StoredPlace::At(job) => Some(job),
                    StoredPlace::Newest | StoredPlace::End => None,
                },
                above: None,
                limit,
                scan_max: SCAN_MAX,
                looks_at_all: shows_passed,
            };
            Scene::of(gate).walk(&*gate.queue, filter, stretch)?
        }
    };
    let passed = match shows_passed {
        true => passed(&gate.recent, filter, cursor.recent),
        false => Vec::new(),
    };
    Ok(merge(page, passed, limit, cursor.recent))
}

fn passed(recent: &Recent, filter: &Filter, before: u64) -> Vec<Numbered<Passed>> {
    let mut passed = recent.passed(before);
    passed.retain(|(_, passed)| {
        let id = passed.record.idempotency_key();
        filter.takes(&Traits {
            id: &id,
            route: &passed.route,
            state: EventState::Delivered,
            event_type: &passed.record.event_type,
            subject: passed.record.subject.as_deref(),
            delivery_id: passed.record.delivery_id.as_deref(),
            received_at: passed.record.received_at(),
        })
    });
    passed
}

/// Takes the newer of both, again and again, until there are enough or one of them may have a newer one that
/// was not reached.
fn merge(page: Page, passed: Vec<Numbered<Passed>>, limit: usize, mut recent: u64) -> Events {
    let mut stored = page.events.into_iter().peekable();
    let mut passed = passed.into_iter().peekable();
    let mut events = Vec::new();
    while events.len() < limit {
        let takes_passed = match (stored.peek(), passed.peek()) {
            (Some(stored), Some((_, passed))) => passed.attempt.at >= stored.stored_at,
            (Some(_), None) => false,
            (None, Some((_, passed))) => {
                let is_reached = |to: Timestamp| passed.attempt.at >= to;
                if page.next.is_some() && !page.looked_to.is_some_and(is_reached) {
                    break;
                }
                true
            }
            (None, None) => break,
        };
        if takes_passed {
            if let Some((number, passed)) = passed.next() {
                recent = number;
                events.push(of_passed(&passed));
            }
        } else if let Some(stored) = stored.next() {
            events.push(of_stored(&stored));
        }
    }
    let next_job = stored.next().map(|event| event.job).or(page.next);
    let stored = next_job.map_or(StoredPlace::End, StoredPlace::At);
    let is_end = stored == StoredPlace::End && passed.peek().is_none();
    Events {
        events,
        next: (!is_end).then_some(Cursor { stored, recent }),
    }
}

/// The newest stored event of this key. Blocking.
fn find(gate: &Gate, key: Key) -> Result<Option<Listed>, StoreError> {
    let Some(job) = gate.queue.find(None, key)? else {
        return Ok(None);
    };
    let scene = Scene::of(gate);
    let job = gate.queue.load(&[job], false)?.pop().flatten();
    Ok(job.map(|job| scene.listed(&job.info, &job.head)))
}

fn key(id: &str) -> Result<Key, Problem> {
    Key::from_idempotency_key(id).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::not_found("No such event is known; an id is evt_ and 32 hex digits.")
}

fn of_stored(event: &Listed) -> Value {
    let mut fields = of_record(event.record.as_ref());
    fields.extend(object(json!({
        "id": event.id,
        "route": &*event.route,
        "received_at": event.received_at().to_rfc3339(),
        "state": event.state.label(),
        "reason": event.reason,
        "attempt_count": event.attempt_count,
        "next_attempt_at": event.next_attempt_at.map(Timestamp::to_rfc3339),
        "is_stored": true,
    })));
    Value::Object(fields)
}

fn of_passed(passed: &Passed) -> Value {
    let mut fields = of_record(Some(&passed.record));
    fields.extend(object(json!({
        "id": passed.record.idempotency_key(),
        "route": &*passed.route,
        "received_at": passed.record.received_at().to_rfc3339(),
        "state": EventState::Delivered.label(),
        "reason": null,
        "attempt_count": passed.attempt.number,
        "next_attempt_at": null,
        "is_stored": false,
    })));
    Value::Object(fields)
}

fn of_record(record: Option<&Record>) -> Map<String, Value> {
    object(json!({
        "provider": record.map(|record| &record.provider),
        "type": record.map(|record| &record.event_type),
        "subject": record.and_then(|record| record.subject.as_ref()),
        "delivery_id": record.and_then(|record| record.delivery_id.as_ref()),
    }))
}

fn add_details(event: &mut Value, record: Option<&Record>, attempts: &[AttemptRecord]) {
    let headers = record.map(headers).unwrap_or_default();
    let attempts: Vec<Value> = attempts.iter().map(attempt).collect();
    if let Some(fields) = event.as_object_mut() {
        fields.insert("headers".to_owned(), Value::Object(headers));
        fields.insert("attempts".to_owned(), attempts.into());
    }
}

/// The sender's headers that go to the app, by name; values of one name are joined.
fn headers(record: &Record) -> Map<String, Value> {
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in &record.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = match headers.get(name.as_str()).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.into_owned(),
        };
        headers.insert(name.to_string(), joined.into());
    }
    headers
}

fn attempt(attempt: &AttemptRecord) -> Value {
    json!({
        "number": attempt.number,
        "at": attempt.at.to_rfc3339(),
        "status": attempt.status,
        "error": attempt.error,
        "duration_ms": millis(attempt.took),
    })
}

/// Milliseconds with three digits after the point.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        // Only objects are handed in.
        _ => Map::new(),
    }
}
