//! Where a running gateway's configuration comes from, and whether it is another one by now.
//!
//! It is read from the file and from the secrets' files that it names. Whether one of them changed is told by
//! what the file system says of them, the links before them included: so it makes no difference whether a
//! file is written over, replaced, or reached by a link that leads elsewhere now.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::rules::config::surroundings::SurroundingsBy;
use crate::rules::config::{Config, file};
use crate::rules::reader::remark::Remark;
use crate::rules::reader::secrets::{SecretFile, SecretSource, Unreadable};
use crate::words::time::{Clock, Timestamp};

/// What a configuration is read from, again and again.
pub trait ConfigSource: Send + Sync + 'static {
    /// Reads it. It waits for the disk.
    ///
    /// # Errors
    /// Every mistake, and the warnings.
    fn read(&self) -> Result<(Config, Vec<Remark>), Vec<Remark>>;

    /// What the files are marked with that were read the last time, as they are now; waits for the disk.
    fn marks(&self) -> Marks;

    /// What they were marked with when they were read.
    fn marks_read(&self) -> Marks;
}

/// What tells one state of some files from another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks(Vec<(PathBuf, Option<Mark>)>);

/// One file as the file system tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mark {
    identity: (u64, u64),
    changed: (i64, i64),
    modified: Option<SystemTime>,
    bytes: u64,
}

/// A configuration's file, with the process's environment and the secrets' files.
pub struct FileSource<S = SurroundingsBy> {
    file: PathBuf,
    secrets: S,
    read: Mutex<Marks>,
    /// A gateway was started with it.
    was_right: AtomicBool,
}

/// Notes which files are read.
struct Noting<'a, S> {
    secrets: &'a S,
    is_running: bool,
    marks: Mutex<Marks>,
}

// === impl FileSource ===

impl FileSource {
    /// The configuration in `file`; the clock tells what has expired.
    pub fn new(file: &Path, clock: Arc<dyn Clock>) -> Self {
        Self::with(file, SurroundingsBy(clock))
    }
}

impl<S: SecretSource> FileSource<S> {
    /// The configuration in `file`, with secrets from elsewhere.
    pub fn with(file: &Path, secrets: S) -> Self {
        Self {
            file: file.to_owned(),
            secrets,
            read: Mutex::default(),
            was_right: AtomicBool::new(false),
        }
    }
}

impl<S: SecretSource + Send + Sync + 'static> ConfigSource for FileSource<S> {
    fn read(&self) -> Result<(Config, Vec<Remark>), Vec<Remark>> {
        // Marked before it is read: what changes between the two is noticed then.
        let marks = Marks(vec![(self.file.clone(), Mark::of(&self.file))]);
        let noting = Noting {
            secrets: &self.secrets,
            is_running: self.was_right.load(Ordering::Relaxed),
            marks: Mutex::new(marks),
        };
        let read = file::load(&self.file, Some(&noting));
        let marks = noting.marks.into_inner();
        if read.is_ok() {
            self.was_right.store(true, Ordering::Relaxed);
        }
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) =
            marks.unwrap_or_else(PoisonError::into_inner);
        read
    }

    fn marks(&self) -> Marks {
        self.marks_read().renewed()
    }

    fn marks_read(&self) -> Marks {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

// === impl Marks ===

impl Marks {
    fn renewed(&self) -> Self {
        let files = self.0.iter();
        Self(
            files
                .map(|(path, _)| (path.clone(), Mark::of(path)))
                .collect(),
        )
    }
}

// === impl Mark ===

impl Mark {
    /// `None` for a file that is not there.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            identity: identity(&metadata),
            changed: changed(&metadata),
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        })
    }
}

impl<S: SecretSource> SecretSource for Noting<'_, S> {
    fn now(&self) -> Option<Timestamp> {
        self.secrets.now()
    }

    fn is_running(&self) -> bool {
        self.is_running
    }

    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.secrets.variable(name)
    }

    fn file(&self, path: &Path) -> Result<SecretFile, Unreadable> {
        let mark = Mark::of(path);
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.0.push((path.to_owned(), mark));
        drop(marks);
        self.secrets.file(path)
    }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// When anything about the file changed: nobody can set it back.
#[cfg(unix)]
fn changed(metadata: &fs::Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(not(unix))]
fn changed(_: &fs::Metadata) -> (i64, i64) {
    (0, 0)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::rules::config::surroundings::Surroundings;

    const TEXT: &str = "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"file:secret\"]\nupstream = \"http://a/\"\n";

    #[test]
    fn a_change_of_the_file_of_a_secret_or_of_a_link_before_them_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("config.toml"), TEXT).unwrap();
            fs::write(at(version).join("secret"), "a secret of some length").unwrap();
        }
        symlink("one", at("data")).unwrap();
        let source = FileSource::with(&at("data/config.toml"), Surroundings);
        let read = || {
            assert!(source.read().is_ok());
            assert_eq!(source.marks(), source.marks_read());
        };
        read();
        assert_eq!(source.marks_read().0.len(), 2);

        fs::write(at("one/secret"), "another secret, as long as").unwrap();
        assert_ne!(source.marks(), source.marks_read());
        read();

        // As Kubernetes does: a link is made beside the old one and renamed over it.
        symlink("two", at("next")).unwrap();
        fs::rename(at("next"), at("data")).unwrap();
        assert_ne!(source.marks(), source.marks_read());
        read();

        fs::remove_file(at("two/config.toml")).unwrap();
        assert_ne!(source.marks(), source.marks_read());
        assert!(source.read().is_err());
        assert_eq!(source.marks(), source.marks_read());
    }
}
