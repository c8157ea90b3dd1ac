//! Passworks: the bare key, and bodies of both ages.

use hyper::Method;

use crate::rules::provider::contract::{build, headers, judge, keys, message, now, secret};
use crate::rules::provider::passworks::KIND;
use crate::words::message::Message;
use crate::words::time::Timestamp;
use crate::words::verdict::{BuryReason, Fate, Unverified, Verdict};

const KEY: &str = "a1b2c3d4e5f60718";

fn received(authorization: &str, body: &[u8]) -> Message {
    message(
        Method::POST,
        "/hooks",
        headers(&[("authorization", authorization)]),
        body,
    )
}

fn verified(body: &[u8]) -> Verdict {
    let provider = build(&KIND, vec![secret(KEY, "env:KEY")], "");
    judge(&*provider, &received(KEY, body), now()).unwrap()
}

#[test]
fn only_the_bare_key_opens() {
    let provider = build(&KIND, vec![secret(KEY, "env:KEY")], "");
    assert!(judge(&*provider, &received(KEY, b"{}"), now()).is_ok());
    for other in [
        format!("Bearer {KEY}"),
        format!("Token token=\"{KEY}\""),
        "Basic YTphMWIyYzNkNGU1ZjYwNzE4".to_owned(),
        KEY.to_uppercase(),
        format!("{KEY}, {KEY}"),
        format!("\"{KEY}\""),
    ] {
        let judged = judge(&*provider, &received(&other, b"{}"), now());
        assert_eq!(judged.unwrap_err(), Unverified::WrongSecret, "{other}");
    }
    let judged = judge(&*provider, &received("", b"{}"), now());
    assert_eq!(judged.unwrap_err(), Unverified::MissingCredential);
}

#[test]
fn the_documented_body_says_event_time_and_pass() {
    let verdict = verified(
        br#"{"event":"installed","context":"pass","campaign_id":"cbc3016c-4c55-4564-81e9-a21664817be2","pass_id":"d91aef7c-a166-4694-bb91-569714f9c33e","voided":false,"redeemed_at":null,"event_at":"2016-08-10T11:30:06Z","metadata":{},"event_extra":{"pass_id":"other"}}"#,
    );
    assert_eq!(&*verdict.event_type, "installed");
    assert_eq!(verdict.ce_type, "io.passworks.pass.installed");
    assert_eq!(
        verdict.time,
        Timestamp::parse_rfc3339("2016-08-10T11:30:06Z")
    );
    assert_eq!(
        verdict.subject.as_deref(),
        Some("d91aef7c-a166-4694-bb91-569714f9c33e")
    );
    assert_eq!(verdict.fate, Fate::Deliver);
}

#[test]
fn a_body_from_before_2016_is_understood_too() {
    let verdict = verified(
        br#"{"event":"redeemed","context":"Pass","pass_id":"p1","voided ":true,"action_at":"2016-01-10T11:30:06.250+00:00"}"#,
    );
    assert_eq!(verdict.ce_type, "io.passworks.pass.redeemed");
    assert_eq!(
        verdict.time,
        Timestamp::parse_rfc3339("2016-01-10T11:30:06.25Z")
    );
    assert_eq!(verdict.fate, Fate::Deliver);
}

#[test]
fn what_is_missing_or_odd_makes_no_event_undeliverable() {
    for body in [
        &b"{}"[..],
        br#"{"event":null,"event_at":null,"pass_id":null}"#,
        br#"{"event":"fetched","event_at":"yesterday"}"#,
        br#"{"event":"fetched","event":"installed"}"#,
        b"{\"event\":\"\\ud800\"}",
    ] {
        assert_eq!(verified(body).fate, Fate::Deliver);
        assert!(verified(body).is_undated);
    }
}

#[test]
fn a_body_that_is_no_object_is_set_aside() {
    for body in [
        &b"null"[..],
        b"[]",
        b"{",
        b"\xef\xbb\xbf{}",
        b"not json",
        b"{}{}",
    ] {
        assert_eq!(verified(body).fate, Fate::Bury(BuryReason::Unreadable));
    }
}

#[test]
fn there_is_no_id_so_the_content_alone_tells_events_apart() {
    let verdict = verified(br#"{"event":"installed"}"#);
    assert_eq!(keys(&verdict).id, None);
    assert_ne!(
        keys(&verdict),
        keys(&verified(br#"{"event":"installed" }"#))
    );
}
