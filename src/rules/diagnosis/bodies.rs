//! What a captured body may have been before something on the way changed it.

use std::borrow::Cow;

use data_encoding::BASE64;

use crate::rules::diagnosis::json;
use crate::rules::diagnosis::rendering::{Order, renderings};

/// A body that may have been the signed one.
#[derive(Debug)]
pub struct Candidate {
    /// How it differs; follows "the body", as in "the body without the newline at its end".
    pub change: String,
    /// What usually does that.
    pub advice: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Every likely other form of `body`, the most usual first. None equals the body itself.
pub fn candidates(body: &[u8]) -> Vec<Candidate> {
    let mut candidates = edited(body);
    if body.len() <= REWRITTEN_BYTES_MAX {
        candidates.extend(rewritten(body));
    }
    candidates.extend([candidate("taken as empty", READ_TWICE, Vec::new())]);
    candidates.retain(|candidate| candidate.bytes != body);
    candidates
}

/// Changes that know nothing of JSON: at the end, alone and on top of those throughout.
fn edited(body: &[u8]) -> Vec<Candidate> {
    let mut candidates = at_the_end(body);
    for whole in throughout(body) {
        for end in at_the_end(&whole.bytes) {
            candidates.push(Candidate {
                change: format!("{}, {}", whole.change, end.change),
                ..end
            });
        }
        candidates.push(whole);
    }
    // One change explains more than two, so these come first.
    candidates.sort_by_key(|candidate| candidate.change.contains(", "));
    candidates
}

fn at_the_end(body: &[u8]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    if let Some(rest) = body.strip_suffix(b"\n") {
        let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        candidates.push(candidate(
            "without the newline at its end",
            EDITOR,
            rest.to_vec(),
        ));
    }
    candidates.push(candidate(
        "with a newline at its end",
        TRIMMED,
        [body, b"\n"].concat(),
    ));
    candidates.push(candidate(
        "with CRLF at its end",
        TRIMMED,
        [body, b"\r\n"].concat(),
    ));
    let trimmed = body.trim_ascii().to_vec();
    candidates.push(candidate(
        "without the white space around it",
        EDITOR,
        trimmed,
    ));
    candidates
}

fn throughout(body: &[u8]) -> Vec<Candidate> {
    let mut candidates = vec![
        candidate("with LF in place of CRLF", LINE_ENDS, to_lf(body)),
        candidate("with CRLF in place of LF", LINE_ENDS, to_crlf(body)),
    ];
    candidates.push(match body.strip_prefix(BOM) {
        Some(rest) => candidate(
            "without the byte order mark before it",
            EDITOR,
            rest.to_vec(),
        ),
        None => candidate(
            "with a byte order mark before it",
            TRIMMED,
            [BOM, body].concat(),
        ),
    });
    match std::str::from_utf8(body) {
        Ok(text) => {
            if let Some(bytes) = to_latin1(text) {
                candidates.push(candidate("in Latin-1 instead of UTF-8", DECODED, bytes));
            }
        }
        Err(_) => candidates.push(candidate(
            "in UTF-8 instead of Latin-1",
            DECODED,
            from_latin1(body).into_bytes(),
        )),
    }
    if let Ok(bytes) = BASE64.decode(body.trim_ascii()) {
        candidates.push(candidate("decoded from base64", WRAPPED, bytes));
    }
    if let Some(json::Node::Text(text)) = json::read(body) {
        candidates.push(candidate(
            "inside this JSON string",
            WRAPPED,
            text.into_bytes(),
        ));
    }
    if let Some(bytes) = unchunked(body) {
        candidates.push(candidate("without its chunked framing", CHUNKED, bytes));
    }
    candidates
}

/// The body's JSON value, written by each of the usual libraries.
fn rewritten(body: &[u8]) -> Vec<Candidate> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let text = match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(from_latin1(body)),
    };
    let Some(value) = json::read(text.as_bytes()) else {
        return Vec::new();
    };
    let mut candidates = Vec::new();
    for rendering in renderings(&value) {
        let order = match rendering.order {
            Order::AsIs => "",
            Order::ByName => ", with sorted keys",
            Order::ByLength => ", with keys sorted by length (PostgreSQL's jsonb)",
        };
        let change = format!("{}{order}", rendering.change);
        let bytes = rendering.text.into_bytes();
        candidates.push(Candidate {
            change: format!("{change}, and a newline at its end"),
            advice: REWRITTEN,
            bytes: [&bytes[..], b"\n"].concat(),
        });
        candidates.push(Candidate {
            change,
            advice: REWRITTEN,
            bytes,
        });
    }
    candidates.sort_by_key(|candidate| candidate.change.ends_with("a newline at its end"));
    candidates
}

fn candidate(change: &str, advice: &'static str, bytes: Vec<u8>) -> Candidate {
    Candidate {
        change: change.to_owned(),
        advice,
        bytes,
    }
}

fn to_lf(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\r' || rest.peek() != Some(&b'\n') {
            bytes.push(byte);
        }
    }
    bytes
}

fn to_crlf(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    for byte in to_lf(body) {
        if byte == b'\n' {
            bytes.push(b'\r');
        }
        bytes.push(byte);
    }
    bytes
}

fn to_latin1(text: &str) -> Option<Vec<u8>> {
    text.chars()
        .map(|character| u8::try_from(u32::from(character)).ok())
        .collect()
}

fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The data of a complete chunked body.
fn unchunked(body: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut rest = body;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, after) = rest.split_at_checked(end)?;
        let digits = line.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(data);
        }
        let (chunk, after) = after.get(2..)?.split_at_checked(size)?;
        data.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n")?;
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Larger bodies are not written anew: there are dozens of styles, and each would be a copy.
const REWRITTEN_BYTES_MAX: usize = 256 << 10;

const EDITOR: &str = "An editor or a shell usually adds that when the body is saved to a file; \
                      save it byte for byte.";
const TRIMMED: &str = "Something on the way trims bodies, or the file was saved without it \
                       (`curl -d @file` drops newlines, `--data-binary` keeps them).";
const LINE_ENDS: &str =
    "Something translated line ends (git's autocrlf, a text-mode copy, `curl -d @file`).";
const DECODED: &str = "Something decoded the body to text and encoded it again; \
                       verify over the raw bytes, before any decoding.";
const WRAPPED: &str =
    "Something wrapped the body (AWS Lambda's isBase64Encoded, a doubled JSON.stringify).";
const CHUNKED: &str = "The capture is of the bytes on the wire; take the body out of its chunks.";
const REWRITTEN: &str = "Something parsed the JSON and wrote it anew (a body parser, a proxy that inspects, a \
                         database column); verify over the raw bytes, before any JSON parser.";
const READ_TWICE: &str = "The signature is of no bytes at all: whoever signed had read the stream before, \
                          or signed before the body was set.";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn has(body: &[u8], change: &str, bytes: &[u8]) {
        let found = candidates(body)
            .into_iter()
            .find(|candidate| candidate.change == change);
        assert_eq!(
            found.map(|found| found.bytes).as_deref(),
            Some(bytes),
            "{change}"
        );
    }

    #[test]
    fn undoes_what_usually_happens_to_a_body() {
        has(b"{}\n", "without the newline at its end", b"{}");
        has(b"{}\r\n", "without the newline at its end", b"{}");
        has(b"{}", "with a newline at its end", b"{}\n");
        has(b"{\r\n}", "with LF in place of CRLF", b"{\n}");
        has(b"{\n}", "with CRLF in place of LF", b"{\r\n}");
        has(
            b"\xef\xbb\xbf{}",
            "without the byte order mark before it",
            b"{}",
        );
        has(b"\"\xc3\xab\"", "in Latin-1 instead of UTF-8", b"\"\xeb\"");
        has(b"\"\xeb\"", "in UTF-8 instead of Latin-1", b"\"\xc3\xab\"");
        has(b"e30=", "decoded from base64", b"{}");
        has(b"\"{}\"", "inside this JSON string", b"{}");
        has(
            b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n",
            "without its chunked framing",
            b"{}",
        );
        has(b"{}", "taken as empty", b"");
        has(
            b"{\r\n}\n",
            "with LF in place of CRLF, without the newline at its end",
            b"{\n}",
        );
        has(
            b"{ \"b\": 1, \"a\": 2 }",
            "as JavaScript's JSON.stringify writes it, with sorted keys",
            b"{\"a\":2,\"b\":1}",
        );
    }

    proptest! {
        #[test]
        fn any_body_has_candidates_and_none_equals_it(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(candidates(&body).iter().all(|candidate| candidate.bytes != body));
        }
    }
}
