//! Stored events as an operator sees them: with their state, by the newest first, through a filter.
//!
//! What the store knows of a job is held against the routes of the moment and what their workers are at.
//! Every walk reads the disk and blocks, and is bounded: what was not reached is reached by the next one.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::keepers::store::jobs::{JobId, JobInfo, JobState, JobView, Queue, Selection};
use crate::keepers::store::{ShelfId, StoreError};
use crate::rules::filter::{EventState, Filter, Traits};
use crate::words::dead::DeadReason;
use crate::words::record::Record;
use crate::words::shelf::ShelfName;
use crate::words::time::Timestamp;
use crate::work::ingest::Gate;
use crate::work::routes::{Route, Routes};

/// What stored events are held against; taken at one moment.
pub struct Scene {
    shelves: HashMap<ShelfId, Shelf>,
    busy: HashSet<JobId>,
}

/// A stored event.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its job.
    pub job: JobId,
    /// The shelf it is on.
    pub shelf: ShelfId,
    /// The idempotency key.
    pub id: String,
    /// The route's name.
    pub route: Arc<str>,
    /// What has become of it.
    pub state: EventState,
    /// Its route is configured, with its provider.
    pub has_route: bool,
    /// Why it is a dead letter.
    pub reason: Option<&'static str>,
    /// Attempts made so far.
    pub attempt_count: u32,
    /// When it is tried next.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// The rest; what is damaged cannot be read.
    pub record: Option<Record>,
}

/// Part of a walk.
#[derive(Default)]
pub struct Page {
    /// What the filter takes, the newest first.
    pub events: Vec<Listed>,
    /// Where to go on; `None` at the end.
    pub next: Option<JobId>,
    /// When the last event that was looked at had been stored.
    pub looked_to: Option<Timestamp>,
}

/// Which part of a walk is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// The newest job of it; `None` for the newest there is.
    pub from: Option<JobId>,
    /// It ends above this one.
    pub above: Option<JobId>,
    /// No more events than this.
    pub limit: usize,
    /// No more jobs are looked at.
    pub scan_max: usize,
    /// Jobs in every state are looked at, not only those that the filter can take.
    pub looks_at_all: bool,
}

struct Shelf {
    name: Arc<str>,
    route: Option<Arc<Route>>,
}

// === impl Scene ===

impl Scene {
    /// The present one.
    pub fn of(gate: &Gate) -> Self {
        Self::new(&gate.snapshot.load().routes, &*gate.queue)
    }

    fn new(routes: &Routes, queue: &dyn Queue) -> Self {
        let mut busy = HashSet::new();
        let mut shelves = HashMap::new();
        for counts in queue.counts() {
            let name = ShelfName::read(&counts.name).route.into();
            shelves.insert(counts.shelf, Shelf { name, route: None });
        }
        for route in routes.iter() {
            busy.extend(route.busy.all());
            let shelf = Shelf {
                name: Arc::clone(&route.config.name),
                route: Some(Arc::clone(route)),
            };
            shelves.insert(route.shelf, shelf);
        }
        Self { shelves, busy }
    }

    /// The route of a shelf, if it is configured.
    pub fn route(&self, shelf: ShelfId) -> Option<&Arc<Route>> {
        self.shelves.get(&shelf)?.route.as_ref()
    }

    /// The shelves of a route: its own, and those of providers that it had before.
    fn shelves_of(&self, route: &str) -> Vec<ShelfId> {
        let shelves = self.shelves.iter();
        let of_route = shelves.filter(|(_, shelf)| *shelf.name == *route);
        of_route.map(|(id, _)| *id).collect()
    }

    /// A stored event as it is now.
    pub fn listed(&self, info: &JobInfo, head: &[u8]) -> Listed {
        let shelf = self.shelves.get(&info.shelf);
        let record = Record::decode(head).ok();
        let has_route = shelf.is_some_and(|shelf| shelf.route.is_some());
        let is_busy = self.busy.contains(&info.id);
        let (state, reason, next_attempt_at) = match info.state {
            JobState::Queued { .. } if is_busy => (EventState::InFlight, None, None),
            JobState::Queued { .. } if !has_route => (EventState::Parked, None, None),
            JobState::Queued { due, .. } => (EventState::Queued, None, Some(due)),
            JobState::Delivered { .. } => (EventState::Delivered, None, None),
            JobState::Dead { reason, .. } => {
                let reason = DeadReason::from_code(reason.0).map_or("unknown", DeadReason::label);
                (EventState::DeadLetter, Some(reason), None)
            }
        };
        Listed {
            job: info.id,
            shelf: info.shelf,
            id: info.keys.idempotency_key(),
            route: shelf.map_or_else(|| "".into(), |shelf| Arc::clone(&shelf.name)),
            state,
            has_route,
            reason,
            attempt_count: info.attempts,
            next_attempt_at,
            ended_at: match info.state {
                JobState::Queued { .. } => None,
                JobState::Delivered { at } | JobState::Dead { at, .. } => Some(at),
            },
            stored_at: info.at,
            record,
        }
    }

    /// Walks a stretch of what is stored. Blocking.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn walk(
        &self,
        queue: &dyn Queue,
        filter: &Filter,
        stretch: Stretch,
    ) -> Result<Page, StoreError> {
        if filter.state == Some(EventState::InFlight) {
            return self.in_flight(queue, filter, stretch);
        }
        let mut page = Page::default();
        let mut selection = match filter.state {
            Some(state) if !stretch.looks_at_all => of_state(state),
            Some(_) | None => Selection::ALL,
        };
        if let Some(route) = &filter.route {
            match *self.shelves_of(route) {
                [] => return Ok(page),
                [shelf] => selection.shelf = Some(shelf),
                // The filter tells them from the others.
                [..] => {}
            }
        }
        let mut is_past = false;
        let mut visit = |view: &JobView<'_>| {
            if stretch.above.is_some_and(|above| view.info.id <= above) {
                is_past = true;
                return ControlFlow::Break(());
            }
            page.looked_to = Some(view.info.at);
            let listed = self.listed(view.info, view.head);
            if filter.takes(&listed.traits()) {
                page.events.push(listed);
            }
            match page.events.len() < stretch.limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let next = queue.walk(stretch.from, selection, stretch.scan_max, &mut visit)?;
        page.next = next
            .filter(|_| !is_past)
            .filter(|next| stretch.above.is_none_or(|above| *next > above));
        Ok(page)
    }

    /// What is being attempted is known by its ids, and mostly stands where a walk comes last.
    fn in_flight(
        &self,
        queue: &dyn Queue,
        filter: &Filter,
        stretch: Stretch,
    ) -> Result<Page, StoreError> {
        let is_within = |id: &JobId| {
            stretch.from.is_none_or(|from| *id <= from)
                && stretch.above.is_none_or(|above| *id > above)
        };
        let mut ids: Vec<JobId> = self.busy.iter().copied().filter(is_within).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let jobs = queue.load(&ids, false)?.into_iter().flatten();
        let events = jobs.map(|job| self.listed(&job.info, &job.head));
        let mut events: Vec<Listed> = events
            .filter(|event| filter.takes(&event.traits()))
            .collect();
        let next = events.get(stretch.limit).map(|event| event.job);
        events.truncate(stretch.limit);
        Ok(Page {
            looked_to: events.last().map(|event| event.stored_at),
            events,
            next,
        })
    }
}

// === impl Listed ===

impl Listed {
    /// What a filter looks at.
    pub fn traits(&self) -> Traits<'_> {
        let record = self.record.as_ref();
        Traits {
            id: &self.id,
            route: &self.route,
            state: self.state,
            event_type: record.map_or("", |record| &record.event_type),
            subject: record.and_then(|record| record.subject.as_deref()),
            delivery_id: record.and_then(|record| record.delivery_id.as_deref()),
            received_at: self.received_at(),
        }
    }

    /// When it was received.
    pub fn received_at(&self) -> Timestamp {
        let received_at = self.record.as_ref().map(Record::received_at);
        received_at.unwrap_or(self.stored_at)
    }
}

fn of_state(state: EventState) -> Selection {
    let none = Selection {
        shelf: None,
        queued: false,
        delivered: false,
        dead: false,
    };
    match state {
        EventState::Queued | EventState::InFlight | EventState::Parked => Selection {
            queued: true,
            ..none
        },
        EventState::Delivered => Selection {
            delivered: true,
            ..none
        },
        EventState::DeadLetter => Selection { dead: true, ..none },
    }
}
