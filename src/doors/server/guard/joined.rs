//! The pieces of a small answer in one.
//!
//! # Why
//! Nearly every answer is a head and a few bytes, and copying these costs less than the kernel's way of gathering.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, ReadBuf};

/// An answer that is no longer is written in one piece.
pub(super) const JOINED_BYTES: usize = 1024;

/// Writes pieces, in one if they are small.
pub(super) fn poll_write(
    socket: Pin<&mut impl AsyncWrite>,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let lengths = pieces.iter().map(|piece| piece.len());
    if lengths.fold(0, usize::saturating_add) > JOINED_BYTES {
        return socket.poll_write_vectored(context, pieces);
    }
    let mut room = [const { MaybeUninit::uninit() }; JOINED_BYTES];
    let mut joined = ReadBuf::uninit(&mut room);
    for piece in pieces {
        joined.put_slice(piece);
    }
    socket.poll_write(context, joined.filled())
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What was written, each piece by itself.
    #[derive(Default)]
    struct Noted(Vec<Vec<u8>>);

    impl AsyncWrite for Noted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_is_small_is_written_in_one_piece_and_nothing_else() {
        let whole: Vec<u8> = (0..=u8::MAX).cycle().take(2 * JOINED_BYTES).collect();
        for (bytes, is_joined) in [
            (0, true),
            (2, true),
            (JOINED_BYTES, true),
            (JOINED_BYTES + 1, false),
            (2 * JOINED_BYTES, false),
        ] {
            let (head, body) = whole[..bytes].split_at(bytes / 2);
            let pieces = [head, body, b""].map(IoSlice::new);
            let mut noted = Noted::default();
            let mut context = Context::from_waker(Waker::noop());
            let written = poll_write(Pin::new(&mut noted), &mut context, &pieces);
            // One that gathers nothing takes the first piece.
            let expected = if is_joined { &whole[..bytes] } else { head };
            assert!(matches!(written, Poll::Ready(Ok(written)) if written == expected.len()));
            assert_eq!(noted.0, [expected]);
        }
    }
}
