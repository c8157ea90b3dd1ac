//! Watches what no request would tell of, and says it in the log: the store going down and coming back, a
//! disk without room, a clock that is not believed.

use std::sync::Arc;
use std::time::Duration;

use crate::keepers::log::Level;
use crate::keepers::store::Health;
use crate::work::ingest::Gate;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Watches for as long as its task lives.
pub async fn watch(gate: Arc<Gate>) {
    let mut trouble = None;
    let mut is_suspect = false;
    let mut is_low = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let store = gate.ledger.store();
        let now = trouble_of(&store.health());
        // What kind of trouble it is changes while it lasts; that it began and ended is what matters.
        match (&trouble, &now) {
            (None, Some(reason)) => gate.log.say(
                Level::Error,
                "the store cannot be used; new events are refused with 503 until it can",
                &[("reason", reason)],
            ),
            (Some(_), None) => gate
                .log
                .say(Level::Warn, "the store can be used again", &[]),
            (None, None) | (Some(_), Some(_)) => {}
        }
        trouble = now;
        let figures = store.statistics();
        let was_low = std::mem::replace(&mut is_low, figures.space_low);
        match (was_low, is_low) {
            (false, true) => gate.log.say(
                Level::Error,
                "the disk, or the limit on a file's size, leaves no room but the reserve; events that would be stored are refused with 503",
                &[],
            ),
            (true, false) => gate.log.say(Level::Warn, "the disk has room again", &[]),
            (false, false) | (true, true) => {}
        }
        let was_suspect = is_suspect;
        is_suspect = figures.clock_suspect;
        match (was_suspect, is_suspect) {
            (false, true) => gate.log.say(
                Level::Error,
                "the wall clock jumped and is not believed; until it is, nothing expires",
                &[],
            ),
            (true, false) => gate
                .log
                .say(Level::Warn, "the wall clock is believed again", &[]),
            (false, false) | (true, true) => {}
        }
    }
}

fn trouble_of(health: &Health) -> Option<String> {
    match health {
        Health::Ready | Health::Closed => None,
        Health::Down(reason) => Some(reason.clone()),
        Health::Stalled(since) => Some(format!("a commit hangs since {} s", since.as_secs())),
    }
}
