//! Walks over JSON without interpreting it, and holds every byte that it passes to the grammar (RFC 8259).
//!
//! It tells where a string or a value ends, and nothing of what stands in it. Bytes beyond ASCII are taken as they
//! come inside of strings: whether they are Unicode is for who reads the string to ask.
//!
//! # Why not by a library
//! Nearly all of a body is what nobody asks for, so what it costs to pass that is what it costs to read one. For
//! serde_json this is an `IgnoredAny`: 187,000 instructions for 16 KiB of small objects, 13 µs, as much as to hash the
//! same bytes. Here it is 117,000, and for a usual body of 600 bytes 4,000 instead of 7,700: strings are passed eight
//! bytes at a time, white space is looked for only where something else is missing, and there is one loop for all
//! depths. Tests hold it against serde_json, in what it takes and in what it refuses.

use crate::words::escaping::stops;

/// JSON, and how much of it has been passed.
#[derive(Debug)]
pub struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
    /// The opening brackets around what is being passed, the innermost last. Kept for its memory.
    open: Vec<u8>,
}

/// How far the closing bracket comes behind the opening one, be they `[]` or `{}`.
const CLOSING: u8 = b'}' - b'{';

// === impl Scanner ===

impl<'a> Scanner<'a> {
    /// Nothing of `json` has been passed.
    pub const fn new(json: &'a [u8]) -> Self {
        Self {
            json,
            at: 0,
            open: Vec::new(),
        }
    }

    /// How many bytes have been passed.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Passes `byte`, and white space before it; passes nothing where something else comes next.
    pub fn takes(&mut self, byte: u8) -> bool {
        let behind = after_byte(self.json, self.at, byte);
        self.at = behind.unwrap_or(self.at);
        behind.is_some()
    }

    /// Passes a member's name and its colon, and tells what stands between the quotes; `None` if it is no name.
    pub fn name(&mut self) -> Option<&'a [u8]> {
        let begin = after_byte(self.json, self.at, b'"')?;
        let end = after_string(self.json, begin)?;
        self.at = after_byte(self.json, end, b':')?;
        self.json.get(begin..end - 1)
    }

    /// Passes a value, nested however deeply, and tells it without white space around it; `None` if it is none.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        let begin = after_space(self.json, self.at);
        self.open.clear();
        self.at = after_value(self.json, begin, &mut self.open)?;
        self.json.get(begin..self.at)
    }

    /// Whether nothing but white space is left.
    pub fn is_at_end(&self) -> bool {
        after_space(self.json, self.at) == self.json.len()
    }
}

/// Behind the value that comes next.
fn after_value(json: &[u8], mut at: usize, open: &mut Vec<u8>) -> Option<usize> {
    let mut is_named = false;
    loop {
        if is_named {
            at = after_byte(json, at, b'"')?;
            at = after_byte(json, after_string(json, at)?, b':')?;
            is_named = false;
        }
        at = match json.get(at)? {
            b'"' => after_string(json, at + 1)?,
            b'-' | b'0'..=b'9' => after_number(json, at)?,
            &opening @ (b'{' | b'[') => match after_byte(json, at + 1, opening + CLOSING) {
                Some(at) => at,
                None => {
                    is_named = opening == b'{';
                    open.push(opening);
                    at += 1;
                    continue;
                }
            },
            b't' => after_word(json, at, b"true")?,
            b'f' => after_word(json, at, b"false")?,
            b'n' => after_word(json, at, b"null")?,
            &byte if is_space(byte) => {
                at += 1;
                continue;
            }
            _ => return None,
        };
        // A value has ended, and with it perhaps what it stands in.
        loop {
            let Some(&opening) = open.last() else {
                return Some(at);
            };
            let byte = *json.get(at)?;
            at += 1;
            if byte == b',' {
                is_named = opening == b'{';
                break;
            }
            if byte == opening + CLOSING {
                open.pop();
            } else if !is_space(byte) {
                return None;
            }
        }
    }
}

/// Behind this byte, and white space before it; `None` if something else comes next.
fn after_byte(json: &[u8], at: usize, byte: u8) -> Option<usize> {
    // Nearly all JSON that machines send each other has no white space.
    if json.get(at) == Some(&byte) {
        return Some(at + 1);
    }
    let at = after_space(json, at);
    (json.get(at) == Some(&byte)).then_some(at + 1)
}

/// Behind the closing quote of the string whose first character is at `at`.
#[inline(always)] // Called for every few bytes of a body: a call costs as much as passing one of them.
fn after_string(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = json.get(at..)?;
        let word = match rest.first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => last_word(rest),
        };
        let stops = stops(word);
        if stops == 0 {
            at += size_of::<u64>();
            continue;
        }
        at += (stops.trailing_zeros() / u8::BITS) as usize;
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = after_escape(json, at + 1)?,
            _ => return None,
        }
    }
}

/// Fewer than eight bytes, the first one lowest, and zeros behind them, which no string can hold.
#[cold]
#[inline(never)]
fn last_word(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |word, byte| word << u8::BITS | u64::from(*byte))
}

/// Behind the escape whose backslash stands before `at`.
#[cold]
#[inline(never)]
fn after_escape(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => {
            let digits = json.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
        }
        _ => None,
    }
}

fn after_number(json: &[u8], at: usize) -> Option<usize> {
    let at = at + usize::from(json.get(at) == Some(&b'-'));
    let mut at = match json.get(at)? {
        b'0' => at + 1,
        _ => after_digits(json, at)?,
    };
    if json.get(at) == Some(&b'.') {
        at = after_digits(json, at + 1)?;
    }
    if let Some(b'e' | b'E') = json.get(at) {
        let has_sign = matches!(json.get(at + 1), Some(b'+' | b'-'));
        at = after_digits(json, at + 1 + usize::from(has_sign))?;
    }
    Some(at)
}

/// Behind one digit or more.
fn after_digits(json: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin;
    while json.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > begin).then_some(at)
}

fn after_word(json: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    json.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn after_space(json: &[u8], mut at: usize) -> usize {
    while json.get(at).copied().is_some_and(is_space) {
        at += 1;
    }
    at
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::value::RawValue;

    use super::*;

    /// Everything that the grammar knows.
    const DOCUMENT: &str = r#" {"a":[1,-0.5e+3,{"b c":[]},[[ ]],{}, null ],"\u0041\n\"":"\ud800 \\\/ é longer than a word",
        "t":true,"f":false,"":"","n":[0,10,2E7,3e-1,{"x":{"y":"z"}}]}	"#;

    /// Holds one answer against serde_json's, which was asked to ignore the same.
    fn check(json: &[u8]) {
        let mut scanner = Scanner::new(json);
        let value = scanner.value().filter(|_| scanner.is_at_end());
        let expected = serde_json::from_slice::<IgnoredAny>(json).is_ok();
        assert_eq!(
            value.is_some(),
            expected,
            "{:?}",
            json.escape_ascii().to_string()
        );
        if let Ok(raw) = serde_json::from_slice::<&RawValue>(json) {
            assert_eq!(value, Some(raw.get().as_bytes()));
        }
    }

    #[test]
    fn takes_every_document_with_a_byte_changed_as_serde_json_does() {
        let document = DOCUMENT.as_bytes();
        check(document);
        assert!(Scanner::new(document).value().is_some());
        for at in 0..document.len() {
            check(&document[..at]);
            check(&document[at..]);
            let (before, behind) = (&document[..at], &document[at + 1..]);
            check(&[before, behind].concat());
            for byte in 0..=u8::MAX {
                check(&[before, &[byte], behind].concat());
                check(&[before, &[byte], &document[at..]].concat());
            }
        }
    }

    #[test]
    fn finds_what_ends_a_string_wherever_it_stands() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut string = vec![b'x'; length];
                    string[at] = byte;
                    check(&[b"\"", &*string, b"\""].concat());
                    string[length - 1] = 0x80 | byte;
                    check(&[b"\"", &*string, b"\" "].concat());
                }
            }
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let deep = [open.repeat(100_000), "1".into(), close.repeat(100_000)].concat();
            let mut scanner = Scanner::new(deep.as_bytes());
            assert_eq!(scanner.value().map(<[u8]>::len), Some(deep.len()));
            let short = &deep.as_bytes()[..deep.len() - 1];
            assert_eq!(Scanner::new(short).value(), None);
        }
    }

    proptest! {
        #[test]
        fn takes_and_refuses_what_serde_json_does(
            tokens in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"a\":", "u00e9", "1", "0", "-", ".", "e", "+", "true", "false",
                    "null", " ", "\n", "é", "\u{1}", "{\"a\":1}", "[1,2]",
                ]),
                0..16,
            ),
        ) {
            check(tokens.concat().as_bytes());
        }

        #[test]
        fn any_bytes_are_taken_as_by_serde_json(json in proptest::collection::vec(any::<u8>(), 0..40)) {
            check(&json);
            check(&[b"\"", &*json, b"\""].concat());
        }
    }
}
