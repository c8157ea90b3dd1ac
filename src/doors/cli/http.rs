//! The HTTP client of the commands that talk to somebody.

use std::error::Error;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

/// A client for either scheme.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client; the system's certificates are only read for https.
///
/// # Errors
/// Why TLS cannot be used.
pub fn client(is_https: bool) -> Result<HttpClient, String> {
    let connector = match is_https {
        true => HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| format!("the system's certificates cannot be used: {error}"))?
            .https_only()
            .enable_http1()
            .build(),
        false => HttpsConnectorBuilder::new()
            .with_tls_config(without_roots()?)
            .https_or_http()
            .enable_http1()
            .build(),
    };
    Ok(Client::builder(TokioExecutor::new()).build(connector))
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
