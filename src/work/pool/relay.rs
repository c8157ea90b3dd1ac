//! Passes on that a connection has something to do, to whoever uses it at the moment.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Where a connection's wake-ups go.
///
/// # Why
/// The two ends of an exchange wake each other over and over, and both are polled by the same task in the same
/// turn. What comes while it looks at them is looked at in that turn, and causes no further one.
#[derive(Default)]
pub(super) struct Relay {
    state: AtomicU8,
    /// The task that uses the connection; nobody is told of what happens to one that idles.
    task: Mutex<Option<Waker>>,
}

/// Nobody looks.
const AWAY: u8 = 0;
/// The task looks at the connection.
const LOOKING: u8 = 1;
/// It does, and there was a wake-up meanwhile.
const CALLED: u8 = 2;

// === impl Relay ===

impl Relay {
    /// From now on it is this task that uses the connection.
    pub(super) fn attend(&self, task: &Waker) {
        let mut kept = self.task();
        match &*kept {
            Some(kept) if kept.will_wake(task) => {}
            Some(_) | None => *kept = Some(task.clone()),
        }
    }

    /// Nobody uses it any more.
    pub(super) fn leave(&self) {
        *self.task() = None;
    }

    /// What comes from now on is kept back.
    pub(super) fn look(&self) {
        self.state.store(LOOKING, Ordering::Release);
    }

    /// Whether there was a wake-up since [`Relay::look`]. If there was none, the next one is passed on.
    pub(super) fn was_called(&self) -> bool {
        let ended = self
            .state
            .compare_exchange(LOOKING, AWAY, Ordering::AcqRel, Ordering::Acquire);
        ended.is_err()
    }

    /// Ends a look whatever came.
    pub(super) fn look_away(&self) {
        self.state.store(AWAY, Ordering::Release);
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let called =
            self.state
                .compare_exchange(LOOKING, CALLED, Ordering::AcqRel, Ordering::Acquire);
        match called {
            Ok(_) | Err(CALLED) => {}
            Err(_) => {
                if let Some(task) = &*self.task() {
                    task.wake_by_ref();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_comes_during_a_look_is_told_at_its_end_and_anything_else_to_the_task() {
        let (relay, counted) = (Arc::new(Relay::default()), Arc::new(Counted::default()));
        let waker = Waker::from(Arc::clone(&relay));
        // Nobody attends.
        waker.wake_by_ref();
        relay.attend(&Waker::from(Arc::clone(&counted)));
        waker.wake_by_ref();
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);

        relay.look();
        assert!(!relay.was_called());
        waker.wake_by_ref();
        assert_eq!(counted.0.load(Ordering::Relaxed), 2);

        relay.look();
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert!(relay.was_called());
        assert_eq!(counted.0.load(Ordering::Relaxed), 2);
        relay.look();
        assert!(!relay.was_called());

        relay.leave();
        waker.wake_by_ref();
        assert_eq!(counted.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn no_call_is_lost_between_the_end_of_a_look_and_the_next_turn() {
        let (relay, counted) = (Arc::new(Relay::default()), Arc::new(Counted::default()));
        relay.attend(&Waker::from(Arc::clone(&counted)));
        let waker = Waker::from(Arc::clone(&relay));
        for _ in 0..2_000 {
            counted.0.store(0, Ordering::Relaxed);
            relay.look();
            let was_called = std::thread::scope(|scope| {
                scope.spawn(|| waker.wake_by_ref());
                relay.was_called()
            });
            // It came before the end of the look or after it.
            let told = counted.0.load(Ordering::Relaxed);
            assert_eq!(usize::from(was_called) + told, 1);
            relay.look_away();
        }
    }
}
