//! How a gateway ends: the keys of `[server]` that begin with `drain`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::rules::reader::Section;

/// How long an end may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// So long new connections are still taken, while readiness is red already.
    pub delay: Duration,
    /// So long afterwards what is in flight may take to finish.
    pub timeout: Duration,
}

/// Reads the keys.
pub fn drain(section: &mut Section<'_>) -> Drain {
    let default = Drain::default();
    Drain {
        delay: section
            .duration_within("drain_delay", &BOUNDS)
            .unwrap_or(default.delay),
        timeout: section
            .duration_within("drain_timeout", &BOUNDS)
            .unwrap_or(default.timeout),
    }
}

impl Default for Drain {
    /// No request takes longer than the 25 s, so nothing that is answered at all is cut off.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            timeout: Duration::from_secs(25),
        }
    }
}

const BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10 * 60);
