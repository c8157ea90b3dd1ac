//! The workers: one for each route, begun and ended with the routes.
//!
//! A worker whose route is gone ends by itself. One that panics is begun anew: what it had under way is broken
//! off, and each such event is tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use crate::keepers::log::Level;
use crate::keepers::store::ShelfId;
use crate::work::delivery::Worker;
use crate::work::delivery::turns::{Sharing, Turns};
use crate::work::ingest::Gate;

/// How long after a panic a worker is begun anew.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Every worker there is.
pub struct Crew {
    gate: Arc<Gate>,
    tasks: JoinSet<()>,
    shelves: HashMap<Id, ShelfId>,
    sharing: Arc<Sharing>,
}

// === impl Crew ===

impl Crew {
    /// Nobody yet. It must be made on the runtime that the workers run on.
    pub fn new(gate: Arc<Gate>) -> Self {
        let threads = Handle::current().metrics().num_workers();
        Self {
            gate,
            tasks: JoinSet::new(),
            shelves: HashMap::new(),
            sharing: Arc::new(Sharing::new(threads)),
        }
    }

    /// Has a worker for each route until told to stop; then what is in flight ends, and the rest stays queued.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut replaced = self.gate.replaced.subscribe();
        while !*stop.borrow() {
            self.begin_missing(&stop);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.ended(ended, &mut stop).await;
                }
                _ = replaced.changed() => {}
                _ = stop.changed() => {}
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    fn begin_missing(&mut self, stop: &watch::Receiver<bool>) {
        for route in self.gate.snapshot.load().routes.iter() {
            if self.shelves.values().any(|shelf| *shelf == route.shelf) {
                continue;
            }
            let turns = Turns::new(Arc::clone(&self.sharing));
            let worker = Worker::new(Arc::clone(&self.gate), Arc::clone(route), turns);
            let task = self.tasks.spawn(worker.run(stop.clone()));
            self.shelves.insert(task.id(), route.shelf);
        }
    }

    async fn ended(
        &mut self,
        ended: Result<(Id, ()), JoinError>,
        stop: &mut watch::Receiver<bool>,
    ) {
        let (task, has_panicked) = match ended {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), true),
        };
        let shelf = self.shelves.remove(&task);
        if !has_panicked {
            return;
        }
        let snapshot = self.gate.snapshot.load_full();
        if let Some(route) = shelf.and_then(|shelf| snapshot.routes.of_shelf(shelf)) {
            // Its attempts went with it, and nobody else would end them.
            route.busy.clear();
            self.gate.log.say(
                Level::Error,
                "a worker panicked and is begun anew",
                &[("route", &route.config.name)],
            );
        }
        tokio::select! {
            () = tokio::time::sleep(AFTER_PANIC) => {}
            _ = stop.changed() => {}
        }
    }
}
