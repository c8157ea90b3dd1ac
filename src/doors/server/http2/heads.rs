//! What the heads of a connection take of the memory before they are decoded.
//!
//! Each stream that a peer opens is charged before its head reaches the library, for a head that is small on the
//! wire may be large once it is decoded. What was taken goes over to the request when it is asked, and ends with
//! its answer. Some heads never become a request, as the library refuses them by itself: what is left, once it has
//! taken in all that was passed on, is given back.
//!
//! # Why
//! What is not claimed is given back after each turn, and not kept for the next stream, because an idle connection
//! would then hold memory for each head that was ever refused on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::rules::client::ClientKey;
use crate::work::body::Held;
use crate::work::ingest::Gate;

/// What a stream takes besides its body, with a head that was small on the wire: measured 6 KiB with six fields, 16
/// with 57 of different names, and 50 with 450 of one name, which is as large as a list of fields may be.
pub(super) const STREAM_BYTES: u32 = 64 * 1024;

/// The heads of one connection; each clone is the same.
#[derive(Clone)]
pub(super) struct Heads(Arc<Shared>);

struct Shared {
    gate: Arc<Gate>,
    client: ClientKey,
    state: Mutex<State>,
    starved: Notify,
}

#[derive(Default)]
struct State {
    /// For heads that were passed on and are no request yet.
    passed: Vec<Held>,
    /// How many of them are still to come, where all others have become one or never will.
    to_come: Option<usize>,
}

// === impl Heads ===

impl Heads {
    /// Those of a connection with `client`.
    pub(super) fn new(gate: Arc<Gate>, client: ClientKey) -> Self {
        Self(Arc::new(Shared {
            gate,
            client,
            state: Mutex::default(),
            starved: Notify::new(),
        }))
    }

    /// Room for one more, if there is any.
    pub(super) fn try_hold(&self) -> Option<Held> {
        let shared = &self.0;
        shared.gate.bodies.try_hold(shared.client, STREAM_BYTES)
    }

    /// Waits for room for one more. After `head_time` the connection is starved, and it still waits.
    pub(super) async fn hold(self) -> Held {
        let shared = &self.0;
        let mut held = Box::pin(shared.gate.bodies.hold(shared.client, STREAM_BYTES));
        match timeout(shared.gate.limits.head_time, &mut held).await {
            Ok(held) => held,
            Err(_) => {
                shared.starved.notify_one();
                held.await
            }
        }
    }

    /// Returns once there was no room for a head in time.
    pub(super) async fn starved(&self) {
        self.0.starved.notified().await;
    }

    /// A head for which there is room is passed on.
    pub(super) fn passed(&self, held: Held) {
        self.state().passed.push(held);
    }

    /// Whether the library waits for more of the peer, and if so, whether for the rest of a head.
    pub(super) fn asked_for_more(&self, rest: Option<bool>) {
        self.state().to_come = rest.map(usize::from);
    }

    /// A head has become a request, which takes over what is held for it. `None` if nothing is held and there is
    /// no room.
    pub(super) fn claim(&self) -> Option<Held> {
        let held = self.state().passed.pop();
        held.or_else(|| self.try_hold())
    }

    /// Gives back what is held for heads that have not become a request in a turn of the connection and never will.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        let left = match state.to_come {
            Some(to_come) if to_come < state.passed.len() => state.passed.split_off(to_come),
            _ => return,
        };
        drop(state);
        drop(left);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
