//! The connections to apps: made when one is needed, used by one event at a time, and kept for a moment.
//!
//! # Why
//! A pooled client off the shelf has a task for each connection: every exchange is handed over to it and back,
//! through two channels and the runtime's queue, and each hand-over costs as much as what is done in between.
//! Here the task of the event drives the connection that it uses.

mod connection;
mod relay;
mod resolver;

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;
use tower_service::Service;

use crate::work::pool::connection::Connection;
use crate::work::pool::resolver::CheckedResolver;

/// Connecting takes no longer than this, name and TLS included in the route's `timeout` all the same.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Upstreams close idle connections after 5 s (Node's default); 4 s keeps us on the safe side.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

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

/// Connections that nobody uses.
#[derive(Default)]
struct Idle {
    plain: Kept,
    secure: Kept,
    /// Somebody will look for those that have idled for too long.
    is_swept: bool,
}

/// Idle connections by their upstream, the one that idles for the longest first.
type Kept = HashMap<Authority, VecDeque<(Instant, Box<Connection>)>>;

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

    /// Sends a request to `upstream` and has the answer read. What is dropped half-way closes its connection.
    ///
    /// A kept connection may turn out to be closed when it is used; if nothing of the request was written by then,
    /// another one gets it.
    ///
    /// # Errors
    /// In words what went wrong: there was no connection, or what came over it was no whole answer.
    pub async fn exchange<T, R>(
        &self,
        upstream: &Uri,
        mut request: Request<Full<Bytes>>,
        read: impl Fn(Response<Incoming>) -> R,
    ) -> Result<T, String>
    where
        R: Future<Output = Result<T, String>>,
    {
        let origin = upstream.authority().ok_or("the upstream has no host")?;
        let is_secure = upstream.scheme() == Some(&Scheme::HTTPS);
        in_origin_form(request.uri_mut());
        loop {
            let kept = self.idle().take(origin, is_secure, Instant::now());
            let is_new = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                // Rare, and large while it lasts.
                None => Box::pin(self.connect(upstream)).await?,
            };
            match connection.send(request).await {
                Ok(response) => {
                    let answer = connection.drive(read(response)).await;
                    if connection.is_free() {
                        self.keep(origin, is_secure, connection);
                    }
                    return answer;
                }
                Err(failed) => match failed.unsent {
                    Some(unsent) if !is_new => request = unsent,
                    Some(_) | None => return Err(reason(&failed.error)),
                },
            }
        }
    }

    async fn connect(&self, upstream: &Uri) -> Result<Box<Connection>, String> {
        let connecting = self.connector.clone().call(upstream.clone());
        let stream = connecting.await.map_err(|error| reason(&*error))?;
        let connection = Connection::begin(stream).await;
        connection.map(Box::new).map_err(|error| reason(&error))
    }

    fn keep(&self, origin: &Authority, is_secure: bool, connection: Box<Connection>) {
        let mut idle = self.idle();
        idle.put(origin, is_secure, connection, Instant::now());
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        locked(&self.idle)
    }
}

/// Closes what has idled for too long, until nothing idles or the pool is gone.
async fn sweep(idle: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        let Some(idle) = idle.upgrade() else {
            return;
        };
        let mut idle = locked(&idle);
        if idle.close_old(Instant::now()) {
            idle.is_swept = false;
            return;
        }
    }
}

/// No invariant spans what a panic could break off.
fn locked(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server is asked for path and query (RFC 9112, 3.2.1).
fn in_origin_form(uri: &mut Uri) {
    let path_and_query = uri.path_and_query().cloned();
    *uri = path_and_query
        .unwrap_or(PathAndQuery::from_static("/"))
        .into();
}

/// The innermost cause says what happened; the layers around it say only that something did.
pub(in crate::work) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

// === impl Idle ===

impl Idle {
    fn kept(&mut self, is_secure: bool) -> &mut Kept {
        match is_secure {
            true => &mut self.secure,
            false => &mut self.plain,
        }
    }

    /// The connection that was used last and is still open.
    fn take(
        &mut self,
        origin: &Authority,
        is_secure: bool,
        now: Instant,
    ) -> Option<Box<Connection>> {
        let kept = self.kept(is_secure).get_mut(origin)?;
        while let Some((since, mut connection)) = kept.pop_back() {
            if now.saturating_duration_since(since) >= IDLE_TIMEOUT {
                // So have all that were put back before it.
                kept.clear();
            } else if connection.is_free() {
                return Some(connection);
            }
        }
        None
    }

    fn put(
        &mut self,
        origin: &Authority,
        is_secure: bool,
        connection: Box<Connection>,
        now: Instant,
    ) {
        let all = self.kept(is_secure);
        let kept = match all.get_mut(origin) {
            Some(kept) => kept,
            None => all.entry(origin.clone()).or_default(),
        };
        if kept.len() >= IDLE_MAX {
            kept.pop_front();
        }
        kept.push_back((now, connection));
    }

    /// Whether none are left afterwards.
    fn close_old(&mut self, now: Instant) -> bool {
        for all in [&mut self.plain, &mut self.secure] {
            all.retain(|_, kept| {
                let is_old = |(since, _): &(Instant, _)| {
                    now.saturating_duration_since(*since) >= IDLE_TIMEOUT
                };
                let old = kept.iter().take_while(|entry| is_old(entry)).count();
                kept.drain(..old);
                !kept.is_empty()
            });
        }
        self.plain.is_empty() && self.secure.is_empty()
    }
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
