//! Taking over what the log holds of jobs.

use super::Desk;
use crate::keepers::store::jobs::fresh::Heirloom;

impl Desk<'_> {
    /// Puts the jobs that are left into the tables, under the numbers they have, and takes out those that have ended.
    pub(in crate::keepers::store::jobs) fn inherit(
        &mut self,
        heirloom: &Heirloom,
    ) -> Result<(), redb::Error> {
        for id in heirloom.ended.iter() {
            if let Some(job) = self.job(*id)?
                && job.is_queued()
            {
                self.take(&job)?;
                self.remove(&job)?;
            }
        }
        for fresh in &heirloom.jobs {
            let mut job = fresh.info;
            if let Some(attempt) = &fresh.attempt {
                self.record(&mut job, attempt)?;
            }
            self.put_content(job.id, &fresh.head, &fresh.body)?;
            self.put(&job)?;
        }
        Ok(())
    }
}
