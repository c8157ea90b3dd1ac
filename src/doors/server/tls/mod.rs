//! TLS with senders: versions, ciphers and protocols, the handshake, and which certificate is shown.
//!
//! TLS 1.2 and 1.3, AEAD only, no early data (it could be replayed). A handshake has a deadline, and one that
//! comes to nothing is counted and not logged: anybody can make as many of them as he likes.

mod acme;
pub mod certificates;
pub mod telling;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch as watch_channel;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::doors::server::tls::acme::Renewal;
use crate::doors::server::tls::certificates::{ACME_TLS, Certificates};
use crate::doors::server::tls::telling::Teller;
use crate::doors::server::tls::watch::{Reading, Watch};
use crate::keepers::metrics::{Handshake, Metrics};
use crate::rules::config::tls;
use crate::words::limits::Limits;

/// What every connection's TLS is made from.
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    handshake_time: Duration,
    metrics: Arc<Metrics>,
}

/// What keeps the certificates fresh.
pub struct Upkeep {
    watch: Watch,
    renewal: Option<Renewal>,
}

/// A connection whose handshake is done.
pub struct Secured<S> {
    /// What is in it.
    pub stream: TlsStream<S>,
    /// The name that the sender asked for, if it asked for one.
    pub name: Option<String>,
    /// What was agreed upon.
    pub spoken: Spoken,
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1, which is also spoken where nothing was agreed upon.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why there can be no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// A certificate or its key cannot be served: its name, and why.
    Certificate(Arc<str>, String),
    /// The library refuses the settings.
    Library(rustls::Error),
}

const HTTP_1_1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

// === impl Tls ===

impl Tls {
    /// Reads the certificates, and gives what keeps them fresh beside it.
    ///
    /// # Errors
    /// If one of them cannot be served, or there is no randomness.
    pub fn new(
        config: &tls::Tls,
        handshake_time: Duration,
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, Upkeep), TlsError> {
        let first = config
            .pairs
            .iter()
            .map(|pair| {
                Reading::of(pair).map_err(|why| TlsError::Certificate(Arc::clone(&pair.name), why))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let certificates = Arc::new(Certificates::default());
        let files = first.iter().map(|reading| reading.certificate.clone());
        certificates.serve_files(files.collect());
        let renewal = config
            .acme
            .clone()
            .map(|acme| Renewal::new(acme, Arc::clone(&certificates)));
        let server = server_config(Arc::clone(&certificates), config);
        let tls = Self {
            acceptor: TlsAcceptor::from(Arc::new(server.map_err(TlsError::Library)?)),
            certificates: Arc::clone(&certificates),
            handshake_time,
            metrics: Arc::clone(metrics),
        };
        let watch = Watch::new(config.pairs.iter().cloned().zip(first), certificates);
        Ok((tls, Upkeep { watch, renewal }))
    }

    /// Shakes hands within the deadline; `None` if it came to nothing.
    pub async fn accept<S>(&self, socket: S) -> Option<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = self.acceptor.accept(socket);
        let (stream, how) = match tokio::time::timeout(self.handshake_time, accepting).await {
            Ok(Ok(stream)) => (Some(stream), Handshake::Done),
            // The peer was told by an alert, as far as it still listens.
            Ok(Err(_)) => (None, Handshake::Failed),
            Err(_) => (None, Handshake::TooSlow),
        };
        self.metrics.count_handshake(how);
        let stream = stream?;
        let (_, session) = stream.get_ref();
        let spoken = match session.alpn_protocol() {
            // It has seen what it came for.
            Some(ACME_TLS) => return None,
            Some(H2) => Spoken::Http2,
            Some(_) | None => Spoken::Http1,
        };
        let name = session.server_name().map(str::to_owned);
        Some(Secured {
            stream,
            name,
            spoken,
        })
    }

    /// Whether a request for `host` does not belong on a connection that was made for `name`: the certificate
    /// shown there is not one of that host. A sender may use one connection for several names of a certificate
    /// (RFC 9113, 9.1.1), and one that named none was shown the default and asked for nothing else.
    pub fn is_misdirected(&self, name: Option<&str>, host: &str) -> bool {
        let Some(name) = name.filter(|name| !name.eq_ignore_ascii_case(host)) else {
            return false;
        };
        !self
            .certificates
            .chosen(Some(name))
            .is_some_and(|shown| shown.is_for(host))
    }
}

fn server_config(
    certificates: Arc<Certificates>,
    config: &tls::Tls,
) -> Result<ServerConfig, rustls::Error> {
    // Every suite that the library has is an AEAD.
    let mut server = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    server.max_early_data_size = 0;
    server.ticketer = ring::Ticketer::new()?;
    // In the order of our liking; an authority with a challenge offers nothing but its own.
    let offered = [
        (config.http2, H2),
        (true, HTTP_1_1),
        (config.acme.is_some(), ACME_TLS),
    ];
    server.alpn_protocols = offered
        .into_iter()
        .filter(|(is_offered, _)| *is_offered)
        .map(|(_, protocol)| protocol.to_vec())
        .collect();
    Ok(server)
}

// === impl Upkeep ===

impl Upkeep {
    /// Keeps the certificates fresh until told to stop.
    pub async fn run(self, teller: Teller, limits: Limits, stop: watch_channel::Receiver<bool>) {
        let watching = self
            .watch
            .run(teller.clone(), limits.certificate_poll, stop.clone());
        let renewing = async {
            if let Some(renewal) = self.renewal {
                renewal.run(teller, limits, stop).await;
            }
        };
        tokio::join!(watching, renewing);
    }
}

// === impl TlsError ===

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(name, why) => {
                write!(f, "the certificate {name} cannot be served: {why}")
            }
            Self::Library(error) => write!(f, "TLS cannot be used: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
