//! Why Wallit's callback does not verify: its path, its `Authentication` header, or its parameters.
//!
//! No token, id or path segment is shown; they are as good as credentials.

use hyper::header::CONTENT_TYPE;

use crate::rules::diagnosis::{Case, Finding, presented, span};
use crate::rules::hmac::{SignatureEncoding, Signer};
use crate::rules::provider::wallit::parameters::{
    Parameters, VALUE_BYTES_MAX, is_id_byte, is_id_name, is_shaped, is_type_byte,
};
use crate::rules::provider::wallit::{
    AUTHENTICATION, Management, TIMESTAMP, TOKEN, TOLERANCE, TYPE, Wallit, read_http_date,
    signing_query,
};
use crate::words::message::{Head, Message};
use crate::words::secret::{Presented, Secret};
use crate::words::verdict::Unverified;

/// What was found out.
pub fn findings(provider: &Wallit, case: &Case<'_>) -> Vec<Finding> {
    let head = &case.message.head;
    let mut findings = Vec::new();
    if provider.prove_path(head).is_err() {
        findings.extend(about_the_path(case));
    }
    if let Err(reason) = provider.prove_authentication(head, case.now) {
        findings.extend(about_the_header(provider, case, reason));
    }
    let proves = provider.prove(head, case.now);
    if findings.is_empty() && proves == Err(Unverified::MissingCredential) {
        findings.push(Finding::cause(
            "There is no `authentication` header, and nothing else proves where the callback comes from. \
             If Wallit does not send one, put a secret into the path (`secrets`).",
        ));
    }
    findings.extend(about_the_parameters(case.message));
    findings
}

fn about_the_path(case: &Case<'_>) -> Vec<Finding> {
    let path = case.message.head.path();
    let segment = path.rsplit('/').next().unwrap_or("");
    let is_secret = |text: &[u8]| {
        let accepted: Vec<Presented> = case.secrets.iter().map(Secret::to_presented).collect();
        Presented::find(&accepted, text).cloned()
    };
    if segment.is_empty() {
        let before = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        return vec![Finding::cause(match is_secret(before.as_bytes()) {
            Some(reference) => format!(
                "The path ends in a slash after {reference}; nothing may follow the secret."
            ),
            None => "The path ends in a slash where the secret belongs.".to_owned(),
        })];
    }
    let decoded: Vec<u8> = form_urlencoded::parse(segment.replace('+', "%2B").as_bytes())
        .flat_map(|(name, _)| name.into_owned().into_bytes())
        .collect();
    if let Some(reference) = is_secret(&decoded) {
        return vec![Finding::cause(format!(
            "The last segment of the path is {reference}, but percent-encoded; the path is compared byte for byte."
        ))];
    }
    if let Some(reference) = path.split('/').find_map(|part| is_secret(part.as_bytes())) {
        return vec![Finding::cause(format!(
            "The path holds {reference}, but not as its last segment; something was appended to it."
        ))];
    }
    let pairs = form_urlencoded::parse(case.message.head.query().as_bytes());
    let in_query = pairs
        .map(|(_, value)| value)
        .find_map(|value| is_secret(value.as_bytes()));
    if let Some(reference) = in_query {
        return vec![Finding::cause(format!(
            "{reference} is in the query; it belongs into the path, as its last segment."
        ))];
    }
    presented::explain_value(
        case.secrets,
        segment.as_bytes(),
        "The last segment of the path",
    )
}

fn about_the_header(provider: &Wallit, case: &Case<'_>, reason: Unverified) -> Vec<Finding> {
    let head = &case.message.head;
    let Some(management) = &provider.management else {
        return Vec::new();
    };
    match reason {
        Unverified::Ambiguous => vec![Finding::cause(
            "`authentication` or `timestamp` is there more than once.",
        )],
        Unverified::MissingCredential => vec![Finding::cause(
            "`authentication` is there, but not the `timestamp` that it signs.",
        )],
        Unverified::IllShapedCredential => vec![Finding::cause(ill_shaped(head))],
        Unverified::WrongSecret => vec![Finding::cause(
            "The access key before the colon in `authentication` is not `management_key`. It is a \
             Management API key that signs, not an Access key.",
        )],
        Unverified::WrongTime => about_the_time(case).into_iter().collect(),
        Unverified::WrongSignature => vec![about_the_signature(management, head)],
        Unverified::BadShape | Unverified::Empty => Vec::new(),
    }
}

fn ill_shaped(head: &Head) -> String {
    let Some(written) = head.text(&AUTHENTICATION) else {
        return "`authentication` is not visible ASCII.".to_owned();
    };
    let Some((_, token)) = written.split_once(':') else {
        return "`authentication` has no colon; it is `<access key>:<base64 of the signature>`."
            .to_owned();
    };
    if SignatureEncoding::Base64.decode(token.as_bytes()).is_none() {
        return "What follows the colon in `authentication` is not base64 of 32 bytes.".to_owned();
    }
    "`timestamp` is not an RFC 1123 date like `Wed, 05 Oct 2016 15:08:05 GMT`.".to_owned()
}

fn about_the_time(case: &Case<'_>) -> Option<Finding> {
    let signed_at = case
        .message
        .head
        .text(&TIMESTAMP)
        .and_then(read_http_date)?;
    let (apart, side) = match signed_at < case.now {
        true => (case.now.since(signed_at), "before"),
        false => (signed_at.since(case.now), "after"),
    };
    Some(Finding::cause(format!(
        "`authentication` is right, but its `timestamp` lies {} {side} {}, and {} are allowed. To judge an \
         old capture as if it had just come, give the time with `--at`.",
        span::shown(apart),
        case.now.to_rfc3339(),
        span::shown(TOLERANCE)
    )))
}

/// Signs what Wallit may have signed instead.
fn about_the_signature(management: &Management, head: &Head) -> Finding {
    let tag = head
        .text(&AUTHENTICATION)
        .and_then(|written| written.split_once(':'))
        .and_then(|(_, token)| SignatureEncoding::Base64.decode(token.as_bytes()));
    let timestamp = head.text(&TIMESTAMP).unwrap_or_default();
    let signs = |text: &[u8]| {
        tag.as_ref().is_some_and(|tag| {
            Signer::find(std::slice::from_ref(&management.signer), &[text], tag).is_some()
        })
    };
    let lines = |method: &str, path: &str, query: &str| {
        format!("{method}\n{timestamp}\n{path}\n{query}").into_bytes()
    };
    let path = head.path();
    let lower = path.to_ascii_lowercase();
    let query = signing_query(head.query());
    let method = head.method.as_str();
    let others = [
        ("the path with its case kept", lines(method, path, &query)),
        ("no query", lines(method, &lower, "")),
        (
            "the query though the method is not GET",
            lines(method, &lower, &query),
        ),
        ("the method GET", lines("GET", &lower, &query)),
        ("the method POST", lines("POST", &lower, "")),
        (
            "the query as it stands in the URL",
            lines(method, &lower, head.query()),
        ),
        (
            "the path with a slash at its end",
            lines(method, &format!("{lower}/"), &query),
        ),
        (
            "the path without the slash at its end",
            lines(method, lower.trim_end_matches('/'), &query),
        ),
        ("no path but /", lines(method, "/", &query)),
    ];
    if let Some((what, _)) = others.iter().find(|(_, text)| signs(text)) {
        return Finding::cause(format!(
            "`authentication` is made with the right secret, but over {what}. A proxy between Wallit and here \
             changed the request, or Wallit signs otherwise than its documents say."
        ));
    }
    let is_suffix = lower.match_indices('/').skip(1).any(|(place, _)| {
        let rest = lower.get(place..).unwrap_or_default();
        signs(&lines(method, rest, &query))
    });
    if is_suffix {
        return Finding::cause(
            "`authentication` is made with the right secret, but over a shorter path: something between Wallit \
             and here put a prefix before it.",
        );
    }
    Finding::hint(
        "`authentication` is of another request or made with another secret than `management_secret`. \
         Wallit signs the path that it was given: where a proxy rewrites paths, it differs from this one.",
    )
}

fn about_the_parameters(message: &Message) -> Vec<Finding> {
    let parameters = match Parameters::read(message) {
        Ok(parameters) => parameters,
        Err(_) => return vec![Finding::cause(repeated(message))],
    };
    let mut findings = Vec::new();
    for (name, allowed) in [(TYPE, is_type_byte as fn(u8) -> bool), (TOKEN, is_id_byte)] {
        match parameters.0.get(name) {
            None => findings.push(Finding::cause(absent(&parameters, name))),
            Some(value) => findings.extend(ill_made(name, value, allowed)),
        }
    }
    for (name, value) in parameters.0.iter().filter(|(name, _)| is_id_name(name)) {
        findings.extend(ill_made(name, value, is_id_byte).filter(|_| !value.is_empty()));
    }
    if parameters.0.is_empty()
        && !message.body.is_empty()
        && message.head.text(&CONTENT_TYPE).is_none()
    {
        findings.push(Finding::hint(
            "There is a body, but no `content-type: application/x-www-form-urlencoded`, so it was not read.",
        ));
    }
    findings
}

fn absent(parameters: &Parameters, name: &str) -> String {
    let other = parameters
        .0
        .keys()
        .find(|other| other.eq_ignore_ascii_case(name));
    match other {
        Some(other) => format!("The parameter `{name}` is written `{other}`; its case counts."),
        None => format!("The parameter `{name}`, which Wallit always sends, is not there."),
    }
}

fn ill_made(name: &str, value: &str, allowed: fn(u8) -> bool) -> Option<Finding> {
    if !value.is_empty() && is_shaped(value, allowed) {
        return None;
    }
    let problem = match value.len() {
        0 => "is empty".to_owned(),
        len if len > VALUE_BYTES_MAX => {
            format!("has {len} bytes; {VALUE_BYTES_MAX} are the most")
        }
        _ => "holds characters that do not occur there (ids have letters, digits and | { } -)"
            .to_owned(),
    };
    // A name of the sender's making could be anything; only its beginning is shown.
    let name: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(48)
        .collect();
    Some(Finding::cause(format!("The parameter `{name}` {problem}.")))
}

fn repeated(message: &Message) -> String {
    let names = |text: &[u8]| -> Vec<String> {
        form_urlencoded::parse(text)
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect()
    };
    let query = names(message.head.query().as_bytes());
    let form = names(&message.body);
    let in_both = [TYPE, TOKEN].into_iter().find(|name| {
        let folded = name.to_ascii_lowercase();
        query.contains(&folded) && form.contains(&folded)
    });
    let twice = [TYPE, TOKEN].into_iter().find(|name| {
        let folded = name.to_ascii_lowercase();
        query.iter().filter(|other| **other == folded).count() > 1
    });
    match (in_both, twice) {
        (Some(name), _) => {
            format!("The parameter `{name}` is in the query and in the form body as well.")
        }
        (None, Some(name)) => {
            format!("The parameter `{name}` is there more than once (whatever its case).")
        }
        (None, None) => {
            "A parameter is there more than once (whatever its case), or there are too many."
                .to_owned()
        }
    }
}
