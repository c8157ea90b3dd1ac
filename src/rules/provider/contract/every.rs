//! The contract itself: tests that loop over every setting of every provider.

use std::collections::BTreeSet;

use hyper::header::HeaderName;

use crate::rules::diagnosis::Case;
use crate::rules::provider::KINDS;
use crate::rules::provider::contract::{
    build, judge, keys, now, secret, settings, with_body, with_headers, with_target,
};
use crate::words::verdict::{Assurance, Fate};

#[test]
fn every_provider_and_every_grade_is_tried() {
    let tried: BTreeSet<&str> = settings().iter().map(|setting| setting.kind.name).collect();
    let registered: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(tried, registered);
    for grade in [
        Assurance::Signature,
        Assurance::ApiKey,
        Assurance::Token,
        Assurance::None,
    ] {
        assert!(
            settings().iter().any(|setting| setting.assurance == grade),
            "{grade:?}"
        );
    }
}

#[test]
fn a_sample_of_every_event_verifies_and_is_delivered() {
    for setting in settings() {
        let provider = setting.provider();
        for event in setting.kind.events {
            let message = setting.message(event, 7);
            let verdict = judge(&*provider, &message, now());
            let verdict =
                verdict.unwrap_or_else(|reason| panic!("{} {event}: {reason:?}", setting.shown()));
            assert_eq!(&*verdict.event_type, *event);
            assert!(verdict.ce_type.ends_with(event), "{}", verdict.ce_type);
            assert_eq!(verdict.fate, Fate::Deliver);
            assert_eq!(verdict.assurance, setting.assurance);
            assert_eq!(
                verdict.secret.is_some(),
                setting.assurance != Assurance::None
            );
            assert!(verdict.corrections.is_empty());
            assert!(setting.kind.methods.contains(&message.head.method));
            assert_eq!(setting.kind.needs_body, !message.body.is_empty());
        }
    }
}

#[test]
fn an_unknown_event_verifies_too_since_the_lists_are_open() {
    for setting in settings() {
        let verdict = judge(
            &*setting.provider(),
            &setting.message("new.thing", 1),
            now(),
        )
        .unwrap();
        assert_eq!(verdict.fate, Fate::Deliver, "{}", setting.shown());
        assert_eq!(&*verdict.event_type, "new.thing");
    }
}

#[test]
fn a_wrong_secret_fails() {
    for setting in settings() {
        let Some(right) = setting.secret else {
            continue;
        };
        let first = setting.kind.events[0];
        let other_case = right.to_uppercase();
        for wrong in [
            "another-secret-altogether",
            &right[1..],
            &format!("{right}0"),
            &other_case,
        ] {
            let message = setting.message_with(Some(wrong), first, 1);
            assert!(
                judge(&*setting.provider(), &message, now()).is_err(),
                "{} {wrong}",
                setting.shown()
            );
        }
        assert!(
            judge(
                &*setting.provider(),
                &setting.message_with(None, first, 1),
                now()
            )
            .is_err()
        );
    }
}

#[test]
fn each_credential_must_be_there_once_and_whole() {
    for setting in settings() {
        let provider = setting.provider();
        let message = setting.message(setting.kind.events[0], 1);
        for name in setting.credentials {
            let name: HeaderName = name.parse().unwrap();
            let value = message.head.headers[&name].clone();
            let without = with_headers(&message, |headers| {
                headers.remove(&name);
            });
            let twice = with_headers(&message, |headers| {
                headers.append(&name, value.clone());
            });
            let halved = with_headers(&message, |headers| {
                let half = &value.as_bytes()[..value.len() / 2];
                headers.insert(&name, half.try_into().unwrap());
            });
            for (what, broken) in [("without", without), ("twice", twice), ("halved", halved)] {
                assert!(
                    judge(&*provider, &broken, now()).is_err(),
                    "{} {what} {name}",
                    setting.shown()
                );
            }
        }
        if provider.has_path_secret() {
            let target = format!("/hooks?{}", message.head.query());
            assert!(judge(&*provider, &with_target(&message, &target), now()).is_err());
        }
    }
}

#[test]
fn a_credential_is_told_from_its_neighbours_before_the_body_is_read() {
    for setting in settings() {
        let message = setting.message(setting.kind.events[0], 1);
        for name in setting.credentials.iter().take(1) {
            let name: HeaderName = name.parse().unwrap();
            let empty = with_headers(&message, |headers| {
                headers.insert(&name, "".parse().unwrap());
            });
            assert!(
                setting.provider().screen(&empty.head).is_err(),
                "{}",
                setting.shown()
            );
        }
    }
}

/// Every bit of the body: with a signature none may change; elsewhere it is at least another event.
#[test]
fn no_flipped_bit_of_a_body_passes_for_the_original() {
    for setting in settings() {
        let provider = setting.provider();
        let message = setting.message(setting.kind.events[0], 1);
        let original = keys(&judge(&*provider, &message, now()).unwrap());
        for place in 0..message.body.len() * 8 {
            let mut body = message.body.to_vec();
            body[place / 8] ^= 1 << (place % 8);
            match judge(&*provider, &with_body(&message, &body), now()) {
                Err(_) => {}
                Ok(verdict) => {
                    assert_ne!(setting.assurance, Assurance::Signature, "bit {place}");
                    assert_ne!(keys(&verdict), original, "bit {place}");
                }
            }
        }
    }
}

#[test]
fn a_signed_body_that_was_changed_on_the_way_fails() {
    for setting in settings() {
        if setting.assurance != Assurance::Signature {
            continue;
        }
        let provider = setting.provider();
        let message = setting.message(setting.kind.events[0], 1);
        let text = String::from_utf8(message.body.to_vec()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for changed in [
            format!("{text}\n"),
            format!("{text}\r\n"),
            format!(" {text}"),
            format!("\u{feff}{text}"),
            text.replace(':', ": "),
            text.replace(",\"", ",\r\n\""),
            serde_json::to_string_pretty(&value).unwrap(),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ] {
            assert_ne!(changed, text);
            let changed = with_body(&message, changed.as_bytes());
            assert!(judge(&*provider, &changed, now()).is_err(), "{changed:?}");
        }
    }
}

#[test]
fn of_several_secrets_the_matching_one_is_named() {
    for setting in settings() {
        let Some(text) = setting.secret else { continue };
        let accepted = || {
            vec![
                secret("the-next-secret", "env:NEXT"),
                secret(text, "file:/run/current"),
                secret("the-secret-before", "env:BEFORE"),
            ]
        };
        let provider = build(setting.kind, accepted(), setting.options);
        for (presented, reference) in [
            ("the-next-secret", "env:NEXT"),
            (text, "file:/run/current"),
            ("the-secret-before", "env:BEFORE"),
        ] {
            let message = setting.message_with(Some(presented), setting.kind.events[0], 1);
            let verdict = judge(&*provider, &message, now()).unwrap();
            assert_eq!(
                verdict.secret.unwrap().as_str(),
                reference,
                "{}",
                setting.shown()
            );
        }
        let gone = setting.message_with(Some("a-secret-of-last-year"), setting.kind.events[0], 1);
        assert!(judge(&*provider, &gone, now()).is_err());
    }
}

#[test]
fn the_same_message_has_the_same_keys_and_another_has_others() {
    for setting in settings() {
        let provider = setting.provider();
        for event in setting.kind.events {
            let of =
                |nonce| keys(&judge(&*provider, &setting.message(event, nonce), now()).unwrap());
            assert_eq!(of(1), of(1));
            let (first, second) = (of(1), of(2));
            for key in first.iter() {
                assert!(
                    second.iter().all(|other| other != key),
                    "{} {event}",
                    setting.shown()
                );
            }
        }
        let of = |event| keys(&judge(&*provider, &setting.message(event, 1), now()).unwrap());
        assert_ne!(of(setting.kind.events[0]), of(setting.kind.events[1]));
    }
}

#[test]
fn an_event_is_remembered_as_long_as_the_provider_may_send_it_again() {
    for setting in settings() {
        let retries: std::time::Duration = setting.kind.retry_pauses.iter().sum();
        let provider = setting.provider();
        // WalletWerk's last pause ends at most a day after the first try.
        let longest = retries.min(std::time::Duration::from_secs(24 * 60 * 60));
        assert!(provider.must_remember() >= longest, "{}", setting.shown());
    }
}

/// Diagnosis is for what fails, and shows no secret while it is at it.
#[test]
fn a_diagnosis_explains_every_refusal_and_shows_no_secret() {
    for setting in settings() {
        let provider = setting.provider();
        let secrets = setting.secrets();
        let first = setting.kind.events[0];
        for wrong in [Some("another-secret-altogether"), None] {
            let message = setting.message_with(wrong, first, 1);
            let message = with_headers(&message, |headers| {
                headers.remove("authentication");
            });
            if judge(&*provider, &message, now()).is_ok() {
                continue;
            }
            let case = Case {
                message: &message,
                secrets: &secrets,
                now: now(),
            };
            let findings = provider.diagnose(&case);
            assert!(!findings.is_empty(), "{}", setting.shown());
            for finding in findings {
                for text in [setting.secret, wrong].into_iter().flatten() {
                    assert!(!finding.text.contains(text), "{}", finding.text);
                }
            }
        }
        let right = setting.message(first, 1);
        let case = Case {
            message: &right,
            secrets: &secrets,
            now: now(),
        };
        assert_eq!(provider.diagnose(&case), [], "{}", setting.shown());
    }
}
