//! When something that is hardly ever waited out is given up: an exchange over a connection, or a settle.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A moment that moves on with every wait, and a timer that does not.
///
/// # Why
/// A timer for each wait is put into the runtime's wheel and taken out again, for some 900 instructions, and hardly
/// ever goes off. This one stays in the wheel while waits come and go. It goes off too early then, once in the
/// time that one of them may take, and is put off until the one that is under way has to end.
pub(super) struct Deadline {
    until: Instant,
    timer: Pin<Box<Sleep>>,
}

// === impl Deadline ===

impl Deadline {
    /// One that has passed.
    pub(super) fn new() -> Self {
        let until = Instant::now();
        Self {
            until,
            timer: Box::pin(sleep_until(until)),
        }
    }

    /// Moves it.
    pub(super) fn set(&mut self, until: Instant) {
        self.until = until;
        if until < self.timer.deadline() {
            self.timer.as_mut().reset(until);
        }
    }

    /// Whether it has passed, even if the task that asks has had its share of the time.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Twice at most, since from then on the timer goes off in time. The runtime says of no timer that it has gone
        // off to a task that has done much in its turn: a connection that always has something more would never end.
        while pin!(unconstrained(self.timer.as_mut()))
            .poll(context)
            .is_ready()
        {
            if self.timer.deadline() >= self.until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.until);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_passes_at_its_moment_wherever_it_was_before() {
        let mut deadline = Deadline::new();
        // Later, sooner, when it has passed, and once more at the same moment.
        for after in [5, 9, 2, 1, 0, 30] {
            // Waited for, but not to the end.
            let began = Instant::now();
            deadline.set(began + Duration::from_secs(after + 4));
            let polled = poll_fn(|context| Poll::Ready(deadline.poll(context))).await;
            assert!(polled.is_pending());
            deadline.set(began + Duration::from_secs(after));
            poll_fn(|context| deadline.poll(context)).await;
            let took = began.elapsed();
            let expected = Duration::from_secs(after);
            assert!(
                took >= expected && took < expected + Duration::from_millis(2),
                "{took:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_passes_for_a_task_that_has_had_its_share_of_the_time() {
        let mut deadline = Deadline::new();
        tokio::time::sleep(Duration::from_millis(5)).await;
        poll_fn(|context| {
            let shares = (0..10_000).map(|_| pin!(tokio::task::consume_budget()).poll(context));
            assert!(shares.into_iter().any(|share| share.is_pending()));
            assert!(deadline.poll(context).is_ready());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn exchanges_that_end_in_time_put_it_off() {
        let mut deadline = Deadline::new();
        let began = Instant::now();
        for second in 0..30 {
            deadline.set(began + Duration::from_secs(second + 3));
            let waiting = poll_fn(|context| deadline.poll(context));
            let waited = tokio::time::timeout_at(began + Duration::from_secs(second + 1), waiting);
            assert!(waited.await.is_err(), "it passed in second {second}");
        }
        poll_fn(|context| deadline.poll(context)).await;
        assert_eq!(began.elapsed().as_secs(), 32);
    }
}
