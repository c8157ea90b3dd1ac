//! One connection to an app, driven by the task of the event that uses it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use hyper::rt::{Read, ReadBuf, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::Instant;

use crate::work::deadline::Deadline;
use crate::work::pool::answer::{Answer, CUT_OFF, NoAnswer, Reading, Whole};
use crate::work::pool::{Failed, reason};

/// What there is below HTTP.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A request that is no longer goes out in one piece: copying it costs less than the kernel's way of gathering. Most
/// events fit, their heads included.
pub(super) const JOINED_BYTES: usize = 2048;

/// Bytes that are read at one time.
const READ_BYTES: usize = 8 * 1024;

/// One connection, of one event at a time.
pub(super) struct Connection<S = Stream> {
    stream: S,
    /// Until when it may be used for what it is used for. While it idles, which is not for long, it knows who waited last:
    /// that task has ended, and its memory is kept till then.
    deadline: Deadline,
    /// The head of the request that is written, and a small body with it. Of one that was, the memory.
    head: Vec<u8>,
    /// A write that fails may have written something all the same: TLS has records of its own below.
    is_secure: bool,
}

/// Why a request got no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Nothing of it was written, for this reason.
    Unsent(String),
    /// Some of it may have been.
    Failed(Failed),
}

/// How far a request has come.
struct Sending<'a> {
    /// What comes after the head.
    body: &'a [u8],
    /// Bytes of both that were written.
    written: usize,
    /// Something may have been written.
    is_begun: bool,
    /// It is on its way as a whole, or cannot be.
    end: Option<Result<(), String>>,
}

// === impl Connection ===

impl<S: Read + Write + Unpin> Connection<S> {
    /// HTTP over a stream on which nothing was said yet.
    pub(super) fn new(stream: S, is_secure: bool) -> Self {
        Self {
            stream,
            deadline: Deadline::new(),
            head: Vec::with_capacity(JOINED_BYTES),
            is_secure,
        }
    }

    /// Sends a request and reads its answer until then. Gives back the answer, and whether another request may follow.
    ///
    /// An app that answers before it has read all of the request is given the rest of it, as long as there is time. One
    /// that answers and leaves has answered.
    ///
    /// # Errors
    /// Why there is no answer. The connection must not be used again then, nor after this was broken off.
    pub(super) async fn exchange(
        &mut self,
        write_head: impl FnOnce(&mut Vec<u8>),
        body: &[u8],
        until: Instant,
    ) -> Result<(Answer, bool), Unanswered> {
        if !self.is_free() {
            return Err(Unanswered::Unsent(GONE.to_owned()));
        }
        self.deadline.set(until);
        let mut sending = self.begin(write_head, body);
        let mut reading = Reading::default();
        let answered = poll_fn(|context| {
            if let Poll::Ready(answered) = self.poll_answer(context, &mut sending, &mut reading) {
                return Poll::Ready(answered.map_err(Failed::Broken));
            }
            let timed_out = || Err(Failed::TimedOut);
            self.deadline.poll(context).map(|()| timed_out())
        });
        let whole = answered
            .await
            .map_err(|failed| match (failed, &sending.end) {
                (Failed::Broken(reason), _) => sending.failed(reason),
                // That it could not be sent says more than that nothing came afterwards.
                (Failed::TimedOut, Some(Err(reason))) => sending.failed(reason.clone()),
                (Failed::TimedOut, _) => Unanswered::Failed(Failed::TimedOut),
            })?;
        // Nearly always it was sent before, so that nobody waits.
        let is_silent = sending.end.is_some() || self.give_rest(&mut sending).await;
        let is_sent = sending.end == Some(Ok(()));
        Ok((whole.answer, whole.is_reusable && is_silent && is_sent))
    }

    fn begin<'a>(
        &mut self,
        write_head: impl FnOnce(&mut Vec<u8>),
        mut body: &'a [u8],
    ) -> Sending<'a> {
        self.head.clear();
        // After a head that was unusually large.
        self.head.shrink_to(JOINED_BYTES);
        write_head(&mut self.head);
        if self.head.len() + body.len() <= JOINED_BYTES {
            self.head.extend_from_slice(mem::take(&mut body));
        }
        Sending {
            body,
            written: 0,
            is_begun: false,
            end: None,
        }
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        sending: &mut Sending<'_>,
        reading: &mut Reading,
    ) -> Poll<Result<Whole, String>> {
        let is_sent = self.poll_send(context, sending).is_ready();
        if sending.written == 0 {
            // What is said now answers nothing.
            return match self.poll_read(context, |_| ()) {
                Poll::Pending if !is_sent => Poll::Pending,
                Poll::Pending | Poll::Ready(_) => Poll::Ready(Err(GONE.to_owned())),
            };
        }
        // Also where it could not be sent: an app that has answered may leave before it has read everything. What it
        // left behind then may have been cut off, though, and the failed write was told so instead of the read.
        let is_cut = matches!(sending.end, Some(Err(_)));
        loop {
            let read = self.poll_read(context, |bytes| match bytes {
                [] if is_cut => Err(CUT_OFF),
                [] => mem::take(reading).end().map(Some),
                bytes => reading.take(bytes),
            });
            match ready!(read) {
                Ok(Ok(Some(whole))) => return Poll::Ready(Ok(whole)),
                Ok(Ok(None)) => {}
                Ok(Err(NoAnswer(why))) => return Poll::Ready(Err(why.to_owned())),
                Err(error) => return Poll::Ready(Err(reason(&error))),
            }
        }
    }

    /// Writes what is left of a request after its answer. Gives back whether nothing else was said meanwhile.
    async fn give_rest(&mut self, sending: &mut Sending<'_>) -> bool {
        let (mut is_silent, mut is_open) = (true, true);
        poll_fn(|context| {
            // An app that goes on talking may wait to be heard before it reads on; one that has said its last may still read.
            while is_open && let Poll::Ready(said) = self.poll_read(context, <[u8]>::len) {
                is_silent = false;
                is_open = matches!(said, Ok(1..));
            }
            match self.poll_send(context, sending) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => self.deadline.poll(context),
            }
        })
        .await;
        is_silent
    }

    /// Writes until there is an end of it.
    fn poll_send(&mut self, context: &mut Context<'_>, sending: &mut Sending<'_>) -> Poll<()> {
        if sending.end.is_none() {
            let sent = ready!(self.poll_write_all(context, sending));
            sending.end = Some(sent.map_err(|error| reason(&error)));
        }
        Poll::Ready(())
    }

    fn poll_write_all(
        &mut self,
        context: &mut Context<'_>,
        sending: &mut Sending<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let stream = Pin::new(&mut self.stream);
            let head = self.head.get(sending.written..).unwrap_or_default();
            let of_body = sending.written.saturating_sub(self.head.len());
            let body = sending.body.get(of_body..).unwrap_or_default();
            sending.is_begun |= self.is_secure;
            let written = match (head, body) {
                ([], []) => return stream.poll_flush(context),
                (all, []) | ([], all) => ready!(stream.poll_write(context, all))?,
                (head, body) => {
                    let both = [IoSlice::new(head), IoSlice::new(body)];
                    ready!(stream.poll_write_vectored(context, &both))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            sending.written += written;
            sending.is_begun = true;
        }
    }

    /// Has somebody look at what has come; at nothing, if nothing more will.
    fn poll_read<T>(
        &mut self,
        context: &mut Context<'_>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(context, read.unfilled()))?;
        Poll::Ready(Ok(look(read.filled())))
    }

    /// Whether nothing has come over one that nobody uses, not even its end. What comes later, or is not known to the
    /// runtime yet, may still meet a request.
    pub(super) fn is_free(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let said = poll_fn(|context| Poll::Ready(self.poll_read(context, |_| ())));
        // To a task that has done much in its turn the runtime says that nothing has come.
        match pin!(unconstrained(said)).poll(&mut context) {
            Poll::Ready(said) => said.is_pending(),
            Poll::Pending => false,
        }
    }

    /// Ends it in order, which TLS has words for.
    pub(super) async fn close(mut self) {
        let _ = poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await;
    }
}

// === impl Sending ===

impl Sending<'_> {
    fn failed(&self, reason: String) -> Unanswered {
        match self.is_begun {
            true => Unanswered::Failed(Failed::Broken(reason)),
            false => Unanswered::Unsent(reason),
        }
    }
}

/// Said of a connection over which a request cannot be sent any more.
const GONE: &str = "the app closed the connection, or spoke unasked";

#[cfg(test)]
mod tests;
