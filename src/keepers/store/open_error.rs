//! Why a store's file is not opened, and what the operator is told of it.

use std::fmt;
use std::io::{self, ErrorKind};

use redb::{DatabaseError, StorageError};

/// Why a store's file cannot be opened. Only where it is unusable may it have been changed: what a crash left
/// behind is mended before it is read, and the mending may fail half-way, after which it can begin again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Another process has it open.
    Locked,
    /// It is no store of ours.
    Foreign,
    /// It is a file of redb's with nothing before it, as unreleased versions of this program made them.
    Bare,
    /// A newer version of this program wrote it.
    Newer {
        /// The number of its format.
        format: u32,
    },
    /// The disk refuses, or the file is damaged.
    Unusable(String),
}

// === impl OpenError ===

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("it is open in another process"),
            Self::Foreign => f.write_str("the file is not a store of this program"),
            Self::Bare => f.write_str(
                "it is a plain redb file, as earlier, unreleased versions of this program kept their store in. \
                 It was left as it is: start with the version that made it, or name another path for a new store",
            ),
            Self::Newer { format } => write!(
                f,
                "it has format {format}, which is newer than what this version reads"
            ),
            Self::Unusable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        // redb's errors are open-ended, so their arms cannot all be named.
        match error {
            redb::Error::Io(error) => error.into(),
            other => Self::Unusable(other.to_string()),
        }
    }
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked,
            DatabaseError::Storage(StorageError::Io(error)) => error.into(),
            other => Self::Unusable(other.to_string()),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Unusable(match error.kind() {
            ErrorKind::FileTooLarge => {
                "this process may not write a file as large as the store (`ulimit -f`, `LimitFSIZE=`)".to_owned()
            }
            ErrorKind::UnexpectedEof => {
                "the file ends before what it holds: it was cut, or copied while it was in use".to_owned()
            }
            ErrorKind::InvalidData => format!("the file is damaged: {error}"),
            _ => error.to_string(),
        })
    }
}
