//! The life of an event, told once and in order. The order is the security.
//!
//! `Gate::admit` takes a request as far as a verified event; up to there nothing is remembered of it but
//! the client's failed verifications. `Gate::process` claims the event and brings it to its end, whether
//! anybody waits for it or not: a sender that hangs up must not strand a claim or abort a half-done delivery.
//! Every request ends in `Gate::finish`, which is where it is counted, logged and answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::keepers::event::{Asked, Cleaned, Event, Verified};
use crate::keepers::ledger::{Ledger, NotOurs, Patience};
use crate::keepers::limit::{ClientLimiter, lane};
use crate::keepers::log::line::{EventFields, RequestLine};
use crate::keepers::log::{Level, Log, bounded};
use crate::keepers::metrics::Metrics;
use crate::keepers::recent::Recent;
use crate::keepers::store::jobs::Queue;
use crate::rules::client::{self, ClientKey};
use crate::words::limits::Limits;
use crate::words::message::{Head, Message, RequestId};
use crate::words::outcome::{Malformed, Outcome};
use crate::words::time::Clock;
use crate::words::verdict::{Unverified, Verdict};
use crate::work::answer::Ending;
use crate::work::body::{BodyBudget, BodyError, Pace, ReadBody};
use crate::work::forward::Attempted;
use crate::work::head::{self, HeadNote};
use crate::work::outliving::Outliving;
use crate::work::routes::Route;
use crate::work::running::Running;
use crate::work::snapshot::Snapshot;
use crate::work::timers::Timers;
use crate::work::trace::Trace;

/// Everything that a request meets.
pub struct Gate {
    /// The configuration of the moment. A request loads it once.
    pub snapshot: ArcSwap<Snapshot>,
    /// Who processes what, and what is settled.
    pub ledger: Arc<Ledger>,
    /// What waits for its app.
    pub queue: Arc<dyn Queue>,
    /// The memory for bodies.
    pub bodies: BodyBudget,
    /// How much and how long.
    pub limits: Limits,
    /// Timers for what is waited for.
    pub timers: Timers,
    /// The events that are at work, their senders still there or not.
    pub running: Running,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Where it is all told.
    pub log: Log,
    /// Where it is all counted.
    pub metrics: Arc<Metrics>,
    /// What happened lately and is stored nowhere.
    pub recent: Recent,
    /// Told when another configuration took the place of the one before.
    pub replaced: watch::Sender<()>,
    /// The gateway is about to end, so connections shall not be kept.
    pub draining: watch::Receiver<bool>,
}

/// A request whose head has come.
pub struct Arrived {
    trace: Box<Trace>,
    body: Incoming,
    note: HeadNote,
}

/// A verified event whose processing has not begun. Dropped, it was never here: nothing is remembered of it.
pub struct Work {
    gate: Arc<Gate>,
    trace: Box<Trace>,
    admitted: Admitted<Verified>,
}

/// A request that became an event.
struct Admitted<S> {
    event: Event<S>,
    route: Arc<Route>,
    /// The body's share of the memory budget.
    _share: Option<OwnedSemaphorePermit>,
}

// === impl Work ===

impl Work {
    /// Takes the event to its end, and gives back the answer, and whether the event was new.
    pub async fn done(self) -> (Response<Full<Bytes>>, bool) {
        let Self {
            gate,
            mut trace,
            admitted,
        } = self;
        let at_work = gate.running.begin();
        // What is not ours needs nothing that outlives its sender, and what does is large.
        let asked = match admitted.ask(&gate.ledger) {
            Ok(asked) => asked,
            Err(ending) => {
                let is_new = is_new(ending.outcome);
                return (gate.finish(trace, ending), is_new);
            }
        };
        let request_id = trace.head.request_id;
        let processing = Arc::clone(&gate);
        let work = Outliving::new(|| async move {
            let _at_work = at_work;
            let ending = processing.process(&mut trace, asked).await;
            let is_new = is_new(ending.outcome);
            (processing.finish(trace, ending), is_new)
        });
        let done = work.await;
        done.unwrap_or_else(|_| (gate.panicked(request_id), false))
    }
}

// === impl Admitted<Verified> ===

impl Admitted<Verified> {
    /// Asks for the event, or gives back its ending if it is not ours.
    fn ask(self, ledger: &Arc<Ledger>) -> Result<Admitted<Asked>, Ending> {
        let Self {
            event,
            route,
            _share,
        } = self;
        let asked = event.ask(ledger, route.shelf);
        let event = asked.map_err(|why| not_ours(&route, why))?;
        Ok(Admitted {
            event,
            route,
            _share,
        })
    }
}

// === impl Gate ===

impl Gate {
    /// Takes in a request of `peer`, of whose head `note` tells.
    pub fn take_in(&self, request: Request<Incoming>, peer: IpAddr, note: HeadNote) -> Arrived {
        let (parts, body) = request.into_parts();
        let snapshot = self.snapshot.load_full();
        let head = Arc::new(Head {
            client: client::address(
                peer,
                &parts.headers,
                &snapshot.trusted_proxies,
                snapshot.client_address_from,
            ),
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            received_at: self.clock.now(),
            version: parts.version,
            is_secure: note.is_secure,
            request_id: RequestId::new(fastrand::u128(..)),
        });
        let trace = Box::new(Trace::begin(
            head,
            snapshot,
            &note,
            self.limits.request_time,
        ));
        Arrived { trace, body, note }
    }

    /// Takes a request as far as a verified event, or to its answer if it is none.
    ///
    /// # Errors
    /// The answer to what is refused.
    pub async fn receive(
        self: &Arc<Self>,
        arrived: Arrived,
    ) -> Result<Work, Response<Full<Bytes>>> {
        let Arrived {
            mut trace,
            body,
            note,
        } = arrived;
        match self.admit(&mut trace, body, note).await {
            Err(ending) => Err(self.finish(trace, ending)),
            Ok(admitted) => Ok(Work {
                gate: Arc::clone(self),
                trace,
                admitted,
            }),
        }
    }

    /// From a head to a verified event.
    async fn admit(
        &self,
        trace: &mut Trace,
        body: Incoming,
        note: HeadNote,
    ) -> Result<Admitted<Verified>, Ending> {
        let head = Arc::clone(&trace.head);
        if let Some(flaw) = note.flaw {
            let outcome = flaw
                .malformed()
                .map_or(Outcome::TooSlow, Outcome::Malformed);
            return Err(Ending::of(outcome).because(flaw.label()).closing());
        }
        let route = trace
            .route
            .clone()
            .ok_or_else(|| Ending::of(Outcome::NoRoute).closing())?;
        if !route.config.is_open_to(head.client) {
            return Err(Ending::of(Outcome::NotAllowed).closing());
        }
        head::check(&head, &route.config, note.length).map_err(Ending::closing)?;

        let client = ClientKey::from(head.client);
        let clients = &trace.snapshot.clients;
        let is_limited = clients.is_used_up(client);
        let unverified = |reason| refuse_unverified(clients, client, is_limited, reason);
        let screened = match route.lacks_path_secret(&head) {
            true => Err(Unverified::MissingCredential),
            false => route.config.provider.screen(&head),
        };
        let screened = screened.map_err(|reason| unverified(reason).closing())?;
        let read = self
            .read_body(body, &route, clients, client, is_limited)
            .await?;
        trace.body_bytes = read.bytes.len();
        if read.bytes.is_empty() && route.config.provider.kind().needs_body {
            return Err(unverified(Unverified::Empty));
        }

        let now = match read.was_awaited {
            true => self.clock.now(),
            // What came at once came just now.
            false => head.received_at,
        };
        let message = Message {
            head,
            body: read.bytes,
        };
        let event = Event::received(message, Arc::clone(&route.config))
            .verify(screened, now)
            .map_err(unverified)?;
        drop(read.unverified);
        trace.event = Some(self.note_verified(&route, &event));
        Ok(Admitted {
            event,
            route,
            _share: read.share,
        })
    }

    /// Reads a body. A client that used up its quota has little time for it, and unless it comes at once it
    /// needs a place in the narrow lane: junk that trickles in is few at a time, and an authentic event, which
    /// comes in one piece, passes beside it.
    async fn read_body(
        &self,
        body: Incoming,
        route: &Route,
        clients: &ClientLimiter,
        client: ClientKey,
        is_limited: bool,
    ) -> Result<ReadBody, Ending> {
        let max = route.config.max_body;
        let pace = |limit| Pace {
            limit,
            grace: self.limits.body_grace,
            rate: self.limits.body_rate,
        };
        let read = match is_limited {
            false => {
                let pace = pace(self.limits.body_time);
                self.bodies.read(body, client, max, pace).await
            }
            true => {
                let pace = pace(self.limits.lane_body_time);
                let reading = self.bodies.read(body, client, max, pace);
                tokio::pin!(reading);
                match tokio::time::timeout(lane::WAIT, &mut reading).await {
                    Ok(read) => read,
                    Err(_) => {
                        let _place = clients
                            .enter_lane(client)
                            .await
                            .ok_or_else(|| client_limited(clients, client).closing())?;
                        reading.await
                    }
                }
            }
        };
        read.map_err(|error| {
            // A body that never becomes one costs memory and time like one that cannot be verified.
            if error.is_the_senders() {
                clients.charge(client);
            }
            body_refused(error).closing()
        })
    }

    /// From an event that was asked for to its end. An event that is dropped on the way is released.
    async fn process(&self, trace: &mut Trace, asked: Admitted<Asked>) -> Ending {
        let Admitted {
            event,
            route,
            _share,
        } = asked;
        let patience = || Patience {
            until: trace.until.min(Instant::now() + self.limits.copy_time),
            work: route.config.timeout + self.limits.store_time,
        };
        let event = match event.claim(&self.ledger, patience).await {
            Ok(event) => event,
            Err(why) => return not_ours(&route, why),
        };
        let is_test = event.verdict().is_test;
        if is_test && !route.tests.take() {
            return Ending::of(Outcome::Duplicate).because("more tests than are forwarded");
        }
        let cleaned = event.clean();
        if !is_test
            && let record = cleaned.record()
            && let Some(id) = &record.delivery_id
            && self
                .ledger
                .is_id_conflict(route.shelf, id, record.content())
        {
            route.metrics.id_conflicts.inc();
            if let Some(fields) = &mut trace.event {
                fields.id_conflict = true;
            }
        }
        match cleaned {
            Cleaned::Deliver(event, claim) => self.deliver(trace, &route, event, claim).await,
            Cleaned::Bury(event, claim) => self.bury(&route, event, claim).await,
        }
    }

    /// An authentic request is there, whatever becomes of it.
    fn note_verified(&self, route: &Route, event: &Event<Verified>) -> EventFields {
        let verdict: &Verdict = event.verdict();
        let metrics = &route.metrics;
        // Here and below: what is not written stays in the caches of all cores.
        if metrics.consecutive_unauthentic.get() != 0 {
            metrics.consecutive_unauthentic.set(0);
        }
        if let Some(secret) = &verdict.secret {
            metrics.count_secret(secret);
        }
        if !verdict.corrections.is_empty() {
            let corrections = verdict.corrections.len() as u64;
            metrics.header_corrections.inc_by(corrections);
        }
        if verdict.delivery_id_ignored {
            metrics.delivery_ids_ignored.inc();
        }
        if verdict.is_undated {
            metrics.undated.inc();
        }
        EventFields {
            content: event.keys().content,
            event_type: bounded(&verdict.event_type),
            delivery_id: verdict.identity.delivery_id.as_deref().map(bounded),
            assurance: verdict.assurance.label(),
            secret: verdict.secret.clone(),
            proof: verdict.proof,
            id_conflict: false,
            upstream: None,
        }
    }

    /// An attempt at the app was made, by whomever.
    pub(super) fn note_attempt(&self, route: &Route, attempted: &Attempted, took: Duration) {
        route.metrics.count_attempt(attempted.result());
        self.metrics.upstream_seconds.observe(took.as_secs_f64());
    }

    /// Counts, logs and answers. Every request ends here.
    fn finish(&self, mut trace: Box<Trace>, mut ending: Ending) -> Response<Full<Bytes>> {
        let outcome = ending.outcome;
        let took = trace.started.elapsed();
        let (now, running) = (self.clock.now(), self.clock.elapsed());
        ending.closes |= trace.closes || *self.draining.borrow();
        self.metrics.request_seconds.observe(took.as_secs_f64());
        match &trace.route {
            Some(route) => {
                route.metrics.count(outcome);
                self.watch(route, outcome, trace.event.is_some(), running);
            }
            None => self.metrics.count_unmatched(outcome),
        }
        if let Some(passed) = trace.passed.take() {
            self.recent.note_passed(passed);
        }
        if !outcome.is_accepted() {
            self.recent.note_refused(trace.refused(&ending, now));
        }
        self.log.request(&RequestLine {
            at: now,
            request_id: trace.head.request_id.as_str(),
            route: trace.route.as_ref().map(|route| &*route.config.name),
            outcome: outcome.label(),
            status: outcome.status().as_u16(),
            reason: ending.reason.as_deref(),
            client: trace.head.client,
            method: trace.head.method.as_str(),
            body_bytes: trace.body_bytes,
            latency: took,
            event: trace.event.as_ref(),
        });
        let room = trace.take_room();
        let quota = trace.route.as_ref().and_then(|route| route.quota.as_ref());
        ending.into_response(
            room,
            trace.head.request_id,
            quota.map(|quota| quota.standing_at(running)),
            now,
        )
    }

    /// The answer to a request that there is no memory for, not even for its head.
    pub fn overloaded(&self) -> Response<Full<Bytes>> {
        self.metrics.count_unmatched(Outcome::Overloaded);
        let request_id = RequestId::new(fastrand::u128(..));
        Ending::of(Outcome::Overloaded).into_response(
            HeaderMap::new(),
            request_id,
            None,
            self.clock.now(),
        )
    }

    /// The work panicked, and the panic hook has shown where. The claim was released with it.
    fn panicked(&self, request_id: RequestId) -> Response<Full<Bytes>> {
        self.log.say(
            Level::Error,
            "the work on a request panicked",
            &[("request_id", &request_id.as_str())],
        );
        Ending::of(Outcome::Overloaded).into_response(
            HeaderMap::new(),
            request_id,
            None,
            self.clock.now(),
        )
    }
}

/// The ending of an event that is not ours.
fn not_ours(route: &Route, why: NotOurs) -> Ending {
    match why {
        NotOurs::Duplicate(kind) => {
            route.metrics.count_duplicate(kind);
            Ending::of(Outcome::Duplicate).because(kind.label())
        }
        NotOurs::InFlight => Ending::of(Outcome::InFlight),
        NotOurs::Unavailable => Ending::of(Outcome::StoreUnavailable),
    }
}

/// Whether an event was new. A stale one is what somebody may have captured, as a copy is.
fn is_new(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Duplicate | Outcome::InFlight | Outcome::Stale
    )
}

fn refuse_unverified(
    clients: &ClientLimiter,
    client: ClientKey,
    is_limited: bool,
    reason: Unverified,
) -> Ending {
    clients.charge(client);
    match (is_limited, reason.is_malformed()) {
        (true, _) => client_limited(clients, client),
        (false, true) => Ending::of(Outcome::Malformed(Malformed::Request)),
        (false, false) => Ending::of(Outcome::Unauthentic),
    }
    .because(reason.label())
}

fn client_limited(clients: &ClientLimiter, client: ClientKey) -> Ending {
    let standing = clients.standing(client);
    let mut ending = Ending::of(Outcome::ClientLimited);
    ending.retry_after = Some(standing.next_in);
    ending.standing = Some(Box::new(standing));
    ending
}

fn body_refused(error: BodyError) -> Ending {
    match error {
        BodyError::TooLarge => Ending::of(Outcome::TooLarge),
        BodyError::TooSlow => Ending::of(Outcome::TooSlow).because("body did not arrive in time"),
        BodyError::Broken => Ending::of(Outcome::Malformed(Malformed::Request))
            .because("body ended early, or its chunks are ill-formed"),
        BodyError::NoMemory => {
            Ending::of(Outcome::Overloaded).because("all memory for bodies is taken")
        }
    }
}
