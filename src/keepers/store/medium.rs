//! Where a store's file lives, and how it is opened.
//!
//! This is the one door through which redb's types are seen from outside: tests bring a medium of their
//! own that fails, forgets or tears what was not synced.
//!
//! # Why
//! redb leaves two gaps. It does not sync the directory, so that a new file could vanish with the power. And
//! a crash within the first moments of a new file leaves one that redb itself takes for a stranger's; such
//! a file holds nothing yet, and is begun anew.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{BackendError, Builder, Database, StorageBackend};
use rustix::process::{Resource, getrlimit};

use super::allocated::AllocatedFile;
use super::direct::DirectFront;
use super::halves::Behind;
use super::open_error::OpenError;
use super::wal::{self, LogFile};

/// Opens the file, each time with a fresh handle: redb's own are dead after any fault.
pub trait Medium: Send + Sync + 'static {
    /// Opens or creates the file; usually by [`create`] over a new backend.
    fn open(&self, builder: &Builder) -> Result<Opened, OpenError>;

    /// Bytes that the file may still grow by.
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Whether the file can take so much more, however it grows: redb doubles it, which costs a disk nothing before it is
    /// written into, but is too much for a limit on a file's size. One that cannot tell is taken for full.
    fn has_room_for(&self, bytes: u64) -> bool {
        self.free_bytes().is_ok_and(|free| free >= bytes)
    }

    /// Bytes that the file takes on the disk, used or not.
    fn held_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }
}

/// An open file: the database, and the whole of the file for the log at its front.
pub struct Opened {
    pub(super) database: Database,
    pub(super) file: Arc<dyn LogFile>,
    /// Bytes of the log's part.
    pub(super) front: u64,
}

/// A file of the file system, readable by its owner only.
///
/// It is made at the first opening only. A file that is gone later is a fault: a new one in its place would be
/// a store that knows nothing, behind a green light.
#[derive(Debug)]
pub struct FileMedium {
    path: PathBuf,
    /// Bytes of the log's part when it was opened first; 0 before.
    front: AtomicU64,
}

impl FileMedium {
    /// The file at `path`, which may not exist yet; its directory must.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            front: AtomicU64::new(0),
        }
    }
}

impl Medium for FileMedium {
    fn open(&self, builder: &Builder) -> Result<Opened, OpenError> {
        let front = self.front.load(Ordering::Relaxed);
        let was_open = front > 0;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(!was_open)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        if was_open && file.metadata()?.len() <= front {
            let gone = "the file was emptied or replaced while it was in use";
            return Err(OpenError::Unusable(gone.to_owned()));
        }
        let same = file.try_clone()?;
        let mut opened = create(builder, AllocatedFile::new(file)?)?;
        opened.file = DirectFront::of(opened.file, &same);
        if !was_open {
            sync_directory(&self.path)?;
        }
        self.front.store(opened.front, Ordering::Relaxed);
        Ok(opened)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        // Of the directory, since the file may have been deleted; what is left for root alone does not count.
        let room = rustix::fs::statvfs(directory(&self.path))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        Ok(match getrlimit(Resource::Fsize).current {
            // Where the process may write no larger files, room on the disk is of no use.
            Some(most) => free.min(most.saturating_sub(std::fs::metadata(&self.path)?.len())),
            None => free,
        })
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        let len = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let bytes = match getrlimit(Resource::Fsize).current {
            Some(_) => len.saturating_add(bytes),
            None => bytes,
        };
        self.free_bytes().is_ok_and(|free| free >= bytes)
    }

    fn held_bytes(&self) -> io::Result<u64> {
        // The file's length says nothing: where the disk has no room to spare, most of it may be a hole.
        Ok(std::fs::metadata(&self.path)?.blocks().saturating_mul(512))
    }
}

/// Opens the file in `backend`, beginning anew where an earlier beginning was cut short.
///
/// # Errors
/// Whatever keeps it from being opened.
pub fn create(builder: &Builder, backend: impl StorageBackend) -> Result<Opened, OpenError> {
    let file = Arc::new(backend);
    // Only under the lock: another process may be making the file this very moment.
    let front = match file.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        Ok(true) => {
            let begun = begin_anew(&file);
            // Whatever came of it: a lock that stays behind would keep the next try out.
            file.unlock_range(Bound::Unbounded, Bound::Unbounded)
                .map_err(io::Error::from)?;
            begun?
        }
        Ok(false) => return Err(OpenError::Locked),
        Err(BackendError::Unsupported) => begin_anew(&file)?,
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let database = builder.create_with_backend(behind(&file, front))?;
    Ok(Opened {
        database,
        file,
        front,
    })
}

/// Makes ready what is new or was never finished, and gives back how much is the log's. A log that was written into says
/// that the rest of the file was finished once, since its tables come before the first record: then what is missing is
/// lost, and nothing is begun.
fn begin_anew(file: &Arc<impl StorageBackend>) -> Result<u64, OpenError> {
    if is_bare(file.as_ref())? {
        return Err(OpenError::Bare);
    }
    let front = wal::prepare(file.as_ref())?;
    let backend = behind(file, front);
    let is_missing = backend.len()? == 0;
    if !is_missing && !is_unfinished(&backend)? {
        return Ok(front);
    }
    if wal::was_used(file.as_ref(), front)? {
        return Err(OpenError::Unusable(GONE.to_owned()));
    }
    if !is_missing {
        backend.set_len(0)?;
    }
    Ok(front)
}

fn behind<B>(file: &Arc<B>, front: u64) -> Behind<B> {
    let file = Arc::clone(file);
    Behind { file, front }
}

/// Whether redb's own magic is where ours belongs.
fn is_bare(file: &impl StorageBackend) -> io::Result<bool> {
    let mut head = [0; MAGIC.len()];
    if file.len()? < head.len() as u64 {
        return Ok(false);
    }
    file.read(0, &mut head)?;
    Ok(head == *MAGIC)
}

/// Whether the file was begun by redb and never finished: its magic bytes are not all there, what is there
/// of them is right, and nothing follows the first page. No file with contents looks like that.
fn is_unfinished(backend: &impl StorageBackend) -> io::Result<bool> {
    let len = backend.len()?;
    if len > UNFINISHED_MAX {
        return Ok(false);
    }
    let len = usize::try_from(len).unwrap_or(0);
    let mut bytes = vec![0; len];
    if len == 0 {
        return Ok(false);
    }
    backend.read(0, &mut bytes)?;
    let (page, rest) = bytes.split_at(len.min(PAGE));
    let magic = page.get(..MAGIC.len()).unwrap_or(page);
    let right = magic
        .iter()
        .zip(MAGIC)
        .take_while(|(byte, right)| **byte == **right)
        .count();
    let (_, missing) = magic.split_at(right);
    Ok(right < MAGIC.len()
        && missing.iter().all(|byte| *byte == 0)
        && rest.iter().all(|byte| *byte == 0))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Said of a file of which only the log is left.
pub(super) const GONE: &str = "the file was cut or overwritten: its log was in use, and the database behind it is gone. \
                               It was left as it is";

/// How every redb file begins; written last when a file is made.
const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
const PAGE: usize = 4096;
/// A new file of redb has about 1 MiB; a longer one was finished.
const UNFINISHED_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keepers::store::wal::REGION_BYTES;

    #[test]
    fn a_file_that_is_gone_is_a_fault_and_not_a_new_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let medium = FileMedium::new(path.clone());
        let builder = Builder::new();
        drop(medium.open(&builder).unwrap());
        drop(medium.open(&builder).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(medium.open(&builder).is_err());
        assert!(!path.exists());
        File::create(&path).unwrap();
        assert!(medium.open(&builder).is_err());
        assert!(FileMedium::new(path.clone()).open(&builder).is_ok());
        let emptied = OpenOptions::new().write(true).open(&path).unwrap();
        emptied.set_len(REGION_BYTES).unwrap();
        assert!(medium.open(&builder).is_err());
        assert!(FileMedium::new(path).open(&builder).is_ok());
    }
}
