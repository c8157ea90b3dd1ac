//! What is known of a connection that decides whether it may have to leave: what it has shown of itself, and
//! whether an event of its is at work.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It waits for a place of its client.
    Waiting,
    /// It has asked nothing, or its first request has not come to its end.
    Silent,
    /// Nothing that it asked was a new event.
    Refused,
    /// It brought a new event, which somebody who only listened cannot.
    Proven,
}

/// What decides who leaves.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// What it has shown of itself.
    pub standing: Standing,
    /// Since when; of one that is proven, since when nothing came from it.
    pub since: Instant,
    /// Whether it has a place of its client's.
    pub has_place: bool,
}

/// An event at work, until it is dropped.
pub struct Asking<'a>(&'a Seat);

struct State {
    /// Its place among its client's, until it brings an event: those have bounds of their own.
    held: Option<OwnedSemaphorePermit>,
    standing: Standing,
    going: usize,
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

    /// What would let it leave; `None` while an event of its is at work, and once it leaves.
    pub fn idle(&self) -> Option<Idle> {
        let state = self.state();
        (state.going == 0 && !state.leaves).then(|| Idle {
            standing: state.standing,
            since: state.since,
            has_place: state.held.is_some(),
        })
    }

    /// Has it leave, unless an event has begun meanwhile; whether it does.
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

    /// A request's head has come. Only who is proven is younger for it: others could stay for ever by asking.
    pub fn heard(&self) {
        let mut state = self.state();
        if state.standing == Standing::Proven {
            state.since = Instant::now();
        }
    }

    /// A request was refused.
    pub fn refused(&self) {
        self.state().falls();
    }

    /// A verified event begins; `None` where the connection has to leave.
    pub fn begin(&self) -> Option<Asking<'_>> {
        let mut state = self.state();
        if state.leaves {
            return None;
        }
        state.going += 1;
        state.held = None;
        Some(Asking(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// It asked something that was no new event.
    fn falls(&mut self) {
        if self.standing < Standing::Refused {
            self.standing = Standing::Refused;
            self.since = Instant::now();
        }
    }
}

// === impl Asking ===

impl Asking<'_> {
    /// The event is a new one.
    pub fn proven(&self) {
        self.0.state().standing = Standing::Proven;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.going -= 1;
        match state.standing {
            Standing::Proven => state.since = Instant::now(),
            Standing::Waiting | Standing::Silent | Standing::Refused => state.falls(),
        }
    }
}
