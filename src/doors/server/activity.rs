//! Whether anything is going on in a connection whose requests run side by side.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What goes on in a connection.
pub struct Activity(watch::Sender<State>);

/// Something that goes on, until it is dropped.
pub struct Going(watch::Sender<State>);

#[derive(Clone, Copy)]
struct State {
    going: usize,
    /// When the last request ended; before the first, when the connection began.
    since: Instant,
    has_begun: bool,
}

// === impl Activity ===

impl Activity {
    /// Nothing goes on yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(State {
            going: 0,
            since: Instant::now(),
            has_begun: false,
        }))
    }

    /// A request begins.
    pub fn begin(&self) -> Going {
        self.0.send_modify(|state| {
            state.going += 1;
            state.has_begun = true;
        });
        Going(self.0.clone())
    }

    /// Waits until nothing has gone on for so long: `first` before the first request, `then` after each.
    pub async fn idle(&self, first: Duration, then: Duration) {
        let mut states = self.0.subscribe();
        loop {
            let state = *states.borrow_and_update();
            let patience = if state.has_begun { then } else { first };
            let idle = async {
                match state.going {
                    0 => sleep_until(state.since + patience).await,
                    _ => pending().await,
                }
            };
            tokio::select! {
                () = idle => return,
                // The sender is our own, so there is always another state to come.
                _ = states.changed() => {}
            }
        }
    }

    /// The same, counted from now.
    pub async fn quiet(&self, patience: Duration) {
        self.0.send_modify(|state| state.since = Instant::now());
        self.idle(patience, patience).await;
    }
}

// === impl Going ===

impl Drop for Going {
    fn drop(&mut self) {
        self.0.send_modify(|state| {
            state.going -= 1;
            state.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const THEN: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn it_is_idle_after_a_while_without_requests_and_not_before() {
        let activity = Activity::new();
        let start = Instant::now();
        activity.idle(FIRST, THEN).await;
        assert_eq!(start.elapsed(), FIRST);
        let one = activity.begin();
        let two = activity.begin();
        let busy = Duration::from_secs(1000);
        let still_going = async {
            tokio::time::sleep(busy).await;
            drop(one);
            tokio::time::sleep(busy).await;
            drop(two);
        };
        let start = Instant::now();
        tokio::join!(still_going, activity.idle(FIRST, THEN));
        assert_eq!(start.elapsed(), busy * 2 + THEN);
        let start = Instant::now();
        activity.quiet(FIRST).await;
        assert_eq!(start.elapsed(), FIRST);
    }
}
