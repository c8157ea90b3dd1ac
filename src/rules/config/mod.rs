//! The configuration: text becomes a checked [`Config`], or a list of every mistake in it.
//!
//! Nothing downstream checks again. What the values mean and what their defaults are stands in
//! `config.toml.example`, which a test holds in step with this module.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use ipnet::IpNet;

use crate::rules::provider::Provider;
use crate::rules::provider::hmac::Signer;
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
    /// The addresses to listen on; at least one.
    pub listen: Vec<SocketAddr>,
    /// Peers whose word on the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where such a peer writes it.
    pub client_address_from: ClientAddressFrom,
}

/// The one header that a trusted proxy's word is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddressFrom {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// `[admin]`: the operator's listener.
#[derive(Debug)]
pub struct Admin {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The bearer token, where one is set.
    pub token: Option<Presented>,
}

/// `[store]`: the durable memory.
#[derive(Debug)]
pub struct Store {
    /// The redb file, absolute or relative to the working directory.
    pub path: PathBuf,
    /// How long a settled event is remembered.
    pub remember: Duration,
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
    /// Where the app takes events.
    pub upstream: Uri,
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
}
