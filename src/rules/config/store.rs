//! `[store]`: the durable memory, and whether it remembers long enough for every route.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rules::config::Store;
use crate::rules::config::route::Draft;
use crate::rules::reader::Section;
use crate::rules::reader::units::duration_text;

/// Reads `[store]`; a relative path starts from the configuration's folder.
pub fn store(section: &mut Section<'_>, folder: &Path) -> Store {
    let path = section.path("path");
    let remember = section.duration("remember");
    if remember.is_some_and(|remember| remember > REMEMBER_MOST) {
        section.mistake(
            "remember",
            format!(
                "is longer than {}, the most there is",
                duration_text(REMEMBER_MOST)
            ),
        );
    }
    Store {
        path: folder.join(path.unwrap_or_else(|| PathBuf::from("passgate.redb"))),
        remember: remember.unwrap_or(REMEMBER_DEFAULT),
        reserve: section
            .size_within("reserve", &RESERVE_BOUNDS)
            .unwrap_or(RESERVE_DEFAULT),
        lock_wait: section
            .duration_within("lock_wait", &LOCK_WAIT_BOUNDS)
            .unwrap_or(LOCK_WAIT_DEFAULT),
    }
}

/// What is forgotten while a provider may still send it again would be forwarded twice.
pub fn check_remember(store: &Store, section: &mut Section<'_>, drafts: &[Draft<'_>]) {
    let is_written = section.has("remember");
    if section.is_spoiled("remember") {
        return;
    }
    for draft in drafts {
        let Some(needed) = draft.must_remember() else {
            continue;
        };
        if store.remember > needed {
            continue;
        }
        let remember = duration_text(store.remember);
        let message = format!(
            "store.remember is {remember}, but {} needs more than {}: until then the provider may send \
             an event again, and it would be taken for a new one",
            draft.shown(),
            duration_text(needed)
        );
        if is_written {
            section.mistake("remember", message);
        } else {
            draft.section().mistake_here(message);
        }
    }
}

const REMEMBER_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// A leap year. The ledger grows with what it remembers.
const REMEMBER_MOST: Duration = Duration::from_secs(366 * 24 * 3600);
const RESERVE_DEFAULT: u64 = 64 << 20;
const RESERVE_BOUNDS: RangeInclusive<u64> = 0..=1 << 40;
/// An old process drains for 25 s before it lets go.
const LOCK_WAIT_DEFAULT: Duration = Duration::from_secs(30);
const LOCK_WAIT_BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10 * 60);
