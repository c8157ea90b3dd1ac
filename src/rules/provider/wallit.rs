//! Wallit: a GET callback with a token in the query; POST is taken too, since its documents name both.
//!
//! The callback carries no data and proves nothing by itself: the app exchanges the token for the result.
//! What can be proven is a secret last path segment (`secrets`), or the `Authentication` header that
//! Wallit's predecessor promised (`management_key` and `management_secret`). Without either the route
//! must say `allow_unproven = true`. Only the answer 200 counts.
//!
//! # Why the content key covers every parameter
//! A forged callback may name a true token under another type; it must not make the true one a duplicate.

mod diagnosis;
mod parameters;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};

use crate::rules::diagnosis::{Case, Finding};
use crate::rules::hmac::{SignatureEncoding, Signer};
use crate::rules::provider::wallit::parameters::{Parameters, is_id_byte, is_shaped, is_type_byte};
use crate::rules::provider::{Kind, Provider, Sample, SampleOrder, Screened};
use crate::rules::reader::Section;
use crate::words::identity::Identity;
use crate::words::message::{Head, Message};
use crate::words::secret::{Presented, Reference, Secret};
use crate::words::time::Timestamp;
use crate::words::verdict::{Assurance, Fate, Unverified, Verdict};

/// Wallit's line in the registry.
pub static KIND: Kind = Kind {
    name: "wallit",
    proof: "a callback with a token, to a secret path",
    methods: &[Method::GET, Method::POST],
    deciding_headers: &[&AUTHENTICATION, &TIMESTAMP],
    kept_headers: &[],
    keeps_query: true,
    needs_body: false,
    accepted_status: Some(StatusCode::OK),
    has_delivery_ids: false,
    retry_pauses: &[Duration::from_secs(60), Duration::from_secs(60)],
    disabled_after: None,
    worthless_after: Some(TOKEN_LIFE),
    events: &[
        "ExternalSubscriberLinked",
        "EligibleSubscriptionPurchased",
        "ExternalSubscriberImportCompleted",
        "ExternalSubscriberExportCompleted",
        "ExternalFulfillmentSubscriptionExport",
        "ExternalFulfillmentSubscriptionPurchased",
    ],
    build,
    sample,
};

/// Really `Authentication`, not `Authorization`.
static AUTHENTICATION: HeaderName = HeaderName::from_static("authentication");
static TIMESTAMP: HeaderName = HeaderName::from_static("timestamp");

const TYPE: &str = "CallbackType";
const TOKEN: &str = "CallbackToken";

/// A token can be exchanged for 24 hours; later a copy of the callback is worth nothing.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the signed `Timestamp` may be from now, in both directions (Wallit's own tolerance).
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
struct Wallit {
    path_secrets: Vec<Presented>,
    management: Option<Management>,
    allow_unproven: bool,
}

/// What an `Authentication` header is verified with.
#[derive(Debug)]
struct Management {
    /// The access key, lower-cased: it is compared without regard to case.
    key: Presented,
    signer: Signer,
}

fn build(secrets: Vec<Secret>, verify: &mut Section<'_>) -> Option<Arc<dyn Provider>> {
    let allow_unproven = verify.flag("allow_unproven").unwrap_or(false);
    let key = verify.secret("management_key");
    let secret = verify.secret("management_secret");
    let mut is_right = true;
    for secret in &secrets {
        let is_segment = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        if !verify.has_placeholders() && !secret.expose().iter().all(is_segment) {
            verify.mistake_at_parent(
                "secrets",
                format!(
                    "{} is to be a path segment, so it can hold only letters, digits and - . _ ~",
                    secret.reference()
                ),
            );
            is_right = false;
        }
    }
    if key.is_some() != secret.is_some()
        && verify.has("management_key") != verify.has("management_secret")
    {
        verify.mistake(
            if key.is_some() { "management_key" } else { "management_secret" },
            "management_key and management_secret are one pair of a Management API key: set both or none",
        );
        is_right = false;
    }
    let has_keys = verify.has("management_key") || verify.has("management_secret");
    if secrets.is_empty() && !has_keys && !allow_unproven {
        verify.mistake_at_parent(
            "secrets",
            "a Wallit callback proves nothing by itself: name a secret for the last path segment, like [\"env:WALLIT_PATH_SECRET\"], or set management_key and management_secret, or allow_unproven = true, in [route.verify]",
        );
        is_right = false;
    }
    let management = match (key, secret) {
        (Some(key), Some(secret)) => Some(Management {
            key: lower_case(&key).to_presented(),
            signer: Signer::new(&secret),
        }),
        (Some(_) | None, None) | (None, Some(_)) => None,
    };
    is_right.then(|| {
        Arc::new(Wallit {
            path_secrets: secrets.iter().map(Secret::to_presented).collect(),
            management,
            allow_unproven,
        }) as Arc<dyn Provider>
    })
}

// === impl Wallit ===

impl Provider for Wallit {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    /// Everything but a form body is known from the head, so all of it is judged before the body.
    fn screen(&self, head: &Head) -> Result<Screened, Unverified> {
        self.prove(head, head.received_at)
            .map(|_| Screened::default())
    }

    fn verify(
        &self,
        message: &Message,
        _screened: Screened,
        now: Timestamp,
    ) -> Result<Verdict, Unverified> {
        let (assurance, secret) = self.prove(&message.head, now)?;
        let parameters = Parameters::read(message)?;
        let callback_type = parameters.shaped(TYPE, is_type_byte)?;
        let token = parameters.shaped(TOKEN, is_id_byte)?;
        if parameters.ids().any(|id| !is_shaped(id, is_id_byte)) {
            return Err(Unverified::BadShape);
        }
        Ok(Verdict {
            identity: Identity {
                content: parameters.digest(),
                delivery_id: None,
                facts: None,
                id_counts: false,
            },
            ce_type: format!("io.wallit.{callback_type}"),
            event_type: callback_type.into(),
            time: None,
            subject: Some(token.to_owned()),
            assurance,
            proof: match assurance {
                Assurance::None => "shape",
                Assurance::Token | Assurance::ApiKey | Assurance::Signature => "token",
            },
            secret,
            fate: Fate::Deliver,
            corrections: Vec::new(),
            is_test: false,
            delivery_id_ignored: false,
            is_undated: true,
        })
    }

    fn secrets(&self) -> Vec<Reference> {
        let keys = self.management.iter().map(|keys| keys.signer.reference());
        self.path_secrets
            .iter()
            .map(Presented::reference)
            .chain(keys)
            .cloned()
            .collect()
    }

    fn diagnose(&self, case: &Case<'_>) -> Vec<Finding> {
        diagnosis::findings(self, case)
    }

    fn must_remember(&self) -> Duration {
        TOKEN_LIFE
    }

    fn has_path_secret(&self) -> bool {
        !self.path_secrets.is_empty()
    }

    fn is_unproven(&self) -> bool {
        self.allow_unproven && self.path_secrets.is_empty()
    }
}

impl Wallit {
    /// How much the head proves: every proof that is there must hold, and one is needed unless the route
    /// allows none.
    fn prove(
        &self,
        head: &Head,
        now: Timestamp,
    ) -> Result<(Assurance, Option<Reference>), Unverified> {
        let path_secret = self.prove_path(head)?;
        let signed = self.prove_authentication(head, now)?;
        match path_secret.or(signed) {
            Some(reference) => Ok((Assurance::Token, Some(reference.clone()))),
            None if self.allow_unproven => Ok((Assurance::None, None)),
            None => Err(Unverified::MissingCredential),
        }
    }

    fn prove_path(&self, head: &Head) -> Result<Option<&Reference>, Unverified> {
        if self.path_secrets.is_empty() {
            return Ok(None);
        }
        let segment = head.path().rsplit('/').next().unwrap_or("");
        Presented::find(&self.path_secrets, segment.as_bytes())
            .map(Some)
            .ok_or(Unverified::WrongSecret)
    }

    fn prove_authentication(
        &self,
        head: &Head,
        now: Timestamp,
    ) -> Result<Option<&Reference>, Unverified> {
        let Some(management) = &self.management else {
            return Ok(None);
        };
        let single = |name| head.single(name).map_err(|_| Unverified::Ambiguous);
        let Some(written) = single(&AUTHENTICATION)? else {
            return Ok(None);
        };
        let timestamp = single(&TIMESTAMP)?.ok_or(Unverified::MissingCredential)?;
        let (key, token) = written
            .to_str()
            .ok()
            .and_then(|value| value.split_once(':'))
            .ok_or(Unverified::IllShapedCredential)?;
        let tag = SignatureEncoding::Base64
            .decode(token.as_bytes())
            .ok_or(Unverified::IllShapedCredential)?;
        let signed_at = timestamp
            .to_str()
            .ok()
            .and_then(read_http_date)
            .ok_or(Unverified::IllShapedCredential)?;
        let known = Presented::find(
            std::slice::from_ref(&management.key),
            key.to_ascii_lowercase().as_bytes(),
        );
        let text = signing_text(head, timestamp.as_bytes());
        let signer = Signer::find(std::slice::from_ref(&management.signer), &[&text], &tag);
        match (known, signer) {
            (Some(_), Some(signer)) => {
                if signed_at < now.before(TOLERANCE) || signed_at > now.after(TOLERANCE) {
                    return Err(Unverified::WrongTime);
                }
                // Of another method only the path and the time are signed: whoever captured one could write
                // other parameters.
                Ok((head.method == Method::GET).then(|| signer.reference()))
            }
            (None, _) => Err(Unverified::WrongSecret),
            (Some(_), None) => Err(Unverified::WrongSignature),
        }
    }
}

/// What Wallit signs: method, `Timestamp`, path and query, each on a line of its own.
///
/// The path is the one that Wallit was given, lower-cased; names and values of the query are decoded,
/// lower-cased and sorted by name, and left out for other methods than GET, as both SDKs do.
pub(super) fn signing_text(head: &Head, timestamp: &[u8]) -> Vec<u8> {
    let query = match head.method {
        Method::GET => signing_query(head.query()),
        _ => String::new(),
    };
    let mut text = Vec::new();
    text.extend_from_slice(head.method.as_str().as_bytes());
    text.push(b'\n');
    text.extend_from_slice(timestamp);
    text.push(b'\n');
    text.extend_from_slice(head.path().to_ascii_lowercase().as_bytes());
    text.push(b'\n');
    text.extend_from_slice(query.as_bytes());
    text
}

fn signing_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (name.to_lowercase(), value.to_lowercase()))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn read_http_date(text: &str) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_secs(i64::try_from(since.as_secs()).ok()?))
}

fn lower_case(secret: &Secret) -> Secret {
    Secret::new(
        secret.expose().to_ascii_lowercase(),
        secret.reference().clone(),
    )
}

fn sample(order: &SampleOrder<'_>) -> Sample {
    let token = format!(
        "5d0f5ca5-2528-4bbd-{:04x}-{:012x}",
        order.now.as_stored_secs() & 0xffff,
        order.nonce
    );
    let id_name = match order.event {
        "ExternalSubscriberImportCompleted" => Some("ExternalSubscriberImportID"),
        "ExternalSubscriberExportCompleted" => Some("ExternalSubscriberExportID"),
        "ExternalFulfillmentSubscriptionExport" => Some("ExternalFulfillmentSubscriptionExportID"),
        _ => None,
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair(TYPE, order.event)
        .append_pair(TOKEN, &token);
    if let Some(name) = id_name {
        query.append_pair(
            name,
            "e63f94b4-247f-405d-9222-af01507271ec|0635781205603107443",
        );
    }
    Sample {
        method: Method::GET,
        path_suffix: order
            .secret
            .map(|secret| format!("/{}", String::from_utf8_lossy(secret)))
            .unwrap_or_default(),
        query: query.finish(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// The value of `Authentication` for a request, as Wallit's SDKs compute it.
pub fn authentication(head: &Head, key: &str, secret: &Secret, timestamp: &str) -> String {
    let text = signing_text(head, timestamp.as_bytes());
    let token = BASE64.encode(&Signer::new(secret).sign(&[&text]));
    format!("{key}:{token}")
}
