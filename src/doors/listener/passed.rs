//! Sockets that the service manager opened before it started this process (`LISTEN_FDS`).
//!
//! They outlive it: while it is restarted, connections wait in them. Two libraries share the work, since
//! one knows the names and the other makes sockets of the numbers.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The sockets that were passed on and not yet taken, by name.
#[derive(Default)]
pub struct Passed(Vec<(String, PassedSocket)>);

/// One of them.
pub(super) enum PassedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

// === impl Passed ===

impl Passed {
    /// Takes over what was passed on. Called first of all: the variables that tell of it are removed from the
    /// environment, which only a process of one thread may do.
    ///
    /// # Errors
    /// If something else than listening stream sockets was passed on.
    pub fn take() -> io::Result<Self> {
        let names: Vec<String> = sd_notify::listen_fds_with_names()?
            .map(|(_, name)| name)
            .collect();
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for (place, name) in names.into_iter().enumerate() {
            let socket = take(&mut given, place).map_err(|error| {
                io::Error::new(error.kind(), format!("the socket {name}: {error}"))
            })?;
            sockets.push((name, socket));
        }
        Ok(Self(sockets))
    }

    /// The names of those that nobody took.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Every socket of this name.
    pub(super) fn take_named(&mut self, name: &str) -> io::Result<Vec<PassedSocket>> {
        let all = std::mem::take(&mut self.0);
        let (named, others) = all.into_iter().partition(|(other, _)| other == name);
        self.0 = others;
        let named: Vec<_> = Vec::into_iter(named).map(|(_, socket)| socket).collect();
        if named.is_empty() {
            let what = match self.0.is_empty() {
                true => "the service manager passed no such socket on".to_owned(),
                false => format!(
                    "the service manager passed no such socket on, but: {}",
                    self.names().join(", ")
                ),
            };
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        Ok(named)
    }
}

fn take(given: &mut ListenFd, place: usize) -> io::Result<PassedSocket> {
    let socket = match given.take_tcp_listener(place) {
        Ok(tcp) => tcp.map(PassedSocket::Tcp),
        Err(_) => given.take_unix_listener(place)?.map(PassedSocket::Unix),
    };
    let socket = socket.ok_or(io::ErrorKind::NotFound)?;
    let is_listening = match &socket {
        PassedSocket::Tcp(listener) => is_listening(&SockRef::from(listener)),
        PassedSocket::Unix(listener) => is_listening(&SockRef::from(listener)),
    };
    match is_listening? {
        true => Ok(socket),
        false => Err(io::Error::other("it does not listen; is Accept=yes set?")),
    }
}

#[cfg(target_os = "linux")]
fn is_listening(socket: &SockRef<'_>) -> io::Result<bool> {
    socket.is_listener()
}

/// Elsewhere there is no systemd, and a socket that does not listen is found out when it accepts.
#[cfg(not(target_os = "linux"))]
fn is_listening(_socket: &SockRef<'_>) -> io::Result<bool> {
    Ok(true)
}
