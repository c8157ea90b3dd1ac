//! What `verify` says.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::doors::cli::terminal::foreign;
use crate::rules::diagnosis::{Case, Certainty};
use crate::rules::provider::Provider;
use crate::words::identity::Keys;
use crate::words::verdict::{Fate, Unverified, Verdict};

/// The whole report.
pub fn text(
    provider: &dyn Provider,
    case: &Case<'_>,
    route: &str,
    judged: &Result<Verdict, Unverified>,
) -> String {
    let mut lines = Vec::new();
    let method = &case.message.head.method;
    let takes_method = provider.kind().methods.contains(method);
    match judged {
        Ok(verdict) => {
            lines.push(match verdict.fate {
                Fate::Deliver if takes_method => "verifies, and would be delivered".to_owned(),
                Fate::Deliver => "verifies, but would not be delivered".to_owned(),
                Fate::Bury(reason) => {
                    format!("authentic, but would not be delivered: {}", reason.label())
                }
            });
            lines.extend(about_the_event(provider, case, route, verdict));
        }
        Err(reason) => lines.push(format!("does not verify: {}", reason.label())),
    }
    if !takes_method {
        // The method is whatever was captured, so it is not shown.
        let taken: Vec<&str> = provider
            .kind()
            .methods
            .iter()
            .map(|method| method.as_str())
            .collect();
        let taken = taken.join(" or ");
        lines.push(line("because", &format!("The method is not {taken}.")));
    }
    let is_settled = matches!(judged, Ok(verdict) if verdict.fate == Fate::Deliver);
    if !is_settled {
        lines.extend(about_the_refusal(provider, case));
    }
    lines.join("\n")
}

fn about_the_refusal(provider: &dyn Provider, case: &Case<'_>) -> Vec<String> {
    let findings = provider.diagnose(case);
    if findings.is_empty() {
        // What the gateway itself looks at before it asks the provider.
        let head = &case.message.head;
        let deciding = provider.kind().deciding_headers.iter();
        let doubled = deciding.filter(|name| head.single(name).is_err());
        return doubled
            .map(|name| {
                line(
                    "because",
                    &format!("There is more than one `{name}` header."),
                )
            })
            .collect();
    }
    let name = |certainty| match certainty {
        Certainty::Cause => "because",
        Certainty::Hint => "note",
    };
    findings
        .iter()
        .map(|finding| line(name(finding.certainty), &finding.text))
        .collect()
}

fn about_the_event(
    provider: &dyn Provider,
    case: &Case<'_>,
    route: &str,
    verdict: &Verdict,
) -> Vec<String> {
    let mut lines = vec![line("event", &foreign(&verdict.event_type))];
    if let Some(time) = verdict.time {
        lines.push(line("time", &time.to_rfc3339()));
    }
    if let Some(subject) = &verdict.subject {
        // Where the query is the message, the subject is the token that opens the result.
        lines.push(match provider.kind().keeps_query {
            true => line("subject", "a token (not shown)"),
            false => line("subject", &foreign(subject)),
        });
    }
    let assurance = verdict.assurance.label();
    lines.push(match &verdict.secret {
        Some(secret) => line(
            "proof",
            &format!("{assurance} ({}), by {secret}", verdict.proof),
        ),
        None => line("proof", assurance),
    });
    let keys = Keys::new(route, &verdict.identity, false);
    let route = foreign(route);
    lines.push(line(
        "idempotency",
        &format!("{}, on a route named {route}", keys.idempotency_key()),
    ));
    let body = &case.message.body;
    if !body.is_empty() {
        let digest = HEXLOWER.encode(&Sha256::digest(body));
        lines.push(line(
            "body",
            &format!("{} bytes, SHA-256 {digest}", body.len()),
        ));
    }
    for (name, _) in &verdict.corrections {
        let text = format!(
            "The header {name} says something else than the signed body; the app gets the body's value."
        );
        lines.push(line("note", &text));
    }
    if verdict.delivery_id_ignored {
        lines.push(line("note", "The delivery id cannot be used (empty, too long or not visible ASCII) and plays no part."));
    }
    if verdict.is_test {
        lines.push(line("note", "This is the platform's test button."));
    }
    lines
}

fn line(name: &str, text: &str) -> String {
    format!("  {name:<12} {text}")
}
