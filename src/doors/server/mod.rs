//! The listener for senders: accepts connections, within bounds, and has each served.

mod activity;
pub mod caller;
pub mod guard;
pub mod http1;
pub mod http2;
pub mod places;
pub mod proxied;
pub mod seat;
pub mod tls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::doors::listener::{Listener, Stream};
use crate::doors::server::caller::{Asked, Caller};
use crate::doors::server::places::{Place, Places};
use crate::doors::server::tls::{Spoken, Tls};
use crate::keepers::log::Level;
use crate::rules::client::ClientKey;
use crate::rules::config::ClientAddressFrom;
use crate::work::ingest::Gate;

/// After a failed accept (no descriptors left, mostly) this long is waited.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves senders until told to stop.
pub struct Server {
    gate: Arc<Gate>,
    tls: Option<Arc<Tls>>,
    places: Arc<Places>,
}

// === impl Server ===

impl Server {
    /// A server before `gate`, in plain text or behind TLS.
    pub fn new(gate: Arc<Gate>, tls: Option<Tls>) -> Arc<Self> {
        let places = Places::new(&gate.limits);
        Arc::new(Self {
            gate,
            tls: tls.map(Arc::new),
            places,
        })
    }

    /// Accepts on `listener` until `stop` changes, then has what is in flight finish.
    pub async fn serve(self: Arc<Self>, listener: Listener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    // Somebody leaves only for one who is there; further ones wait in the system's queue.
                    let permit = tokio::select! {
                        permit = self.places.vacant() => permit,
                        _ = stop.changed() => break,
                    };
                    let Some(permit) = permit else {
                        break;
                    };
                    match self.places.take(self.client(peer), permit) {
                        Some(place) => {
                            let server = Arc::clone(&self);
                            connections.spawn(server.connection(socket, peer, place, stop.clone()));
                        }
                        None => {
                            self.gate.metrics.connections_dismissed.inc();
                        }
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
        place: Arc<Place>,
        mut stop: watch::Receiver<bool>,
    ) {
        self.gate.metrics.connections.inc();
        let mut caller = Caller {
            gate: Arc::clone(&self.gate),
            peer,
            place: Arc::clone(&place),
            secured: None,
        };
        // A Unix socket is this machine's own, and whoever is behind it does TLS before it.
        let tls = self.tls.clone().filter(|_| is_of_network(&socket));
        let limit = self.gate.limits.head_time;
        let served = async {
            let has_settled = tokio::select! {
                has_settled = place.settled() => has_settled,
                // Nothing of it was read, so nothing is owed.
                _ = stop.changed() => return true,
            };
            if !has_settled {
                return false;
            }
            if !self.is_told_by_proxy(peer) {
                serve(socket, tls, caller, stop).await;
                return true;
            }
            let Some(proxied) = proxied::read(socket, limit).await else {
                self.gate.metrics.proxies_silent.inc();
                return true;
            };
            caller.peer = proxied.client.unwrap_or(peer);
            serve(proxied.stream, tls, caller, stop).await;
            true
        };
        let had_place = tokio::select! {
            biased;
            had_place = served => had_place,
            // No request is at work, so nothing is owed.
            () = place.dismissed() => false,
        };
        if !had_place {
            self.gate.metrics.connections_dismissed.inc();
        }
        self.gate.metrics.connections.dec();
    }

    /// Whom a connection of `peer` is counted for; trusted proxies stand for many.
    fn client(&self, peer: IpAddr) -> Option<ClientKey> {
        let snapshot = self.gate.snapshot.load();
        (!snapshot.is_trusted(peer)).then(|| ClientKey::from(peer))
    }

    /// Whether `peer` is a proxy that says whom it stands for before anything else.
    fn is_told_by_proxy(&self, peer: IpAddr) -> bool {
        let snapshot = self.gate.snapshot.load();
        snapshot.client_address_from == ClientAddressFrom::ProxyProtocol
            && snapshot.is_trusted(peer)
    }
}

/// Serves what is spoken behind TLS, or in plain text.
async fn serve<S>(socket: S, tls: Option<Arc<Tls>>, caller: Caller, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match tls {
        None => Box::pin(http1::serve(socket, caller, stop)).await,
        Some(tls) => secured(tls, socket, caller, stop).await,
    }
}

/// Shakes hands, and serves what was agreed upon.
async fn secured<S>(tls: Arc<Tls>, socket: S, mut caller: Caller, mut stop: watch::Receiver<bool>)
where
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
    caller.secured = Some(Asked {
        tls,
        name: secured.name,
    });
    // What serves is large and made only now: thousands of handshakes that come to nothing stay small.
    match secured.spoken {
        Spoken::Http1 => Box::pin(http1::serve(secured.stream, caller, stop)).await,
        Spoken::Http2 => Box::pin(http2::serve(secured.stream, caller, stop)).await,
    }
}

fn is_of_network(socket: &Stream) -> bool {
    match socket {
        Stream::Left(_) => true,
        Stream::Right(_) => false,
    }
}
