//! The routes, as they are configured and as they are at work.
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
use crate::rules::config::{self, Quota};
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

/// What all routes stand on.
#[derive(Clone)]
pub struct Ground {
    /// Who processes what, and what is settled.
    pub ledger: Arc<Ledger>,
    /// What waits for its app.
    pub queue: Arc<dyn Queue>,
    /// Where it is all counted.
    pub metrics: Arc<Metrics>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Attempts at one time for each route, while their senders wait.
    pub live_max: usize,
}

/// Every route, by path.
pub struct Routes {
    by_path: HashMap<String, Vec<Arc<Route>>>,
    all: Vec<Arc<Route>>,
    /// Routes that are gone while attempts of theirs run: should one come back, they must not be made twice.
    leaving: Vec<(ShelfId, Arc<Busy>)>,
}

/// A route at work: its configuration and what is kept for it. What stands behind an `Arc` of its own goes
/// along when the configuration is read anew.
pub struct Route {
    /// What the configuration says.
    pub config: Arc<config::Route>,
    /// Its part of the ledger.
    pub shelf: ShelfId,
    /// How fast the app is called.
    pub quota: Option<Arc<Limiter>>,
    /// How often a platform's test goes through.
    pub tests: Arc<Limiter>,
    /// Attempts that run now while their senders wait.
    pub live: Arc<Semaphore>,
    /// Whether its upstream is there; shared by all routes to it.
    pub breaker: Arc<Breaker>,
    /// Whether the app asked to be left alone.
    pub rest: Arc<Rest>,
    /// Told when the queue's worker has something to look at.
    pub wake: Arc<Notify>,
    /// What the worker is at.
    pub busy: Arc<Busy>,
    /// Its metrics.
    pub metrics: RouteMetrics,
}

// === impl Routes ===

impl Routes {
    /// Makes the routes of a configuration and their shelves in the ledger, after `earlier` ones if there are
    /// any. It waits for the disk.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn new(
        routes: Vec<config::Route>,
        remember: Duration,
        ground: &Ground,
        earlier: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let mut by_path: HashMap<String, Vec<Arc<Route>>> = HashMap::new();
        let mut all = Vec::new();
        let mut breakers = earlier.map_or_else(HashMap::new, Self::breakers);
        for config in routes {
            let shelf = hold_shelf(&config, remember, ground)?;
            let breaker = breakers.entry(upstream_of(&config)).or_default();
            let route = Arc::new(Route::new(
                config,
                shelf,
                Arc::clone(breaker),
                ground,
                earlier,
            ));
            by_path
                .entry(route.config.path.clone())
                .or_default()
                .push(Arc::clone(&route));
            all.push(route);
        }
        let leaving = earlier.map_or_else(Vec::new, |earlier| earlier.leaving(&all));
        Ok(Self {
            by_path,
            all,
            leaving,
        })
    }

    /// The route whose events lie on this shelf.
    pub fn of_shelf(&self, shelf: ShelfId) -> Option<&Arc<Route>> {
        self.all.iter().find(|route| route.shelf == shelf)
    }

    fn breakers(&self) -> HashMap<String, Arc<Breaker>> {
        let all = self.all.iter();
        all.map(|route| (upstream_of(&route.config), Arc::clone(&route.breaker)))
            .collect()
    }

    /// What runs for routes that are not among `next`.
    fn leaving(&self, next: &[Arc<Route>]) -> Vec<(ShelfId, Arc<Busy>)> {
        let is_gone = |shelf: ShelfId| next.iter().all(|route| route.shelf != shelf);
        let routes = self.all.iter().map(|route| (route.shelf, &route.busy));
        let earlier = self.leaving.iter().map(|(shelf, busy)| (*shelf, busy));
        routes
            .chain(earlier)
            .filter(|(shelf, busy)| is_gone(*shelf) && busy.count() > 0)
            .map(|(shelf, busy)| (shelf, Arc::clone(busy)))
            .collect()
    }

    /// What runs for the route of this shelf, or ran when it was removed.
    fn busy_of(&self, shelf: ShelfId) -> Option<Arc<Busy>> {
        let of_route = self.of_shelf(shelf).map(|route| &route.busy);
        let leaving = self.leaving.iter().find(|(gone, _)| *gone == shelf);
        of_route.or(leaving.map(|(_, busy)| busy)).cloned()
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
        let is_for = |wanted: &str| {
            let host = head.text(&HOST).map(without_port);
            host.is_some_and(|host| host.eq_ignore_ascii_case(wanted))
        };
        let of_host = routes
            .iter()
            .find(|route| also(route) && route.config.host.as_deref().is_some_and(is_for));
        of_host.or_else(|| {
            routes
                .iter()
                .find(|route| also(route) && route.config.host.is_none())
        })
    }
}

// === impl Route ===

impl Route {
    fn new(
        config: config::Route,
        shelf: ShelfId,
        breaker: Arc<Breaker>,
        ground: &Ground,
        earlier: Option<&Routes>,
    ) -> Self {
        let clock = &ground.clock;
        let limiter = |quota| Arc::new(Limiter::new(config.name.clone(), quota, Arc::clone(clock)));
        let secrets = config.provider.secrets();
        let metrics = ground
            .metrics
            .route(&config.name, &secrets, clock.elapsed());
        let busy = earlier.and_then(|earlier| earlier.busy_of(shelf));
        let before = earlier.and_then(|earlier| earlier.of_shelf(shelf));
        if let Some(before) = before {
            metrics.take_over(&before.metrics);
        }
        let quota_before = before.filter(|before| before.config.quota == config.quota);
        Self {
            shelf,
            breaker,
            quota: match quota_before {
                Some(before) => before.quota.clone(),
                None => config.quota.map(limiter),
            },
            tests: before.map_or_else(|| limiter(TESTS), |before| Arc::clone(&before.tests)),
            live: before.map_or_else(
                || Arc::new(Semaphore::new(ground.live_max.min(Semaphore::MAX_PERMITS))),
                |before| Arc::clone(&before.live),
            ),
            rest: before.map_or_else(Arc::default, |before| Arc::clone(&before.rest)),
            wake: before.map_or_else(Arc::default, |before| Arc::clone(&before.wake)),
            busy: busy.unwrap_or_default(),
            metrics,
            config: Arc::new(config),
        }
    }

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

/// The shelf of a route, on the route's terms.
fn hold_shelf(
    route: &config::Route,
    remember: Duration,
    ground: &Ground,
) -> Result<ShelfId, StoreError> {
    let keep = Keep {
        remember,
        max_keys: route.provider.is_unproven().then_some(UNPROVEN_KEYS_MAX),
    };
    let name = ShelfName {
        route: &route.name,
        provider: route.provider.kind().name,
    };
    let shelf = ground.ledger.shelf(&name.to_string(), keep)?;
    ground.queue.hold(shelf, terms(route))?;
    Ok(shelf)
}

/// Host and port: what is away, if the app is.
fn upstream_of(route: &config::Route) -> String {
    let authority = route.upstream.authority();
    authority.map_or_else(String::new, |authority| {
        authority.as_str().to_ascii_lowercase()
    })
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
