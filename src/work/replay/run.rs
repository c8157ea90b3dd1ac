//! The runner: brings every replay to its end, each in a task of its own.
//!
//! A replay is gone through twice, in stretches of bounded length. The first time, from the newest to the
//! oldest, its events are counted and the stretches that hold some are noted, eight bytes for every
//! [`SCAN_MAX`] jobs. The second time, from the oldest to the newest, they are queued again. How far it is
//! is written after each batch: what was queued between the last writing and a crash is found queued, and
//! skipped.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::keepers::limit::Limiter;
use crate::keepers::log::Level;
use crate::keepers::store::StoreError;
use crate::keepers::store::jobs::{Changed, JobId, ReplayId};
use crate::rules::config::Quota;
use crate::rules::filter::EventState;
use crate::rules::reader::units::Rate;
use crate::work::listing::{Listed, Page, Scene, Stretch};
use crate::work::replay::{Replay, ReplayState, Replays, name};

/// Jobs that are looked at in one go.
pub const SCAN_MAX: usize = 1000;

/// Events that wait for one commit together.
const BATCH: u32 = 64;

/// After a store fault, or at a full queue, a replay goes on after this long.
const AGAIN: Duration = Duration::from_millis(250);

/// The longest a replay sleeps for its pace before it looks whether it was cancelled.
const NAP_MAX: Duration = Duration::from_millis(250);

/// The shortest.
const NAP_MIN: Duration = Duration::from_millis(1);

/// Where a route has no room for a replay, it goes on after this long: room comes with deliveries.
const ROOM_AGAIN: Duration = Duration::from_secs(2);

/// Why a replay is left where it is: it was cancelled, or the gateway stops.
struct Left;

/// What is done with one event.
enum Step {
    Requeue(JobId),
    Skip(JobId),
}

/// A stretch that holds events to replay.
#[derive(Clone, Copy)]
struct Segment {
    from: Option<JobId>,
    above: Option<JobId>,
}

// === impl Replays ===

impl Replays {
    /// Runs what there is to run until told to stop; then it is left as the store knows it.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut running: HashSet<u64> = HashSet::new();
        let mut tasks = JoinSet::new();
        while !*stop.borrow() {
            for (id, replay) in self.list() {
                if replay.is_running() && running.insert(id.0) {
                    let (replays, stop) = (Arc::clone(&self), stop.clone());
                    tasks.spawn(async move {
                        replays.play(id, stop).await;
                        id.0
                    });
                }
            }
            tokio::select! {
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                    Ok(number) => {
                        running.remove(&number);
                    }
                    // It stays among the running ones, so that it is not begun again before a restart.
                    Err(_) => self.gate.log.say(Level::Error, "a replay panicked; it goes on after a restart", &[]),
                },
                () = self.wake.notified() => {}
                _ = stop.changed() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn play(&self, id: ReplayId, stop: watch::Receiver<bool>) {
        let Some(replay) = self.find(id) else {
            return;
        };
        let course = Course {
            replays: self,
            id,
            stop,
            limiter: self.limiter(replay.rate),
            replay,
        };
        if course.run().await.is_ok() {
            self.end(id);
        }
    }

    fn end(&self, id: ReplayId) {
        let now = self.gate.clock.now();
        self.advance(id, |replay| {
            // What vanished between the counting and its turn was not replayed either.
            replay.matched = replay.matched.max(replay.replayed + replay.skipped);
            replay.skipped = replay.matched - replay.replayed;
            replay.state = ReplayState::Done;
            replay.ended_at = Some(now);
        });
        if let Some(replay) = self.find(id) {
            self.gate.log.say(
                Level::Info,
                "a replay is done",
                &[
                    ("replay", &name(id)),
                    ("replayed", &replay.replayed),
                    ("skipped", &replay.skipped),
                ],
            );
        }
        self.forget_old();
    }

    /// Changes a running replay, and writes it without waiting; `false` if it does not run any more.
    fn advance(&self, id: ReplayId, change: impl FnOnce(&mut Replay)) -> bool {
        let mut all = self.all();
        let Some(replay) = all.get_mut(&id.0).filter(|replay| replay.is_running()) else {
            return false;
        };
        change(replay);
        // Should it fail, the next one says the same and more.
        drop(self.put(id, replay));
        true
    }

    fn limiter(&self, rate: Rate) -> Limiter {
        let tenth = Duration::from_millis(100).as_nanos() * u128::from(rate.count.get());
        let burst = tenth / rate.per.as_nanos().max(1);
        let burst = u32::try_from(burst).unwrap_or(BATCH).clamp(1, BATCH);
        let quota = Quota {
            count: rate.count,
            per: rate.per,
            burst: burst.try_into().unwrap_or(std::num::NonZeroU32::MIN),
        };
        Limiter::new("replay".into(), quota, Arc::clone(&self.gate.clock))
    }
}

/// One replay on its way.
struct Course<'a> {
    replays: &'a Replays,
    id: ReplayId,
    stop: watch::Receiver<bool>,
    limiter: Limiter,
    /// As it was when the course began.
    replay: Replay,
}

impl Course<'_> {
    async fn run(&self) -> Result<(), Left> {
        if self.replay.upper.is_none() {
            return Ok(());
        }
        let mut segments = self.survey().await?;
        // The oldest first: the app sees events in the order in which they came.
        while let Some(segment) = segments.pop() {
            let steps = self.steps(segment).await?;
            self.take(steps).await?;
        }
        Ok(())
    }

    /// Counts the events, and finds the stretches that hold some, the newest first.
    async fn survey(&self) -> Result<Vec<Segment>, Left> {
        let mut segments = Vec::new();
        let mut matched = 0;
        let mut from = self.replay.upper;
        loop {
            let stretch = Segment {
                from,
                above: self.replay.done_to,
            };
            let page = self.look(stretch).await?;
            let found = page.events.iter().filter(|event| self.means(event)).count();
            if found > 0 {
                let above = page.next.or(self.replay.done_to);
                segments.push(Segment { from, above });
            }
            matched += found as u64;
            if !self.replay.is_counted {
                self.advance(|replay| replay.matched = matched)?;
            }
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        self.advance(|replay| replay.is_counted = true)?;
        Ok(segments)
    }

    /// What to do with the events of a stretch, the oldest first.
    async fn steps(&self, segment: Segment) -> Result<Vec<Step>, Left> {
        let page = self.look(segment).await?;
        let events = page.events.into_iter().rev();
        let step = |event: Listed| match event.has_route {
            true => Step::Requeue(event.job),
            false => Step::Skip(event.job),
        };
        let meant = events.filter(|event| self.means(event));
        Ok(meant.map(step).collect())
    }

    /// Does it, in batches and at the replay's pace.
    async fn take(&self, steps: Vec<Step>) -> Result<(), Left> {
        let mut steps = steps.into_iter().peekable();
        while steps.peek().is_some() {
            let (mut jobs, mut skipped, mut last) = (Vec::new(), 0, None);
            while let Some(step) = steps.peek() {
                match step {
                    Step::Skip(job) => {
                        skipped += 1;
                        last = Some(*job);
                    }
                    Step::Requeue(_) if jobs.len() >= BATCH as usize || !self.limiter.take() => {
                        break;
                    }
                    Step::Requeue(job) => {
                        jobs.push(*job);
                        last = Some(*job);
                    }
                }
                steps.next();
            }
            let replayed = self.requeue_all(&jobs).await?;
            skipped += jobs.len() as u64 - replayed;
            if last.is_none() {
                self.nap(self.limiter.standing().next_in.clamp(NAP_MIN, NAP_MAX))
                    .await?;
                continue;
            }
            self.advance(|replay| {
                replay.replayed += replayed;
                replay.skipped += skipped;
                replay.done_to = replay.done_to.max(last);
            })?;
        }
        Ok(())
    }

    /// Queues jobs again, all in one commit where the store can; gives back how many were.
    async fn requeue_all(&self, jobs: &[JobId]) -> Result<u64, Left> {
        let mut replayed = 0;
        let mut open = jobs.to_vec();
        while !open.is_empty() {
            let mut again = AGAIN;
            // All of them are with the store before the first is waited for.
            let requeuing: Vec<_> = open
                .drain(..)
                .map(|job| (job, self.replays.requeue(job)))
                .collect();
            for (job, changed) in requeuing {
                match changed.await {
                    Ok(Changed::Done { .. }) => replayed += 1,
                    Ok(Changed::Stale | Changed::Gone) => {}
                    Err(StoreError::Closed) => return Err(Left),
                    Ok(Changed::NoRoom) => {
                        again = ROOM_AGAIN;
                        open.push(job);
                    }
                    // Too much waits, or the store is down: the event's turn comes when it is not.
                    Err(
                        StoreError::Full
                        | StoreError::ShelfFull
                        | StoreError::NoSpace
                        | StoreError::Unavailable,
                    ) => open.push(job),
                }
            }
            self.replays.wake_workers();
            if !open.is_empty() {
                self.nap(again).await?;
            }
        }
        Ok(replayed)
    }

    async fn look(&self, segment: Segment) -> Result<Page, Left> {
        loop {
            let gate = Arc::clone(&self.replays.gate);
            let filter = self.replay.filter.clone();
            let walk = tokio::task::spawn_blocking(move || {
                let stretch = Stretch {
                    from: segment.from,
                    above: segment.above,
                    limit: SCAN_MAX,
                    scan_max: SCAN_MAX,
                    looks_at_all: false,
                };
                Scene::of(&gate).walk(&*gate.queue, &filter, stretch)
            });
            match walk.await.unwrap_or(Err(StoreError::Unavailable)) {
                Ok(page) => {
                    self.check()?;
                    return Ok(page);
                }
                Err(StoreError::Closed) => return Err(Left),
                Err(_) => self.nap(AGAIN).await?,
            }
        }
    }

    /// Whether the replay has anything to do with an event that its filter takes: it was delivered or given up
    /// when the replay was made, and not later, or it is parked.
    fn means(&self, event: &Listed) -> bool {
        let is_of_then = event.ended_at.is_none_or(|at| at <= self.replay.created_at);
        match event.state {
            EventState::Delivered | EventState::DeadLetter => is_of_then,
            EventState::Parked => true,
            EventState::Queued | EventState::InFlight => false,
        }
    }

    fn advance(&self, change: impl FnOnce(&mut Replay)) -> Result<(), Left> {
        let is_running = self.replays.advance(self.id, change);
        is_running.then_some(()).ok_or(Left)?;
        self.check()
    }

    async fn nap(&self, time: Duration) -> Result<(), Left> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => self.check(),
            _ = stop.wait_for(|stops| *stops) => Err(Left),
        }
    }

    fn check(&self) -> Result<(), Left> {
        let goes_on = !*self.stop.borrow()
            && self
                .replays
                .find(self.id)
                .is_some_and(|replay| replay.is_running());
        goes_on.then_some(()).ok_or(Left)
    }
}
