//! A deadline of a socket: for what is awaited of a peer, or for a peer that does not take what it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A moment after which waiting is given up.
pub(super) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    is_set: bool,
    /// How long a wait that is watched may take.
    patience: Duration,
}

// === impl Deadline ===

impl Deadline {
    /// Not set yet. A wait that is watched may take `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            is_set: false,
        }
    }

    /// Sets it to so long from now.
    pub(super) fn set(&mut self, from_now: Duration) {
        self.sleep.as_mut().reset(Instant::now() + from_now);
        self.is_set = true;
    }

    /// Never, until it is set again.
    pub(super) fn clear(&mut self) {
        self.is_set = false;
    }

    /// Whether it has passed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.is_set {
            true => self.sleep.as_mut().poll(context),
            false => Poll::Pending,
        }
    }

    /// Starts with the first write that has to wait, and ends with the first that has not.
    pub(super) fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.clear();
            return polled;
        }
        if !self.is_set {
            self.set(self.patience);
        }
        ready!(self.poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
