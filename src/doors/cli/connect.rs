//! How the commands connect: over TCP, or over the Unix socket of a gateway on this machine.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::either::Either;
use tower_service::Service;

use crate::doors::listener::Stream;

/// Connects one way or the other.
#[derive(Clone)]
pub enum Connector {
    /// To where the URL says.
    Tcp(HttpConnector),
    /// To this socket, whatever the URL says.
    Unix(Arc<PathBuf>),
}

/// A connection of either kind.
pub struct Line(TokioIo<Stream>);

type Error = Box<dyn std::error::Error + Send + Sync>;

// === impl Connector ===

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Line, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Tcp(connector) => connector.poll_ready(context).map_err(Error::from),
            Self::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Tcp(connector) => {
                let connecting = connector.call(target);
                Box::pin(async move {
                    let stream = connecting.await?.into_inner();
                    Ok(Line(TokioIo::new(Either::Left(stream))))
                })
            }
            Self::Unix(path) => {
                let path = Arc::clone(path);
                Box::pin(async move {
                    let stream = UnixStream::connect(&*path).await?;
                    Ok(Line(TokioIo::new(Either::Right(stream))))
                })
            }
        }
    }
}

// === impl Line ===

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
