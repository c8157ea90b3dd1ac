//! How much is stored for a route, as metrics and the operator see it.

use std::time::Duration;

use crate::rules::filter::EventState;

/// What a route's part of the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct QueueFigures {
    /// Events that wait.
    pub queued: u64,
    /// Events that are being attempted.
    pub in_flight: u64,
    /// Events that the app has.
    pub delivered: u64,
    /// Events that were given up.
    pub dead_letters: u64,
    /// Events that wait, but have no route.
    pub parked: u64,
    /// How long ago the oldest event was taken that is not ended.
    pub oldest: Duration,
}

// === impl QueueFigures ===

impl QueueFigures {
    /// Both together.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            queued: self.queued + other.queued,
            in_flight: self.in_flight + other.in_flight,
            delivered: self.delivered + other.delivered,
            dead_letters: self.dead_letters + other.dead_letters,
            parked: self.parked + other.parked,
            oldest: self.oldest.max(other.oldest),
        }
    }

    /// How many events are in `state`.
    pub const fn of(&self, state: EventState) -> u64 {
        match state {
            EventState::Queued => self.queued,
            EventState::InFlight => self.in_flight,
            EventState::Delivered => self.delivered,
            EventState::DeadLetter => self.dead_letters,
            EventState::Parked => self.parked,
        }
    }
}
