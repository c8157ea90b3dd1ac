//! Any bytes at all: nothing panics, and nothing unproven verifies.

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use crate::rules::diagnosis::Case;
use crate::rules::provider::contract::{judge, message, now, settings};
use crate::words::message::Message;
use crate::words::verdict::Assurance;

/// Names that decide something somewhere, so that noise gets deep.
const NAMES: [&str; 9] = [
    "x-walletwerk-signature",
    "x-walletwerk-event",
    "x-walletwerk-timestamp",
    "x-walletwerk-delivery-id",
    "authorization",
    "authentication",
    "timestamp",
    "content-type",
    "content-length",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        "(sha256=)?[0-9a-f]{62,66}".prop_map(String::into_bytes),
        "[A-Za-z0-9+/_=-]{41,46}".prop_map(String::into_bytes),
        "BB772A5B-1E7B-461C-8AC6-CA9E6E2FD2B9:[A-Za-z0-9+/]{43}=".prop_map(String::into_bytes),
        "Wed, [0-9]{2} Oct 2016 [0-9:]{8} GMT".prop_map(String::into_bytes),
        Just(b"application/x-www-form-urlencoded".to_vec()),
    ]
}

fn query() -> impl Strategy<Value = String> {
    prop_oneof![
        "[!-~&&[^#\"<>`{}]]{0,60}",
        "(Callback(Type|Token|type)=[A-Za-z0-9%|.-]{0,20}&?){0,4}",
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        r#"\{("(event|timestamp|data|context)":("[a-z.\\u0-9]{0,12}"|1|null|\{\}),?){0,5}\}"#
            .prop_map(String::into_bytes),
        "(Callback(Type|Token)=[A-Za-z0-9%|]{0,20}&?){0,3}".prop_map(String::into_bytes),
    ]
}

prop_compose! {
    fn any_message()(
        is_get in any::<bool>(),
        path in "(/[a-z0-9%.~_-]{0,24}){1,4}/?",
        query in query(),
        pairs in proptest::collection::vec((0..NAMES.len(), value()), 0..6),
        body in body(),
    ) -> Option<Message> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(&value).ok()?;
            headers.append(HeaderName::from_static(NAMES[name]), value);
        }
        let target = format!("{path}?{query}");
        target.parse::<hyper::Uri>().ok()?;
        let method = if is_get { Method::GET } else { Method::POST };
        Some(message(method, &target, headers, &body))
    }
}

proptest! {
    #[test]
    fn any_message_is_judged_and_none_verifies_by_chance(message in any_message()) {
        let Some(message) = message else { return Ok(()) };
        for setting in settings() {
            let provider = setting.provider();
            let screened = provider.screen(&message.head).unwrap_or_default();
            let judged = provider.verify(&message, screened, now());
            prop_assert!(judged.is_err() || setting.assurance == Assurance::None);
            prop_assert_eq!(judged.is_ok(), judge(&*provider, &message, now()).is_ok());
        }
    }

    #[test]
    fn any_message_can_be_diagnosed(message in any_message()) {
        let Some(message) = message else { return Ok(()) };
        for setting in settings() {
            let secrets = setting.secrets();
            let case = Case { message: &message, secrets: &secrets, now: now() };
            let provider = setting.provider();
            let findings = provider.diagnose(&case);
            let is_right = judge(&*provider, &message, now()).is_ok();
            prop_assert_eq!(findings.is_empty(), is_right, "{} {:?}", setting.shown(), findings);
        }
    }
}
