//! `[client_quota]` and `[route.quota]`: a rate, and the burst that may come at once.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::rules::config::Quota;
use crate::rules::reader::Section;
use crate::rules::reader::units::{self, Rate};

/// Reads `[client_quota]`, which holds even where nothing is written.
pub fn client_quota(section: &mut Section<'_>) -> Option<Quota> {
    quota(section, Some(CLIENT_RATE), CLIENT_BURST)
}

/// Reads `[route.quota]`; without the section there is no quota.
pub fn route_quota(section: &mut Section<'_>) -> Option<Quota> {
    quota(section, None, ROUTE_BURST).filter(|_| section.is_present())
}

fn quota(section: &mut Section<'_>, usual: Option<Rate>, usual_burst: NonZeroU32) -> Option<Quota> {
    let written = section.rate("rate");
    let burst = section.whole("burst", 1, u64::from(u32::MAX));
    let burst = burst.and_then(|burst| NonZeroU32::new(u32::try_from(burst).ok()?));
    if written.is_none() && usual.is_none() && section.is_present() && !section.is_spoiled("rate") {
        section.missing("rate", format!("is missing; write {}", units::RATE));
    }
    let rate = written.or(usual)?;
    let quota = Quota {
        count: rate.count,
        per: rate.per,
        // A burst above what a whole period lets pass would surprise who wrote only the rate.
        burst: burst.unwrap_or(usual_burst.min(rate.count)),
    };
    check_refill(section, &quota);
    Some(quota)
}

/// A burst that takes years to come back is a slip, and would overflow a limiter's nanoseconds.
fn check_refill(section: &Section<'_>, quota: &Quota) {
    let secs = u64::from(quota.burst.get()).saturating_mul(quota.per.as_secs())
        / u64::from(quota.count.get());
    if secs > REFILL_MOST.as_secs() {
        section.mistake(
            "burst",
            format!(
                "takes longer than {} to refill at this rate; write a smaller burst or a higher rate",
                units::duration_text(REFILL_MOST)
            ),
        );
    }
}

const fn nonzero(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

const CLIENT_RATE: Rate = Rate {
    count: CLIENT_BURST,
    per: Duration::from_secs(60),
};
const CLIENT_BURST: NonZeroU32 = nonzero(60);
const ROUTE_BURST: NonZeroU32 = nonzero(100);
const REFILL_MOST: Duration = Duration::from_secs(366 * 24 * 3600);
