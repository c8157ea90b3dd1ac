//! The two parts of a store's file: the log's at its front, and redb's behind it.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

/// redb's part of a file.
#[derive(Debug)]
pub(super) struct Behind<B> {
    pub(super) file: Arc<B>,
    /// Bytes of the log's part.
    pub(super) front: u64,
}

impl<B: StorageBackend> StorageBackend for Behind<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.saturating_sub(self.front))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset + self.front, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len + self.front)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset + self.front, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // Locks are on the file as a whole, and only have to be the same for everybody.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
