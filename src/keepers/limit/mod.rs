//! Quotas: how many failed verifications a client has, and how fast a route calls the app.
//!
//! governor decides, by GCRA: `rate` is the pace at which capacity comes back, `burst` how much of it there
//! is at most. Its limiter can neither be read without being charged nor say when it is full again, and
//! both stand in the headers of every answer. So the state lives in stores of our own, which the limiter
//! charges and [`Standing`] reads: headers and decisions can never disagree.

mod clients;
pub mod lane;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota as GovernorQuota, RateLimiter};
use hyper::header::HeaderValue;

use crate::keepers::limit::clients::{ClientStates, Visit};
use crate::keepers::limit::lane::{LanePlace, Lanes};
use crate::rules::client::ClientKey;
use crate::rules::config::Quota;
use crate::words::time::{Clock, Timestamp, whole_secs};

/// Where a quota stands: what every rate-limit header is written from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is always the same of it.
    pub quota: Arc<Announced>,
    /// How many may come at once now.
    pub remaining: u32,
    /// How long until as many may come at once as ever.
    pub full_in: Duration,
    /// How long until one more may come; zero while `remaining` is not.
    pub next_in: Duration,
}

/// What every answer says of a quota in the same words.
#[derive(Debug, PartialEq, Eq)]
pub struct Announced {
    /// The quota's name: the route's, or [`CLIENT_QUOTA_NAME`].
    pub name: Arc<str>,
    /// `X-RateLimit-Limit`: how many may come at once after a quiet time.
    pub limit: HeaderValue,
    /// `RateLimit-Policy`, as the IETF's draft has it; `None` for a name that no header can carry.
    pub policy: Option<HeaderValue>,
}

/// The name of the client quota in the rate-limit headers.
pub const CLIENT_QUOTA_NAME: &str = "client";

/// The quota of a route, or any other that has one state.
pub struct Limiter {
    announced: Arc<Announced>,
    terms: Terms,
    state: Arc<Arrival>,
    limiter: RateLimiter<NotKeyed, Shared<Arrival>, SinceStart, NoOpMiddleware<Duration>>,
}

/// The quotas of all clients, and the narrow lanes of those that used theirs up.
pub struct ClientLimiter {
    announced: Arc<Announced>,
    terms: Terms,
    states: Arc<ClientStates>,
    limiter: RateLimiter<Visit, Shared<ClientStates>, SinceStart, NoOpMiddleware<Duration>>,
    lanes: Lanes,
}

/// GCRA's state of one limiter: when, in nanoseconds since the start, it is full again (the theoretical
/// arrival time of the next one that conforms exactly). 0: never charged.
#[derive(Default)]
struct Arrival(AtomicU64);

/// A state that the limiter charges and we read.
struct Shared<T>(Arc<T>);

/// Monotonic time since the limiter was made; governor counts from its first reading.
#[derive(Clone)]
struct SinceStart {
    clock: Arc<dyn Clock>,
    start: Duration,
}

/// A quota in GCRA's terms.
#[derive(Clone, Copy)]
struct Terms {
    quota: GovernorQuota,
}

// === impl Limiter ===

impl Limiter {
    /// A full quota.
    pub fn new(name: Arc<str>, quota: Quota, clock: Arc<dyn Clock>) -> Self {
        let terms = Terms::new(quota);
        let state = Arc::new(Arrival::default());
        let clock = SinceStart::new(clock);
        Self {
            announced: terms.announced(name),
            terms,
            limiter: RateLimiter::new(terms.quota, Shared(Arc::clone(&state)), clock),
            state,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&self) -> bool {
        self.limiter.check().is_ok()
    }

    /// Where the quota stands, without charging it.
    pub fn standing(&self) -> Standing {
        self.standing_at(self.limiter.clock().clock.elapsed())
    }

    /// The same when the limiter's clock has been running for so long.
    pub fn standing_at(&self, running: Duration) -> Standing {
        let now = nanos(self.limiter.clock().since_start(running));
        self.terms
            .standing(&self.announced, self.state.0.load(Ordering::Relaxed), now)
    }
}

// === impl ClientLimiter ===

impl ClientLimiter {
    /// Every client with a full quota.
    pub fn new(quota: Quota, clock: Arc<dyn Clock>) -> Self {
        let terms = Terms::new(quota);
        let states = Arc::new(ClientStates::new());
        let clock = SinceStart::new(clock);
        Self {
            announced: terms.announced(CLIENT_QUOTA_NAME.into()),
            terms,
            limiter: RateLimiter::new(terms.quota, Shared(Arc::clone(&states)), clock),
            states,
            lanes: Lanes::new(),
        }
    }

    /// Charges a failed verification.
    pub fn charge(&self, client: ClientKey) {
        let now = self.limiter.clock().nanos();
        // Whether there was one left makes no difference: the next request asks.
        let _ = self.limiter.check_key(&Visit { client, now });
    }

    /// Where a client's quota stands.
    pub fn standing(&self, client: ClientKey) -> Standing {
        let now = self.limiter.clock().nanos();
        self.terms
            .standing(&self.announced, self.states.arrival(client, now), now)
    }

    /// Whether a client used up its quota.
    pub fn is_used_up(&self, client: ClientKey) -> bool {
        if self.states.is_untouched() {
            return false;
        }
        let now = self.limiter.clock().nanos();
        let arrival = self.states.arrival(client, now);
        // Nearly every client has no state at all.
        arrival > now && self.terms.standing(&self.announced, arrival, now).remaining == 0
    }

    /// A place in the narrow lane of a client that used up its quota; `None` if none is free in a moment.
    pub async fn enter_lane(&self, client: ClientKey) -> Option<LanePlace<'_>> {
        self.lanes.enter(client).await
    }
}

// === impl Standing ===

impl Standing {
    /// Unix seconds at which the quota is full again, rounded up like everything that is waited for; the
    /// present where it is full.
    pub fn full_at(&self, now: Timestamp) -> i64 {
        if self.full_in.is_zero() {
            return now.as_secs();
        }
        let at = now
            .after(self.full_in + Duration::from_nanos(999_999))
            .as_millis();
        at.div_euclid(1000) + i64::from(at.rem_euclid(1000) > 0)
    }
}

// === impl Announced ===

impl Announced {
    /// Of a quota of this name that lets `burst` come at once, and takes `refill` from nothing to that.
    pub fn new(name: Arc<str>, burst: u32, refill: Duration) -> Self {
        let secs = whole_secs(refill).max(1);
        let policy = format!("\"{name}\";q={burst};w={secs}");
        Self {
            limit: HeaderValue::from(burst),
            policy: HeaderValue::try_from(policy).ok(),
            name,
        }
    }
}

// === impl Terms ===

impl Terms {
    fn new(quota: Quota) -> Self {
        let interval = (quota.per / quota.count.get()).max(Duration::from_nanos(1));
        let quota = GovernorQuota::with_period(interval)
            // Only a period of zero is refused.
            .unwrap_or_else(|| GovernorQuota::per_second(quota.count))
            .allow_burst(quota.burst);
        Self { quota }
    }

    fn announced(&self, name: Arc<str>) -> Arc<Announced> {
        let refill = Duration::from_nanos(self.capacity());
        Arc::new(Announced::new(name, self.quota.burst_size().get(), refill))
    }

    fn interval(&self) -> u64 {
        nanos(self.quota.replenish_interval()).max(1)
    }

    /// Nanoseconds from nothing to the burst.
    fn capacity(&self) -> u64 {
        let burst = self.quota.burst_size().get();
        self.interval().saturating_mul(u64::from(burst))
    }

    fn standing(&self, announced: &Arc<Announced>, arrival: u64, now: u64) -> Standing {
        let burst = self.quota.burst_size().get();
        let (interval, capacity) = (self.interval(), self.capacity());
        let used = arrival.saturating_sub(now).min(capacity);
        let free = capacity - used;
        Standing {
            quota: Arc::clone(announced),
            remaining: u32::try_from(free / interval).unwrap_or(burst),
            full_in: Duration::from_nanos(used),
            next_in: Duration::from_nanos(interval.saturating_sub(free)),
        }
    }
}

// === impl SinceStart ===

impl SinceStart {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let start = clock.elapsed();
        Self { clock, start }
    }

    fn nanos(&self) -> u64 {
        nanos(self.now())
    }

    fn since_start(&self, running: Duration) -> Duration {
        running.saturating_sub(self.start)
    }
}

impl governor::clock::Clock for SinceStart {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.since_start(self.clock.elapsed())
    }
}

// === impl Arrival ===

impl Arrival {
    /// One compare-and-swap loop, as governor's own store has it.
    fn measure_and_replace<T, E>(
        &self,
        measure: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        let mut previous = self.0.load(Ordering::Acquire);
        loop {
            let known = (previous != 0).then(|| Nanos::from(previous));
            let (result, next) = measure(known)?;
            match self.0.compare_exchange_weak(
                previous,
                next.as_u64(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(result),
                Err(other) => previous = other,
            }
        }
    }
}

impl StateStore for Shared<Arrival> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(measure)
    }
}

impl StateStore for Shared<ClientStates> {
    type Key = Visit;

    fn measure_and_replace<T, F, E>(&self, visit: &Visit, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(*visit, measure)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
