//! The operator's listener: is it alive, is it ready, what are its figures, and the admin API.
//!
//! It is a listener of its own, so that no trick with a path reaches it through the senders' one. Three
//! faces are for everybody who reaches it; everything else passes [`access`] first. `api` is the table of
//! what there is; each of its resources is a file.

pub mod access;

mod answer;
mod api;
mod cursor;
mod events;
mod overview;
mod parameters;
mod rejections;
mod reload;
mod replays;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use crate::doors::admin::access::Access;
use crate::doors::admin::answer::{Answer, Problem, answer, json_with};
use crate::doors::listener::Listener;
use crate::doors::reload::Reloader;
use crate::keepers::log::Level;
use crate::keepers::store::{Health, StoreError};
use crate::work::ingest::Gate;
use crate::work::replay::Replays;

/// Connections at one time; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;

const HEAD_TIME: Duration = Duration::from_secs(10);

/// Answers the operator.
pub struct Admin {
    gate: Arc<Gate>,
    replays: Arc<Replays>,
    access: Access,
    reloader: Arc<Reloader>,
    draining: watch::Receiver<bool>,
}

// === impl Admin ===

impl Admin {
    /// An admin face of `gate`; readiness turns red once `draining` is true.
    pub fn new(
        gate: Arc<Gate>,
        replays: Arc<Replays>,
        access: Access,
        reloader: Arc<Reloader>,
        draining: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            gate,
            replays,
            access,
            reloader,
            draining,
        })
    }

    /// Serves on `listener` until it is dropped with its task.
    pub async fn serve(self: Arc<Self>, listener: Listener) {
        let is_local = listener.is_local();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((socket, peer)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(|request| {
                    let admin = Arc::clone(&admin);
                    async move { Ok::<_, Infallible>(admin.answer(request, peer, is_local).await) }
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

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr, is_local: bool) -> Answer {
        let face: fn(&Self) -> Answer = match request.uri().path() {
            "/livez" => |_| text(StatusCode::OK, "ok\n"),
            "/readyz" => Self::ready,
            "/metrics" => Self::metrics,
            _ => {
                let answered = self.guarded(request, peer.to_canonical(), is_local).await;
                return answered.unwrap_or_else(Problem::into_answer);
            }
        };
        match *request.method() {
            Method::GET | Method::HEAD => face(self),
            _ => Problem::method("GET, HEAD").into_answer(),
        }
    }

    async fn guarded(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        is_local: bool,
    ) -> Result<Answer, Problem> {
        let (head, body) = request.into_parts();
        self.access
            .check(&head, peer, is_local, !body.is_end_stream())?;
        let resource = api::find(head.uri.path())?;
        api::check_method(resource, &head.method)?;
        // Nothing is done for a body that is refused.
        let body = parameters::body(body).await?;
        self.call(resource, &head, &body, peer).await
    }

    /// Ready is who can keep a promise: the store takes events, and nobody asked to stop.
    fn ready(&self) -> Answer {
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
        json_with(status, &body)
    }

    fn metrics(&self) -> Answer {
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
        for route in gate.snapshot.load().routes.iter() {
            route.metrics.refresh(gate.clock.elapsed());
        }
        let shelves = overview::of(gate);
        for (name, figures) in overview::by_name(&shelves) {
            metrics.set_queue(name, &figures);
        }
        for shelf in shelves {
            if let Some(route) = &shelf.route {
                metrics.set_breaker(&shelf.name, route.breaker.is_open());
            }
        }
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        answer(StatusCode::OK, kind, metrics.encode().into())
    }

    /// Runs what waits for the disk where it holds nobody up.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Gate) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let gate = Arc::clone(&self.gate);
        let result = tokio::task::spawn_blocking(move || work(&gate)).await;
        Ok(result.unwrap_or(Err(StoreError::Unavailable))?)
    }

    /// Says who did what, for the day on which somebody asks.
    fn audit(&self, deed: &str, what: &str, peer: IpAddr) {
        self.gate
            .log
            .say(Level::Info, deed, &[("what", &what), ("client", &peer)]);
    }
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.into())
}

fn whole(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
