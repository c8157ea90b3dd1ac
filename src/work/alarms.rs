//! The alarms that a request's end may raise: for a feed that a platform may switch off, or a secret that was changed.
//!
//! What is counted for them is counted by route, in the metrics, where an operator sees it too.

use std::time::Duration;

use crate::keepers::log::Level;
use crate::words::outcome::Outcome;
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// Authentic events refused in a row after which somebody must look: WalletWerk gives up at ten.
const REFUSALS_ALARM: i64 = 5;

impl Gate {
    /// Raises the alarms that a provider's patience depends on, when the clock has been running for so long.
    ///
    /// Only events that are new tell of a feed: a captured request can be sent again by anybody, so neither a
    /// duplicate nor a stale event may silence an alarm or raise one.
    pub(super) fn watch(
        &self,
        route: &Route,
        outcome: Outcome,
        is_authentic: bool,
        running: Duration,
    ) {
        let metrics = &route.metrics;
        let is_new = !matches!(outcome, Outcome::Duplicate | Outcome::Stale);
        if is_authentic && is_new {
            metrics.note_event(running);
        }
        if is_authentic && is_new && outcome.is_accepted() {
            // It nearly always is 0, and what is not written stays in the caches of all cores.
            if metrics.consecutive_refusals.get() != 0 {
                metrics.consecutive_refusals.set(0);
            }
        } else if is_authentic && is_new {
            let before = metrics.consecutive_refusals.inc();
            if before + 1 == REFUSALS_ALARM {
                self.log.say(
                    Level::Error,
                    "authentic events are being refused; a platform may disable the endpoint after ten",
                    &[("route", &route.config.name), ("outcome", &outcome.label())],
                );
            }
        } else if outcome == Outcome::Unauthentic {
            let before = metrics.consecutive_unauthentic.inc();
            if before + 1 == REFUSALS_ALARM && metrics.had_event() {
                self.log.say(
                    Level::Warn,
                    "requests that cannot be verified follow ones that could; was the secret changed?",
                    &[("route", &route.config.name)],
                );
            }
        }
    }
}
