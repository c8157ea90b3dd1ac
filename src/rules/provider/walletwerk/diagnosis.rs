//! Why WalletWerk's message does not verify, or is authentic and set aside all the same.

use crate::rules::diagnosis::signature::{self, BodySignature};
use crate::rules::diagnosis::{Case, Finding, span, unreadable};
use crate::rules::json::Members;
use crate::rules::provider::Provider;
use crate::rules::provider::walletwerk::facts::Facts;
use crate::rules::provider::walletwerk::{
    AHEAD, DELIVERY_ID, SIGNATURE, TEST_EVENT, TIMESTAMP, WalletWerk,
};

/// What was found out.
pub fn findings(provider: &WalletWerk, case: &Case<'_>) -> Vec<Finding> {
    let signed = provider
        .screen(&case.message.head)
        .and_then(|screened| provider.verify_signature(case.message, screened));
    if signed.is_err() {
        let signature = BodySignature {
            header: &SIGNATURE,
            encoding: provider.encoding,
            stamps: &[&TIMESTAMP, &DELIVERY_ID],
        };
        return signature::explain(case, &signature);
    }
    match Facts::read(&case.message.body) {
        None => about_an_unreadable_body(&case.message.body),
        Some(facts) => about_staleness(provider, case, &facts)
            .into_iter()
            .collect(),
    }
}

fn about_an_unreadable_body(body: &[u8]) -> Vec<Finding> {
    if let Some(finding) = unreadable::explain(body) {
        return vec![finding];
    }
    let deciding = |name: &[u8]| matches!(name, b"event" | b"timestamp");
    let Ok(members) = Members::read(body, deciding) else {
        return Vec::new();
    };
    let is_test = members.member("event").text().as_deref() == Some(TEST_EVENT);
    let time = (!is_test).then(|| unreadable::explain_time(&members, "timestamp"));
    [unreadable::explain_text(&members, "event"), time.flatten()]
        .into_iter()
        .flatten()
        .collect()
}

fn about_staleness(provider: &WalletWerk, case: &Case<'_>, facts: &Facts<'_>) -> Option<Finding> {
    let time = facts
        .time
        .filter(|time| !provider.is_fresh(*time, case.now))?;
    let written = time.to_rfc3339();
    Some(Finding::cause(match time < case.now {
        true => format!(
            "The event is of {written}, {} ago, and `max_age` is {}. To judge an old capture as if it had \
             just come, give the time with `--at`.",
            span::shown(case.now.since(time)),
            span::shown(provider.max_age)
        ),
        false => format!(
            "The event is of {written}, {} in the future, and {} are allowed: one of the two clocks is wrong.",
            span::shown(time.since(case.now)),
            span::shown(AHEAD)
        ),
    }))
}
