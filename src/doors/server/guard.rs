//! A thin guard between a sender's socket and hyper.
//!
//! It holds back each head until it is complete, has it checked by [`framing`], and lets hyper see only heads
//! about which no two parsers differ. It counts the body of a request with a length, so that it knows where
//! the next head begins; of a chunked body it has the lines checked by [`Chunks`]. After a chunked body or a
//! refused head nothing more is let through, and the connection ends with the answer.
//!
//! A refused head is replaced by a harmless stand-in, and its [`HeadNote`] says why: so the refusal takes
//! the same way as every answer, in order, with its outcome, its metric and its log line.
//!
//! The guard also keeps the deadlines that belong to a socket: for the first byte and the whole head, for
//! idling between requests, and for a peer that does not read its answer. While a sender waits for its answer, it
//! looks whether it is still there. At the end it reads on for a moment, so that no reset takes an early answer away.

mod deadline;
mod joined;
mod next;

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::doors::server::guard::deadline::Deadline;
use crate::doors::server::guard::next::Next;
use crate::rules::chunks::Chunks;
use crate::rules::framing::{self, BodyLength, Flaw};
use crate::words::limits::Limits;
use crate::work::head::HeadNote;

/// What the guard notes of each head, for the one who answers it; in the order of the requests.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<VecDeque<HeadNote>>>);

/// A guarded socket.
pub struct Guard<S> {
    socket: S,
    limits: Limits,
    notes: Notes,
    /// What was read and not yet passed on: of heads, and of bodies what came with their heads.
    waiting: Vec<u8>,
    /// How many of `waiting` may be passed on.
    cleared: usize,
    next: Next,
    /// How far a chunked body is.
    chunks: Chunks,
    /// Something of the next head came, be it an empty line before it.
    has_begun: bool,
    /// Something was passed on since the last answer.
    is_asked: bool,
    reading: Deadline,
    writing: Deadline,
    lingered: usize,
    is_write_shut: bool,
}

// === impl Notes ===

impl Notes {
    /// The note of the next request.
    pub fn take(&self) -> Option<HeadNote> {
        self.queue().pop_front()
    }

    fn put(&self, note: HeadNote) {
        self.queue().push_back(note);
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<HeadNote>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Guard ===

impl<S> Guard<S> {
    /// Guards `socket` within these limits.
    pub fn new(socket: S, limits: Limits) -> Self {
        let mut reading = Deadline::new(limits.head_time);
        reading.set(limits.head_time);
        Self {
            socket,
            limits,
            notes: Notes::default(),
            waiting: Vec::new(),
            cleared: 0,
            next: Next::Head,
            chunks: Chunks::begin(),
            has_begun: false,
            is_asked: false,
            reading,
            writing: Deadline::new(limits.write_time),
            lingered: 0,
            is_write_shut: false,
        }
    }

    /// Where the notes of this connection are found.
    pub fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// The time of a head runs from its first byte, and no empty lines before it make it longer.
    fn begin(&mut self) {
        if !self.has_begun {
            self.has_begun = true;
            self.reading.set(self.limits.head_time);
        }
    }

    /// Clears the head in `waiting`, if it is complete; refuses it, if it never will be or is flawed.
    fn judge(&mut self) -> bool {
        // An empty line before a request line is to be ignored (RFC 9112, 2.2).
        if self.waiting.starts_with(b"\r\n") {
            self.waiting.drain(..2);
        }
        let end = match framing::head_end(&self.waiting, &self.limits.head) {
            Ok(None) => return false,
            Ok(Some(end)) => end,
            Err(flaw) => {
                self.refuse(flaw);
                return true;
            }
        };
        match framing::check(&self.waiting[..end], &self.limits.head) {
            Ok(length) => {
                self.notes.put(HeadNote::new(length, None));
                self.cleared = end;
                self.has_begun = false;
                self.next = match length {
                    BodyLength::Unstated | BodyLength::Exact(0) => Next::Head,
                    BodyLength::Exact(bytes) => Next::Body(bytes),
                    BodyLength::Chunked => Next::Chunked,
                };
                // The clock of the next head starts anew.
                self.reading.set(self.limits.idle_time);
            }
            Err(flaw) => self.refuse(flaw),
        }
        true
    }

    /// Puts a stand-in in the place of a head that is not passed on; nothing comes after it.
    fn refuse(&mut self, flaw: Flaw) {
        let (method, target) =
            framing::method_and_target(&self.waiting, &self.limits.head).unwrap_or(("POST", "/"));
        let stand_in =
            format!("{method} {target} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
        self.notes
            .put(HeadNote::new(BodyLength::Unstated, Some(flaw)));
        self.waiting = stand_in.into_bytes();
        self.cleared = self.waiting.len();
        self.next = Next::Nothing;
        self.reading.clear();
    }

    /// Passes on what is cleared of `waiting`; `false` if there is nothing.
    ///
    /// A body of which a part came with its head stays behind it, for hyper to read it in one piece with the rest, as
    /// far as its buffer has room.
    fn pass_on(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let behind_head = self.waiting.len() - self.cleared;
        let of_body = match self.next {
            Next::Body(bytes) => match usize::try_from(bytes).unwrap_or(usize::MAX) {
                bytes if bytes > behind_head && self.cleared > 0 => 0,
                bytes => bytes,
            },
            Next::Chunked => usize::MAX,
            Next::Head | Next::Broken | Next::Nothing => 0,
        };
        let bytes = self
            .cleared
            .saturating_add(of_body)
            .min(self.waiting.len())
            .min(into.remaining());
        let of_head = bytes.min(self.cleared);
        self.cleared -= of_head;
        let bytes = of_head
            + self
                .next
                .passes(&self.waiting[of_head..bytes], &mut self.chunks);
        into.put_slice(&self.waiting[..bytes]);
        self.waiting.drain(..bytes);
        self.is_asked |= bytes > 0;
        bytes > 0
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Reads more of a head into `waiting`, mostly in vain; the number of bytes, 0 at the end of the stream.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Few bytes that are there already shall not make it larger.
        if self.waiting.capacity() - self.waiting.len() < READ_BYTES / 2 {
            self.waiting.reserve_exact(READ_BYTES);
        }
        let mut into = (&mut self.waiting).limit(READ_BYTES);
        pin!(self.socket.read_buf(&mut into)).poll(context)
    }

    /// Body bytes go straight from the socket to hyper, but no byte of what follows them. Nothing is `waiting` before them.
    ///
    /// Where there is room, one byte more than the body has is asked for. A socket that gives as much as it was asked for
    /// may have more, and would be asked once more in vain.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = match self.next {
            Next::Body(bytes) => bytes,
            Next::Chunked | Next::Broken | Next::Head | Next::Nothing => u64::MAX,
        };
        let before = into.filled().len();
        let mut part = (&mut self.socket).take(limit.saturating_add(1));
        ready!(Pin::new(&mut part).poll_read(context, into))?;
        let (_, read) = into.filled().split_at(before);
        let of_body = usize::try_from(limit).unwrap_or(usize::MAX).min(read.len());
        let (read, of_next) = read.split_at(of_body);
        self.waiting.extend_from_slice(of_next);
        let (came, passed) = (read.len(), self.next.passes(read, &mut self.chunks));
        into.set_filled(before + passed);
        self.is_asked = true;
        match passed == 0 && came > 0 {
            // No bytes would be the stream's end.
            true => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            false => Poll::Ready(Ok(())),
        }
    }

    /// An error, once the sender hung up without its answer. A further head that it sends waits for its turn, and once
    /// that is whole, it is not looked at again before.
    ///
    /// # Why
    /// hyper would look as well, and take 8 KiB at each request for what it might read. So it is told not to, and this
    /// is done whenever it asks for a flush, which is the end of each of its turns.
    fn look_after_sender(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_whole = match self.next {
            Next::Head => true,
            Next::Chunked => self.chunks.is_over(),
            Next::Body(_) | Next::Broken | Next::Nothing => false,
        };
        while self.is_asked && is_whole && self.lacks_head() {
            match self.poll_fill(context)? {
                Poll::Ready(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Whether what waits, an empty line before it aside, may still become a head.
    fn lacks_head(&self) -> bool {
        let begun = self.waiting.strip_prefix(b"\r\n");
        let begun = begun.unwrap_or(&self.waiting);
        framing::head_end(begun, &self.limits.head) == Ok(None)
    }

    /// Reads and drops what still arrives, within bounds.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; READ_BYTES];
        loop {
            let mut into = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.socket).poll_read(context, &mut into) {
                Poll::Ready(Ok(())) if !into.filled().is_empty() => {
                    self.lingered += into.filled().len();
                    if self.lingered > self.limits.linger_bytes {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.reading.poll(context),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let is_body = this.cleared == 0 && matches!(this.next, Next::Body(_));
            if this.pass_on(into) {
                if is_body && matches!(this.next, Next::Body(1..)) && into.remaining() > 0 {
                    // The rest of it, as far as it is there. A socket at its end says so again; a broken one ends the body.
                    let _ = this.poll_body(context, into)?;
                }
                return Poll::Ready(Ok(()));
            }
            match this.next {
                Next::Head => {}
                Next::Body(_) | Next::Chunked => return this.poll_body(context, into),
                // The same as a chunk that hyper itself cannot read.
                Next::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                // Not the stream's end: hyper would take that for a sender that hung up, and drop the answer.
                // The answer ends the connection, so nobody needs to be woken.
                Next::Nothing => return Poll::Pending,
            }
            if !this.waiting.is_empty() {
                if this.judge() {
                    continue;
                }
                this.begin();
            }
            let is_idle = this.waiting.is_empty();
            match this.poll_fill(context)? {
                // A head that is cut off is no request; there is nobody left to answer.
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    ready!(this.reading.poll(context));
                    match is_idle {
                        true => return Poll::Ready(Ok(())),
                        false => this.refuse(Flaw::TooSlow),
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_asked &= bytes == CONTINUE;
        let polled = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.writing.watch(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_asked &= matches!(slices, [only] if **only == *CONTINUE);
        let polled = joined::poll_write(Pin::new(&mut this.socket), context, slices);
        this.writing.watch(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.look_after_sender(context)?;
        let polled = Pin::new(&mut this.socket).poll_flush(context);
        this.writing.watch(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_write_shut {
            let polled = Pin::new(&mut this.socket).poll_shutdown(context);
            ready!(this.writing.watch(context, polled))?;
            this.is_write_shut = true;
            this.reading.set(this.limits.linger_time);
        }
        // Between requests hardly anything is unread. What was sent behind the last one may not have been looked at.
        let is_between = this.next == Next::Head && this.waiting.is_empty();
        if is_between && !matches!(this.poll_fill(context), Poll::Ready(Ok(1..))) {
            return Poll::Ready(Ok(()));
        }
        this.poll_linger(context).map(Ok)
    }
}

/// What hyper writes for `Expect: 100-continue` once the body is asked for. It is no answer.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// One read of a head; nearly every head with a small body fits.
const READ_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
