//! What a request sees of the configuration: one whole, immutable snapshot.
//!
//! A reload makes the next one beside it and puts it in its place. What does not depend on what changed goes
//! along: a quota with its state, a breaker, the attempts that run, the pooled connections to the apps.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::keepers::limit::ClientLimiter;
use crate::keepers::store::StoreError;
use crate::rules::config::{ClientAddressFrom, Config, Quota};
use crate::work::forward::Forwarder;
use crate::work::pool::NoRootCertificates;
use crate::work::routes::{Ground, Routes};

/// One whole configuration at work.
pub struct Snapshot {
    /// The routes.
    pub routes: Routes,
    /// Failed verifications by client.
    pub clients: Arc<ClientLimiter>,
    /// The way to the apps.
    pub forwarder: Forwarder,
    /// Peers whose word on the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where such a peer writes it.
    pub client_address_from: ClientAddressFrom,
    client_quota: Quota,
}

/// Why a configuration cannot be put to work.
#[derive(Debug)]
pub enum NotWorking {
    /// The store cannot be written.
    Store(StoreError),
    /// The upstreams' certificates could not be verified.
    Certificates(NoRootCertificates),
}

// === impl Snapshot ===

impl Snapshot {
    /// Puts a configuration to work, after an `earlier` one if there is one. It may wait for the disk.
    ///
    /// # Errors
    /// Why that cannot be done. Then nothing has changed but perhaps, if the store failed on the way, the terms of
    /// some shelves: they are what the configuration says, and making it again sets the rest.
    pub fn new(
        config: Config,
        ground: &Ground,
        earlier: Option<&Self>,
    ) -> Result<Self, NotWorking> {
        let is_tls_needed = config
            .routes
            .iter()
            .any(|route| route.upstream.scheme_str() == Some("https"));
        let forwarder = match earlier.map(|earlier| &earlier.forwarder) {
            Some(forwarder) if forwarder.has_tls() || !is_tls_needed => forwarder.clone(),
            Some(_) | None => Forwarder::new(is_tls_needed).map_err(NotWorking::Certificates)?,
        };
        let clients = match earlier {
            Some(earlier) if earlier.client_quota == config.client_quota => {
                Arc::clone(&earlier.clients)
            }
            Some(_) | None => {
                let clock = Arc::clone(&ground.clock);
                Arc::new(ClientLimiter::new(config.client_quota, clock))
            }
        };
        let earlier_routes = earlier.map(|earlier| &earlier.routes);
        Ok(Self {
            clients,
            forwarder,
            trusted_proxies: config.server.trusted_proxies,
            client_address_from: config.server.client_address_from,
            client_quota: config.client_quota,
            routes: Routes::new(config.routes, config.store.remember, ground, earlier_routes)
                .map_err(NotWorking::Store)?,
        })
    }
}

impl Snapshot {
    /// Whether `peer` is a proxy whose word on the client's address is believed.
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

// === impl NotWorking ===

impl fmt::Display for NotWorking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "the store cannot be used: {error}"),
            Self::Certificates(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotWorking {}
