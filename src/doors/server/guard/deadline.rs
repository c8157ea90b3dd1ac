//! A deadline of a socket: for what is awaited of a peer, or for a peer that does not take what it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A moment after which waiting is given up.
///
/// # Why
/// It is put off with every request, and hardly ever waited out. So the runtime's timer is left as it is where it
/// rings too early, and set anew when it has rung.
pub(super) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    /// `None` for never.
    at: Option<Instant>,
    /// How long a wait that is watched may take.
    patience: Duration,
}

// === impl Deadline ===

impl Deadline {
    /// Not set yet. A wait that is watched may take `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            sleep: Box::pin(tokio::time::sleep(patience)),
            at: None,
        }
    }

    /// Sets it to so long from now.
    pub(super) fn set(&mut self, from_now: Duration) {
        self.at = Some(Instant::now() + from_now);
    }

    /// Never, until it is set again.
    pub(super) fn clear(&mut self) {
        self.at = None;
    }

    /// Whether it has passed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if self.sleep.deadline() == at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(at);
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
        if self.at.is_none() {
            self.set(self.patience);
        }
        ready!(self.poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
