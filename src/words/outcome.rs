//! Every way a request can end.
//!
//! One [`Outcome`] decides the status, the `Passgate-Outcome` label, the public text, the metric and the
//! log line. Every `match` here is without a `_` arm: a new way to end is a compile error until it has
//! them all. What the sender may read stands here; the true reason of a refusal goes to the log only.

use hyper::StatusCode;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The app answered 2xx and the event is settled; carries the status for the provider.
    Forwarded(StatusCode),
    /// A settled event with the same identity is remembered.
    Duplicate,
    /// It is stored, and no attempt was made yet.
    Queued,
    /// An attempt failed, and it is stored to be tried again.
    Spilled,
    /// It is stored, and goes to the app only if an operator says so.
    DeadLettered,
    /// The request is ambiguous or unreadable as a request.
    Malformed(Malformed),
    /// Verification failed, for whatever reason.
    Unauthentic,
    /// Authentic, but its own time is too far from now (`inline` only).
    Stale,
    /// The client's address is not among those that the route is for.
    NotAllowed,
    /// No route has this path (and host).
    NoRoute,
    /// The route does not take this method.
    Method,
    /// Head or body did not arrive in time.
    TooSlow,
    /// The body is larger than the route allows.
    TooLarge,
    /// The body is encoded in a way that would have to be undone before verification.
    MediaType,
    /// This client used up its quota of failed verifications.
    ClientLimited,
    /// The route's quota is used up (`inline` only).
    RateLimited,
    /// The app answered, but not 2xx; carries the status for the provider.
    UpstreamStatus(StatusCode),
    /// The app could not be reached, or its answer was cut off.
    UpstreamUnreachable,
    /// The app did not answer within the route's `timeout`.
    UpstreamTimeout,
    /// The same event is being processed, and was not done within the time that a sender waits.
    InFlight,
    /// The ledger cannot be read or written.
    StoreUnavailable,
    /// The route's queue or the disk has no room for another event.
    QueueFull,
    /// A bound on concurrent work is reached.
    Overloaded,
}

/// What about a request is ambiguous or unreadable, as far as the status code can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Framing, a doubled deciding header, an unreadable body: 400.
    Request,
    /// A body is needed and nothing says how long it is: 411.
    LengthRequired,
    /// The request target is too long: 414.
    TargetTooLong,
    /// `Expect` asks for something else than `100-continue`: 417.
    Expectation,
    /// The target names another authority than `Host`: 421.
    Misdirected,
    /// The head is too long or has too many fields: 431.
    HeadTooLarge,
}

// === impl Outcome ===

impl Outcome {
    /// Every label, at its [`Outcome::index`].
    pub const LABELS: [&'static str; 23] = [
        "forwarded",
        "queued",
        "spilled",
        "duplicate",
        "dead_lettered",
        "malformed",
        "unauthentic",
        "stale",
        "not_allowed",
        "no_route",
        "method",
        "too_slow",
        "too_large",
        "media_type",
        "client_limited",
        "rate_limited",
        "upstream_status",
        "upstream_unreachable",
        "upstream_timeout",
        "in_flight",
        "store_unavailable",
        "queue_full",
        "overloaded",
    ];

    /// This outcome's place in [`Outcome::LABELS`].
    pub const fn index(self) -> usize {
        match self {
            Self::Forwarded(_) => 0,
            Self::Queued => 1,
            Self::Spilled => 2,
            Self::Duplicate => 3,
            Self::DeadLettered => 4,
            Self::Malformed(_) => 5,
            Self::Unauthentic => 6,
            Self::Stale => 7,
            Self::NotAllowed => 8,
            Self::NoRoute => 9,
            Self::Method => 10,
            Self::TooSlow => 11,
            Self::TooLarge => 12,
            Self::MediaType => 13,
            Self::ClientLimited => 14,
            Self::RateLimited => 15,
            Self::UpstreamStatus(_) => 16,
            Self::UpstreamUnreachable => 17,
            Self::UpstreamTimeout => 18,
            Self::InFlight => 19,
            Self::StoreUnavailable => 20,
            Self::QueueFull => 21,
            Self::Overloaded => 22,
        }
    }

    /// The value of `Passgate-Outcome`, of the metric's label and of the `code` in a refusal's body.
    pub const fn label(self) -> &'static str {
        // In bounds: a test holds every index against the table.
        Self::LABELS[self.index()]
    }

    /// The status that the provider gets.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Forwarded(status) | Self::UpstreamStatus(status) => status,
            Self::Queued | Self::Spilled | Self::Duplicate | Self::DeadLettered => StatusCode::OK,
            Self::Malformed(kind) => kind.status(),
            Self::Unauthentic | Self::Stale => StatusCode::UNAUTHORIZED,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ClientLimited | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::UpstreamUnreachable => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::InFlight | Self::StoreUnavailable | Self::QueueFull | Self::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// One sentence for the sender. It never says which check failed.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Forwarded(_) => "The event was delivered.",
            Self::Queued | Self::Spilled => "The event is stored and will be delivered.",
            Self::Duplicate => "The event was taken before.",
            Self::DeadLettered => "The event is stored.",
            Self::Malformed(kind) => kind.title(),
            Self::Unauthentic => "The request could not be verified.",
            Self::Stale => "The event is too old or lies in the future.",
            Self::NotAllowed => "This address may not send here.",
            Self::NoRoute => "There is nothing here.",
            Self::Method => "This method is not accepted here.",
            Self::TooSlow => "The request did not arrive in time.",
            Self::TooLarge => "The body is too large.",
            Self::MediaType => "Encoded bodies are not accepted.",
            Self::ClientLimited => "Too many requests from here could not be verified.",
            Self::RateLimited => "Too many events at once.",
            Self::UpstreamStatus(_) => "The app did not accept the event.",
            Self::UpstreamUnreachable => "The app could not be reached.",
            Self::UpstreamTimeout => "The app did not answer in time.",
            Self::InFlight => "The same event is still being processed.",
            Self::StoreUnavailable => "The event cannot be stored at the moment.",
            Self::QueueFull => "There is no room for the event at the moment.",
            Self::Overloaded => "Too much work at the moment.",
        }
    }

    /// Whether the provider is told that the event is taken care of.
    pub const fn is_accepted(self) -> bool {
        match self {
            Self::Forwarded(_)
            | Self::Queued
            | Self::Spilled
            | Self::Duplicate
            | Self::DeadLettered => true,
            Self::Malformed(_)
            | Self::Unauthentic
            | Self::Stale
            | Self::NotAllowed
            | Self::NoRoute
            | Self::Method
            | Self::TooSlow
            | Self::TooLarge
            | Self::MediaType
            | Self::ClientLimited
            | Self::RateLimited
            | Self::UpstreamStatus(_)
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout
            | Self::InFlight
            | Self::StoreUnavailable
            | Self::QueueFull
            | Self::Overloaded => false,
        }
    }
}

// === impl Malformed ===

impl Malformed {
    /// The status that says most.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Request => StatusCode::BAD_REQUEST,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Request => "The request is malformed.",
            Self::LengthRequired => "A body with a stated length is needed.",
            Self::TargetTooLong => "The request target is too long.",
            Self::Expectation => "Only 100-continue can be expected.",
            Self::Misdirected => "The request is meant for another host.",
            Self::HeadTooLarge => "The request head is too large.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each, so that a forgotten row in the table shows.
    const EACH: [Outcome; 23] = [
        Outcome::Forwarded(StatusCode::OK),
        Outcome::Queued,
        Outcome::Spilled,
        Outcome::Duplicate,
        Outcome::DeadLettered,
        Outcome::Malformed(Malformed::Request),
        Outcome::Unauthentic,
        Outcome::Stale,
        Outcome::NotAllowed,
        Outcome::NoRoute,
        Outcome::Method,
        Outcome::TooSlow,
        Outcome::TooLarge,
        Outcome::MediaType,
        Outcome::ClientLimited,
        Outcome::RateLimited,
        Outcome::UpstreamStatus(StatusCode::INTERNAL_SERVER_ERROR),
        Outcome::UpstreamUnreachable,
        Outcome::UpstreamTimeout,
        Outcome::InFlight,
        Outcome::StoreUnavailable,
        Outcome::QueueFull,
        Outcome::Overloaded,
    ];

    #[test]
    fn every_outcome_has_a_label_of_its_own() {
        for (place, outcome) in EACH.into_iter().enumerate() {
            assert_eq!(outcome.index(), place, "{outcome:?}");
        }
        let mut labels = Outcome::LABELS.to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Outcome::LABELS.len());
    }

    #[test]
    fn accepted_is_exactly_2xx() {
        for outcome in EACH {
            assert_eq!(
                outcome.is_accepted(),
                outcome.status().is_success(),
                "{outcome:?}"
            );
        }
    }
}
