//! Power that goes at a moment chosen before, and a disk that lies about its syncs.

use crate::disk::Disk;

impl Disk {
    /// A disk whose syncs do nothing.
    pub fn lying() -> Self {
        let disk = Self::default();
        disk.state().lies = true;
        disk
    }

    /// The power goes after so many more operations.
    pub fn cut_after(&self, operations: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.operations + operations);
    }

    /// Operations since the disk was made.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    pub fn is_cut(&self) -> bool {
        self.state().is_cut
    }
}
