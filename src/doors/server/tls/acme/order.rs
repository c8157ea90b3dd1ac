//! One order for a certificate, from the account to the chain (RFC 8555), its challenges answered by TLS alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::doors::server::tls::acme::AcmeError;
use crate::doors::server::tls::acme::cache::Cache;
use crate::doors::server::tls::acme::client::client;
use crate::doors::server::tls::certificates::Certificates;
use crate::rules::config::acme::Acme;

/// How long an authority is given to look at the answers, and to sign.
const POLLS: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// Orders a certificate; the key and the chain, as one PEM text.
///
/// # Errors
/// Why there is none.
pub async fn order(
    config: &Acme,
    cache: &Cache,
    certificates: &Certificates,
) -> Result<Zeroizing<String>, AcmeError> {
    let account = account(config, cache).await?;
    let domains: Vec<Identifier> = config
        .domains
        .iter()
        .cloned()
        .map(Identifier::Dns)
        .collect();
    let mut order = account.new_order(&NewOrder::new(&domains)).await?;
    answer(&mut order, certificates).await?;
    match order.poll_ready(&POLLS).await? {
        OrderStatus::Ready => {}
        status => return Err(AcmeError::NotReady(status)),
    }
    let key = Zeroizing::new(order.finalize().await?);
    let chain = order.poll_certificate(&POLLS).await?;
    Ok(Zeroizing::new(format!("{}{chain}", *key)))
}

/// The account that was kept, or a new one, which is kept.
async fn account(config: &Acme, cache: &Cache) -> Result<Account, AcmeError> {
    let builder = Account::builder_with_http(client(config.roots.as_deref())?);
    let kept = cache
        .account()
        .and_then(|json| serde_json::from_slice::<AccountCredentials>(&json).ok());
    if let Some(kept) = kept {
        return Ok(builder.from_credentials(kept).await?);
    }
    let contact: Vec<&str> = config.contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        // Whoever sets the section up agrees, and is told so beside it.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) = builder.create(&new, config.directory.clone(), None).await?;
    let json = serde_json::to_vec(&credentials).map_err(Error::Json)?;
    cache
        .keep_account(&Zeroizing::new(json))
        .map_err(AcmeError::Cache)?;
    Ok(account)
}

/// Lays the answers out, and has the authority look at them.
async fn answer(order: &mut Order, certificates: &Certificates) -> Result<(), AcmeError> {
    let mut answers = HashMap::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let domain = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => return Err(AcmeError::Authorization(domain, status)),
        }
        let mut challenge = authorization
            .challenge(ChallengeType::TlsAlpn01)
            .ok_or_else(|| AcmeError::NoChallenge(domain.clone()))?;
        let proof = challenge.key_authorization();
        let shown = shown_for(&domain, proof.digest().as_ref())?;
        answers.insert(domain, shown);
        certificates.answer_challenges(answers.clone());
        challenge.set_ready().await?;
    }
    Ok(())
}

/// The certificate that answers a challenge (RFC 8737, 3).
fn shown_for(domain: &str, proof: &[u8]) -> Result<Arc<CertifiedKey>, AcmeError> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(proof)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    // Whether they belong together is not asked: the library knows no such certificate, and both are ours.
    let key = ring::default_provider().key_provider.load_private_key(key);
    let certified = key.map(|key| CertifiedKey::new(chain, key));
    certified.map(Arc::new).map_err(AcmeError::Answer)
}
