//! A file whose space is its own: where the disk has room, what the file grows by is allocated at once, and a little
//! beyond its end besides, which it keeps when it gets shorter, where the file system can.
//!
//! # Why
//! A database grows its file in leaps, and most of a leap is a hole at first. Whoever fills the disk then, be
//! it a log that nobody rotates, takes the room that the next commit writes into, and even settling and
//! deleting fail. Once it is allocated it cannot be taken, and a write into it needs no new block. What it has no use for
//! at the moment it gives back, nearly all of it when it is closed: on a full disk the next start of a small store could
//! not commit anything. A large one grows by more than is kept, and has free pages within mostly.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::retry_on_intr;
use rustix::process::{Resource, getrlimit};

use super::open_error::OpenError;

/// redb's own backend, with a second handle to allocate by.
#[derive(Debug)]
pub struct AllocatedFile {
    inner: FileBackend,
    file: File,
}

// === impl AllocatedFile ===

impl AllocatedFile {
    /// Takes a file, and allocates what it has holes for.
    ///
    /// # Errors
    /// What the system refuses of the handle; that there is no room is no error.
    pub fn new(file: File) -> Result<Self, OpenError> {
        let second = file.try_clone()?;
        let length = second.metadata()?.len();
        let allocated = Self {
            inner: FileBackend::new(file)?,
            file: second,
        };
        allocated.allocate(0, length);
        Ok(allocated)
    }

    /// Only where as much as that is still free afterwards: on a small disk the file takes what it needs. Where
    /// it cannot be done the file has holes, as it would have without.
    fn allocate(&self, from: u64, bytes: u64) -> bool {
        let Ok(room) = fstatvfs(&self.file) else {
            return false;
        };
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        free / 2 >= bytes && self.take(from, bytes)
    }

    /// Never makes the file longer: while this process waits for the lock another may be changing it.
    fn take(&self, from: u64, bytes: u64) -> bool {
        // Beyond that length some file systems send a signal that ends the process, though it gets no longer.
        let most = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let is_allowed = bytes > 0 && from.saturating_add(bytes) <= most;
        let take = || fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, bytes);
        is_allowed && retry_on_intr(take).is_ok()
    }

    /// Bytes on the disk, those beyond the file's end among them.
    fn held(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks().saturating_mul(512))
    }
}

impl StorageBackend for AllocatedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (before, held) = (self.inner.len()?, self.held()?);
        self.inner.set_len(len)?;
        if len > before {
            let grown = len - before;
            let _ = self.allocate(before, grown + BEYOND_BYTES) || self.allocate(before, grown);
        } else {
            // What it had is its own, however little room there is; until a moment ago nobody else could have it.
            let given_back = held.saturating_sub(self.held()?);
            self.take(len, given_back.min(BEYOND_BYTES));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

/// What is kept beyond the end: as much as a new database begins with.
const BEYOND_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_grows_by_is_its_own() {
        let file = tempfile::tempfile().unwrap();
        let held = |file: &File| file.metadata().unwrap().blocks() * 512;
        file.set_len(1 << 20).unwrap();
        assert_eq!(held(&file), 0, "a hole");
        let allocated = AllocatedFile::new(file.try_clone().unwrap()).unwrap();
        assert_eq!(held(&file), 1 << 20);
        allocated.set_len(3 << 20).unwrap();
        assert_eq!(held(&file), 4 << 20, "and a MiB beyond");
        for len in [3 << 20, 1 << 20, 1000, 0, 0] {
            allocated.set_len(len).unwrap();
            let (held, whole) = (held(&file), len.next_multiple_of(4096));
            assert_eq!((held, allocated.len().unwrap()), (whole + (1 << 20), len));
        }
        // No disk has that much; the file is made all the same, with a hole.
        allocated.set_len(1 << 42).unwrap();
        assert_eq!(held(&file), 1 << 20);
        // What was a hole is nothing that could be kept.
        allocated.set_len(1 << 41).unwrap();
        assert_eq!(held(&file), 1 << 20);
    }
}
