//! Every metric there is, in one table.
//!
//! Labels come from configured names and fixed enums only: nothing that a sender writes can mint a series.
//! The handles of a route are made once, when the route is, so that counting costs an addition.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::keepers::ledger::Duplicate;
use crate::keepers::metrics::queue::QueueFigures;
use crate::rules::filter::EventState;
use crate::words::outcome::Outcome;
use crate::words::secret::Reference;

pub mod queue;

/// What the label `route` says of a request that belongs to none.
pub const NO_ROUTE: &str = "unknown";

type Labels = Vec<(&'static str, String)>;

/// The metrics of the whole process.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    duplicates: Family<Labels, Counter>,
    id_conflicts: Family<Labels, Counter>,
    consecutive_refusals: Family<Labels, Gauge>,
    consecutive_unauthentic: Family<Labels, Gauge>,
    last_event: Family<Labels, Gauge>,
    secret_matches: Family<Labels, Counter>,
    header_corrections: Family<Labels, Counter>,
    delivery_ids_ignored: Family<Labels, Counter>,
    undated: Family<Labels, Counter>,
    queue_events: Family<Labels, Gauge>,
    queue_oldest: Family<Labels, Gauge>,
    breaker_open: Family<Labels, Gauge>,
    reloads: Family<Labels, Counter>,
    config_is_current: Gauge,
    tls_not_after: Family<Labels, Gauge>,
    tls_reload_errors: Family<Labels, Counter>,
    tls_reload_failing: Family<Labels, Gauge>,
    handshakes: [Counter; Handshake::LABELS.len()],
    unmatched: RequestCounters,
    /// From the complete head to the answer.
    pub request_seconds: Histogram,
    /// From an attempt's start to its end.
    pub upstream_seconds: Histogram,
    /// One commit of the store, sync included.
    pub store_commit_seconds: Histogram,
    /// 1 while the store can be used.
    pub store_up: Gauge,
    /// Keys that the ledger remembers.
    pub ledger_keys: Gauge,
    /// Settled keys that could not be written yet.
    pub ledger_unwritten: Gauge,
    /// Settled keys that were forgotten because too many could not be written: their events may come again.
    pub ledger_unwritten_lost: Gauge,
    /// Rows of the store that could not be read.
    pub store_damaged_rows: Gauge,
    /// Times the store was closed after a fault.
    pub store_faults: Gauge,
    /// 1 while the wall clock is not believed, so that nothing expires.
    pub clock_suspect: Gauge,
    /// Connections of trusted proxies that did not say whom they stand for.
    pub proxies_silent: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Connections with no event at work that were closed for others, or for want of a place.
    pub connections_dismissed: Counter,
    /// Log lines that were dropped.
    pub log_lines_dropped: Gauge,
}

/// A route's handles.
pub struct RouteMetrics {
    requests: RequestCounters,
    attempts: [Counter; AttemptResult::LABELS.len()],
    retries: Counter,
    content_duplicates: Counter,
    /// An id came with other content.
    pub id_conflicts: Counter,
    /// Authentic events in a row that were refused.
    pub consecutive_refusals: Gauge,
    /// Requests in a row that could not be verified.
    pub consecutive_unauthentic: Gauge,
    /// Headers that were rewritten from the signed body.
    pub header_corrections: Counter,
    /// Delivery ids that were too long or no text.
    pub delivery_ids_ignored: Counter,
    /// Events without a time, so that their freshness could not be judged.
    pub undated: Counter,
    /// A few: hashing a reference takes longer than comparing it with them all.
    secret_matches: Vec<(Reference, Counter)>,
    last_event: Gauge,
    last_event_at_millis: AtomicU64,
    has_event: AtomicBool,
}

/// A certificate's handles.
pub struct CertificateMetrics {
    /// Until when it is good, in Unix seconds.
    pub not_after: Gauge,
    /// Changes of its files that could not be served.
    pub reload_errors: Counter,
    /// 1 while its files hold something that cannot be served.
    pub reload_failing: Gauge,
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With a connection.
    Done,
    /// With an alert, or the peer's going away.
    Failed,
    /// At the deadline.
    TooSlow,
}

/// How an attempt at the app ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// 2xx.
    Delivered,
    /// Another status.
    Status,
    /// No connection, or a broken answer.
    Unreachable,
    /// No answer in time.
    Timeout,
}

struct RequestCounters([Counter; Outcome::LABELS.len()]);

// === impl Metrics ===

impl Metrics {
    /// A registry with every metric in it.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("passgate");
        let requests = family(&mut registry, "requests", "Requests by how they ended");
        let attempts = family(
            &mut registry,
            "attempts",
            "Attempts at the app by how they ended",
        );
        let duplicates = family(
            &mut registry,
            "duplicates",
            "Events that were settled before",
        );
        let id_conflicts = family(
            &mut registry,
            "id_conflict",
            "Delivery ids that came with other content",
        );
        let consecutive_refusals = family(
            &mut registry,
            "consecutive_refusals",
            "Authentic events refused in a row; WalletWerk disables an endpoint after 10",
        );
        let consecutive_unauthentic = family(
            &mut registry,
            "consecutive_unauthentic",
            "Requests in a row that could not be verified; after successes a sign of a changed secret",
        );
        let last_event = family(
            &mut registry,
            "last_event_seconds",
            "Seconds since the last authentic event, or since the start",
        );
        let secret_matches = family(
            &mut registry,
            "secret_matches",
            "Verified requests by the secret that matched; an old one at rest can go",
        );
        let header_corrections = family(
            &mut registry,
            "header_corrections",
            "Headers rewritten from the signed body",
        );
        let delivery_ids_ignored = family(
            &mut registry,
            "delivery_ids_ignored",
            "Delivery ids that were too long or no text",
        );
        let undated = family(
            &mut registry,
            "undated_events",
            "Events without a time of their own",
        );
        let queue_events = family(
            &mut registry,
            "queue_events",
            "Stored events by what has become of them",
        );
        let queue_oldest = family(
            &mut registry,
            "queue_oldest_seconds",
            "Age of the oldest event that waits for its delivery",
        );
        let breaker_open = family(
            &mut registry,
            "breaker_open",
            "1 while the upstream is away and attempts are held back",
        );
        let reloads = Family::default();
        registry.register(
            "config_reloads",
            "Readings anew of the configuration",
            reloads.clone(),
        );
        let tls_not_after = family(
            &mut registry,
            "tls_not_after_seconds",
            "Unix time at which a certificate expires",
        );
        let tls_reload_errors = family(
            &mut registry,
            "tls_reload_errors",
            "New certificates that could not be served, so that the one before still is",
        );
        let tls_reload_failing = family(
            &mut registry,
            "tls_reload_failing",
            "1 while a certificate cannot be renewed from where it comes",
        );
        let handshakes = family(
            &mut registry,
            "tls_handshakes",
            "TLS handshakes of senders by how they ended",
        );
        let handshakes = Handshake::LABELS
            .map(|result| handshakes.get_or_create_owned(&vec![("result", result.to_owned())]));
        let unmatched = RequestCounters::new(&requests, NO_ROUTE);
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let config_is_current = gauge(
            "config_is_current",
            "0 after the configuration could not be read anew, so that the one before holds",
        );
        config_is_current.set(1);
        let store_up = gauge("store_up", "1 while the store can be used");
        let ledger_keys = gauge("ledger_keys", "Keys that the ledger remembers");
        let ledger_unwritten = gauge(
            "ledger_unwritten_keys",
            "Settled keys that could not be written yet",
        );
        let ledger_unwritten_lost = gauge(
            "ledger_unwritten_lost_keys",
            "Settled keys that were forgotten because too many could not be written",
        );
        let store_damaged_rows = gauge(
            "store_damaged_rows",
            "Rows of the store that could not be read",
        );
        let store_faults = gauge("store_faults", "Times the store was closed after a fault");
        let clock_suspect = gauge(
            "clock_suspect",
            "1 while the wall clock is not believed and nothing expires",
        );
        let connections = gauge("connections", "Open connections of senders");
        let log_lines_dropped = gauge(
            "log_lines_dropped",
            "Log lines that were dropped because nobody read them",
        );
        let proxies_silent = Counter::default();
        registry.register(
            "proxies_silent",
            "Connections of trusted proxies without a PROXY header",
            proxies_silent.clone(),
        );
        let connections_dismissed = Counter::default();
        registry.register(
            "connections_dismissed",
            "Connections with no event at work that were closed for others, or for want of a place",
            connections_dismissed.clone(),
        );
        let mut histogram = |name: &str, help: &str| {
            let histogram = Histogram::new(BUCKETS);
            registry.register(name, help, histogram.clone());
            histogram
        };
        let request_seconds = histogram("request_seconds", "From the complete head to the answer");
        let upstream_seconds = histogram("upstream_seconds", "One attempt at the app");
        let store_commit_seconds = histogram(
            "store_commit_seconds",
            "One commit of the store, sync included",
        );
        Self {
            registry,
            requests,
            attempts,
            duplicates,
            id_conflicts,
            consecutive_refusals,
            consecutive_unauthentic,
            last_event,
            secret_matches,
            header_corrections,
            delivery_ids_ignored,
            undated,
            queue_events,
            queue_oldest,
            breaker_open,
            reloads,
            config_is_current,
            tls_not_after,
            tls_reload_errors,
            tls_reload_failing,
            handshakes,
            unmatched,
            request_seconds,
            upstream_seconds,
            store_commit_seconds,
            store_up,
            ledger_keys,
            ledger_unwritten,
            ledger_unwritten_lost,
            store_damaged_rows,
            store_faults,
            clock_suspect,
            connections,
            connections_dismissed,
            proxies_silent,
            log_lines_dropped,
        }
    }

    /// The handles of a route; `secrets` are the references that can match on it.
    pub fn route(&self, name: &str, secrets: &[Reference], since_start: Duration) -> RouteMetrics {
        let of_route = || vec![("route", name.to_owned())];
        let and = |label: &'static str, value: &str| {
            vec![("route", name.to_owned()), (label, value.to_owned())]
        };
        RouteMetrics {
            requests: RequestCounters::new(&self.requests, name),
            attempts: AttemptResult::LABELS
                .map(|label| self.attempts.get_or_create_owned(&and("result", label))),
            retries: self
                .duplicates
                .get_or_create_owned(&and("kind", Duplicate::Retry.label())),
            content_duplicates: self
                .duplicates
                .get_or_create_owned(&and("kind", Duplicate::Content.label())),
            id_conflicts: self.id_conflicts.get_or_create_owned(&of_route()),
            consecutive_refusals: self.consecutive_refusals.get_or_create_owned(&of_route()),
            consecutive_unauthentic: self
                .consecutive_unauthentic
                .get_or_create_owned(&of_route()),
            header_corrections: self.header_corrections.get_or_create_owned(&of_route()),
            delivery_ids_ignored: self.delivery_ids_ignored.get_or_create_owned(&of_route()),
            undated: self.undated.get_or_create_owned(&of_route()),
            secret_matches: secrets
                .iter()
                .map(|secret| {
                    let labels = and("secret", secret.as_str());
                    let counter = self.secret_matches.get_or_create_owned(&labels);
                    (secret.clone(), counter)
                })
                .collect(),
            last_event: self.last_event.get_or_create_owned(&of_route()),
            last_event_at_millis: AtomicU64::new(millis(since_start)),
            has_event: AtomicBool::new(false),
        }
    }

    /// The handles of a certificate.
    pub fn certificate(&self, name: &str) -> CertificateMetrics {
        let labels = vec![("certificate", name.to_owned())];
        CertificateMetrics {
            not_after: self.tls_not_after.get_or_create_owned(&labels),
            reload_errors: self.tls_reload_errors.get_or_create_owned(&labels),
            reload_failing: self.tls_reload_failing.get_or_create_owned(&labels),
        }
    }

    /// Counts a handshake.
    pub fn count_handshake(&self, how: Handshake) {
        if let Some(counter) = self.handshakes.get(how.index()) {
            counter.inc();
        }
    }

    /// Sets what is stored for a route, or for a shelf whose route is gone.
    pub fn set_queue(&self, route: &str, figures: &QueueFigures) {
        for state in EventState::ALL {
            let labels = vec![
                ("route", route.to_owned()),
                ("state", state.label().to_owned()),
            ];
            self.queue_events
                .get_or_create_owned(&labels)
                .set(whole(figures.of(state)));
        }
        self.queue_oldest
            .get_or_create_owned(&vec![("route", route.to_owned())])
            .set(whole(figures.oldest.as_secs()));
    }

    /// Sets whether attempts of a route are held back.
    pub fn set_breaker(&self, route: &str, is_open: bool) {
        self.breaker_open
            .get_or_create_owned(&vec![("route", route.to_owned())])
            .set(i64::from(is_open));
    }

    /// Counts a reading anew of the configuration.
    pub fn count_reload(&self, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" };
        self.reloads
            .get_or_create_owned(&vec![("result", result.to_owned())])
            .inc();
        self.config_is_current.set(i64::from(is_ok));
    }

    /// Counts a request that belongs to no route.
    pub fn count_unmatched(&self, outcome: Outcome) {
        self.unmatched.count(outcome);
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

// === impl RouteMetrics ===

impl RouteMetrics {
    /// Counts a request.
    pub fn count(&self, outcome: Outcome) {
        self.requests.count(outcome);
    }

    /// Goes on where the handles of an earlier configuration stopped.
    pub fn take_over(&self, earlier: &Self) {
        let last_event_at = earlier.last_event_at_millis.load(Ordering::Relaxed);
        self.last_event_at_millis
            .store(last_event_at, Ordering::Relaxed);
        let has_event = earlier.has_event.load(Ordering::Relaxed);
        self.has_event.store(has_event, Ordering::Relaxed);
    }

    /// Counts an attempt at the app.
    pub fn count_attempt(&self, result: AttemptResult) {
        // One counter for each result: a test holds the places against the table.
        if let Some(counter) = self.attempts.get(result.index()) {
            counter.inc();
        }
    }

    /// Counts an event that came again.
    pub fn count_duplicate(&self, kind: Duplicate) {
        match kind {
            Duplicate::Retry => self.retries.inc(),
            Duplicate::Content => self.content_duplicates.inc(),
        };
    }

    /// Counts a verified request by the secret that matched.
    pub fn count_secret(&self, secret: &Reference) {
        let mut known = self.secret_matches.iter();
        if let Some((_, counter)) = known.find(|(known, _)| known == secret) {
            counter.inc();
        }
    }

    /// An authentic event is there, now.
    pub fn note_event(&self, since_start: Duration) {
        let now = millis(since_start);
        // Many come in a millisecond, and what is not written stays in the caches of all cores.
        if self.last_event_at_millis.load(Ordering::Relaxed) != now {
            self.last_event_at_millis.store(now, Ordering::Relaxed);
        }
        if !self.had_event() {
            self.has_event.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there was an authentic event since the start.
    pub fn had_event(&self) -> bool {
        self.has_event.load(Ordering::Relaxed)
    }

    /// Works out the gauges that grow by themselves.
    pub fn refresh(&self, since_start: Duration) {
        let since =
            millis(since_start).saturating_sub(self.last_event_at_millis.load(Ordering::Relaxed));
        self.last_event
            .set(i64::try_from(since / 1000).unwrap_or(i64::MAX));
    }
}

// === impl Handshake ===

impl Handshake {
    /// Every label, at its index.
    const LABELS: [&'static str; 3] = ["done", "failed", "too_slow"];

    const fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::TooSlow => 2,
        }
    }
}

// === impl AttemptResult ===

impl AttemptResult {
    /// Every label, at its index.
    pub const LABELS: [&'static str; 4] = ["delivered", "status", "unreachable", "timeout"];

    const fn index(self) -> usize {
        match self {
            Self::Delivered => 0,
            Self::Status => 1,
            Self::Unreachable => 2,
            Self::Timeout => 3,
        }
    }
}

// === impl RequestCounters ===

impl RequestCounters {
    fn new(requests: &Family<Labels, Counter>, route: &str) -> Self {
        Self(Outcome::LABELS.map(|outcome| {
            requests.get_or_create_owned(&vec![
                ("route", route.to_owned()),
                ("outcome", outcome.to_owned()),
            ])
        }))
    }

    fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(outcome.index()) {
            counter.inc();
        }
    }
}

fn family<M>(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, M>
where
    M: Default + Clone,
    Family<Labels, M>: prometheus_client::registry::Metric,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn whole(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds: from an event that never left memory to the longest that a provider waits.
const BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 25.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_stored_event_has_a_series() {
        let metrics = Metrics::new();
        let figures = QueueFigures {
            queued: 1,
            in_flight: 2,
            delivered: 3,
            dead_letters: 4,
            parked: 5,
            oldest: Duration::from_millis(6_999),
        };
        metrics.set_queue("r", &figures);
        metrics.set_breaker("r", true);
        let text = metrics.encode();
        for line in [
            r#"passgate_queue_events{route="r",state="queued"} 1"#,
            r#"passgate_queue_events{route="r",state="in_flight"} 2"#,
            r#"passgate_queue_events{route="r",state="delivered"} 3"#,
            r#"passgate_queue_events{route="r",state="dead_letter"} 4"#,
            r#"passgate_queue_events{route="r",state="parked"} 5"#,
            r#"passgate_queue_oldest_seconds{route="r"} 6"#,
            r#"passgate_breaker_open{route="r"} 1"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_route_has_its_series_before_anything_happens_and_no_others() {
        let metrics = Metrics::new();
        let secrets = [Reference::new("env:KEY")];
        let route = metrics.route("r", &secrets, Duration::ZERO);
        route.count(Outcome::Duplicate);
        route.count_duplicate(Duplicate::Content);
        route.count_attempt(AttemptResult::Timeout);
        route.count_secret(&Reference::new("env:KEY"));
        route.count_secret(&Reference::new("env:OTHER"));
        route.refresh(Duration::from_secs(7));
        let text = metrics.encode();
        for line in [
            r#"passgate_requests_total{route="r",outcome="duplicate"} 1"#,
            r#"passgate_requests_total{route="r",outcome="forwarded"} 0"#,
            r#"passgate_duplicates_total{route="r",kind="duplicate_content"} 1"#,
            r#"passgate_attempts_total{route="r",result="timeout"} 1"#,
            r#"passgate_secret_matches_total{route="r",secret="env:KEY"} 1"#,
            r#"passgate_last_event_seconds{route="r"} 7"#,
            r#"passgate_requests_total{route="unknown",outcome="no_route"} 0"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("env:OTHER"));
    }
}
