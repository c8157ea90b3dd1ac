//! The exact answers about events, from memory and from the runs that may hold their keys.

use std::sync::Arc;

use redb::Database;

use super::shelf::{Expiry, Run};
use super::tables::Chunks;
use super::vault::{Shelves, Vault};
use super::{Found, ShelfId, StoreError};
use crate::words::identity::{Key, Keys};
use crate::words::time::Timestamp;

/// Where the keys of one event are to be found.
struct Search {
    content: Place,
    id: Place,
    /// Of the shelf's runs.
    version: u64,
}

/// Where one key is to be found.
enum Place {
    /// It is known to be settled without a read.
    Known,
    /// There is no such key, or no run may hold it.
    Nowhere,
    /// In one of these, if it is settled.
    Runs(Key, Vec<Arc<Run>>, Expiry),
}

impl Vault {
    /// The exact answers about `events`; `None` if their runs changed in between, or the file was closed.
    ///
    /// # Errors
    /// `Unavailable` where the file is down or cannot be read.
    pub(super) fn read(
        &self,
        events: &[(ShelfId, Keys)],
        now: Option<Timestamp>,
    ) -> Result<Option<Vec<Result<Found, StoreError>>>, StoreError> {
        self.read_in(Chunks::open, events, now)
    }

    /// The same in what `open` gives.
    fn read_in(
        &self,
        open: impl FnOnce(&Database) -> Result<Chunks, redb::Error>,
        events: &[(ShelfId, Keys)],
        now: Option<Timestamp>,
    ) -> Result<Option<Vec<Result<Found, StoreError>>>, StoreError> {
        let (database, epoch, searches) = {
            let shelves = self.shelves();
            let database = shelves.database.clone().ok_or(StoreError::Unavailable)?;
            let search = |(shelf, keys): &(ShelfId, Keys)| shelves.search(*shelf, keys, now);
            let searches: Vec<_> = events.iter().map(search).collect();
            (database, shelves.epoch, searches)
        };
        let found = open(&database).and_then(|chunks| self.find(&chunks, events, &searches));
        // The handle must be gone before the writer opens the file anew.
        drop(database);
        let found = found.map_err(|error| {
            self.report_fault(epoch, &error);
            StoreError::Unavailable
        })?;
        // In another epoch a shelf's version may be the same although its runs are not.
        Ok(found.filter(|_| self.shelves().epoch == epoch))
    }

    /// What was searched for of `events`, all read in `chunks`, which was opened since; `None` if the runs of a shelf
    /// changed before.
    fn find(
        &self,
        chunks: &Chunks,
        events: &[(ShelfId, Keys)],
        searches: &[Option<Search>],
    ) -> Result<Option<Vec<Result<Found, StoreError>>>, redb::Error> {
        // A run is on disk before it is listed, and removed from it only after it left the list: if the list is still the
        // same, every run on it is in what was just opened.
        {
            let shelves = self.shelves();
            let is_same = |((shelf, _), search): (&(ShelfId, Keys), &Option<Search>)| {
                let version = shelves.by_id.get(shelf).map(|held| held.version());
                search.as_ref().map(|search| search.version) == version
            };
            if !events.iter().zip(searches).all(is_same) {
                return Ok(None);
            }
        }
        let found = |search: &Option<Search>| match search {
            Some(search) => Ok(Ok(Found {
                content: self.holds(chunks, &search.content)?,
                id: self.holds(chunks, &search.id)?,
            })),
            None => Ok(Err(StoreError::Unavailable)),
        };
        let found: Result<Vec<_>, redb::Error> = searches.iter().map(found).collect();
        Ok(Some(found?))
    }

    fn holds(&self, chunks: &Chunks, place: &Place) -> Result<bool, redb::Error> {
        let (key, runs, expiry) = match place {
            Place::Known => return Ok(true),
            Place::Nowhere => return Ok(false),
            Place::Runs(key, runs, expiry) => (key, runs, expiry),
        };
        for run in runs {
            let (secs, damaged) = chunks.find(run.id, key, run.chunk_of(key))?;
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

impl Shelves {
    /// Where the keys of an event are to be found; `None` where there is no such shelf.
    fn search(&self, shelf: ShelfId, keys: &Keys, now: Option<Timestamp>) -> Option<Search> {
        let held = self.by_id.get(&shelf)?;
        let expiry = held.expiry(now);
        let place = |key: &Key| {
            let unwritten = self.unwritten.find(shelf, key);
            if unwritten.is_some_and(|secs| expiry.lives(secs)) || held.journal_holds(key, now) {
                return Place::Known;
            }
            let runs: Vec<_> = held.candidates(key, now).cloned().collect();
            match runs.is_empty() {
                true => Place::Nowhere,
                false => Place::Runs(*key, runs, expiry),
            }
        };
        Some(Search {
            content: place(&keys.content),
            id: keys.id.as_ref().map_or(Place::Nowhere, place),
            version: held.version(),
        })
    }
}

#[cfg(test)]
mod tests {
    use redb::Database;

    use super::Chunks;
    use crate::keepers::store::Store;
    use crate::keepers::store::embedded::Embedded;
    use crate::keepers::store::tests::{BOTH, TestClock, WEEK, keys, settle_all, small};
    use crate::keepers::store::tuning::Options;
    use crate::words::time::Clock;

    #[test]
    fn runs_that_left_the_disk_or_are_another_file_s_since_they_were_listed_are_no_answer() {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let store = Embedded::open(Options {
            path: directory.path().join("store"),
            clock: clock.clone(),
            tuning: small(),
            on_commit: None,
        });
        let store = store.unwrap();
        let shelf = store.shelf("a", WEEK).unwrap();
        let now = clock.now();
        settle_all(&store, shelf, 0..50, now);
        store.tidy();
        let vault = &store.vault;
        let read = |meanwhile: &dyn Fn()| {
            let open = |database: &Database| {
                meanwhile();
                Chunks::open(database)
            };
            vault.read_in(open, &[(shelf, keys(7))], Some(now)).unwrap()
        };
        let known = Some(vec![Ok(BOTH)]);
        assert_eq!(read(&|| ()), known);
        let many_more = || {
            for n in 1..16 {
                settle_all(&store, shelf, n * 50..n * 50 + 50, now);
                store.tidy();
            }
        };
        assert_eq!(read(&many_more), None);
        assert_eq!(read(&|| ()), known);
        // The file was closed and opened anew; the shelf's version may be the same.
        assert_eq!(read(&|| vault.shelves_mut().epoch += 1), None);
        assert_eq!(store.look_up(shelf, &keys(7), now), Ok(BOTH));
    }
}
