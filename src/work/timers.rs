//! Timers for waits that are hardly ever waited out, each used over and over.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::work::deadline::Deadline;

/// Timers that nobody uses at the moment.
#[derive(Default)]
pub struct Timers(Mutex<Vec<Deadline>>);

/// Timers that are kept; one more is dropped. As many waits as this at one time are already a slow disk. Until it next goes
/// off, which is within the limit that it was set to, a kept one knows who waited last, and may wake him for nothing.
const KEPT_MAX: usize = 256;

// === impl Timers ===

impl Timers {
    /// Waits for `work`, at most `limit`; `None` if it was not done by then, and is dropped.
    ///
    /// # Why
    /// Every settle is waited for, for a fraction of a millisecond. See [`Deadline`] for what a timer of its own costs.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut timer = None;
        let done = poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            let timer = timer.get_or_insert_with(|| self.take(limit));
            timer.poll(context).map(|()| None)
        });
        let done = done.await;
        if let Some(timer) = timer {
            self.put_back(timer);
        }
        done
    }

    fn take(&self, limit: Duration) -> Deadline {
        let mut timer = self.kept().pop().unwrap_or_else(Deadline::new);
        timer.set(Instant::now() + limit);
        timer
    }

    fn put_back(&self, timer: Deadline) {
        let mut kept = self.kept();
        if kept.len() < KEPT_MAX {
            kept.push(timer);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Deadline>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_work_or_at_its_limit_whatever_the_timer_was_used_for_before() {
        let timers = Timers::default();
        let second = Duration::from_secs(1);
        for limit in [5, 60, 1, 30] {
            let began = Instant::now();
            let waited = timers.within(limit * second, pending::<()>()).await;
            assert_eq!(waited, None);
            let took = began.elapsed();
            assert!(took >= limit * second, "{took:?}");
            assert!(took < limit * second + Duration::from_millis(2), "{took:?}");
            let work = async {
                tokio::time::sleep(limit * second - second / 2).await;
                7
            };
            assert_eq!(timers.within(limit * second, work).await, Some(7));
            assert_eq!(timers.kept().len(), 1);
        }
    }

    #[tokio::test]
    async fn what_is_done_at_once_takes_no_timer_and_hardly_more_are_kept_than_are_used() {
        let timers = Timers::default();
        assert_eq!(timers.within(Duration::ZERO, ready(1)).await, Some(1));
        assert_eq!(timers.kept().len(), 0);
        let taken: Vec<_> = (0..KEPT_MAX + 9)
            .map(|_| timers.take(Duration::ZERO))
            .collect();
        taken.into_iter().for_each(|timer| timers.put_back(timer));
        assert_eq!(timers.kept().len(), KEPT_MAX);
    }
}
