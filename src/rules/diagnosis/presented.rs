//! Explains a secret that is presented as it is (an API key in a header, a path segment) and is none of
//! the configured ones.
//!
//! What was presented is never shown: a wrong key may be a right one elsewhere.

use data_encoding::BASE64;
use hyper::header::HeaderName;

use crate::rules::diagnosis::secrets::readings;
use crate::rules::diagnosis::{Case, Finding};
use crate::words::secret::{Presented, Reference, Secret};

/// Why the header's bare value is none of the secrets.
pub fn explain_header(case: &Case<'_>, name: &HeaderName) -> Vec<Finding> {
    let value = match case.message.head.single(name) {
        Err(_) => {
            return vec![Finding::cause(format!(
                "There is more than one `{name}` header, and which one counts would be a guess."
            ))];
        }
        Ok(None) => {
            return vec![Finding::cause(format!(
                "The header `{name}` is not there. Some proxies and frameworks drop it unless told otherwise."
            ))];
        }
        Ok(Some(value)) => value.as_bytes(),
    };
    let what = format!("The value of `{name}`");
    if value.is_empty() {
        return vec![Finding::cause(format!("{what} is empty."))];
    }
    if let Some((scheme, reference)) = in_a_scheme(case.secrets, value) {
        return vec![Finding::cause(format!(
            "{what} is {reference}, but {scheme}. The platform sends the bare key: something else wrote this \
             header, or a proxy rewrote it."
        ))];
    }
    let mut findings = explain_value(case.secrets, value, &what);
    if has_scheme(value) {
        findings.push(Finding::hint(format!(
            "{what} begins with the word of a scheme (Bearer, Basic, Token), where the platform sends the bare key."
        )));
    }
    findings
}

/// Why a presented `value`, called `what` in the sentences, is none of the secrets.
pub fn explain_value(secrets: &[Secret], value: &[u8], what: &str) -> Vec<Finding> {
    for secret in secrets {
        let reference = secret.reference();
        if is(secret, value.trim_ascii()) {
            return vec![Finding::cause(format!(
                "{what} is {reference} with white space around it."
            ))];
        }
        if let [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] = value
            && is(secret, inner)
        {
            return vec![Finding::cause(format!("{what} is {reference} in quotes."))];
        }
        if value.eq_ignore_ascii_case(secret.expose()) {
            return vec![Finding::cause(format!(
                "{what} is {reference} in another case. Something on the way lower-cased or upper-cased it; \
                 every byte counts."
            ))];
        }
        if let Some(reading) = readings(secret)
            .into_iter()
            .find(|reading| is(&reading.secret, value))
        {
            return vec![Finding::cause(format!(
                "{what} is {reference} {}. A secret is compared as its raw bytes: change what {reference} holds.",
                reading.change
            ))];
        }
        if value.starts_with(secret.expose()) {
            return vec![Finding::cause(format!(
                "{what} begins with {reference} and goes on."
            ))];
        }
        if value.len() >= Secret::SHORTEST && secret.expose().starts_with(value) {
            return vec![Finding::cause(format!(
                "{what} is the beginning of {reference}: it was cut off."
            ))];
        }
    }
    vec![Finding::hint(format!(
        "{what} is another secret, and no usual change makes it a configured one. Most likely it was \
         replaced on one side only, or belongs to another account."
    ))]
}

/// The configured secret inside one of the usual schemes of `Authorization`, and which scheme.
fn in_a_scheme<'a>(secrets: &'a [Secret], value: &[u8]) -> Option<(&'static str, &'a Reference)> {
    let text = std::str::from_utf8(value).ok()?;
    let (word, rest) = text.trim().split_once(char::is_whitespace)?;
    let rest = rest.trim();
    let found = |bytes: &[u8]| secrets.iter().find(|s| is(s, bytes)).map(Secret::reference);
    if word.eq_ignore_ascii_case("basic") {
        let pair = BASE64.decode(rest.as_bytes()).ok()?;
        let (user, password) = pair.split_at(pair.iter().position(|byte| *byte == b':')?);
        let password = password.strip_prefix(b":").unwrap_or(password);
        return found(password)
            .map(|reference| ("as the password of `Basic`", reference))
            .or_else(|| found(user).map(|reference| ("as the user of `Basic`", reference)));
    }
    if word.eq_ignore_ascii_case("token") {
        let inner = rest
            .strip_prefix("token=")
            .unwrap_or(rest)
            .trim_matches('"');
        return found(inner.as_bytes()).map(|reference| ("written as `Token token=…`", reference));
    }
    if word.eq_ignore_ascii_case("bearer") {
        return found(rest.as_bytes()).map(|reference| ("with `Bearer` before it", reference));
    }
    found(rest.as_bytes()).map(|reference| ("with another word before it", reference))
}

fn has_scheme(value: &[u8]) -> bool {
    let word = value.split(u8::is_ascii_whitespace).next().unwrap_or(value);
    let has_more = word.len() < value.len();
    has_more
        && ["bearer", "basic", "token", "apikey"]
            .iter()
            .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

fn is(secret: &Secret, value: &[u8]) -> bool {
    Presented::find(&[secret.to_presented()], value).is_some()
}
