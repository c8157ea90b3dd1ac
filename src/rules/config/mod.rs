//! The configuration: text becomes a checked [`Config`], or a list of every mistake in it.
//!
//! Nothing downstream checks again. What the values mean and what their defaults are stands in
//! `config.toml.example`, which a test holds in step with this module.

pub mod acme;
pub mod drain;
pub mod file;
pub mod listen;
pub mod listening;
pub mod source;
pub mod surroundings;
pub mod tls;

mod across;
mod delivery;
mod limits;
mod naming;
mod queue;
mod quota;
mod route;
mod signing;
mod store;
mod upstream;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use ipnet::IpNet;

use crate::rules::config::drain::Drain;
use crate::rules::config::listen::Listen;
use crate::rules::config::route::Draft;
use crate::rules::config::tls::Tls;
use crate::rules::hmac::Signer;
use crate::rules::letterhead::Letterhead;
use crate::rules::provider::Provider;
use crate::rules::reader::remark::Remark;
use crate::rules::reader::secrets::{SecretSource, Secrets};
use crate::rules::reader::{self, Read, Section};
use crate::rules::retry::Schedule;
use crate::words::limits::Limits;
use crate::words::secret::Presented;

/// A whole configuration, checked: every secret is resolved, every bound holds.
#[derive(Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[admin]`.
    pub admin: Admin,
    /// `[store]`.
    pub store: Store,
    /// `[client_quota]`: failed verifications per client address.
    pub client_quota: Quota,
    /// Every `[[route]]`, in the order of the file; at least one.
    pub routes: Vec<Route>,
}

/// `[server]`: where events come in.
#[derive(Debug)]
pub struct Server {
    /// The places to listen at; at least one.
    pub listen: Vec<Listen>,
    /// The permissions of Unix sockets among them.
    pub socket_mode: u32,
    /// How much, how many and how long.
    pub limits: Limits,
    /// How long an end may take.
    pub drain: Drain,
    /// Peers whose word on the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where such a peer writes it.
    pub client_address_from: ClientAddressFrom,
    /// `[server.tls]`: absent, senders come in plain text.
    pub tls: Option<Tls>,
}

/// The one place that a trusted proxy's word is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddressFrom {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
    /// None: the proxy says it before the request, in the PROXY protocol.
    ProxyProtocol,
}

/// `[admin]`: the operator's listener.
#[derive(Debug)]
pub struct Admin {
    /// The places to listen at; at least one.
    pub listen: Vec<Listen>,
    /// The permissions of Unix sockets among them.
    pub socket_mode: u32,
    /// The bearer token, where one is set.
    pub token: Option<Presented>,
}

/// `[store]`: the durable memory.
#[derive(Debug)]
pub struct Store {
    /// The redb file: absolute, or relative to the working directory (the configuration's folder is
    /// already put before it).
    pub path: PathBuf,
    /// How long a settled event is remembered.
    pub remember: Duration,
    /// So many bytes of the disk are never given to new events.
    pub reserve: u64,
    /// How long a start waits for another process to give the file up.
    pub lock_wait: Duration,
}

/// A rate and the burst that may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// So many…
    pub count: NonZeroU32,
    /// …in so long a time.
    pub per: Duration,
    /// So many may come at once after a quiet time.
    pub burst: NonZeroU32,
}

/// One `[[route]]`.
#[derive(Debug)]
pub struct Route {
    /// The label in logs and metrics, and part of every ledger key.
    pub name: Arc<str>,
    /// The exact path.
    pub path: String,
    /// The exact host in lower case, where the route is for one only.
    pub host: Option<String>,
    /// Who sends, and how it is verified.
    pub provider: Arc<dyn Provider>,
    /// The only networks that clients may be in; `None` for anywhere.
    pub allow_from: Option<Vec<IpNet>>,
    /// Where the app takes events.
    pub upstream: Uri,
    /// What all requests there have in common.
    pub letterhead: Letterhead,
    /// What the provider's answer waits for.
    pub delivery: Delivery,
    /// A JSON pointer (RFC 6901) into the body: events with the same value there keep their order. Only
    /// with [`Delivery::Queue`].
    pub order_by: Option<String>,
    /// How long one attempt at the app may take.
    pub timeout: Duration,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// `same_content = "forward"`: the same content under another delivery id is another event.
    pub same_content_forwards: bool,
    /// Signs what the app receives, keyed with the decoded Standard Webhooks secret.
    pub sign_with: Option<Signer>,
    /// How fast the app is called, where that is limited.
    pub quota: Option<Quota>,
    /// `[route.queue]`: what holds for the events that are stored, in every mode.
    pub queue: Queue,
}

/// What the provider's answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The app's answer, which is given back.
    Inline,
    /// The app's 2xx; when it fails or is slow, the event's place in the queue.
    Spill,
    /// The event's place in the queue.
    Queue,
}

/// `[route.queue]`: how a route's stored events are tried again, how long they are kept, and how many
/// there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// When an event is tried again, and until when.
    pub schedule: Schedule,
    /// So many attempts of the queue may be under way at once.
    pub max_in_flight: usize,
    /// How long a delivered event is kept with its body; zero for not at all.
    pub keep_delivered: Duration,
    /// How long a dead letter is kept; at least as long as the store remembers.
    pub keep_dead: Duration,
    /// So many queued events and dead letters may be stored at once.
    pub max_events: u64,
    /// So many bytes of queued events and dead letters may be stored at once.
    pub max_bytes: u64,
}

// === impl Route ===

impl Route {
    /// Whether a client of this address may send.
    pub fn is_open_to(&self, client: IpAddr) -> bool {
        let networks = self.allow_from.as_deref();
        networks.is_none_or(|networks| networks.iter().any(|network| network.contains(&client)))
    }
}

// === impl Config ===

impl Config {
    /// Reads a configuration's text. `file` is where it came from: relative paths start from its folder.
    /// Without a source (`--no-secrets`) placeholders stand in for the secrets, and the result is good
    /// for nothing but to know that the rest is right.
    ///
    /// Gives the warnings beside the configuration.
    ///
    /// # Errors
    /// Every mistake, and the warnings, in the order of the text.
    pub fn read(
        text: &str,
        file: &Path,
        source: Option<&dyn SecretSource>,
    ) -> Result<(Self, Vec<Remark>), Vec<Remark>> {
        let read = read_text(text, file, source);
        let mut remarks = read.remarks;
        match read.value {
            Some(config) if !remarks.iter().any(Remark::is_mistake) => Ok((config, remarks)),
            Some(_) => Err(remarks),
            None => {
                // A provider that gives up owes a reason; without one the operator still gets a no.
                if !remarks.iter().any(Remark::is_mistake) {
                    remarks.push(Remark::of_file(
                        None,
                        "a provider refused its options without saying why",
                    ));
                }
                Err(remarks)
            }
        }
    }
}

/// As [`Config::read`], with the keys that were asked for.
fn read_text(text: &str, file: &Path, source: Option<&dyn SecretSource>) -> Read<Option<Config>> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let secrets = source.map_or(Secrets::Placeholders, |source| {
        Secrets::From(source, folder)
    });
    reader::read(text, secrets, |root| read_root(root, folder))
}

fn read_root(root: &mut Section<'_>, folder: &Path) -> Option<Config> {
    let mut server_section = root.section("server");
    let mut server = listening::server(&mut server_section, folder);
    let mut admin_section = root.section("admin");
    let admin = listening::admin(&mut admin_section, folder);
    listening::refuse_overlap(&server, &server_section, &admin, &mut admin_section);

    let mut store_section = root.section("store");
    let store = store::store(&mut store_section, folder);
    acme::settle(&mut server, &store);
    let mut quota_section = root.section("client_quota");
    let client_quota = quota::client_quota(&mut quota_section);

    let remember = (!store_section.is_spoiled("remember")).then_some(store.remember);
    let drafts: Vec<Draft<'_>> = root
        .sections("route")
        .into_iter()
        .map(|section| Draft::read(section, remember, &server.limits))
        .collect();
    if drafts.is_empty() && !root.is_spoiled("route") {
        root.missing(
            "route",
            "there is none, so nothing would be received; begin one with [[route]] and give it a \
             provider, secrets and an upstream",
        );
    }
    across::check(&drafts);
    store::check_remember(&store, &mut store_section, &drafts);

    server_section.finish();
    admin_section.finish();
    store_section.finish();
    quota_section.finish();
    let routes: Option<Vec<Route>> = drafts
        .into_iter()
        .map(Draft::finish)
        .collect::<Vec<_>>()
        .into_iter()
        .collect();
    Some(Config {
        server,
        admin,
        store,
        client_quota: client_quota?,
        routes: routes?,
    })
}

#[cfg(test)]
mod tests;
