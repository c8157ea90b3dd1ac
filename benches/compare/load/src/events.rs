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

    /// Which event the `n`th request carries.
    fn id(&self, n: u64) -> u64 {
        let half = n / 2;
        match self.repeats {
            false => n,
            true if n % 2 == 1 && half > REPEATED_AFTER => half - REPEATED_AFTER,
            // Before there are so many to repeat, an event of its own, beyond all others.
            true if n % 2 == 1 => half + 500_000_000_000,
            true => half,
        }
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
