//! Counts tries and events, and says what the platform would make of them.

use std::collections::BTreeMap;

use crate::doors::cli::send::retrying::Try;
use crate::rules::provider::Kind;

/// What has been counted so far.
#[derive(Debug)]
pub struct Tally {
    kind: &'static Kind,
    tries: u64,
    accepted: u64,
    refused: u64,
    refused_in_a_row: u32,
    /// Events by their last outcome.
    outcomes: BTreeMap<String, u64>,
}

// === impl Tally ===

impl Tally {
    /// Nothing counted yet.
    pub fn new(kind: &'static Kind) -> Self {
        Self {
            kind,
            tries: 0,
            accepted: 0,
            refused: 0,
            refused_in_a_row: 0,
            outcomes: BTreeMap::new(),
        }
    }

    /// Counts a try; gives a warning where the platform would have stopped sending.
    pub fn count(&mut self, ended: &Try) -> Option<String> {
        self.tries += 1;
        if ended.next_after.is_none() {
            match ended.is_accepted {
                true => self.accepted += 1,
                false => self.refused += 1,
            }
            self.count_outcome(ended);
        }
        if ended.is_accepted {
            self.refused_in_a_row = 0;
            return None;
        }
        self.refused_in_a_row += 1;
        (Some(self.refused_in_a_row) == self.kind.disabled_after).then(|| {
            format!(
                "-- {} refusals in a row: {} would have disabled the endpoint here",
                self.refused_in_a_row, self.kind.name
            )
        })
    }

    /// Whether no event was refused to the end.
    pub fn is_all_accepted(&self) -> bool {
        self.refused == 0
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let events = self.accepted + self.refused;
        let mut summary = match self.tries == events {
            true => counted(events, "event", "events"),
            false => format!(
                "{} in {}",
                counted(events, "event", "events"),
                counted(self.tries, "try", "tries")
            ),
        };
        summary.push_str(&format!(
            ": {} accepted, {} refused",
            self.accepted, self.refused
        ));
        if !self.outcomes.is_empty() {
            let outcomes: Vec<String> = self
                .outcomes
                .iter()
                .map(|(outcome, count)| format!("{count} {outcome}"))
                .collect();
            summary.push_str(&format!(" ({})", outcomes.join(", ")));
        }
        summary
    }

    fn count_outcome(&mut self, ended: &Try) {
        let Some(outcome) = &ended.answer.outcome else {
            return;
        };
        // A server could make up a new one each time.
        if self.outcomes.len() < OUTCOMES_MAX || self.outcomes.contains_key(outcome) {
            *self.outcomes.entry(outcome.clone()).or_default() += 1;
        }
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {noun}")
}

const OUTCOMES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::StatusCode;

    use super::*;
    use crate::doors::cli::send::courier::Answer;
    use crate::rules::provider;

    fn ended(status: u16, outcome: &str, is_last: bool) -> Try {
        let status = StatusCode::from_u16(status).unwrap();
        Try {
            number: 1,
            answer: Answer {
                status: Ok(status),
                outcome: Some(outcome.to_owned()),
                took: Duration::ZERO,
            },
            is_accepted: status.is_success(),
            next_after: (!is_last).then_some(Duration::ZERO),
        }
    }

    #[test]
    fn warns_once_at_the_tenth_refusal_in_a_row() {
        let mut tally = Tally::new(provider::find("walletwerk").unwrap());
        for _ in 0..9 {
            assert_eq!(tally.count(&ended(503, "overloaded", true)), None);
        }
        assert_eq!(tally.count(&ended(200, "forwarded", true)), None);
        for number in 1..=15 {
            let warning = tally.count(&ended(401, "unauthentic", true));
            assert_eq!(warning.is_some(), number == 10, "refusal {number}");
        }
    }

    #[test]
    fn an_event_counts_once_whatever_its_tries() {
        let mut tally = Tally::new(provider::find("passworks").unwrap());
        tally.count(&ended(503, "overloaded", false));
        tally.count(&ended(200, "forwarded", true));
        assert_eq!(
            tally.summary(),
            "1 event in 2 tries: 1 accepted, 0 refused (1 forwarded)"
        );
        assert!(tally.is_all_accepted());
    }
}
