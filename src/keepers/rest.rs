//! The rest that an app asks for: with `Retry-After` on a 429 or a 503 it means everybody, not one event.
//!
//! While it lasts the queue's worker leaves the app alone. A sender who waits for its answer is not held back:
//! whatever the app says to that one is news, and a success ends the rest.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// No longer than this at a time: an app that is back earlier than it thought is not left waiting.
pub const REST_MAX: Duration = Duration::from_secs(60);

/// Until when an app is left alone. Times are monotonic.
#[derive(Debug, Default)]
pub struct Rest(Mutex<Duration>);

// === impl Rest ===

impl Rest {
    /// The app asks for rest, from `now` on.
    pub fn begin(&self, now: Duration, wish: Duration) {
        let until = now + wish.min(REST_MAX);
        self.change(|held| until.max(held));
    }

    /// The app took an event.
    pub fn end(&self) {
        self.change(|_| Duration::ZERO);
    }

    /// How much of it is left.
    pub fn left(&self, now: Duration) -> Duration {
        self.change(|held| held).saturating_sub(now)
    }

    fn change(&self, change: impl FnOnce(Duration) -> Duration) -> Duration {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = change(*until);
        *until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_longest_wish_counts_within_the_bound_until_the_app_takes_an_event() {
        let rest = Rest::default();
        assert_eq!(rest.left(secs(5)), secs(0));
        rest.begin(secs(5), secs(20));
        rest.begin(secs(6), secs(1));
        assert_eq!(rest.left(secs(15)), secs(10));
        rest.begin(secs(15), secs(3600));
        assert_eq!(rest.left(secs(15)), REST_MAX);
        rest.end();
        assert_eq!(rest.left(secs(15)), secs(0));
    }
}
