//! Direct I/O (`O_DIRECT`), past the system's page cache, for the log at the front of a store's file.
//!
//! # Why
//! A record is synced at once and read again only after a crash. On its way through the page cache it is copied into
//! pages, noted as dirty, looked for by the sync, and waited for. Past it an event that has a commit of its own takes a
//! seventh less of the processor's time, and its sender is answered a little sooner. Durability is the same: what the
//! device holds back is flushed by the sync that follows, or that is part of the write.
//!
//! A range of a file should be used in one way only, so the front is read like this as well; redb's part never is.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FsWord, OFlags};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use super::wal::LogFile;

/// A file whose front is read and written past the page cache.
pub(super) struct DirectFront {
    file: Arc<dyn LogFile>,
    direct: File,
    /// A write of its own can be waited for until it is on disk.
    syncs_in_step: bool,
    /// The file system cannot do it after all, so everything goes the usual way.
    is_refused: AtomicBool,
    room: Mutex<Room>,
}

/// Memory that begins where direct I/O wants it to.
#[derive(Debug)]
struct Room(Vec<u8>);

// === impl DirectFront ===

impl DirectFront {
    /// Reads and writes the front of `file` by a handle of its own; `same` is another one of the same file. Gives back
    /// `file` itself where the file system has no direct I/O.
    pub(super) fn of(file: Arc<dyn LogFile>, same: &File) -> Arc<dyn LogFile> {
        // By its descriptor, since another file may have its name by now.
        let path = format!("/proc/self/fd/{}", same.as_raw_fd());
        let direct = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(path);
        match direct {
            Ok(direct) => Arc::new(Self::over(file, direct)),
            Err(_) => file,
        }
    }

    fn over(file: Arc<dyn LogFile>, direct: File) -> Self {
        // To others this may be a write like any other.
        let kind = rustix::fs::fstatfs(&direct).map(|system| system.f_type);
        Self {
            file,
            syncs_in_step: kind.is_ok_and(|kind| SYNCING_IN_STEP.contains(&kind)),
            direct,
            is_refused: AtomicBool::new(false),
            room: Mutex::new(Room(vec![0; ROOM_BYTES + BLOCK_BYTES])),
        }
    }

    /// Writes blocks and waits for them in one step, where the file system is known to do both. Gives back whether it did.
    ///
    /// # Why
    /// A sync of the whole file waits for the pages of a transaction too that is being committed beside: one of a hundred
    /// took 0.7 ms instead of 0.5.
    fn write_in_step(&self, blocks: &[u8], at: u64) -> io::Result<bool> {
        if !self.syncs_in_step {
            return Ok(false);
        }
        let written = pwritev2(
            &self.direct,
            &[IoSlice::new(blocks)],
            at,
            ReadWriteFlags::DSYNC,
        );
        match written {
            Ok(written) => Ok(written == blocks.len()),
            // A filter of system calls may forbid it: then the usual calls have the word.
            Err(
                Errno::INTR
                | Errno::INVAL
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::PERM
                | Errno::ACCESS,
            ) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What came of doing it past the cache; `None` where it must be done the usual way.
    fn directly(
        &self,
        offset: u64,
        work: impl FnOnce(&mut Room) -> io::Result<()>,
    ) -> Option<io::Result<()>> {
        let is_at_block = offset.is_multiple_of(BLOCK_BYTES as u64);
        if !is_at_block || self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        match work(&mut room) {
            // Some file systems have a handle for it, and refuse what it is asked for.
            Err(error) if is_refusal(&error) => {
                self.is_refused.store(true, Ordering::Relaxed);
                None
            }
            result => Some(result),
        }
    }
}

impl LogFile for DirectFront {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let done = self.directly(offset, |room| {
            let mut at = offset;
            for part in out.chunks_mut(ROOM_BYTES) {
                let blocks = room.blocks(part.len());
                self.direct.read_exact_at(blocks, at)?;
                part.copy_from_slice(blocks.split_at(part.len()).0);
                at += part.len() as u64;
            }
            Ok(())
        });
        done.unwrap_or_else(|| self.file.read_at(offset, out))
    }

    /// What begins at a block is filled up with zeros to the end of its last one: the rest of that block is lost.
    fn write_synced(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let done = self.directly(offset, |room| {
            let mut at = offset;
            let parts = data.chunks(ROOM_BYTES);
            let is_one = parts.len() == 1;
            for part in parts {
                let blocks = room.blocks(part.len());
                let (place, rest) = blocks.split_at_mut(part.len());
                place.copy_from_slice(part);
                rest.fill(0);
                if is_one && self.write_in_step(blocks, at)? {
                    return Ok(());
                }
                self.direct.write_all_at(blocks, at)?;
                at += part.len() as u64;
            }
            // By the handle that was written by: to some file systems of users' own each is a file for itself.
            self.direct.sync_data()
        });
        done.unwrap_or_else(|| self.file.write_synced(offset, data))
    }
}

// === impl Room ===

impl Room {
    /// As many blocks as `bytes` need, at most [`ROOM_BYTES`]; `bytes` is no more than that.
    fn blocks(&mut self, bytes: usize) -> &mut [u8] {
        // Less than a block, so that there is room behind it.
        let start = self.0.as_ptr().align_offset(BLOCK_BYTES) % BLOCK_BYTES;
        let (_, room) = self.0.split_at_mut(start);
        let whole = bytes.next_multiple_of(BLOCK_BYTES).min(ROOM_BYTES);
        room.split_at_mut(whole).0
    }
}

/// Whether it says that it cannot, and not that the disk has failed or is full.
fn is_refusal(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS))
}

/// What offset, length and memory must be multiples of. Devices that want more refuse, and the usual way is taken.
const BLOCK_BYTES: usize = 4096;
/// File systems whose synced write (`RWF_DSYNC`) is known to reach the disk: those of ext2 to ext4, and XFS.
const SYNCING_IN_STEP: [FsWord; 2] = [0xef53, 0x5846_5342];
/// So much at one time: more than all events of a busy moment.
const ROOM_BYTES: usize = 32 * BLOCK_BYTES;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;

    /// The usual way, and which offsets took it; a sync counts as [`SYNC`].
    #[derive(Debug)]
    struct Usual(FileBackend, Mutex<Vec<u64>>);

    impl StorageBackend for Usual {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.1.lock().unwrap().push(offset);
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.1.lock().unwrap().push(SYNC);
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.1.lock().unwrap().push(offset);
            self.0.write(offset, data)
        }
    }

    const SYNC: u64 = u64::MAX;

    impl Usual {
        fn taken(&self) -> Vec<u64> {
            std::mem::take(&mut *self.1.lock().unwrap())
        }
    }

    /// A file of some blocks full of ones, as it is used usually, and another handle of it.
    fn file(folder: &Path) -> (Arc<Usual>, File) {
        let path = folder.join("file");
        std::fs::write(&path, vec![1; 100 * BLOCK_BYTES]).unwrap();
        let file = opened(path);
        let same = file.try_clone().unwrap();
        let usual = Usual(FileBackend::new(file).unwrap(), Mutex::default());
        (Arc::new(usual), same)
    }

    fn opened(path: impl AsRef<Path>) -> File {
        let mut options = File::options();
        options.read(true).write(true).open(path).unwrap()
    }

    fn has_direct_io(folder: &Path) -> bool {
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        options.open(folder.join("probe")).is_ok()
    }

    #[test]
    fn what_begins_at_a_block_goes_past_the_cache_up_to_the_end_of_its_last_block() {
        let folder = tempfile::tempdir().unwrap();
        let (usual, same) = file(folder.path());
        let front = DirectFront::of(Arc::clone(&usual) as Arc<dyn LogFile>, &same);
        let is_direct = has_direct_io(folder.path());
        for (block, len) in [
            (0, 1),
            (3, BLOCK_BYTES),
            (5, 3 * BLOCK_BYTES + 7),
            (20, ROOM_BYTES + 8 * BLOCK_BYTES + 9),
        ] {
            let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8 | 2).collect();
            let offset = (block * BLOCK_BYTES) as u64;
            front.write_synced(offset, &data).unwrap();
            let whole = len.next_multiple_of(BLOCK_BYTES);
            let mut read = vec![7; whole + 1];
            front.read_at(offset, &mut read).unwrap();
            assert_eq!(usual.taken().is_empty(), is_direct);
            assert!(read[..len] == data, "{block}");
            let rest = if is_direct { 0 } else { 1 };
            assert!(read[len..whole].iter().all(|byte| *byte == rest), "{block}");
            assert_eq!(read[whole], 1, "what follows is as it was");
            let mut cached = vec![7; whole + 1];
            usual.read(offset, &mut cached).unwrap();
            assert!(cached == read, "both ways lead to the same file");
            usual.taken();
        }
        front
            .write_synced(BLOCK_BYTES as u64 + 5, b"between")
            .unwrap();
        assert_eq!(usual.taken(), [BLOCK_BYTES as u64 + 5, SYNC]);
    }

    #[test]
    fn where_it_is_refused_all_goes_the_usual_way() {
        let folder = tempfile::tempdir().unwrap();
        let (usual, _) = file(folder.path());
        // It refuses what is no number, with the same word as a file system that cannot do it.
        let refusing = opened("/proc/self/oom_score_adj");
        let front = DirectFront::over(Arc::clone(&usual) as Arc<dyn LogFile>, refusing);
        for text in [b"no number", b"no digits"] {
            front.write_synced(0, text).unwrap();
            let mut read = [0; 9];
            front.read_at(0, &mut read).unwrap();
            assert_eq!(read, *text);
            assert_eq!(usual.taken(), [0, SYNC, 0]);
        }
        for (errno, is_it) in [
            (Errno::INVAL, true),
            (Errno::OPNOTSUPP, true),
            (Errno::NOSYS, true),
            (Errno::IO, false),
            (Errno::NOSPC, false),
            (Errno::FBIG, false),
        ] {
            assert_eq!(is_refusal(&errno.into()), is_it, "{errno}");
        }
    }

    #[test]
    fn what_the_disk_says_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let (usual, _) = file(folder.path());
        let full = opened("/dev/full");
        let front = DirectFront::over(Arc::clone(&usual) as Arc<dyn LogFile>, full);
        let error = front.write_synced(0, b"a record").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(usual.taken().is_empty());
    }

    #[test]
    fn memory_begins_at_a_block_wherever_it_lies() {
        for offset in 0..64 {
            let mut room = Room(vec![0; ROOM_BYTES + BLOCK_BYTES + offset]);
            for bytes in [1, BLOCK_BYTES, BLOCK_BYTES + 1, ROOM_BYTES] {
                let blocks = room.blocks(bytes);
                assert_eq!(blocks.as_ptr().align_offset(BLOCK_BYTES), 0);
                assert_eq!(blocks.len(), bytes.next_multiple_of(BLOCK_BYTES));
            }
        }
    }
}
