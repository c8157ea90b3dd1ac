//! A bound on what a peer may say over HTTP/2 without asking anything.
//!
//! Pings, settings, priorities, windows, unknown frames and empty data cost as much to read as to write, the library
//! answers or ignores them for as long as they come, and no deadline ends that while a request is open. So a
//! connection has a ration of them, which its requests fill up again. Only the nine bytes before each frame are
//! looked at; what is wrong with a frame is the library's to say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of such frames that may come before the first request, and at any time later: thousands of pings, where a
/// client sends a few dozen bytes a request. Beyond it the connection ends.
const RATION_BYTES: usize = 64 * 1024;

/// So many of them a head gives back, and data as many as it has, up to this.
const EARNED_BYTES: usize = 256;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// A socket whose frames are rationed.
pub(super) struct Rationed<S> {
    socket: S,
    ration: Ration,
}

/// Where in its frames a connection is, and what is left.
#[derive(Debug, PartialEq, Eq)]
struct Ration {
    /// Bytes that are passed over: the preface at first, then the rest of a frame.
    skipped: usize,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    left: usize,
}

// === impl Rationed ===

impl<S> Rationed<S> {
    /// A connection that begins.
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            ration: Ration::full(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rationed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(context, into))?;
        let read = into.filled().get(before..).unwrap_or_default();
        match this.ration.lasts(read) {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rationed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

// === impl Ration ===

impl Ration {
    const fn full() -> Self {
        Self {
            skipped: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_len: 0,
            left: RATION_BYTES,
        }
    }

    /// Whether it lasts for the bytes that come next.
    fn lasts(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skipped = self.skipped.min(bytes.len());
            self.skipped -= skipped;
            bytes = bytes.split_at(skipped).1;
            let missing = (HEAD_BYTES - self.head_len).min(bytes.len());
            let (more, rest) = bytes.split_at(missing);
            for (byte, of_head) in more.iter().zip(self.head.iter_mut().skip(self.head_len)) {
                *of_head = *byte;
            }
            self.head_len += missing;
            if self.head_len < HEAD_BYTES {
                return true;
            }
            if !self.begin_frame() {
                return false;
            }
            bytes = rest;
        }
    }

    /// Takes a frame off the ration or adds it; `false` if there is not enough.
    fn begin_frame(&mut self) -> bool {
        let [a, b, c, kind, ..] = self.head;
        let payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (self.head_len, self.skipped) = (0, payload);
        let left = match kind {
            HEADERS => Some(self.left + EARNED_BYTES),
            DATA if payload > 0 => Some(self.left + payload.min(EARNED_BYTES)),
            // A part of a head; the library bounds them.
            CONTINUATION => Some(self.left),
            _ => self.left.checked_sub(HEAD_BYTES + payload),
        };
        self.left = left.unwrap_or(0).min(RATION_BYTES);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: u8 = 6;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let [.., a, b, c] = payload.to_be_bytes();
        let mut bytes = vec![a, b, c, kind, 0, 0, 0, 0, 1];
        bytes.resize(HEAD_BYTES + payload, 0xff);
        bytes
    }

    fn begun() -> Ration {
        let mut ration = Ration::full();
        assert!(ration.lasts(PREFACE));
        ration
    }

    #[test]
    fn what_asks_nothing_comes_to_an_end() {
        for (kind, payload) in [
            (PING, 8),
            (4, 0),
            (2, 5),
            (8, 4),
            (0x99, 0),
            (0x99, 16_000),
            (DATA, 0),
            (3, 4),
        ] {
            let mut ration = begun();
            let most = RATION_BYTES / (HEAD_BYTES + payload);
            for _ in 0..most {
                assert!(ration.lasts(&frame(kind, payload)), "{kind}");
            }
            assert!(!ration.lasts(&frame(kind, payload)), "{kind}");
        }
    }

    #[test]
    fn requests_may_go_on_for_ever_with_what_clients_send_beside_them() {
        let mut ration = begun();
        let beside = [frame(PING, 8), frame(4, 0), frame(8, 4), frame(8, 4)].concat();
        let request = [
            frame(HEADERS, 60),
            frame(CONTINUATION, 10),
            frame(DATA, 300),
            frame(DATA, 0),
            beside,
        ]
        .concat();
        for _ in 0..10_000 {
            assert!(ration.lasts(&request));
        }
        assert!(ration.left > RATION_BYTES - EARNED_BYTES);
        // But they save nothing up.
        let pings = frame(PING, 8).repeat(RATION_BYTES / 17 + 1);
        assert!(!ration.lasts(&pings));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            frames in proptest::collection::vec((0u8..11, 0usize..20_000), 0..20),
            cuts in proptest::collection::vec(1usize..30_000, 0..20),
        ) {
            let frames: Vec<u8> = frames.into_iter().flat_map(|(kind, payload)| frame(kind, payload)).collect();
            let mut whole = begun();
            let lasts = whole.lasts(&frames);
            let (mut parts, mut rest, mut all_last) = (begun(), &frames[..], true);
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                all_last = all_last && parts.lasts(part);
                rest = behind;
            }
            all_last = all_last && parts.lasts(rest);
            prop_assert_eq!(all_last, lasts);
            if lasts {
                prop_assert_eq!(parts, whole);
            }
        }
    }
}
