//! What is known of a connection that decides whether it may have to leave: what it has shown of itself, and
//! whether a request of its is at work.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use crate::rules::client::ClientKey;

/// A connection, as far as its place goes.
pub struct Seat {
    /// In the order of coming.
    pub number: u64,
    /// For whom it is counted.
    pub client: Option<ClientKey>,
    leave: Notify,
    state: Mutex<State>,
}

/// What a connection has shown of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a place of its client.
    Waiting,
    /// It has asked nothing.
    Silent,
    /// Nothing that it asked was accepted.
    Refused,
    /// An event of its was accepted.
    Proven,
}

/// A request at work, until it is dropped.
pub struct Asking<'a>(&'a Seat);

struct State {
    /// Its place among its client's.
    held: Option<OwnedSemaphorePermit>,
    standing: Standing,
    going: usize,
    /// Since when nothing has gone on.
    since: Instant,
    leaves: bool,
}

// === impl Seat ===

impl Seat {
    /// A connection that has just come.
    pub fn new(
        number: u64,
        client: Option<ClientKey>,
        standing: Standing,
        held: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            number,
            client,
            leave: Notify::new(),
            state: Mutex::new(State {
                held,
                standing,
                going: 0,
                since: Instant::now(),
                leaves: false,
            }),
        }
    }

    /// What it has shown of itself.
    pub fn standing(&self) -> Standing {
        self.state().standing
    }

    /// Its place among its client's has come; false where it has to leave all the same.
    pub fn settle(&self, held: OwnedSemaphorePermit) -> bool {
        let mut state = self.state();
        if !state.leaves {
            state.held = Some(held);
            state.standing = Standing::Silent;
            state.since = Instant::now();
        }
        !state.leaves
    }

    /// Since when it could have left; `None` while a request is at work, and once it leaves.
    pub fn idle_since(&self) -> Option<(Standing, Instant)> {
        let state = self.state();
        (state.going == 0 && !state.leaves).then_some((state.standing, state.since))
    }

    /// Has it leave, unless a request has begun meanwhile; whether it does.
    pub fn dismiss(&self) -> bool {
        let mut state = self.state();
        let may = state.going == 0 && !state.leaves;
        if may {
            state.leaves = true;
            // Its client's place is free at once for the one who waits.
            state.held = None;
            self.leave.notify_one();
        }
        may
    }

    /// Waits until it has to leave.
    pub async fn dismissed(&self) {
        self.leave.notified().await;
    }

    /// A request begins; `None` where the connection has to leave.
    pub fn begin(&self) -> Option<Asking<'_>> {
        let mut state = self.state();
        if state.leaves {
            return None;
        }
        if state.standing != Standing::Proven {
            state.standing = Standing::Refused;
        }
        state.going += 1;
        Some(Asking(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Asking ===

impl Asking<'_> {
    /// The request was accepted.
    pub fn proven(&self) {
        self.0.state().standing = Standing::Proven;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.going -= 1;
        state.since = Instant::now();
    }
}
