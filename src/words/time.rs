//! Points in time, and the one way to ask for the present.
//!
//! Rules take `now` as an argument; only keepers and doors hold a [`Clock`]. Stored times are wall
//! time, running timers are monotonic: a [`Clock`] gives both, so that one can be held against the other.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::Offset;

use crate::words::digits;

/// A point in wall time: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The present, as wall time and as time that never runs backwards.
pub trait Clock: Send + Sync + 'static {
    /// Wall time. It may jump; nothing may be deleted on its word alone.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point of this process. It never runs backwards.
    fn elapsed(&self) -> Duration;
}

const PRINTER: DateTimePrinter = DateTimePrinter::new();

/// Bytes of a time with milliseconds.
const RFC3339_BYTES_USUALLY: usize = 24;

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

// === impl Timestamp ===

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch; saturates at the ends of the range.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Reads RFC 3339 with any offset and fraction, as the platforms write it.
    ///
    /// A time without an offset is refused: which moment it means would be a guess.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // Longer than any RFC 3339 time; the parser would also read annotations of unbounded length.
        const LONGEST: usize = 64;
        if text.len() > LONGEST {
            return None;
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Self(time.as_millisecond()))
    }

    /// RFC 3339 in UTC, with a fraction of the second only where there is one.
    pub fn to_rfc3339(self) -> String {
        let mut text = Vec::with_capacity(RFC3339_BYTES_USUALLY);
        self.write_rfc3339(&mut text);
        // It is digits and signs.
        String::from_utf8(text).unwrap_or_default()
    }

    /// Appends [`Timestamp::to_rfc3339`].
    ///
    /// # Why
    /// Every request writes the time twice, and jiff's printer is made for any precision and any offset.
    pub fn write_rfc3339(self, text: &mut Vec<u8>) {
        let Ok(time) = jiff::Timestamp::from_millisecond(self.0) else {
            // Outside of jiff's years -9999 to 9999; such a time never passed `parse_rfc3339`.
            text.extend_from_slice(format!("@{}", self.0).as_bytes());
            return;
        };
        let at = Offset::UTC.to_datetime(time);
        let Ok(year) = u16::try_from(at.year()) else {
            text.extend_from_slice(PRINTER.timestamp_to_string(&time).as_bytes());
            return;
        };
        let [y1, y2] = digits::two((year / 100) as u8);
        let [y3, y4] = digits::two((year % 100) as u8);
        let [month1, month2] = digits::two(at.month().unsigned_abs());
        let [day1, day2] = digits::two(at.day().unsigned_abs());
        let [h1, h2] = digits::two(at.hour().unsigned_abs());
        let [m1, m2] = digits::two(at.minute().unsigned_abs());
        let [s1, s2] = digits::two(at.second().unsigned_abs());
        text.extend_from_slice(&[
            y1, y2, y3, y4, b'-', month1, month2, b'-', day1, day2, b'T', h1, h2, b':', m1, m2,
            b':', s1, s2,
        ]);
        let millis = self.0.rem_euclid(1000) as u16;
        if millis > 0 {
            let [second, third] = digits::two((millis % 100) as u8);
            let fraction = [b'.', b'0' + (millis / 100) as u8, second, third];
            let zeros = fraction.iter().rev().take_while(|digit| **digit == b'0');
            text.extend_from_slice(&fraction[..fraction.len() - zeros.count()]);
        }
        text.extend_from_slice(b"Z");
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Seconds since the Unix epoch as the store keeps them: 0 before 1970, good until 2106.
    pub fn as_stored_secs(self) -> u32 {
        u32::try_from(self.as_secs().max(0)).unwrap_or(u32::MAX)
    }

    /// This moment and `duration` more; saturates.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This moment and `duration` less; saturates.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

// === impl SystemClock ===

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => millis(before.duration()).saturating_neg(),
        };
        Timestamp(millis)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Seconds for somebody who waits: rounded up, since who comes back a moment early comes in vain.
pub fn whole_secs(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_offset_and_fraction_the_platforms_use() {
        for (text, millis) in [
            ("2025-12-09T10:30:00Z", 1_765_276_200_000),
            ("2025-12-09T12:30:00+02:00", 1_765_276_200_000),
            ("2025-12-09T10:30:00.250Z", 1_765_276_200_250),
            ("2016-08-09T14:30:54.000+00:00", 1_470_753_054_000),
            ("2016-01-09T16:27:11.7713801Z", 1_452_356_831_771),
        ] {
            assert_eq!(
                Timestamp::parse_rfc3339(text),
                Some(Timestamp(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_moment() {
        for text in [
            "",
            "yesterday",
            "2025-12-09",
            "2025-12-09T10:30:00",
            "2025-13-09T10:30:00Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
        let long = format!("2025-12-09T10:30:00Z[{}]", "x".repeat(100));
        assert_eq!(Timestamp::parse_rfc3339(&long), None);
    }

    #[test]
    fn every_fraction_is_written_as_short_as_it_is() {
        for millis in 0..1000 {
            let time = Timestamp(1_765_276_200_000 + millis);
            let printed = jiff::Timestamp::from_millisecond(time.0)
                .unwrap()
                .to_string();
            assert_eq!(time.to_rfc3339(), printed);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in -60_000_000_000_000i64..200_000_000_000_000) {
            let time = Timestamp(millis);
            prop_assert_eq!(Timestamp::parse_rfc3339(&time.to_rfc3339()), Some(time));
        }

        #[test]
        fn a_time_is_written_as_jiff_does(millis in -377_705_000_000_000i64..253_402_200_000_000) {
            let printed = jiff::Timestamp::from_millisecond(millis).unwrap().to_string();
            prop_assert_eq!(Timestamp(millis).to_rfc3339(), printed);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = Timestamp::parse_rfc3339(&text);
        }
    }
}
