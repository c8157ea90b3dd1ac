//! A record of the log, byte by byte.
//!
//! It is one commit: the rows of the keys that it settles, then what it says of jobs. It begins with a check over all
//! of it, so that a record is there as a whole or not at all. Nothing here does I/O.

use bytes::Bytes;

use super::codec::JournalRow;
use super::epoch::{CHECK_BYTES, Epoch};
use super::jobs::logged::{self, JobEntry};
use super::jobs::{JobId, JobInfo, NewJob};

/// A row's number in the journal, and the row.
pub(super) type Numbered = (u64, JournalRow);

/// What a record says.
pub(super) struct Record {
    pub(super) rows: Vec<Numbered>,
    /// In the order in which it happened.
    pub(super) jobs: Vec<JobEntry>,
}

/// A record that is being put together.
pub(super) struct Draft<'a> {
    bytes: Vec<u8>,
    epoch: &'a Epoch,
    first: u64,
    entries: u32,
}

// === impl Draft ===

impl<'a> Draft<'a> {
    /// A record of `epoch` with room for `len` bytes. `first` is the number of its first row, or, where it has none,
    /// the number that the next row will have.
    pub(super) fn new(epoch: &'a Epoch, first: u64, len: usize) -> Self {
        let mut bytes = Vec::with_capacity(len);
        bytes.resize(HEAD_BYTES, 0);
        Self {
            bytes,
            epoch,
            first,
            entries: 0,
        }
    }

    /// Adds the next row.
    pub(super) fn row(&mut self, row: &JournalRow) {
        self.entry(|bytes| bytes.extend(row.encode()));
    }

    /// Adds a job that is pushed.
    pub(super) fn push(&mut self, info: &JobInfo, new: &NewJob) {
        self.entry(|bytes| logged::encode_push(bytes, info, new));
    }

    /// Adds the end of a job.
    pub(super) fn end(&mut self, id: JobId) {
        self.entry(|bytes| logged::encode_end(bytes, id));
    }

    fn entry(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        self.bytes.extend([0; LEN_BYTES]);
        write(&mut self.bytes);
        let len = (self.bytes.len() - at - LEN_BYTES) as u32;
        if let Some(place) = self.bytes.get_mut(at..at + LEN_BYTES) {
            place.copy_from_slice(&len.to_le_bytes());
        }
        self.entries += 1;
    }

    /// The record as it is written.
    pub(super) fn finish(mut self) -> Bytes {
        let body = (self.bytes.len() - HEAD_BYTES) as u32;
        let head = [
            &body.to_le_bytes()[..],
            &self.epoch.number().to_le_bytes(),
            &self.first.to_le_bytes(),
            &self.entries.to_le_bytes(),
        ]
        .concat();
        if let Some(place) = self.bytes.get_mut(CHECK_BYTES..HEAD_BYTES) {
            place.copy_from_slice(&head);
        }
        let check = self.epoch.check(checked(&self.bytes));
        if let Some(place) = self.bytes.first_chunk_mut() {
            *place = check;
        }
        self.bytes.into()
    }
}

/// What a record takes that has the given rows and `jobs` entries of `jobs_bytes` together.
pub(super) fn len(rows: &[Numbered], jobs: usize, jobs_bytes: usize) -> usize {
    let rows_bytes: usize = rows.iter().map(|(_, row)| row.encoded_len()).sum();
    HEAD_BYTES + (rows.len() + jobs) * LEN_BYTES + rows_bytes + jobs_bytes
}

/// The record that begins at `at`, and its length, if it is whole and of `epoch`. What it says of jobs shares the
/// memory of `bytes`.
pub(super) fn decode(bytes: &Bytes, at: usize, epoch: &Epoch) -> Option<(Record, usize)> {
    let rest = bytes.get(at..)?;
    let (wanted, rest) = rest.split_first_chunk::<CHECK_BYTES>()?;
    let (body, rest) = rest.split_first_chunk()?;
    let (of_epoch, _) = rest.split_first_chunk()?;
    let len = HEAD_BYTES + usize::try_from(u32::from_le_bytes(*body)).ok()?;
    let record = bytes.get(at..at.checked_add(len)?)?;
    // The hash comes last: a page that begins no record of the epoch costs next to nothing.
    if u64::from_le_bytes(*of_epoch) != epoch.number() || *wanted != epoch.check(checked(record)) {
        return None;
    }
    Some((parse(&bytes.slice(at..at + len))?, len))
}

/// Reads a record that is known to be whole.
pub(super) fn parse(record: &Bytes) -> Option<Record> {
    let (_, rest) = record.split_first_chunk::<{ CHECK_BYTES + 4 + 8 }>()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (entries, _) = rest.split_first_chunk()?;
    let mut number = u64::from_le_bytes(*first);
    let mut read = Record {
        rows: Vec::new(),
        jobs: Vec::new(),
    };
    let mut at = HEAD_BYTES;
    for _ in 0..u32::from_le_bytes(*entries) {
        let (len, rest) = record.get(at..)?.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let entry = rest.get(..len)?;
        at += LEN_BYTES;
        match logged::is_of_job(entry) {
            true => {
                let entry = record.slice(at..at + len);
                read.jobs.push(logged::decode(&entry)?);
            }
            false => {
                read.rows.push((number, JournalRow::decode(entry)?));
                number = number.checked_add(1)?;
            }
        }
        at += len;
    }
    Some(read)
}

/// What of a record its check is of.
fn checked(record: &[u8]) -> &[u8] {
    record.get(CHECK_BYTES..).unwrap_or_default()
}

/// The check, the body's length, the epoch, the first row's number, and how many entries there are.
const HEAD_BYTES: usize = CHECK_BYTES + 4 + 8 + 8 + 4;
/// Before each entry stands its length.
const LEN_BYTES: usize = 4;

#[cfg(test)]
mod tests;
