//! One `[[route]]`: read key by key into a [`Draft`], which becomes a [`Route`] when all is there.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use ipnet::IpNet;

use crate::rules::config::listening::{NETWORK, network};
use crate::rules::config::queue::{self, Around};
use crate::rules::config::{
    Delivery, Queue, Quota, Route, delivery, naming, quota, signing, upstream,
};
use crate::rules::hmac::Signer;
use crate::rules::letterhead::Letterhead;
use crate::rules::provider::{self, KINDS, Kind, Provider};
use crate::rules::reader::Section;
use crate::rules::reader::nearest::nearest;
use crate::rules::reader::units::duration_text;
use crate::words::limits::Limits;
use crate::words::secret::Secret;

/// A route as far as it could be read, with the section to say mistakes to.
pub struct Draft<'a> {
    section: Section<'a>,
    /// The name, given or by default.
    pub name: Option<String>,
    /// The path, given or by default.
    pub path: Option<String>,
    /// The host, where one is given.
    pub host: Option<String>,
    /// The secrets that could be had, kept to compare them between routes.
    pub secrets: Vec<Secret>,
    provider: Option<Arc<dyn Provider>>,
    allow_from: Option<Vec<IpNet>>,
    upstream: Option<Uri>,
    delivery: Delivery,
    order_by: Option<String>,
    timeout: Duration,
    max_body: usize,
    same_content_forwards: bool,
    sign_with: Option<Secret>,
    quota: Option<Quota>,
    queue: Queue,
}

impl<'a> Draft<'a> {
    /// Reads a route; `remember` is the store's, unless that is wrong. Unknown keys are found by
    /// [`Draft::finish`].
    pub fn read(mut section: Section<'a>, remember: Option<Duration>, limits: &Limits) -> Self {
        let written_name = section.parse("name", "a name in quotes", naming::name);
        if let Some(name) = &written_name {
            section.call(name);
        }
        let kind = kind(&mut section);
        let name = written_name.or_else(|| default_name(&mut section, kind));
        let path = path(&mut section, name.as_deref());
        let host = section.parse("host", "a host in quotes", naming::host);
        let secrets = section.secrets("secrets");
        let provider = provider(&mut section, kind, &secrets);
        refuse_final_slash(&section, path.as_deref(), provider.as_deref());
        let delivery = delivery::delivery(&mut section);
        let max_body = max_body(&mut section);
        let around = Around {
            delivery,
            kind,
            is_unproven: provider
                .as_ref()
                .is_some_and(|provider| provider.is_unproven()),
            max_body,
            remember,
        };
        Self {
            allow_from: allow_from(&mut section),
            upstream: upstream(&mut section),
            delivery,
            order_by: delivery::order_by(&mut section, delivery, kind),
            timeout: timeout(&mut section, limits),
            max_body,
            same_content_forwards: same_content_forwards(&mut section, kind),
            sign_with: signing::sign_with(&mut section),
            quota: route_quota(&mut section),
            queue: route_queue(&mut section, around),
            name,
            path,
            host,
            secrets,
            provider,
            section,
        }
    }

    /// To say mistakes to.
    pub fn section(&self) -> &Section<'a> {
        &self.section
    }

    /// What messages call the route.
    pub fn shown(&self) -> String {
        self.section.shown()
    }

    /// How long the provider wants its events to be remembered.
    pub fn must_remember(&self) -> Option<Duration> {
        self.provider
            .as_ref()
            .map(|provider| provider.must_remember())
    }

    /// Whether the route covers one segment below its path.
    pub fn has_path_secret(&self) -> bool {
        self.provider
            .as_ref()
            .is_some_and(|provider| provider.has_path_secret())
    }

    /// The route, if everything it needs is there. Says its unknown keys.
    pub fn finish(self) -> Option<Route> {
        self.section.finish();
        let (name, provider, upstream) = (self.name?, self.provider?, self.upstream?);
        Some(Route {
            letterhead: Letterhead::new(&upstream, provider.kind().name, &name),
            name: Arc::from(name),
            path: self.path?,
            host: self.host,
            provider,
            allow_from: self.allow_from,
            upstream,
            delivery: self.delivery,
            order_by: self.order_by,
            timeout: self.timeout,
            max_body: self.max_body,
            same_content_forwards: self.same_content_forwards,
            sign_with: self.sign_with.as_ref().map(Signer::new),
            quota: self.quota,
            queue: self.queue,
        })
    }
}

fn default_name(section: &mut Section<'_>, kind: Option<&'static Kind>) -> Option<String> {
    if section.is_spoiled("name") {
        return None;
    }
    let name = kind?.name;
    section.call(name);
    Some(name.to_owned())
}

fn kind(section: &mut Section<'_>) -> Option<&'static Kind> {
    if !section.has("provider") {
        section.missing(
            "provider",
            format!("is missing; write one of {}", known_kinds()),
        );
    }
    section.parse("provider", &format!("one of {}", known_kinds()), |text| {
        let advice = match nearest(text, KINDS.iter().map(|kind| kind.name)) {
            Some(name) => format!("did you mean {name:?}? Known are {}", known_kinds()),
            None => format!("known are {}", known_kinds()),
        };
        provider::find(text).ok_or_else(|| format!("is not a provider that is known; {advice}"))
    })
}

fn known_kinds() -> String {
    let names: Vec<_> = KINDS
        .iter()
        .map(|kind| format!("{:?}", kind.name))
        .collect();
    names.join(", ")
}

fn path(section: &mut Section<'_>, name: Option<&str>) -> Option<String> {
    let written = section.parse(
        "path",
        "a path such as \"/webhooks/walletwerk\"",
        naming::path,
    );
    if written.is_some() || section.is_spoiled("path") {
        return written;
    }
    name.map(|name| format!("/webhooks/{name}"))
}

/// The provider reads `[route.verify]` itself. Of an unknown provider the keys there are unknown too,
/// which is not worth a mistake each.
fn provider(
    section: &mut Section<'_>,
    kind: Option<&'static Kind>,
    secrets: &[Secret],
) -> Option<Arc<dyn Provider>> {
    let mut verify = section.section("verify");
    let provider = (kind?.build)(secrets.to_vec(), &mut verify);
    verify.finish();
    provider
}

fn refuse_final_slash(section: &Section<'_>, path: Option<&str>, provider: Option<&dyn Provider>) {
    let has_path_secret = provider.is_some_and(Provider::has_path_secret);
    if has_path_secret && path.is_some_and(|path| path.ends_with('/')) {
        section.mistake(
            "path",
            "must not end in `/`, since the secret segment follows with its own",
        );
    }
}

fn allow_from(section: &mut Section<'_>) -> Option<Vec<IpNet>> {
    let networks = section.parse_one_or_each("allow_from", NETWORK, network);
    if networks.is_empty() && section.has("allow_from") && !section.is_spoiled("allow_from") {
        section.mistake(
            "allow_from",
            format!("names no network, so nobody could send; write {NETWORK}, or leave it out"),
        );
    }
    (!networks.is_empty()).then_some(networks)
}

fn upstream(section: &mut Section<'_>) -> Option<Uri> {
    let expected = "a URL such as \"http://127.0.0.1:3000/webhooks\"";
    if !section.has("upstream") {
        section.missing("upstream", format!("is missing; write {expected}"));
    }
    section.parse("upstream", expected, upstream::upstream)
}

/// An owner of an event always ends in time for those who wait for it.
fn timeout(section: &mut Section<'_>, limits: &Limits) -> Duration {
    let kept = limits.body_time + limits.store_time;
    let most = limits.request_time.saturating_sub(kept);
    let written = section.duration("timeout");
    let timeout = written.unwrap_or(TIMEOUT_DEFAULT.min(most));
    if timeout > most || most.is_zero() {
        section.mistake(
            "timeout",
            format!(
                "is longer than {}: a sender waits 30s at most, and of the {} for a whole request {} are \
                 kept for its body and {} for storing",
                duration_text(most),
                duration_text(limits.request_time),
                duration_text(limits.body_time),
                duration_text(limits.store_time)
            ),
        );
    }
    timeout
}

fn max_body(section: &mut Section<'_>) -> usize {
    let bytes = section.size_within("max_body", &MAX_BODY_BOUNDS);
    usize::try_from(bytes.unwrap_or(MAX_BODY_DEFAULT)).unwrap_or(usize::MAX)
}

fn same_content_forwards(section: &mut Section<'_>, kind: Option<&Kind>) -> bool {
    let choices = [("duplicate", false), ("forward", true)];
    let forwards = section.one_of("same_content", &choices);
    if let Some(kind) = kind
        && !kind.has_delivery_ids
        && forwards.is_some()
    {
        section.mistake(
            "same_content",
            format!(
                "has no meaning for {}, which sends no delivery ids to tell events of the same content \
                 apart; leave it out",
                kind.name
            ),
        );
    }
    forwards.unwrap_or(false)
}

fn route_quota(section: &mut Section<'_>) -> Option<Quota> {
    let mut inner = section.section("quota");
    let quota = quota::route_quota(&mut inner);
    inner.finish();
    quota
}

fn route_queue(section: &mut Section<'_>, around: Around) -> Queue {
    let mut inner = section.section("queue");
    let queue = queue::queue(&mut inner, around);
    inner.finish();
    queue
}

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const MAX_BODY_DEFAULT: u64 = 1 << 20;
const MAX_BODY_BOUNDS: RangeInclusive<u64> = 1 << 10..=64 << 20;
