//! The write-ahead log: settled keys and jobs that are on disk, and not yet in a table.
//!
//! It has the first part of the store's file, redb has what follows. A batch of settles, pushes and ends is one record
//! here, written over space that is the file's already and synced; the next transaction, whatever it is for, takes over
//! into the tables what still counts, and says so: it names the place behind which records count, so that more of them
//! can be added while it is committed, or begins a new *epoch*, which makes all records of the old one void. So there is
//! one file, of which every part is as old as the other, and the tables stay the record of everything.
//!
//! # Why
//! A transaction of redb's that adds a row writes seven pages and takes three times the processor's time of this:
//! 290 against 110 microseconds, measured side by side. And where nothing grows, a sync has nothing but the
//! record itself to write. Most events are with the app long before the next transaction: then they never were in a
//! table at all.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use redb::StorageBackend;

use super::epoch::Epoch;
use super::jobs::logged::JobEntry;
use super::open_error::OpenError;
use super::record::{self, Numbered, Record};

/// What of a new file is the log's; the rest is redb's.
///
/// It holds some thousand events, so that of those that wait for the app a moment only few are there still when it is
/// full. It is a bound of memory too, and of how long the transaction takes that empties it.
pub(super) const REGION_BYTES: u64 = 2 << 20;

/// What a transaction makes of the log, of which it takes over all that counts.
pub(super) struct Turn {
    /// The epoch as it is then.
    pub(super) epoch: Epoch,
    /// The rows that it takes over.
    pub(super) rows: Vec<Numbered>,
    /// It takes over records that tell of jobs, be they there still or not: numbers were given away that no table knows.
    pub(super) has_jobs: bool,
    /// Records may be added while it is committed: they come behind what it takes over, in the same epoch.
    pub(super) goes_on: bool,
}

/// Records begin at a page of their own: what is synced is never written again before it is void, so that no torn
/// write can reach it.
const PAGE_BYTES: u64 = 4096;

/// An epoch goes on while a transaction takes its records over, until all but this part of the log has been written: so
/// there is room for more than a hundred records beside one commit. Where a new epoch begins, everybody waits for it.
const LEFT_PART: u64 = 4;

/// How a store's file begins, and what of it is the log's: the last is how a new one is made.
const LAYOUTS: [(&[u8; 16], u64); 2] = [
    (b"passgate store 1", 1 << 20),
    (b"passgate store 2", REGION_BYTES),
];
const MAGIC: &[u8; 16] = LAYOUTS[1].0;

/// Said of a file that has our head and not much more.
const CUT: &str = "the file was cut: it has the head of a store, and less than every store has. \
                   It was left as it is";

/// A store's file as its log uses it.
pub(super) trait LogFile: Send + Sync {
    /// Reads what is there from an offset on.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes; it is on disk when this returns `Ok`.
    fn write_synced(&self, offset: u64, data: &[u8]) -> io::Result<()>;
}

/// The log of an open file.
pub(super) struct Wal {
    file: Arc<dyn LogFile>,
    /// Where the log's part ends.
    region: u64,
    epoch: Epoch,
    /// Where the next record goes.
    end: u64,
    rows: Vec<Numbered>,
    /// What the records that were there when the file was opened say of jobs.
    jobs: Vec<JobEntry>,
    /// A record of this epoch tells of jobs.
    has_jobs: bool,
    damaged: u64,
    is_closed: bool,
}

/// Makes the log's part of a new file, and refuses a file that is not ours or was cut within that part. Gives back how
/// much is the log's.
///
/// # Errors
/// `Foreign`, `Unusable`, and what the disk says.
pub(super) fn prepare(file: &impl StorageBackend) -> Result<u64, OpenError> {
    let len = file.len()?;
    let mut head = [0; MAGIC.len()];
    if len >= MAGIC.len() as u64 {
        file.read(0, &mut head)?;
    }
    if let Some((_, region)) = LAYOUTS.iter().find(|(magic, _)| head == **magic) {
        // The head is written last, over a part that is there as a whole.
        return match len < *region {
            true => Err(OpenError::Unusable(CUT.to_owned())),
            false => Ok(*region),
        };
    }
    if len > REGION_BYTES || !is_begun(file, len)? {
        return Err(OpenError::Foreign);
    }
    file.set_len(0)?;
    file.set_len(REGION_BYTES)?;
    // Zeros and not holes, so that no record has to make room.
    file.write(0, &vec![0; REGION_BYTES as usize])?;
    file.sync_data()?;
    file.write(0, MAGIC)?;
    file.sync_data()?;
    Ok(REGION_BYTES)
}

/// Whether a file is one whose beginning was cut short: there is nothing yet, but for what came of the head, which is
/// written last.
fn is_begun(file: &impl StorageBackend, len: u64) -> io::Result<bool> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read(0, &mut bytes)?;
    let (head, rest) = bytes.split_at(bytes.len().min(MAGIC.len()));
    let is_torn = |(byte, right): (&u8, &u8)| *byte == 0 || byte == right;
    let is_ours = |(magic, _): &(&[u8; 16], u64)| head.iter().zip(*magic).all(is_torn);
    Ok(LAYOUTS.iter().any(is_ours) && rest.iter().all(|byte| *byte == 0))
}

/// Whether anything was ever written into the log's part of a file that has it. What was stays there, void or not.
pub(super) fn was_used(file: &dyn LogFile, region: u64) -> io::Result<bool> {
    let mut records = vec![0; (region - PAGE_BYTES) as usize];
    file.read_at(PAGE_BYTES, &mut records)?;
    Ok(records.iter().any(|byte| *byte != 0))
}

// === impl LogFile ===

impl<B: StorageBackend> LogFile for B {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read(offset, out)
    }

    fn write_synced(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data)?;
        self.sync_data()
    }
}

// === impl Wal ===

impl Wal {
    /// Reads the records of `epoch`. What follows goes into a transaction, so that nothing is ever written behind
    /// a record that a crash has torn: where a record is unreadable and one of the same epoch stands behind it, what
    /// is missing was lost later, and is counted.
    ///
    /// # Errors
    /// What the disk says; a record that is torn, damaged or void is none.
    pub(super) fn open(file: Arc<dyn LogFile>, region: u64, epoch: Epoch) -> io::Result<Self> {
        let mut bytes = vec![0; region as usize];
        file.read_at(0, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut wal = Self {
            file,
            region,
            epoch,
            end: PAGE_BYTES,
            rows: Vec::new(),
            jobs: Vec::new(),
            has_jobs: false,
            damaged: 0,
            is_closed: true,
        };
        let mut at = wal.epoch.begin().max(PAGE_BYTES);
        wal.end = at;
        while at < region {
            let decoded = usize::try_from(at)
                .ok()
                .and_then(|at| record::decode(&bytes, at, &wal.epoch));
            match decoded {
                Some((record, len)) if wal.is_next(&record) => {
                    if at != wal.end {
                        wal.damaged += wal.missing_before(&record);
                    }
                    wal.has_jobs |= !record.jobs.is_empty();
                    wal.rows.extend(record.rows);
                    wal.jobs.extend(record.jobs);
                    at += padded(len);
                    wal.end = at;
                }
                // Records begin at pages, whatever the length of the one that cannot be read.
                Some(_) | None => at += PAGE_BYTES,
            }
        }
        Ok(wal)
    }

    /// A record without rows only ends jobs, which does no harm a second time.
    fn is_next(&self, record: &Record) -> bool {
        match (self.rows.last(), record.rows.first()) {
            (Some((last, _)), Some((first, _))) => first > last,
            (None, _) | (_, None) => true,
        }
    }

    /// About how many rows an unreadable stretch before a record held. Among the numbers between may be those of a
    /// transaction beside which records were added; before the first record nothing says where they began, and some
    /// records have none: one at the least.
    fn missing_before(&self, record: &Record) -> u64 {
        match (self.rows.last(), record.rows.first()) {
            (Some((last, _)), Some((first, _))) => first.saturating_sub(last + 1).max(1),
            (None, _) | (_, None) => 1,
        }
    }

    /// The rows that are in no table yet, and no transaction takes over.
    pub(super) fn rows(&self) -> &[Numbered] {
        &self.rows
    }

    /// What the records say of jobs that were there when the file was opened; once.
    pub(super) fn take_jobs(&mut self) -> Vec<JobEntry> {
        std::mem::take(&mut self.jobs)
    }

    /// Rows that could not be read when the file was opened.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The epoch whose records count.
    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Whether a record of `len` bytes can be added.
    pub(super) fn has_room(&self, len: usize) -> bool {
        !self.is_closed && self.end + padded(len) <= self.region
    }

    /// Adds a record, which is synced when this returns `Ok`. `rows` are those it holds. After an error it is unknown
    /// whether it is there, and the file must be opened anew.
    pub(super) fn append(
        &mut self,
        record: &[u8],
        rows: &[Numbered],
        has_jobs: bool,
    ) -> io::Result<()> {
        self.is_closed = true;
        self.file.write_synced(self.end, record)?;
        self.is_closed = false;
        self.end += padded(record.len());
        self.rows.extend_from_slice(rows);
        self.has_jobs |= has_jobs;
        Ok(())
    }

    /// How many bytes a record may have.
    pub(super) fn room(&self) -> usize {
        match self.is_closed {
            true => 0,
            false => usize::try_from(self.region - self.end).unwrap_or(0),
        }
    }

    /// What a transaction makes of it that begins now: what is left of it goes on, or, where too little is left, a new
    /// epoch begins. It has the rows from now on: should it fail, the file must be opened anew.
    ///
    /// # Errors
    /// Where the system has no random numbers to give.
    pub(super) fn turn(&mut self) -> io::Result<Turn> {
        let goes_on = !self.is_closed && self.end <= self.region - self.region / LEFT_PART;
        Ok(Turn {
            epoch: match goes_on {
                true => self.epoch.behind(self.end),
                false => self.epoch.next()?,
            },
            rows: std::mem::take(&mut self.rows),
            has_jobs: std::mem::take(&mut self.has_jobs),
            goes_on,
        })
    }

    /// The transaction is on disk.
    pub(super) fn turned(&mut self, turn: Turn) {
        self.epoch = turn.epoch;
        if !turn.goes_on {
            self.end = PAGE_BYTES;
            self.is_closed = false;
        }
    }
}

/// Whether an epoch may begin where it says, in a log that ends at `region`.
pub(super) fn is_within(epoch: &Epoch, region: u64) -> bool {
    epoch.begin() <= region && epoch.begin().is_multiple_of(PAGE_BYTES)
}

fn padded(len: usize) -> u64 {
    (len as u64).next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod tests;
