//! One connection to an app, driven by the task of the event that uses it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::work::deadline::Deadline;
use crate::work::pool::joining::Joining;
use crate::work::pool::relay::Relay;

/// What there is below HTTP.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// What became of a request: the head of its answer, or why there is none.
type Sent = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>;

/// Turns of an exchange in which both ends go on, before other tasks have theirs.
const TURNS_MAX: usize = 16;

/// One connection, of one event at a time.
pub(super) struct Connection<S: Read + Write + Unpin = Stream> {
    requests: SendRequest<Full<Bytes>>,
    /// `None` once it has ended: a request that it had not taken up comes back only when it is dropped.
    protocol: Option<http1::Connection<Joining<S>, Full<Bytes>>>,
    /// Until when it may be used for what it is used for.
    deadline: Deadline,
    relay: Arc<Relay>,
    /// The same, as those above know it.
    waker: Waker,
}

/// Why a request got no answer.
pub(super) enum Unanswered {
    /// The connection failed.
    Failed {
        /// In what way.
        error: hyper::Error,
        /// The request, if nothing of it was written.
        unsent: Option<Box<Request<Full<Bytes>>>>,
    },
    /// There was none in time.
    TimedOut,
}

/// The deadline has passed.
struct TimedOut;

// === impl Connection ===

impl<S: Read + Write + Unpin + Send + 'static> Connection<S> {
    /// HTTP over a stream on which nothing was said yet.
    pub(super) async fn begin(stream: S) -> Result<Self, hyper::Error> {
        let (requests, protocol) = http1::Builder::new().handshake(Joining(stream)).await?;
        let relay = Arc::new(Relay::default());
        Ok(Self {
            requests,
            protocol: Some(protocol),
            deadline: Deadline::new(),
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        })
    }

    /// Hands it a request, which has until then for all.
    #[inline]
    pub(super) fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        until: Instant,
    ) -> impl Future<Output = Sent> + use<S> {
        self.deadline.set(until);
        self.requests.try_send_request(request)
    }

    /// Writes what it was handed and has the answer read, until the deadline.
    ///
    /// Both in one go: each look at the connection costs hyper a thousand instructions, whether or not there is
    /// anything to do.
    pub(super) async fn answered<R: Future>(
        &mut self,
        mut sending: Pin<&mut impl Future<Output = Sent>>,
        read: impl Fn(Response<Incoming>) -> R,
    ) -> Result<R::Output, Unanswered> {
        let mut reading = pin!(None::<R>);
        let mut go_on = |context: &mut Context<'_>| loop {
            if let Some(reading) = reading.as_mut().as_pin_mut() {
                return reading.poll(context).map(Ok);
            }
            match ready!(sending.as_mut().poll(context)) {
                Ok(response) => reading.set(Some(read(response))),
                Err(mut failed) => {
                    return Poll::Ready(Err(Unanswered::Failed {
                        unsent: failed.take_message().map(Box::new),
                        error: failed.into_error(),
                    }));
                }
            }
        };
        let asked = poll_fn(|context| self.poll_turns(context, |_, inner| go_on(inner)));
        asked.await.unwrap_or(Err(Unanswered::TimedOut))
    }

    /// Keeps it going until it is free, or has ended: what is left of a request is written, though its answer came
    /// before, until the request's deadline. Gives back whether it is free.
    pub(super) async fn freed(&mut self) -> bool {
        let has_come_to_rest = |this: &mut Self, _: &mut Context<'_>| match this.protocol {
            Some(_) if !this.requests.is_ready() => Poll::Pending,
            Some(_) | None => Poll::Ready(()),
        };
        let rested = poll_fn(|context| self.poll_turns(context, has_come_to_rest));
        rested.await.is_ok() && self.left_free()
    }

    /// Ends it in order, which TLS has words for.
    pub(super) async fn close(self) {
        let Self {
            requests, protocol, ..
        } = self;
        drop(requests);
        if let Some(protocol) = protocol {
            let _ = protocol.await;
        }
    }

    fn poll_turns<T>(
        &mut self,
        context: &mut Context<'_>,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, TimedOut>> {
        self.relay.attend(context.waker());
        let waker = self.waker.clone();
        let mut inner = Context::from_waker(&waker);
        let mut turns = 1..TURNS_MAX;
        loop {
            self.relay.look();
            self.go_on(&mut inner);
            if let Poll::Ready(done) = poll(self, &mut inner) {
                self.relay.look_away();
                return Poll::Ready(Ok(done));
            }
            if !self.relay.was_called() {
                break;
            }
            if turns.next().is_none() {
                self.relay.look_away();
                context.waker().wake_by_ref();
                break;
            }
        }
        self.deadline.poll(&mut inner).map(|()| Err(TimedOut))
    }

    /// Ends its use: nobody is woken for it any more. Gives back whether it was open and had nothing left to do when it
    /// was last looked at. If its app has closed it since, a request that it is given comes back unsent, where that is
    /// noticed before it is written.
    pub(super) fn left_free(&mut self) -> bool {
        self.relay.leave();
        self.protocol.is_some() && self.requests.is_ready()
    }

    /// Whether it is free now: looks at one that nobody uses.
    pub(super) fn is_free(&mut self) -> bool {
        let waker = self.waker.clone();
        self.go_on(&mut Context::from_waker(&waker));
        self.protocol.is_some() && self.requests.is_ready()
    }

    fn go_on(&mut self, context: &mut Context<'_>) {
        if let Some(protocol) = &mut self.protocol
            // What went wrong is told to the one who waits for the answer.
            && Pin::new(protocol).poll(context).is_ready()
        {
            self.protocol = None;
        }
    }
}
