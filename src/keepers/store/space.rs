//! The reserve of disk space that keeps a full disk workable.
//!
//! # Why
//! Even deleting needs room, since nothing is overwritten in place. So new jobs, which alone can fill the
//! disk, are refused while there is still room for settling, changing and deleting.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::StoreError;
use super::commit::{Batch, Entries};
use super::jobs::ops::JobOp;
use super::medium::Medium;
use super::vault::Vault;
use super::wal::REGION_BYTES;
use super::writer::guarded;

/// What is known of the disk's free space.
#[derive(Default)]
pub(super) struct Space {
    /// Running time of the last look.
    looked: Option<Duration>,
    /// Bytes of jobs written since.
    written: u64,
    low: bool,
}

impl Space {
    /// Takes the pushes out of a batch and refuses them while the disk is nearly full.
    ///
    /// `live` is about what the file holds that is still needed. The rest of it is written over before the
    /// file grows, so it counts as free: a backlog that was delivered leaves a large file with much room.
    pub(super) fn mind(
        &mut self,
        batch: &mut Batch,
        medium: &dyn Medium,
        vault: &Vault,
        live: impl FnOnce() -> u64,
    ) {
        let pushed = batch.jobs.iter().filter(|op| op.pushed().is_some());
        let bytes: usize = pushed.map(JobOp::weight).sum();
        if bytes == 0 {
            return;
        }
        let reserve = vault.tuning.free_bytes_min;
        let now = vault.clock.elapsed();
        let old = self
            .looked
            .is_none_or(|looked| now.saturating_sub(looked) >= LOOK_EVERY);
        if old || self.written >= reserve / 4 {
            // A disk that cannot tell is taken for one with room: the writes themselves will say.
            let idle = medium.held_bytes().unwrap_or(0).saturating_sub(live());
            // Half of it: pages come free in pieces, and what is live is only estimated.
            let room = |free: u64| free.saturating_add(idle / 2);
            self.low = medium.free_bytes().is_ok_and(|free| room(free) < reserve);
            self.looked = Some(now);
            self.written = 0;
            vault.space_low.store(self.low, Ordering::Relaxed);
        }
        if !self.low {
            self.written += bytes as u64;
            batch.log_takes_pushes = medium.has_room_for(TAKE_OVER_BYTES);
            return;
        }
        for op in std::mem::take(&mut batch.jobs) {
            match op {
                // The app has it: its keys are settled all the same, only the copy is given up.
                JobOp::Push { job, done } if job.is_with_the_app() => {
                    let (shelf, keys, secs) = (job.shelf, job.keys, job.at.as_stored_secs());
                    let settled = move |result: Result<(), _>| {
                        done(result.and(Err(StoreError::NoSpace)));
                    };
                    let entries = Entries { shelf, keys, secs };
                    batch.settles.push((entries, Box::new(settled)));
                }
                JobOp::Push { .. } => {
                    vault.drop_jobs(std::slice::from_ref(&op));
                    guarded(|| op.refuse(StoreError::NoSpace));
                }
                JobOp::Change { .. }
                | JobOp::Terms { .. }
                | JobOp::Replay { .. }
                | JobOp::Mend { .. } => batch.jobs.push(op),
            }
        }
    }
}

/// What a transaction that takes over a full log of jobs may need. With less room pushes go into the tables at once, where
/// one that does not fit is refused: in the log it would be taken already, and keep the store down until there is room.
const TAKE_OVER_BYTES: u64 = 4 * REGION_BYTES;
/// How often the disk is asked at most, unless much was written since.
const LOOK_EVERY: Duration = Duration::from_secs(1);
