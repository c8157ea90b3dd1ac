//! The tables of the file and the few ways they are read.
//!
//! Rows are bytes to redb: what is in them is the codec's business, so that a damaged row is a missing row
//! and not an error of the database.

use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};

use super::codec::{CHUNK_RECORDS, Chunk, Record};
use crate::words::identity::Key;

/// A chunk's place: its run, then the first key in it, so that the tree itself leads to a key's chunk and
/// no index of chunks has to be held in memory.
pub(super) type ChunkKey = (u64, &'static [u8; Key::LEN]);

/// What was read of a run, from some key on.
pub(super) struct Slice {
    pub(super) records: Vec<Record>,
    /// The first key of each chunk, damaged ones included.
    pub(super) firsts: Vec<Key>,
    /// Where the next slice begins; `None` at the end of the run.
    pub(super) next: Option<Key>,
    /// Chunks that could not be read.
    pub(super) damaged: u64,
}

/// One change that housekeeping makes, bounded by whoever makes it.
pub(super) enum Change {
    /// Adds chunks, each with its first key, to a run that is being built.
    PutChunks {
        run: u64,
        chunks: Vec<(Key, Vec<u8>)>,
    },
    /// Makes a run count: before it, its chunks are orphans.
    PutRun { run: u64, manifest: Vec<u8> },
    /// Makes the chunks of a run orphans.
    RemoveRun(u64),
    /// Removes the chunks of a run that begin with these keys.
    RemoveChunks { run: u64, firsts: Vec<Key> },
    /// Removes rows of the journal.
    RemoveRows(Vec<u64>),
}

impl Change {
    /// Writes the change into a transaction.
    pub(super) fn apply(&self, txn: &WriteTransaction) -> Result<(), redb::Error> {
        match self {
            Self::PutChunks { run, chunks } => {
                let mut table = txn.open_table(CHUNKS)?;
                for (first, bytes) in chunks {
                    table.insert((*run, first.as_bytes()), bytes.as_slice())?;
                }
            }
            Self::PutRun { run, manifest } => {
                txn.open_table(RUNS)?.insert(run, manifest.as_slice())?;
            }
            Self::RemoveRun(run) => {
                txn.open_table(RUNS)?.remove(run)?;
            }
            Self::RemoveChunks { run, firsts } => {
                let mut table = txn.open_table(CHUNKS)?;
                for first in firsts {
                    table.remove((*run, first.as_bytes()))?;
                }
            }
            Self::RemoveRows(seqs) => {
                let mut table = txn.open_table(JOURNAL)?;
                for seq in seqs {
                    table.remove(seq)?;
                }
            }
        }
        Ok(())
    }
}

/// The settings every open of a store's file shares.
pub(super) fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Commits a transaction; the pages that it freed are for the one after the next.
///
/// # Why
/// Where nobody reads at that moment, redb (4.5) makes a second commit behind one that freed pages, in memory only, so
/// that they are free for the next one, and leaves its own pages unwritten. As long as it does and its cache is full, each
/// page that is read from the file has all 131 parts of what is unwritten locked and looked through: 2 to 4 microseconds
/// of the 9 to 11 of a look-up with ten million keys. While somebody reads what was before, those pages are not free yet.
pub(super) fn commit(database: &Database, txn: WriteTransaction) -> Result<(), redb::Error> {
    let before = database.begin_read()?;
    txn.commit()?;
    Ok(before.close()?)
}

/// The chunks of all runs as they are now, read in one transaction for all that is looked up together.
pub(super) struct Chunks(ReadOnlyTable<ChunkKey, &'static [u8]>);

impl Chunks {
    pub(super) fn open(database: &Database) -> Result<Self, redb::Error> {
        Ok(Self(database.begin_read()?.open_table(CHUNKS)?))
    }

    /// When `key` was settled according to `run`, and whether a chunk was damaged on the way.
    ///
    /// `first` is the first key of its chunk, where that is known.
    pub(super) fn find(
        &self,
        run: u64,
        key: &Key,
        first: Option<&Key>,
    ) -> Result<(Option<u32>, bool), redb::Error> {
        let bytes = match first {
            Some(first) => self.0.get((run, first.as_bytes()))?,
            None => {
                let upto = (run, &[0; Key::LEN])..=(run, key.as_bytes());
                let last = self.0.range(upto)?.next_back().transpose()?;
                last.map(|(_, bytes)| bytes)
            }
        };
        let Some(bytes) = bytes else {
            return Ok((None, false));
        };
        Ok(match Chunk::parse(bytes.value()) {
            Some(chunk) => (chunk.find(key), false),
            None => (None, true),
        })
    }
}

/// The records of `run` from `from` on, for at most `chunks_max` chunks.
///
/// Each slice has a transaction of its own: a long one would keep every page replaced meanwhile from being
/// used again, and the file would grow.
pub(super) fn read_slice(
    database: &Database,
    run: u64,
    from: Key,
    chunks_max: usize,
) -> Result<Slice, redb::Error> {
    let chunks = database.begin_read()?.open_table(CHUNKS)?;
    let mut slice = Slice {
        records: Vec::with_capacity(chunks_max * CHUNK_RECORDS),
        firsts: Vec::with_capacity(chunks_max),
        next: None,
        damaged: 0,
    };
    let rest = (run, from.as_bytes())..=(run, &[0xff; Key::LEN]);
    for (taken, entry) in chunks.range(rest)?.enumerate() {
        let (place, bytes) = entry?;
        if taken == chunks_max {
            slice.next = Some(Key::from_bytes(*place.value().1));
            break;
        }
        slice.firsts.push(Key::from_bytes(*place.value().1));
        match Chunk::parse(bytes.value()) {
            Some(chunk) => slice.records.extend(chunk.records()),
            None => slice.damaged += 1,
        }
    }
    Ok(slice)
}

/// The places of up to `chunks_max` chunks of `run`, damaged or not.
pub(super) fn chunk_places(
    database: &Database,
    run: u64,
    chunks_max: usize,
) -> Result<Vec<Key>, redb::Error> {
    let chunks = database.begin_read()?.open_table(CHUNKS)?;
    let all = (run, &[0; Key::LEN])..=(run, &[0xff; Key::LEN]);
    chunks
        .range(all)?
        .take(chunks_max)
        .map(|entry| Ok(Key::from_bytes(*entry?.0.value().1)))
        .collect()
}

/// The runs that have chunks, whether they count or not: one step of the tree for each.
pub(super) fn runs_with_chunks(database: &Database) -> Result<Vec<u64>, redb::Error> {
    let chunks = database.begin_read()?.open_table(CHUNKS)?;
    let mut runs = Vec::new();
    let mut from = 0;
    while let Some(entry) = chunks.range((from, &[0; Key::LEN])..)?.next() {
        let run = entry?.0.value().0;
        runs.push(run);
        let Some(next) = run.checked_add(1) else {
            break;
        };
        from = next;
    }
    Ok(runs)
}

/// `format` holds the number of the file's format.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// Shelves by number.
pub(super) const SHELVES: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("shelves");
/// Settled keys in the order they were settled: a commit touches only the tree's right edge, however many
/// keys are remembered.
pub(super) const JOURNAL: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("journal");
/// The runs that count.
pub(super) const RUNS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("runs");
/// The sorted records of all runs.
pub(super) const CHUNKS: TableDefinition<'static, ChunkKey, &[u8]> = TableDefinition::new("chunks");

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;

    /// Counts what is written.
    #[derive(Debug)]
    struct Counting(InMemoryBackend, Arc<AtomicUsize>);

    impl StorageBackend for Counting {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.write(offset, data)
        }
    }

    /// What a hundred commits write that each take the place of the same row.
    fn written_by(commit: impl Fn(&Database, WriteTransaction)) -> usize {
        let written = Arc::default();
        let backend = Counting(InMemoryBackend::new(), Arc::clone(&written));
        let database = builder(1 << 20).create_with_backend(backend).unwrap();
        for n in 0..100u8 {
            let txn = database.begin_write().unwrap();
            let mut table = txn.open_table(META).unwrap();
            table.insert("row", [n].as_slice()).unwrap();
            drop(table);
            commit(&database, txn);
        }
        written.load(Ordering::Relaxed)
    }

    #[test]
    fn a_commit_has_no_second_one_behind_it_whose_pages_would_be_written_with_the_next() {
        let alone = written_by(|database, txn| commit(database, txn).unwrap());
        let followed = written_by(|_, txn| txn.commit().unwrap());
        assert!(alone + 50 < followed, "{alone} and {followed} writes");
    }
}
