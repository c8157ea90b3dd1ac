//! Takes a clean event to the app: one attempt, one honest result.
//!
//! An answer counts once all of it is there: a status whose body is cut off, a reset, an unasked `101` are
//! broken answers, never a success; so is one whose length is stated twice. Redirects are not followed. Of the answer's body at most 64 KiB are
//! read; the rest of a longer one is not waited for, and its connection is not used again.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
};
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};
use tokio::time::Instant;

use crate::keepers::breaker::Sign;
use crate::keepers::event::{Clean, Event};
use crate::keepers::metrics::AttemptResult;
use crate::keepers::store::jobs::AttemptRecord;
use crate::rules::clean::Attempt;
use crate::rules::retry::{self, Class};
use crate::words::time::Timestamp;
use crate::work::body::Chunks;
use crate::work::pool::{Failed, NoRootCertificates, Pool, reason};

/// Bytes of the app's answer that go back to the provider.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The `Content-Type` of most answers.
static USUAL_TYPES: [HeaderValue; 5] = [
    HeaderValue::from_static("application/json"),
    HeaderValue::from_static("application/json; charset=utf-8"),
    HeaderValue::from_static("text/plain"),
    HeaderValue::from_static("text/plain; charset=utf-8"),
    HeaderValue::from_static("text/html; charset=utf-8"),
];

/// Takes events to all upstreams.
#[derive(Clone)]
pub struct Forwarder {
    pool: Arc<Pool>,
}

/// How one attempt ended.
#[derive(Debug)]
pub enum Attempted {
    /// The app answered, and the answer arrived whole. It is handed on over and over, so it lies apart.
    Answered(Box<AppAnswer>),
    /// There was no connection, or what came over it was no whole answer.
    Broken(String),
    /// Nothing whole came within the attempt's time. The app may have acted all the same.
    TimedOut,
}

/// What is kept of the app's answer, in memory of its own.
///
/// # Why
/// What came over a connection lies in 8 KiB that it was read into, and whatever points there keeps them all. An event is
/// settled long after its answer was read, and as many as are settled at one time would each keep theirs.
#[derive(Debug)]
pub struct AppAnswer {
    /// The status as the app sent it.
    pub status: StatusCode,
    /// `Content-Type`, which goes back.
    pub content_type: Option<HeaderValue>,
    /// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3), from the beginning of the attempt on.
    pub retry_after: Option<Duration>,
    /// At most [`ANSWER_BYTES_MAX`].
    pub body: Bytes,
    /// No headers, but memory for some.
    pub room: HeaderMap,
}

// === impl Forwarder ===

impl Forwarder {
    /// A forwarder without connections; with `tls` the system's root certificates are read.
    ///
    /// # Errors
    /// If there are none and some upstream needs them.
    pub fn new(tls: bool) -> Result<Self, NoRootCertificates> {
        Pool::new(tls).map(|pool| Self { pool })
    }

    /// Whether it can speak to upstreams that use TLS.
    pub fn has_tls(&self) -> bool {
        self.pool.has_tls()
    }

    /// Makes one attempt that begins now, at `since`, and takes no longer than `limit`, which is at most the route's
    /// `timeout`. `room` is headers that nobody needs any more, for their memory.
    pub async fn attempt(
        &self,
        event: &Event<Clean>,
        attempt: Attempt,
        since: Instant,
        limit: Duration,
        room: &mut HeaderMap,
    ) -> Attempted {
        let request = || event.request(attempt, mem::take(room));
        let read = |response| AppAnswer::read(response, attempt.at);
        let upstream = &event.route().upstream;
        let exchange = self.pool.exchange(upstream, request, since, limit, read);
        match exchange.await {
            Ok(answer) => Attempted::Answered(answer),
            Err(Failed::Broken(reason)) => Attempted::Broken(reason),
            Err(Failed::TimedOut) => Attempted::TimedOut,
        }
    }
}

// === impl Attempted ===

impl Attempted {
    /// The value of the metric's `result` label.
    pub fn result(&self) -> AttemptResult {
        match self {
            Self::Answered(answer) if answer.status.is_success() => AttemptResult::Delivered,
            Self::Answered(_) => AttemptResult::Status,
            Self::Broken(_) => AttemptResult::Unreachable,
            Self::TimedOut => AttemptResult::Timeout,
        }
    }

    /// What it means for its event.
    pub fn class(&self) -> Class {
        match self {
            Self::Answered(answer) => Class::of(answer.status),
            Self::Broken(_) | Self::TimedOut => Class::Retry,
        }
    }

    /// What it says of the app.
    pub fn sign(&self) -> Sign {
        match self {
            Self::Answered(answer) if !Class::is_outage(answer.status) => Sign::Alive,
            Self::Answered(_) | Self::Broken(_) | Self::TimedOut => Sign::Away,
        }
    }

    /// The reason as the log says it.
    pub fn reason(&self) -> String {
        match self {
            Self::Answered(answer) => format!("the app answered {}", answer.status.as_u16()),
            Self::Broken(reason) => reason.clone(),
            Self::TimedOut => "the app did not answer in time".to_owned(),
        }
    }

    /// When the app wants to be asked again, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered(answer) => answer.retry_after,
            Self::Broken(_) | Self::TimedOut => None,
        }
    }

    /// How long the app wants to be left alone by everybody, where it says so.
    pub fn wished_rest(&self) -> Option<Duration> {
        match self {
            Self::Answered(answer) if Class::asks_for_rest(answer.status) => answer.retry_after,
            Self::Answered(_) | Self::Broken(_) | Self::TimedOut => None,
        }
    }

    /// What is kept of it.
    pub fn record(&self, number: u32, at: Timestamp, took: Duration) -> AttemptRecord {
        AttemptRecord {
            number,
            at,
            status: match self {
                Self::Answered(answer) => Some(answer.status.as_u16()),
                Self::Broken(_) | Self::TimedOut => None,
            },
            error: match self {
                Self::Answered(_) => None,
                Self::Broken(_) | Self::TimedOut => Some(self.reason()),
            },
            took,
        }
    }
}

// === impl AppAnswer ===

impl AppAnswer {
    /// Reads an answer whose head has come.
    ///
    /// # Why
    /// A head is large, so what is kept of it is taken out before anything is waited for.
    fn read(
        response: Response<Incoming>,
        asked_at: Timestamp,
    ) -> impl Future<Output = Result<Box<Self>, String>> {
        let (parts, body) = response.into_parts();
        let head = Self::of_head(parts, asked_at);
        async move {
            let mut answer = head?;
            answer.body = read_body(body).await?;
            Ok(answer)
        }
    }

    /// An answer with this head, and without its body.
    fn of_head(parts: Parts, asked_at: Timestamp) -> Result<Box<Self>, String> {
        if parts.status.is_informational() {
            return Err("the app switched protocols without being asked".to_owned());
        }
        let mut headers = parts.headers;
        if !is_framed_once(&headers) {
            return Err("the length of the app's answer is ambiguous".to_owned());
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(own);
        let retry_after = headers.get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| retry::wish(value.to_str().ok()?, asked_at));
        headers.clear();
        Ok(Box::new(Self {
            status: parts.status,
            content_type,
            retry_after,
            body: Bytes::new(),
            room: headers,
        }))
    }
}

/// The first [`ANSWER_BYTES_MAX`] of a body, in memory of their own.
async fn read_body(mut body: Incoming) -> Result<Bytes, String> {
    let mut read = Chunks::None;
    while read.len() < ANSWER_BYTES_MAX && !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        // Trailers are nobody's business.
        if let Ok(mut data) = frame.map_err(|error| reason(&error))?.into_data() {
            data.truncate(ANSWER_BYTES_MAX - read.len());
            read = read.and(data, 0);
        }
    }
    // No more of it than there is: pieces that were put together have room for as much again.
    Ok(Bytes::copy_from_slice(&read.into_bytes()))
}

/// A value in memory of its own, which those that most apps send need none of.
fn own(value: &HeaderValue) -> Option<HeaderValue> {
    let usual = USUAL_TYPES.iter().find(|usual| *usual == value);
    usual.map_or_else(
        || HeaderValue::from_bytes(value.as_bytes()).ok(),
        |usual| Some(usual.clone()),
    )
}

/// One length, one `chunked`, or neither. hyper reads more than that in a way of its own, and a connection
/// on which the app and we disagree about an answer's end gives the next event an answer that is not its.
fn is_framed_once(headers: &HeaderMap) -> bool {
    let (mut lengths, mut codings) = (0, 0);
    for (name, value) in headers {
        if name == CONTENT_LENGTH {
            lengths += 1;
        } else if name == TRANSFER_ENCODING {
            if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return false;
            }
            codings += 1;
        }
    }
    lengths + codings <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_its_own_is_the_same_value() {
        let odd = [
            &b"text/plain;charset=utf-8"[..],
            b"",
            b"\xff\xfe",
            b"Application/JSON",
        ];
        let odd = odd.map(|odd| HeaderValue::from_bytes(odd).unwrap());
        for value in USUAL_TYPES.iter().chain(&odd) {
            assert_eq!(own(value).as_ref(), Some(value));
        }
    }
}
