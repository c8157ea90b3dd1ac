//! The queue's rows, byte by byte.
//!
//! Like the ledger's rows they begin with a version byte and are little-endian; what is damaged or from
//! another version reads as `None` and never as a wrong job.

use std::time::Duration;

use bytes::Bytes;

use super::tally::Tally;
use super::{
    ATTEMPT_ERROR_BYTES_MAX, AttemptRecord, JobId, JobInfo, JobState, Reason, Terms, Volume,
};
use crate::keepers::store::ShelfId;
use crate::words::identity::{Key, Keys};
use crate::words::time::Timestamp;

/// A head and, if it is small, the body behind it.
pub(super) struct Content<'a> {
    pub(super) head: &'a [u8],
    /// `None` if the body has a row of its own.
    pub(super) body: Option<&'a [u8]>,
}

/// Reads a row from its front.
struct Reader<'a>(&'a [u8]);

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Past the version byte.
    fn new(row: &'a [u8]) -> Option<Self> {
        match row.split_first() {
            Some((&VERSION, rest)) => Some(Self(rest)),
            Some(_) | None => None,
        }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let [byte] = self.array()?;
        Some(byte)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(i64::from_le_bytes(self.array()?)))
    }

    fn key(&mut self) -> Option<Key> {
        Some(Key::from_bytes(self.array()?))
    }

    fn duration(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(self.u64()?))
    }

    /// Nothing may be left over.
    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The row of a job's state.
pub(super) fn encode_job(job: &JobInfo) -> Vec<u8> {
    let (state, when, reason) = match job.state {
        JobState::Queued { due, waits: false } => (QUEUED, due, 0),
        JobState::Queued { due, waits: true } => (WAITS, due, 0),
        JobState::Delivered { at } => (DELIVERED, at, 0),
        JobState::Dead { at, reason } => (DEAD, at, reason.0),
    };
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(job.replayed_at.is_some(), REPLAYED)
        | flag(job.order.is_some(), ORDERED)
        | flag(job.keys.id.is_some(), WITH_ID);
    let ShelfId(shelf) = job.shelf;
    let mut row = vec![VERSION, state, flags, reason];
    row.extend(shelf.to_le_bytes());
    row.extend(job.attempts.to_le_bytes());
    row.extend(job.bytes.to_le_bytes());
    row.extend(job.at.as_millis().to_le_bytes());
    row.extend(when.as_millis().to_le_bytes());
    row.extend(job.keys.content.as_bytes());
    if let Some(id) = &job.keys.id {
        row.extend(id.as_bytes());
    }
    if let Some(order) = job.order {
        row.extend(order.to_le_bytes());
    }
    if let Some(at) = job.replayed_at {
        row.extend(at.as_millis().to_le_bytes());
    }
    row
}

/// Reads what [`encode_job`] wrote.
pub(super) fn decode_job(id: JobId, row: &[u8]) -> Option<JobInfo> {
    let mut row = Reader::new(row)?;
    let [state, flags, reason] = row.array()?;
    let shelf = ShelfId(row.u32()?);
    let attempts = row.u32()?;
    let bytes = row.u32()?;
    let at = row.time()?;
    let when = row.time()?;
    let content = row.key()?;
    let with_id = match flags & WITH_ID {
        0 => None,
        _ => Some(row.key()?),
    };
    let order = match flags & ORDERED {
        0 => None,
        _ => Some(row.u64()?),
    };
    let replayed_at = match flags & REPLAYED {
        0 => None,
        _ => Some(row.time()?),
    };
    row.end()?;
    let state = match (state, reason) {
        (QUEUED, 0) => JobState::Queued {
            due: when,
            waits: false,
        },
        (WAITS, 0) => JobState::Queued {
            due: when,
            waits: true,
        },
        (DELIVERED, 0) => JobState::Delivered { at: when },
        (DEAD, reason) => JobState::Dead {
            at: when,
            reason: Reason(reason),
        },
        _ => return None,
    };
    let keys = Keys {
        content,
        id: with_id,
    };
    Some(JobInfo {
        id,
        shelf,
        keys,
        at,
        state,
        order,
        attempts,
        replayed_at,
        bytes,
    })
}

/// The row of a head, with the body if it is small; and whether it is.
pub(super) fn encode_content(head: &Bytes, body: &Bytes) -> (Vec<u8>, bool) {
    let inline = body.len() <= BODY_INLINE_MAX;
    let body: &[u8] = if inline { body } else { &[] };
    let head_len = u32::try_from(head.len()).unwrap_or(u32::MAX);
    let mut row = Vec::with_capacity(6 + head.len() + body.len());
    row.push(VERSION);
    row.push(u8::from(inline));
    row.extend(head_len.to_le_bytes());
    row.extend(head);
    row.extend(body);
    (row, inline)
}

/// Reads what [`encode_content`] wrote.
pub(super) fn decode_content(row: &[u8]) -> Option<Content<'_>> {
    let mut row = Reader::new(row)?;
    let inline = row.u8()?;
    let head_len = usize::try_from(row.u32()?).ok()?;
    let (head, body) = row.0.split_at_checked(head_len)?;
    match (inline, body) {
        (1, body) => Some(Content {
            head,
            body: Some(body),
        }),
        (0, []) => Some(Content { head, body: None }),
        _ => None,
    }
}

/// Whether the body lies in the row of its head. A row that cannot be read is taken for one without.
pub(super) fn is_inline(row: &[u8]) -> bool {
    decode_content(row).is_some_and(|content| content.body.is_some())
}

/// The row of a body, or of a replay: bytes behind a version.
pub(super) fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + bytes.len());
    row.push(VERSION);
    row.extend(bytes);
    row
}

/// Reads what [`encode_bytes`] wrote.
pub(super) fn decode_bytes(row: &[u8]) -> Option<&[u8]> {
    Some(Reader::new(row)?.0)
}

/// The row of an attempt.
pub(super) fn encode_attempt(attempt: &AttemptRecord) -> Vec<u8> {
    let took = u32::try_from(attempt.took.as_millis()).unwrap_or(u32::MAX);
    let mut row = vec![VERSION];
    row.extend(attempt.number.to_le_bytes());
    row.extend(attempt.at.as_millis().to_le_bytes());
    row.extend(took.to_le_bytes());
    // No status is below 100.
    row.extend(attempt.status.unwrap_or(0).to_le_bytes());
    if let Some(error) = &attempt.error {
        row.push(1);
        row.extend(bounded(error).as_bytes());
    }
    row
}

/// Reads what [`encode_attempt`] wrote.
pub(super) fn decode_attempt(row: &[u8]) -> Option<AttemptRecord> {
    let mut row = Reader::new(row)?;
    let number = row.u32()?;
    let at = row.time()?;
    let took = Duration::from_millis(row.u32()?.into());
    let status = match u16::from_le_bytes(row.array()?) {
        0 => None,
        status => Some(status),
    };
    let error = match row.0.split_first() {
        None => None,
        Some((1, text)) => Some(String::from_utf8(text.to_vec()).ok()?),
        Some(_) => return None,
    };
    Some(AttemptRecord {
        number,
        at,
        status,
        error,
        took,
    })
}

/// As much of an error as is kept.
pub(super) fn bounded(error: &str) -> &str {
    let ends = (0..=ATTEMPT_ERROR_BYTES_MAX).rev();
    match error.len() <= ATTEMPT_ERROR_BYTES_MAX {
        true => error,
        false => ends.filter_map(|end| error.get(..end)).next().unwrap_or(""),
    }
}

/// The row of what a shelf holds.
pub(super) fn encode_tally(tally: &Tally) -> Vec<u8> {
    let mut row = vec![VERSION];
    for volume in [tally.queued, tally.delivered, tally.dead] {
        row.extend(volume.jobs.to_le_bytes());
        row.extend(volume.bytes.to_le_bytes());
    }
    row.extend(tally.renewed.to_le_bytes());
    row
}

/// Reads what [`encode_tally`] wrote.
pub(super) fn decode_tally(row: &[u8]) -> Option<Tally> {
    let mut row = Reader::new(row)?;
    let mut volume = || {
        Some(Volume {
            jobs: row.u64()?,
            bytes: row.u64()?,
        })
    };
    let (queued, delivered, dead) = (volume()?, volume()?, volume()?);
    let renewed = row.u32()?;
    row.end()?;
    Some(Tally {
        queued,
        delivered,
        dead,
        renewed,
    })
}

/// The row of the next job's number.
pub(super) fn encode_next(next: u64) -> Vec<u8> {
    let mut row = vec![VERSION];
    row.extend(next.to_le_bytes());
    row
}

/// Reads what [`encode_next`] wrote.
pub(super) fn decode_next(row: &[u8]) -> Option<u64> {
    let mut row = Reader::new(row)?;
    let next = row.u64()?;
    row.end()?;
    Some(next)
}

/// The row of a shelf's terms.
pub(super) fn encode_terms(terms: &Terms) -> Vec<u8> {
    let millis = |keep: Duration| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let mut row = vec![VERSION];
    row.extend(millis(terms.keep_delivered).to_le_bytes());
    row.extend(millis(terms.keep_dead).to_le_bytes());
    row.extend(terms.max_events.to_le_bytes());
    row.extend(terms.max_bytes.to_le_bytes());
    row
}

/// Reads what [`encode_terms`] wrote.
pub(super) fn decode_terms(row: &[u8]) -> Option<Terms> {
    let mut row = Reader::new(row)?;
    let terms = Terms {
        keep_delivered: row.duration()?,
        keep_dead: row.duration()?,
        max_events: row.u64()?,
        max_bytes: row.u64()?,
    };
    row.end()?;
    Some(terms)
}

/// A body up to this size lies behind its head: one row less for most events, while a long list of heads
/// still need not read the large bodies.
pub(super) const BODY_INLINE_MAX: usize = 1024;

const VERSION: u8 = 1;
const QUEUED: u8 = 0;
const WAITS: u8 = 1;
const DELIVERED: u8 = 2;
const DEAD: u8 = 3;
const REPLAYED: u8 = 1;
const ORDERED: u8 = 2;
const WITH_ID: u8 = 4;

#[cfg(test)]
mod tests;
