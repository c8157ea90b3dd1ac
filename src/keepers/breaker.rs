//! The breaker of an upstream: while an app is away, no attempts are spent on it.
//!
//! It opens when several different events in a row met a connection error, a timeout or a 502, 503 or 504;
//! one poison event opens nothing. While it is open one attempt at a time is let through as a probe, with
//! growing pauses; whatever the app answers to it, other than that, closes the breaker.
//!
//! # Why
//! Several poison events do open it, and as probes they would keep it open. So an event that was never
//! attempted need not wait for the longer pauses: it cannot be one of those, and says the most of the app.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::words::identity::Key;

/// Different events that must fail in a row.
const FAILURES: usize = 3;

/// The pause before the first probe; it doubles up to [`PROBE_PAUSE_MAX`].
const PROBE_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause between probes: so much later than the app, at most, is the backlog on its way again.
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(15);

/// The longest pause before a probe with an event that was never attempted.
const FRESH_PAUSE_MAX: Duration = Duration::from_secs(2);

/// One upstream's breaker. Times are monotonic.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The app is there.
    Free,
    /// One attempt, to see whether the app is back. Its result must be reported.
    Probe,
    /// Not before this long.
    Not(Duration),
}

/// What an attempt says of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered, whatever it thinks of the event.
    Alive,
    /// It is not there.
    Away,
}

#[derive(Debug, Default)]
struct State {
    /// The events that failed since the last sign of life, while the breaker is closed.
    failed: Vec<Key>,
    open: Option<Open>,
    closings: u64,
}

#[derive(Debug)]
struct Open {
    /// When it opened, or the last probe failed.
    since: Duration,
    pause: Duration,
    /// When the probe that is under way was let through.
    probing: Option<Duration>,
}

// === impl Breaker ===

impl Breaker {
    /// Asks for an attempt at `now` on an event that was attempted `before`, or never. A probe that is not
    /// reported within `patience` is given up for lost.
    pub fn ask(&self, now: Duration, patience: Duration, before: u32) -> Pass {
        let mut state = self.state();
        let Some(open) = &mut state.open else {
            return Pass::Free;
        };
        let wait = open.wait(now, patience, before);
        if !wait.is_zero() {
            return Pass::Not(wait);
        }
        open.probing = Some(now);
        Pass::Probe
    }

    /// How long a probe with an event that was never attempted would have to wait; zero while it is closed.
    pub fn wait(&self, now: Duration, patience: Duration) -> Duration {
        let state = self.state();
        let open = state.open.as_ref();
        open.map_or(Duration::ZERO, |open| open.wait(now, patience, 0))
    }

    /// A probe was not made after all.
    pub fn give_back(&self) {
        if let Some(open) = &mut self.state().open {
            open.probing = None;
        }
    }

    /// Reports what an attempt on `event`, made with `pass`, said of the app.
    ///
    /// While it is open only a probe's failure counts: attempts that were under way when it opened come in
    /// late, and would only make the pauses grow.
    pub fn report(&self, event: Key, pass: Pass, sign: Sign, now: Duration) {
        let mut state = self.state();
        match sign {
            Sign::Alive => {
                state.failed.clear();
                if state.open.take().is_some() {
                    state.closings += 1;
                }
            }
            Sign::Away => match &mut state.open {
                Some(_) if pass != Pass::Probe => {}
                Some(open) => {
                    open.pause = (open.pause * 2).min(PROBE_PAUSE_MAX);
                    open.since = now;
                    open.probing = None;
                }
                None => {
                    if !state.failed.contains(&event) {
                        state.failed.push(event);
                    }
                    if state.failed.len() >= FAILURES {
                        state.failed.clear();
                        state.open = Some(Open {
                            since: now,
                            pause: PROBE_PAUSE,
                            probing: None,
                        });
                    }
                }
            },
        }
    }

    /// How often it has closed: a change tells that the app is back after it was away.
    pub fn closings(&self) -> u64 {
        self.state().closings
    }

    /// Whether attempts are held back.
    pub fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Open ===

impl Open {
    fn wait(&self, now: Duration, patience: Duration, before: u32) -> Duration {
        if let Some(since) = self.probing
            && now < since + patience
        {
            return since + patience - now;
        }
        let pause = match before {
            0 => self.pause.min(FRESH_PAUSE_MAX),
            _ => self.pause,
        };
        (self.since + pause).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn event(n: u8) -> Key {
        Key::from_bytes([n; 16])
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for n in 0..3 {
            breaker.report(event(n), Pass::Free, Sign::Away, at(0));
        }
        breaker
    }

    #[test]
    fn one_poison_event_opens_nothing() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            breaker.report(event(1), Pass::Free, Sign::Away, at(0));
        }
        assert_eq!(breaker.ask(at(0), PATIENCE, 1), Pass::Free);
    }

    #[test]
    fn a_sign_of_life_in_between_starts_the_count_anew() {
        let breaker = Breaker::default();
        for n in 0..10 {
            breaker.report(event(n), Pass::Free, Sign::Away, at(0));
            breaker.report(event(n + 1), Pass::Free, Sign::Away, at(0));
            breaker.report(event(n), Pass::Free, Sign::Alive, at(0));
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn while_it_is_open_one_probe_at_a_time_passes_with_growing_pauses() {
        let breaker = opened();
        assert_eq!(breaker.ask(at(0), PATIENCE, 1), Pass::Not(at(500)));
        assert_eq!(breaker.ask(at(500), PATIENCE, 1), Pass::Probe);
        assert!(matches!(breaker.ask(at(500), PATIENCE, 1), Pass::Not(_)));
        breaker.report(event(9), Pass::Probe, Sign::Away, at(600));
        assert_eq!(breaker.ask(at(600), PATIENCE, 1), Pass::Not(at(1000)));
        assert_eq!(breaker.ask(at(1600), PATIENCE, 1), Pass::Probe);
    }

    #[test]
    fn what_was_under_way_when_it_opened_makes_no_pause_grow() {
        let breaker = opened();
        for n in 0..20 {
            breaker.report(event(n), Pass::Free, Sign::Away, at(100));
        }
        assert_eq!(breaker.ask(at(500), PATIENCE, 1), Pass::Probe);
    }

    #[test]
    fn any_answer_closes_it() {
        let breaker = opened();
        assert_eq!(breaker.ask(at(500), PATIENCE, 1), Pass::Probe);
        assert_eq!(breaker.closings(), 0);
        breaker.report(event(9), Pass::Probe, Sign::Alive, at(600));
        assert_eq!(breaker.ask(at(600), PATIENCE, 1), Pass::Free);
        breaker.report(event(9), Pass::Probe, Sign::Alive, at(600));
        assert_eq!(breaker.closings(), 1);
    }

    #[test]
    fn a_probe_that_is_lost_or_given_back_does_not_keep_it_open_for_ever() {
        let breaker = opened();
        assert_eq!(breaker.ask(at(500), PATIENCE, 1), Pass::Probe);
        assert_eq!(breaker.ask(at(10_500), PATIENCE, 1), Pass::Probe);
        breaker.give_back();
        assert_eq!(breaker.ask(at(10_500), PATIENCE, 1), Pass::Probe);
    }

    #[test]
    fn an_event_that_was_never_attempted_waits_for_no_long_pause() {
        let breaker = opened();
        let mut now = at(0);
        for n in 0..6 {
            now += PROBE_PAUSE_MAX;
            assert_eq!(breaker.ask(now, PATIENCE, 1), Pass::Probe);
            breaker.report(event(n), Pass::Probe, Sign::Away, now);
        }
        assert_eq!(breaker.ask(now, PATIENCE, 1), Pass::Not(PROBE_PAUSE_MAX));
        assert_eq!(breaker.wait(now, PATIENCE), FRESH_PAUSE_MAX);
        now += FRESH_PAUSE_MAX;
        assert!(matches!(breaker.ask(now, PATIENCE, 1), Pass::Not(_)));
        assert_eq!(breaker.ask(now, PATIENCE, 0), Pass::Probe);
    }
}
