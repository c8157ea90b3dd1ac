//! A clock that stands still until it is told otherwise.

use std::sync::Mutex;
use std::time::Duration;

use passgate::words::time::{Clock, Timestamp};

/// Wall and monotonic time, moved by hand.
pub struct HandClock {
    wall: Mutex<Timestamp>,
    elapsed: Mutex<Duration>,
}

impl HandClock {
    /// 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self {
            wall: Mutex::new(Timestamp::from_secs(1_767_225_600)),
            elapsed: Mutex::new(Duration::ZERO),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *self.elapsed.lock().unwrap() += by;
        let mut wall = self.wall.lock().unwrap();
        *wall = wall.after(by);
    }

    /// Sets the wall clock ahead, as a hand or a broken time server would.
    pub fn jump(&self, by: Duration) {
        let mut wall = self.wall.lock().unwrap();
        *wall = wall.after(by);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.wall.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().unwrap()
    }
}
