//! The sample app: it takes every event and remembers what it got.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// An app that takes what it is sent.
#[derive(Clone)]
pub struct App {
    address: SocketAddr,
    events: Arc<Mutex<Vec<Event>>>,
    is_down: Arc<AtomicBool>,
}

/// An event as the app received it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The path it was sent to.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its query.
    pub query: String,
    /// Its body.
    pub body: Bytes,
}

/// How often is looked whether an event has arrived, and how many times.
const POLL: Duration = Duration::from_millis(20);
const PATIENCE_POLLS: usize = 1500;

// === impl App ===

impl App {
    /// Listens on a free port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start() -> Result<Self, String> {
        let cannot = |error| format!("the sample app cannot listen: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(cannot)?;
        let app = Self {
            address: listener.local_addr().map_err(cannot)?,
            events: Arc::default(),
            is_down: Arc::default(),
        };
        tokio::spawn(app.clone().serve(listener));
        Ok(app)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes down, or comes back: while it is down every connection is closed at once.
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// How many events it received.
    pub fn count(&self) -> usize {
        self.events().len()
    }

    /// How many events it received at one of these paths.
    pub fn count_at(&self, paths: &[String]) -> usize {
        let events = self.events();
        let is_there = |event: &&Event| paths.contains(&event.path);
        events.iter().filter(is_there).count()
    }

    /// Waits until it has received so many events there, or that takes too long; gives back how many.
    pub async fn wait_for(&self, paths: &[String], count: usize) -> usize {
        for _ in 0..PATIENCE_POLLS {
            if self.count_at(paths) >= count {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        self.count_at(paths)
    }

    /// The last event.
    pub fn last(&self) -> Option<Event> {
        self.events().last().cloned()
    }

    /// How many of the received events have a key of their own.
    pub fn distinct(&self) -> usize {
        let events = self.events();
        let mut keys: Vec<&[u8]> = events
            .iter()
            .filter_map(|event| Some(event.headers.get("idempotency-key")?.as_bytes()))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((socket, _)) = listener.accept().await {
            let app = self.clone();
            if app.is_down.load(Ordering::Relaxed) {
                continue;
            }
            tokio::spawn(async move {
                let service = service_fn(|request| app.take(request));
                // The gateway closing its connection is no concern of the app's.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let mut response = Response::new(Full::default());
        if self.is_down.load(Ordering::Relaxed) {
            // A connection from before; what stands behind a dead app answers like this.
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(response);
        }
        match body.collect().await {
            Ok(body) => self.events().push(Event {
                path: parts.uri.path().to_owned(),
                headers: parts.headers,
                query: parts.uri.query().unwrap_or("").to_owned(),
                body: body.to_bytes(),
            }),
            Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        Ok(response)
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
