//! The two parts of a store's file: the log's at its front, and redb's behind it.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use super::wal::REGION_BYTES;

/// redb's part of a file.
#[derive(Debug)]
pub(super) struct Behind<B>(pub(super) Arc<B>);

impl<B: StorageBackend> StorageBackend for Behind<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len()?.saturating_sub(REGION_BYTES))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset + REGION_BYTES, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len + REGION_BYTES)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset + REGION_BYTES, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    // Locks are on the file as a whole, and only have to be the same for everybody.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}
