//! The store in a file, over redb.
//!
//! Settled keys and pushed jobs go to a log at the front of the file, and with the next transaction into its tables. A
//! job that is delivered before that never was in a table; keys go to a journal there, and to an index in memory, and
//! when there are many they become sorted runs on disk with an outline each in memory. So a commit costs the same however
//! much is remembered, a new event passes without a read, and memory stays at about two bytes per key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::commit::Entries;
use super::medium::{FileMedium, Medium};
use super::open_error::OpenError;
use super::queue::{Op, Queue, Settling};
use super::shelf::Sight;
use super::tidy::{TICK, Tidier};
use super::tuning::{OnCommit, Options, Tuning};
use super::unwritten::Entry;
use super::vault::Vault;
use super::writer::{Writer, answer};
use super::{Done, Found, Health, Keep, Probe, ShelfId, Statistics, Store, StoreError};
use crate::words::identity::{Key, Keys};
use crate::words::time::{Clock, Timestamp};

/// A store in a file.
pub struct Embedded {
    pub(super) vault: Arc<Vault>,
    tidier: Arc<Mutex<Tidier>>,
    threads: Mutex<Threads>,
    is_new: bool,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    tidier: Option<JoinHandle<()>>,
}

// === impl Embedded ===

impl Embedded {
    /// Opens the file, or makes it.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let medium = Arc::new(FileMedium::new(options.path));
        Self::open_on(medium, options.clock, options.tuning, options.on_commit)
    }

    /// Opens whatever `medium` yields, now and again after every fault.
    pub fn open_on(
        medium: Arc<dyn Medium>,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
        on_commit: Option<OnCommit>,
    ) -> Result<Self, OpenError> {
        let tidies_itself = tuning.tidies_itself;
        let vault = Arc::new(Vault::new(clock, tuning));
        let writer = Writer::open(Arc::clone(&vault), medium, on_commit)?;
        let tidier = Arc::new(Mutex::new(Tidier::new(Arc::clone(&vault))));
        let store = Self {
            vault,
            tidier,
            threads: Mutex::default(),
            is_new: writer.is_new,
        };
        {
            let mut threads = store.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.writer = Some(spawn("passgate-store", move || writer.run())?);
            if tidies_itself {
                let (vault, tidier) = (Arc::clone(&store.vault), Arc::clone(&store.tidier));
                threads.tidier = Some(spawn("passgate-tidy", move || keep_tidy(&vault, &tidier))?);
            }
        }
        Ok(store)
    }

    /// Whether the opening made the store, be it in a new file or in one whose beginning was cut short.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Does all the housekeeping there is to do, and returns when it is done or cannot be done now.
    pub fn tidy(&self) {
        let mut tidier = self.tidier.lock().unwrap_or_else(PoisonError::into_inner);
        while tidier.step() {}
    }
}

impl Store for Embedded {
    fn shelf(&self, name: &str, keep: Keep) -> Result<ShelfId, StoreError> {
        let known = self.vault.shelves().named(name);
        if let Some((id, held)) = known
            && held == keep
        {
            return Ok(id);
        }
        let (reply, answer) = sync_channel(1);
        {
            let mut queue = self.vault.queue();
            if queue.closing {
                return Err(StoreError::Closed);
            }
            queue.ops.push_back(Op::Shelf {
                name: name.to_owned(),
                keep,
                reply,
            });
        }
        self.vault.work.notify_one();
        answer.recv().unwrap_or(Err(StoreError::Closed))
    }

    fn probe(&self, shelf: ShelfId, keys: &Keys, now: Timestamp) -> Probe {
        let running = self.vault.clock.elapsed();
        let now = self.vault.guard.trusted_at(now, running);
        let shelves = self.vault.shelves();
        let Some(held) = shelves.by_id.get(&shelf) else {
            return Probe::Unavailable;
        };
        let see = |key: &Key| {
            let unwritten = shelves.unwritten.find(shelf, key);
            if unwritten.is_some_and(|secs| held.expiry(now).lives(secs)) {
                Sight::Settled
            } else {
                held.see(key, now)
            }
        };
        let content = see(&keys.content);
        let id = keys.id.as_ref().map_or(Sight::Absent, see);
        let found = Found {
            content: content == Sight::Settled,
            id: id == Sight::Settled,
        };
        let known = found.content || found.id;
        if shelves.down.is_some() || self.vault.stalled_at(running).is_some() {
            return if known {
                Probe::Known(found)
            } else {
                Probe::Unavailable
            };
        }
        // What is not certain of either key is read, so that the answer tells exactly which are known.
        if content == Sight::Perhaps || id == Sight::Perhaps {
            Probe::MustRead
        } else if known {
            Probe::Known(found)
        } else {
            Probe::Absent
        }
    }

    fn look_up_all(
        &self,
        events: &[(ShelfId, Keys)],
        now: Timestamp,
    ) -> Vec<Result<Found, StoreError>> {
        let now = self.vault.guard.trusted(now);
        let refused = loop {
            if self.vault.queue().closing {
                break StoreError::Closed;
            }
            if self.vault.shelves().down.is_some() {
                break StoreError::Unavailable;
            }
            match self.vault.read(events, now) {
                Ok(Some(answers)) => return answers,
                Ok(None) => {}
                Err(error) => break error,
            }
        };
        vec![Err(refused); events.len()]
    }

    fn settle(&self, shelf: ShelfId, keys: Keys, at: Timestamp, done: Done) {
        let secs = at.as_stored_secs();
        let refused = {
            let mut queue = self.vault.queue();
            if queue.closing {
                StoreError::Closed
            } else if queue.waiting() >= self.vault.tuning.queue_ops_max {
                StoreError::Full
            } else {
                let queued = self.vault.running_ms();
                self.vault.begins_to_wait(queued);
                queue.settles.push_back(Settling {
                    entries: Entries { shelf, keys, secs },
                    queued,
                    done,
                });
                let is_awaited = queue.awaited.take_for_records();
                drop(queue);
                // Waking costs a system call, and a writer at work looks by itself.
                if is_awaited {
                    self.vault.work.notify_one();
                }
                return;
            }
        };
        {
            let mut shelves = self.vault.shelves_mut();
            for key in keys.iter() {
                let entry = Entry { shelf, key, secs };
                shelves
                    .unwritten
                    .push(entry, self.vault.tuning.unwritten_keys_max);
            }
        }
        answer(done, Err(refused));
    }

    fn trusts(&self, now: Timestamp) -> bool {
        self.vault.guard.trusted(now).is_some()
    }

    fn health(&self) -> Health {
        self.vault.health()
    }

    fn statistics(&self) -> Statistics {
        let shelves = self.vault.shelves();
        let runs = || shelves.by_id.values().flat_map(|shelf| shelf.runs());
        Statistics {
            keys: shelves.by_id.values().map(|shelf| shelf.keys()).sum(),
            runs: runs().count() as u64,
            filters_missing: runs().filter(|run| run.outline.get().is_none()).count() as u64,
            unwritten: shelves.unwritten.len() as u64,
            unwritten_lost: shelves.unwritten.lost(),
            damaged_rows: self.vault.damaged_rows.load(Ordering::Relaxed),
            faults: self.vault.faults.load(Ordering::Relaxed),
            space_low: self.vault.space_low.load(Ordering::Relaxed),
            clock_suspect: self.vault.guard.now().is_none(),
        }
    }

    fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        self.vault.close();
        // Housekeeping first: it waits for the writer, which must still be there to answer.
        self.vault.queue().tidy_closing = true;
        self.vault.chores.notify_all();
        if let Some(tidier) = threads.tidier.take() {
            let _ = tidier.join();
        }
        self.vault.queue().closing = true;
        self.vault.work.notify_all();
        if let Some(writer) = threads.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

/// The housekeeping thread. A panic within a step ends that step only; the next begins with what is on disk
/// and in memory, as after a start.
fn keep_tidy(vault: &Vault, tidier: &Mutex<Tidier>) {
    loop {
        let did = catch_unwind(AssertUnwindSafe(|| {
            tidier.lock().unwrap_or_else(PoisonError::into_inner).step()
        }));
        let queue = vault.queue();
        if queue.tidy_closing {
            return;
        }
        if !did.unwrap_or(false) {
            let idle = |queue: &mut Queue| !queue.tidy_wanted && !queue.tidy_closing;
            let (mut queue, _) = vault
                .chores
                .wait_timeout_while(queue, TICK, idle)
                .unwrap_or_else(PoisonError::into_inner);
            queue.tidy_wanted = false;
        }
    }
}

/// A thread of the store's.
pub(super) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| OpenError::Unusable(error.to_string()))
}
