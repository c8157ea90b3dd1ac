//! The routes, as one immutable snapshot: a request sees one whole configuration.
//!
//! A route is found by its exact raw path and, where it names one, its host. Nothing is normalised: a path
//! that is written differently is another path. The query plays no part.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};

use crate::keepers::breaker::{Breaker, Pass};
use crate::keepers::ledger::Ledger;
use crate::keepers::limit::Limiter;
use crate::keepers::metrics::{Metrics, RouteMetrics};
use crate::keepers::rest::Rest;
use crate::keepers::store::jobs::{Queue, Terms};
use crate::keepers::store::{Keep, ShelfId, StoreError};
use crate::rules::config::{self, Config, Quota};
use crate::rules::retry::Class;
use crate::words::identity::Key;
use crate::words::message::Head;
use crate::words::shelf::ShelfName;
use crate::words::time::Clock;
use crate::work::busy::Busy;
use crate::work::forward::Attempted;

use hyper::header::HOST;
use std::num::NonZeroU32;
use std::time::Duration;

/// Keys that a route remembers whose senders prove nothing: forged tokens cost only themselves.
pub const UNPROVEN_KEYS_MAX: usize = 100_000;

/// Presses of a platform's test button that go through.
const TESTS: Quota = Quota {
    count: NonZeroU32::new(10).unwrap(),
    per: Duration::from_secs(60),
    burst: NonZeroU32::new(10).unwrap(),
};

/// Every route, by path.
pub struct Routes {
    by_path: HashMap<String, Vec<Arc<Route>>>,
    all: Vec<Arc<Route>>,
}

/// A route at work: its configuration and what is kept for it.
pub struct Route {
    /// What the configuration says.
    pub config: Arc<config::Route>,
    /// Its part of the ledger.
    pub shelf: ShelfId,
    /// How fast the app is called.
    pub quota: Option<Limiter>,
    /// How often a platform's test goes through.
    pub tests: Limiter,
    /// Attempts that run now while their senders wait.
    pub live: Semaphore,
    /// Whether its upstream is there; shared by all routes to it.
    pub breaker: Arc<Breaker>,
    /// Whether the app asked to be left alone.
    pub rest: Rest,
    /// Told when the queue's worker has something to look at.
    pub wake: Notify,
    /// What the worker is at.
    pub busy: Busy,
    /// Its metrics.
    pub metrics: RouteMetrics,
}

// === impl Routes ===

impl Routes {
    /// Makes the routes of a configuration, and their shelves in the ledger. Each route makes at most
    /// `live_max` attempts at one time.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn new(
        config: Config,
        ledger: &Ledger,
        queue: &dyn Queue,
        metrics: &Metrics,
        clock: &Arc<dyn Clock>,
        live_max: usize,
    ) -> Result<Self, StoreError> {
        let remember = config.store.remember;
        let mut by_path: HashMap<String, Vec<Arc<Route>>> = HashMap::new();
        let mut all = Vec::new();
        let mut breakers: HashMap<String, Arc<Breaker>> = HashMap::new();
        for config in config.routes {
            let keep = Keep {
                remember,
                max_keys: config.provider.is_unproven().then_some(UNPROVEN_KEYS_MAX),
            };
            let name = ShelfName {
                route: &config.name,
                provider: config.provider.kind().name,
            };
            let shelf = ledger.shelf(&name.to_string(), keep)?;
            let quota = config
                .quota
                .map(|quota| Limiter::new(config.name.clone(), quota, Arc::clone(clock)));
            queue.hold(shelf, terms(&config))?;
            let upstream = config
                .upstream
                .authority()
                .map_or("", |authority| authority.as_str());
            let breaker = breakers.entry(upstream.to_ascii_lowercase()).or_default();
            let route = Arc::new(Route {
                shelf,
                breaker: Arc::clone(breaker),
                rest: Rest::default(),
                wake: Notify::new(),
                busy: Busy::default(),
                quota,
                tests: Limiter::new(config.name.clone(), TESTS, Arc::clone(clock)),
                live: Semaphore::new(live_max.min(Semaphore::MAX_PERMITS)),
                metrics: metrics.route(&config.name, &config.provider.secrets(), clock.elapsed()),
                config: Arc::new(config),
            });
            by_path
                .entry(route.config.path.clone())
                .or_default()
                .push(Arc::clone(&route));
            all.push(route);
        }
        Ok(Self { by_path, all })
    }

    /// The route of a request.
    pub fn find(&self, head: &Head) -> Option<&Arc<Route>> {
        let path = head.path();
        let exact = self.at(path, head, |_| true);
        exact.or_else(|| {
            let (parent, _) = path.rsplit_once('/')?;
            self.at(parent, head, Route::has_path_secret)
        })
    }

    /// Every route, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.all.iter()
    }

    /// A route with a host of its own goes before one without.
    fn at(&self, path: &str, head: &Head, also: impl Fn(&Route) -> bool) -> Option<&Arc<Route>> {
        let routes = self.by_path.get(path)?;
        let host = head.text(&HOST).map(without_port);
        let of_host = routes.iter().find(|route| {
            let wanted = route.config.host.as_deref();
            also(route)
                && wanted.is_some_and(|wanted| {
                    host.is_some_and(|host| host.eq_ignore_ascii_case(wanted))
                })
        });
        of_host.or_else(|| {
            routes
                .iter()
                .find(|route| also(route) && route.config.host.is_none())
        })
    }
}

// === impl Route ===

impl Route {
    /// Whether the request stops short of the segment that is the secret.
    pub fn lacks_path_secret(&self, head: &Head) -> bool {
        self.has_path_secret() && head.path() == self.config.path
    }

    /// How long a probe may take before it is given up for lost: an attempt, and what it is stored with.
    pub fn probe_patience(&self) -> Duration {
        self.config.timeout * 2
    }

    /// Reports what an attempt said of the app.
    pub fn report(&self, event: Key, pass: Pass, attempted: &Attempted, now: Duration) {
        self.breaker.report(event, pass, attempted.sign(), now);
        if let Some(wish) = attempted.wished_rest() {
            self.rest.begin(now, wish);
        } else if attempted.class() == Class::Delivered {
            self.rest.end();
        }
    }

    fn has_path_secret(&self) -> bool {
        self.config.provider.has_path_secret()
    }
}

fn terms(route: &config::Route) -> Terms {
    Terms {
        keep_delivered: route.queue.keep_delivered,
        keep_dead: route.queue.keep_dead,
        max_events: route.queue.max_events,
        max_bytes: route.queue.max_bytes,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        Some(_) | None => host,
    }
}
