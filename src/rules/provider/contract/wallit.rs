//! Wallit: the signing text, the path, and parameters of every odd kind.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderMap;

use crate::rules::provider::contract::{
    build, headers, judge, keys, message, now, secret, with_headers, with_target,
};
use crate::rules::provider::wallit::{KIND, authentication, signing_text};
use crate::rules::provider::{Provider, Screened};
use crate::words::identity::Keys;
use crate::words::message::Message;
use crate::words::time::Timestamp;
use crate::words::verdict::{Assurance, Fate, Unverified};

pub const KEY: &str = "BB772A5B-1E7B-461C-8AC6-CA9E6E2FD2B9";
pub const SECRET: &str = "test-secret";

const TOKEN: &str = "5d0f5ca5-2528-4bbd-b83f-18b3a732c1ee";
const KEYS: &str =
    "management_key = \"env:MANAGEMENT_KEY\"\nmanagement_secret = \"env:MANAGEMENT_SECRET\"";
const DATE: &str = "Wed, 05 Oct 2016 15:08:05 GMT";

/// [`DATE`].
fn signed_at() -> Timestamp {
    Timestamp::parse_rfc3339("2016-10-05T15:08:05Z").unwrap()
}

/// Signs a sample as the predecessor's documents say.
pub fn authenticate(message: &mut Message) {
    let date = "Tue, 09 Dec 2025 10:30:00 GMT";
    let written = authentication(&message.head, KEY, &secret(SECRET, "t"), date);
    *message = with_headers(message, |headers| {
        headers.insert("authentication", written.parse().unwrap());
        headers.insert("timestamp", date.parse().unwrap());
    });
}

fn unproven() -> Arc<dyn Provider> {
    build(&KIND, Vec::new(), "allow_unproven = true")
}

fn with_keys() -> Arc<dyn Provider> {
    build(&KIND, Vec::new(), KEYS)
}

fn get(target: &str) -> Message {
    message(Method::GET, target, HeaderMap::new(), b"")
}

fn identity(target: &str) -> Keys {
    let verdict = judge(&*unproven(), &get(target), now()).unwrap();
    assert_eq!(verdict.fate, Fate::Deliver);
    assert_eq!(verdict.assurance, Assurance::None);
    keys(&verdict)
}

fn refusal(message: &Message) -> Unverified {
    judge(&*unproven(), message, now()).unwrap_err()
}

/// The texts that the predecessor's documents print.
#[test]
fn the_signing_text_is_the_published_one() {
    let date = b"Tue, 08 Jul 2014 21:15:27 GMT";
    for (target, text) in [
        (
            format!("/api/Property/{KEY}"),
            "GET\nTue, 08 Jul 2014 21:15:27 GMT\n/api/property/bb772a5b-1e7b-461c-8ac6-ca9e6e2fd2b9\n",
        ),
        (
            format!("/api/Property/{KEY}/Resource/1?IncludePropertyData=true"),
            "GET\nTue, 08 Jul 2014 21:15:27 GMT\n/api/property/bb772a5b-1e7b-461c-8ac6-ca9e6e2fd2b9/resource/1\nincludepropertydata=true",
        ),
    ] {
        let text_of = signing_text(&get(&target).head, date);
        assert_eq!(String::from_utf8(text_of).unwrap(), text);
    }
}

const CALLBACK: &str = "/hooks/Wallit/7Q?ExternalSubscriberImportID=e63f94b4-247f-405d-9222-af01507271ec%7C0635781205603107443&CallbackType=ExternalSubscriberImportCompleted&CallbackToken=5d0f5ca5-2528-4bbd-b83f-18b3a732c1ee";
const CALLBACK_TAG: &str = "4X+iNR7cMjFmYKxbZ+11DK1lEgwEtVVDJJ5jS6Ls2Ew=";

#[test]
fn the_computed_signatures_are_made() {
    for (target, tag) in [
        (
            format!("/api/Property/{KEY}/CallbackResult/{TOKEN}"),
            "JBEa75p/aogPcLd5nT7D1olMKLGALrVLBsxNuivnTBw=",
        ),
        (
            format!("/api/Property/{KEY}/Resource/1?IncludePropertyData=true"),
            "X9W1h57h9WNyTwQVfCZpJowI3L2VjyAHZLNKrgU/GSg=",
        ),
        (CALLBACK.to_owned(), CALLBACK_TAG),
    ] {
        let written = authentication(&get(&target).head, KEY, &secret(SECRET, "t"), DATE);
        assert_eq!(written, format!("{KEY}:{tag}"));
    }
}

fn signed_callback(key: &str, tag: &str) -> Message {
    let pairs = [
        ("authentication", &*format!("{key}:{tag}")),
        ("timestamp", DATE),
    ];
    with_headers(&get(CALLBACK), |all| *all = headers(&pairs))
}

#[test]
fn a_signed_callback_verifies_within_five_minutes() {
    let tolerance = Duration::from_secs(5 * 60);
    let tick = Duration::from_millis(1);
    let callback = signed_callback(&KEY.to_lowercase(), CALLBACK_TAG);
    for (at, outcome) in [
        (signed_at(), Ok(())),
        (signed_at().after(tolerance), Ok(())),
        (signed_at().before(tolerance), Ok(())),
        (
            signed_at().after(tolerance).after(tick),
            Err(Unverified::WrongTime),
        ),
        (
            signed_at().before(tolerance).before(tick),
            Err(Unverified::WrongTime),
        ),
    ] {
        let judged = with_keys().verify(&callback, Screened::default(), at);
        assert_eq!(
            judged.map(|verdict| assert_eq!(verdict.assurance, Assurance::Token)),
            outcome
        );
    }
}

#[test]
fn a_signed_callback_fails_with_another_key_or_another_query() {
    let other_key = signed_callback("AA772A5B-1E7B-461C-8AC6-CA9E6E2FD2B9", CALLBACK_TAG);
    assert_eq!(
        with_keys()
            .verify(&other_key, Screened::default(), signed_at())
            .unwrap_err(),
        Unverified::WrongSecret
    );
    let other_query = with_target(
        &signed_callback(KEY, CALLBACK_TAG),
        &format!("{CALLBACK}&X=1"),
    );
    assert_eq!(
        with_keys()
            .verify(&other_query, Screened::default(), signed_at())
            .unwrap_err(),
        Unverified::WrongSignature
    );
}

#[test]
fn what_is_signed_must_verify_even_where_a_path_secret_suffices() {
    let both = build(
        &KIND,
        vec![secret("7Q-path-secret", "env:PATH_SECRET")],
        KEYS,
    );
    let target = CALLBACK.replace("/7Q", "/7Q-path-secret");
    assert!(
        both.verify(&get(&target), Screened::default(), now())
            .is_ok()
    );
    let forged = with_headers(&get(&target), |all| {
        let value = format!("{KEY}:{CALLBACK_TAG}");
        *all = headers(&[("authentication", &value), ("timestamp", DATE)]);
    });
    assert!(
        both.verify(&forged, Screened::default(), signed_at())
            .is_err()
    );
}

#[test]
fn ids_of_every_known_shape_are_taken() {
    for id in [
        "8CFDC883-88A5-43C2-ADC5-E80CB4BA7D16",
        "e63f94b4-247f-405d-9222-af01507271ec%7C0635781205603107443",
        "e63f94b4-247f-405d-9222-af01507271ec%7D%7D",
        "",
    ] {
        identity(&format!(
            "/h?CallbackType=X&CallbackToken={TOKEN}&ExternalSubscriberImportID={id}"
        ));
    }
    // Both a raw and an encoded pipe arrive, and a stray brace at the end of a token.
    identity(&format!("/h?CallbackType=X&CallbackToken={TOKEN}%7D%7D"));
}

#[test]
fn neither_order_nor_case_nor_encoding_makes_another_event() {
    let first = identity(&format!(
        "/h?CallbackType=Done&CallbackToken={TOKEN}&ImportID=a%7C1"
    ));
    for same in [
        format!("/h?ImportID=a%7C1&CallbackToken={TOKEN}&CallbackType=Done"),
        format!(
            "/h?CallbackType=Done&CallbackToken={}&ImportID=A%7c1",
            TOKEN.to_uppercase()
        ),
        format!("/h?Callback%54ype=D%6fne&CallbackToken={TOKEN}&ImportID=a|1"),
    ] {
        assert_eq!(identity(&same), first, "{same}");
    }
}

#[test]
fn a_forged_type_with_a_true_token_is_another_event() {
    let real = identity(&format!(
        "/h?CallbackType=ExternalSubscriberLinked&CallbackToken={TOKEN}"
    ));
    for forged in [
        format!("/h?CallbackType=Other&CallbackToken={TOKEN}"),
        format!("/h?CallbackType=externalsubscriberlinked&CallbackToken={TOKEN}"),
        format!("/h?CallbackType=ExternalSubscriberLinked&CallbackToken={TOKEN}&X=1"),
        format!("/h?CallbackType=ExternalSubscriberLinked&CallbackToken={TOKEN}&XID=1"),
    ] {
        assert_ne!(identity(&forged), real, "{forged}");
    }
}

#[test]
fn parameters_that_could_be_read_in_two_ways_are_refused() {
    for (query, reason) in [
        (
            "CallbackType=A&CallbackType=A&CallbackToken=1",
            Unverified::Ambiguous,
        ),
        (
            "CallbackType=A&CallbackToken=1&callbacktoken=2",
            Unverified::Ambiguous,
        ),
        (
            "CallbackType=A&CallbackToken=1&Callback%54oken=2",
            Unverified::Ambiguous,
        ),
        ("CallbackType=A", Unverified::BadShape),
        ("CallbackToken=1", Unverified::BadShape),
        ("callbacktype=A&callbacktoken=1", Unverified::BadShape),
        ("CallbackType=A&CallbackToken=", Unverified::BadShape),
        ("CallbackType=A&CallbackToken=1%2F2", Unverified::BadShape),
        ("CallbackType=A&CallbackToken=1%00", Unverified::BadShape),
        ("CallbackType=A%0A&CallbackToken=1", Unverified::BadShape),
        (
            "CallbackType=A&CallbackToken=1&ImportID=a%20b",
            Unverified::BadShape,
        ),
        ("", Unverified::BadShape),
    ] {
        assert_eq!(refusal(&get(&format!("/h?{query}"))), reason, "{query}");
    }
    let long = "a".repeat(129);
    assert_eq!(
        refusal(&get(&format!("/h?CallbackType=A&CallbackToken={long}"))),
        Unverified::BadShape
    );
}

#[test]
fn a_form_body_says_the_same_as_a_query() {
    let form = |target: &str, body: &str, kind: &str| {
        message(
            Method::POST,
            target,
            headers(&[("content-type", kind)]),
            body.as_bytes(),
        )
    };
    let kind = "Application/X-WWW-Form-Urlencoded; charset=utf-8";
    let body = format!("CallbackType=Done&CallbackToken={TOKEN}");
    let verdict = judge(&*unproven(), &form("/h", &body, kind), now()).unwrap();
    assert_eq!(keys(&verdict), identity(&format!("/h?{body}")));
    let half = judge(
        &*unproven(),
        &form(
            "/h?CallbackType=Done",
            &format!("CallbackToken={TOKEN}"),
            kind,
        ),
        now(),
    );
    assert_eq!(keys(&half.unwrap()), identity(&format!("/h?{body}")));
    let conflict = form(&format!("/h?{body}"), "CallbackToken=1", kind);
    assert_eq!(refusal(&conflict), Unverified::Ambiguous);
    let no_form = form("/h", &body, "application/json");
    assert_eq!(refusal(&no_form), Unverified::BadShape);
}

#[test]
fn a_body_that_does_not_belong_there_changes_nothing() {
    let target = format!("/h?CallbackType=Done&CallbackToken={TOKEN}");
    let with_body = message(Method::POST, &target, HeaderMap::new(), b"{}");
    let verdict = judge(&*unproven(), &with_body, now()).unwrap();
    assert_eq!(keys(&verdict), identity(&target));
}

#[test]
fn only_the_whole_last_segment_is_the_secret() {
    let provider = build(&KIND, vec![secret("7Q-path-secret", "env:PATH_SECRET")], "");
    let query = format!("CallbackType=A&CallbackToken={TOKEN}");
    let judged = |path: &str| judge(&*provider, &get(&format!("{path}?{query}")), now());
    assert_eq!(
        judged("/hooks/7Q-path-secret").unwrap().assurance,
        Assurance::Token
    );
    for path in [
        "/hooks/7q-path-secret",
        "/hooks/7Q-path-secret/",
        "/hooks/7Q-path-secre",
        "/hooks/7Q-path-secret0",
        "/hooks/7Q%2Dpath-secret",
        "/hooks",
        "/",
    ] {
        assert_eq!(judged(path).unwrap_err(), Unverified::WrongSecret, "{path}");
    }
}
