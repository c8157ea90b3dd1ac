//! One connection to an app, driven by the task of the event that uses it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::work::pool::relay::Relay;

/// What there is below HTTP.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Turns of an exchange in which both ends go on, before other tasks have theirs.
const TURNS_MAX: usize = 16;

/// One connection, of one event at a time.
pub(super) struct Connection<S: Read + Write + Unpin = Stream> {
    requests: SendRequest<Full<Bytes>>,
    /// `None` once it has ended: a request that it had not taken up comes back only when it is dropped.
    protocol: Option<http1::Connection<S, Full<Bytes>>>,
    relay: Arc<Relay>,
    /// The same, as the two above know it.
    waker: Waker,
}

/// A request that got no answer.
pub(super) struct Unanswered {
    /// Why.
    pub(super) error: hyper::Error,
    /// The request, if nothing of it was written.
    pub(super) unsent: Option<Request<Full<Bytes>>>,
}

// === impl Connection ===

impl<S: Read + Write + Unpin + Send + 'static> Connection<S> {
    /// HTTP over a stream on which nothing was said yet.
    pub(super) async fn begin(stream: S) -> Result<Self, hyper::Error> {
        let (requests, protocol) = http1::Builder::new().handshake(stream).await?;
        let relay = Arc::new(Relay::default());
        Ok(Self {
            requests,
            protocol: Some(protocol),
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        })
    }

    /// Sends a request and has the answer read.
    ///
    /// Both in one go: each look at the connection costs hyper a thousand instructions, whether or not there is
    /// anything to do.
    pub(super) async fn ask<R: Future>(
        &mut self,
        request: Request<Full<Bytes>>,
        read: impl FnOnce(Response<Incoming>) -> R,
    ) -> Result<R::Output, Unanswered> {
        let sending = self.requests.try_send_request(request);
        let mut work = pin!(async {
            match sending.await {
                Ok(response) => Ok(read(response).await),
                Err(mut failed) => Err(Unanswered {
                    unsent: failed.take_message(),
                    error: failed.into_error(),
                }),
            }
        });
        poll_fn(|context| self.poll_turns(context, |_, inner| work.as_mut().poll(inner))).await
    }

    /// Keeps it going until it is free, or has ended: what is left of a request is written, though its answer came
    /// before. Gives back whether it is free.
    pub(super) async fn freed(&mut self) -> bool {
        let has_come_to_rest = |this: &mut Self, _: &mut Context<'_>| match this.protocol {
            Some(_) if !this.requests.is_ready() => Poll::Pending,
            Some(_) | None => Poll::Ready(()),
        };
        poll_fn(|context| self.poll_turns(context, has_come_to_rest)).await;
        self.left_free()
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
    ) -> Poll<T> {
        self.relay.attend(context.waker());
        let waker = self.waker.clone();
        let mut inner = Context::from_waker(&waker);
        for _ in 0..TURNS_MAX {
            self.relay.look();
            self.go_on(&mut inner);
            let polled = poll(self, &mut inner);
            if polled.is_ready() {
                self.relay.look_away();
                return polled;
            }
            if !self.relay.was_called() {
                return Poll::Pending;
            }
        }
        self.relay.look_away();
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends its use: nobody is woken for it any more. Gives back whether it was open and had nothing left to do when it
    /// was last looked at. If its app closes it after that, a request that it is given comes back unsent.
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
