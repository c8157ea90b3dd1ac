//! Secrets stay in: every outcome is provoked by requests full of canaries, and none of them comes out
//! where it does not belong.

use std::collections::BTreeSet;
use std::time::Duration;

use passgate::keepers::store::Store;
use passgate::words::outcome::Outcome;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Answer, Request, SECRET, card_event, event_at, sign};
use crate::support::wire::Wire;

const API_KEY: &str = "passworks-live-api-key";
const PATH_SECRET: &str = "wallit-path-secret";

/// What the configuration holds. Not one of them may come out anywhere.
const CONFIGURED: [&str; 6] = [
    SECRET,
    "walletwerk_previous_secret",
    API_KEY,
    PATH_SECRET,
    "test-secret",
    "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
];

/// What senders write where it must not be passed on.
const DROPPED: [&str; 4] = [
    "c4n4ry-bearer",
    "c4n4ry-cookie",
    "c4n4ry-query",
    "c4n4ry-header",
];

/// What the app shall have and nobody else.
const FOR_THE_APP: [&str; 2] = ["c4n4ry-body", "c4n4ry-token"];

/// Everything that was heard from the gateway.
#[derive(Default)]
struct Heard {
    answers: Vec<Answer>,
}

impl Heard {
    fn note(&mut self, outcome: &str, answer: Answer) {
        assert_eq!(answer.outcome(), outcome, "{answer:?}");
        self.answers.push(answer);
    }
}

/// The same with canaries wherever a header can hold one.
fn loaded(request: Request) -> Request {
    let has_authorization = request
        .headers
        .iter()
        .any(|header| header.starts_with("Authorization"));
    let request = match has_authorization {
        true => request,
        false => request.with("Authorization: Bearer c4n4ry-bearer"),
    };
    request
        .with("Cookie: session=c4n4ry-cookie")
        .with("X-Any: c4n4ry-header")
        .with("X-WalletWerk-Event: c4n4ry-header")
        .with("X-WalletWerk-Timestamp: c4n4ry-header")
        .with("Idempotency-Key: c4n4ry-header")
        .with("X-Forwarded-For: c4n4ry-header")
        .with(&format!("X-Api-Key: {API_KEY}"))
        .with(&format!("X-Secret: {SECRET}"))
        .with(&format!("Referer: http://h/webhooks/wallit/{PATH_SECRET}"))
        .with(&format!("Proxy-Authorization: {API_KEY}"))
}

fn body(n: u64) -> String {
    card_event(n).replace("\"metadata\":{}", "\"metadata\":{\"a\":\"c4n4ry-body\"}")
}

fn walletwerk(path: &str, body: String) -> Request {
    let mut request = loaded(Request::walletwerk(body, "d"));
    request.line = format!("POST {path}?a=c4n4ry-query&key={API_KEY} HTTP/1.1");
    request
}

fn passworks(n: u64) -> Request {
    let body = format!("{{\"event\":\"installed\",\"pass_id\":\"p{n}\",\"x\":\"c4n4ry-body\"}}");
    let request = Request::post("/webhooks/passworks?a=c4n4ry-query", body);
    loaded(request.with(&format!("Authorization: {API_KEY}")))
}

fn wallit(secret: &str, n: u64) -> Request {
    let query = format!("CallbackType=A&CallbackToken=c4n4ry-token-{n}");
    loaded(Request::get(&format!("/webhooks/wallit/{secret}?{query}")))
}

/// A route for each provider, and some more whose apps are at fault.
async fn gate(open: tokio::sync::watch::Receiver<bool>) -> (Gate, std::sync::Arc<dyn Store>) {
    let app = App::start(move |request, _| match request.target() {
        "/fails" => Reply::status(500),
        "/refuses" => Reply::status(422),
        "/hangs-up" => Reply::Close,
        "/silent" => Reply::Never,
        "/held" => Reply::After(open.clone(), Box::new(Reply::status(200))),
        _ => Reply::with(200, "", "fine"),
    });
    let mut config = String::from("[client_quota]\nrate = \"1/h\"\nburst = 100\n");
    config += "[[route]]\nprovider = \"passworks\"\nsecrets = [\"env:PASSWORKS_API_KEY\"]\nupstream = \"http://@APP@/passworks\"\n";
    config += "[[route]]\nprovider = \"wallit\"\nsecrets = [\"env:WALLIT_PATH_SECRET\"]\nupstream = \"http://@APP@/wallit\"\n";
    config += "verify.management_key = \"env:WALLIT_KEY\"\nverify.management_secret = \"env:WALLIT_SECRET\"\n";
    for name in ["good", "fails", "hangs-up", "silent", "held", "closed"] {
        config += &format!(
            "[[route]]\nname = \"{name}\"\ndelivery = \"inline\"\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\", \"env:WALLETWERK_SECRET_OLD\"]\nsign_with = \"env:SIGNING_SECRET\"\nupstream = \"http://@APP@/{name}\"\n"
        );
        config += match name {
            "good" => "max_body = \"1KiB\"\nquota = { rate = \"1/h\", burst = 1 }\n",
            "silent" => "timeout = \"100ms\"\n",
            "closed" => "allow_from = \"192.0.2.1\"\n",
            _ => "",
        };
    }
    for (name, more) in [
        (
            "later",
            "delivery = \"queue\"\nupstream = \"http://@APP@/fails\"\nqueue = { max_events = 1 }\n",
        ),
        (
            "spills",
            "delivery = \"spill\"\nupstream = \"http://@APP@/fails\"\n",
        ),
        (
            "buries",
            "delivery = \"spill\"\nupstream = \"http://@APP@/refuses\"\n",
        ),
    ] {
        config += &format!(
            "[[route]]\nname = \"{name}\"\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\n{more}"
        );
    }
    let config = config.replace(
        "[[route]]\nprovider",
        "[[route]]\ndelivery = \"inline\"\nprovider",
    );
    let (setup, store) = Setup::config(app.await, config).in_memory();
    let setup = setup.within(|limits| {
        limits.body_time = Duration::from_millis(500);
        limits.copy_time = Duration::from_millis(500);
        limits.live = 1;
    });
    (setup.start().await, store)
}

#[tokio::test]
async fn no_secret_comes_out_whatever_happens() {
    let (open, is_open) = tokio::sync::watch::channel(false);
    let (gate, store) = gate(is_open).await;
    let good = "/webhooks/good";
    let mut heard = Heard::default();
    let stale = |n| {
        let body = event_at("card.active", "2020-01-01T00:00:00Z", n);
        body.replace("\"metadata\":{}", "\"metadata\":{\"a\":\"c4n4ry-body\"}")
    };
    let forged = |mut request: Request| {
        request.body.push(b' ');
        request
    };
    let with_line = |mut request: Request, line: &str| {
        request.line = line.to_owned();
        request
    };
    let path_secret = format!("/webhooks/wallit/{PATH_SECRET}");
    for (outcome, request) in [
        ("forwarded", walletwerk(good, body(1))),
        ("forwarded", passworks(1)),
        ("forwarded", wallit(PATH_SECRET, 1)),
        ("duplicate", walletwerk(good, body(1))),
        ("duplicate", passworks(1)),
        ("duplicate", wallit(PATH_SECRET, 1)),
        ("rate_limited", walletwerk(good, body(2))),
        (
            "malformed",
            walletwerk(good, body(2)).with("Transfer-Encoding: chunked"),
        ),
        (
            "malformed",
            passworks(2).with(&format!("Authorization: {API_KEY}")),
        ),
        (
            "malformed",
            passworks(2).with(&format!("no colon {API_KEY}")),
        ),
        ("malformed", wallit(PATH_SECRET, 2).with("Host: two")),
        (
            "malformed",
            with_line(
                wallit("", 2),
                &format!("GET {path_secret}?CallbackType=A HTTP/1.1"),
            ),
        ),
        (
            "malformed",
            with_line(
                wallit("", 2),
                &format!("GET http://other{path_secret} HTTP/1.1"),
            ),
        ),
        (
            "malformed",
            with_line(wallit("", 2), &format!("GET {path_secret} HTTP/3")),
        ),
        ("unauthentic", forged(walletwerk(good, body(2)))),
        (
            "unauthentic",
            walletwerk(good, body(2)).without("X-WalletWerk-Signature"),
        ),
        (
            "unauthentic",
            walletwerk(good, body(2))
                .without("X-WalletWerk-Signature")
                .with(&format!("X-WalletWerk-Signature: {SECRET}")),
        ),
        (
            "unauthentic",
            passworks(2)
                .without("Authorization")
                .with(&format!("Authorization: Bearer {API_KEY}")),
        ),
        ("unauthentic", wallit(&format!("{PATH_SECRET}x"), 2)),
        (
            "unauthentic",
            wallit(PATH_SECRET, 2)
                .with("Authentication: BB772A5B-1E7B-461C-8AC6-CA9E6E2FD2B9:test-secret")
                .with("Timestamp: Thu, 01 Jan 2026 00:00:00 GMT"),
        ),
        ("stale", walletwerk(good, stale(3))),
        ("not_allowed", walletwerk("/webhooks/closed", body(2))),
        ("no_route", walletwerk(&format!("/{SECRET}"), body(2))),
        (
            "no_route",
            with_line(passworks(2), &format!("POST /{API_KEY} HTTP/1.1")),
        ),
        (
            "no_route",
            with_line(wallit("", 2), &format!("GET {path_secret}/x HTTP/1.1")),
        ),
        (
            "method",
            with_line(passworks(2), "GET /webhooks/passworks HTTP/1.1"),
        ),
        (
            "method",
            with_line(wallit("", 2), &format!("PUT {path_secret} HTTP/1.1")),
        ),
        ("too_large", walletwerk(good, body(2) + &" ".repeat(1024))),
        ("media_type", passworks(2).with("Content-Encoding: gzip")),
        ("queued", walletwerk("/webhooks/later", body(1))),
        ("queue_full", walletwerk("/webhooks/later", body(2))),
        ("spilled", walletwerk("/webhooks/spills", body(1))),
        ("dead_lettered", walletwerk("/webhooks/buries", body(1))),
        ("dead_lettered", walletwerk("/webhooks/spills", stale(3))),
        ("upstream_status", walletwerk("/webhooks/fails", body(2))),
        (
            "upstream_unreachable",
            walletwerk("/webhooks/hangs-up", body(2)),
        ),
        ("upstream_timeout", walletwerk("/webhooks/silent", body(2))),
    ] {
        heard.note(outcome, gate.send(&request).await);
    }
    let mut slow = Wire::open(gate.address).await;
    let bytes = passworks(3).bytes();
    slow.write(&bytes[..bytes.len() - 1]).await;
    heard.note("too_slow", slow.answer().await.unwrap());

    let before = gate.app.count();
    let mut first = Wire::open(gate.address).await;
    first
        .write(&walletwerk("/webhooks/held", body(4)).bytes())
        .await;
    gate.app.reached(before + 1).await;
    let again = walletwerk("/webhooks/held", body(4));
    let other = walletwerk("/webhooks/held", body(5));
    heard.note("in_flight", gate.send(&again).await);
    heard.note("overloaded", gate.send(&other).await);
    open.send_replace(true);
    heard.note("forwarded", first.answer().await.unwrap());

    for _ in 0..100 {
        gate.send(&forged(walletwerk(good, body(2)))).await;
    }
    heard.note(
        "client_limited",
        gate.send(&forged(walletwerk(good, body(2)))).await,
    );
    heard.note("client_limited", gate.send(&wallit("guess", 2)).await);
    store.close();
    for request in [
        walletwerk(good, body(6)),
        passworks(6),
        wallit(PATH_SECRET, 6),
    ] {
        heard.note("store_unavailable", gate.send(&request).await);
    }

    let outcomes: BTreeSet<&str> = heard.answers.iter().map(Answer::outcome).collect();
    assert_eq!(
        outcomes,
        BTreeSet::from(Outcome::LABELS),
        "all were provoked"
    );

    let mut outputs = vec![("metrics".to_owned(), gate.metrics().await)];
    for target in ["/readyz", "/livez", &format!("/{API_KEY}")] {
        let request = loaded(Request::get(target));
        let answer = request.send(gate.admin).await;
        outputs.push((format!("admin {target}"), format!("{answer:?}")));
    }
    for answer in &heard.answers {
        outputs.push((
            format!("answer {}", answer.outcome()),
            format!("{answer:?}"),
        ));
    }
    let (app, logged) = gate.end().await;
    assert!(logged.text().lines().count() > heard.answers.len());
    outputs.push(("log".to_owned(), logged.text()));
    for (place, text) in &outputs {
        for canary in DROPPED.iter().chain(&FOR_THE_APP) {
            check_absent(canary, place, text);
        }
        let tag = sign(SECRET.as_bytes(), body(1).as_bytes());
        check_absent(&tag, place, text);
        CONFIGURED
            .iter()
            .for_each(|secret| check_absent(secret, place, text));
    }
    for request in app.requests() {
        let place = &request.line;
        let head = format!("{} {:?}", request.line, request.headers);
        let body = String::from_utf8(request.body.clone()).unwrap();
        for canary in DROPPED.iter().chain(&CONFIGURED) {
            check_absent(canary, place, &head);
            check_absent(canary, place, &body);
        }
        let is_wallit = request.target().starts_with("/wallit");
        assert_eq!(is_wallit, head.contains("c4n4ry-token"), "{head}");
        assert_eq!(!is_wallit, body.contains("c4n4ry-body"), "{body}");
        assert!(!head.contains("c4n4ry-body"), "{head}");
    }
}

/// Neither as it is nor in an encoding that somebody may have thought hides it.
fn check_absent(canary: &str, place: &str, text: &str) {
    let text = text.to_ascii_lowercase();
    let bytes = canary.as_bytes();
    for form in [
        canary.to_ascii_lowercase(),
        data_encoding::HEXLOWER.encode(bytes),
        data_encoding::BASE64_NOPAD
            .encode(bytes)
            .to_ascii_lowercase(),
        canary.replace('-', "%2d"),
    ] {
        if let Some(at) = text.find(&form) {
            let around = text.get(at.saturating_sub(100)..at + form.len());
            panic!("{form} in {place}: …{}", around.unwrap_or(&form));
        }
    }
}
