//! Listeners of every kind, which whoever serves need not tell apart: each gives streams with their peers.
//!
//! TCP addresses are bound here, Unix sockets in `unix`, and what the service manager opened is found in
//! [`passed`].

pub mod passed;

mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::doors::listener::passed::{Passed, PassedSocket};
use crate::doors::listener::unix::SocketFile;
use crate::rules::config::listen::Listen;
use crate::rules::config::listening::UNIX_PEER;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A connection of either kind.
pub type Stream = Either<TcpStream, UnixStream>;

/// A bound listener.
pub struct Listener {
    socket: Bound,
    place: Listen,
    /// Goes with the listener.
    _file: Option<SocketFile>,
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why a place cannot be listened at.
#[derive(Debug)]
pub struct BindError {
    place: Listen,
    error: io::Error,
}

/// Binds every place; a name of the service manager's may stand for several sockets.
///
/// # Errors
/// The first that cannot be bound.
pub fn bind_all(
    places: &[Listen],
    socket_mode: u32,
    passed: &mut Passed,
) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::new();
    for place in places {
        let bound = bind(place, socket_mode, passed);
        listeners.extend(bound.map_err(|error| BindError {
            place: place.clone(),
            error,
        })?);
    }
    Ok(listeners)
}

fn bind(place: &Listen, socket_mode: u32, passed: &mut Passed) -> io::Result<Vec<Listener>> {
    let one = match place {
        Listen::Tcp(address) => Listener::of_tcp(bind_tcp(*address)?)?,
        Listen::Unix(path) => {
            let (socket, file) = unix::bind(path, socket_mode, BACKLOG)?;
            Listener {
                socket: Bound::Unix(socket),
                place: place.clone(),
                _file: Some(file),
            }
        }
        Listen::Passed(name) => {
            let sockets = passed.take_named(name)?;
            return sockets
                .into_iter()
                .map(|socket| Listener::of_passed(socket, name))
                .collect();
        }
    };
    Ok(vec![one])
}

/// An IPv6 listener takes IPv6 only, so that both families can be named side by side.
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() && !address.ip().is_unspecified() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the old process's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

// === impl Listener ===

impl Listener {
    /// Where it listens, with the port that the system chose.
    pub fn place(&self) -> &Listen {
        &self.place
    }

    /// Whether nobody beyond this machine can reach it.
    pub fn is_local(&self) -> bool {
        match &self.socket {
            Bound::Tcp(_) => self.place.tcp().is_some_and(|at| at.ip().is_loopback()),
            Bound::Unix(_) => true,
        }
    }

    /// The next connection, and who made it. A peer on a Unix socket counts as this machine.
    ///
    /// # Errors
    /// Those of the system; mostly there are no descriptors left.
    pub async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match &self.socket {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer is one small packet; waiting for more to send with it only delays it.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), peer.ip()))
            }
            Bound::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Either::Right(stream), UNIX_PEER))
            }
        }
    }

    fn of_tcp(listener: TcpListener) -> io::Result<Self> {
        Ok(Self {
            place: Listen::Tcp(listener.local_addr()?),
            socket: Bound::Tcp(listener),
            _file: None,
        })
    }

    /// The file of a socket that was passed on belongs to who passed it on.
    fn of_passed(socket: PassedSocket, name: &str) -> io::Result<Self> {
        match socket {
            PassedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::of_tcp(TcpListener::from_std(listener)?)
            }
            PassedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let path = address.as_pathname().map(|path| Listen::Unix(path.into()));
                Ok(Self {
                    socket: Bound::Unix(UnixListener::from_std(listener)?),
                    place: path.unwrap_or_else(|| Listen::Passed(name.to_owned())),
                    _file: None,
                })
            }
        }
    }
}

// === impl BindError ===

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.place, self.error)
    }
}

impl std::error::Error for BindError {}
