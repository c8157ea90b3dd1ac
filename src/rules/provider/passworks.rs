//! Passworks: POST, with the organisation's API key as the bare value of `Authorization`.
//!
//! Nothing of the request is signed: who holds the key can say anything, and the key also opens the
//! platform's API. So it is compared in constant time and appears nowhere: not in the log, not in the
//! store, not in what the app receives. There is no delivery id and no known retry; the body's digest is
//! the identity, and freshness is not judged.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use crate::rules::diagnosis::{Case, Finding, presented, unreadable};
use crate::rules::json::Members;
use crate::rules::provider::{Kind, Provider, Sample, SampleOrder, Screened};
use crate::rules::reader::Section;
use crate::words::identity::Identity;
use crate::words::message::{Head, Message};
use crate::words::secret::{Presented, Reference, Secret};
use crate::words::time::Timestamp;
use crate::words::verdict::{Assurance, BuryReason, Fate, Unverified, Verdict};

/// Passworks' line in the registry.
pub static KIND: Kind = Kind {
    name: "passworks",
    proof: "an API key in the Authorization header",
    methods: &[Method::POST],
    deciding_headers: &[],
    kept_headers: &[],
    keeps_query: false,
    needs_body: true,
    accepted_status: None,
    has_delivery_ids: false,
    retry_pauses: &[],
    disabled_after: None,
    worthless_after: None,
    events: &[
        "installed",
        "created",
        "downloaded",
        "fetched",
        "redeemed",
        "uninstalled",
    ],
    build,
    sample,
};

/// No retry is documented; a day covers one that is done by hand.
const MUST_REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
struct Passworks {
    keys: Vec<Presented>,
}

/// What the body says of the event; all of it optional, since older bodies look different.
struct Facts {
    event: Option<String>,
    context: String,
    time: Option<Timestamp>,
    pass_id: Option<String>,
}

fn build(secrets: Vec<Secret>, verify: &mut Section<'_>) -> Option<Arc<dyn Provider>> {
    if secrets.is_empty() {
        verify.mistake_at_parent(
            "secrets",
            "Passworks sends the organisation's API key: name it, like [\"env:PASSWORKS_API_KEY\"]",
        );
        return None;
    }
    for secret in &secrets {
        let key = secret.expose();
        let is_value = key.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
        if !verify.has_placeholders() && (!is_value || key.trim_ascii() != key) {
            verify.mistake_at_parent(
                "secrets",
                format!(
                    "{} begins or ends with a blank or holds a line break, so no header can ever carry it",
                    secret.reference()
                ),
            );
            return None;
        }
    }
    let keys = secrets.iter().map(Secret::to_presented).collect();
    Some(Arc::new(Passworks { keys }))
}

// === impl Passworks ===

impl Provider for Passworks {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    /// The key is all there is to verify, so it is compared before the body is read.
    fn screen(&self, head: &Head) -> Result<Screened, Unverified> {
        self.verify_key(head).map(|_| Screened::default())
    }

    fn verify(
        &self,
        message: &Message,
        _screened: Screened,
        _now: Timestamp,
    ) -> Result<Verdict, Unverified> {
        let secret = self.verify_key(&message.head)?.clone();
        let facts = Facts::read(&message.body);
        let fate = match &facts {
            Some(_) => Fate::Deliver,
            None => Fate::Bury(BuryReason::Unreadable),
        };
        let (event, context, time, subject) = match facts {
            Some(facts) => (facts.event, facts.context, facts.time, facts.pass_id),
            None => (None, "pass".to_owned(), None, None),
        };
        let event = event.unwrap_or_else(|| "unknown".to_owned());
        Ok(Verdict {
            identity: Identity {
                content: Sha256::digest(&message.body).into(),
                delivery_id: None,
                facts: None,
                id_counts: false,
            },
            ce_type: format!("io.passworks.{context}.{event}"),
            event_type: event.into(),
            time,
            subject,
            assurance: Assurance::ApiKey,
            secret: Some(secret),
            fate,
            proof: "bare",
            corrections: Vec::new(),
            is_test: false,
            delivery_id_ignored: false,
            is_undated: time.is_none(),
        })
    }

    fn secrets(&self) -> Vec<Reference> {
        self.keys
            .iter()
            .map(|key| key.reference().clone())
            .collect()
    }

    fn diagnose(&self, case: &Case<'_>) -> Vec<Finding> {
        match self.verify_key(&case.message.head) {
            Err(_) => presented::explain_header(case, &AUTHORIZATION),
            Ok(_) => unreadable::explain(&case.message.body)
                .into_iter()
                .collect(),
        }
    }

    fn must_remember(&self) -> Duration {
        MUST_REMEMBER
    }
}

impl Passworks {
    fn verify_key(&self, head: &Head) -> Result<&Reference, Unverified> {
        let presented = head
            .single(&AUTHORIZATION)
            .map_err(|_| Unverified::Ambiguous)?
            .ok_or(Unverified::MissingCredential)?;
        if presented.is_empty() {
            return Err(Unverified::MissingCredential);
        }
        Presented::find(&self.keys, presented.as_bytes()).ok_or(Unverified::WrongSecret)
    }
}

// === impl Facts ===

impl Facts {
    /// `None` where the body is not one JSON object.
    fn read(body: &[u8]) -> Option<Self> {
        let telling = |name: &[u8]| {
            matches!(
                name,
                b"event" | b"context" | b"event_at" | b"action_at" | b"pass_id"
            )
        };
        let members = Members::read(body, telling)
            .or_else(|_| Members::read(body, |_| false))
            .ok()?;
        let text = |name| members.member(name).text().map(|text| text.into_owned());
        Some(Self {
            event: text("event"),
            context: text("context")
                .map(|context| context.to_ascii_lowercase())
                .unwrap_or_else(|| "pass".to_owned()),
            // `action_at` is the name in bodies from before 2016.
            time: ["event_at", "action_at"]
                .into_iter()
                .find_map(text)
                .and_then(|time| Timestamp::parse_rfc3339(&time)),
            pass_id: text("pass_id"),
        })
    }
}

fn sample(order: &SampleOrder<'_>) -> Sample {
    let time = order.now.to_rfc3339();
    let pass_id = format!("d91aef7c-a166-4694-bb91-{:012x}", order.nonce);
    let is_redeemed = order.event == "redeemed";
    let extra = match order.event {
        "installed" | "downloaded" | "uninstalled" => serde_json::json!({
            "pass_id": pass_id, "registration_id": "00f537be-f153-46ad-a980-bbddcb9002c3",
            "device_os": "ios", "device_app_vendor": "passbook", "wallet_type": "apple_wallet",
        }),
        _ => serde_json::json!({}),
    };
    let body = serde_json::json!({
        "event": order.event, "context": "pass",
        "campaign_id": "cbc3016c-4c55-4564-81e9-a21664817be2",
        "distribution_id": "723ed9c3-5909-4a12-9810-c58047d9feef",
        "pass_id": pass_id, "voided": is_redeemed,
        "serial_number": "9c05fa25-199b-4c5b-9242-4b42103138a7",
        "redeemed_count": u8::from(is_redeemed), "redeemed_at": is_redeemed.then(|| time.clone()),
        "created_at": time, "updated_at": time,
        "last_fetched_at": (order.event == "fetched").then(|| time.clone()),
        "event_at": time, "metadata": {}, "event_extra": extra,
    });
    let mut headers = vec![(
        hyper::header::CONTENT_TYPE,
        "application/json; charset=utf-8".to_owned(),
    )];
    if let Some(secret) = order.secret {
        headers.push((AUTHORIZATION, String::from_utf8_lossy(secret).into_owned()));
    }
    Sample {
        method: Method::POST,
        path_suffix: String::new(),
        query: String::new(),
        headers,
        body: body.to_string().into_bytes(),
    }
}
