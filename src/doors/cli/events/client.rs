//! Asks the admin API, and says in a sentence what went wrong.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use crate::doors::cli::events::way::Target;
use crate::doors::cli::http::{HttpClient, exchange};
use crate::doors::cli::terminal::foreign;

/// A client of one gateway.
pub struct Client {
    client: HttpClient,
    target: Target,
}

/// Why there is no answer to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers.
    Unreachable {
        /// Where.
        base: String,
        /// What happened.
        problem: String,
    },
    /// No token was shown, and one is needed.
    NoToken,
    /// The token of this reference is not the right one.
    WrongToken(String),
    /// The gateway said no, and why.
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        title: String,
    },
    /// Somebody else answers there.
    Stranger(String),
}

// === impl Client ===

impl Client {
    /// A client for that target.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn new(target: Target) -> Result<Self, String> {
        let client = target.base.client()?;
        Ok(Self { client, target })
    }

    /// What is at `path`, below the API's root.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn get(&self, path: &str) -> Result<Value, Trouble> {
        let body = self.ask(Method::GET, path, None).await?;
        self.json(&body)
    }

    /// The bytes at `path`.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn bytes(&self, path: &str) -> Result<Bytes, Trouble> {
        self.ask(Method::GET, path, None).await
    }

    /// Has something done.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let body = self.ask(Method::POST, path, body).await?;
        self.json(&body)
    }

    fn json(&self, body: &[u8]) -> Result<Value, Trouble> {
        serde_json::from_slice(body).map_err(|_| Trouble::Stranger(self.target.base.shown()))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, Trouble> {
        let request = self.request(method, path, body)?;
        let exchanged = exchange(&self.client, request, ANSWER_BYTES_MAX, TIMEOUT).await;
        match exchanged {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(self.refused(status, &body)),
            Err(problem) => Err(Trouble::Unreachable {
                base: self.target.base.shown(),
                problem,
            }),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, Trouble> {
        let uri = format!("{}/api/v1/{path}", self.target.base.url);
        let agent = concat!("passgate-events/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(USER_AGENT, agent);
        if let Some(token) = &self.target.token {
            let shown = [b"Bearer ", token.expose()].concat();
            let shown = HeaderValue::from_bytes(&shown);
            let mut shown =
                shown.map_err(|_| Trouble::WrongToken(token.reference().to_string()))?;
            shown.set_sensitive(true);
            request = request.header(AUTHORIZATION, shown);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string()));
        request
            .body(Full::new(bytes.unwrap_or_default()))
            .map_err(|_| Trouble::Refused {
                status: StatusCode::NOT_FOUND.as_u16(),
                title: "No such event is known.".to_owned(),
            })
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Trouble {
        if status == StatusCode::UNAUTHORIZED {
            return match &self.target.token {
                None => Trouble::NoToken,
                Some(token) => Trouble::WrongToken(token.reference().to_string()),
            };
        }
        let problem: Option<Value> = serde_json::from_slice(body).ok();
        let title = problem
            .as_ref()
            .and_then(|problem| problem.get("title")?.as_str());
        match title {
            Some(title) => Trouble::Refused {
                status: status.as_u16(),
                title: foreign(title),
            },
            None => Trouble::Stranger(self.target.base.shown()),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { base, problem } => write!(
                f,
                "the gateway's admin API at {base} cannot be reached: {problem}; is the gateway running?"
            ),
            Self::NoToken => f.write_str(
                "the gateway wants a token: give it with --token env:NAME or --token file:PATH",
            ),
            Self::WrongToken(reference) => {
                write!(
                    f,
                    "the token of {reference} is not the one that the gateway wants"
                )
            }
            Self::Refused { status, title } => write!(f, "the gateway answered {status}: {title}"),
            Self::Stranger(base) => write!(
                f,
                "what answers at {base} is not the admin API of passgate; is it the port of admin.listen?"
            ),
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest body of an event that can be configured, and what is said around a list.
const ANSWER_BYTES_MAX: usize = 65 << 20;
