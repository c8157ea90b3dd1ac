//! Giving the file up after a fault, and opening it anew.
//!
//! Until it is open again, whatever comes is refused: settled keys stay known from memory, and jobs are the
//! provider's to send again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Database;

use super::commit::{Batch, Session};
use super::loading::{Loaded, open};
use super::queue::Awaited;
use super::wal::Wal;
use super::writer::Writer;
use crate::words::time::Timestamp;

impl Writer {
    /// Gives up the handle after a fault.
    pub(super) fn fall(&mut self, reason: &str) {
        self.vault.faults.fetch_add(1, Ordering::Relaxed);
        self.drop_handle(reason);
    }

    pub(super) fn drop_handle(&mut self, reason: &str) {
        let shared = {
            let mut shelves = self.vault.shelves_mut();
            shelves.epoch += 1;
            shelves.down = Some(reason.to_owned());
            shelves.database.take()
        };
        let session = self.session.take();
        // Closing may fail and, after a panic within redb, even panic again; the file is gone either way.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            drop(shared);
            if let Some(database) = session.and_then(|session| Arc::into_inner(session.database)) {
                let _ = database.close();
            }
        }));
    }

    /// Opens the file until it works; false once the store is closing.
    pub(super) fn reopen(&mut self) -> bool {
        let mut pause = self.vault.tuning.retry_first;
        loop {
            if !self.wait_refusing(pause) {
                return false;
            }
            pause = pause.saturating_mul(2).min(self.vault.tuning.retry_max);
            let medium = Arc::clone(&self.medium);
            let cache_bytes = self.vault.tuning.cache_bytes;
            let opened = catch_unwind(AssertUnwindSafe(|| open(medium.as_ref(), cache_bytes)));
            match opened {
                Ok(Ok((database, wal, loaded))) => {
                    self.adopt(database, wal, loaded);
                    if self.catch_up() {
                        return true;
                    }
                }
                Ok(Err(error)) => self.vault.shelves_mut().down = Some(error.to_string()),
                Err(_panic) => {
                    self.vault.shelves_mut().down = Some("opening the file panicked".to_owned());
                }
            }
        }
    }

    /// Waits, refusing whatever comes meanwhile; false once the store is closing.
    fn wait_refusing(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let vault = Arc::clone(&self.vault);
        loop {
            let mut queue = vault.queue();
            let left = until.saturating_duration_since(Instant::now());
            if queue.is_empty() && !queue.closing && !left.is_zero() {
                queue.awaited = Awaited::Anything;
                (queue, _) = vault
                    .work
                    .wait_timeout(queue, left)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            queue.fault = None;
            let batch = queue.take_all();
            let closing = queue.closing;
            drop(queue);
            self.refuse(batch);
            if closing {
                return false;
            }
            if Instant::now() >= until {
                return true;
            }
        }
    }

    /// Writes what the fault left unwritten and proves that commits go through; only then is the store
    /// ready again.
    fn catch_up(&mut self) -> bool {
        loop {
            let mut batch = Batch::default();
            let lost = self.take_unwritten(&mut batch);
            let Some(session) = &mut self.session else {
                return false;
            };
            let rows = session.rows(&batch, &self.vault);
            let recorded = self.record(&rows, &batch);
            let (rows, batch, written) = self.finish(recorded, rows, batch);
            match written {
                Ok(worked) => self.publish(batch, rows, worked, lost),
                Err(reason) => {
                    self.drop_handle(&reason);
                    return false;
                }
            }
            let mut shelves = self.vault.shelves_mut();
            if shelves.unwritten.len() == 0 {
                shelves.down = None;
                drop(shelves);
                self.vault.want_tidy();
                return true;
            }
        }
    }

    /// Takes over a file that was just opened and read.
    pub(super) fn adopt(&mut self, database: Database, wal: Wal, loaded: Loaded) {
        let database = Arc::new(database);
        self.vault.count_damaged(loaded.damaged);
        self.vault
            .guard
            .has_seen(Timestamp::from_secs(i64::from(loaded.newest)));
        let mut shelves = self.vault.shelves_mut();
        shelves.epoch += 1;
        shelves.database = Some(Arc::clone(&database));
        shelves.by_id = loaded.by_id;
        shelves.fresh = loaded.fresh;
        shelves.next_run = loaded.next_run;
        shelves.orphans = loaded.orphans;
        let session = Session {
            database,
            wal,
            epoch: shelves.epoch,
            next_seq: loaded.next_seq,
            next_shelf: loaded.next_shelf,
            books: loaded.books,
        };
        let rooms = shelves.by_id.iter().map(|(id, shelf)| {
            let tally = shelves.fresh.over(*id, shelf.holdings.tally());
            (*id, tally.bounded(), shelf.holdings.terms())
        });
        let rooms = rooms.collect();
        drop(shelves);
        self.vault.queue().fit_rooms(rooms);
        self.session = Some(session);
    }
}
