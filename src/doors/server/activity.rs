//! Whether anything is going on in a connection whose requests run side by side.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What goes on in a connection.
pub struct Activity(watch::Sender<State>);

/// Something that goes on, until it is dropped; nothing, if it began after the close.
pub struct Going(Option<watch::Sender<State>>);

#[derive(Clone, Copy)]
struct State {
    going: usize,
    /// When the last request ended; before the first, when the connection began.
    since: Instant,
    has_begun: bool,
    is_closed: bool,
}

// === impl Activity ===

impl Activity {
    /// Nothing goes on yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(State {
            going: 0,
            since: Instant::now(),
            has_begun: false,
            is_closed: false,
        }))
    }

    /// A request begins.
    pub fn begin(&self) -> Going {
        let counts = self.0.send_if_modified(|state| {
            if state.is_closed {
                return false;
            }
            state.going += 1;
            state.has_begun = true;
            true
        });
        Going(counts.then(|| self.0.clone()))
    }

    /// What begins from now on keeps nobody waiting.
    pub fn close(&self) {
        self.0.send_modify(|state| state.is_closed = true);
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
        if let Some(states) = &self.0 {
            states.send_modify(|state| {
                state.going -= 1;
                state.since = Instant::now();
            });
        }
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

    #[tokio::test(start_paused = true)]
    async fn what_begins_after_the_close_puts_off_nothing() {
        let activity = Activity::new();
        let counts = activity.begin();
        activity.close();
        let start = Instant::now();
        let busy = Duration::from_secs(30);
        let requests = async {
            for n in 0..1000 {
                let late = activity.begin();
                tokio::time::sleep(Duration::from_secs(1)).await;
                // Some of them never end.
                match n % 2 {
                    0 => drop(late),
                    _ => std::mem::forget(late),
                }
            }
        };
        tokio::spawn(async move {
            tokio::time::sleep(busy).await;
            drop(counts);
        });
        tokio::select! {
            () = activity.quiet(FIRST) => {}
            () = requests => panic!("it waits for what came late"),
        }
        assert_eq!(start.elapsed(), busy + FIRST);
    }
}
