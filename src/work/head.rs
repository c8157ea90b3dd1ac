//! What a request's head must be for its route, before the body is read.
//!
//! A header that decides something is there once, since the first and the last of two may both be right
//! for somebody; and `Connection` must not name it, since that would tell a hop to take it away.

use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    HeaderName, TRANSFER_ENCODING,
};

use crate::rules::config::Route;
use crate::rules::framing::{BodyLength, Flaw};
use crate::words::message::Head;
use crate::words::outcome::{Malformed, Outcome};
use crate::work::answer::Ending;

/// Headers that decide something on every route.
static DECIDING: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_ENCODING, AUTHORIZATION, HOST, EXPECT];

/// What the guard of the connection found out about a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadNote {
    /// How much body was announced.
    pub length: BodyLength,
    /// Why the head was refused; it stands in for one that could not be passed on.
    pub flaw: Option<Flaw>,
    /// Whether it came over TLS.
    pub is_secure: bool,
}

// === impl HeadNote ===

impl HeadNote {
    /// The note of a head that came in plain text.
    pub const fn new(length: BodyLength, flaw: Option<Flaw>) -> Self {
        Self {
            length,
            flaw,
            is_secure: false,
        }
    }
}

/// Checks method, headers and announced length.
///
/// # Errors
/// How the request ends.
pub fn check(head: &Head, route: &Route, length: BodyLength) -> Result<(), Ending> {
    let kind = route.provider.kind();
    if !kind.methods.contains(&head.method) {
        let mut ending = Ending::of(Outcome::Method);
        ending.allow = kind.methods;
        return Err(ending);
    }
    let deciding = || DECIDING.iter().chain(kind.deciding_headers.iter().copied());
    // Where no name is there twice, which of them decides something need not be asked.
    let has_doubles = head.headers.len() > head.headers.keys_len();
    if has_doubles && deciding().any(|name| head.single(name).is_err()) {
        return Err(malformed(
            Malformed::Request,
            "a deciding header is not single",
        ));
    }
    let framing = || [CONTENT_LENGTH, TRANSFER_ENCODING];
    if connection_names(head).any(|name| {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        framing().iter().any(|other| is(other.as_str()))
            || deciding().any(|other| is(other.as_str()))
    }) {
        return Err(malformed(
            Malformed::Request,
            "Connection names a deciding header",
        ));
    }
    let is = |name, value: &str| {
        head.headers
            .get(name)
            .is_none_or(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if !is(EXPECT, "100-continue") {
        return Err(malformed(Malformed::Expectation, "unknown expectation"));
    }
    if head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().contains(&b','))
    {
        return Err(malformed(Malformed::Request, "Content-Type is not single"));
    }
    if !is(CONTENT_ENCODING, "identity") {
        return Err(Ending::of(Outcome::MediaType).because("the body is encoded"));
    }
    check_length(head, route, length)
}

fn check_length(head: &Head, route: &Route, length: BodyLength) -> Result<(), Ending> {
    let has_body = match length {
        BodyLength::Exact(bytes) => {
            if usize::try_from(bytes).map_or(true, |bytes| bytes > route.max_body) {
                return Err(Ending::of(Outcome::TooLarge));
            }
            bytes > 0
        }
        BodyLength::Chunked => true,
        BodyLength::Unstated if route.provider.kind().needs_body => {
            return Err(malformed(
                Malformed::LengthRequired,
                "the length of the body is not stated",
            ));
        }
        BodyLength::Unstated => false,
    };
    // Servers differ in what they make of the body of a GET, so the app must never see one.
    match has_body && head.method == Method::GET {
        true => Err(malformed(Malformed::Request, "a GET with a body")),
        false => Ok(()),
    }
}

/// The names in `Connection`, in whatever case.
fn connection_names(head: &Head) -> impl Iterator<Item = &[u8]> {
    head.headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn malformed(kind: Malformed, reason: &'static str) -> Ending {
    Ending::of(Outcome::Malformed(kind)).because(reason)
}
