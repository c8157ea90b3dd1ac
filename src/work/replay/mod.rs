//! Replays: events that an operator sends to the app again.
//!
//! One event is queued again at once. A filter becomes a [`Replay`]: a row in the store that says how far it
//! is, so that it goes on after a restart, and a task that queues its events again, the oldest first, at its
//! own pace. It goes past the dedupe, and the route's worker does the rest as with any queued event: quota,
//! breaker, retries, the same idempotency key.
//!
//! # Why
//! A filter is a snapshot: the newest job is fixed when the replay is made, each job is looked at once, and one
//! that ended later is passed over. So neither events that come in meanwhile are replayed, nor those that are
//! given up meanwhile, nor one twice that fails again.

mod row;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::keepers::log::Level;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{Change, Changed, JobId, ReplayId, Selection};
use crate::keepers::store::pending::Pending;
use crate::rules::filter::Filter;
use crate::rules::reader::units::Rate;
use crate::words::time::Timestamp;
use crate::work::ingest::Gate;

/// Replays that run at one time; each holds up to `run::SCAN_MAX` job numbers.
pub const RUNNING_MAX: usize = 16;

/// Replays that have ended and can still be asked about.
pub const ENDED_MAX: usize = 100;

/// The pace where neither the operator nor a quota says one.
pub const RATE_DEFAULT: Rate = Rate {
    count: NonZeroU32::new(50).unwrap(),
    per: Duration::from_secs(1),
};

/// A replay of all events that a filter takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Which events.
    pub filter: Filter,
    /// How fast they are queued again.
    pub rate: Rate,
    /// Whether it goes on.
    pub state: ReplayState,
    /// Events that the filter took when it was counted.
    pub matched: u64,
    /// Events that were queued again.
    pub replayed: u64,
    /// Events that were not: their route is not configured, or they were gone or queued already.
    pub skipped: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The newest job it looks at; `None` where there was none.
    upper: Option<JobId>,
    /// Every job up to this one was looked at.
    done_to: Option<JobId>,
    is_counted: bool,
}

/// Whether a replay goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// It goes on, also after a restart.
    Running,
    /// Every event was looked at.
    Done,
    /// The operator ended it; what was queued by then is delivered.
    Cancelled,
}

/// Why a replay is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// [`RUNNING_MAX`] are running.
    TooMany,
    /// The store cannot be read or written.
    Store(StoreError),
}

/// Why a replay is not cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCancelled {
    /// There is none of this id.
    Unknown,
    /// It was done before.
    Done,
    /// The store cannot be written.
    Store(StoreError),
}

/// All replays.
pub struct Replays {
    gate: Arc<Gate>,
    all: Mutex<BTreeMap<u64, Replay>>,
    /// Told when there is a new one, or one less to go on with.
    wake: Notify,
}

// === impl Replays ===

impl Replays {
    /// The replays that the store knows of. Blocking.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(gate: Arc<Gate>) -> Result<Arc<Self>, StoreError> {
        let mut all = BTreeMap::new();
        for (ReplayId(number), bytes) in gate.queue.replays()? {
            match Replay::decode(&bytes) {
                Ok(replay) => {
                    all.insert(number, replay);
                }
                Err(_) => gate.log.say(
                    Level::Error,
                    "a replay in the store cannot be read and is left alone",
                    &[("replay", &name(ReplayId(number)))],
                ),
            }
        }
        Ok(Arc::new(Self {
            gate,
            all: Mutex::new(all),
            wake: Notify::new(),
        }))
    }

    /// Makes a replay of what `filter` takes now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn create(
        &self,
        filter: Filter,
        rate: Option<Rate>,
    ) -> Result<(ReplayId, Replay), NotMade> {
        let queue = Arc::clone(&self.gate.queue);
        let newest = tokio::task::spawn_blocking(move || {
            let mut newest = None;
            queue.walk(None, Selection::ALL, 1, &mut |view| {
                newest = Some(view.info.id);
                ControlFlow::Break(())
            })?;
            Ok(newest)
        });
        let upper = newest.await.unwrap_or(Err(StoreError::Unavailable));
        let replay = Replay {
            rate: rate.unwrap_or_else(|| self.usual_rate(&filter)),
            filter,
            state: ReplayState::Running,
            matched: 0,
            replayed: 0,
            skipped: 0,
            created_at: self.gate.clock.now(),
            ended_at: None,
            upper: upper.map_err(NotMade::Store)?,
            done_to: None,
            is_counted: false,
        };
        let (id, written) = {
            let mut all = self.all();
            let running = all.values().filter(|replay| replay.is_running()).count();
            if running >= RUNNING_MAX {
                return Err(NotMade::TooMany);
            }
            let id = self.new_id(&all);
            all.insert(id.0, replay.clone());
            (id, self.put(id, &replay))
        };
        if let Err(error) = self.gate.synced(written).await {
            // Perhaps it is on disk all the same; nobody was promised that it is not.
            self.all().remove(&id.0);
            self.remove(id);
            return Err(NotMade::Store(error));
        }
        self.wake.notify_one();
        Ok((id, replay))
    }

    /// Every replay, the newest first.
    pub fn list(&self) -> Vec<(ReplayId, Replay)> {
        let all = self.all();
        let newest_first = all.iter().rev();
        newest_first
            .map(|(number, replay)| (ReplayId(*number), replay.clone()))
            .collect()
    }

    /// One of them.
    pub fn find(&self, ReplayId(number): ReplayId) -> Option<Replay> {
        self.all().get(&number).cloned()
    }

    /// Ends a replay; what was queued by then is delivered all the same.
    ///
    /// # Errors
    /// Why it goes on, or had ended.
    pub async fn cancel(&self, id: ReplayId) -> Result<Replay, NotCancelled> {
        let (replay, written) = {
            let mut all = self.all();
            let replay = all.get_mut(&id.0).ok_or(NotCancelled::Unknown)?;
            match replay.state {
                ReplayState::Done => return Err(NotCancelled::Done),
                ReplayState::Cancelled => {}
                ReplayState::Running => {
                    replay.state = ReplayState::Cancelled;
                    replay.ended_at = Some(self.gate.clock.now());
                }
            }
            (replay.clone(), self.put(id, replay))
        };
        self.wake.notify_one();
        self.forget_old();
        let written = self.gate.synced(written).await;
        written.map_err(NotCancelled::Store)?;
        Ok(replay)
    }

    /// Queues one event again with the store's next commit; what is given back only waits for that.
    pub fn requeue(&self, job: JobId) -> impl Future<Output = Result<Changed, StoreError>> + use<> {
        let due = self.gate.clock.now();
        let (done, changed) = Pending::new();
        self.gate
            .queue
            .change(job, Change::Requeue { due }, Box::new(done));
        let gate = Arc::clone(&self.gate);
        async move { gate.synced(changed).await }
    }

    /// Has the workers look at what was queued.
    pub fn wake_workers(&self) {
        for route in self.gate.snapshot.load().routes.iter() {
            route.wake.notify_one();
        }
    }

    /// The pace of the route that is asked for, where it has one.
    fn usual_rate(&self, filter: &Filter) -> Rate {
        let name = filter.route.as_deref();
        let snapshot = self.gate.snapshot.load();
        let mut routes = snapshot.routes.iter();
        let route = routes.find(|route| Some(&*route.config.name) == name);
        let quota = route.and_then(|route| route.config.quota);
        quota.map_or(RATE_DEFAULT, |quota| Rate {
            count: quota.count,
            per: quota.per,
        })
    }

    /// Ids ascend with time, so that the newest is the last in the store as well.
    fn new_id(&self, all: &BTreeMap<u64, Replay>) -> ReplayId {
        let millis = u64::try_from(self.gate.clock.now().as_millis()).unwrap_or(0);
        let after_last = all.keys().next_back().map_or(0, |last| last + 1);
        ReplayId(after_last.max(millis << 16 | u64::from(fastrand::u16(..))))
    }

    /// Writes a row. Called while the map is held, so that rows reach the store in order.
    fn put(&self, id: ReplayId, replay: &Replay) -> Pending<()> {
        let (done, written) = Pending::new();
        self.gate
            .queue
            .put_replay(id, replay.encode().into(), Box::new(done));
        written
    }

    /// A row that stays on disk for now is found and forgotten after a restart.
    fn remove(&self, id: ReplayId) {
        self.gate.queue.remove_replay(id, Box::new(|_| {}));
    }

    /// Forgets the oldest of those that have ended.
    fn forget_old(&self) {
        let mut all = self.all();
        let ended: Vec<u64> = all
            .iter()
            .filter(|(_, replay)| !replay.is_running())
            .map(|(number, _)| *number)
            .collect();
        let surplus = ended.len().saturating_sub(ENDED_MAX);
        for number in ended.into_iter().take(surplus) {
            all.remove(&number);
            self.remove(ReplayId(number));
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Replay>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Replay ===

impl Replay {
    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        self.state == ReplayState::Running
    }
}

// === impl ReplayState ===

impl ReplayState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Running, Self::Done, Self::Cancelled];

    /// The state as the admin API says it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What the operator knows a replay by.
pub fn name(ReplayId(number): ReplayId) -> String {
    format!("rpl_{number:016x}")
}

/// The replay that is known by this name.
pub fn from_name(text: &str) -> Option<ReplayId> {
    let number = u64::from_str_radix(text.strip_prefix("rpl_")?, 16).ok()?;
    // Only one way of writing it is right.
    (name(ReplayId(number)) == text).then_some(ReplayId(number))
}

impl fmt::Display for NotMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "{RUNNING_MAX} replays are running already"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotMade {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_reads_back(number in any::<u64>()) {
            prop_assert_eq!(from_name(&name(ReplayId(number))), Some(ReplayId(number)));
        }

        #[test]
        fn any_text_names_one_or_none(text in "(rpl_)?[0-9a-fA-F+]{0,17}|.{0,30}") {
            if let Some(id) = from_name(&text) {
                prop_assert_eq!(name(id), text);
            }
        }
    }
}
