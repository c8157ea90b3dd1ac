//! What a sender saw, as one line of JSON.

use std::time::Duration;

/// What one connection, or all of them, saw.
#[derive(Default)]
pub struct Report {
    /// How long each request took.
    pub took: Vec<Duration>,
    /// Answers that were no 2xx.
    pub not_2xx: u64,
    /// Requests without an answer.
    pub unanswered: u64,
}

// === impl Report ===

impl Report {
    /// Adds what another connection saw.
    pub fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.not_2xx += other.not_2xx;
        self.unanswered += other.unanswered;
    }

    /// Counts an answer.
    pub fn answered(&mut self, status: Option<u16>, took: Duration) {
        self.took.push(took);
        match status {
            Some(200..=299) => {}
            Some(_) => self.not_2xx += 1,
            None => self.unanswered += 1,
        }
    }

    /// Prints it; `secs` is how long the sending took.
    pub fn print(mut self, secs: f64) {
        self.took.sort_unstable();
        let at = |share: f64| {
            let place = (self.took.len().saturating_sub(1) as f64 * share) as usize;
            self.took.get(place).map_or(0, Duration::as_micros)
        };
        println!(
            "{{\"requests\":{},\"secs\":{secs:.4},\"not_2xx\":{},\"unanswered\":{},\"p50_us\":{},\"p90_us\":{},\"p99_us\":{},\"p999_us\":{},\"max_us\":{}}}",
            self.took.len(),
            self.not_2xx,
            self.unanswered,
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}
