//! Takes a clean event to the app: one attempt, one honest result.
//!
//! An answer counts once all of it is there: a status whose body is cut off, a reset before its end, an unasked `101`
//! are broken answers, never a success; so is one whose length is stated twice. Redirects are not followed. Of the answer's
//! body at most 64 KiB are read; the rest of a longer one is not waited for, and its connection is not used again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use tokio::time::Instant;

use crate::keepers::breaker::Sign;
use crate::keepers::event::{Clean, Event};
use crate::keepers::metrics::AttemptResult;
use crate::keepers::store::jobs::AttemptRecord;
use crate::rules::clean::Attempt;
use crate::rules::retry::{self, Class};
use crate::words::time::Timestamp;
use crate::work::pool::{Answer, Failed, NoRootCertificates, Pool};

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

/// What is kept of the app's answer.
#[derive(Debug)]
pub struct AppAnswer {
    /// The status as the app sent it.
    pub status: StatusCode,
    /// `Content-Type`, which goes back.
    pub content_type: Option<HeaderValue>,
    /// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3), from the beginning of the attempt on.
    pub retry_after: Option<Duration>,
    /// At most [`ANSWER_BYTES_MAX`](crate::work::pool::ANSWER_BYTES_MAX).
    pub body: Bytes,
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
    /// `timeout`.
    pub async fn attempt(
        &self,
        event: &Event<Clean>,
        attempt: Attempt,
        since: Instant,
        limit: Duration,
    ) -> Attempted {
        let upstream = &event.route().upstream;
        let write_head = |into: &mut Vec<u8>| event.write_head(attempt, into);
        let exchange = self
            .pool
            .exchange(upstream, write_head, event.body(), since, limit);
        match exchange.await {
            Ok(answer) => Attempted::Answered(Box::new(AppAnswer::new(answer, attempt.at))),
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
    fn new(answer: Answer, asked_at: Timestamp) -> Self {
        let wish = |value: HeaderValue| retry::wish(value.to_str().ok()?, asked_at);
        Self {
            status: answer.status,
            content_type: answer.content_type,
            retry_after: answer.retry_after.and_then(wish),
            body: answer.body,
        }
    }
}
