//! A stream to an app, to which a small request is written in one piece.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::words::joined::Joined;

/// A stream whose small writes are joined.
pub(super) struct Joining<S>(pub(super) S);

/// A request that is no longer is written in one piece; most events fit, their heads included.
pub(super) const JOINED_BYTES: usize = 2048;

// === impl Joining ===

impl<S: Read + Unpin> Read for Joining<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, into)
    }
}

impl<S: Write + Unpin> Write for Joining<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.get_mut().0);
        match Joined::<JOINED_BYTES>::default().join(pieces) {
            Some(joined) => stream.poll_write(context, joined),
            None => stream.poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What was written, each piece by itself; it takes so many bytes at a time.
    struct Noted {
        pieces: Vec<Vec<u8>>,
        at_a_time: usize,
    }

    impl Write for Noted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.at_a_time);
            self.pieces.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What is written of a head and a body.
    fn written(head: &[u8], body: &[u8], at_a_time: usize) -> Vec<Vec<u8>> {
        let mut context = Context::from_waker(Waker::noop());
        let mut stream = Joining(Noted {
            pieces: Vec::new(),
            at_a_time,
        });
        let mut left = &mut [IoSlice::new(head), IoSlice::new(body)][..];
        while !left.is_empty() {
            match Pin::new(&mut stream).poll_write_vectored(&mut context, left) {
                Poll::Ready(Ok(bytes)) => IoSlice::advance_slices(&mut left, bytes),
                other => panic!("{other:?}"),
            }
        }
        stream.0.pieces
    }

    #[test]
    fn what_is_small_is_written_in_one_piece_and_everything_as_it_is() {
        let whole: Vec<u8> = (0..=u8::MAX).cycle().take(3 * JOINED_BYTES).collect();
        for end in [
            2,
            JOINED_BYTES - 1,
            JOINED_BYTES,
            JOINED_BYTES + 1,
            3 * JOINED_BYTES,
        ] {
            for at_a_time in [usize::MAX, 700] {
                for head in [1, end / 2, end - 1] {
                    let (head, body) = whole[..end].split_at(head);
                    let pieces = written(head, body, at_a_time);
                    assert_eq!(pieces.concat(), whole[..end]);
                    if end <= JOINED_BYTES && at_a_time == usize::MAX {
                        assert_eq!(pieces.len(), 1);
                    }
                }
            }
        }
    }
}
