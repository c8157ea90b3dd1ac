//! What a record of the log says of jobs, byte by byte.
//!
//! Each entry begins with what it is, by numbers that no row of settled keys begins with, so that the records of
//! before, which knew only rows, read as they did.

use std::sync::Arc;

use bytes::Bytes;

use super::codec::{decode_attempt, decode_job, encode_attempt, encode_job};
use super::{AttemptRecord, JobId, JobInfo, NewJob, StoredJob};

/// One entry of a record.
pub(in crate::keepers::store) enum JobEntry {
    /// It is in the log and in no table.
    Pushed(Arc<FreshJob>),
    /// The app has it, and no copy is kept.
    Ended(JobId),
}

/// A job that is in the log alone. Its head and body share the memory of their record, so that all of them together
/// take no more than the log's part of the file.
#[derive(Debug)]
pub(in crate::keepers::store) struct FreshJob {
    pub(in crate::keepers::store) info: JobInfo,
    pub(in crate::keepers::store) head: Bytes,
    pub(in crate::keepers::store) body: Bytes,
    /// The attempt that was made before it was stored.
    pub(in crate::keepers::store) attempt: Option<AttemptRecord>,
}

// === impl FreshJob ===

impl FreshJob {
    /// The job as a reader gets it: copied, for whoever holds on to a small job must not hold its whole record.
    pub(super) fn stored(&self, with_body: bool) -> StoredJob {
        StoredJob {
            info: self.info,
            head: Bytes::copy_from_slice(&self.head),
            body: with_body.then(|| Bytes::copy_from_slice(&self.body)),
        }
    }
}

/// Whether an entry is one of a job's.
pub(in crate::keepers::store) fn is_of_job(entry: &[u8]) -> bool {
    matches!(entry.first(), Some(&(PUSHED | ENDED)))
}

/// Writes the entry of a push. Of several attempts only the first would be kept.
pub(in crate::keepers::store) fn encode_push(bytes: &mut Vec<u8>, info: &JobInfo, new: &NewJob) {
    let job = encode_job(info);
    let attempt = new.attempts.first().map_or(Vec::new(), encode_attempt);
    bytes.push(PUSHED);
    bytes.extend(info.id.0.to_le_bytes());
    for part in [&job[..], &attempt, &new.head] {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend(part);
    }
    bytes.extend(&new.body);
}

/// About what the entry of a push takes, and no less.
pub(in crate::keepers::store) fn push_len(new: &NewJob) -> usize {
    let attempt = new.attempts.first().map_or(0, |_| ATTEMPT_BYTES_MAX);
    PUSH_BYTES_MAX + attempt + new.head.len() + new.body.len()
}

/// Writes the entry of an end.
pub(in crate::keepers::store) fn encode_end(bytes: &mut Vec<u8>, id: JobId) {
    bytes.push(ENDED);
    bytes.extend(id.0.to_le_bytes());
}

/// Reads what was written as one of the two.
pub(in crate::keepers::store) fn decode(entry: &Bytes) -> Option<JobEntry> {
    let (kind, rest) = entry.split_first()?;
    let (id, rest) = rest.split_first_chunk()?;
    let id = JobId(u64::from_le_bytes(*id));
    match (*kind, rest) {
        (ENDED, []) => Some(JobEntry::Ended(id)),
        (PUSHED, rest) => {
            let (job, rest) = part(rest)?;
            let (attempt, rest) = part(rest)?;
            let (head, body) = part(rest)?;
            let attempt = match attempt {
                [] => None,
                attempt => Some(decode_attempt(attempt)?),
            };
            Some(JobEntry::Pushed(Arc::new(FreshJob {
                info: decode_job(id, job)?,
                head: entry.slice_ref(head),
                body: entry.slice_ref(body),
                attempt,
            })))
        }
        (_, _) => None,
    }
}

/// Bytes behind their length, and what follows them.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

/// What an end takes.
pub(in crate::keepers::store) const END_BYTES: usize = 9;

/// A row of settled keys begins with 1, the version of its layout.
const PUSHED: u8 = 2;
const ENDED: u8 = 3;

/// What a push takes beside its attempt, head and body: the kind, the number, three lengths, and the job's row.
const PUSH_BYTES_MAX: usize = 1 + 8 + 3 * 4 + 80;
/// The numbers of an attempt, and its error.
const ATTEMPT_BYTES_MAX: usize = 20 + super::ATTEMPT_ERROR_BYTES_MAX;
