//! Durations, sizes and rates as the configuration writes them: a whole number and a unit.
//!
//! One unit only, no fractions and no sums: what is written is what is meant, and it can be written back.

use std::num::NonZeroU32;
use std::time::Duration;

/// A rate: so many in so long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many…
    pub count: NonZeroU32,
    /// …in so long a time.
    pub per: Duration,
}

/// Completes "… is expected".
pub const DURATION: &str = "a duration such as \"500ms\", \"15s\", \"10min\", \"24h\" or \"7d\"";
/// Completes "… is expected".
pub const SIZE: &str = "a size such as \"64KiB\" or \"1MiB\"";
/// Completes "… is expected".
pub const RATE: &str = "a rate such as \"10/s\", \"600/min\" or \"5000/h\"";

/// A duration above zero.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = duration_or_zero(text)?;
    if duration.is_zero() {
        return Err("must be longer than zero".to_owned());
    }
    Ok(duration)
}

/// A duration, which may be zero.
///
/// # Errors
/// What is wrong with it.
pub fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        number_and_unit(text).map_err(|slip| said(slip, text, "a duration", DURATION_ADVICE))?;
    let millis = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, millis)| *millis);
    let millis = millis.ok_or_else(|| said(Slip::Shape, text, "a duration", DURATION_ADVICE))?;
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| said(Slip::TooLarge, text, "a duration", DURATION_ADVICE))
}

/// A size in bytes.
///
/// # Errors
/// What is wrong with it.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) =
        number_and_unit(text).map_err(|slip| said(slip, text, "a size", SIZE_ADVICE))?;
    let bytes = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, bytes)| *bytes);
    let bytes = bytes.ok_or_else(|| said(Slip::Shape, text, "a size", SIZE_ADVICE))?;
    number
        .checked_mul(bytes)
        .ok_or_else(|| said(Slip::TooLarge, text, "a size", SIZE_ADVICE))
}

/// A rate of at least one, and at most a thousand million a second: a limiter counts nanoseconds.
///
/// # Errors
/// What is wrong with it.
pub fn rate(text: &str) -> Result<Rate, String> {
    let (number, unit) =
        number_and_unit(text).map_err(|slip| said(slip, text, "a rate", RATE_ADVICE))?;
    let secs = RATE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, secs)| *secs);
    let secs = secs.ok_or_else(|| said(Slip::Shape, text, "a rate", RATE_ADVICE))?;
    if number == 0 {
        return Err("lets nothing pass; write a count of at least 1".to_owned());
    }
    let count = u32::try_from(number).ok().and_then(NonZeroU32::new);
    let count =
        count.filter(|count| u64::from(count.get()) <= secs.saturating_mul(PER_SECOND_MOST));
    let per = Duration::from_secs(secs);
    count
        .map(|count| Rate { count, per })
        .ok_or_else(|| said(Slip::TooLarge, text, "a rate", RATE_ADVICE))
}

/// A duration as the configuration would write it, in the largest unit that holds it whole.
pub fn duration_text(duration: Duration) -> String {
    let whole = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let written = |(unit, millis): &(&str, u64)| {
        (whole > 0 && whole % millis == 0).then(|| format!("{}{unit}", whole / millis))
    };
    DURATION_UNITS
        .iter()
        .rev()
        .find_map(written)
        .unwrap_or_else(|| "0s".to_owned())
}

/// A size as the configuration would write it, in the largest unit that holds it whole.
pub fn size_text(bytes: u64) -> String {
    let written = |(unit, each): &(&str, u64)| {
        (bytes > 0 && bytes.is_multiple_of(*each)).then(|| format!("{}{unit}", bytes / each))
    };
    SIZE_UNITS
        .iter()
        .rev()
        .find_map(written)
        .unwrap_or_else(|| "0B".to_owned())
}

/// A rate as the configuration would write it.
pub fn rate_text(rate: Rate) -> String {
    let written = |(unit, secs): &(&str, u64)| {
        (Duration::from_secs(*secs) == rate.per).then(|| format!("{}{unit}", rate.count))
    };
    // Every rate that was read has one of these units.
    RATE_UNITS
        .iter()
        .rev()
        .find_map(written)
        .unwrap_or_default()
}

#[derive(Clone, Copy)]
enum Slip {
    Shape,
    TooLarge,
}

/// Splits after the digits. Signs, spaces and fractions are no part of the grammar.
fn number_and_unit(text: &str) -> Result<(u64, &str), Slip> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or(Slip::Shape)?;
    let (digits, unit) = text.split_at_checked(end).ok_or(Slip::Shape)?;
    if digits.is_empty() {
        return Err(Slip::Shape);
    }
    // Digits only, so that the one thing that can go wrong is their number.
    let number = digits.parse().map_err(|_| Slip::TooLarge)?;
    Ok((number, unit))
}

fn said(slip: Slip, text: &str, what: &str, advice: &str) -> String {
    let shown: String = text.chars().take(LONGEST_SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    match slip {
        Slip::Shape => format!("{shown:?}{more} is not {what}; {advice}"),
        Slip::TooLarge => format!("{shown:?}{more} is too large for {what}"),
    }
}

/// From small to large, and the preferred name of each last.
const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
const RATE_UNITS: &[(&str, u64)] = &[("/s", 1), ("/m", 60), ("/min", 60), ("/h", 3_600)];

const DURATION_ADVICE: &str =
    "write a whole number and a unit: \"500ms\", \"15s\", \"10min\", \"24h\", \"7d\"";
const SIZE_ADVICE: &str =
    "write a whole number and a unit: \"512B\", \"64KiB\", \"1MiB\", \"8GiB\", \"1TiB\"";
const RATE_ADVICE: &str = "write a count and a unit of time: \"10/s\", \"600/min\", \"5000/h\"";

const PER_SECOND_MOST: u64 = 1_000_000_000;
const LONGEST_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn a_duration_is_a_whole_number_and_one_unit() {
        let right = [
            ("500ms", Duration::from_millis(500)),
            ("15s", Duration::from_secs(15)),
            ("10m", Duration::from_secs(600)),
            ("10min", Duration::from_secs(600)),
            ("24h", Duration::from_secs(DAY)),
            ("007d", Duration::from_secs(7 * DAY)),
        ];
        for (text, expected) in right {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        let wrong = [
            "", "s", "15", "15 s", " 15s", "15s ", "+1s", "-1s", "1.5s", "1h30m", "1S", "1us",
            "1w", "١s", "0s", "0d",
        ];
        for text in wrong {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_size_is_in_bytes_or_in_powers_of_1024() {
        let right = [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("3GiB", 3 << 30),
            ("2TiB", 2 << 40),
        ];
        for (text, expected) in right {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["1", "1KB", "1kib", "1 MiB", "1.5MiB", "1PiB", "-1B", "B"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_count_in_a_second_a_minute_or_an_hour() {
        let right = [
            ("10/s", 10, 1),
            ("600/min", 600, 60),
            ("600/m", 600, 60),
            ("5000/h", 5000, 3600),
            ("1000000000/s", 1_000_000_000, 1),
            ("4294967295/min", u32::MAX, 60),
        ];
        for (text, count, secs) in right {
            let rate = rate(text).unwrap();
            assert_eq!(super::rate(&rate_text(rate)), Ok(rate), "{text}");
            assert_eq!(
                (rate.count.get(), rate.per.as_secs()),
                (count, secs),
                "{text}"
            );
        }
        for text in [
            "0/s",
            "1000000001/s",
            "4294967296/h",
            "10",
            "10/",
            "/s",
            "10/d",
            "10 / s",
            "1/ms",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_a_mistake_and_no_panic() {
        for digits in [
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
        ] {
            assert!(
                duration(&format!("{digits}d"))
                    .unwrap_err()
                    .contains("too large")
            );
            assert!(
                size(&format!("{digits}GiB"))
                    .unwrap_err()
                    .contains("too large")
            );
            assert!(
                rate(&format!("{digits}/h"))
                    .unwrap_err()
                    .contains("too large")
            );
        }
    }

    #[test]
    fn a_duration_is_written_in_its_largest_unit() {
        for text in ["0s", "1ms", "1500ms", "12s", "90s", "10min", "25h", "7d"] {
            assert_eq!(duration_text(duration_or_zero(text).unwrap()), text);
        }
        assert_eq!(duration_text(Duration::from_secs(72 * 3600)), "3d");
        assert_eq!(duration_text(Duration::MAX), "18446744073709551615ms");
    }

    #[test]
    fn a_size_is_written_in_its_largest_unit() {
        for text in ["0B", "1B", "1025B", "3KiB", "1025MiB", "8GiB", "1TiB"] {
            assert_eq!(size_text(size(text).unwrap()), text);
        }
        assert_eq!(size_text(1024), "1KiB");
        assert_eq!(size_text(u64::MAX), "18446744073709551615B");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "([0-9]{0,30}(ms|s|m|min|h|d|B|KiB|GiB|TiB|/s|/h)?|\\PC*)") {
            let _ = (duration(&text), size(&text), rate(&text));
        }

        #[test]
        fn a_written_duration_reads_back_as_it_was(number in 0..1_000_000_u64, unit in 0..DURATION_UNITS.len(), more in 0..2_u64) {
            // A millisecond more falls out of every larger unit.
            let duration = Duration::from_millis(number * DURATION_UNITS[unit].1 + more);
            proptest::prop_assert_eq!(duration_or_zero(&duration_text(duration)), Ok(duration));
        }

        #[test]
        fn sizes_and_rates_read_as_they_are_written(number in 1..=u32::MAX) {
            proptest::prop_assert_eq!(size(&format!("{number}KiB")), Ok(u64::from(number) << 10));
            let rate = rate(&format!("{number}/h")).unwrap();
            proptest::prop_assert_eq!(rate.count.get(), number);
        }
    }
}
