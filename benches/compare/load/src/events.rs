//! Signed requests, each with a body, a delivery id and a signature of its own.

use std::io::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::wire::find;
use crate::words::{Words, fail};

/// Where the body counts up.
const NUMBER: &[u8] = b"000000000000";
/// Where the body names one of `subjects`.
const SUBJECT: &[u8] = b"card_000000";
/// How far back the event lies that is sent again.
pub const REPEATED_AFTER: u64 = 500;

/// Makes requests.
///
/// Words: `body=FILE` (with `card_000000` and twelve zeros in it, both filled in), `secret=`, `path=`,
/// `run=` (begins every delivery id), `subjects=` (how many cards there are; 10,000), `repeat=1` (every
/// second request is, byte for byte, one sent 500 events before).
#[derive(Clone)]
pub struct Events {
    body: Vec<u8>,
    number: usize,
    subject: usize,
    subjects: u64,
    head: Vec<u8>,
    key: Hmac<Sha256>,
    run: String,
    repeats: bool,
}

// === impl Events ===

impl Events {
    /// As `words` say.
    pub fn new(words: &Words) -> Self {
        let body = std::fs::read(words.text("body"));
        let body = body.unwrap_or_else(|error| fail(&format!("the body: {error}")));
        let place =
            |mark: &[u8]| find(&body, mark).unwrap_or_else(|| fail("the body has no marks"));
        let subject = place(SUBJECT) + SUBJECT.len() - 6;
        let number = place(NUMBER);
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nUser-Agent: WalletWerk-Hooks/1.0\r\nContent-Length: {}\r\nX-WalletWerk-Signature: ",
            words.text("path"),
            words.text("to"),
            body.len()
        );
        let key = Hmac::new_from_slice(words.text("secret").as_bytes());
        Self {
            number,
            subject,
            subjects: words.number("subjects", 10_000).clamp(1, 999_999),
            head: head.into(),
            key: key.unwrap_or_else(|_| fail("the secret")),
            run: words.text("run").to_owned(),
            repeats: words.number("repeat", 0) == 1,
            body,
        }
    }

    /// Writes the `n`th request, counted from 1, over `out`. The same `n` is the same request.
    pub fn write(&mut self, n: u64, out: &mut Vec<u8>) {
        let id = self.id(n);
        digits(&mut self.body[self.number..self.number + 12], id);
        digits(
            &mut self.body[self.subject..self.subject + 6],
            id % self.subjects,
        );
        let mut mac = self.key.clone();
        mac.update(&self.body);
        out.clear();
        out.extend_from_slice(&self.head);
        hex(&mac.finalize().into_bytes(), out);
        let _ = write!(
            out,
            "\r\nX-WalletWerk-Delivery-ID: {}-{id:012}\r\n\r\n",
            self.run
        );
        out.extend_from_slice(&self.body);
    }

    fn id(&self, n: u64) -> u64 {
        match self.repeats {
            true => repeating(n),
            false => n,
        }
    }
}

/// Which event the `n`th request carries where every second one repeats one.
fn repeating(n: u64) -> u64 {
    let half = n / 2;
    match n % 2 == 1 {
        true if half > REPEATED_AFTER => half - REPEATED_AFTER,
        // Before there are so many to repeat, an event of its own, beyond all others.
        true => half + 500_000_000_000,
        false => half,
    }
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_second_request_repeats_an_event_of_500_events_before() {
        let mut sent = HashSet::new();
        for n in 1..10_000 {
            let is_new = sent.insert(repeating(n));
            let repeats = n % 2 == 1 && n / 2 > REPEATED_AFTER;
            assert_eq!(is_new, !repeats, "{n}");
            if repeats {
                assert_eq!(repeating(n - 1) - repeating(n), REPEATED_AFTER);
            }
        }
    }

    #[test]
    fn the_body_is_signed_as_it_is_sent() {
        // RFC 4231, test case 2.
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").expect("any key");
        mac.update(b"what do ya want for nothing?");
        let mut text = Vec::new();
        hex(&mac.finalize().into_bytes(), &mut text);
        assert_eq!(
            text,
            b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let mut place = *b"card_000000";
        digits(&mut place[5..], 1_234_567);
        assert_eq!(&place, b"card_234567");
    }
}
