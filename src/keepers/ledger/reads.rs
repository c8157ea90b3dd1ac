//! Exact answers of the store, which may wait for the disk, for those who must not.
//!
//! # Why
//! Where the file is in memory an answer takes some ten microseconds, and to hand one question to another thread and
//! back takes more. So a reader takes up what is asked meanwhile and tells all of it together, and there is another one
//! only where more waits than those who read are about to take up. A disk that is slow makes each take up less, and so
//! makes more of them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::keepers::store::{Found, ShelfId, Store, StoreError};
use crate::words::identity::Keys;
use crate::words::time::Clock;

/// Questions about events, and the threads that answer them.
pub(super) struct Reads {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    asked: Mutex<Asked>,
}

/// What waits, and who is at it.
struct Asked {
    questions: VecDeque<Question>,
    readers: usize,
    /// Questions that a reader takes up together.
    together: usize,
}

struct Question {
    event: (ShelfId, Keys),
    tell: oneshot::Sender<Answer>,
}

type Answer = Result<Found, StoreError>;

/// A thread that answers. It counts until nothing waits or it is dropped, however that comes.
struct Reader {
    reads: Arc<Reads>,
    counts: bool,
}

/// Questions that a reader takes up together at most.
pub(super) const TOGETHER_MAX: usize = 32;
/// What those who wait for the last of them may lose by it.
const TOGETHER_TIME: Duration = Duration::from_millis(2);
/// So many read at one time.
pub(super) const READERS_MAX: usize = 16;
/// So many questions wait; beyond it they are refused.
pub(super) const QUESTIONS_MAX: usize = 4096;

// === impl Reads ===

impl Reads {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let asked = Asked {
            questions: VecDeque::new(),
            readers: 0,
            together: TOGETHER_MAX,
        };
        Arc::new(Self {
            store,
            clock,
            asked: Mutex::new(asked),
        })
    }

    /// The exact answer about an event, however long it takes. Dropped, it is read no more.
    ///
    /// # Errors
    /// As the store says; `Full` where too many ask already.
    pub(super) async fn look_up(self: &Arc<Self>, shelf: ShelfId, keys: Keys) -> Answer {
        let (tell, told) = oneshot::channel();
        let reader = {
            let mut asked = self.asked();
            if asked.questions.len() >= QUESTIONS_MAX {
                return Err(StoreError::Full);
            }
            let event = (shelf, keys);
            asked.questions.push_back(Question { event, tell });
            asked.wants_reader().then(|| {
                asked.readers += 1;
                Reader {
                    reads: Arc::clone(self),
                    counts: true,
                }
            })
        };
        if let Some(reader) = reader {
            tokio::task::spawn_blocking(move || reader.run());
        }
        told.await.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Those who read, or are about to.
    #[cfg(test)]
    pub(super) fn readers(&self) -> usize {
        self.asked().readers
    }

    /// No change of it can be cut short by a panic, so a poisoned lock is taken all the same.
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers to what was asked together. The file may be damaged so that a read panics; then each is read for itself,
    /// and only those that panic have no answer.
    fn read(&self, events: &[(ShelfId, Keys)]) -> Vec<Answer> {
        let now = self.clock.now();
        let all = |events: &[_]| {
            catch_unwind(AssertUnwindSafe(|| self.store.look_up_all(events, now))).ok()
        };
        all(events).unwrap_or_else(|| {
            let alone =
                |event| all(std::slice::from_ref(event)).and_then(|mut answers| answers.pop());
            let or_none = |event| alone(event).unwrap_or(Err(StoreError::Unavailable));
            events.iter().map(or_none).collect()
        })
    }
}

// === impl Asked ===

impl Asked {
    /// Whether more waits than those who read take up next.
    fn wants_reader(&self) -> bool {
        self.readers < READERS_MAX && self.questions.len() > self.readers * self.together
    }

    /// Notes how long a reader took for so many.
    fn took(&mut self, questions: usize, time: Duration) {
        if time > TOGETHER_TIME {
            self.together = (questions / 2).clamp(1, self.together);
        } else if questions == self.together {
            self.together = (self.together * 2).min(TOGETHER_MAX);
        }
    }
}

// === impl Reader ===

impl Reader {
    fn run(mut self) {
        // On a single core whoever asks goes on meanwhile, and asks more.
        std::thread::yield_now();
        while let Some(questions) = self.take_up() {
            let events: Vec<_> = questions.iter().map(|question| question.event).collect();
            let began = self.reads.clock.elapsed();
            let answers = self.reads.read(&events);
            let time = self.reads.clock.elapsed().saturating_sub(began);
            self.reads.asked().took(events.len(), time);
            for (question, answer) in questions.into_iter().zip(answers) {
                // Nobody may be waiting any more.
                let _ = question.tell.send(answer);
            }
            std::thread::yield_now();
        }
    }

    /// The next questions; where there are none, this reader counts no longer.
    fn take_up(&mut self) -> Option<Vec<Question>> {
        let mut asked = self.reads.asked();
        let mut taken = Vec::new();
        while taken.len() < asked.together
            && let Some(question) = asked.questions.pop_front()
        {
            // Whoever asked may be gone.
            if !question.tell.is_closed() {
                taken.push(question);
            }
        }
        if taken.is_empty() {
            asked.readers -= 1;
            self.counts = false;
            return None;
        }
        Some(taken)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.counts {
            self.reads.asked().readers -= 1;
        }
    }
}
