//! What becomes of an event after an attempt: delivered, refused for good, or tried again, and when.
//!
//! The schedule is exponential with full jitter, so that events which failed together do not come back
//! together. What it decides stands in the store; a restart changes nothing.

use std::time::{Duration, UNIX_EPOCH};

use hyper::StatusCode;

use crate::words::time::Timestamp;

/// What an app's status means for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The app has it.
    Delivered,
    /// The app refuses this event, whenever it comes.
    Refused,
    /// It may go better next time. A bad deploy often answers 401 or 404, so these are here too.
    Retry,
}

/// When an event is tried again, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The longest first pause; it doubles with each attempt.
    pub first: Duration,
    /// The longest pause there is.
    pub max: Duration,
    /// After this time since it was queued, first or again, an event is given up.
    pub give_up_after: Duration,
}

/// The app's own wish to be left alone is followed up to this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

// === impl Class ===

impl Class {
    /// What `status` means.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Delivered,
            400 | 410 | 413 | 415 | 422 => Self::Refused,
            _ => Self::Retry,
        }
    }

    /// Whether a `Retry-After` beside this status means the app as a whole, rather than the event.
    pub fn asks_for_rest(status: StatusCode) -> bool {
        matches!(status.as_u16(), 429 | 503)
    }

    /// Whether this status says that the app is not there, rather than what it thinks of the event.
    pub fn is_outage(status: StatusCode) -> bool {
        matches!(status.as_u16(), 502..=504)
    }
}

// === impl Schedule ===

impl Schedule {
    /// When to try again after attempt `number` (from 1) that ended at `now`, on an event that was queued
    /// at `since`; `None` to give up.
    ///
    /// `random` is anything, evenly spread; `wish` is the app's `Retry-After`.
    pub fn next(
        &self,
        since: Timestamp,
        number: u32,
        now: Timestamp,
        wish: Option<Duration>,
        random: u64,
    ) -> Option<Timestamp> {
        let pause = self.pause(number, random);
        let wish = wish.unwrap_or(Duration::ZERO).min(RETRY_AFTER_MAX);
        let end = since.after(self.give_up_after);
        // The last attempt is at the end itself, however long the pause would be or the app would like it.
        (end > now).then(|| now.after(pause.max(wish)).min(end))
    }

    /// Whether an event that was queued at `since` has waited for as long as it may.
    pub fn is_over(&self, since: Timestamp, now: Timestamp) -> bool {
        now > since.after(self.give_up_after)
    }

    /// From nothing to the whole of the pause that this attempt has grown to.
    fn pause(&self, number: u32, random: u64) -> Duration {
        let doublings = number.saturating_sub(1).min(MAX_DOUBLINGS);
        let longest = self.first.saturating_mul(1 << doublings).min(self.max);
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(random % longest.saturating_add(1))
    }
}

/// What a `Retry-After` asks for, in seconds or as a date (RFC 9110, 10.2.3); from `now` on, and no longer
/// than [`RETRY_AFTER_MAX`]. What is neither is no wish.
pub fn wish(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wish = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number holds are more than the bound.
        true if !text.is_empty() => Duration::from_secs(text.parse().unwrap_or(u64::MAX)),
        true => return None,
        false => {
            let date = httpdate::parse_http_date(text).ok()?;
            let date = date.duration_since(UNIX_EPOCH).ok()?;
            Timestamp::from_secs(i64::try_from(date.as_secs()).ok()?).since(now)
        }
    };
    Some(wish.min(RETRY_AFTER_MAX))
}

/// More doublings of a millisecond pass every `max` that can be configured.
const MAX_DOUBLINGS: u32 = 30;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCHEDULE: Schedule = Schedule {
        first: Duration::from_secs(1),
        max: Duration::from_secs(900),
        give_up_after: Duration::from_secs(72 * 3600),
    };

    #[test]
    fn every_status_has_its_class() {
        for (status, class) in [
            (200, Class::Delivered),
            (204, Class::Delivered),
            (301, Class::Retry),
            (400, Class::Refused),
            (401, Class::Retry),
            (404, Class::Retry),
            (408, Class::Retry),
            (409, Class::Retry),
            (410, Class::Refused),
            (413, Class::Refused),
            (415, Class::Refused),
            (422, Class::Refused),
            (429, Class::Retry),
            (500, Class::Retry),
            (503, Class::Retry),
        ] {
            assert_eq!(
                Class::of(StatusCode::from_u16(status).unwrap()),
                class,
                "{status}"
            );
        }
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let start = Timestamp::from_secs(0);
        for (number, longest) in [(1, 1), (2, 2), (3, 4), (10, 512), (11, 900), (200, 900)] {
            let longest_ms = longest * 1000;
            let next = SCHEDULE.next(start, number, start, None, longest_ms);
            assert_eq!(
                next,
                Some(Timestamp::from_millis(longest_ms as i64)),
                "{number}"
            );
        }
    }

    #[test]
    fn the_apps_wish_is_followed_within_its_bound() {
        let start = Timestamp::from_secs(0);
        let next = |wish| SCHEDULE.next(start, 1, start, Some(Duration::from_secs(wish)), 0);
        assert_eq!(next(30), Some(Timestamp::from_secs(30)));
        assert_eq!(next(1_000_000), Some(Timestamp::from_secs(3600)));
    }

    #[test]
    fn a_wish_is_read_in_seconds_or_as_a_date() {
        // 1994-11-06T08:49:37Z, the example of RFC 9110.
        let now = Timestamp::from_secs(784_111_777 - 60);
        for (text, secs) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(3600)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(wish(text, now), secs.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn the_last_attempt_is_at_the_end_at_the_latest() {
        let start = Timestamp::from_secs(0);
        let end = start.after(SCHEDULE.give_up_after);
        let before = end.before(Duration::from_millis(1));
        let wish = Some(Duration::from_secs(3600));
        for (wish, random) in [(None, 0), (None, 1000), (wish, 0)] {
            let next = SCHEDULE.next(start, 1, before, wish, random);
            assert!(next.is_some_and(|next| (before..=end).contains(&next)));
            assert_eq!(SCHEDULE.next(start, 1, end, wish, random), None);
        }
    }

    proptest! {
        #[test]
        fn no_attempt_is_before_now_or_later_than_allowed(
            number in 0u32..u32::MAX, random in any::<u64>(), wish in proptest::option::of(0u64..10_000_000),
        ) {
            let now = Timestamp::from_secs(1_000);
            let wish = wish.map(Duration::from_secs);
            if let Some(next) = SCHEDULE.next(now, number, now, wish, random) {
                prop_assert!(next >= now && next <= now.after(RETRY_AFTER_MAX));
            }
        }
    }
}
