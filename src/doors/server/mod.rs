//! The listener for senders: accepts connections, within bounds, and has each served.

mod activity;
pub mod caller;
pub mod guard;
pub mod http1;
pub mod http2;
pub mod tls;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::doors::listener::{Listener, Stream};
use crate::doors::server::caller::{Asked, Caller};
use crate::doors::server::tls::{Spoken, Tls};
use crate::keepers::log::Level;
use crate::rules::client::ClientKey;
use crate::work::ingest::Gate;

/// After a failed accept (no descriptors left, mostly) this long is waited.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves senders until told to stop.
pub struct Server {
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    places: Arc<Semaphore>,
    by_client: Arc<ByClient>,
}

/// Connections by client.
#[derive(Default)]
struct ByClient(Mutex<HashMap<ClientKey, usize>>);

/// A connection's place among all and among its client's.
struct Place {
    by_client: Arc<ByClient>,
    client: Option<ClientKey>,
    _permit: OwnedSemaphorePermit,
}

// === impl Server ===

impl Server {
    /// A server before `gate`, in plain text or behind TLS.
    pub fn new(gate: Arc<Gate>, tls: Option<Tls>) -> Arc<Self> {
        let connections = gate.limits.connections.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            gate,
            tls: tls.map(Arc::new),
            places: Arc::new(Semaphore::new(connections)),
            by_client: Arc::default(),
        })
    }

    /// Accepts on `listener` until `stop` changes, then has what is in flight finish.
    pub async fn serve(self: Arc<Self>, listener: Listener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&self.places).acquire_owned() => permit,
                _ = stop.changed() => break,
            };
            let Ok(permit) = permit else {
                break;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    if let Some(place) = self.place(peer, permit) {
                        let server = Arc::clone(&self);
                        connections.spawn(server.connection(socket, peer, place, stop.clone()));
                    }
                }
                Err(error) => {
                    self.gate.log.say(
                        Level::Error,
                        "a connection could not be accepted",
                        &[("error", &error)],
                    );
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(
        self: Arc<Self>,
        socket: Stream,
        peer: IpAddr,
        _place: Place,
        stop: watch::Receiver<bool>,
    ) {
        self.gate.metrics.connections.inc();
        match &self.tls {
            None => http1::serve(socket, self.caller(peer, None), stop).await,
            Some(tls) => self.secured(tls, socket, peer, stop).await,
        }
        self.gate.metrics.connections.dec();
    }

    /// Shakes hands, and serves what was agreed upon.
    async fn secured<S>(
        &self,
        tls: &Arc<Tls>,
        socket: S,
        peer: IpAddr,
        mut stop: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let secured = tokio::select! {
            secured = tls.accept(socket) => secured,
            // Nothing was asked yet, so nothing is owed.
            _ = stop.changed() => None,
        };
        let Some(secured) = secured else {
            return;
        };
        let tls = Arc::clone(tls);
        let caller = self.caller(
            peer,
            Some(Asked {
                tls,
                name: secured.name,
            }),
        );
        match secured.spoken {
            Spoken::Http1 => http1::serve(secured.stream, caller, stop).await,
            Spoken::Http2 => http2::serve(secured.stream, caller, stop).await,
        }
    }

    fn caller(&self, peer: IpAddr, secured: Option<Asked>) -> Caller {
        Caller {
            gate: Arc::clone(&self.gate),
            peer,
            secured,
        }
    }

    /// A place for a connection of `peer`, unless it has too many already.
    fn place(&self, peer: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let peer = peer.to_canonical();
        let snapshot = self.gate.snapshot.load();
        let is_proxy = snapshot
            .trusted_proxies
            .iter()
            .any(|net| net.contains(&peer));
        let client = (!is_proxy).then(|| ClientKey::from(peer));
        if let Some(client) = client {
            let mut counts = self.by_client.counts();
            let count = counts.entry(client).or_default();
            if *count >= self.gate.limits.client_connections {
                return None;
            }
            *count += 1;
        }
        Some(Place {
            by_client: Arc::clone(&self.by_client),
            client,
            _permit: permit,
        })
    }
}

// === impl ByClient ===

impl ByClient {
    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<ClientKey, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(client) = self.client else {
            return;
        };
        let mut counts = self.by_client.counts();
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}
