//! Which events an operator means: the filter of lists and of replays.
//!
//! It is read from named parameters and written back as the same, so that a replay's stored filter, its
//! answer in the admin API and the list's query are one thing. It knows events only as [`Traits`].

use crate::words::time::Timestamp;

/// Which events are meant; what is absent excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this route.
    pub route: Option<String>,
    /// Those in this state.
    pub state: Option<EventState>,
    /// Those of this type, as the provider names it.
    pub event_type: Option<String>,
    /// Those received then or later.
    pub since: Option<Timestamp>,
    /// Those received before.
    pub until: Option<Timestamp>,
    /// Those in whose id, type, subject or delivery id this stands, in whatever case.
    pub text: Option<String>,
}

/// What has become of an event, as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventState {
    /// It waits for its first or its next attempt.
    Queued,
    /// It is being attempted.
    InFlight,
    /// The app has it.
    Delivered,
    /// It was given up.
    DeadLetter,
    /// It waits, but its route is no longer configured.
    Parked,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Traits<'a> {
    /// The idempotency key.
    pub id: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// What has become of it.
    pub state: EventState,
    /// The provider's name of what happened.
    pub event_type: &'a str,
    /// What it happened to.
    pub subject: Option<&'a str>,
    /// The provider's delivery id.
    pub delivery_id: Option<&'a str>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// Why a parameter is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// There is no parameter of this name.
    Unknown,
    /// Its value is not one it can have; completes "the parameter …".
    Value(String),
}

/// Bytes of a value; nothing that events are known by is longer.
pub const VALUE_BYTES_MAX: usize = 1024;

// === impl Filter ===

impl Filter {
    /// Every parameter.
    pub const NAMES: [&'static str; 6] = ["route", "state", "type", "since", "until", "q"];

    /// Takes one parameter.
    ///
    /// # Errors
    /// If there is none of that name, or its value makes no sense.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), NotTaken> {
        if !Self::NAMES.contains(&name) {
            return Err(NotTaken::Unknown);
        }
        if value.is_empty() {
            return Err(NotTaken::Value("is empty; leave it out".to_owned()));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(NotTaken::Value(format!(
                "is longer than {VALUE_BYTES_MAX} bytes"
            )));
        }
        match name {
            "route" => self.route = Some(value.to_owned()),
            "state" => self.state = Some(EventState::parse(value)?),
            "type" => self.event_type = Some(value.to_owned()),
            "since" => self.since = Some(time(value)?),
            "until" => self.until = Some(time(value)?),
            "q" => self.text = Some(value.to_owned()),
            _ => return Err(NotTaken::Unknown),
        }
        Ok(())
    }

    /// The parameters that make this filter.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let time = |time: Option<Timestamp>| time.map(Timestamp::to_rfc3339);
        [
            ("route", self.route.clone()),
            ("state", self.state.map(|state| state.label().to_owned())),
            ("type", self.event_type.clone()),
            ("since", time(self.since)),
            ("until", time(self.until)),
            ("q", self.text.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Whether an event is meant.
    pub fn takes(&self, event: &Traits<'_>) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        is(&self.route, event.route)
            && self.state.is_none_or(|state| state == event.state)
            && is(&self.event_type, event.event_type)
            && self.since.is_none_or(|since| event.received_at >= since)
            && self.until.is_none_or(|until| event.received_at < until)
            && self.text.as_deref().is_none_or(|text| {
                let texts = [Some(event.id), Some(event.event_type)];
                texts
                    .into_iter()
                    .chain([event.subject, event.delivery_id])
                    .flatten()
                    .any(|value| holds(value, text))
            })
    }
}

// === impl EventState ===

impl EventState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::InFlight,
        Self::Delivered,
        Self::DeadLetter,
        Self::Parked,
    ];

    /// The state as parameters, answers and metrics say it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InFlight => "in_flight",
            Self::Delivered => "delivered",
            Self::DeadLetter => "dead_letter",
            Self::Parked => "parked",
        }
    }

    fn parse(text: &str) -> Result<Self, NotTaken> {
        let found = Self::ALL.into_iter().find(|state| state.label() == text);
        found.ok_or_else(|| {
            let labels = Self::ALL.map(Self::label).join(", ");
            NotTaken::Value(format!("is none of {labels}"))
        })
    }
}

fn time(text: &str) -> Result<Timestamp, NotTaken> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        // In a query a bare `+` is a space, which is how an offset gets lost.
        NotTaken::Value(
            "is no RFC 3339 time such as 2026-01-31T12:00:00Z (in a URL, write `+` as %2B)"
                .to_owned(),
        )
    })
}

/// Whether `part` stands somewhere in `text`; letters of ASCII in whatever case.
fn holds(text: &str, part: &str) -> bool {
    text.as_bytes()
        .windows(part.len().max(1))
        .any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> Traits<'static> {
        Traits {
            id: "evt_0123",
            route: "walletwerk",
            state: EventState::DeadLetter,
            event_type: "card.active",
            subject: Some("card_7"),
            delivery_id: Some("Del-9"),
            received_at: Timestamp::from_secs(1_767_225_600),
        }
    }

    fn filter(parameters: &[(&str, &str)]) -> Filter {
        let mut filter = Filter::default();
        for (name, value) in parameters {
            filter.set(name, value).unwrap();
        }
        filter
    }

    #[test]
    fn each_parameter_takes_what_it_names_and_nothing_else() {
        for (name, takes, leaves) in [
            ("route", "walletwerk", "wallet"),
            ("state", "dead_letter", "delivered"),
            ("type", "card.active", "card"),
            ("since", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            ("until", "2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z"),
            ("q", "T_01", "t_02"),
            ("q", "D.ACT", "card_active"),
            ("q", "card_7", "card_70"),
            ("q", "del-9", "del-99"),
        ] {
            assert!(filter(&[(name, takes)]).takes(&event()), "{name}={takes}");
            assert!(
                !filter(&[(name, leaves)]).takes(&event()),
                "{name}={leaves}"
            );
        }
        assert!(Filter::default().takes(&event()));
        assert!(!filter(&[("route", "walletwerk"), ("q", "nowhere")]).takes(&event()));
    }

    #[test]
    fn what_makes_no_sense_is_not_taken() {
        let mut filter = Filter::default();
        for (name, value) in [
            ("state", "dead"),
            ("state", "Queued"),
            ("since", "yesterday"),
            ("until", "2026-01-01T00:00:00"),
            ("route", ""),
            ("q", &"x".repeat(VALUE_BYTES_MAX + 1)),
        ] {
            let taken = filter.set(name, value);
            assert!(
                matches!(taken, Err(NotTaken::Value(_))),
                "{name}={value}: {taken:?}"
            );
        }
        for name in ["", "State", "limit", "cursor"] {
            assert_eq!(filter.set(name, "1"), Err(NotTaken::Unknown), "{name}");
        }
        assert_eq!(filter, Filter::default());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            route in proptest::option::of(".{1,20}"),
            state in proptest::option::of(0usize..5),
            event_type in proptest::option::of(".{1,20}"),
            since in proptest::option::of(0i64..4_000_000_000_000),
            until in proptest::option::of(0i64..4_000_000_000_000),
            text in proptest::option::of(".{1,20}"),
        ) {
            let filter = Filter {
                route,
                state: state.map(|place| EventState::ALL[place]),
                event_type,
                since: since.map(Timestamp::from_millis),
                until: until.map(Timestamp::from_millis),
                text,
            };
            let mut read = Filter::default();
            for (name, value) in filter.parameters() {
                prop_assert_eq!(read.set(name, &value), Ok(()));
            }
            prop_assert_eq!(read, filter);
        }

        #[test]
        fn any_parameter_is_taken_or_refused(name in "route|state|type|since|until|q|.{0,8}", value in ".{0,80}") {
            let mut filter = Filter::default();
            if filter.set(&name, &value).is_ok() {
                let _ = filter.takes(&event());
            }
        }

        #[test]
        fn a_part_of_a_text_is_found_in_it(before in ".{0,9}", part in ".{1,9}", after in ".{0,9}") {
            let text = format!("{before}{}{after}", part.to_ascii_uppercase());
            prop_assert!(holds(&text, &part));
        }
    }
}
