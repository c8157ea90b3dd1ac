//! While events come in, stored ones take turns: so many are begun, and no more before those are done with.
//!
//! A turn lasts from an attempt's beginning until its result is on disk, and [`TURN_TIME`] at the most: what then
//! still waits for a slow app, or a slow disk, costs the processor nothing and keeps nobody from his turn. So a slow
//! app has all of the route's `max_in_flight`, and stored events go on however many come in: the routes that have
//! something to deliver share [`TURNS`] for each thread of the runtime, and each has one at the least. After every
//! [`GROUP`] that a route begins, whatever else the runtime has to do is done once, which is where an event that
//! comes in overtakes. Once none has come in for [`CALM`], nothing is held back.
//!
//! # Why
//! A sender waits for an event that comes in, and nobody for one that is stored. An app that is back takes all that
//! the machine can give, and an event that came in then waited for two commits with some hundred results each,
//! and for the pauses in which they were gathered: these end once the runtime has nothing to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::work::running::Running;

/// Turns for each thread of the runtime, all routes together.
const TURNS: usize = 16;

/// The longest turn. It bounds what is held back: in this time no thread could do all the work of so many events, so
/// nothing waits for its turn while there is nothing else to do.
const TURN_TIME: Duration = Duration::from_millis(2);

/// So long after the last event came in, stored ones take no turns any more.
const CALM: Duration = Duration::from_secs(1);

/// Turns that are taken at once; then everybody else who has something to do goes first.
pub(super) const GROUP: usize = 4;

/// What the workers of all routes share.
#[derive(Debug)]
pub(super) struct Sharing {
    /// Turns of all routes together.
    turns: usize,
    /// Routes that have one or more.
    routes: AtomicUsize,
}

/// The turns of one worker.
pub(super) struct Turns {
    sharing: Arc<Sharing>,
    /// When each of them ends at the latest, by its number.
    taken: BTreeMap<u64, Duration>,
    /// The number of the last one.
    last: u64,
    /// Events that had come in when that was last looked at.
    come_in: u64,
    /// From then on nothing is held back.
    calm_from: Duration,
}

/// A turn, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn(u64);

// === impl Sharing ===

impl Sharing {
    /// For a runtime of so many threads.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            turns: threads.max(1).saturating_mul(TURNS),
            routes: AtomicUsize::new(0),
        }
    }

    /// How many turns a route may have, if it is one of those that have any.
    fn share(&self) -> usize {
        let routes = self.routes.load(Ordering::Relaxed).max(1);
        (self.turns / routes).max(1)
    }
}

// === impl Turns ===

impl Turns {
    /// None is taken.
    pub(super) fn new(sharing: Arc<Sharing>) -> Self {
        Self {
            sharing,
            taken: BTreeMap::new(),
            last: 0,
            come_in: 0,
            calm_from: Duration::ZERO,
        }
    }

    /// Looks whether events come in.
    pub(super) fn note(&mut self, running: &Running, now: Duration) {
        let come_in = running.begun();
        if come_in != self.come_in || running.count() > 0 {
            self.come_in = come_in;
            self.calm_from = now + CALM;
        }
    }

    /// Whether turns are taken, because events come in.
    pub(super) fn are_taken(&self, now: Duration) -> bool {
        now < self.calm_from
    }

    /// How long until there is a turn, if there is none now. One that ends earlier tells by the end of its attempt.
    pub(super) fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.end_old(now);
        if !self.are_taken(now) || self.taken.len() < self.sharing.share() {
            return None;
        }
        let first_end = self.taken.values().next()?;
        Some(first_end.saturating_sub(now))
    }

    /// An attempt begins. It is noted in a calm as well, for somebody may come in the next moment.
    pub(super) fn take(&mut self, now: Duration) -> Turn {
        self.change(|turns| {
            turns.last += 1;
            turns.taken.insert(turns.last, now + TURN_TIME);
        });
        Turn(self.last)
    }

    /// An attempt's result is on disk.
    pub(super) fn end(&mut self, turn: Turn) {
        self.change(|turns| {
            turns.taken.remove(&turn.0);
        });
    }

    fn end_old(&mut self, now: Duration) {
        self.change(|turns| {
            while let Some(first) = turns.taken.first_entry()
                && *first.get() <= now
            {
                first.remove();
            }
        });
    }

    /// Tells the others where this route begins or ceases to have turns.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let had_any = !self.taken.is_empty();
        change(self);
        match (had_any, !self.taken.is_empty()) {
            (false, true) => self.sharing.routes.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.sharing.routes.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => return,
        };
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.change(|turns| turns.taken.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    /// The turns of one route at a runtime of one thread, while an event is at work.
    fn turns(sharing: &Arc<Sharing>, running: &Running) -> Turns {
        let mut turns = Turns::new(Arc::clone(sharing));
        turns.note(running, NOW);
        turns
    }

    /// Takes what there is at a time.
    fn take_all(turns: &mut Turns, now: Duration) -> Vec<Turn> {
        let mut taken = Vec::new();
        while turns.wait(now).is_none() && taken.len() < 1_000 {
            taken.push(turns.take(now));
        }
        taken
    }

    #[test]
    fn a_turn_ends_with_its_result_or_when_its_time_is_over() {
        let (sharing, running) = (Arc::new(Sharing::new(1)), Running::new());
        let _at_work = running.begin();
        let mut turns = turns(&sharing, &running);
        let taken = take_all(&mut turns, NOW);
        assert_eq!(taken.len(), TURNS);
        assert_eq!(turns.wait(NOW), Some(TURN_TIME));
        for turn in &taken[2..5] {
            turns.end(*turn);
            turns.end(*turn);
        }
        let later = NOW + TURN_TIME / 2;
        assert_eq!(take_all(&mut turns, later).len(), 3);
        assert_eq!(turns.wait(later), Some(TURN_TIME / 2));
        assert_eq!(take_all(&mut turns, NOW + TURN_TIME).len(), TURNS - 3);
    }

    #[test]
    fn nothing_is_held_back_in_a_calm_and_what_it_began_counts_afterwards() {
        let (sharing, running) = (Arc::new(Sharing::new(1)), Running::new());
        let mut turns = turns(&sharing, &running);
        assert_eq!(take_all(&mut turns, NOW).len(), 1_000);
        drop(running.begin());
        turns.note(&running, NOW);
        assert_eq!(turns.wait(NOW), Some(TURN_TIME));
        let now = NOW + CALM - Duration::from_millis(1);
        turns.note(&running, now);
        assert_eq!(take_all(&mut turns, now).len(), TURNS);
        turns.note(&running, NOW + CALM);
        assert_eq!(take_all(&mut turns, NOW + CALM).len(), 1_000);
    }

    #[test]
    fn an_event_that_is_at_work_for_long_counts_until_its_end() {
        let (sharing, running) = (Arc::new(Sharing::new(1)), Running::new());
        let at_work = running.begin();
        let mut turns = turns(&sharing, &running);
        let now = NOW + CALM * 5;
        turns.note(&running, now);
        assert_eq!(take_all(&mut turns, now).len(), TURNS);
        drop(at_work);
        let now = now + CALM;
        turns.note(&running, now);
        assert_eq!(take_all(&mut turns, now).len(), 1_000);
    }

    #[test]
    fn routes_share_the_turns_and_none_of_them_is_without_one() {
        let (sharing, running) = (Arc::new(Sharing::new(2)), Running::new());
        let _at_work = running.begin();
        let mut first = turns(&sharing, &running);
        assert_eq!(take_all(&mut first, NOW).len(), 2 * TURNS);
        // What the first has is not taken from it, and ends soon.
        let mut second = turns(&sharing, &running);
        assert_eq!(take_all(&mut second, NOW).len(), TURNS);
        let later = NOW + TURN_TIME;
        assert_eq!(take_all(&mut first, later).len(), TURNS);
        let mut many: Vec<Turns> = (0..100).map(|_| turns(&sharing, &running)).collect();
        for other in &mut many {
            assert!(!take_all(other, later).is_empty());
        }
        drop((many, second));
        assert_eq!(take_all(&mut first, later).len(), TURNS);
    }
}
