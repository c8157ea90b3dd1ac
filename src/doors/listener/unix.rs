//! Listeners that are files: what a dead process left behind is cleared away, what a living one listens
//! on is not.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// The file of a socket; it is removed with its listener, so that nobody finds a dead one.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number: another process may have put a socket of its own there.
    identity: (u64, u64),
}

/// Binds a socket with these permissions.
pub(super) fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    clear_away(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(path)?,
    };
    // Nobody can connect before it listens, so the permissions are right from the first connection on.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// Removes a socket on which nobody listens.
fn clear_away(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let what = "there is a file that is no socket; it is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    // Without waiting: one that listens and does not accept would hold the start up for ever.
    let asking = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    asking.set_nonblocking(true)?;
    match asking.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => {
            let what = "another process listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, what))
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // One that stays is cleared away by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}
