//! Room on a shelf: copies of delivered jobs give it, and a replay of one takes it.

use redb::ReadableTable;

use super::Desk;
use crate::keepers::store::ShelfId;
use crate::keepers::store::jobs::JobInfo;

impl Desk<'_> {
    pub(super) fn has_room_for_replay(&self, job: &JobInfo) -> bool {
        let tally = self.books.tallies.get(&job.shelf);
        let terms = self.books.terms.get(&job.shelf);
        terms.is_none_or(|terms| tally.is_none_or(|tally| terms.let_in_replay(tally, job.bytes)))
    }

    /// Forgets the oldest copies of delivered jobs while the shelf holds more than it may.
    pub(super) fn make_room(&mut self, shelf: ShelfId) -> Result<(), redb::Error> {
        let Some(terms) = self.books.terms.get(&shelf).copied() else {
            return Ok(());
        };
        let delivered = (shelf.0, false, i64::MIN, 0)..=(shelf.0, false, i64::MAX, u64::MAX);
        for _ in 0..COPIES_PER_COMMIT {
            let tally = self.books.tallies.get(&shelf).copied();
            if tally.is_none_or(|tally| !terms.ask_for_copies_of(&tally)) {
                break;
            }
            let oldest = self.ended.range(delivered.clone())?.next().transpose()?;
            let Some(place) = oldest.map(|(key, _)| key.value()) else {
                break;
            };
            self.forget(place)?;
        }
        Ok(())
    }
}

/// Copies forgotten with one commit to make room. A commit adds fewer; after a change of terms it takes some.
const COPIES_PER_COMMIT: usize = 512;
