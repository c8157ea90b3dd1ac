//! The sample app: it takes every event and remembers what it got.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
}

/// An event as the app received it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its query.
    pub query: String,
    /// Its body.
    pub body: Bytes,
}

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
        };
        tokio::spawn(app.clone().serve(listener));
        Ok(app)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many events it received.
    pub fn count(&self) -> usize {
        self.events().len()
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
        match body.collect().await {
            Ok(body) => self.events().push(Event {
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
