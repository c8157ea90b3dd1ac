//! The housekeeper's merges: which runs, and one piece after the other.

use redb::Database;

use super::codec::Manifest;
use super::merge::Merge;
use super::plan::{Candidate, Limits, choose};
use super::shelf::{Run, Shelf};
use super::tidy::{Halt, Tidier, WINDOWS};
use crate::words::time::Timestamp;

impl Tidier {
    /// Carries a merge on, or begins one.
    pub(super) fn merge(&mut self, database: &Database) -> Result<bool, Halt> {
        let Some(mut merge) = self.merge.take().or_else(|| self.begin_merge()) else {
            return Ok(false);
        };
        let now = self.vault.guard.now();
        let expiry = {
            let shelves = self.vault.shelves();
            let shelf = shelves.by_id.get(&merge.shelf).ok_or(Halt::Stale)?;
            shelf.expiry(now)
        };
        if merge.advance(database, expiry)? {
            self.post(vec![merge.builder.take()])?;
            self.merge = Some(merge);
        } else {
            self.vault.count_damaged(merge.damaged);
            self.finish(merge.shelf, merge.builder, &merge.inputs)?;
        }
        Ok(true)
    }

    fn begin_merge(&self) -> Option<Merge> {
        // While the clock is not believed, no window can be said to be over; runs of a size are merged
        // all the same, or a day of mistrust would leave thousands of them.
        let now = self.vault.guard.now();
        let mut shelves = self.vault.shelves_mut();
        let (id, inputs) = shelves.by_id.iter().find_map(|(id, shelf)| {
            let runs: Vec<_> = shelf.runs().iter().map(|run| candidate(run)).collect();
            let tuning = &self.vault.tuning;
            let window = shelf.keep.remember.as_secs() / WINDOWS;
            let limits = Limits {
                flushed: tuning.journal_bound(shelf.keep) as u64,
                run_keys_max: run_bound(shelf, tuning.run_keys_max),
                window: u32::try_from(window).unwrap_or(u32::MAX),
                now: now.map_or(0, Timestamp::as_stored_secs),
            };
            let chosen = choose(&runs, limits)?;
            let inputs: Vec<_> = runs
                .iter()
                .filter(|run| chosen.contains(&run.id))
                .map(|run| (run.id, run.count))
                .collect();
            Some((*id, inputs))
        })?;
        let run = shelves.next_run;
        shelves.next_run += 1;
        Some(Merge::new(id, &inputs, run))
    }
}

fn candidate(run: &Run) -> Candidate {
    let Manifest { count, newest, .. } = run.manifest;
    let id = run.id;
    Candidate { id, count, newest }
}

/// The keys of a run at most. A bounded shelf is forgotten an eighth at a time.
fn run_bound(shelf: &Shelf, run_keys_max: u64) -> u64 {
    let eighth = shelf.keep.max_keys.map(|max| max as u64 / WINDOWS);
    eighth.map_or(run_keys_max, |eighth| eighth.clamp(1, run_keys_max.max(1)))
}
