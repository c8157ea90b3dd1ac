use std::path::Path;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::rules::config::Config;
use crate::rules::reader::secrets::{SecretFile, SecretSource, Unreadable};
use crate::words::verdict::Assurance;

/// Every secret is the same.
struct Known;

impl SecretSource for Known {
    fn variable(&self, _: &str) -> Option<Zeroizing<Vec<u8>>> {
        Some(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec().into())
    }

    fn file(&self, _: &Path) -> Result<SecretFile, Unreadable> {
        Err(Unreadable::Io(std::io::ErrorKind::NotFound.into()))
    }
}

fn route(upstream: &str) -> Route {
    let text = format!(
        "[[route]]\nprovider = \"wallit\"\nsecrets = [\"env:A\"]\nsign_with = \"env:A\"\nupstream = \"{upstream}\"\n[route.verify]\nallow_unproven = true\n"
    );
    let (config, _) = Config::read(&text, Path::new("config.toml"), Some(&Known))
        .unwrap_or_else(|remarks| panic!("{remarks:?}"));
    config.routes.into_iter().next().unwrap()
}

fn record() -> Record {
    let stamp = Stamp {
        content: Key::from_bytes([0xab; Key::LEN]),
        time: Some(Timestamp::from_secs(1_700_000_000)),
        received_at: Timestamp::from_secs(1_700_000_001),
    };
    Record::new("wallit", stamp, Assurance::Token, [127, 0, 0, 1].into())
}

fn head(route: &Route, record: &Record, body: &[u8]) -> String {
    let mut head = Vec::new();
    let attempt = Attempt {
        number: 12,
        at: Timestamp::from_secs(1_700_000_002),
        is_replay: true,
    };
    write_head(
        route,
        record,
        &Bytes::copy_from_slice(body),
        attempt,
        &mut head,
    );
    String::from_utf8(head).unwrap()
}

#[test]
fn the_target_is_the_upstreams_with_the_query_of_the_event() {
    for (upstream, query, expected) in [
        ("http://app", "", "/"),
        ("http://app", "a=b", "/?a=b"),
        ("http://app/hooks", "", "/hooks"),
        ("http://app/hooks?c", "a=b", "/hooks?c&a=b"),
        ("http://app?c=d", "a=b", "/?c=d&a=b"),
        // None of these was ever received.
        ("http://app/hooks", "a b", "/hooks"),
        ("http://app/hooks", "a\r\nx: y", "/hooks"),
    ] {
        let mut record = record();
        record.query = query.to_owned();
        record.method = "GET".into();
        let head = head(&route(upstream), &record, b"");
        let first = head.lines().next().unwrap();
        assert_eq!(first, format!("GET {expected} HTTP/1.1"), "{upstream}");
        assert!(!head.contains("content-length"));
    }
}

proptest! {
    /// The names in their order, each once, whatever is said in the values.
    #[test]
    fn nothing_that_a_sender_says_becomes_a_line_of_its_own(
        texts in proptest::collection::vec("[ -~\r\n\t\u{0}\u{7f}é]{0,12}", 5),
        long in prop_oneof![Just(0usize), 1020usize..1030],
        body in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        let route = route("http://app/hooks");
        let mut record = record();
        record.query = texts[0].clone();
        record.method = texts[1].clone().into();
        record.ce_type = texts[2].clone();
        record.subject = Some(texts[3].clone());
        record.host = Some(format!("{}{}", texts[4], "h".repeat(long)));
        let head = head(&route, &record, &body);
        let lines: Vec<&str> = head.strip_suffix("\r\n\r\n").unwrap().split("\r\n").collect();
        let names: Vec<&str> = lines[1..].iter().map(|line| line.split_once(": ").unwrap().0).collect();
        let is_said = |name: &&str| names.contains(name);
        let expected: Vec<&str> = [
            "host", "idempotency-key", "ce-id", "ce-specversion", "ce-source", "ce-type", "ce-time", "ce-subject",
            "x-forwarded-host", "forwarded", "x-forwarded-for", "x-forwarded-proto", "via", "passgate-attempt",
            "content-length", "passgate-assurance", "passgate-replay", "webhook-id", "webhook-timestamp",
            "webhook-signature",
        ].into_iter().filter(is_said).collect();
        prop_assert_eq!(&names, &expected);
        let has_host = texts[4].bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
            && texts[4].len() + long <= VALUE_BYTES_MAX;
        prop_assert_eq!(names.contains(&"x-forwarded-host"), has_host);
        // What is encoded is always there.
        prop_assert_eq!(names.len(), 19 + usize::from(has_host));
        for line in &lines {
            prop_assert!(line.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
        }
        prop_assert_eq!(lines[0].split(' ').count(), 3);
    }
}
