//! Carries one request over HTTP and says what came back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};

use crate::doors::cli::http::{self, HttpClient, innermost};
use crate::doors::cli::send::TRY_TIMEOUT;
use crate::rules::provider::Sample;

/// A URL that events can be sent to.
#[derive(Clone, Debug)]
pub struct Target {
    scheme_and_host: String,
    path: String,
    query: String,
    is_https: bool,
}

/// A whole request, to be sent as often as needed with the same bytes.
#[derive(Clone, Debug)]
pub struct Parcel {
    method: Method,
    uri: String,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

/// What became of one try.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, or why there is none.
    pub status: Result<StatusCode, String>,
    /// The value of `Passgate-Outcome`, where the answer has a plain one.
    pub outcome: Option<String>,
    /// From the first byte sent to the last one received.
    pub took: Duration,
}

/// An HTTP client.
pub struct Courier {
    client: HttpClient,
}

// === impl Target ===

impl Target {
    /// Takes an absolute URL of either scheme.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(uri: &Uri) -> Result<Self, String> {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(
                "--to needs a whole URL, like http://127.0.0.1:8080/webhooks/walletwerk".to_owned(),
            );
        };
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err("--to can be http:// or https:// only".to_owned()),
        };
        if authority.as_str().contains('@') {
            return Err("--to cannot hold a user or password".to_owned());
        }
        Ok(Self {
            scheme_and_host: format!("{scheme}://{authority}"),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            is_https,
        })
    }

    /// The request that carries `sample` here.
    pub fn parcel(&self, sample: Sample) -> Parcel {
        let path = match sample.path_suffix.is_empty() {
            true => self.path.clone(),
            false => format!("{}{}", self.path.trim_end_matches('/'), sample.path_suffix),
        };
        let queries: Vec<&str> = [self.query.as_str(), sample.query.as_str()]
            .into_iter()
            .filter(|query| !query.is_empty())
            .collect();
        let mark = if queries.is_empty() { "" } else { "?" };
        Parcel {
            method: sample.method,
            uri: format!("{}{path}{mark}{}", self.scheme_and_host, queries.join("&")),
            headers: sample.headers,
            body: sample.body.into(),
        }
    }
}

// === impl Courier ===

impl Courier {
    /// A client for that target; the system's certificates are only read for https.
    ///
    /// # Errors
    /// Why TLS cannot be used.
    pub fn new(target: &Target) -> Result<Self, String> {
        let client = http::client(target.is_https)?;
        Ok(Self { client })
    }

    /// Sends the parcel once, and waits as long as a platform does.
    pub async fn carry(&self, parcel: &Parcel) -> Answer {
        let start = Instant::now();
        let answer = tokio::time::timeout(TRY_TIMEOUT, self.exchange(parcel)).await;
        let (status, outcome) = match answer {
            Ok(Ok((status, outcome))) => (Ok(status), outcome),
            Ok(Err(problem)) => (Err(problem), None),
            Err(_) => (
                Err(format!("no answer in {} s", TRY_TIMEOUT.as_secs())),
                None,
            ),
        };
        Answer {
            status,
            outcome,
            took: start.elapsed(),
        }
    }

    async fn exchange(&self, parcel: &Parcel) -> Result<(StatusCode, Option<String>), String> {
        let request = parcel.request()?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| innermost(&error))?;
        let status = response.status();
        let outcome = outcome(response.headers());
        // Read to its end, as a platform does before it counts an answer.
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        body.collect().await.map_err(|error| innermost(&*error))?;
        Ok((status, outcome))
    }
}

// === impl Parcel ===

impl Parcel {
    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.uri);
        for (name, value) in &self.headers {
            request = request.header(
                name,
                HeaderValue::from_bytes(value.as_bytes()).map_err(
                    // Only the name: the value may be the credential.
                    |_| format!("no header can carry the value of {name}"),
                )?,
            );
        }
        request
            .header(
                USER_AGENT,
                concat!("passgate-send/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(self.body.clone()))
            .map_err(|_| {
                "this makes no valid request; is the secret a possible path segment?".to_owned()
            })
    }
}

/// The label of the outcome. Anything else than a label is left out, since it goes to a terminal.
fn outcome(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("passgate-outcome")?.to_str().ok()?;
    let is_label = value.len() <= 40 && value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_label.then(|| value.to_owned())
}

/// Platforms do not read long answers either.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(to: &str, path_suffix: &str, query: &str) -> String {
        let target = Target::new(&to.parse().unwrap()).unwrap();
        let parcel = target.parcel(Sample {
            method: Method::GET,
            path_suffix: path_suffix.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        });
        parcel.uri
    }

    #[test]
    fn the_samples_path_and_query_are_appended_to_the_url() {
        for (to, suffix, query, whole) in [
            ("http://x:1/a", "", "", "http://x:1/a"),
            ("http://x:1/a", "/s", "q=1", "http://x:1/a/s?q=1"),
            ("http://x:1/a/", "/s", "q=1", "http://x:1/a/s?q=1"),
            ("http://x:1", "/s", "", "http://x:1/s"),
            ("https://x/a?b=2", "", "q=1", "https://x/a?b=2&q=1"),
        ] {
            assert_eq!(uri(to, suffix, query), whole);
        }
    }

    #[test]
    fn refuses_what_is_no_url_to_send_to() {
        for to in ["/webhooks", "ftp://x/", "http://user:password@x/"] {
            assert!(Target::new(&to.parse().unwrap()).is_err(), "{to}");
        }
    }
}
