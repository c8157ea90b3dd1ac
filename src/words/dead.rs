//! Why an event is a dead letter.

use crate::words::verdict::BuryReason;

/// Why an event does not go to the app, unless an operator sends it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Its own time was too far from now when it came.
    Stale,
    /// Its body was not what the platform documents.
    Unreadable,
    /// The app refused it for good.
    Refused,
    /// It was tried for as long as it may be.
    GivenUp,
    /// What was stored of it cannot be read any more.
    Damaged,
}

// === impl DeadReason ===

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Stale,
        Self::Unreadable,
        Self::Refused,
        Self::GivenUp,
        Self::Damaged,
    ];

    /// The number it is stored as; it never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Stale => 1,
            Self::Unreadable => 2,
            Self::Refused => 3,
            Self::GivenUp => 4,
            Self::Damaged => 5,
        }
    }

    /// The reason stored as `code`; a number of a later release is none that is known.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The reason as the log and the admin API say it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
            Self::Damaged => "damaged",
        }
    }
}

impl From<BuryReason> for DeadReason {
    fn from(reason: BuryReason) -> Self {
        match reason {
            BuryReason::Stale => Self::Stale,
            BuryReason::Unreadable => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_code() {
        for reason in DeadReason::ALL {
            assert_eq!(DeadReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(DeadReason::from_code(0), None);
    }
}
