//! The environment and the file system, as the source of secrets.

use std::env;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::rules::reader::secrets::{FILE_BYTES_MAX, SecretFile, SecretSource, Unreadable};
use crate::words::time::{Clock, Timestamp};

/// What the process was started with, and the files it may read.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings;

/// The same with a clock, by which what has expired is told from what is good.
pub struct SurroundingsBy(pub Arc<dyn Clock>);

impl SecretSource for SurroundingsBy {
    fn now(&self) -> Option<Timestamp> {
        Some(self.0.now())
    }

    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        Surroundings.variable(name)
    }

    fn file(&self, path: &Path) -> Result<SecretFile, Unreadable> {
        Surroundings.file(path)
    }
}

impl SecretSource for Surroundings {
    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        // Secrets need not be text, so the bytes are taken as the system keeps them.
        let value = env::var_os(name)?;
        Some(Zeroizing::new(value.into_encoded_bytes()))
    }

    fn file(&self, path: &Path) -> Result<SecretFile, Unreadable> {
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let metadata = fs::metadata(path).map_err(Unreadable::Io)?;
        if !metadata.is_file() {
            return Err(Unreadable::NotAFile);
        }
        let file = File::open(path).map_err(Unreadable::Io)?;
        // Room for all of it at once: a vector that grows leaves unwiped copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(Unreadable::Io)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(Unreadable::TooLarge);
        }
        Ok(SecretFile {
            bytes,
            is_world_readable: is_world_readable(&metadata),
        })
    }
}

#[cfg(unix)]
fn is_world_readable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.mode() & 0o004 != 0
}

/// Elsewhere nothing is known, and a warning without a ground would only be noise.
#[cfg(not(unix))]
fn is_world_readable(_metadata: &Metadata) -> bool {
    false
}

/// [`FILE_BYTES_MAX`], the byte that shows it was passed, and the little more that `read_to_end` asks for.
const ROOM: usize = (64 << 10) + 64;

#[cfg(all(test, unix))]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_read_as_it_is_and_its_readers_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, b"\xff\x00bytes\n").unwrap();
        for (mode, expected) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let file = Surroundings.file(&path).ok().unwrap();
            assert_eq!(*file.bytes, b"\xff\x00bytes\n");
            assert_eq!(file.is_world_readable, expected);
        }
    }

    #[test]
    fn what_is_no_small_file_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Surroundings.file(folder.path()),
            Err(Unreadable::NotAFile)
        ));
        assert!(matches!(
            Surroundings.file(Path::new("/dev/null")),
            Err(Unreadable::NotAFile)
        ));
        let path = folder.path().join("secret");
        assert!(matches!(Surroundings.file(&path), Err(Unreadable::Io(_))));
        fs::write(&path, vec![b'x'; 64 << 10]).unwrap();
        assert!(Surroundings.file(&path).is_ok());
        fs::write(&path, vec![b'x'; (64 << 10) + 1]).unwrap();
        assert!(matches!(
            Surroundings.file(&path),
            Err(Unreadable::TooLarge)
        ));
    }

    #[test]
    fn a_variable_is_there_or_not() {
        assert!(
            Surroundings
                .variable("PATH")
                .is_some_and(|value| !value.is_empty())
        );
        assert!(Surroundings.variable("PASSGATE_SURELY_NOT_SET").is_none());
    }
}
