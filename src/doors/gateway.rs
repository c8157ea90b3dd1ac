//! The wiring: a checked configuration becomes a running gateway, and a running gateway comes to its end.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::doors::admin::Admin;
use crate::doors::admin::access::Access;
use crate::doors::listener::passed::Passed;
use crate::doors::listener::{BindError, Listener, bind_all};
use crate::doors::reload::{Fixed, Reloader};
use crate::doors::sentinel;
use crate::doors::server::Server;
use crate::doors::server::tls::telling::Teller;
use crate::doors::server::tls::{Tls, TlsError};
use crate::keepers::ledger::Ledger;
use crate::keepers::log::{Level, Log};
use crate::keepers::metrics::Metrics;
use crate::keepers::recent::Recent;
use crate::keepers::store::jobs::Queue;
use crate::keepers::store::{Store, StoreError};
use crate::rules::config::Config;
use crate::rules::config::drain::Drain;
use crate::rules::config::listen::Listen;
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
use crate::work::timers::Timers;

/// A running gateway.
pub struct Gateway {
    gate: Arc<Gate>,
    reloader: Arc<Reloader>,
    listening: Vec<Listen>,
    admin_listening: Vec<Listen>,
    /// The end is near: whoever asks is told, and everything still works.
    draining: watch::Sender<bool>,
    /// The end has come: nothing new is begun.
    stop: watch::Sender<bool>,
    drain: Drain,
    servers: JoinSet<()>,
    workers: JoinSet<()>,
    admins: JoinSet<()>,
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
    /// The sockets that the service manager passed on.
    pub passed: Passed,
}

/// Why a gateway does not start.
#[derive(Debug)]
pub enum StartError {
    /// A place cannot be listened at.
    Bind(BindError),
    /// The store cannot be read.
    Store(StoreError),
    /// The configuration cannot be put to work.
    NotWorking(NotWorking),
    /// Senders cannot be shown a certificate.
    Tls(TlsError),
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
            mut passed,
        } = parts;
        let (tls, upkeep) = match &config.server.tls {
            Some(tls) => Tls::new(tls, limits.handshake_time, &metrics)
                .map(|(tls, upkeep)| (Some(tls), Some(upkeep)))
                .map_err(StartError::Tls)?,
            None => (None, None),
        };
        let mode = config.server.socket_mode;
        let listeners =
            bind_all(&config.server.listen, mode, &mut passed).map_err(StartError::Bind)?;
        let mode = config.admin.socket_mode;
        let admin_listeners =
            bind_all(&config.admin.listen, mode, &mut passed).map_err(StartError::Bind)?;
        let drain = config.server.drain;
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
        let (draining, is_draining) = watch::channel(false);
        let gate = Arc::new(Gate {
            snapshot: ArcSwap::from_pointee(snapshot),
            ledger,
            queue,
            bodies: BodyBudget::new(limits.body_bytes),
            timers: Timers::default(),
            running: Running::new(),
            limits,
            clock,
            log,
            metrics,
            recent,
            replaced: watch::Sender::new(()),
            draining: is_draining.clone(),
        });
        let replays = load_replays(Arc::clone(&gate)).await?;
        let (stop, stopping) = watch::channel(false);
        let server = Server::new(Arc::clone(&gate), tls);
        let mut servers = JoinSet::new();
        let listening = places(&listeners);
        for listener in listeners {
            servers.spawn(Arc::clone(&server).serve(listener, stopping.clone()));
        }
        let mut workers = JoinSet::new();
        workers.spawn(Crew::new(Arc::clone(&gate)).run(stopping.clone()));
        workers.spawn(Arc::clone(&replays).run(stopping.clone()));
        if let Some(upkeep) = upkeep {
            let teller = Teller {
                clock: Arc::clone(&gate.clock),
                log: gate.log.clone(),
                metrics: Arc::clone(&gate.metrics),
            };
            workers.spawn(upkeep.run(teller, limits, stopping.clone()));
        }
        let token = Arc::new(ArcSwapOption::new(token.map(Arc::new)));
        let access = Access::new(Arc::clone(&token), Arc::clone(&gate.clock));
        let reloader = Reloader::new(Arc::clone(&gate), ground, source, fixed, token);
        let reloader = Arc::new(reloader);
        workers.spawn(Arc::clone(&reloader).watch(stopping));
        let admin = Admin::new(
            Arc::clone(&gate),
            replays,
            access,
            Arc::clone(&reloader),
            is_draining,
        );
        let admin_listening = places(&admin_listeners);
        let mut admins = JoinSet::new();
        for listener in admin_listeners {
            admins.spawn(Arc::clone(&admin).serve(listener));
        }
        for name in passed.names() {
            gate.log.say(
                Level::Warn,
                "the service manager passed a socket on that no `listen` names; it is not served",
                &[("name", &name)],
            );
        }
        Ok(Self {
            sentinel: tokio::spawn(sentinel::watch(Arc::clone(&gate))),
            gate,
            reloader,
            listening,
            admin_listening,
            draining,
            stop,
            drain,
            servers,
            workers,
            admins,
        })
    }

    /// What reads its configuration anew.
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// Where senders reach it.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// Where the operator reaches it.
    pub fn admin_listening(&self) -> &[Listen] {
        &self.admin_listening
    }

    /// The store that it stands on.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.gate.ledger.store()
    }

    /// Drains. At once readiness turns red and every answer closes its connection; after the delay no new
    /// connections are taken, what is in flight ends, and the store is closed. `hurry` ends the wait early.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        tokio::pin!(hurry);
        // Everybody who could have gone away by now has.
        let _ = self.draining.send(true);
        let is_hurried = tokio::select! {
            () = &mut hurry => true,
            () = tokio::time::sleep(self.drain.delay) => false,
        };
        let _ = self.stop.send(true);
        let drained = async {
            while self.servers.join_next().await.is_some() {}
            // Work outlives the connection of a sender that hung up.
            self.gate.running.ended().await;
            while self.workers.join_next().await.is_some() {}
        };
        let hurried = async {
            if !is_hurried {
                hurry.await;
            }
        };
        let is_drained = tokio::select! {
            () = drained => true,
            () = hurried => false,
            () = tokio::time::sleep(self.drain.timeout) => false,
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
        self.admins.shutdown().await;
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

fn places(listeners: &[Listener]) -> Vec<Listen> {
    let places = listeners.iter().map(Listener::place);
    places.cloned().collect()
}

// === impl StartError ===

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => write!(f, "the store cannot be used: {error}"),
            Self::NotWorking(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}
