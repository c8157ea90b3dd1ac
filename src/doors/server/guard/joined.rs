//! The pieces of a small answer in one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::words::joined::Joined;

/// An answer that is no longer is written in one piece; nearly every one is a head and a few bytes.
pub(super) const JOINED_BYTES: usize = 1024;

/// Writes pieces, in one if they are small.
pub(super) fn poll_write(
    socket: Pin<&mut impl AsyncWrite>,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match Joined::<JOINED_BYTES>::default().join(pieces) {
        Some(joined) => socket.poll_write(context, joined),
        None => socket.poll_write_vectored(context, pieces),
    }
}
