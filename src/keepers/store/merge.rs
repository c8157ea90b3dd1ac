//! Building sorted runs, from the journal or from older runs.
//!
//! A merge reads a few chunks of each input at a time and yields a few chunks of the new run, so that its
//! memory is bounded and it can be put aside at any point.

use redb::Database;

use super::ShelfId;
use super::codec::{CHUNK_RECORDS, Manifest, Record, encode_chunk};
use super::outline::Outline;
use super::shelf::Expiry;
use super::tables::{Change, read_slice};
use crate::words::identity::Key;

/// A run that is being built from records in order of their keys.
pub(super) struct Builder {
    pub(super) run: u64,
    shelf: ShelfId,
    chunk: Vec<Record>,
    chunks: Vec<(Key, Vec<u8>)>,
    outline: Outline,
    count: u64,
    oldest: u32,
    newest: u32,
}

/// Several runs on their way into one.
pub(super) struct Merge {
    pub(super) shelf: ShelfId,
    pub(super) inputs: Vec<u64>,
    pub(super) builder: Builder,
    sources: Vec<Source>,
    pub(super) damaged: u64,
}

/// One input of a merge.
struct Source {
    run: u64,
    /// The slice at hand, in reverse so that the next record is the last.
    records: Vec<Record>,
    next: Option<Key>,
}

// === impl Builder ===

impl Builder {
    /// A run of at most `keys` keys.
    pub(super) fn new(run: u64, shelf: ShelfId, keys: u64) -> Self {
        Self {
            run,
            shelf,
            chunk: Vec::with_capacity(CHUNK_RECORDS),
            chunks: Vec::new(),
            outline: Outline::new(keys),
            count: 0,
            oldest: u32::MAX,
            newest: 0,
        }
    }

    /// Adds the next record, whose key is greater than all before.
    pub(super) fn push(&mut self, record: Record) {
        self.outline.add(&record.key);
        self.count += 1;
        self.oldest = self.oldest.min(record.secs);
        self.newest = self.newest.max(record.secs);
        self.chunk.push(record);
        if self.chunk.len() == CHUNK_RECORDS {
            self.cut();
        }
    }

    /// Whether `chunks_max` chunks are ready.
    pub(super) fn holds(&self, chunks_max: usize) -> bool {
        self.chunks.len() >= chunks_max
    }

    /// The chunks that are ready, for the next commit.
    pub(super) fn take(&mut self) -> Change {
        Change::PutChunks {
            run: self.run,
            chunks: std::mem::take(&mut self.chunks),
        }
    }

    /// The last chunks, with the run's manifest and outline; `None` if no record was added.
    pub(super) fn finish(mut self) -> Option<(Change, Manifest, Outline)> {
        self.cut();
        let ShelfId(shelf) = self.shelf;
        let manifest = Manifest {
            shelf,
            count: self.count,
            oldest: self.oldest,
            newest: self.newest,
        };
        (self.count > 0).then(|| (self.take(), manifest, self.outline))
    }

    fn cut(&mut self) {
        if let Some(first) = self.chunk.first() {
            self.outline.begin_chunk(first.key);
            self.chunks.push((first.key, encode_chunk(&self.chunk)));
            self.chunk.clear();
        }
    }
}

// === impl Merge ===

impl Merge {
    /// A merge of `inputs`, each with its number of keys, into the new `run`.
    pub(super) fn new(shelf: ShelfId, inputs: &[(u64, u64)], run: u64) -> Self {
        let keys = inputs.iter().map(|(_, count)| count).sum();
        Self {
            shelf,
            inputs: inputs.iter().map(|(id, _)| *id).collect(),
            builder: Builder::new(run, shelf, keys),
            sources: inputs.iter().map(|(id, _)| Source::new(*id)).collect(),
            damaged: 0,
        }
    }

    /// Reads and merges until there is enough for one commit; false once the inputs are used up.
    pub(super) fn advance(
        &mut self,
        database: &Database,
        expiry: Expiry,
    ) -> Result<bool, redb::Error> {
        while !self.builder.holds(CHUNKS_PER_COMMIT) {
            for source in &mut self.sources {
                self.damaged += source.fill(database)?;
            }
            let heads = self
                .sources
                .iter()
                .filter_map(|source| source.records.last());
            let Some(key) = heads.map(|record| record.key).min() else {
                return Ok(false);
            };
            // One key in several runs lives as long as its latest record.
            let same = self
                .sources
                .iter_mut()
                .filter_map(|source| source.pop(&key));
            if let Some(secs) = same.max()
                && expiry.lives(secs)
            {
                self.builder.push(Record { key, secs });
            }
        }
        Ok(true)
    }
}

// === impl Source ===

impl Source {
    fn new(run: u64) -> Self {
        Self {
            run,
            records: Vec::new(),
            next: Some(Key::from_bytes([0; Key::LEN])),
        }
    }

    /// Reads on if nothing is at hand, and gives back how many chunks were damaged.
    fn fill(&mut self, database: &Database) -> Result<u64, redb::Error> {
        let mut damaged = 0;
        while self.records.is_empty()
            && let Some(from) = self.next.take()
        {
            let slice = read_slice(database, self.run, from, CHUNKS_PER_READ)?;
            self.records = slice.records;
            self.records.reverse();
            self.next = slice.next;
            damaged += slice.damaged;
        }
        Ok(damaged)
    }

    fn pop(&mut self, key: &Key) -> Option<u32> {
        self.records
            .pop_if(|record| record.key == *key)
            .map(|record| record.secs)
    }
}

/// 64 KiB: a commit that carries them takes hardly longer than one that does not.
const CHUNKS_PER_COMMIT: usize = 16;
const CHUNKS_PER_READ: usize = 16;
