//! One event through all its tries.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::mpsc;

use crate::doors::cli::send::courier::{Answer, Courier, Parcel};

/// How refusals are answered.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// The pauses between the tries of one event; none for one try only.
    pub pauses: &'static [Duration],
    /// The pauses are divided by this.
    pub speed: NonZeroU32,
    /// The one status that counts as accepted; any 2xx if there is none.
    pub accepted_status: Option<StatusCode>,
}

/// One try that has ended.
#[derive(Clone, Debug)]
pub struct Try {
    /// From 1.
    pub number: usize,
    /// What came back.
    pub answer: Answer,
    /// Whether the platform would count it as accepted.
    pub is_accepted: bool,
    /// The pause before the next try; absent after the last one.
    pub next_after: Option<Duration>,
}

// === impl Retries ===

impl Retries {
    /// Sends the parcel until it is accepted or the platform would give up, and tells each try.
    pub async fn deliver(self, courier: &Courier, parcel: &Parcel, tries: &mpsc::Sender<Try>) {
        let mut pauses = self.pauses.iter();
        for number in 1.. {
            let answer = courier.carry(parcel).await;
            let is_accepted = self.is_accepted(&answer);
            let pause = match is_accepted {
                true => None,
                false => pauses.next().map(|pause| *pause / self.speed.get()),
            };
            let ended = Try {
                number,
                answer,
                is_accepted,
                next_after: pause,
            };
            // Nobody listens any more only when the program ends.
            if tries.send(ended).await.is_err() {
                return;
            }
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return,
            }
        }
    }

    fn is_accepted(&self, answer: &Answer) -> bool {
        match (&answer.status, self.accepted_status) {
            (Ok(status), Some(accepted)) => *status == accepted,
            (Ok(status), None) => status.is_success(),
            (Err(_), _) => false,
        }
    }
}

// === impl Try ===

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.number > 1 || self.next_after.is_some() {
            write!(f, "try {}  ", self.number)?;
        }
        match &self.answer.status {
            Ok(status) => write!(f, "{}", status.as_u16())?,
            Err(problem) => write!(f, "no answer: {problem}")?,
        }
        if let Some(outcome) = &self.answer.outcome {
            write!(f, "  {outcome}")?;
        }
        write!(f, "  {:.1} ms", self.answer.took.as_secs_f64() * 1000.0)?;
        if let Some(pause) = self.next_after {
            write!(f, "  (again in {pause:.1?})")?;
        }
        Ok(())
    }
}
