//! What WalletWerk's body says of an event: the few members that decide what it is, and what it is told from others by.

use std::borrow::Cow;

use crate::rules::json::{Members, Value};
use crate::rules::provider::walletwerk::TEST_EVENT;
use crate::words::identity::PartsHasher;
use crate::words::time::Timestamp;

/// What the body says of the event.
pub struct Facts<'a> {
    /// `event`: what happened.
    pub event: Cow<'a, str>,
    /// `timestamp`: when, if that is a moment.
    pub time: Option<Timestamp>,
    /// The same as it is written.
    pub time_text: Option<Cow<'a, str>>,
    /// The id of what it happened to.
    pub subject: Option<Cow<'a, str>>,
    /// SHA-256 over `event`, `timestamp`, `organization_id`, and the ids and states in `data`.
    pub digest: [u8; 32],
}

impl<'a> Facts<'a> {
    /// `None` where the body is no object, or `event` is not one decodable string, or another event
    /// than a test has not one readable `timestamp`.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let deciding = |name: &[u8]| matches!(name, b"event" | b"timestamp");
        let telling = |name: &[u8]| deciding(name) || matches!(name, b"organization_id" | b"data");
        let both = Members::read_two(body, telling, "data", names_or_states_something);
        let (members, data) = both.or_else(|| Self::read_apart(body, deciding, telling))?;
        let event = members.member("event").text()?;
        let time_text = members.member("timestamp").text();
        let time = time_text.as_deref().and_then(Timestamp::parse_rfc3339);
        if time.is_none() && event != TEST_EVENT {
            return None;
        }
        let subject = ["card_id", "recipient_id", "campaign_id"]
            .iter()
            .find_map(|name| data.member(name).text());
        let organization = members.member("organization_id").value();
        let mut hasher = PartsHasher::new("walletwerk facts");
        hasher
            .part(event.as_bytes())
            .maybe(time_text.as_deref().map(str::as_bytes))
            .maybe(organization.map(|value| value.as_written().as_bytes()));
        for (name, value) in data.sorted() {
            part_of_value(hasher.part(&name), value);
        }
        Some(Self {
            event,
            time,
            time_text,
            subject,
            digest: hasher.digest(),
        })
    }

    /// Reads a body that is not quite as it should be. What merely tells may be broken without making the
    /// event unreadable.
    fn read_apart(
        body: &'a [u8],
        deciding: impl Fn(&[u8]) -> bool,
        telling: impl Fn(&[u8]) -> bool,
    ) -> Option<(Members<'a>, Members<'a>)> {
        let members = Members::read(body, telling).or_else(|_| Members::read(body, deciding));
        let members = members.ok()?;
        let data = members.member("data").value();
        let data =
            data.map(|data| Members::read(data.as_written().as_bytes(), names_or_states_something));
        Some((members, data.and_then(Result::ok).unwrap_or_default()))
    }
}

/// Whether a member of `data` is an id or a status, so part of what the event is.
fn names_or_states_something(name: &[u8]) -> bool {
    matches!(name, b"id" | b"status") || name.ends_with(b"_id") || name.ends_with(b"_status")
}

/// Adds a value as it means, not as it is written: a retry may have been serialised anew.
fn part_of_value(hasher: &mut PartsHasher, value: Value<'_>) {
    match value.text() {
        Some(text) => hasher.part(b"text").part(text.as_bytes()),
        None => hasher.part(b"other").part(value.as_written().as_bytes()),
    };
}
