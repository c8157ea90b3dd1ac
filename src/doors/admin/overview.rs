//! `routes`: every route and what is stored for it, and the shelves whose route is gone. The metrics of the
//! queue are the same figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::doors::admin::Admin;
use crate::doors::admin::answer::{Answer, Problem, json};
use crate::doors::admin::parameters::Parameters;
use crate::keepers::metrics::queue::QueueFigures;
use crate::keepers::store::jobs::ShelfCounts;
use crate::rules::config::Delivery;
use crate::rules::filter::EventState;
use crate::words::shelf::ShelfName;
use crate::work::ingest::Gate;
use crate::work::routes::Route;

/// A part of the store.
pub struct Shelf {
    /// Its route's name.
    pub name: String,
    /// Its provider's.
    provider: String,
    /// The route, if it is configured.
    pub route: Option<Arc<Route>>,
    /// How many events it holds.
    pub figures: QueueFigures,
    /// Bytes of all of them.
    bytes: u64,
}

/// Every shelf: the routes' in the order of the configuration, then those whose route is gone or has another
/// provider now. From memory.
pub fn of(gate: &Gate) -> Vec<Shelf> {
    let snapshot = gate.snapshot.load();
    let mut counts = gate.queue.counts();
    let mut shelves = Vec::new();
    for route in snapshot.routes.iter() {
        let place = counts.iter().position(|counts| counts.shelf == route.shelf);
        let counts = place.map(|place| counts.swap_remove(place));
        shelves.push(shelf(gate, Some(Arc::clone(route)), counts));
    }
    counts.sort_by(|one, other| one.name.cmp(&other.name));
    let gone = counts
        .into_iter()
        .map(|counts| shelf(gate, None, Some(counts)));
    shelves.extend(gone);
    shelves
}

/// The figures of the shelves by their routes' names: a route that had another provider before has several.
pub fn by_name(shelves: &[Shelf]) -> BTreeMap<&str, QueueFigures> {
    let mut by_name: BTreeMap<&str, QueueFigures> = BTreeMap::new();
    for shelf in shelves {
        let sum = by_name.entry(&shelf.name).or_default();
        *sum = sum.and(&shelf.figures);
    }
    by_name
}

impl Admin {
    /// `GET routes`
    pub(super) fn routes(&self, query: Option<&str>) -> Result<Answer, Problem> {
        Parameters::read(query, &[])?;
        let mut shelves = of(&self.gate);
        shelves.retain(|shelf| shelf.route.is_some() || !shelf.is_empty());
        let routes: Vec<Value> = shelves.iter().map(Shelf::to_json).collect();
        Ok(json(&json!({ "routes": routes, "next_cursor": null })))
    }
}

// === impl Shelf ===

impl Shelf {
    fn is_empty(&self) -> bool {
        let figures = &self.figures;
        let states = EventState::ALL.into_iter();
        states.map(|state| figures.of(state)).sum::<u64>() == 0
    }

    fn to_json(&self) -> Value {
        let figures = &self.figures;
        let route = self.route.as_deref();
        let config = route.map(|route| &route.config);
        json!({
            "name": self.name,
            "state": if route.is_some() { "configured" } else { "parked" },
            "provider": self.provider,
            "path": config.map(|config| &config.path),
            "host": config.and_then(|config| config.host.as_ref()),
            "delivery": config.map(|config| delivery(config.delivery)),
            "breaker": route.map(|route| match route.breaker.is_open() {
                true => "open",
                false => "closed",
            }),
            "consecutive_refusals": route.map(|route| route.metrics.consecutive_refusals.get()),
            "queue": {
                "queued": figures.queued,
                "in_flight": figures.in_flight,
                "delivered": figures.delivered,
                "dead_letter": figures.dead_letters,
                "parked": figures.parked,
                "bytes": self.bytes,
                "oldest_seconds": figures.oldest.as_secs(),
            },
        })
    }
}

fn shelf(gate: &Gate, route: Option<Arc<Route>>, counts: Option<ShelfCounts>) -> Shelf {
    let waiting = counts.as_ref().map_or(0, |counts| counts.queued.jobs);
    let busy = route.as_ref().map_or(0, |route| route.busy.count() as u64);
    let in_flight = busy.min(waiting);
    let (queued, parked) = match route {
        Some(_) => (waiting - in_flight, 0),
        None => (0, waiting),
    };
    let oldest = counts.as_ref().and_then(|counts| counts.oldest_queued);
    let (name, provider) = match (&route, &counts) {
        (Some(route), _) => (&*route.config.name, route.config.provider.kind().name),
        (None, Some(counts)) => {
            let name = ShelfName::read(&counts.name);
            (name.route, name.provider)
        }
        (None, None) => ("", ""),
    };
    Shelf {
        name: name.to_owned(),
        provider: provider.to_owned(),
        figures: QueueFigures {
            queued,
            in_flight,
            delivered: counts.as_ref().map_or(0, |counts| counts.delivered.jobs),
            dead_letters: counts.as_ref().map_or(0, |counts| counts.dead.jobs),
            parked,
            oldest: oldest.map_or(Duration::ZERO, |oldest| gate.clock.now().since(oldest)),
        },
        bytes: counts.as_ref().map_or(0, |counts| {
            counts.queued.bytes + counts.delivered.bytes + counts.dead.bytes
        }),
        route,
    }
}

const fn delivery(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Inline => "inline",
        Delivery::Spill => "spill",
        Delivery::Queue => "queue",
    }
}
