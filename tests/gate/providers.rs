//! Every platform end to end: what proves an event, what refuses it, and what the app is told of it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Request, Session, card_event};

const TOKEN: &str = "5d0f5ca5-2528-4bbd-b83f-18b3a732c1ee";
const KEY: &str = "passworks-live-api-key";

/// The body that Passworks documents, shortened.
const INSTALLED: &str = r#"{ "event": "installed", "context": "Pass", "pass_id": "d91aef7c-a166-4694-bb91-569714f9c33e", "voided": false, "event_at": "2016-08-10T11:30:06Z", "metadata": {}, "event_extra": {"ip": "192.168.1.206"} }"#;

async fn gate(provider: &str, more: &str) -> Gate {
    gate_before(App::willing().await, provider, more).await
}

async fn gate_before(app: App, provider: &str, more: &str) -> Gate {
    let config = format!(
        "[[route]]\nprovider = \"{provider}\"\nupstream = \"http://@APP@/events\"\n{more}\n"
    );
    Setup::config(app, config).start().await
}

async fn passworks() -> Gate {
    gate(
        "passworks",
        "secrets = [\"env:PASSWORKS_API_KEY\", \"env:WALLETWERK_SECRET_OLD\"]",
    )
    .await
}

async fn wallit_with_path_secret() -> Gate {
    gate("wallit", "secrets = [\"env:WALLIT_PATH_SECRET\"]").await
}

fn installed(n: u64) -> Request {
    let body = INSTALLED.replace("569714f9c33e", &format!("{n:012}"));
    Request::post("/webhooks/passworks", body).with(&format!("Authorization: {KEY}"))
}

fn callback(target: &str, n: u64) -> Request {
    let token = TOKEN.replace("18b3a732c1ee", &format!("{n:012}"));
    Request::get(&format!(
        "{target}?CallbackType=ExternalSubscriberLinked&CallbackToken={token}"
    ))
}

#[tokio::test]
async fn passworks_either_key_is_taken_and_neither_reaches_the_app_or_the_log() {
    let gate = passworks().await;
    let old = "walletwerk_previous_secret";
    for (n, key) in [KEY, old].into_iter().enumerate() {
        let event = installed(n as u64)
            .without("authorization")
            .with(&format!("Authorization: {key}"));
        assert_eq!(gate.send(&event).await.outcome(), "forwarded", "{n}");
    }
    for seen in gate.app.requests() {
        let bytes = format!("{seen:?}");
        assert_eq!(seen.header("authorization"), None);
        assert!(!bytes.contains(KEY) && !bytes.contains(old), "{bytes}");
        assert_eq!(seen.header("passgate-assurance"), Some("api_key"));
        assert_eq!(seen.header("ce-type"), Some("io.passworks.pass.installed"));
        assert_eq!(seen.header("ce-source"), Some("/passworks/passworks"));
        assert_eq!(seen.header("ce-time"), Some("2016-08-10T11:30:06Z"));
    }
    assert_eq!(
        gate.app.requests()[1].header("ce-subject"),
        Some("d91aef7c-a166-4694-bb91-000000000001")
    );
    for secret in ["env:PASSWORKS_API_KEY", "env:WALLETWERK_SECRET_OLD"] {
        let series =
            format!("passgate_secret_matches_total{{route=\"passworks\",secret=\"{secret}\"}}");
        assert_eq!(gate.metric(&series).await, 1.0, "{secret}");
    }
    let metrics = gate.metrics().await;
    let logged = gate.stop().await.text();
    for text in [metrics, logged] {
        assert!(!text.contains(KEY) && !text.contains(old), "{text}");
        assert!(!text.contains("192.168.1.206"), "{text}");
    }
}

#[tokio::test]
async fn passworks_anything_but_the_bare_key_is_refused_before_the_body_is_read() {
    let gate = passworks().await;
    for value in [
        format!("Bearer {KEY}"),
        format!("Token token=\"{KEY}\""),
        format!(
            "Basic {}",
            data_encoding::BASE64.encode(format!("user:{KEY}").as_bytes())
        ),
        format!("{KEY}x"),
        KEY[1..].to_owned(),
        KEY.to_uppercase(),
    ] {
        let mut head_only = installed(1)
            .without("authorization")
            .with(&format!("Authorization: {value}"))
            .with("Content-Length: 1000");
        head_only.body = Vec::new();
        let answer = gate.send(&head_only).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (401, "unauthentic"),
            "{value}"
        );
    }
    let missing = gate.send(&installed(1).without("authorization")).await;
    assert_eq!(missing.outcome(), "unauthentic");
    let doubled = gate
        .send(&installed(1).with(&format!("Authorization: {KEY}")))
        .await;
    assert_eq!((doubled.status, doubled.outcome()), (400, "malformed"));
    assert_eq!(gate.app.count(), 0);
}

#[tokio::test]
async fn passworks_the_body_is_the_event_and_two_devices_in_one_second_are_two() {
    let gate = passworks().await;
    let other_device = Request::post("/webhooks/passworks", INSTALLED.replace(".206", ".207"))
        .with(&format!("Authorization: {KEY}"));
    let old_form = r#"{"event":"redeemed","action_at":"2016-01-10T11:30:06+01:00","voided ":true,"pass_id":"p"}"#;
    let old_form =
        Request::post("/webhooks/passworks", old_form).with(&format!("Authorization: {KEY}"));
    let unknown = Request::post("/webhooks/passworks", "{}").with(&format!("Authorization: {KEY}"));
    let no_object =
        Request::post("/webhooks/passworks", "[1]").with(&format!("Authorization: {KEY}"));
    let one =
        Request::post("/webhooks/passworks", INSTALLED).with(&format!("Authorization: {KEY}"));
    for (what, request, status, outcome) in [
        ("one device", &one, 200, "forwarded"),
        ("the same again", &one, 200, "duplicate"),
        ("another device", &other_device, 200, "forwarded"),
        ("the form of 2016", &old_form, 200, "forwarded"),
        ("an object that says nothing", &unknown, 200, "forwarded"),
        ("no object", &no_object, 400, "malformed"),
    ] {
        let answer = gate.send(request).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (status, outcome),
            "{what}"
        );
    }
    let seen = gate.app.requests();
    assert_eq!(
        seen[2].header("ce-type"),
        Some("io.passworks.pass.redeemed")
    );
    assert_eq!(seen[2].header("ce-time"), Some("2016-01-10T10:30:06Z"));
    assert_eq!(seen[3].header("ce-type"), Some("io.passworks.pass.unknown"));
    assert_eq!(
        (seen[3].header("ce-time"), seen[3].header("ce-subject")),
        (None, None)
    );
}

#[tokio::test]
async fn wallit_a_callback_passes_with_its_query_as_it_was_written_and_is_answered_exactly_200() {
    let app = App::start(|_, n| Reply::status(if n == 0 { 204 } else { 201 })).await;
    let gate = gate_before(app, "wallit", "secrets = [\"env:WALLIT_PATH_SECRET\"]").await;
    let query = "CallbackType=ExternalSubscriberExportCompleted&CallbackToken=5D0F5CA5-2528-4bbd-b83f-18b3a732c1ee%7D%7D&ExternalSubscriberExportID=e63f94b4-247f-405d-9222-af01507271ec%7C0635781205603107443&Extra=a+b%20c";
    let get = Request::get(&format!("/webhooks/wallit/wallit-path-secret?{query}"));
    let answer = gate.send(&get).await;
    assert_eq!((answer.status, answer.outcome()), (200, "forwarded"));
    let seen = &gate.app.requests()[0];
    assert_eq!(seen.line, format!("GET /events?{query} HTTP/1.1"));
    assert_eq!(seen.body, b"");
    for (name, value) in [
        ("passgate-assurance", Some("token")),
        (
            "ce-type",
            Some("io.wallit.ExternalSubscriberExportCompleted"),
        ),
        ("ce-subject", Some("5D0F5CA5-2528-4bbd-b83f-18b3a732c1ee}}")),
        ("ce-source", Some("/wallit/wallit")),
        ("ce-time", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    // In another order and case it is the same, and by POST too.
    let reordered = "Extra=a%20b+c&ExternalSubscriberExportID=E63F94B4-247f-405d-9222-af01507271ec%7c0635781205603107443&CallbackToken=5d0f5ca5-2528-4bbd-b83f-18b3a732c1ee}}&CallbackType=ExternalSubscriberExportCompleted";
    let again = Request::get(&format!("/webhooks/wallit/wallit-path-secret?{reordered}"));
    let answer = gate.send(&again).await;
    assert_eq!((answer.status, answer.outcome()), (200, "duplicate"));
    // A true token under another type is another event.
    let forged = query.replace("ExportCompleted&", "Linked&");
    let forged = Request::get(&format!("/webhooks/wallit/wallit-path-secret?{forged}"));
    let answer = gate.send(&forged).await;
    assert_eq!(
        (answer.status, answer.outcome()),
        (200, "forwarded"),
        "the app's 201"
    );
}

#[tokio::test]
async fn wallit_a_post_is_taken_with_its_parameters_in_query_or_form() {
    let gate = wallit_with_path_secret().await;
    let form = format!("CallbackType=ExternalSubscriberLinked&CallbackToken={TOKEN}");
    let mut post = Request::post("/webhooks/wallit/wallit-path-secret", form.as_str());
    post.headers[1] = "Content-Type: application/x-www-form-urlencoded".into();
    assert_eq!(gate.send(&post).await.outcome(), "forwarded");
    let seen = &gate.app.requests()[0];
    assert_eq!(seen.line, "POST /events HTTP/1.1");
    assert_eq!(seen.body, form.as_bytes());
    let by_query = Request::get(&format!("/webhooks/wallit/wallit-path-secret?{form}"));
    assert_eq!(gate.send(&by_query).await.outcome(), "duplicate");
    // In both places it is a repetition.
    post.line = format!("POST /webhooks/wallit/wallit-path-secret?{form} HTTP/1.1");
    assert_eq!(gate.send(&post).await.status, 400);
    // A POST without a body has no length to state.
    let mut bare = callback("/webhooks/wallit/wallit-path-secret", 2);
    bare.line = bare.line.replace("GET", "POST");
    assert_eq!(gate.send(&bare).await.outcome(), "forwarded");
}

#[tokio::test]
async fn wallit_the_last_path_segment_is_the_secret_and_appears_nowhere() {
    let gate = wallit_with_path_secret().await;
    for path in [
        "/webhooks/wallit",
        "/webhooks/wallit/",
        "/webhooks/wallit/wallit-path-secreT",
        "/webhooks/wallit/wallit-path-secret2",
        "/webhooks/wallit/wallit%2Dpath-secret",
    ] {
        let answer = gate.send(&callback(path, 1)).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (401, "unauthentic"),
            "{path}"
        );
    }
    for path in [
        "/webhooks/wallit/x/wallit-path-secret",
        "/webhooks/wallit/wallit-path-secret/",
        "/webhooks//wallit/wallit-path-secret",
    ] {
        assert_eq!(
            gate.send(&callback(path, 1)).await.outcome(),
            "no_route",
            "{path}"
        );
    }
    let answer = gate
        .send(&callback("/webhooks/wallit/wallit-path-secret", 1))
        .await;
    assert_eq!(answer.outcome(), "forwarded");
    let seen = format!("{:?}", gate.app.requests());
    let metrics = gate.metrics().await;
    let logged = gate.stop().await.text();
    for text in [seen, metrics, logged, format!("{answer:?}")] {
        assert!(!text.contains("wallit-path-secret"), "{text}");
    }
}

#[tokio::test]
async fn wallit_what_has_not_the_shape_of_a_callback_is_refused() {
    let gate = wallit_with_path_secret().await;
    let token = format!("CallbackToken={TOKEN}");
    let long = "a".repeat(129);
    for (what, query) in [
        ("nothing", String::new()),
        ("no token", "CallbackType=ExternalSubscriberLinked".into()),
        ("no type", token.clone()),
        ("an empty token", "CallbackType=T&CallbackToken=".into()),
        ("a token twice", format!("CallbackType=T&{token}&{token}")),
        (
            "a token in two cases",
            format!("CallbackType=T&{token}&callbacktoken=x"),
        ),
        (
            "a path in the token",
            "CallbackType=T&CallbackToken=..%2F..%2Fadmin".into(),
        ),
        (
            "a long token",
            format!("CallbackType=T&CallbackToken={long}"),
        ),
        ("a strange type", format!("CallbackType=T%0D%0Ax&{token}")),
        (
            "a strange id",
            format!("CallbackType=T&{token}&ExternalSubscriberImportID=%3Cx%3E"),
        ),
    ] {
        let request = Request::get(&format!("/webhooks/wallit/wallit-path-secret?{query}"));
        let answer = gate.send(&request).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (400, "malformed"),
            "{what}"
        );
    }
    assert_eq!(gate.app.count(), 0);
    assert_eq!(gate.metric("passgate_ledger_keys").await, 0.0);
}

#[tokio::test]
async fn wallit_other_methods_and_a_get_with_a_body_are_refused() {
    let gate = wallit_with_path_secret().await;
    let path = "/webhooks/wallit/wallit-path-secret";
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE"] {
        let mut request = callback(path, 1);
        request.line = request.line.replace("GET", method);
        // The answer to a HEAD announces a body that does not come, so only its head is looked at.
        let mut session = tokio::net::TcpStream::connect(gate.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut session, &request.bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut session, &mut answer)
            .await
            .unwrap();
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 405 "), "{method}: {answer}");
        assert!(
            answer.contains("allow: get, post\r\n"),
            "{method}: {answer}"
        );
    }
    let mut with_body = callback(path, 1);
    with_body.body = b"x".to_vec();
    assert_eq!(gate.send(&with_body).await.status, 400);
    assert_eq!(gate.app.count(), 0);
}

#[tokio::test]
async fn wallit_without_any_proof_a_route_that_allows_it_says_that_nothing_is_proven() {
    let gate = gate("wallit", "[route.verify]\nallow_unproven = true").await;
    let answer = gate.send(&callback("/webhooks/wallit", 1)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "forwarded"));
    let seen = &gate.app.requests()[0];
    assert_eq!(seen.header("passgate-assurance"), Some("none"));
    assert_eq!(
        gate.send(&callback("/webhooks/wallit", 1)).await.outcome(),
        "duplicate"
    );
    assert_eq!(
        gate.send(&callback("/webhooks/wallit/x", 2))
            .await
            .outcome(),
        "no_route"
    );
}

/// `Authentication` as the platform's documents describe it.
fn authentication(method: &str, time: &str, path: &str, query: &str) -> String {
    let text = format!("{method}\n{time}\n{path}\n{query}");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"test-secret").unwrap();
    mac.update(text.as_bytes());
    data_encoding::BASE64.encode(&mac.finalize().into_bytes())
}

#[tokio::test]
async fn wallit_a_signed_callback_is_verified_over_its_lower_cased_and_sorted_query() {
    let keys = "path = \"/Webhooks/Wallit\"\n[route.verify]\nmanagement_key = \"env:WALLIT_KEY\"\nmanagement_secret = \"env:WALLIT_SECRET\"";
    let gate = gate("wallit", keys).await;
    let target = |n: u64| {
        let token = TOKEN
            .replace("18b3a732c1ee", &format!("{n:012}"))
            .to_uppercase();
        let query = format!(
            "callbacktoken={}&callbacktype=externalsubscriberlinked",
            token.to_lowercase()
        );
        (
            format!("/Webhooks/Wallit?CallbackType=ExternalSubscriberLinked&CallbackToken={token}"),
            query,
        )
    };
    let now = "Thu, 01 Jan 2026 00:00:00 GMT";
    let signed = |n: u64, key: &str, time: &str, signed_time: &str| {
        let (target, query) = target(n);
        let token = authentication("GET", signed_time, "/webhooks/wallit", &query);
        Request::get(&target)
            .with(&format!("Authentication: {key}:{token}"))
            .with(&format!("Timestamp: {time}"))
    };
    let key = "bb772a5b-1e7b-461c-8ac6-ca9e6e2fd2b9";
    let late = "Wed, 31 Dec 2025 23:54:59 GMT";
    let edge = "Thu, 01 Jan 2026 00:05:00 GMT";
    for (n, (what, request, status)) in [
        ("right", signed(0, key, now, now), 200),
        (
            "right, with the key in upper case",
            signed(1, &key.to_uppercase(), now, now),
            200,
        ),
        (
            "at the edge of the tolerance",
            signed(2, key, edge, edge),
            200,
        ),
        ("too late", signed(3, key, late, late), 401),
        (
            "another time than was signed",
            signed(4, key, edge, now),
            401,
        ),
        (
            "another key",
            signed(5, "cc772a5b-1e7b-461c-8ac6-ca9e6e2fd2b9", now, now),
            401,
        ),
        ("unsigned", Request::get(&target(6).0), 401),
        (
            "without its time",
            signed(7, key, now, now).without("timestamp"),
            401,
        ),
        (
            "no scheme at all",
            signed(8, key, now, now)
                .without("authentication")
                .with("Authentication: x"),
            401,
        ),
        (
            "signed twice",
            signed(9, key, now, now).with("Authentication: x:y"),
            400,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = gate.send(&request).await;
        assert_eq!(answer.status, status, "{n}: {what}: {}", answer.outcome());
    }
    for seen in gate.app.requests() {
        assert_eq!(seen.header("passgate-assurance"), Some("token"));
        assert_eq!(
            (seen.header("authentication"), seen.header("timestamp")),
            (None, None)
        );
    }
    assert_eq!(gate.app.count(), 3);
}

#[tokio::test]
async fn walletwerk_what_the_unsigned_headers_say_otherwise_is_corrected_from_the_body() {
    let gate = Setup::walletwerk(App::willing().await, "").start().await;
    let lying = Request::walletwerk(card_event(7), "d1")
        .with("X-WalletWerk-Event: card.revoked")
        .with("X-WalletWerk-Timestamp: 1999-01-01T00:00:00Z");
    assert_eq!(gate.send(&lying).await.outcome(), "forwarded");
    let seen = &gate.app.requests()[0];
    for (name, value) in [
        ("x-walletwerk-event", "card.active"),
        ("x-walletwerk-timestamp", "2026-01-01T00:00:00Z"),
        ("ce-type", "eu.walletwerk.card.active"),
        ("ce-subject", "card_7"),
        ("ce-time", "2026-01-01T00:00:00Z"),
        ("passgate-assurance", "signature"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let corrected = r#"passgate_header_corrections_total{route="walletwerk"}"#;
    assert_eq!(gate.metric(corrected).await, 2.0);
}

#[tokio::test]
async fn walletwerk_its_subject_is_the_card_else_the_recipient_else_the_campaign() {
    let gate = Setup::walletwerk(App::willing().await, "").start().await;
    let table = [
        (
            r#"{"campaign_id":"c","recipient_id":"r","card_id":"k"}"#,
            Some("k"),
        ),
        (r#"{"campaign_id":"c","recipient_id":"r"}"#, Some("r")),
        (
            r#"{"campaign_id":"Z\u00fcrich 1"}"#,
            Some("Z%C3%BCrich%201"),
        ),
        ("{}", None),
        ("7", None),
    ];
    let mut sender = Session::to(gate.address).await;
    for (n, (data, _)) in table.into_iter().enumerate() {
        let body = format!(r#"{{"event":"x.y","timestamp":"2026-01-01T00:00:00Z","data":{data}}}"#);
        let answer = sender
            .ask(&Request::walletwerk(body, &format!("d{n}")))
            .await;
        assert_eq!(answer.outcome(), "forwarded", "{data}");
    }
    for (seen, (data, subject)) in gate.app.requests().iter().zip(table) {
        assert_eq!(seen.header("ce-subject"), subject, "{data}");
    }
}

#[tokio::test]
async fn the_host_decides_between_two_routes_with_one_path() {
    let route = |name: &str, host: &str| {
        format!(
            "[[route]]\nprovider = \"walletwerk\"\nname = \"{name}\"\npath = \"/hook\"\n{host}secrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/{name}\"\n"
        )
    };
    let config = route("a", "host = \"a.example\"\n")
        + &route("b", "host = \"b.example\"\n")
        + &route("any", "");
    let gate = Setup::config(App::willing().await, config).start().await;
    for (n, (host, upstream)) in [
        ("a.example", "/a"),
        ("b.example", "/b"),
        ("B.Example:8443", "/b"),
        ("c.example", "/any"),
        ("a.example.", "/any"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = Request::walletwerk(card_event(n as u64), "d1")
            .without("host")
            .with(&format!("Host: {host}"));
        event.line = "POST /hook HTTP/1.1".into();
        assert_eq!(gate.send(&event).await.outcome(), "forwarded", "{host}");
        assert_eq!(gate.app.requests()[n].target(), upstream, "{host}");
    }
}

#[tokio::test]
async fn where_every_route_names_a_host_another_host_has_none() {
    let config = "[[route]]\nprovider = \"walletwerk\"\nhost = \"a.example\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/a\"\n";
    let gate = Setup::config(App::willing().await, config).start().await;
    let event = Request::walletwerk(card_event(1), "d1");
    assert_eq!(gate.send(&event).await.outcome(), "no_route");
    let right = event.without("host").with("Host: a.example");
    assert_eq!(gate.send(&right).await.outcome(), "forwarded");
}
