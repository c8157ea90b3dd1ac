//! WalletWerk: POST, signed with HMAC-SHA256 over the raw body and nothing else.
//!
//! The delivery id, event and timestamp headers are not signed: whoever has one captured request can
//! write others. So identity, type, time and subject come from the body, a header that says otherwise is
//! corrected for the app, and the delivery id alone is never an identity.
//!
//! # Why freshness is judged so widely
//! The timestamp says when the thing happened, not when it was sent, and retries run for a day. The usual
//! five minutes would refuse honest retries; `max_age` together with the ledger closes replay instead.

mod diagnosis;
mod facts;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::rules::diagnosis::{Case, Finding};
use crate::rules::hmac::{SignatureEncoding, Signer, to_hex};
use crate::rules::provider::walletwerk::facts::Facts;
use crate::rules::provider::{Kind, Provider, Sample, SampleOrder, Screened};
use crate::rules::reader::Section;
use crate::words::identity::Identity;
use crate::words::message::{Head, Message};
use crate::words::secret::{Reference, Secret};
use crate::words::time::Timestamp;
use crate::words::verdict::{Assurance, BuryReason, Fate, Unverified, Verdict};

/// WalletWerk's line in the registry.
pub static KIND: Kind = Kind {
    name: "walletwerk",
    proof: "signed with HMAC-SHA256 over the body",
    methods: &[Method::POST],
    deciding_headers: &[&SIGNATURE, &EVENT, &TIMESTAMP, &DELIVERY_ID],
    kept_headers: &[&SIGNATURE, &EVENT, &TIMESTAMP, &DELIVERY_ID],
    keeps_query: false,
    needs_body: true,
    accepted_status: None,
    has_delivery_ids: true,
    retry_pauses: &[
        Duration::from_secs(60),
        Duration::from_secs(5 * 60),
        Duration::from_secs(15 * 60),
        Duration::from_secs(60 * 60),
        RETRY_HORIZON,
    ],
    disabled_after: Some(10),
    worthless_after: None,
    events: &[
        "card.active",
        "card.created",
        "card.updated",
        "card.removed",
        "card.revoked",
        "card.expired",
        "recipient.created",
        "recipient.invited",
        "recipient.updated",
        "campaign.created",
        "campaign.updated",
        "campaign.completed",
        TEST_EVENT,
    ],
    build,
    sample,
};

static SIGNATURE: HeaderName = HeaderName::from_static("x-walletwerk-signature");
static EVENT: HeaderName = HeaderName::from_static("x-walletwerk-event");
static TIMESTAMP: HeaderName = HeaderName::from_static("x-walletwerk-timestamp");
static DELIVERY_ID: HeaderName = HeaderName::from_static("x-walletwerk-delivery-id");

/// The dashboard's test button.
const TEST_EVENT: &str = "webhook.test";

/// The last retry comes a day after the event at the latest.
const RETRY_HORIZON: Duration = Duration::from_secs(24 * 60 * 60);

/// A captured request counts as fresh for `max_age`; the ledger must know it longer than that.
const MEMORY_BEYOND_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// How far an event may lie in the future: clocks differ.
const AHEAD: Duration = Duration::from_secs(5 * 60);

const DEFAULT_MAX_AGE: Duration = Duration::from_secs(72 * 60 * 60);

/// A longer delivery id is no id: it would only be a way to fill memory.
const DELIVERY_ID_BYTES_MAX: usize = 256;

/// A longer event or time of a body is taken out of the header rather than written into it.
const CORRECTION_BYTES_MAX: usize = 1024;

#[derive(Debug)]
struct WalletWerk {
    signers: Vec<Signer>,
    encoding: SignatureEncoding,
    max_age: Duration,
}

fn build(secrets: Vec<Secret>, verify: &mut Section<'_>) -> Option<Arc<dyn Provider>> {
    let encoding = verify
        .one_of("signature_encoding", &SignatureEncoding::CHOICES)
        .unwrap_or(SignatureEncoding::Auto);
    let max_age = verify.duration("max_age").unwrap_or(DEFAULT_MAX_AGE);
    let signers: Vec<Signer> = secrets.iter().map(Signer::new).collect();
    if signers.is_empty() {
        verify.mistake_at_parent(
            "secrets",
            "WalletWerk signs its requests: name the endpoint's signing secret, like [\"env:WALLETWERK_SECRET\"]",
        );
        return None;
    }
    Some(Arc::new(WalletWerk {
        signers,
        encoding,
        max_age,
    }))
}

// === impl WalletWerk ===

impl Provider for WalletWerk {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn screen(&self, head: &Head) -> Result<Screened, Unverified> {
        let value = head
            .single(&SIGNATURE)
            .map_err(|_| Unverified::Ambiguous)?
            .ok_or(Unverified::MissingCredential)?;
        match self.encoding.decode(value.as_bytes()) {
            Some(tag) => Ok(Screened { tag: Some(tag) }),
            None => Err(Unverified::IllShapedCredential),
        }
    }

    fn verify(
        &self,
        message: &Message,
        screened: Screened,
        now: Timestamp,
    ) -> Result<Verdict, Unverified> {
        let (signer, proof) = self.verify_signature(message, screened)?;
        let facts = Facts::read(&message.body);
        Ok(self.judge(message, now, facts, signer.reference(), proof))
    }

    fn secrets(&self) -> Vec<Reference> {
        self.signers
            .iter()
            .map(|signer| signer.reference().clone())
            .collect()
    }

    fn diagnose(&self, case: &Case<'_>) -> Vec<Finding> {
        diagnosis::findings(self, case)
    }

    fn must_remember(&self) -> Duration {
        self.max_age
            .saturating_add(MEMORY_BEYOND_MAX_AGE)
            .max(RETRY_HORIZON)
    }
}

impl WalletWerk {
    fn verify_signature(
        &self,
        message: &Message,
        screened: Screened,
    ) -> Result<(&Signer, &'static str), Unverified> {
        let tag = screened.tag.ok_or(Unverified::MissingCredential)?;
        let signer = Signer::find(&self.signers, &[&message.body], &tag)
            .ok_or(Unverified::WrongSignature)?;
        Ok((signer, tag.shape()))
    }

    fn judge(
        &self,
        message: &Message,
        now: Timestamp,
        facts: Option<Facts<'_>>,
        secret: &Reference,
        proof: &'static str,
    ) -> Verdict {
        let content = Sha256::digest(&message.body).into();
        let (delivery_id, delivery_id_ignored) = delivery_id(&message.head);
        let Some(facts) = facts else {
            return Verdict {
                identity: Identity {
                    content,
                    delivery_id: None,
                    facts: None,
                    id_counts: false,
                },
                event_type: "unreadable".into(),
                ce_type: "eu.walletwerk.unreadable".to_owned(),
                time: None,
                subject: None,
                assurance: Assurance::Signature,
                secret: Some(secret.clone()),
                fate: Fate::Bury(BuryReason::Unreadable),
                proof,
                corrections: Vec::new(),
                is_test: false,
                delivery_id_ignored,
                is_undated: false,
            };
        };
        let is_test = facts.event == TEST_EVENT;
        let fate = match facts.time {
            Some(time) if self.is_fresh(time, now) => Fate::Deliver,
            Some(_) => Fate::Bury(BuryReason::Stale),
            None if is_test => Fate::Deliver,
            None => Fate::Bury(BuryReason::Unreadable),
        };
        Verdict {
            identity: Identity {
                content,
                delivery_id,
                facts: Some(facts.digest),
                // A test that is pressed twice must arrive twice.
                id_counts: is_test,
            },
            ce_type: ["eu.walletwerk.", &facts.event].concat(),
            time: facts.time,
            assurance: Assurance::Signature,
            secret: Some(secret.clone()),
            fate,
            proof,
            corrections: corrections(&message.head, &facts),
            is_test,
            delivery_id_ignored,
            is_undated: facts.time.is_none(),
            subject: facts.subject.map(Cow::into_owned),
            event_type: facts.event.into(),
        }
    }

    fn is_fresh(&self, time: Timestamp, now: Timestamp) -> bool {
        time >= now.before(self.max_age) && time <= now.after(AHEAD)
    }
}

/// The usable delivery id, and whether there is one that cannot be used.
fn delivery_id(head: &Head) -> (Option<Box<str>>, bool) {
    let Ok(Some(value)) = head.single(&DELIVERY_ID) else {
        return (None, false);
    };
    match value.to_str() {
        Ok(id) if !id.is_empty() && id.len() <= DELIVERY_ID_BYTES_MAX => (Some(id.into()), false),
        Ok(_) | Err(_) => (None, true),
    }
}

/// The unsigned headers that say something else than the body, with what the body says.
fn corrections(head: &Head, facts: &Facts<'_>) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let said = [
        (&EVENT, Some(&*facts.event)),
        (&TIMESTAMP, facts.time_text.as_deref()),
    ];
    said.into_iter()
        .filter_map(|(name, said)| {
            let written = head.headers.get(name)?;
            let differs = said.is_none_or(|said| written.as_bytes() != said.as_bytes());
            let said = said.filter(|said| said.len() <= CORRECTION_BYTES_MAX);
            differs.then(|| {
                (
                    name.clone(),
                    said.and_then(|said| HeaderValue::from_str(said).ok()),
                )
            })
        })
        .collect()
}

fn sample(order: &SampleOrder<'_>) -> Sample {
    let time = order.now.to_rfc3339();
    let id = order.nonce;
    let (what, _) = order.event.split_once('.').unwrap_or((order.event, ""));
    let data = match what {
        "card" => serde_json::json!({
            "card_id": format!("card_{id:012}"), "recipient_id": "recipient_xyz789", "campaign_id": "campaign_def456",
            "provider": "apple", "old_status": "invited", "new_status": "active", "metadata": {},
        }),
        "recipient" => serde_json::json!({
            "recipient_id": format!("recipient_{id:012}"), "campaign_id": "campaign_def456",
            "old_status": "pending", "new_status": "invited", "metadata": {},
        }),
        "campaign" => {
            serde_json::json!({ "campaign_id": format!("campaign_{id:012}"), "metadata": {} })
        }
        _ => serde_json::json!({}),
    };
    let body = serde_json::json!({
        "event": order.event, "timestamp": time, "organization_id": 123, "data": data,
    })
    .to_string()
    .into_bytes();
    let mut headers = vec![
        (hyper::header::CONTENT_TYPE, "application/json".to_owned()),
        (EVENT.clone(), order.event.to_owned()),
        (TIMESTAMP.clone(), time),
        (
            DELIVERY_ID.clone(),
            format!("dlv_{:08x}_{id:012}", order.now.as_stored_secs()),
        ),
    ];
    let signer = order
        .secret
        .map(|secret| Signer::new(&Secret::new(secret.to_vec(), Reference::new("sample"))));
    if let Some(signer) = signer {
        headers.push((SIGNATURE.clone(), to_hex(&signer.sign(&[&body]))));
    }
    Sample {
        method: Method::POST,
        path_suffix: String::new(),
        query: String::new(),
        headers,
        body,
    }
}
