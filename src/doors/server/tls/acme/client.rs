//! The way to an authority: HTTPS with our own stack, bounded in time and in bytes.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Limited;
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::doors::server::tls::acme::AcmeError;

/// A request to an authority takes no longer than this.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// Bytes of an authority's answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

struct Bounded(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

/// A client that believes the certificates of `roots`, or those that the system does.
///
/// # Errors
/// If they cannot be read.
pub fn client(roots: Option<&Path>) -> Result<Box<dyn HttpClient>, AcmeError> {
    let builder = HttpsConnectorBuilder::new();
    let provider = ring::default_provider();
    let builder = match roots {
        Some(roots) => {
            let unusable = |error: String| AcmeError::Roots(roots.to_owned(), error);
            let mut store = RootCertStore::empty();
            let read = CertificateDer::pem_file_iter(roots)
                .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
                .map_err(|error| unusable(error.to_string()))?;
            for certificate in read {
                store
                    .add(certificate)
                    .map_err(|error| unusable(error.to_string()))?;
            }
            let config = ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(|error| unusable(error.to_string()))?
                .with_root_certificates(store)
                .with_no_client_auth();
            builder.with_tls_config(config)
        }
        None => builder
            .with_provider_and_native_roots(provider)
            .map_err(|error| AcmeError::SystemRoots(error.to_string()))?,
    };
    let connector = builder.https_only().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Ok(Box::new(Bounded(client)))
}

impl HttpClient for Bounded {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let sending = self.0.request(request);
        Box::pin(async move {
            let response = tokio::time::timeout(REQUEST_TIME, sending)
                .await
                .map_err(|elapsed| Error::Other(Box::new(elapsed)))?
                .map_err(|error| Error::Other(Box::new(error)))?;
            let bounded = response.map(|body| Limited::new(body, ANSWER_BYTES_MAX));
            Ok(BytesResponse::from(bounded))
        })
    }
}
