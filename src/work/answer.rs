//! The answer that a sender gets: status, headers and body of one [`Ending`].
//!
//! Refusals are `application/problem+json` (RFC 9457) in a few fixed words; nothing that the sender wrote
//! comes back to it. 429 and 503 always say when to come again. The rate-limit headers are all written from
//! one reading of one limiter.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use crate::keepers::limit::Standing;
use crate::words::composed::Composer;
use crate::words::message::RequestId;
use crate::words::outcome::Outcome;
use crate::words::time::{Timestamp, whole_secs};

use crate::work::forward::AppAnswer;

/// How a request ended, and what the answer says besides.
#[derive(Debug)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// The true reason, for the log.
    pub reason: Option<Cow<'static, str>>,
    /// What the app answered, where that goes back.
    pub app: Option<Box<AppAnswer>>,
    /// When to come again; a default stands in where one is needed.
    pub retry_after: Option<Duration>,
    /// The methods that the route takes, on 405.
    pub allow: &'static [Method],
    /// The limiter that the rate-limit headers tell of, if it is not the route's.
    pub standing: Option<Box<Standing>>,
    /// The connection ends with this answer.
    pub closes: bool,
}

/// The answer's `Content-Type` for a refusal.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PASSGATE_OUTCOME: HeaderName = HeaderName::from_static("passgate-outcome");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Bytes that the values of nearly every answer have room in.
const VALUES_USUALLY: usize = 256;

/// A fault of our own is usually over by then.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);

// === impl Ending ===

impl Ending {
    /// An ending with nothing more to say than its outcome.
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            reason: None,
            app: None,
            retry_after: None,
            allow: &[],
            standing: None,
            closes: false,
        }
    }

    /// The same with the true reason, for the log.
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The same with this reason, where none is known yet.
    pub fn because_unless_said(self, reason: impl Into<Cow<'static, str>>) -> Self {
        match self.reason {
            Some(_) => self,
            None => self.because(reason),
        }
    }

    /// The same, ending the connection: what follows on it must not be read as a request.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The response. `route_quota` is where the route's quota stands, if it has one; of `room` nothing is used
    /// but the memory.
    pub fn into_response(
        self,
        mut room: HeaderMap,
        request_id: RequestId,
        route_quota: Option<Standing>,
        now: Timestamp,
    ) -> Response<Full<Bytes>> {
        let status = self.outcome.status();
        let (content_type, body) = match (self.app, self.outcome.is_accepted()) {
            (Some(app), _) => (app.content_type, app.body),
            (None, true) => (Some(TEXT), Bytes::from_static(b"OK\n")),
            (None, false) => (Some(PROBLEM), problem(self.outcome)),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        room.clear();
        *response.headers_mut() = room;
        let headers = response.headers_mut();
        headers.reserve(12);
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(
            PASSGATE_OUTCOME,
            HeaderValue::from_static(self.outcome.label()),
        );
        let mut composer = Composer::with_room(VALUES_USUALLY);
        insert(headers, X_REQUEST_ID, composer.value([request_id.as_str()]));
        if !self.allow.is_empty() {
            let allow: Vec<&str> = self.allow.iter().map(Method::as_str).collect();
            insert(headers, ALLOW, composer.value([allow.join(", ")]));
        }
        let standing = self.standing.map(|standing| *standing).or(route_quota);
        if let Some(standing) = &standing {
            tell_standing(headers, &mut composer, standing, now);
        }
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let wait = self.retry_after.unwrap_or(RETRY_AFTER_DEFAULT);
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_secs(wait).max(1)));
        }
        if self.closes {
            headers.insert(CONNECTION, CLOSE);
        }
        response
    }
}

/// `X-RateLimit-*` as the platforms write them, and the IETF draft's fields, from the same numbers.
fn tell_standing(
    headers: &mut HeaderMap,
    composer: &mut Composer,
    standing: &Standing,
    now: Timestamp,
) {
    let Standing {
        quota,
        remaining,
        full_in,
        ..
    } = standing;
    headers.insert(X_RATELIMIT_LIMIT, quota.limit.clone());
    insert(headers, X_RATELIMIT_REMAINING, composer.number(*remaining));
    let reset = composer.number(standing.full_at(now));
    insert(headers, X_RATELIMIT_RESET, reset);
    insert(headers, RATELIMIT_POLICY, quota.policy.clone());
    let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
    let full_in = second.format(whole_secs(*full_in));
    let remaining = first.format(*remaining);
    let limit = composer.value(["\"", &quota.name, "\";r=", remaining, ";t=", full_in]);
    insert(headers, RATELIMIT, limit);
}

/// Sets a header that we compose of our own words and numbers.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

fn problem(outcome: Outcome) -> Bytes {
    json!({
        "title": outcome.title(),
        "status": outcome.status().as_u16(),
        "code": outcome.label(),
    })
    .to_string()
    .into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keepers::limit::Announced;

    fn standing(remaining: u32, full_in_ms: u64) -> Standing {
        Standing {
            quota: Arc::new(Announced::new("r".into(), 10, Duration::from_secs(5))),
            remaining,
            full_in: Duration::from_millis(full_in_ms),
            next_in: Duration::ZERO,
        }
    }

    fn header(response: &Response<Full<Bytes>>, name: &str) -> String {
        response.headers()[name].to_str().unwrap().to_owned()
    }

    #[test]
    fn every_rate_limit_header_tells_of_one_state() {
        let now = Timestamp::from_millis(1_000_200);
        let response = Ending::of(Outcome::Duplicate).into_response(
            HeaderMap::new(),
            RequestId::new(1),
            Some(standing(7, 1_300)),
            now,
        );
        assert_eq!(header(&response, "x-ratelimit-limit"), "10");
        assert_eq!(header(&response, "x-ratelimit-remaining"), "7");
        assert_eq!(header(&response, "x-ratelimit-reset"), "1002");
        assert_eq!(header(&response, "ratelimit-policy"), "\"r\";q=10;w=5");
        assert_eq!(header(&response, "ratelimit"), "\"r\";r=7;t=2");
    }

    #[test]
    fn nothing_of_the_message_whose_memory_is_used_comes_back() {
        let mut room = HeaderMap::new();
        room.insert("set-cookie", HeaderValue::from_static("a=b"));
        room.append(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        let response = Ending::of(Outcome::Queued).into_response(
            room,
            RequestId::new(1),
            None,
            Timestamp::from_secs(0),
        );
        assert!(!response.headers().contains_key("set-cookie"));
        assert_eq!(
            header(&response, "content-type"),
            "text/plain; charset=utf-8"
        );
    }

    #[test]
    fn a_429_and_a_503_always_say_when_to_come_again_and_never_at_once() {
        let now = Timestamp::from_secs(0);
        for (outcome, wait, expected) in [
            (Outcome::RateLimited, Some(Duration::ZERO), "1"),
            (
                Outcome::RateLimited,
                Some(Duration::from_millis(1_001)),
                "2",
            ),
            (Outcome::StoreUnavailable, None, "5"),
            (
                Outcome::UpstreamStatus(StatusCode::SERVICE_UNAVAILABLE),
                None,
                "5",
            ),
        ] {
            let mut ending = Ending::of(outcome);
            ending.retry_after = wait;
            let response = ending.into_response(HeaderMap::new(), RequestId::new(1), None, now);
            assert_eq!(header(&response, "retry-after"), expected, "{outcome:?}");
        }
        let response = Ending::of(Outcome::Unauthentic).into_response(
            HeaderMap::new(),
            RequestId::new(1),
            None,
            now,
        );
        assert!(!response.headers().contains_key("retry-after"));
    }
}
