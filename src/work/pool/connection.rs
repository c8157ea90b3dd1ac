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
use crate::work::pool::answer::{Answer, NoAnswer, Reading, Whole};
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
    /// Until when it may be used for what it is used for.
    deadline: Deadline,
    /// The head of the request that is written, and a small body with it. Of one that was, the memory.
    head: Vec<u8>,
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
    /// All of it is on its way.
    is_done: bool,
}

// === impl Connection ===

impl<S: Read + Write + Unpin> Connection<S> {
    /// HTTP over a stream on which nothing was said yet.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            deadline: Deadline::new(),
            head: Vec::with_capacity(JOINED_BYTES),
        }
    }

    /// Sends a request and reads its answer until then. Gives back the answer, and whether another request may follow.
    ///
    /// An app that answers before it has read all of the request is given the rest of it, as long as there is time.
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
            let reason = "the app closed the connection, or spoke unasked";
            return Err(Unanswered::Unsent(reason.to_owned()));
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
        let whole = answered.await.map_err(|failed| match failed {
            Failed::Broken(reason) if sending.written == 0 => Unanswered::Unsent(reason),
            failed => Unanswered::Failed(failed),
        })?;
        // Nearly always it was sent before, so that nobody waits.
        let is_reusable = sending.is_done || self.sent(&mut sending).await;
        Ok((whole.answer, whole.is_reusable && is_reusable))
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
            is_done: false,
        }
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        sending: &mut Sending<'_>,
        reading: &mut Reading,
    ) -> Poll<Result<Whole, String>> {
        let sent = self.poll_send(context, sending);
        // It may have answered all the same, and left before it had read everything.
        loop {
            let read = self.poll_read(context, |bytes| match bytes {
                [] => mem::take(reading).end().map(Some),
                bytes => reading.take(bytes),
            });
            match read {
                Poll::Ready(Ok(Ok(Some(whole)))) => return Poll::Ready(Ok(whole)),
                Poll::Ready(Ok(Ok(None))) => {}
                Poll::Ready(Ok(Err(NoAnswer(why)))) => return Poll::Ready(Err(why.to_owned())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(reason(&error))),
                Poll::Pending => break,
            }
        }
        match sent {
            Poll::Ready(Err(error)) => Poll::Ready(Err(reason(&error))),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what is left of a request after its answer. Gives back whether it was written, and nothing else was said.
    async fn sent(&mut self, sending: &mut Sending<'_>) -> bool {
        let sent = poll_fn(|context| {
            let said = self.poll_read(context, |_| ());
            match self.poll_send(context, sending) {
                Poll::Ready(sent) => Poll::Ready(sent.is_ok() && said.is_pending()),
                Poll::Pending if said.is_ready() => Poll::Ready(false),
                Poll::Pending => self.deadline.poll(context).map(|()| false),
            }
        });
        sent.await
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        sending: &mut Sending<'_>,
    ) -> Poll<io::Result<()>> {
        while !sending.is_done {
            let stream = Pin::new(&mut self.stream);
            let head = self.head.get(sending.written..).unwrap_or_default();
            let of_body = sending.written.saturating_sub(self.head.len());
            let body = sending.body.get(of_body..).unwrap_or_default();
            let written = match (head, body) {
                ([], []) => {
                    ready!(stream.poll_flush(context))?;
                    sending.is_done = true;
                    continue;
                }
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
        }
        Poll::Ready(Ok(()))
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

    /// Whether nothing has come over one that nobody uses, not even its end. What comes later may still meet a request.
    pub(super) fn is_free(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let said = poll_fn(|context| Poll::Ready(self.poll_read(context, |_| ())));
        // The runtime says of nothing that it has come to a task that has done much in its turn.
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
