//! The words: plain values that every floor above speaks in.
//!
//! Nothing here does I/O, waits, or reads a clock (`SystemClock` is the one place that may, and it is only handed down).

pub mod composed;
pub mod dead;
pub mod digits;
pub mod escaping;
pub mod identity;
pub mod limits;
pub mod message;
pub mod outcome;
pub mod record;
pub mod secret;
pub mod shelf;
pub mod time;
pub mod verdict;
