//! When a certificate is asked for anew: after two thirds of its time, a little earlier by chance.
//!
//! The chance keeps many gateways, and one that is started again and again, from asking together.

use std::time::Duration;

use crate::rules::certificate::Certificate;
use crate::words::time::Timestamp;

/// The part of its time that is left when a certificate is renewed.
const LEFT: u32 = 3;

/// The chance takes up to this part of its time.
const SPREAD: u32 = 30;

/// When to renew. `chance` is from 0 to 1.
pub fn due(certificate: &Certificate, chance: f64) -> Timestamp {
    let (from, to) = (certificate.not_before(), certificate.not_after());
    due_between(from, to, chance)
}

/// A certificate that was just ordered is not renewed within this time, whatever the wall clock says: one that jumped
/// would have it ordered again and again.
pub fn rest(certificate: &Certificate) -> Duration {
    certificate.not_after().since(certificate.not_before()) / LEFT
}

fn due_between(not_before: Timestamp, not_after: Timestamp, chance: f64) -> Timestamp {
    let lifetime = not_after.since(not_before);
    let spread = (lifetime / SPREAD).mul_f64(chance.clamp(0.0, 1.0));
    not_after.before(lifetime / LEFT + spread)
}

/// How long to wait after so many failures in a row: it doubles from `first`, with up to a quarter more by chance.
pub fn pause(first: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    let pause = doubled.min(PAUSE_MAX);
    pause + (pause / 4).mul_f64(chance.clamp(0.0, 1.0))
}

/// However often it failed, it is tried again within this time, and a quarter of it.
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_third_of_its_time_is_left_or_a_little_more() {
        let due = |days: i64, chance: f64| {
            let day = |day: i64| Timestamp::from_secs(day * DAY);
            due_between(day(0), day(days), chance).as_secs() / 3600
        };
        assert_eq!(due(90, 0.0), 60 * 24);
        assert_eq!(due(90, 1.0), 57 * 24);
        assert_eq!(due(90, 7.0), 57 * 24);
        assert_eq!(due(6, 0.0), 4 * 24);
    }

    #[test]
    fn what_fails_is_tried_less_and_less_but_never_given_up() {
        let first = Duration::from_secs(300);
        for (failures, minutes) in [
            (1, 5),
            (2, 10),
            (3, 20),
            (4, 40),
            (20, 360),
            (4_000_000, 360),
        ] {
            let expected = Duration::from_secs(minutes * 60);
            assert_eq!(pause(first, failures, 0.0), expected);
            assert_eq!(pause(first, failures, 1.0), expected * 5 / 4);
        }
    }
}
