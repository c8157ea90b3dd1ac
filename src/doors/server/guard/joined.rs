//! The pieces of a small answer in one.
//!
//! # Why
//! Nearly every answer is a head and a few bytes, and copying these costs less than the kernel's way of gathering.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Bytes that are written in one piece.
pub(super) const JOINED_BYTES: usize = 1024;

/// Room for pieces.
struct Joined([u8; JOINED_BYTES]);

/// Writes pieces, in one if they are small.
pub(super) fn poll_write(
    socket: Pin<&mut impl AsyncWrite>,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match Joined::default().join(pieces) {
        Some(joined) => socket.poll_write(context, joined),
        None => socket.poll_write_vectored(context, pieces),
    }
}

// === impl Joined ===

impl Joined {
    /// The pieces in one; `None` where there is no room for all of them.
    fn join(&mut self, pieces: &[IoSlice<'_>]) -> Option<&[u8]> {
        let mut length = 0;
        for piece in pieces {
            let end = length + piece.len();
            self.0.get_mut(length..end)?.copy_from_slice(piece);
            length = end;
        }
        self.0.get(..length)
    }
}

impl Default for Joined {
    fn default() -> Self {
        Self([0; JOINED_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_fit_are_joined_and_no_others() {
        let (full, empty) = ([7; JOINED_BYTES], []);
        let mut joined = Joined::default();
        for (pieces, expected) in [
            (vec![], Some(vec![])),
            (
                vec![&b"head"[..], &empty, b"body"],
                Some(b"headbody".to_vec()),
            ),
            (vec![&full[..], &empty], Some(full.to_vec())),
            (vec![&full[..], b"1"], None),
        ] {
            let pieces: Vec<_> = pieces.into_iter().map(IoSlice::new).collect();
            assert_eq!(joined.join(&pieces).map(<[u8]>::to_vec), expected);
        }
    }
}
