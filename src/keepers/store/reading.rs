//! The exact answer about an event, from memory and from the runs that may hold its keys.

use std::sync::Arc;

use redb::Database;

use super::shelf::{Expiry, Run, Sight};
use super::tables::Chunks;
use super::vault::Vault;
use super::{Found, ShelfId, StoreError};
use crate::words::identity::{Key, Keys};
use crate::words::time::Timestamp;

/// How one key is to be found.
enum Search {
    Settled,
    Runs(Vec<Arc<Run>>, Expiry),
}

impl Vault {
    /// One pass over the runs that may hold a key of the event; `None` if a merge came in between.
    pub(super) fn read(
        &self,
        shelf: ShelfId,
        keys: &Keys,
        now: Option<Timestamp>,
    ) -> Result<Option<Found>, StoreError> {
        let (database, epoch, version, content, id) = {
            let shelves = self.shelves();
            let database = shelves.database.clone().ok_or(StoreError::Unavailable)?;
            let held = shelves.by_id.get(&shelf).ok_or(StoreError::Unavailable)?;
            let candidates = |key: &Key| -> Search {
                let unwritten = shelves.unwritten.find(shelf, key);
                let expiry = held.expiry(now);
                if unwritten.is_some_and(|secs| expiry.lives(secs)) {
                    return Search::Settled;
                }
                match held.see(key, now) {
                    Sight::Settled => Search::Settled,
                    Sight::Absent => Search::Runs(Vec::new(), expiry),
                    Sight::Perhaps => {
                        Search::Runs(held.candidates(key, now).cloned().collect(), expiry)
                    }
                }
            };
            let content = candidates(&keys.content);
            let id = keys.id.map(|id| (id, candidates(&id)));
            (database, shelves.epoch, held.version(), content, id)
        };
        let searched = (|| {
            let mut chunks = None;
            Ok::<_, redb::Error>(Found {
                content: self.search(&database, &mut chunks, &keys.content, content)?,
                id: match id {
                    Some((id, search)) => self.search(&database, &mut chunks, &id, search)?,
                    None => false,
                },
            })
        })();
        // The handle must be gone before the writer opens the file anew.
        drop(database);
        let found = searched.map_err(|error| {
            self.report_fault(epoch, &error);
            StoreError::Unavailable
        })?;
        // Runs are removed from disk only after they left the list: if the list is still the same, every
        // run on it was there to be read.
        let shelves = self.shelves();
        let same = shelves.by_id.get(&shelf).map(|held| held.version()) == Some(version)
            && shelves.epoch == epoch;
        Ok(same.then_some(found))
    }

    /// Opens the chunks with the first run that is read: most events are in none.
    fn search(
        &self,
        database: &Database,
        chunks: &mut Option<Chunks>,
        key: &Key,
        search: Search,
    ) -> Result<bool, redb::Error> {
        let (runs, expiry) = match search {
            Search::Settled => return Ok(true),
            Search::Runs(runs, expiry) => (runs, expiry),
        };
        for run in runs {
            let opened = match chunks.take() {
                Some(opened) => opened,
                None => Chunks::open(database)?,
            };
            let (secs, damaged) = chunks.insert(opened).find(run.id, key, run.chunk_of(key))?;
            if damaged {
                self.count_damaged(1);
            }
            if secs.is_some_and(|secs| expiry.lives(secs)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
