//! Answers to the operator: JSON, text, bytes, and problems.
//!
//! Every answer says that it is not to be kept and not to be guessed at; none allows another origin to read
//! it. A problem is `application/problem+json` (RFC 9457) with a title that says what to do otherwise.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::keepers::store::StoreError;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// Why there is no other answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    title: String,
    parameter: Option<String>,
    more: Option<(&'static str, Vec<String>)>,
    header: Option<(HeaderName, HeaderValue)>,
}

// === impl Problem ===

impl Problem {
    /// A problem of this status; the title is a sentence for a person.
    pub fn new(status: StatusCode, title: impl Into<String>) -> Self {
        Self {
            status,
            title: title.into(),
            parameter: None,
            more: None,
            header: None,
        }
    }

    /// Something wrong with a parameter; `problem` completes "the parameter …".
    pub fn parameter(name: &str, problem: &str) -> Self {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let mut new = Self::new(
            StatusCode::BAD_REQUEST,
            format!("The parameter {name:?} {problem}."),
        );
        new.parameter = Some(name);
        new
    }

    /// The same, to be asked again after `wait`.
    pub fn after(mut self, wait: Duration) -> Self {
        self.header = Some((RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1))));
        self
    }

    /// The same with a list of what else there is to say.
    pub fn with(mut self, name: &'static str, list: Vec<String>) -> Self {
        self.more = Some((name, list));
        self
    }

    /// There is no such thing.
    pub fn not_found(title: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, title)
    }

    /// The thing's state does not allow it.
    pub fn conflict(title: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, title)
    }

    /// It is not for this caller.
    pub fn forbidden(title: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, title)
    }

    /// A token is needed, or another one.
    pub fn unauthorized(title: impl Into<String>) -> Self {
        let mut new = Self::new(StatusCode::UNAUTHORIZED, title);
        new.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        new
    }

    /// Too often; again after `wait`.
    pub fn too_many(title: impl Into<String>, wait: Duration) -> Self {
        let mut new = Self::new(StatusCode::TOO_MANY_REQUESTS, title);
        new.header = Some((RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1)));
        new
    }

    /// Only these methods are for this path.
    pub fn method(allowed: &'static str) -> Self {
        let mut new = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("Only {allowed} can be used here."),
        );
        new.header = Some((ALLOW, HeaderValue::from_static(allowed)));
        new
    }

    /// As an answer.
    pub fn into_answer(self) -> Answer {
        let mut body = json!({ "title": self.title, "status": self.status.as_u16() });
        if let (Some(name), Some(fields)) = (self.parameter, body.as_object_mut()) {
            fields.insert("parameter".to_owned(), name.into());
        }
        if let (Some((name, list)), Some(fields)) = (self.more, body.as_object_mut()) {
            fields.insert(name.to_owned(), list.into());
        }
        let mut answer = answer(
            self.status,
            "application/problem+json",
            format!("{body}\n").into(),
        );
        if let Some((name, value)) = self.header {
            answer.headers_mut().insert(name, value);
        }
        answer
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let mut new = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("It cannot be done at the moment: {error}."),
        );
        new.header = Some((RETRY_AFTER, HeaderValue::from(1)));
        new
    }
}

/// 200 with JSON.
pub fn json(body: &Value) -> Answer {
    json_with(StatusCode::OK, body)
}

/// JSON under this status.
pub fn json_with(status: StatusCode, body: &Value) -> Answer {
    answer(status, "application/json", format!("{body}\n").into())
}

/// A body of this type.
pub fn answer(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Characters of a parameter's name that are repeated.
const NAME_CHARS_MAX: usize = 64;
