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
];
const RATE_UNITS: &[(&str, u64)] = &[("/s", 1), ("/m", 60), ("/min", 60), ("/h", 3_600)];

const DURATION_ADVICE: &str =
    "write a whole number and a unit: \"500ms\", \"15s\", \"10min\", \"24h\", \"7d\"";
const SIZE_ADVICE: &str =
    "write a whole number and a unit: \"512B\", \"64KiB\", \"1MiB\", \"1GiB\"";
const RATE_ADVICE: &str = "write a count and a unit of time: \"10/s\", \"600/min\", \"5000/h\"";

const PER_SECOND_MOST: u64 = 1_000_000_000;
const LONGEST_SHOWN: usize = 40;
