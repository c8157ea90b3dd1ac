//! The operator's listener: is it alive, is it ready, what are its figures.
//!
//! It is a listener of its own, so that no trick with a path reaches it through the senders' one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::keepers::store::Health;
use crate::words::secret::Presented;
use crate::work::ingest::Gate;

/// Connections at one time; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;

const HEAD_TIME: Duration = Duration::from_secs(10);

/// Answers the operator.
pub struct Admin {
    gate: Arc<Gate>,
    token: Option<Presented>,
    draining: watch::Receiver<bool>,
}

// === impl Admin ===

impl Admin {
    /// An admin face of `gate`; readiness turns red once `draining` is true.
    pub fn new(
        gate: Arc<Gate>,
        token: Option<Presented>,
        draining: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            gate,
            token,
            draining,
        })
    }

    /// Serves on `listener` until it is dropped with its task.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(|request| {
                    let answer = admin.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // A broken connection is the operator's to notice.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIME)
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let face: fn(&Self) -> Response<Full<Bytes>> = match request.uri().path() {
            "/livez" => |_| text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => Self::ready,
            "/metrics" => Self::metrics,
            _ if !self.is_allowed(request) => return unauthorized(),
            _ => return text(StatusCode::NOT_FOUND, "there is nothing here\n".to_owned()),
        };
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, String::new());
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        face(self)
    }

    /// Whether the token was shown, where one is set.
    fn is_allowed(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .is_some_and(|shown| Presented::find(std::slice::from_ref(token), shown).is_some())
    }

    /// Ready is who can keep a promise: the store takes events, and nobody asked to stop.
    fn ready(&self) -> Response<Full<Bytes>> {
        let trouble = match self.gate.ledger.store().health() {
            _ if *self.draining.borrow() => Some("draining".to_owned()),
            Health::Ready => None,
            Health::Down(reason) => Some(format!("store: {reason}")),
            Health::Stalled(since) => {
                Some(format!("store: a commit hangs since {} s", since.as_secs()))
            }
            Health::Closed => Some("store: closed".to_owned()),
        };
        let (status, body) = match trouble {
            None => (StatusCode::OK, json!({ "status": "ready" })),
            Some(reason) => (
                StatusCode::SERVICE_UNAVAILABLE,
                json!({ "status": "not ready", "reason": reason }),
            ),
        };
        respond(status, "application/json", format!("{body}\n"))
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let gate = &self.gate;
        let metrics = &gate.metrics;
        let store = gate.ledger.store();
        let figures = store.statistics();
        metrics
            .store_up
            .set(i64::from(store.health() == Health::Ready));
        metrics.ledger_keys.set(whole(figures.keys));
        metrics.ledger_unwritten.set(whole(figures.unwritten));
        metrics
            .ledger_unwritten_lost
            .set(whole(figures.unwritten_lost));
        metrics.store_damaged_rows.set(whole(figures.damaged_rows));
        metrics.store_faults.set(whole(figures.faults));
        metrics.clock_suspect.set(i64::from(figures.clock_suspect));
        metrics.log_lines_dropped.set(whole(gate.log.dropped()));
        for route in gate.routes.load().iter() {
            route.metrics.refresh(gate.clock.elapsed());
        }
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        respond(StatusCode::OK, kind, metrics.encode())
    }
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::UNAUTHORIZED, "a token is needed\n".to_owned());
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn whole(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
