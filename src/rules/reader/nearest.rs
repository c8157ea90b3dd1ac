//! The known word that an unknown one was probably meant to be.

/// The nearest of `known`, if it is near enough for a slip of the fingers.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| is_slip(*distance, candidate.chars().count()))
        .min()
        .map(|(_, candidate)| candidate)
}

/// A third of the letters may be wrong, and at least one must be right.
fn is_slip(distance: usize, letters: usize) -> bool {
    distance <= letters.div_ceil(3) && distance < letters
}

/// How many letters must be inserted, dropped or replaced to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, other) in row.windows(2).zip(&to) {
            let &[diagonal, above] = above else { break };
            let replaced = diagonal + usize::from(letter != *other);
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// Longer words are no slip of a key's name, and would cost time.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_recognised_and_a_different_word_is_not() {
        let known = ["timeout", "upstream", "name", "max_body"];
        let cases = [
            ("timeot", Some("timeout")),
            ("time_out", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("upsteram", Some("upstream")),
            ("maxbody", Some("max_body")),
            ("nam", Some("name")),
            ("colour", None),
            ("", None),
            ("ä", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(65), ["x"]), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest("x", ["a"]), None);
    }
}
