//! Spans of time as a person reads them.

use std::time::Duration;

/// The two largest units of a span: `3 d 4 h`, `5 min 1 s`.
pub fn shown(span: Duration) -> String {
    let secs = span.as_secs();
    let parts = [
        (secs / 86_400, "d"),
        (secs / 3_600 % 24, "h"),
        (secs / 60 % 60, "min"),
        (secs % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0);
    let shown: Vec<String> = parts
        .iter()
        .skip(first.unwrap_or(parts.len()))
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    match shown.is_empty() {
        true => format!("{} ms", span.subsec_millis()),
        false => shown.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_two_largest_units() {
        for (millis, text) in [
            (0, "0 ms"),
            (250, "250 ms"),
            (1_000, "1 s"),
            (301_000, "5 min 1 s"),
            (3_600_000, "1 h"),
            (3_601_000, "1 h"),
            (72 * 3_600_000, "3 d"),
            (100 * 3_600_000, "4 d 4 h"),
        ] {
            assert_eq!(shown(Duration::from_millis(millis)), text);
        }
    }
}
