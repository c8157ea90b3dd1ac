//! The wiring: a checked configuration becomes a running gateway, and a running gateway comes to its end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::doors::admin::Admin;
use crate::doors::admin::access::Access;
use crate::doors::reload::{Fixed, Reloader};
use crate::doors::sentinel;
use crate::doors::server::{self, Server};
use crate::keepers::ledger::Ledger;
use crate::keepers::log::{Level, Log};
use crate::keepers::metrics::Metrics;
use crate::keepers::recent::Recent;
use crate::keepers::store::jobs::Queue;
use crate::keepers::store::{Store, StoreError};
use crate::rules::config::Config;
use crate::rules::config::source::ConfigSource;
use crate::words::limits::Limits;
use crate::words::time::Clock;
use crate::work::body::BodyBudget;
use crate::work::delivery::crew::Crew;
use crate::work::ingest::Gate;
use crate::work::replay::Replays;
use crate::work::routes::Ground;
use crate::work::running::Running;
use crate::work::snapshot::{NotWorking, Snapshot};

/// A running gateway.
pub struct Gateway {
    gate: Arc<Gate>,
    reloader: Arc<Reloader>,
    listening: Vec<SocketAddr>,
    admin_listening: SocketAddr,
    stop: watch::Sender<bool>,
    servers: JoinSet<()>,
    workers: JoinSet<()>,
    admin: tokio::task::JoinHandle<()>,
    sentinel: tokio::task::JoinHandle<()>,
}

/// What a gateway is made of besides its configuration.
pub struct Parts {
    /// The durable store, as the ledger sees it.
    pub store: Arc<dyn Store>,
    /// The same store, as the queue's worker sees it.
    pub queue: Arc<dyn Queue>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Where it is all told.
    pub log: Log,
    /// Where it is all counted.
    pub metrics: Arc<Metrics>,
    /// How much and how long.
    pub limits: Limits,
    /// Where the configuration can be read anew.
    pub source: Option<Arc<dyn ConfigSource>>,
}

/// Why a gateway does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be bound.
    Bind(SocketAddr, io::Error),
    /// The store cannot be read.
    Store(StoreError),
    /// The configuration cannot be put to work.
    NotWorking(NotWorking),
}

// === impl Gateway ===

impl Gateway {
    /// Binds, and serves from then on.
    ///
    /// # Errors
    /// Why nothing is served.
    pub async fn start(config: Config, parts: Parts) -> Result<Self, StartError> {
        let Parts {
            store,
            queue,
            clock,
            log,
            metrics,
            limits,
            source,
        } = parts;
        let addresses = config.server.listen.clone();
        let admin_address = config.admin.listen;
        let listeners = addresses
            .iter()
            .map(|address| bind(*address))
            .collect::<Result<Vec<_>, _>>()?;
        let (admin_listener, admin_listening) = bind(admin_address)?;
        let ledger = Ledger::new(store, Arc::clone(&clock));
        let token = config.admin.token.clone();
        let ground = Ground {
            ledger: Arc::clone(&ledger),
            queue: Arc::clone(&queue),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            live_max: limits.live,
        };
        let fixed = Fixed::of(&config);
        let snapshot = Snapshot::new(config, &ground, None).map_err(StartError::NotWorking)?;
        let recent = Recent::new(clock.now());
        let gate = Arc::new(Gate {
            snapshot: ArcSwap::from_pointee(snapshot),
            ledger,
            queue,
            bodies: BodyBudget::new(limits.body_bytes),
            running: Running::new(),
            limits,
            clock,
            log,
            metrics,
            recent,
            replaced: watch::Sender::new(()),
        });
        let replays = load_replays(Arc::clone(&gate)).await?;
        let (stop, stopping) = watch::channel(false);
        let server = Server::new(Arc::clone(&gate));
        let mut servers = JoinSet::new();
        let mut listening = Vec::new();
        for (listener, address) in listeners {
            listening.push(address);
            servers.spawn(Arc::clone(&server).serve(listener, stopping.clone()));
        }
        let mut workers = JoinSet::new();
        workers.spawn(Crew::new(Arc::clone(&gate)).run(stopping.clone()));
        workers.spawn(Arc::clone(&replays).run(stopping.clone()));
        let token = Arc::new(ArcSwapOption::new(token.map(Arc::new)));
        let access = Access::new(Arc::clone(&token), admin_listening, Arc::clone(&gate.clock));
        let reloader = Reloader::new(Arc::clone(&gate), ground, source, fixed, token);
        let reloader = Arc::new(reloader);
        workers.spawn(Arc::clone(&reloader).watch(stopping.clone()));
        let admin = Admin::new(
            Arc::clone(&gate),
            replays,
            access,
            Arc::clone(&reloader),
            stopping,
        );
        Ok(Self {
            sentinel: tokio::spawn(sentinel::watch(Arc::clone(&gate))),
            gate,
            reloader,
            listening,
            admin_listening,
            stop,
            servers,
            workers,
            admin: tokio::spawn(admin.serve(admin_listener)),
        })
    }

    /// What reads its configuration anew.
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// The addresses that senders reach it at.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The address that the operator reaches it at.
    pub fn admin_listening(&self) -> SocketAddr {
        self.admin_listening
    }

    /// Drains: takes no new connections, lets what is in flight end, and closes the store. `hurry` ends the
    /// wait early.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        // Everybody who could have gone away by now has.
        let _ = self.stop.send(true);
        let drained = async {
            while self.servers.join_next().await.is_some() {}
            // Work outlives the connection of a sender that hung up.
            self.gate.running.ended().await;
            while self.workers.join_next().await.is_some() {}
        };
        // No request takes longer than the time for a whole one.
        let is_drained = tokio::select! {
            () = drained => true,
            () = hurry => false,
            () = tokio::time::sleep(self.gate.limits.request_time) => false,
        };
        if !is_drained {
            self.gate.log.say(
                Level::Warn,
                "stopped before everything in flight had ended",
                &[("in_flight", &self.gate.ledger.in_flight())],
            );
        }
        self.servers.shutdown().await;
        self.workers.shutdown().await;
        self.admin.abort();
        self.sentinel.abort();
        let store = Arc::clone(self.gate.ledger.store());
        // Closing waits for the disk.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

/// Reads what replays there are, which waits for the disk.
async fn load_replays(gate: Arc<Gate>) -> Result<Arc<Replays>, StartError> {
    let loading = tokio::task::spawn_blocking(|| Replays::load(gate));
    let loaded = loading.await.unwrap_or(Err(StoreError::Unavailable));
    loaded.map_err(StartError::Store)
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = server::bind(address).map_err(|error| StartError::Bind(address, error))?;
    let bound = listener
        .local_addr()
        .map_err(|error| StartError::Bind(address, error))?;
    Ok((listener, bound))
}

// === impl StartError ===

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Store(error) => write!(f, "the store cannot be used: {error}"),
            Self::NotWorking(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}
