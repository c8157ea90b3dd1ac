//! What a provider says about a message: a verdict, or the reason why there is none.
//!
//! A verifier never answers with a bool, since a bool can be ignored.

use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::words::identity::Identity;
use crate::words::secret::Reference;
use crate::words::time::Timestamp;

/// What verification found out about an authentic message.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What makes the event the same as another.
    pub identity: Identity,
    /// The provider's own name of what happened (`card.active`), bounded in length.
    pub event_type: Box<str>,
    /// `ce-type`: the event type under the provider's reversed domain name.
    pub ce_type: String,
    /// `ce-time`: when it happened, where the body says so.
    pub time: Option<Timestamp>,
    /// `ce-subject`: the card, pass or token it happened to, where known.
    pub subject: Option<String>,
    /// How strong the proof is.
    pub assurance: Assurance,
    /// Which secret matched; absent for the grade `none`.
    pub secret: Option<Reference>,
    /// Whether the event may go to the app.
    pub fate: Fate,
    /// How the proof was written (`hex`, `base64`, …), which the platforms' documents leave open.
    pub proof: &'static str,
    /// Headers that the body overrules, with the body's value, or `None` where no header can carry it.
    pub corrections: Vec<(HeaderName, Option<HeaderValue>)>,
    /// A platform's test button: forwarded a few times a minute only.
    pub is_test: bool,
    /// The sender's delivery id was there, but unusable, and plays no part.
    pub delivery_id_ignored: bool,
    /// The event carries no time, so its freshness could not be judged.
    pub is_undated: bool,
}

/// How much is proven about where a message comes from. The providers do not prove the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assurance {
    /// A signature binds the body.
    Signature,
    /// The sender knows an API key; the body is only as good as the transport.
    ApiKey,
    /// The sender knows a secret path segment, or signed the query.
    Token,
    /// Only the shape was checked; the route asked for it with `allow_unproven = true`.
    None,
}

/// What may become of an authentic event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to the app.
    Deliver,
    /// It must not go to the app, nor be lost.
    Bury(BuryReason),
}

/// Why an authentic event is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuryReason {
    /// Its signed time is older than `max_age`, or more than five minutes in the future.
    Stale,
    /// The body is not what the platform documents, so which event it is would be a guess.
    Unreadable,
}

/// Why a message is refused. For the log; the sender reads one text for all failed verifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// The credential is not there.
    MissingCredential,
    /// The credential has not the shape of one.
    IllShapedCredential,
    /// The signature is of another body or another secret.
    WrongSignature,
    /// The API key or path segment is none of the configured ones.
    WrongSecret,
    /// The time in a signed header is too far from now.
    WrongTime,
    /// A header or parameter that decides something is there twice, or in two places.
    Ambiguous,
    /// A parameter that the provider always sends is missing or has an impossible shape.
    BadShape,
    /// There is no body where the provider always sends one.
    Empty,
}

// === impl Assurance ===

impl Assurance {
    /// The value of `Passgate-Assurance`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::None => "none",
        }
    }
}

// === impl BuryReason ===

impl BuryReason {
    /// The reason as the log says it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Unreadable => "unreadable",
        }
    }
}

// === impl Unverified ===

impl Unverified {
    /// Whether the request itself is at fault (400) rather than its proof (401).
    pub const fn is_malformed(self) -> bool {
        match self {
            Self::Ambiguous | Self::BadShape | Self::Empty => true,
            Self::MissingCredential
            | Self::IllShapedCredential
            | Self::WrongSignature
            | Self::WrongSecret
            | Self::WrongTime => false,
        }
    }

    /// The reason as the log says it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::MissingCredential => "credential missing",
            Self::IllShapedCredential => "credential has not the shape of one",
            Self::WrongSignature => "signature of another body or secret",
            Self::WrongSecret => "not one of the configured secrets",
            Self::WrongTime => "signed time too far from now",
            Self::Ambiguous => "a deciding header or parameter is not single",
            Self::BadShape => "a parameter is missing or has an impossible shape",
            Self::Empty => "no body",
        }
    }
}
