//! `[route.queue]`: when events that wait are tried again, how long events are kept, how many there may be.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::rules::config::{Delivery, Queue};
use crate::rules::provider::Kind;
use crate::rules::reader::Section;
use crate::rules::reader::units::{duration_text, size_text};
use crate::rules::retry::Schedule;

/// What the rest of the configuration says that bears on a queue.
#[derive(Clone, Copy)]
pub struct Around {
    /// The route's `delivery`.
    pub delivery: Delivery,
    /// Who sends, where that is known.
    pub kind: Option<&'static Kind>,
    /// Whether anybody could have sent the route's events.
    pub is_unproven: bool,
    /// The route's `max_body`.
    pub max_body: usize,
    /// `store.remember`, unless that is wrong itself.
    pub remember: Option<Duration>,
}

/// Reads `[route.queue]`; without the section its defaults hold.
pub fn queue(section: &mut Section<'_>, around: Around) -> Queue {
    let queue = Queue {
        schedule: schedule(section, around.kind),
        max_in_flight: max_in_flight(section),
        keep_delivered: section
            .duration_within("keep_delivered", &KEEP_DELIVERED_BOUNDS)
            .unwrap_or(Duration::ZERO),
        keep_dead: keep_dead(section, around.remember),
        max_events: section.whole("max_events", 1, MAX_EVENTS_MOST).unwrap_or(
            match around.is_unproven {
                true => MAX_EVENTS_UNPROVEN,
                false => MAX_EVENTS_DEFAULT,
            },
        ),
        max_bytes: max_bytes(section, around),
    };
    match around.delivery {
        Delivery::Inline => warn_of_idle_keys(section),
        Delivery::Spill | Delivery::Queue => {
            warn_of_vain_attempts(section, &queue.schedule, around.kind);
        }
    }
    queue
}

fn schedule(section: &mut Section<'_>, kind: Option<&Kind>) -> Schedule {
    let first = section
        .duration_within("retry_first", &RETRY_FIRST_BOUNDS)
        .unwrap_or(RETRY_FIRST_DEFAULT);
    let max = section.duration_within("retry_max", &RETRY_MAX_BOUNDS);
    if max.is_some_and(|max| max < first) && !section.is_spoiled("retry_first") {
        section.mistake(
            "retry_max",
            format!(
                "is shorter than the first pause: retry_first is {0}; write at least \"{0}\", or a shorter \
                 retry_first",
                duration_text(first)
            ),
        );
    }
    let give_up_after = section.duration_within("give_up_after", &GIVE_UP_AFTER_BOUNDS);
    Schedule {
        first,
        max: max.unwrap_or(RETRY_MAX_DEFAULT.max(first)),
        give_up_after: give_up_after.unwrap_or_else(|| give_up_after_default(kind)),
    }
}

fn give_up_after_default(kind: Option<&Kind>) -> Duration {
    kind.and_then(|kind| kind.worthless_after)
        .map_or(GIVE_UP_AFTER_DEFAULT, |end| end.min(GIVE_UP_AFTER_DEFAULT))
}

fn max_in_flight(section: &mut Section<'_>) -> usize {
    section
        .whole("max_in_flight", 1, MAX_IN_FLIGHT_MOST)
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(MAX_IN_FLIGHT_DEFAULT)
}

/// The keys of a dead letter that is gone would still call a copy of it a duplicate.
fn keep_dead(section: &mut Section<'_>, remember: Option<Duration>) -> Duration {
    let keep_dead = section.duration_within("keep_dead", &KEEP_DEAD_BOUNDS);
    let least = remember.unwrap_or(Duration::ZERO);
    if let Some(keep_dead) = keep_dead.filter(|keep_dead| *keep_dead < least) {
        section.mistake(
            "keep_dead",
            format!(
                "is {}, but store.remember is {1}: between the two an event sent again would count as a \
                 duplicate of one that is kept nowhere; write at least \"{1}\"",
                duration_text(keep_dead),
                duration_text(least)
            ),
        );
    }
    keep_dead.unwrap_or(KEEP_DEAD_DEFAULT.max(least))
}

fn max_bytes(section: &mut Section<'_>, around: Around) -> u64 {
    let default = match around.is_unproven {
        true => MAX_BYTES_UNPROVEN,
        false => MAX_BYTES_DEFAULT,
    };
    let max_bytes = section
        .size_within("max_bytes", &MAX_BYTES_BOUNDS)
        .unwrap_or(default);
    let max_body = u64::try_from(around.max_body).unwrap_or(u64::MAX);
    if max_bytes < max_body {
        section.warn(
            "max_bytes",
            format!(
                "is {}, but max_body lets {} through: the largest events could never be stored",
                size_text(max_bytes),
                size_text(max_body)
            ),
        );
    }
    max_bytes
}

/// Asked for key by key, since each is said at its own place.
fn warn_of_idle_keys(section: &mut Section<'_>) {
    for key in SCHEDULE_KEYS {
        if section.has(key) && !section.is_spoiled(key) {
            section.warn(
                key,
                "is for events that wait, and with delivery = \"inline\" no new one does: what fails is \
                 left to the provider to send again",
            );
        }
    }
}

fn warn_of_vain_attempts(section: &Section<'_>, schedule: &Schedule, kind: Option<&Kind>) {
    let Some(kind) = kind else { return };
    let Some(end) = kind.worthless_after else {
        return;
    };
    if schedule.give_up_after > end {
        section.warn(
            "give_up_after",
            format!(
                "is {}, but what {} sends is worth nothing after {}: later attempts are in vain",
                duration_text(schedule.give_up_after),
                kind.name,
                duration_text(end)
            ),
        );
    }
}

/// What has a meaning only where events wait to be tried again.
const SCHEDULE_KEYS: [&str; 4] = ["give_up_after", "retry_first", "retry_max", "max_in_flight"];

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A leap year, as long as the store remembers at most.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const GIVE_UP_AFTER_DEFAULT: Duration = Duration::from_secs(72 * 3600);
const GIVE_UP_AFTER_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(1)..=LONGEST;
const RETRY_FIRST_DEFAULT: Duration = Duration::from_secs(1);
const RETRY_FIRST_LEAST: Duration = Duration::from_millis(10);
const RETRY_FIRST_BOUNDS: RangeInclusive<Duration> = RETRY_FIRST_LEAST..=Duration::from_secs(3600);
const RETRY_MAX_DEFAULT: Duration = Duration::from_secs(15 * 60);
const RETRY_MAX_BOUNDS: RangeInclusive<Duration> = RETRY_FIRST_LEAST..=DAY;
const MAX_IN_FLIGHT_DEFAULT: usize = 16;
const MAX_IN_FLIGHT_MOST: u64 = 1024;
const KEEP_DELIVERED_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=LONGEST;
const KEEP_DEAD_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
const KEEP_DEAD_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(1)..=LONGEST;
const MAX_EVENTS_DEFAULT: u64 = 1_000_000;
// What anybody could have sent must not take the disk from the routes beside it.
const MAX_EVENTS_UNPROVEN: u64 = 100_000;
const MAX_BYTES_UNPROVEN: u64 = 256 << 20;
const MAX_EVENTS_MOST: u64 = 100_000_000;
const MAX_BYTES_DEFAULT: u64 = 8 << 30;
const MAX_BYTES_BOUNDS: RangeInclusive<u64> = 1 << 20..=1 << 40;
