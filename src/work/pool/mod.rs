//! The connections to apps: made when one is needed, used by one event at a time, and kept for a moment.
//!
//! # Why
//! A pooled client off the shelf has a task for each connection: every exchange is handed over to it and back,
//! through two channels and the runtime's queue, and each hand-over costs as much as what is done in between. And it
//! makes maps of headers of which nobody asks for more than three. Here the task of the event writes its request and
//! reads the answer by itself.

mod answer;
mod connection;
mod resolver;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

pub use crate::work::pool::answer::{ANSWER_BYTES_MAX, Answer};
use crate::work::pool::connection::{Connection, Unanswered};
use crate::work::pool::resolver::CheckedResolver;

/// Connecting takes no longer than this, name and TLS included in the route's `timeout` all the same.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Upstreams close idle connections after 5 s (Node's default); 4 s keeps us on the safe side.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// So often it is looked which of them that are, and which the app has closed.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// What closing in order may take; then it is closed all the same.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Idle connections kept per upstream; one more, and the one that has idled for the longest is closed.
const IDLE_MAX: usize = 256;

/// The connections to all upstreams.
pub struct Pool {
    has_tls: bool,
    connector: HttpsConnector<HttpConnector<CheckedResolver>>,
    idle: Arc<Mutex<Idle>>,
}

/// The upstreams' certificates cannot be verified.
#[derive(Debug)]
pub struct NoRootCertificates;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// There was no connection, or what came over it was no whole answer: in words.
    Broken(String),
    /// It was not whole in time.
    TimedOut,
}

/// Connections that nobody uses.
#[derive(Default)]
struct Idle {
    plain: Kept,
    secure: Kept,
    /// Somebody will look for those that have idled for too long.
    is_swept: bool,
}

/// What was taken out of the connections that idle.
struct Taken {
    /// The one that was used last.
    last: Option<Box<Connection>>,
    /// Instead of it: those that have idled for too long.
    old: VecDeque<Box<Connection>>,
}

/// Idle connections by their upstream's authority as it is written, the one that idles for the longest first. There are
/// few of those, and comparing with them costs less than a hash.
type Kept = BTreeMap<Box<str>, VecDeque<(Instant, Box<Connection>)>>;

// === impl Pool ===

impl Pool {
    /// An empty one; with `tls` the system's root certificates are read.
    ///
    /// # Errors
    /// If there are none and some upstream needs them.
    pub fn new(tls: bool) -> Result<Arc<Self>, NoRootCertificates> {
        let mut http = HttpConnector::new_with_resolver(CheckedResolver::new());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let connector = match tls {
            true => builder
                .with_provider_and_native_roots(provider)
                .map_err(|_| NoRootCertificates)?,
            // No upstream uses TLS, so nothing needs to be trusted.
            false => builder.with_tls_config(
                ClientConfig::builder_with_provider(provider.into())
                    .with_safe_default_protocol_versions()
                    .map_err(|_| NoRootCertificates)?
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth(),
            ),
        }
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
        Ok(Arc::new(Self {
            has_tls: tls,
            connector,
            idle: Arc::default(),
        }))
    }

    /// Whether it can speak to upstreams that use TLS.
    pub fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Sends a request to `upstream` and reads its answer, all of it within `limit` from `now` on. `write_head` appends
    /// the request's head, its empty line included, and is asked again if it has to. What is broken off closes its
    /// connection.
    ///
    /// A kept connection may turn out to be closed when it is used; if nothing of the request was written by then,
    /// another one gets it. An app that answers before it has read all of the request is given the rest of it, as
    /// long as there is time.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn exchange(
        &self,
        upstream: &Uri,
        write_head: impl Fn(&mut Vec<u8>),
        body: &[u8],
        now: Instant,
        limit: Duration,
    ) -> Result<Answer, Failed> {
        let until = now + limit;
        loop {
            let kept = self.take(upstream, now);
            let is_new = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => {
                    // Rare, and large while it lasts.
                    let connecting = Box::pin(timeout_at(until, self.connect(upstream))).await;
                    let connected = connecting.map_err(|_| Failed::TimedOut)?;
                    connected.map_err(Failed::Broken)?
                }
            };
            match connection.exchange(&write_head, body, until).await {
                Ok((answer, is_reusable)) => {
                    if is_reusable {
                        self.keep(upstream, connection);
                    }
                    return Ok(answer);
                }
                Err(Unanswered::Unsent(_)) if !is_new => {}
                Err(Unanswered::Unsent(reason)) => return Err(Failed::Broken(reason)),
                Err(Unanswered::Failed(failed)) => return Err(failed),
            }
        }
    }

    async fn connect(&self, upstream: &Uri) -> Result<Box<Connection>, String> {
        let connecting = self.connector.clone().call(upstream.clone());
        let stream = connecting.await.map_err(|error| reason(&*error))?;
        let is_secure = matches!(stream, MaybeHttpsStream::Https(_));
        Ok(Box::new(Connection::new(stream, is_secure)))
    }

    /// The connection that was used last. Its app may have closed it meanwhile, and then the request comes back.
    fn take(&self, upstream: &Uri, now: Instant) -> Option<Box<Connection>> {
        let taken = self.idle().take(upstream, now)?;
        close_all(taken.old);
        taken.last
    }

    fn keep(&self, upstream: &Uri, connection: Box<Connection>) {
        let mut idle = self.idle();
        let too_many = idle.put(upstream, connection, Instant::now());
        let is_swept = std::mem::replace(&mut idle.is_swept, true);
        drop(idle);
        close_all(too_many);
        if !is_swept {
            tokio::spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        locked(&self.idle)
    }
}

/// Closes what has idled for too long, or was closed by its app, until nothing idles or the pool is gone.
async fn sweep(idle: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(SWEEP_PAUSE).await;
        let Some(idle) = idle.upgrade() else {
            return;
        };
        let (old, is_empty) = {
            let mut idle = locked(&idle);
            let old = idle.take_old(Instant::now());
            idle.is_swept = !idle.is_empty();
            (old, !idle.is_swept)
        };
        close_all(old);
        if is_empty {
            return;
        }
    }
}

/// Closes connections in order, beside everything else.
fn close_all(connections: impl IntoIterator<Item = Box<Connection>>) {
    for connection in connections {
        tokio::spawn(timeout(CLOSE_TIME, connection.close()));
    }
}

/// No invariant spans what a panic could break off.
fn locked(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The innermost cause says what happened; the layers around it say only that something did.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

// === impl Idle ===

impl Idle {
    fn kept(&mut self, upstream: &Uri) -> &mut Kept {
        match upstream.scheme() == Some(&Scheme::HTTPS) {
            true => &mut self.secure,
            false => &mut self.plain,
        }
    }

    /// Takes out the connection that was used last; `None` if there is none.
    fn take(&mut self, upstream: &Uri, now: Instant) -> Option<Taken> {
        let kept = self
            .kept(upstream)
            .get_mut(upstream.authority()?.as_str())?;
        let (since, connection) = kept.pop_back()?;
        if !is_old(since, now) {
            return Some(Taken {
                last: Some(connection),
                old: VecDeque::new(),
            });
        }
        // So have all that were put back before it.
        let old = kept.drain(..).map(|(_, connection)| connection);
        Some(Taken {
            last: None,
            old: old.chain([connection]).collect(),
        })
    }

    /// Keeps a connection; gives back the one that has to go for it.
    fn put(
        &mut self,
        upstream: &Uri,
        connection: Box<Connection>,
        now: Instant,
    ) -> Option<Box<Connection>> {
        let Some(origin) = upstream.authority().map(Authority::as_str) else {
            return Some(connection);
        };
        let all = self.kept(upstream);
        let kept = match all.get_mut(origin) {
            Some(kept) => kept,
            None => all.entry(origin.into()).or_default(),
        };
        kept.push_back((now, connection));
        let first = (kept.len() > IDLE_MAX).then(|| kept.pop_front());
        first.flatten().map(|(_, connection)| connection)
    }

    /// Takes out what has idled for too long or was closed by its app.
    fn take_old(&mut self, now: Instant) -> VecDeque<Box<Connection>> {
        let mut old = VecDeque::new();
        for all in [&mut self.plain, &mut self.secure] {
            all.retain(|_, kept| {
                for (since, mut connection) in std::mem::take(kept) {
                    match is_old(since, now) || !connection.is_free() {
                        true => old.push_back(connection),
                        false => kept.push_back((since, connection)),
                    }
                }
                !kept.is_empty()
            });
        }
        old
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.secure.is_empty()
    }
}

fn is_old(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= IDLE_TIMEOUT
}

// === impl NoRootCertificates ===

impl std::fmt::Display for NoRootCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an upstream uses https, but no root certificates were found: install ca-certificates or set SSL_CERT_FILE")
    }
}

impl Error for NoRootCertificates {}

#[cfg(test)]
mod tests;
