//! A replay as it is stored. It begins with a version, so that a later release reads what an earlier one
//! wrote.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keepers::store::jobs::JobId;
use crate::rules::filter::Filter;
use crate::rules::reader::units::Rate;
use crate::words::time::Timestamp;
use crate::work::replay::{Replay, ReplayState};

/// A stored replay that cannot be read: damaged, or from a later release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

#[derive(Serialize, Deserialize)]
struct Row {
    filter: Vec<(String, String)>,
    rate_count: NonZeroU32,
    rate_per: Duration,
    state: u8,
    matched: u64,
    replayed: u64,
    skipped: u64,
    created_ms: i64,
    ended_ms: Option<i64>,
    upper: Option<u64>,
    done_to: Option<u64>,
    is_counted: bool,
}

/// The version that is written.
const VERSION: u8 = 1;

// === impl Replay ===

impl Replay {
    /// The stored form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let parameters = self.filter.parameters().into_iter();
        let row = Row {
            filter: parameters
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            rate_count: self.rate.count,
            rate_per: self.rate.per,
            state: code(self.state),
            matched: self.matched,
            replayed: self.replayed,
            skipped: self.skipped,
            created_ms: self.created_at.as_millis(),
            ended_ms: self.ended_at.map(Timestamp::as_millis),
            upper: self.upper.map(JobId::number),
            done_to: self.done_to.map(JobId::number),
            is_counted: self.is_counted,
        };
        // Only a sequence of unknown length could fail, and there is none.
        postcard::to_extend(&row, vec![VERSION]).unwrap_or_default()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Unreadable`], whatever the bytes are.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let row: Row = match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| Unreadable)?,
            Some(_) | None => return Err(Unreadable),
        };
        let mut filter = Filter::default();
        for (name, value) in &row.filter {
            filter.set(name, value).map_err(|_| Unreadable)?;
        }
        let mut states = ReplayState::ALL.into_iter();
        Ok(Self {
            filter,
            rate: Rate {
                count: row.rate_count,
                per: row.rate_per,
            },
            state: states
                .find(|state| code(*state) == row.state)
                .ok_or(Unreadable)?,
            matched: row.matched,
            replayed: row.replayed,
            skipped: row.skipped,
            created_at: Timestamp::from_millis(row.created_ms),
            ended_at: row.ended_ms.map(Timestamp::from_millis),
            upper: row.upper.map(JobId::from_number),
            done_to: row.done_to.map(JobId::from_number),
            is_counted: row.is_counted,
        })
    }
}

/// The number a state is stored as; it never changes.
const fn code(state: ReplayState) -> u8 {
    match state {
        ReplayState::Running => 1,
        ReplayState::Done => 2,
        ReplayState::Cancelled => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replay() -> Replay {
        let mut filter = Filter::default();
        filter.set("route", "walletwerk").unwrap();
        filter.set("since", "2026-01-01T00:00:00.5Z").unwrap();
        Replay {
            filter,
            rate: Rate {
                count: NonZeroU32::MIN,
                per: Duration::from_secs(60),
            },
            state: ReplayState::Running,
            matched: 9,
            replayed: 4,
            skipped: 1,
            created_at: Timestamp::from_millis(1_767_225_600_123),
            ended_at: None,
            upper: Some(JobId::from_number(77)),
            done_to: Some(JobId::from_number(5)),
            is_counted: true,
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_reads_back(
            state in 0usize..3, ended in proptest::option::of(any::<i64>()),
            upper in proptest::option::of(any::<u64>()), matched in any::<u64>(),
        ) {
            let replay = Replay {
                state: ReplayState::ALL[state],
                ended_at: ended.map(Timestamp::from_millis),
                upper: upper.map(JobId::from_number),
                matched,
                ..replay()
            };
            prop_assert_eq!(Replay::decode(&replay.encode()), Ok(replay));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Replay::decode(&bytes);
        }

        #[test]
        fn a_stored_one_that_is_cut_is_refused(keep in 0usize..40) {
            let bytes = replay().encode();
            prop_assume!(keep < bytes.len());
            prop_assert_eq!(Replay::decode(&bytes[..keep]), Err(Unreadable));
        }
    }

    #[test]
    fn a_later_version_is_refused() {
        let mut bytes = replay().encode();
        bytes[0] = VERSION + 1;
        assert_eq!(Replay::decode(&bytes), Err(Unreadable));
    }
}
