//! The arguments that choose events: the admin API's parameters.

use crate::doors::cli::events::Failed;
use crate::rules::filter::{Filter, NotTaken};

/// Which events.
#[derive(Debug, clap::Args)]
pub struct Selection {
    /// Only those of this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only those in this state: delivered, dead_letter or parked; a list also takes queued and in_flight.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only those of this type, as the platform names it.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only those received then (RFC 3339) or later.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those received before.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those with this in their id, type, subject or delivery id.
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
}

// === impl Selection ===

impl Selection {
    /// The filter that the arguments make.
    pub(super) fn filter(&self) -> Result<Filter, Failed> {
        let mut filter = Filter::default();
        for (name, value) in [
            ("route", &self.route),
            ("state", &self.state),
            ("type", &self.event_type),
            ("since", &self.since),
            ("until", &self.until),
            ("q", &self.q),
        ] {
            let Some(value) = value else {
                continue;
            };
            match filter.set(name, value) {
                Ok(()) => {}
                Err(NotTaken::Value(problem)) => {
                    return Err(Failed::Usage(format!("--{name} {problem}")));
                }
                Err(NotTaken::Unknown) => {
                    return Err(Failed::Usage(format!("--{name} is not known")));
                }
            }
        }
        Ok(filter)
    }
}
