//! The HTTP client of the commands that talk to somebody.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

use crate::doors::cli::connect::Connector;

/// A client for either scheme.
pub type HttpClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// A client; the system's certificates are only read for https.
///
/// # Errors
/// Why TLS cannot be used.
pub fn client(is_https: bool) -> Result<HttpClient, String> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let tcp = Connector::Tcp(tcp);
    let connector = match is_https {
        true => HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| format!("the system's certificates cannot be used: {error}"))?
            .https_only()
            .enable_http1()
            .wrap_connector(tcp),
        false => plain(tcp)?,
    };
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// A client that connects to this Unix socket only.
///
/// # Errors
/// Why there can be none.
pub fn client_at(socket: &Path) -> Result<HttpClient, String> {
    let connector = plain(Connector::Unix(Arc::new(socket.to_owned())))?;
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

fn plain(connector: Connector) -> Result<HttpsConnector<Connector>, String> {
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(without_roots()?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector))
}

/// Sends a request and reads the whole answer, of at most `bytes_max`, within `limit`.
///
/// # Errors
/// Why there is none, in a few words.
pub async fn exchange(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
    limit: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let exchange = async {
        let response = client.request(request).await;
        let response = response.map_err(|error| innermost(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bytes_max).collect();
        let body = body.await.map_err(|error| innermost(&*error))?;
        Ok((status, body.to_bytes()))
    };
    let late = || Err(format!("no answer in {} s", limit.as_secs()));
    let exchanged = tokio::time::timeout(limit, exchange).await;
    exchanged.unwrap_or_else(|_| late())
}

/// The error at the root: the ones around it only say "client error".
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn without_roots() -> Result<ClientConfig, String> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
