//! Writing to the terminal.
//!
//! A reader that has gone away (`| head`) is no reason to fail, so write errors are dropped here.

use std::io::{self, Write};

/// A line of the result.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A line about what is wrong.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "passgate: {line}");
}

/// Lines about what is wrong, as they are.
pub fn complain_all(lines: &str) {
    let _ = io::stderr().lock().write_all(lines.as_bytes());
}

/// Text that a sender wrote: control characters are escaped, and long texts are cut.
pub fn foreign(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

const CHARS_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_senders_text_cannot_steer_the_terminal() {
        assert_eq!(foreign("card.\u{1b}[2J\n"), "card.\\u{1b}[2J\\n");
        assert_eq!(foreign(&"x".repeat(500)).chars().count(), CHARS_MAX + 1);
    }
}
