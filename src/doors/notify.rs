//! What a service manager is told over `NOTIFY_SOCKET`: ready, stopping, alive, and how long it should be
//! patient. Without that variable nothing is said.
//!
//! # Why
//! Words are sent by a thread of their own: a service manager that does not listen blocks who speaks to it,
//! and that must not be a gateway's runtime.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::keepers::log::{Level, Log};
use crate::keepers::store::{Health, Store};

/// Patience that is asked for at a time; it is asked for again long before it is over.
const EXTENSION: Duration = Duration::from_secs(30);

/// Words that wait to be sent; beyond it they are dropped.
const WAITING_MAX: usize = 16;

/// Tells the service manager. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    log: Log,
    /// `None` where there is no service manager.
    words: Option<SyncSender<String>>,
}

// === impl Notifier ===

impl Notifier {
    /// A way to the service manager, if there is one; complaints go into this log.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn new(log: Log) -> io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self { log, words: None });
        }
        let (words, said) = sync_channel(WAITING_MAX);
        let own = log.clone();
        std::thread::Builder::new()
            .name("passgate-notify".to_owned())
            .spawn(move || send_all(&said, &own))?;
        Ok(Self {
            log,
            words: Some(words),
        })
    }

    /// The gateway serves; after [`Notifier::reloading`] it serves as the new configuration says.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A new configuration is being read. Whatever comes of it, [`Notifier::ready`] must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            // In one message: without the time newer managers take the reload for a failed one.
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => complain(&self.log, &error),
        }
    }

    /// The gateway drains, which takes no longer than this.
    pub fn stopping(&self, within: Duration) {
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::Status("draining"),
            NotifyState::ExtendTimeoutUsec(micros(within)),
        ]);
    }

    /// The start takes long, for this reason, and goes on.
    pub fn still_starting(&self, status: &str) {
        self.tell(&[
            NotifyState::Status(status),
            NotifyState::ExtendTimeoutUsec(micros(EXTENSION)),
        ]);
    }

    /// Says that it is alive, for as long as its task lives and it is true. Does nothing where nobody asked.
    ///
    /// # Why
    /// That this runs at all shows that the runtime does. A store that is down opens itself anew, and a
    /// restart would do no more; a commit that hangs only a restart can end.
    pub async fn keep_alive(self, store: Arc<dyn Store>) {
        let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
        else {
            return;
        };
        loop {
            if is_alive(&store.health()) {
                self.tell(&[NotifyState::Watchdog]);
            }
            // A commit that hangs for a moment only must not be all that is seen within the interval.
            tokio::time::sleep(interval / 4).await;
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(words) = &self.words else {
            return;
        };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        // One that does not listen any more misses it.
        let _ = words.try_send(lines.join("\n"));
    }
}

/// Sends until nobody has anything to say any more.
fn send_all(words: &Receiver<String>, log: &Log) {
    for message in words {
        if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
            complain(log, &error);
        }
    }
}

fn complain(log: &Log, error: &io::Error) {
    log.say(
        Level::Warn,
        "the service manager cannot be told how it goes",
        &[("error", error)],
    );
}

fn is_alive(health: &Health) -> bool {
    match health {
        Health::Ready | Health::Down(_) | Health::Closed => true,
        Health::Stalled(_) => false,
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_said_with_its_time_in_one_message() {
        let log = Log::new(
            Box::new(io::sink()),
            crate::keepers::log::Format::Json,
            Arc::new(crate::words::time::SystemClock::new()),
        );
        let (words, said) = sync_channel(WAITING_MAX);
        let notifier = Notifier {
            log: log.unwrap(),
            words: Some(words),
        };
        notifier.reloading();
        notifier.ready("as before");
        let message = said.try_recv().unwrap();
        let (first, second) = message.split_once('\n').unwrap();
        assert_eq!(first, "RELOADING=1");
        let time = second.strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!(said.try_recv().unwrap(), "READY=1\nSTATUS=as before");
        // Beyond the bound nobody is held up.
        for _ in 0..=WAITING_MAX {
            notifier.ready("");
        }
        assert_eq!(said.try_iter().count(), WAITING_MAX);
    }

    #[test]
    fn only_a_store_that_hangs_is_worth_a_restart() {
        for (health, expected) in [
            (Health::Ready, true),
            (Health::Closed, true),
            (Health::Down("no disk".to_owned()), true),
            (Health::Stalled(Duration::from_secs(4)), false),
        ] {
            assert_eq!(is_alive(&health), expected, "{health:?}");
        }
    }
}
