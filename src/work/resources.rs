//! What an attempt takes while its sender waits: a pass of the breaker, a live place, time, and of the quota.
//!
//! They are taken in one order, the quota last, so that nothing charged is ever given back.

use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::keepers::breaker::Pass;
use crate::work::ingest::Gate;
use crate::work::routes::Route;
use crate::work::trace::Trace;

/// What is held while an attempt is made.
pub(super) struct Resources<'a> {
    /// How the breaker let it pass.
    pub(super) pass: Pass,
    _live: SemaphorePermit<'a>,
    /// When the attempt begins.
    pub(super) since: Instant,
    /// How long it may take: the route's `timeout`, but of the time for the whole request as much is left as storing
    /// takes, whatever went before.
    pub(super) limit: Duration,
}

/// Why no attempt is made now.
pub(super) enum NotNow {
    /// The app is away.
    Breaker,
    /// Too little is left of the time for the whole request.
    Time,
    /// Too many attempts at one time.
    Places,
    /// The route's quota is used up.
    Quota,
}

impl Gate {
    /// Takes what an attempt needs, or says what is missing.
    pub(super) fn take_resources<'a>(
        &self,
        trace: &Trace,
        route: &'a Route,
        pass: Pass,
    ) -> Result<Resources<'a>, NotNow> {
        if matches!(pass, Pass::Not(_)) {
            return Err(NotNow::Breaker);
        }
        let give_back = |why| {
            if pass == Pass::Probe {
                route.breaker.give_back();
            }
            why
        };
        let since = Instant::now();
        let left = trace.until.saturating_duration_since(since);
        let limit = route
            .config
            .timeout
            .min(left.saturating_sub(self.limits.store_time));
        if limit.is_zero() {
            return Err(give_back(NotNow::Time));
        }
        let live = route
            .live
            .try_acquire()
            .map_err(|_| give_back(NotNow::Places))?;
        match &route.quota {
            Some(quota) if !quota.take() => Err(give_back(NotNow::Quota)),
            Some(_) | None => Ok(Resources {
                pass,
                _live: live,
                since,
                limit,
            }),
        }
    }
}

// === impl NotNow ===

impl NotNow {
    /// The reason as the log says it.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Breaker => "the app is away",
            Self::Time => "no time left for an attempt",
            Self::Places => "too many attempts at one time",
            Self::Quota => "the route's quota is used up",
        }
    }
}
