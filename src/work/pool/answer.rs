//! What an app answers, read as it comes. Heads are parsed by the library that hyper reads with; what counts as a whole
//! answer is decided here.
//!
//! # Why
//! A connection on which the app and we disagree about an answer's end gives the next event an answer that is not its.
//! So what is said twice, or in a way that we do not know, is no answer.

use std::mem::{self, MaybeUninit};

use bytes::Bytes;
use httparse::{Header, ParserConfig, Response, Status};
use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::rules::chunks::{Broken, Chunks};

/// Bytes of an answer's body that are kept; what comes after them is not waited for.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of an answer's head, with those of the interim answers before it.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Headers of an answer.
const HEADERS_MAX: usize = 100;

/// Bytes between two pieces of an answer's data, or behind the last: the lines of chunks are far shorter, so that it bounds
/// the trailers.
const ASIDE_BYTES_MAX: usize = 16 * 1024;

/// The `Content-Type` of most answers, which needs no memory.
static USUAL_TYPES: [HeaderValue; 5] = [
    HeaderValue::from_static("application/json"),
    HeaderValue::from_static("application/json; charset=utf-8"),
    HeaderValue::from_static("text/plain"),
    HeaderValue::from_static("text/plain; charset=utf-8"),
    HeaderValue::from_static("text/html; charset=utf-8"),
];

/// A whole answer, as far as anybody asks for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// As the app sent it.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// `Retry-After`.
    pub retry_after: Option<HeaderValue>,
    /// At most [`ANSWER_BYTES_MAX`].
    pub body: Bytes,
}

/// An answer of which some has come.
#[derive(Default)]
pub(super) struct Reading {
    /// What has come of a head that is not whole yet.
    begun: Vec<u8>,
    /// Bytes of the heads that were read.
    head_bytes: usize,
    head: Option<Head>,
    body: Vec<u8>,
}

/// An answer that is whole.
pub(super) struct Whole {
    /// The answer.
    pub(super) answer: Answer,
    /// Another request may be sent over its connection.
    pub(super) is_reusable: bool,
}

/// What came is no answer: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer(pub(super) &'static str);

/// What a head says.
struct Head {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    framing: Framing,
    /// The app goes on over this connection.
    is_kept_alive: bool,
}

/// How it is known where a body ends (RFC 9112, 6.3), and how much of it is still to come.
enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked {
        chunks: Chunks,
        /// Bytes since the last data.
        aside: usize,
    },
    /// With its connection.
    Close,
}

const NO_HTTP: NoAnswer = NoAnswer("what the app answered is not HTTP/1.1");
const TOO_LARGE: NoAnswer = NoAnswer("the head of the app's answer is too large");
const AMBIGUOUS: NoAnswer = NoAnswer("the length of the app's answer is ambiguous");
const SWITCHED: NoAnswer = NoAnswer("the app switched protocols without being asked");
const BAD_CHUNK: NoAnswer = NoAnswer("a chunk of the app's answer is broken");
pub(super) const CUT_OFF: NoAnswer =
    NoAnswer("the app closed the connection before its answer was whole");

// === impl Reading ===

impl Reading {
    /// Takes what has come; gives back the answer once it is whole.
    ///
    /// # Errors
    /// What is wrong with it. Nothing behind it can be understood either.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Whole>, NoAnswer> {
        // Nearly every answer comes in one piece, of which nothing is left.
        let (whole, left) = if self.begun.is_empty() {
            let (whole, left) = self.read(bytes)?;
            (whole, left.to_vec())
        } else {
            let mut begun = mem::take(&mut self.begun);
            begun.extend_from_slice(bytes);
            match memchr::memchr(b'\n', bytes) {
                Some(_) => {
                    let (whole, left) = self.read(&begun)?;
                    (whole, left.to_vec())
                }
                // It is not looked at again for each of its bytes: only a line's end can complete it.
                None => (None, begun),
            }
        };
        if whole.is_some() {
            return Ok(whole);
        }
        self.begun = left;
        match self.head_bytes + self.begun.len() > HEAD_BYTES_MAX {
            true => Err(TOO_LARGE),
            false => Ok(None),
        }
    }

    /// Nothing more will come; gives back the answer if it ends with its connection.
    ///
    /// # Errors
    /// If it does not.
    pub(super) fn end(self) -> Result<Whole, NoAnswer> {
        match self.head {
            Some(head) if matches!(head.framing, Framing::Close) => Ok(Whole {
                answer: head.with(self.body),
                is_reusable: false,
            }),
            Some(_) | None => Err(CUT_OFF),
        }
    }

    /// Reads heads that are whole and all that comes after them; gives back what is left.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(Option<Whole>, &'a [u8]), NoAnswer> {
        let mut left = bytes;
        let mut head = loop {
            if let Some(head) = self.head.take() {
                break head;
            }
            let Some((length, head)) = parse_head(left)? else {
                return Ok((None, left));
            };
            self.head_bytes += length;
            if self.head_bytes > HEAD_BYTES_MAX {
                return Err(TOO_LARGE);
            }
            cut(&mut left, length);
            // There is none yet after an interim one.
            self.head = head;
        };
        let is_at_end = head.framing.read(&mut left, &mut self.body)?;
        if !is_at_end && self.body.len() < ANSWER_BYTES_MAX {
            self.head = Some(head);
            return Ok((None, left));
        }
        let whole = Whole {
            // What stands behind an answer must never be taken for the next one's.
            is_reusable: is_at_end && head.is_kept_alive && left.is_empty(),
            answer: head.with(mem::take(&mut self.body)),
        };
        Ok((Some(whole), left))
    }
}

/// Reads a head; `None` if it is not whole yet. Gives back its bytes, and what it says if it is not an interim one.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Option<Head>)>, NoAnswer> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut headers,
    );
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(_) => return Err(NO_HTTP),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let head = match status.ok_or(NO_HTTP)? {
        StatusCode::SWITCHING_PROTOCOLS => return Err(SWITCHED),
        status if status.is_informational() => None,
        status => Some(Head::new(
            status,
            response.version == Some(1),
            response.headers,
        )?),
    };
    Ok(Some((length, head)))
}

// === impl Head ===

impl Head {
    /// One of HTTP/1.1, or else of HTTP/1.0.
    fn new(status: StatusCode, is_1_1: bool, headers: &[Header<'_>]) -> Result<Self, NoAnswer> {
        let mut head = Self {
            status,
            content_type: None,
            retry_after: None,
            framing: Framing::Close,
            is_kept_alive: is_1_1,
        };
        let (mut is_framed, mut is_closed) = (false, false);
        for Header { name, value } in headers {
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("content-length") || is("transfer-encoding") {
                // One length, one `chunked`, or neither.
                if mem::replace(&mut is_framed, true) {
                    return Err(AMBIGUOUS);
                }
                head.framing = match is("content-length") {
                    true => Framing::Length(length(value).ok_or(AMBIGUOUS)?),
                    false if is_1_1 && value.eq_ignore_ascii_case(b"chunked") => Framing::Chunked {
                        chunks: Chunks::of_answer(),
                        aside: 0,
                    },
                    false => return Err(AMBIGUOUS),
                };
            } else if is("connection") {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    is_closed |= option.eq_ignore_ascii_case(b"close");
                    head.is_kept_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if is("content-type") && head.content_type.is_none() {
                head.content_type = own(value);
            } else if is("retry-after") && head.retry_after.is_none() {
                head.retry_after = own(value);
            }
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            // There is no body. An app that announces one may send it, and it must not be taken for the next answer.
            is_closed |= is_framed && !matches!(head.framing, Framing::Length(0));
            head.framing = Framing::Length(0);
        }
        head.is_kept_alive &= !is_closed;
        Ok(head)
    }

    fn with(self, body: Vec<u8>) -> Answer {
        Answer {
            status: self.status,
            content_type: self.content_type,
            retry_after: self.retry_after,
            // No more memory than there are bytes.
            body: body.into_boxed_slice().into(),
        }
    }
}

// === impl Framing ===

impl Framing {
    /// Moves what has come of a body there; gives back whether it has ended.
    fn read(&mut self, left: &mut &[u8], body: &mut Vec<u8>) -> Result<bool, NoAnswer> {
        match self {
            Self::Length(length) => {
                let data = cut_up_to(left, length);
                if body.is_empty() {
                    let whole = data.len() as u64 + *length;
                    let whole = usize::try_from(whole).unwrap_or(ANSWER_BYTES_MAX);
                    body.reserve_exact(whole.min(ANSWER_BYTES_MAX));
                }
                keep(body, data);
                Ok(*length == 0)
            }
            Self::Chunked { chunks, aside } => {
                while body.len() < ANSWER_BYTES_MAX {
                    let before = left.len();
                    let data = chunks.data(left).map_err(|Broken| BAD_CHUNK)?;
                    let Some(data) = data else {
                        *aside += before - left.len();
                        if *aside > ASIDE_BYTES_MAX {
                            return Err(BAD_CHUNK);
                        }
                        return Ok(chunks.is_over());
                    };
                    *aside = 0;
                    keep(body, data);
                }
                Ok(false)
            }
            Self::Close => {
                keep(body, mem::take(left));
                Ok(false)
            }
        }
    }
}

/// A length as it must be written (RFC 9110, 8.6).
fn length(value: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(value).ok()?;
    // Parsing would take a sign.
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().ok()).flatten()
}

/// Takes so many bytes off the front, or all of them.
fn cut<'a>(from: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (front, rest) = from.split_at_checked(bytes).unwrap_or((from, &[]));
    *from = rest;
    front
}

/// The same, and of a count of those that are to come.
fn cut_up_to<'a>(from: &mut &'a [u8], to_come: &mut u64) -> &'a [u8] {
    let front = cut(from, usize::try_from(*to_come).unwrap_or(usize::MAX));
    *to_come -= front.len() as u64;
    front
}

/// Adds to a body what there is room for.
fn keep(body: &mut Vec<u8>, data: &[u8]) {
    let room = ANSWER_BYTES_MAX - body.len();
    body.extend_from_slice(data.get(..room).unwrap_or(data));
}

/// A value in memory of its own, which those that most apps send need none of.
fn own(value: &[u8]) -> Option<HeaderValue> {
    let usual = USUAL_TYPES.iter().find(|usual| usual.as_bytes() == value);
    usual.map_or_else(
        || HeaderValue::from_bytes(value).ok(),
        |usual| Some(usual.clone()),
    )
}

#[cfg(test)]
mod tests;
