//! Header values that we compose, those of one message in one piece of memory.
//!
//! # Why
//! An answer has some ten of them. Each in memory of its own is as many allocations, and as many places to fetch when
//! the answer is dropped.

use bytes::BytesMut;
use hyper::header::HeaderValue;

/// Makes header values. Those of one maker share its memory until the last of them is dropped.
pub struct Composer(BytesMut);

// === impl Composer ===

impl Composer {
    /// With room for values of so many bytes in all; more of them take more memory.
    pub fn with_room(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    /// The value that `parts` make together; `None` if no header's value may read like that (RFC 9110, 5.5).
    pub fn value<P: AsRef<[u8]>>(
        &mut self,
        parts: impl IntoIterator<Item = P>,
    ) -> Option<HeaderValue> {
        for part in parts {
            self.0.extend_from_slice(part.as_ref());
        }
        HeaderValue::from_maybe_shared(self.0.split().freeze()).ok()
    }

    /// A number in decimal digits.
    pub fn number(&mut self, number: impl itoa::Integer) -> Option<HeaderValue> {
        self.value([itoa::Buffer::new().format(number)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_are_what_they_are_each_by_itself(
            texts in proptest::collection::vec(("[ -~]{0,40}", "[ -~\u{0}\n\u{e9}]{0,9}"), 0..20), room in 0usize..300, number in any::<i64>(),
        ) {
            let mut composer = Composer::with_room(room);
            let composed: Vec<_> = texts.iter().map(|(first, second)| composer.value([first, second])).collect();
            for ((first, second), value) in texts.iter().zip(composed) {
                prop_assert_eq!(value, HeaderValue::from_bytes(format!("{first}{second}").as_bytes()).ok());
            }
            prop_assert_eq!(composer.number(number), Some(HeaderValue::from(number)));
        }
    }
}
