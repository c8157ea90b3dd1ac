//! The platforms whose webhooks are understood.
//!
//! A provider is one file (options, verification, samples, tests, its `KIND`) and one line in [`KINDS`].
//! It is pure: a message and `now` go in, a verdict or a reason comes out.

pub mod passworks;
pub mod walletwerk;
pub mod wallit;

#[cfg(test)]
mod contract;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use hyper::{Method, StatusCode};

use crate::rules::diagnosis::{Case, Finding};
use crate::rules::hmac::Tag;
use crate::rules::reader::Section;
use crate::words::message::{Head, Message};
use crate::words::secret::{Reference, Secret};
use crate::words::time::Timestamp;
use crate::words::verdict::{Unverified, Verdict};

/// Every provider there is. A new one is a file and a line here.
pub static KINDS: &[&Kind] = &[&walletwerk::KIND, &passworks::KIND, &wallit::KIND];

/// One route's configured provider.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Which one it is.
    fn kind(&self) -> &'static Kind;

    /// The credential's presence and shape, before the body is read.
    ///
    /// # Errors
    /// The reason to refuse the request at once.
    fn screen(&self, head: &Head) -> Result<Screened, Unverified>;

    /// Judges the complete message over its raw bytes; every configured secret is tried. `screened` is what its head
    /// was found to hold; anything else is refused, as a wrong signature is.
    ///
    /// # Errors
    /// The reason why the message is not authentic, or not a message of this provider.
    fn verify(
        &self,
        message: &Message,
        screened: Screened,
        now: Timestamp,
    ) -> Result<Verdict, Unverified>;

    /// The secrets that can match, by reference.
    fn secrets(&self) -> Vec<Reference>;

    /// Why [`Provider::verify`] refuses or buries a message, as far as can be found out afterwards. For
    /// the operator's eyes: it tries much and takes its time, and decides nothing.
    fn diagnose(&self, case: &Case<'_>) -> Vec<Finding>;

    /// How long an event must at least be remembered: as long as the provider may send it again, or a
    /// captured copy would still count as fresh.
    fn must_remember(&self) -> Duration;

    /// Whether the last segment of the path is a secret, so that the route covers one segment more.
    fn has_path_secret(&self) -> bool {
        false
    }

    /// Whether only the shape of a message is checked (assurance `none`).
    fn is_unproven(&self) -> bool {
        false
    }
}

/// What [`Provider::screen`] read in a head, so that [`Provider::verify`] need not read it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screened {
    /// The signature of the body, where the provider sends one.
    pub tag: Option<Tag>,
}

/// What is the same for all routes of a provider.
pub struct Kind {
    /// The name in the configuration.
    pub name: &'static str,
    /// How it proves what it sends, in a few words.
    pub proof: &'static str,
    /// The methods that its routes take.
    pub methods: &'static [Method],
    /// Headers of the provider that decide something, so must be single.
    pub deciding_headers: &'static [&'static HeaderName],
    /// Headers of the provider that go to the app.
    pub kept_headers: &'static [&'static HeaderName],
    /// Whether the query belongs to the message and goes to the app.
    pub keeps_query: bool,
    /// Whether a message without a body cannot be one of this provider.
    pub needs_body: bool,
    /// The status that counts as accepted, where the provider insists on one.
    pub accepted_status: Option<StatusCode>,
    /// Whether the provider sends delivery ids, so that `same_content` has a meaning.
    pub has_delivery_ids: bool,
    /// After a refusal the provider tries again after these pauses, each from the try before.
    pub retry_pauses: &'static [Duration],
    /// After so many refusals in a row the provider stops sending altogether, where it does that.
    pub disabled_after: Option<u32>,
    /// After this time an event is worth nothing to the app, where that is so: to try longer is in vain.
    pub worthless_after: Option<Duration>,
    /// Event types that a sample can be made of, the most usual first.
    pub events: &'static [&'static str],
    /// Builds a route's provider from its `secrets` and its `[route.verify]` section. Mistakes are
    /// said to the section; `None` means that there were some.
    pub build: Build,
    /// Makes a sample request as the platform would send it.
    pub sample: fn(&SampleOrder<'_>) -> Sample,
}

/// How a route's provider is built, see [`Kind::build`].
pub type Build = fn(Vec<Secret>, &mut Section<'_>) -> Option<Arc<dyn Provider>>;

/// What sample is wanted.
#[derive(Clone, Copy, Debug)]
pub struct SampleOrder<'a> {
    /// An event type; unknown ones are sent all the same, since the platforms' lists are open.
    pub event: &'a str,
    /// The secret to sign with or to present, where there is one.
    pub secret: Option<&'a [u8]>,
    /// The event's time.
    pub now: Timestamp,
    /// Makes ids, and so events, different from each other.
    pub nonce: u64,
}

/// A request as the platform would send it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The method.
    pub method: Method,
    /// To be appended to the route's path, with its slash: a secret segment, or nothing.
    pub path_suffix: String,
    /// To be sent as the query; empty for none.
    pub query: String,
    /// The platform's headers.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Vec<u8>,
}

// === impl Kind ===

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({})", self.name)
    }
}

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
