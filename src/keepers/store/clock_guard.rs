//! Whether wall time may be believed when keys are to expire.
//!
//! Stored times are wall time, which can jump. The guard compares it with time that never runs backwards: as
//! long as their difference stays where it was, keys expire; once it leaps, nothing expires until the clocks
//! agree again or the new difference has lasted for a day.
//!
//! # Why
//! A clock set a year ahead would otherwise empty the ledger within one sweep, and every event of the last
//! days could be played again. Holding on to keys for too long only costs space.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::words::time::{Clock, Timestamp};

/// Watches the clocks of one store.
pub(super) struct ClockGuard {
    clock: Arc<dyn Clock>,
    /// The differences of wall and running time, in milliseconds, that are believed.
    lowest: AtomicI64,
    highest: AtomicI64,
    /// A difference that is not believed yet, and since when (running time) it has lasted.
    candidate: Mutex<Option<(i64, Duration)>>,
}

impl ClockGuard {
    /// A guard that believes the clock as it is now, until it is told of newer times.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let guard = Self {
            clock,
            lowest: AtomicI64::new(i64::MIN),
            highest: AtomicI64::new(i64::MAX),
            candidate: Mutex::new(None),
        };
        guard.believe(guard.offset(guard.clock.now()));
        guard
    }

    /// Holds the clock against the newest time read from disk: a clock well behind it is not believed.
    pub(super) fn has_seen(&self, newest: Timestamp) {
        let lowest = self.offset(newest).saturating_sub(TOLERANCE_MS);
        if self.offset(self.clock.now()) < lowest {
            self.lowest.store(lowest, Ordering::Relaxed);
            // How far ahead the true time is nobody knows.
            self.highest.store(i64::MAX, Ordering::Relaxed);
        }
    }

    /// The time by which keys may expire, or `None` while `now` is not believed.
    pub(super) fn trusted(&self, now: Timestamp) -> Option<Timestamp> {
        self.trusted_at(now, self.clock.elapsed())
    }

    /// The same, where it is known how long the clock has been running.
    pub(super) fn trusted_at(&self, now: Timestamp, running: Duration) -> Option<Timestamp> {
        let offset = now.before(running).as_millis();
        let believed = self.lowest.load(Ordering::Relaxed) <= offset
            && offset <= self.highest.load(Ordering::Relaxed);
        believed.then_some(now)
    }

    /// The present, if it is believed.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.trusted(self.clock.now())
    }

    /// Follows the clocks; called every few seconds, so that a slow drift is never taken for a jump.
    pub(super) fn look(&self) {
        let now = self.clock.now();
        let running = self.clock.elapsed();
        let offset = self.offset(now);
        let mut candidate = self
            .candidate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.trusted(now).is_some() {
            *candidate = None;
            self.believe(offset);
            return;
        }
        match *candidate {
            Some((held, since)) if held.abs_diff(offset) <= TOLERANCE_MS.unsigned_abs() => {
                if running.saturating_sub(since) >= STABLE {
                    *candidate = None;
                    self.believe(offset);
                }
            }
            Some(_) | None => *candidate = Some((offset, running)),
        }
    }

    fn believe(&self, offset: i64) {
        self.lowest
            .store(offset.saturating_sub(TOLERANCE_MS), Ordering::Relaxed);
        self.highest
            .store(offset.saturating_add(TOLERANCE_MS), Ordering::Relaxed);
    }

    /// Wall time less running time.
    fn offset(&self, wall: Timestamp) -> i64 {
        wall.before(self.clock.elapsed()).as_millis()
    }
}

/// A leap beyond this is no correction of a clock but another time.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// A new difference that lasts this long is what the operator meant.
const STABLE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::super::tests::TestClock;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn guard() -> (Arc<TestClock>, ClockGuard) {
        let clock = TestClock::new();
        (clock.clone(), ClockGuard::new(clock))
    }

    #[test]
    fn time_that_passes_is_believed() {
        let (clock, guard) = guard();
        clock.advance(100 * HOUR);
        assert!(guard.now().is_some());
    }

    #[test]
    fn a_leap_is_not_believed_until_the_clocks_agree_again() {
        let (clock, guard) = guard();
        for leap in [60 * 60 * 1000, -60 * 60 * 1000] {
            clock.leap(leap);
            assert_eq!(guard.now(), None);
            guard.look();
            assert_eq!(guard.now(), None);
            clock.leap(-leap);
            assert!(guard.now().is_some());
        }
    }

    #[test]
    fn a_leap_is_believed_after_a_day_without_another() {
        let (clock, guard) = guard();
        clock.leap(3_600_000);
        guard.look();
        clock.advance(23 * HOUR);
        clock.leap(3_600_000);
        guard.look();
        clock.advance(23 * HOUR);
        guard.look();
        assert_eq!(guard.now(), None, "the second leap began a new day");
        clock.advance(HOUR);
        guard.look();
        assert!(guard.now().is_some());
    }

    #[test]
    fn a_slow_drift_is_followed() {
        let (clock, guard) = guard();
        for _ in 0..100 {
            clock.leap(60_000);
            clock.advance(MINUTE);
            guard.look();
        }
        assert!(guard.now().is_some());
    }

    #[test]
    fn a_clock_behind_the_newest_stored_time_is_not_believed_until_it_catches_up() {
        let (clock, guard) = guard();
        guard.has_seen(clock.now().after(4 * MINUTE));
        assert!(guard.now().is_some());
        guard.has_seen(clock.now().after(60 * MINUTE));
        assert_eq!(guard.now(), None);
        clock.leap(56 * 60_000);
        assert!(guard.now().is_some());
    }
}
