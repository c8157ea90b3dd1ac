//! A disk in memory that can lose its power, fail, and hold its breath.
//!
//! It keeps two images: what was written, and what a sync made durable. Whatever was written since the last
//! sync may survive a power cut or not, each piece for itself. A record of the log is synced alone (`RWF_DSYNC`).

use std::cell::Cell;
use std::io::{Error, ErrorKind};
use std::ops::Bound;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use passgate::keepers::store::medium::{Medium, Opened, create};
use passgate::keepers::store::open_error::OpenError;
use redb::{BackendError, Builder, StorageBackend};

/// The disk; clones are the same disk.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    platter: Arc<Platter>,
}

#[derive(Default, Debug)]
struct Platter {
    state: Mutex<State>,
    breath: Condvar,
}

#[derive(Default, Debug)]
pub(super) struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Piece>,
    pub(super) operations: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) is_cut: bool,
    /// Syncs do nothing.
    pub(super) lies: bool,
    /// The last thread that committed beside the writer, and how nice it was.
    pub(super) committed_by: Option<(String, i64)>,
    /// There is no room for what a transaction may need that takes over a full log.
    pub(super) is_tight: bool,
    fault: Option<Fault>,
    fault_met: bool,
    pub(super) held: Option<Held>,
    locked_by: Option<u64>,
    handles: u64,
}

/// Syncs that wait.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) told: Sender<()>,
    /// Only those of the thread that commits beside the writer.
    pub(super) only_commits: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    Write(usize, Vec<u8>),
    Length(usize),
}

thread_local! {
    /// Where the record of the log begins that this thread has written, if it has written nothing since.
    static RECORD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// How long a sync is held at most: longer than any test waits for an answer.
const BREATH: Duration = Duration::from_secs(60);

/// Where records of the log are.
const LOG: std::ops::Range<u64> = 4096..2 << 20;

/// What kind of operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Read,
    Write,
    Length,
    Sync,
}

/// An operation that fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// How many of the kind pass before.
    pub after: u64,
    /// Whether all later ones of the kind fail too.
    pub for_ever: bool,
    pub how: How,
}

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Error,
    Full,
    Panic,
}

/// One opening of the disk.
#[derive(Debug)]
struct Handle {
    disk: Disk,
    number: u64,
}

impl Disk {
    /// The power goes now.
    pub fn cut(&self) {
        self.state().is_cut = true;
    }

    /// The power is back, with what chance left of the unsynced writes.
    pub fn restart(&self, rng: &mut Rng) {
        let mut state = self.state();
        let mut image = std::mem::take(&mut state.durable);
        let unsynced = std::mem::take(&mut state.unsynced);
        let keep = match rng.u8(0..5) {
            0 => 0,
            1 => 100,
            _ => rng.u8(1..100),
        };
        let upto = match rng.bool() {
            true => unsynced.len(),
            false => rng.usize(0..=unsynced.len()),
        };
        for piece in unsynced.into_iter().take(upto) {
            if rng.u8(0..100) < keep {
                tear(piece, rng).apply(&mut image);
            }
        }
        state.durable = image.clone();
        state.live = image;
        state.is_cut = false;
        state.cut_at = None;
        state.locked_by = None;
    }

    /// Operations of a kind begin to fail.
    pub fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Whether any operation failed.
    pub fn fault_met(&self) -> bool {
        self.state().fault_met
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.state().fault = None;
    }

    /// Syncs wait until they are released, and say so. A test that fails releases none: they go on after a minute.
    pub fn hold_syncs(&self, told: Sender<()>) {
        let only_commits = false;
        self.state().held = Some(Held { told, only_commits });
    }

    pub fn release_syncs(&self) {
        self.state().held = None;
        self.platter.breath.notify_all();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.platter
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and fails it where it is due.
    fn operate(&self, kind: Kind) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state();
        if state.is_cut || state.cut_at.is_some_and(|at| state.operations >= at) {
            state.is_cut = true;
            return Err(Error::other("no power"));
        }
        state.operations += 1;
        if let Some(fault) = &mut state.fault
            && fault.kind == kind
        {
            if fault.after > 0 {
                fault.after -= 1;
            } else {
                let fault = *fault;
                state.fault_met = true;
                if !fault.for_ever {
                    state.fault = None;
                }
                return match fault.how {
                    How::Error => Err(Error::other("injected")),
                    How::Full => Err(Error::from(ErrorKind::StorageFull)),
                    How::Panic => {
                        drop(state);
                        panic!("injected")
                    }
                };
            }
        }
        Ok(state)
    }
}

/// How nice the calling thread is.
pub(super) fn niceness() -> i64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // Behind the name, which may hold anything: the state is the third field, this the nineteenth.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(16).unwrap().parse().unwrap()
}

impl Medium for Disk {
    fn open(&self, builder: &Builder) -> Result<Opened, OpenError> {
        let number = {
            let mut state = self.state();
            state.handles += 1;
            state.handles
        };
        let disk = self.clone();
        create(builder, Handle { disk, number })
    }

    fn has_room_for(&self, _bytes: u64) -> bool {
        !self.state().is_tight
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.disk.operate(Kind::Read)?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let state = self.disk.operate(Kind::Read)?;
        let from = offset as usize;
        let bytes = state.live.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut state = self.disk.operate(Kind::Length)?;
        state.write(Piece::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.disk.operate(Kind::Sync)?;
        let thread = std::thread::current();
        let committers = ["passgate-commit", "passgate-ends"];
        let committer = thread.name().filter(|name| committers.contains(name));
        let commits = committer.is_some();
        if let Some(name) = committer {
            state.committed_by = Some((name.to_owned(), niceness()));
        }
        let is_held = |state: &State| {
            let held = state.held.as_ref();
            held.is_some_and(|held| commits || !held.only_commits)
        };
        if let Some(held) = state.held.as_ref().filter(|_| is_held(&state)) {
            let _ = held.told.send(());
        }
        let breath = &self.disk.platter.breath;
        let released = breath.wait_timeout_while(state, BREATH, |state| is_held(state));
        (state, _) = released.unwrap();
        let record = RECORD.take();
        if !state.lies {
            for piece in std::mem::take(&mut state.unsynced) {
                if record.is_none_or(|record| piece.begins_at(record)) {
                    piece.apply(&mut state.durable);
                } else {
                    state.unsynced.push(piece);
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut state = self.disk.operate(Kind::Write)?;
        RECORD.set(LOG.contains(&offset).then_some(offset as usize));
        state.write(Piece::Write(offset as usize, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        let mut state = self.disk.state();
        state.locked_by.take_if(|holder| *holder == self.number);
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if !matches!(start, Bound::Unbounded | Bound::Included(0)) || end != Bound::Unbounded {
            return Err(BackendError::Unsupported);
        }
        let mut state = self.disk.state();
        let free = state.locked_by.is_none();
        if free {
            state.locked_by = Some(self.number);
        }
        Ok(free)
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(self.close()?)
    }
}

impl State {
    fn write(&mut self, piece: Piece) {
        piece.clone().apply(&mut self.live);
        self.unsynced.push(piece);
    }
}

impl Piece {
    fn begins_at(&self, place: usize) -> bool {
        matches!(self, Self::Write(offset, _) if *offset == place)
    }

    fn apply(self, image: &mut Vec<u8>) {
        match self {
            Self::Length(len) => image.resize(len, 0),
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[offset..end].copy_from_slice(&bytes);
            }
        }
    }
}

/// Now and then only a beginning of a write, or some of its sectors or pages, reach the platter. Others of
/// the same write keep what was there, which is why a torn write is a shorter one.
fn tear(piece: Piece, rng: &mut Rng) -> Piece {
    match piece {
        Piece::Write(offset, bytes) if rng.u8(0..4) == 0 => {
            let unit = [1, 512, 4096][rng.usize(0..3)];
            let units = bytes.len().div_ceil(unit);
            let from = if unit == 1 { 0 } else { rng.usize(0..=units) };
            let upto = rng.usize(from..=units);
            let (from, upto) = (from * unit, (upto * unit).min(bytes.len()));
            let from = from.min(upto);
            Piece::Write(offset + from, bytes[from..upto].to_vec())
        }
        whole => whole,
    }
}
