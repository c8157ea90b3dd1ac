//! WalletWerk: published and computed vectors, freshness at its bounds, unreadable bodies, headers that lie.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;

use crate::rules::hmac::{Signer, to_hex};
use crate::rules::provider::contract::{build, headers, judge, keys, message, now, secret};
use crate::rules::provider::walletwerk::KIND;
use crate::rules::provider::{Provider, Screened};
use crate::words::message::Message;
use crate::words::time::Timestamp;
use crate::words::verdict::{BuryReason, Fate, Unverified, Verdict};

const SECRET: &str = "walletwerk_test_secret";

const A: &str = r#"{"event":"card.active","timestamp":"2025-12-09T10:30:00Z","organization_id":123,"data":{"card_id":"card_abc123","recipient_id":"recipient_xyz789","campaign_id":"campaign_def456","provider":"apple","old_status":"invited","new_status":"active","metadata":{}}}"#;
const B: &str = r#"{"event":"recipient.updated","timestamp":"2025-12-09T10:31:00Z","organization_id":123,"data":{"recipient_id":"recipient_xyz789","metadata":{"name":"Zoë \u00e9","n":12345678901234567890,"r":1.0}}}"#;
const C: &str = r#"{"event":"webhook.test","timestamp":"2025-12-09T10:32:00Z","organization_id":123,"data":{}}"#;

const A_HEX: &str = "5694e3f34662e92d41520c1a734b2b5c3bf1a3c5eb3b859428d3e1388c23a834";

fn provider() -> Arc<dyn Provider> {
    build(&KIND, vec![secret(SECRET, "env:SECRET")], "")
}

fn received(signature: &str, body: &str) -> Message {
    message(
        Method::POST,
        "/hooks",
        headers(&[("x-walletwerk-signature", signature)]),
        body.as_bytes(),
    )
}

/// The message signed as it should be, with these further headers.
fn signed(body: &[u8], further: &[(&str, &str)]) -> Message {
    let signature = to_hex(&Signer::new(&secret(SECRET, "t")).sign(&[body]));
    let mut pairs = vec![("x-walletwerk-signature", signature.as_str())];
    pairs.extend_from_slice(further);
    message(Method::POST, "/hooks", headers(&pairs), body)
}

fn verdict(body: &[u8], further: &[(&str, &str)]) -> Verdict {
    judge(&*provider(), &signed(body, further), now()).unwrap()
}

#[test]
fn only_the_screened_signature_of_this_body_verifies() {
    let provider = provider();
    let message = signed(A.as_bytes(), &[]);
    let of_another = provider.screen(&signed(B.as_bytes(), &[]).head).unwrap();
    for (screened, reason) in [
        (Screened::default(), Unverified::MissingCredential),
        (of_another, Unverified::WrongSignature),
    ] {
        let judged = provider.verify(&message, screened, now());
        assert_eq!(judged.map(|_| ()), Err(reason));
    }
}

/// Computed apart, in Python: the id key is made of it, and what is stored by one release is known to the next.
#[test]
fn the_facts_are_hashed_as_earlier_releases_did() {
    for (body, facts) in [
        (
            A.to_owned(),
            "1947543cbaa899a0a110e5ad1ddaaa6d354c3d69a61511923c9b380362c59385",
        ),
        (
            A.replace("card_id\":\"card", "card\\u005fid\" : \"c\\u0061rd"),
            "1947543cbaa899a0a110e5ad1ddaaa6d354c3d69a61511923c9b380362c59385",
        ),
    ] {
        let identity = verdict(body.as_bytes(), &[]).identity;
        assert_eq!(to_hex(&identity.facts.unwrap()), facts, "{body}");
    }
}

#[test]
fn the_computed_vectors_verify_in_hex_and_base64() {
    assert_eq!((A.len(), B.len(), C.len()), (257, 196, 91));
    for (body, signature, proof) in [
        (A, A_HEX, "hex"),
        (A, "VpTj80Zi6S1BUgwac0srXDvxo8XrO4WUKNPhOIwjqDQ=", "base64"),
        (
            B,
            "7c45775581963dcf17f9a728b8bc38ccd426b6e1c531d8b7845c259047f78ab4",
            "hex",
        ),
        (B, "fEV3VYGWPc8X+acouLw4zNQmtuHFMdi3hFwlkEf3irQ=", "base64"),
        (
            C,
            "df64e9bd1f220fdb73fab55cd07a9a6b8a3da137f699f81d79b6fe544fe9de59",
            "hex",
        ),
        (
            C,
            "sha256=32TpvR8iD9tz+rVc0Hqaa4o9oTf2mfgdebb+VE/p3lk=",
            "base64",
        ),
        (
            C,
            "32TpvR8iD9tz-rVc0Hqaa4o9oTf2mfgdebb-VE_p3lk",
            "base64url",
        ),
    ] {
        let verdict = judge(&*provider(), &received(signature, body), now()).unwrap();
        assert_eq!(verdict.proof, proof);
        assert_eq!(verdict.fate, Fate::Deliver);
    }
}

#[test]
fn the_vector_with_a_newline_is_another_message() {
    let with_newline = format!("{A}\n");
    let signature = "da1365c0c74accb3f73d288c7a6abdf10799c9b58a0362eb75236318401f7a0b";
    assert!(judge(&*provider(), &received(signature, &with_newline), now()).is_ok());
    for (signature, body) in [(signature, A), (A_HEX, &with_newline)] {
        let judged = judge(&*provider(), &received(signature, body), now());
        assert_eq!(judged.unwrap_err(), Unverified::WrongSignature);
    }
}

#[test]
fn during_a_rotation_both_secrets_verify() {
    let next = "6c35caba33dc432e5d40394021eb00fb31aa3f44c101a09d9bae13c83973474c";
    let both = build(
        &KIND,
        vec![
            secret("walletwerk_next_secret", "env:NEXT"),
            secret(SECRET, "env:SECRET"),
        ],
        "",
    );
    for (signature, reference) in [(next, "env:NEXT"), (A_HEX, "env:SECRET")] {
        let verdict = judge(&*both, &received(signature, A), now()).unwrap();
        assert_eq!(verdict.secret.unwrap().as_str(), reference);
    }
    let judged = judge(&*provider(), &received(next, A), now());
    assert_eq!(judged.unwrap_err(), Unverified::WrongSignature);
}

#[test]
fn a_secret_with_a_newline_is_another_secret() {
    let signature = "887aafa9db525e6fa689ba19fea320f92f1ce114f28c5f5f8fcb04d2474d255f";
    let judged = judge(&*provider(), &received(signature, A), now());
    assert_eq!(judged.unwrap_err(), Unverified::WrongSignature);
    let untrimmed = build(
        &KIND,
        vec![secret("walletwerk_test_secret\n", "file:x")],
        "",
    );
    assert!(judge(&*untrimmed, &received(signature, A), now()).is_ok());
}

#[test]
fn the_signature_of_an_empty_body_opens_nothing_else() {
    let empty = "52bcd8b50dee65e2010405126a6a943a0ceafa57283acd86b28fd730f348fcfe";
    let judged = judge(&*provider(), &received(empty, A), now());
    assert_eq!(judged.unwrap_err(), Unverified::WrongSignature);
}

#[test]
fn an_ill_shaped_signature_is_refused_from_the_head() {
    for (value, reason) in [
        ("", Unverified::IllShapedCredential),
        (&A_HEX[..63], Unverified::IllShapedCredential),
        (&format!("sha1={A_HEX}"), Unverified::IllShapedCredential),
        (&format!("{A_HEX},{A_HEX}"), Unverified::IllShapedCredential),
    ] {
        assert_eq!(
            provider().screen(&received(value, A).head),
            Err(reason),
            "{value}"
        );
    }
    let twice = message(
        Method::POST,
        "/hooks",
        headers(&[
            ("x-walletwerk-signature", A_HEX),
            ("x-walletwerk-signature", A_HEX),
        ]),
        A.as_bytes(),
    );
    assert_eq!(provider().screen(&twice.head), Err(Unverified::Ambiguous));
    let none = message(Method::POST, "/hooks", headers(&[]), A.as_bytes());
    assert_eq!(
        provider().screen(&none.head),
        Err(Unverified::MissingCredential)
    );
}

#[test]
fn freshness_ends_exactly_at_its_bounds() {
    let hours = |count: u64| Duration::from_secs(count * 3600);
    let tick = Duration::from_millis(1);
    let time = now();
    for (options, max_age) in [("", hours(72)), ("max_age = \"24h\"", hours(24))] {
        let provider = build(&KIND, vec![secret(SECRET, "env:SECRET")], options);
        let ahead = Duration::from_secs(5 * 60);
        for (at, fate) in [
            (time.after(max_age), Fate::Deliver),
            (
                time.after(max_age).after(tick),
                Fate::Bury(BuryReason::Stale),
            ),
            (time.before(ahead), Fate::Deliver),
            (
                time.before(ahead).before(tick),
                Fate::Bury(BuryReason::Stale),
            ),
        ] {
            let verdict = judge(&*provider, &received(A_HEX, A), at).unwrap();
            assert_eq!(verdict.fate, fate, "{options} {at:?}");
        }
    }
}

#[test]
fn a_test_needs_no_time_and_any_other_event_does() {
    let verdict_of = |body: &str| verdict(body.as_bytes(), &[]);
    let test = verdict_of(r#"{"event":"webhook.test"}"#);
    assert_eq!(
        (test.fate, test.is_test, test.is_undated),
        (Fate::Deliver, true, true)
    );
    let odd = verdict_of(r#"{"event":"webhook.test","timestamp":7}"#);
    assert_eq!(odd.fate, Fate::Deliver);
    let card = verdict_of(r#"{"event":"card.active"}"#);
    assert_eq!(card.fate, Fate::Bury(BuryReason::Unreadable));
}

#[test]
fn a_test_that_is_pressed_twice_is_two_events() {
    let of = |id| keys(&verdict(C.as_bytes(), &[("x-walletwerk-delivery-id", id)]));
    assert_ne!(of("1").content, of("2").content);
    assert_eq!(of("1"), of("1"));
}

#[test]
fn an_unreadable_body_is_set_aside_although_it_is_signed() {
    for body in [
        &br#"{"event":"card.active","event":"card.removed","timestamp":"2025-12-09T10:30:00Z"}"#[..],
        br#"{"event":"card.active","timestamp":"2025-12-09T10:30:00Z","timestamp":"2025-12-09T10:30:00Z"}"#,
        br#"{"event":"card.active","timestamp":"2025-12-09T10:30:00"}"#,
        br#"{"event":"card.active","timestamp":"now"}"#,
        br#"{"event":"card.active","timestamp":1765276200}"#,
        br#"{"event":7,"timestamp":"2025-12-09T10:30:00Z"}"#,
        br#"{"timestamp":"2025-12-09T10:30:00Z"}"#,
        br#"{"event":"\ud800","timestamp":"2025-12-09T10:30:00Z"}"#,
        b"null",
        b"[]",
        b"\"card.active\"",
        b"  ",
        b"{}{}",
        b"{} x",
        b"\xef\xbb\xbf{\"event\":\"card.active\",\"timestamp\":\"2025-12-09T10:30:00Z\"}",
        b"\xff\xfe{\x00}\x00",
        b"\x00",
    ] {
        let verdict = verdict(body, &[]);
        assert_eq!(verdict.fate, Fate::Bury(BuryReason::Unreadable), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn what_decides_nothing_may_be_as_odd_as_it_likes() {
    for rest in [
        r#""data":{"card_id":"a","card_id":"b"}"#,
        r#""data":[1e400,-0,12345678901234567890]"#,
        r#""data":null,"organization_id":"x","organization_id":2"#,
        r#""x":"\ud800""#,
    ] {
        let body =
            format!(r#"{{"event":"card.active","timestamp":"2025-12-09T10:30:00Z",{rest}}}"#);
        assert_eq!(verdict(body.as_bytes(), &[]).fate, Fate::Deliver, "{rest}");
    }
}

#[test]
fn headers_that_contradict_the_signed_body_are_corrected() {
    let agreeing = [
        ("x-walletwerk-event", "card.active"),
        ("x-walletwerk-timestamp", "2025-12-09T10:30:00Z"),
    ];
    assert!(verdict(A.as_bytes(), &agreeing).corrections.is_empty());
    let lying = [
        ("x-walletwerk-event", "card.revoked"),
        ("x-walletwerk-timestamp", "2025-12-10T10:30:00Z"),
    ];
    let verdict = verdict(A.as_bytes(), &lying);
    assert_eq!(&*verdict.event_type, "card.active");
    assert_eq!(
        verdict.time,
        Timestamp::parse_rfc3339("2025-12-09T10:30:00Z")
    );
    let corrected: Vec<_> = verdict
        .corrections
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_ref().unwrap().to_str().unwrap()))
        .collect();
    assert_eq!(corrected, agreeing);
}

#[test]
fn an_id_names_an_event_only_together_with_what_the_body_says() {
    let id = [("x-walletwerk-delivery-id", "dlv_1")];
    let first = keys(&verdict(A.as_bytes(), &id));
    let rewritten = A.replace("\":", "\": ");
    let again = keys(&verdict(rewritten.as_bytes(), &id));
    assert_ne!(first.content, again.content);
    assert_eq!(first.id, again.id, "a retry that was serialised anew");
    let other = A.replace("card_abc123", "card_abc124");
    assert_ne!(
        first.id,
        keys(&verdict(other.as_bytes(), &id)).id,
        "an id cannot be burned"
    );
    for unusable in ["", &"x".repeat(257)] {
        let verdict = verdict(A.as_bytes(), &[("x-walletwerk-delivery-id", unusable)]);
        assert!(verdict.delivery_id_ignored);
        assert_eq!(keys(&verdict).id, None);
    }
}
