//! Which bytes cannot stand in a JSON string as they are (RFC 8259, 7), eight at a time.
//!
//! # Why
//! Bodies are made of short strings, and so are log lines: too short for the compiler's own way to many bytes at a time,
//! and one by one they cost more than all the rest.

/// The lowest byte whose highest bit is set here is the first that is a quote, a backslash or a control character
/// in `word`; zero if there is none.
///
/// A byte of ASCII that is less than `n` gets its highest bit set when `n` is taken from it. That may borrow from the
/// bytes above, but only from a byte for which it is true, so that the lowest is always right.
pub const fn stops(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    let quotes = (word ^ (EACH * b'"' as u64)).wrapping_sub(EACH);
    let backslashes = (word ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    let controls = word.wrapping_sub(EACH * 0x20);
    (quotes | backslashes | controls) & !word & (EACH * 0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_stop_is_a_quote_a_backslash_or_a_control_character(bytes in any::<[u8; 8]>()) {
            let first = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let stops = stops(u64::from_le_bytes(bytes));
            prop_assert_eq!((stops != 0).then_some(stops.trailing_zeros() as usize / 8), first);
        }
    }
}
