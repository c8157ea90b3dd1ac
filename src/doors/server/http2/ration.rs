//! A bound on what a peer may say over HTTP/2 without asking anything.
//!
//! Pings, settings, priorities, windows, unknown frames and empty data cost as much to read as to write, the library
//! answers or ignores them for as long as they come, and no deadline ends that while a request is open. So a
//! connection has a ration of them, which its requests fill up again. Only the nine bytes before each frame are
//! looked at; what is wrong with a frame is the library's to say.
//!
//! A head that opens a stream is passed on once there is room for it, and until then nothing behind it is read. So
//! where all memory is taken, the body of one request may stand behind the head of the next one on its connection;
//! if it does so for longer than a body may rest, its event is refused, and its room is somebody else's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::doors::server::http2::heads::Heads;
use crate::work::body::Held;

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

/// Flag of a head, or of a part of it: no part comes after it.
const END_HEADERS: u8 = 4;

/// A socket whose frames are rationed.
pub(super) struct Rationed<S> {
    socket: S,
    ration: Ration,
    heads: Heads,
    /// Room for the next stream that is opened, once there is.
    room: Option<Held>,
    waiting: Option<Pin<Box<dyn Future<Output = Held> + Send>>>,
    /// What was read and not passed on, at most as much as the library asked for at one time.
    kept: Vec<u8>,
}

/// There is not enough of the ration.
#[derive(Debug, PartialEq, Eq)]
struct UsedUp;

/// Where in its frames a connection is, and what is left.
#[derive(Debug, PartialEq, Eq)]
struct Ration {
    /// Bytes that are passed over: the preface at first, then the rest of a frame.
    skipped: usize,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    left: usize,
    /// The last stream that was opened.
    stream: u32,
    /// Not all parts of the last head have begun.
    has_more_parts: bool,
    /// What is passed over is of a head.
    is_of_head: bool,
}

// === impl Rationed ===

impl<S> Rationed<S> {
    /// A connection that begins. What its heads take is noted in `heads`.
    pub(super) fn new(socket: S, heads: Heads) -> Self {
        Self {
            socket,
            ration: Ration::full(),
            heads,
            room: None,
            waiting: None,
            kept: Vec::new(),
        }
    }

    /// How many of the bytes that come next may be passed on now.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (heads, room, waiting) = (&self.heads, &mut self.room, &mut self.waiting);
        let has_room = || match room.take().or_else(|| heads.try_hold()) {
            Some(held) => {
                heads.passed(held);
                true
            }
            None => {
                *waiting = Some(Box::pin(heads.clone().hold()));
                false
            }
        };
        self.ration
            .pass(bytes, has_room)
            .map_err(|UsedUp| io::ErrorKind::QuotaExceeded.into())
    }

    /// Passes on what was kept.
    fn pass_kept(&mut self, into: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut kept = std::mem::take(&mut self.kept);
        let (next, _) = kept.split_at(kept.len().min(into.remaining()));
        let passed = self.pass(next)?;
        into.put_slice(next.split_at(passed).0);
        kept.drain(..passed);
        // Nothing is left in most cases, and then nothing stays allocated.
        if !kept.is_empty() {
            self.kept = kept;
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Rationed<S> {
    fn poll_pass(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        loop {
            if let Some(waiting) = &mut self.waiting {
                self.room = Some(ready!(waiting.as_mut().poll(context)));
                self.waiting = None;
            }
            if self.kept.is_empty() {
                ready!(Pin::new(&mut self.socket).poll_read(context, into))?;
                let read = into.filled().get(before..).unwrap_or_default();
                if read.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let passed = self.pass(read)?;
                self.kept = read.split_at(passed).1.to_vec();
                into.set_filled(before + passed);
            } else {
                self.pass_kept(into)?;
            }
            // To pass on nothing would be the end of the connection.
            if into.filled().len() > before || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
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
        let polled = this.poll_pass(context, into);
        // Who asks for more has taken in what was passed on, but for a frame that is not complete.
        let rest = polled.is_pending().then(|| this.ration.is_in_head());
        this.heads.asked_for_more(rest);
        polled
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
            stream: 0,
            has_more_parts: false,
            is_of_head: false,
        }
    }

    /// How many of the bytes that come next may be passed on: all of them, or those before the end of what opens a
    /// stream for which there is no room. Those behind come again.
    fn pass(&mut self, bytes: &[u8], mut has_room: impl FnMut() -> bool) -> Result<usize, UsedUp> {
        let mut rest = bytes;
        loop {
            let skipped = self.skipped.min(rest.len());
            self.skipped -= skipped;
            rest = rest.split_at(skipped).1;
            let missing = (HEAD_BYTES - self.head_len).min(rest.len());
            let (more, behind) = rest.split_at(missing);
            for (byte, of_head) in more.iter().zip(self.head.iter_mut().skip(self.head_len)) {
                *of_head = *byte;
            }
            self.head_len += missing;
            if self.head_len < HEAD_BYTES {
                return Ok(bytes.len());
            }
            // No frame begins for the library without the last of its nine bytes.
            if self.opens_stream() && !has_room() {
                self.head_len -= 1;
                return Ok(bytes.len() - behind.len() - 1);
            }
            self.begin_frame()?;
            rest = behind;
        }
    }

    /// Whether a head is passed on in part only.
    fn is_in_head(&self) -> bool {
        self.has_more_parts || self.is_of_head && self.skipped > 0
    }

    fn opens_stream(&self) -> bool {
        let [_, _, _, kind, ..] = self.head;
        kind == HEADERS && self.frame_stream() > self.stream
    }

    fn frame_stream(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        // The first bit is reserved, and ignored.
        u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1)
    }

    /// Takes a frame off the ration or adds it.
    fn begin_frame(&mut self) -> Result<(), UsedUp> {
        let [a, b, c, kind, flags, ..] = self.head;
        let payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (self.head_len, self.skipped) = (0, payload);
        self.is_of_head = matches!(kind, HEADERS | CONTINUATION);
        if self.is_of_head {
            self.has_more_parts = flags & END_HEADERS == 0;
        }
        if kind == HEADERS {
            self.stream = self.stream.max(self.frame_stream());
        }
        let left = match kind {
            HEADERS => Some(self.left + EARNED_BYTES),
            DATA if payload > 0 => Some(self.left + payload.min(EARNED_BYTES)),
            // A part of a head; the library bounds them.
            CONTINUATION => Some(self.left),
            _ => self.left.checked_sub(HEAD_BYTES + payload),
        };
        self.left = left.ok_or(UsedUp)?.min(RATION_BYTES);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
