//! What a request asks for: the parameters of its query, and the JSON of its body.
//!
//! Nothing is guessed: what is unknown, doubled or ill-formed is refused by its name.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::{Map, Value};

use crate::doors::admin::answer::Problem;
use crate::rules::filter::{EventState, Filter, NotTaken};
use crate::rules::reader::units::{self, Rate};

/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// A body has this long to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Entries of a list where nothing is said.
const LIMIT_DEFAULT: usize = 50;

/// Entries of a list at most.
pub const LIMIT_MAX: usize = 500;

/// The parameters of a query, each there once.
#[derive(Debug)]
pub struct Parameters(Vec<(String, String)>);

/// What `POST replays` asks for.
#[derive(Debug)]
pub struct ReplayOrder {
    /// Which events.
    pub filter: Filter,
    /// How fast.
    pub rate: Option<Rate>,
}

// === impl Parameters ===

impl Parameters {
    /// Reads a query.
    ///
    /// # Errors
    /// If a parameter is not among `known`, or there twice.
    pub fn read(query: Option<&str>, known: &[&[&str]]) -> Result<Self, Problem> {
        let mut read: Vec<(String, String)> = Vec::new();
        let query = query.unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if !known.iter().any(|known| known.contains(&name.as_str())) {
                return Err(Problem::parameter(&name, "is not known here"));
            }
            if read.iter().any(|(other, _)| *other == name) {
                return Err(Problem::parameter(&name, "is there twice"));
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    /// The value of a parameter.
    pub fn find(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The filter that its parameters make.
    ///
    /// # Errors
    /// If a value makes no sense.
    pub fn filter(&self) -> Result<Filter, Problem> {
        let mut filter = Filter::default();
        for (name, value) in &self.0 {
            match filter.set(name, value) {
                // What the filter does not know is for the list itself.
                Ok(()) | Err(NotTaken::Unknown) => {}
                Err(NotTaken::Value(problem)) => return Err(Problem::parameter(name, &problem)),
            }
        }
        Ok(filter)
    }

    /// `limit`.
    ///
    /// # Errors
    /// If it is not a number within its bounds.
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.find("limit") else {
            return Ok(LIMIT_DEFAULT);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let limit = text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.filter(|_| is_number).ok_or_else(|| {
            let problem = format!("is no whole number from 1 to {LIMIT_MAX}");
            Problem::parameter("limit", &problem)
        })
    }
}

// === impl ReplayOrder ===

impl ReplayOrder {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let fields = object(body)?;
        let mut order = Self {
            filter: Filter::default(),
            rate: None,
        };
        if !fields.contains_key("filter") {
            return Err(Problem::parameter(
                "filter",
                "is missing; write {} for all events that can be replayed",
            ));
        }
        for (name, value) in &fields {
            match (name.as_str(), value) {
                ("filter", Value::Object(parameters)) => order.filter = filter(parameters)?,
                ("filter", _) => return Err(Problem::parameter(name, "is no object")),
                ("rate", value) => order.rate = rate(value)?,
                _ => return Err(Problem::parameter(name, "is not known here")),
            }
        }
        Ok(order)
    }
}

/// Reads the body of a request that needs none: nothing, or an empty object.
///
/// # Errors
/// If there is more.
pub fn nothing(body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    match object(body)?.keys().next() {
        Some(name) => Err(Problem::parameter(name, "is not known here")),
        None => Ok(()),
    }
}

/// Takes a body in.
///
/// # Errors
/// If it is too large, too slow or cut off.
pub async fn body(incoming: Incoming) -> Result<Bytes, Problem> {
    let reading = Limited::new(incoming, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is larger than 64 KiB.",
        )),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "The body was cut off.",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body did not arrive in time.",
        )),
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let title = format!("The body is no JSON object: {error}.");
        Problem::new(StatusCode::BAD_REQUEST, title)
    })
}

fn filter(parameters: &Map<String, Value>) -> Result<Filter, Problem> {
    let mut filter = Filter::default();
    for (name, value) in parameters {
        let full_name = format!("filter.{name}");
        let wrong = |problem: &str| Problem::parameter(&full_name, problem);
        let value = value.as_str().ok_or_else(|| wrong("is no text"))?;
        match filter.set(name, value) {
            Ok(()) => {}
            Err(NotTaken::Unknown) => return Err(wrong("is not known here")),
            Err(NotTaken::Value(problem)) => return Err(wrong(&problem)),
        }
    }
    match filter.state {
        Some(EventState::Queued | EventState::InFlight) => Err(Problem::parameter(
            "filter.state",
            "names events that are on their way already; replay delivered or dead_letter ones",
        )),
        Some(EventState::Delivered | EventState::DeadLetter | EventState::Parked) | None => {
            Ok(filter)
        }
    }
}

fn rate(value: &Value) -> Result<Option<Rate>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value
        .as_str()
        .ok_or_else(|| Problem::parameter("rate", "is no text such as \"10/s\""))?;
    let rate = units::rate(text).map_err(|problem| {
        let problem = format!("is wrong: {problem}");
        Problem::parameter("rate", &problem)
    })?;
    Ok(Some(rate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The parameter that a problem names.
    fn named(problem: Problem) -> String {
        let answer = problem.into_answer();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let body = runtime.unwrap().block_on(answer.into_body().collect());
        let body: Value = serde_json::from_slice(&body.unwrap().to_bytes()).unwrap();
        body["parameter"].as_str().unwrap_or_default().to_owned()
    }

    fn read(query: &str) -> Result<(Filter, usize), Problem> {
        let parameters = Parameters::read(Some(query), &[&Filter::NAMES, &["limit", "cursor"]])?;
        Ok((parameters.filter()?, parameters.limit()?))
    }

    #[test]
    fn a_query_becomes_a_filter_and_a_limit() {
        let (filter, limit) = read("q=a%20b+c&state=parked&limit=500&cursor=x").unwrap();
        assert_eq!(filter.text.as_deref(), Some("a b c"));
        assert_eq!(filter.state, Some(EventState::Parked));
        assert_eq!(limit, 500);
        assert_eq!(read("").unwrap(), (Filter::default(), LIMIT_DEFAULT));
    }

    #[test]
    fn what_is_wrong_with_a_query_is_named() {
        for (query, name) in [
            ("colour=red", "colour"),
            ("state=dead", "state"),
            ("since=2026-01-01T00:00:00+02:00", "since"),
            ("until=", "until"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=-1", "limit"),
            ("limit=%2B5", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("route=a&route=b", "route"),
        ] {
            assert_eq!(named(read(query).unwrap_err()), name, "{query}");
        }
    }

    #[test]
    fn a_replay_is_ordered_with_a_filter_and_perhaps_a_rate() {
        let read = |body: Value| ReplayOrder::read(body.to_string().as_bytes());
        let order = read(json!({"filter": {"state": "dead_letter"}, "rate": "10/s"})).unwrap();
        assert_eq!(order.filter.state, Some(EventState::DeadLetter));
        assert_eq!(order.rate.unwrap().count.get(), 10);
        assert!(read(json!({"filter": {}})).unwrap().rate.is_none());
        for (body, name) in [
            (json!({}), "filter"),
            (json!({"filter": "all"}), "filter"),
            (json!({"filter": {"limit": "5"}}), "filter.limit"),
            (json!({"filter": {"route": 5}}), "filter.route"),
            (json!({"filter": {"state": "queued"}}), "filter.state"),
            (json!({"filter": {}, "rate": 10}), "rate"),
            (json!({"filter": {}, "rate": "0/s"}), "rate"),
            (json!({"filter": {}, "speed": "10/s"}), "speed"),
        ] {
            assert_eq!(named(read(body.clone()).unwrap_err()), name, "{body}");
        }
        for body in [&b""[..], b"[]", b"{", b"null"] {
            assert_eq!(named(ReplayOrder::read(body).unwrap_err()), "");
        }
    }

    #[test]
    fn a_body_where_none_is_needed_may_be_an_empty_object() {
        assert_eq!(nothing(b""), Ok(()));
        assert_eq!(nothing(b" {} "), Ok(()));
        assert_eq!(named(nothing(br#"{"rate":"1/s"}"#).unwrap_err()), "rate");
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".{0,80}") {
            let _ = read(&query);
        }

        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (ReplayOrder::read(&body), nothing(&body));
        }

        #[test]
        fn what_a_filter_writes_its_query_reads_back(text in ".{1,20}", route in ".{1,20}") {
            let filter = Filter { text: Some(text), route: Some(route), ..Filter::default() };
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(filter.parameters())
                .finish();
            prop_assert_eq!(read(&query), Ok((filter, LIMIT_DEFAULT)));
        }
    }
}
