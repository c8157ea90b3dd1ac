//! Exact answers of the store, which may wait for the disk, for those who must not.
//!
//! # Why
//! Where the file is in memory an answer takes some ten microseconds, and to hand one question to another thread and
//! back takes more. So one reader takes up what is asked meanwhile, and tells all of it together. Where it does not get
//! on, because the disk is slow or hangs over a page, or where redb panics over one, nobody waits behind another's
//! question: each is then read by a thread of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::keepers::store::{Found, ShelfId, Store, StoreError};
use crate::words::identity::Keys;
use crate::words::time::Clock;

/// Questions about events, and the thread that answers them.
pub(super) struct Reads {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    asked: Mutex<Asked>,
    /// Places for those that are read by themselves.
    alone: Arc<Semaphore>,
}

#[derive(Default)]
struct Asked {
    questions: VecDeque<Question>,
    /// When those whose asker is gone were last swept out.
    swept: Option<Duration>,
    /// There is a reader, and since that running time it has been coming, or at what it reads.
    reader_since: Option<Duration>,
}

struct Question {
    event: (ShelfId, Keys),
    tell: oneshot::Sender<Answer>,
}

type Answer = Result<Found, StoreError>;

/// The thread that answers, from when it is asked for until it goes, however it goes.
struct Reader(Option<Arc<Reads>>);

/// Questions that the reader takes up together at most.
pub(super) const TOGETHER_MAX: usize = 32;
/// An asker looks after so long whether the reader gets on: whether what it is at was taken up less than that ago.
pub(super) const LATE: Duration = Duration::from_millis(10);
/// Who has waited for so long waits for the reader no more, even where it gets on.
pub(super) const TOO_LATE: Duration = Duration::from_millis(50);
/// So many are read by themselves at one time; others wait for the reader, or for a place.
pub(super) const ALONE_MAX: usize = 256;
/// So many questions wait for the reader; beyond it they are refused.
pub(super) const QUESTIONS_MAX: usize = 4096;

// === impl Reads ===

impl Reads {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            asked: Mutex::default(),
            alone: Arc::new(Semaphore::new(ALONE_MAX)),
        })
    }

    /// The exact answer about an event, however long it takes. Dropped before it was taken up, it is not read any more.
    ///
    /// # Errors
    /// As the store says; `Full` where too many ask already, `Unavailable` where the read breaks.
    pub(super) async fn look_up(self: &Arc<Self>, shelf: ShelfId, keys: Keys) -> Answer {
        let asked_at = self.clock.elapsed();
        let mut told = self.ask((shelf, keys), asked_at)?;
        loop {
            match timeout(LATE, &mut told).await {
                Ok(Ok(answer)) => return answer,
                // The reader broke, over this question or another.
                Ok(Err(_)) => return self.read_alone(shelf, keys).await,
                Err(_) if self.gets_on(asked_at) => {}
                Err(_) => break,
            }
        }
        tokio::select! {
            biased;
            Ok(answer) = told => answer,
            answer = self.read_alone(shelf, keys) => answer,
        }
    }

    /// Leaves a question to the reader, who is called if there is none.
    fn ask(
        self: &Arc<Self>,
        event: (ShelfId, Keys),
        now: Duration,
    ) -> Result<oneshot::Receiver<Answer>, StoreError> {
        let (tell, told) = oneshot::channel();
        let reader = {
            let mut asked = self.asked();
            if asked.questions.len() >= QUESTIONS_MAX {
                asked.sweep(now);
            }
            if asked.questions.len() >= QUESTIONS_MAX {
                return Err(StoreError::Full);
            }
            asked.questions.push_back(Question { event, tell });
            let is_missing = asked.reader_since.is_none();
            is_missing.then(|| {
                asked.reader_since = Some(now);
                Reader(Some(Arc::clone(self)))
            })
        };
        if let Some(reader) = reader {
            tokio::task::spawn_blocking(move || reader.run());
        }
        Ok(told)
    }

    /// Whether the reader may be waited for on, by somebody who asked at that running time.
    fn gets_on(&self, asked_at: Duration) -> bool {
        let since = self.asked().reader_since;
        let now = self.clock.elapsed();
        let is_at_it = since.is_some_and(|since| now.saturating_sub(since) < LATE);
        is_at_it && now.saturating_sub(asked_at) < TOO_LATE
    }

    /// The answer of a thread of its own, which does not begin any more once this is dropped.
    async fn read_alone(&self, shelf: ShelfId, keys: Keys) -> Answer {
        let place = Arc::clone(&self.alone).acquire_owned().await;
        let (store, now) = (Arc::clone(&self.store), self.clock.now());
        let mut reading = JoinSet::new();
        reading.spawn_blocking(move || {
            // Kept for as long as it reads, whether anybody waits for it or not.
            let _place = place;
            store.look_up(shelf, &keys, now)
        });
        let read = reading.join_next().await;
        read.and_then(Result::ok)
            .unwrap_or(Err(StoreError::Unavailable))
    }

    /// As if the reader had taken up just now what it is at.
    #[cfg(test)]
    pub(super) fn take_up_now(&self) {
        self.asked().reader_since = Some(self.clock.elapsed());
    }

    /// No change of it can be cut short by a panic, so a poisoned lock is taken all the same.
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next questions for the reader; where there are none there is no reader any more.
    fn take_up(&self) -> Vec<Question> {
        let mut asked = self.asked();
        let mut taken = Vec::new();
        while taken.len() < TOGETHER_MAX
            && let Some(question) = asked.questions.pop_front()
        {
            if question.is_open() {
                taken.push(question);
            }
        }
        asked.reader_since = (!taken.is_empty()).then(|| self.clock.elapsed());
        taken
    }
}

// === impl Asked ===

impl Asked {
    /// Forgets whose asker is gone. All are looked at, so not as often as somebody asks.
    fn sweep(&mut self, now: Duration) {
        let is_due = |swept: Duration| now.saturating_sub(swept) >= LATE;
        if self.swept.is_none_or(is_due) {
            self.questions.retain(Question::is_open);
            self.swept = Some(now);
        }
    }
}

// === impl Question ===

impl Question {
    /// Whether somebody waits for the answer.
    fn is_open(&self) -> bool {
        !self.tell.is_closed()
    }
}

// === impl Reader ===

impl Reader {
    fn run(mut self) {
        let mut taken = 0;
        while let Some(reads) = &self.0 {
            if taken < TOGETHER_MAX {
                // On a single core those who ask go on meanwhile, and ask more.
                std::thread::yield_now();
            }
            let questions = reads.take_up();
            taken = questions.len();
            if questions.is_empty() {
                // From here on another one may be there.
                self.0 = None;
                return;
            }
            let events: Vec<_> = questions.iter().map(|question| question.event).collect();
            let answers = reads.store.look_up_all(&events, reads.clock.now());
            for (question, answer) in questions.into_iter().zip(answers) {
                // Nobody may be waiting any more.
                let _ = question.tell.send(answer);
            }
        }
    }
}

/// It broke, or was never run. Those whose questions it held are told so by that; the others see that there is no reader.
impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(reads) = &self.0 {
            reads.asked().reader_since = None;
        }
    }
}
