//! Opening the file and reading what must be in memory: the shelves, the journal, and which runs count.
//!
//! The runs themselves are not read here, so that a store with many keys is ready at once; housekeeping
//! rebuilds their outlines afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use redb::{Database, ReadableDatabase, ReadableTable, TableHandle};

use super::ShelfId;
use super::codec::{JournalRow, Manifest, ShelfRow, decode_format, encode_format};
use super::epoch::Epoch;
use super::jobs::desk::Books;
use super::jobs::fresh::Fresh;
use super::jobs::{opening, tables};
use super::journal::Row;
use super::medium::{self, Medium, Opened};
use super::open_error::OpenError;
use super::shelf::{Run, Shelf};
use super::tables::{CHUNKS, JOURNAL, META, RUNS, SHELVES, builder, commit, runs_with_chunks};
use super::wal::{self, Wal};

/// What a file held when it was opened.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) by_id: BTreeMap<ShelfId, Shelf>,
    pub(super) next_seq: u64,
    pub(super) next_shelf: u32,
    pub(super) next_run: u64,
    pub(super) orphans: Vec<u64>,
    pub(super) books: Books,
    pub(super) fresh: Fresh,
    /// The newest second any key was settled in.
    pub(super) newest: u32,
    pub(super) damaged: u64,
    /// There was no store before.
    pub(super) is_new: bool,
}

/// How far a file was made.
enum Contents {
    Nothing,
    /// An earlier version made it, which knew no queue.
    KeysOnly,
    All,
}

/// Opens the file in `medium` and reads it, or makes it.
pub(super) fn open(
    medium: &dyn Medium,
    cache_bytes: usize,
) -> Result<(Database, Wal, Loaded), OpenError> {
    let Opened {
        database,
        file,
        front,
    } = medium.open(&builder(cache_bytes))?;
    let contents = is_ours(&database)?;
    match contents {
        // The tables come before the first record.
        Contents::Nothing if wal::was_used(file.as_ref(), front)? => {
            return Err(OpenError::Unusable(medium::GONE.to_owned()));
        }
        Contents::Nothing => make_tables(&database, true)?,
        Contents::KeysOnly => make_tables(&database, false)?,
        Contents::All => {}
    }
    let mut wal = Wal::open(file, front, epoch(&database, front)?)?;
    let loaded = Loaded {
        is_new: matches!(contents, Contents::Nothing),
        ..load(&database, &mut wal)?
    };
    Ok((database, wal, loaded))
}

/// Which tables are there; an error for a stranger's file.
fn is_ours(database: &Database) -> Result<Contents, OpenError> {
    let txn = database.begin_read().map_err(redb::Error::from)?;
    let tables: Vec<_> = txn
        .list_tables()
        .map_err(redb::Error::from)?
        .map(|table| table.name().to_owned())
        .collect();
    if tables.is_empty() {
        return Ok(Contents::Nothing);
    }
    if !tables.iter().any(|name| name == META.name()) {
        return Err(OpenError::Foreign);
    }
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableTypeMismatch { .. } | redb::TableError::TableIsMultimap(_)) => {
            return Err(OpenError::Foreign);
        }
        Err(other) => return Err(redb::Error::from(other).into()),
    };
    let row = meta.get(FORMAT).map_err(redb::Error::from)?;
    match row.and_then(|row| decode_format(row.value())) {
        Some(1..=FORMAT_NUMBER) => Ok(
            match tables.iter().any(|name| name == tables::JOBS.name()) {
                true => Contents::All,
                false => Contents::KeysOnly,
            },
        ),
        Some(format) => Err(OpenError::Newer { format }),
        None => Err(OpenError::Foreign),
    }
}

fn make_tables(database: &Database, all: bool) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    if all {
        txn.open_table(META)?
            .insert(FORMAT, encode_format(FORMAT_NUMBER).as_slice())?;
        txn.open_table(SHELVES)?;
        txn.open_table(JOURNAL)?;
        txn.open_table(RUNS)?;
        txn.open_table(CHUNKS)?;
    }
    tables::make(&txn)?;
    commit(database, txn)
}

/// The epoch of the log whose records are in no table yet.
fn epoch(database: &Database, front: u64) -> Result<Epoch, OpenError> {
    let txn = database.begin_read().map_err(redb::Error::from)?;
    let meta = txn.open_table(META).map_err(redb::Error::from)?;
    match meta.get(EPOCH).map_err(redb::Error::from)? {
        // Before the first record there is none.
        None => Ok(Epoch::default()),
        // Without it all that is in the log alone would be forgotten, and nothing said.
        Some(row) => Epoch::decode(row.value())
            .filter(|epoch| wal::is_within(epoch, front))
            .ok_or_else(|| OpenError::Unusable("the row of the log's epoch is damaged".to_owned())),
    }
}

fn load(database: &Database, wal: &mut Wal) -> Result<Loaded, redb::Error> {
    let mut loaded = Loaded::default();
    load_shelves(database, &mut loaded)?;
    load_journal(database, &mut loaded)?;
    for (seq, row) in wal.rows() {
        loaded.add(*seq, Some(row));
    }
    loaded.damaged += wal.damaged();
    opening::load_jobs(database, wal.take_jobs(), &mut loaded)?;
    let counted = load_runs(database, &mut loaded)?;
    let present = runs_with_chunks(database)?;
    let used = counted.last().max(present.last());
    loaded.next_run = used.map_or(0, |run| run.saturating_add(1));
    loaded.orphans = present
        .into_iter()
        .filter(|run| !counted.contains(run))
        .collect();
    Ok(loaded)
}

fn load_shelves(database: &Database, loaded: &mut Loaded) -> Result<(), redb::Error> {
    for entry in database.begin_read()?.open_table(SHELVES)?.iter()? {
        let (id, row) = entry?;
        // The number of an unreadable shelf is not given away again: its keys would turn up in another.
        loaded.next_shelf = id.value().saturating_add(1);
        match ShelfRow::decode(row.value()) {
            Some(row) => {
                let shelf = Shelf::new(row.name, row.keep);
                loaded.by_id.insert(ShelfId(id.value()), shelf);
            }
            None => loaded.damaged += 1,
        }
    }
    Ok(())
}

fn load_journal(database: &Database, loaded: &mut Loaded) -> Result<(), redb::Error> {
    for entry in database.begin_read()?.open_table(JOURNAL)?.iter()? {
        let (seq, row) = entry?;
        loaded.add(seq.value(), JournalRow::decode(row.value()).as_ref());
    }
    Ok(())
}

/// Reads the manifests and gives back the numbers of all, readable or not: the chunks of a run whose
/// manifest is damaged are no rubbish.
fn load_runs(database: &Database, loaded: &mut Loaded) -> Result<BTreeSet<u64>, redb::Error> {
    let mut counted = BTreeSet::new();
    for entry in database.begin_read()?.open_table(RUNS)?.iter()? {
        let (id, row) = entry?;
        let id = id.value();
        counted.insert(id);
        let manifest = Manifest::decode(row.value());
        let shelf = manifest.and_then(|manifest| loaded.by_id.get_mut(&ShelfId(manifest.shelf)));
        match (manifest, shelf) {
            (Some(manifest), Some(shelf)) => {
                loaded.newest = loaded.newest.max(manifest.newest);
                let outline = OnceLock::new();
                let run = Run {
                    id,
                    manifest,
                    outline,
                };
                shelf.replace(&[], Some(Arc::new(run)));
            }
            (Some(_), None) | (None, _) => loaded.damaged += 1,
        }
    }
    Ok(counted)
}

// === impl Loaded ===

impl Loaded {
    /// Adds a row of the journal, if it could be read.
    fn add(&mut self, seq: u64, row: Option<&JournalRow>) {
        self.next_seq = seq.saturating_add(1);
        let shelf = row.and_then(|row| self.by_id.get_mut(&ShelfId(row.shelf)));
        match (row, shelf) {
            (Some(row), Some(shelf)) => {
                let secs = row.secs;
                self.newest = self.newest.max(secs);
                shelf.journal.add(Row { seq, secs }, &row.keys);
            }
            (Some(_), None) | (None, _) => self.damaged += 1,
        }
    }
}

/// The row with the number of the file's format.
pub(super) const FORMAT: &str = "format";
/// The row with the epoch of the log whose records are in no table yet.
pub(super) const EPOCH: &str = "log";
/// With 2 the log tells of jobs too, with 3 the epoch's row of a place in it. Files of 1 and 2 are read as they are, and
/// become ones of 3 with the transaction that comes before the first record of this version.
pub(super) const FORMAT_NUMBER: u32 = 3;
