//! One test for each outcome: what the sender is told, what is counted, what is logged.
//!
//! Each test brings a gateway to that end in every way there is and hands over the answers; what is true
//! of all answers with that label is checked in one place. A new outcome without a test fails.

use std::time::Duration;

use passgate::words::outcome::Outcome;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Answer, Request, card_event, event_at};
use crate::support::wire::Wire;

/// A gateway, and the answers that shall all bear one label, each with its status.
type Ended = (Gate, Vec<(u16, Answer)>);

macro_rules! one_test_for_each {
    ($($label:literal: $name:ident,)*) => {
        const TESTED: &[&str] = &[$($label),*];

        mod each {
            $(#[tokio::test]
            async fn $name() {
                super::check($label, super::$name().await).await;
            })*
        }
    };
}

one_test_for_each! {
    "forwarded": an_event_that_the_app_takes_is_answered_with_the_apps_status,
    "queued": an_event_that_waits_is_answered_at_once,
    "spilled": an_event_that_the_app_could_not_take_is_answered_all_the_same,
    "duplicate": an_event_that_is_settled_is_answered_200_and_not_forwarded_again,
    "dead_lettered": an_event_that_must_not_be_delivered_is_kept,
    "malformed": an_ambiguous_request_is_refused_with_the_status_that_says_most,
    "unauthentic": a_request_that_cannot_be_verified_is_refused_in_one_text,
    "stale": an_event_from_another_time_is_refused,
    "not_allowed": a_client_outside_of_the_routes_networks_is_refused,
    "no_route": a_path_that_is_not_configured_is_not_found,
    "method": a_method_that_the_route_does_not_take_is_named_with_those_it_takes,
    "too_slow": a_head_or_body_that_does_not_come_in_time_is_given_up,
    "too_large": a_body_over_the_limit_is_refused_declared_or_not,
    "media_type": an_encoded_body_is_refused,
    "client_limited": a_client_that_used_its_quota_up_is_told_to_wait,
    "rate_limited": an_event_over_the_routes_quota_is_told_to_wait,
    "upstream_status": an_apps_refusal_goes_back,
    "upstream_unreachable": an_app_that_hangs_up_is_a_bad_gateway,
    "upstream_timeout": an_app_that_does_not_answer_is_a_gateway_timeout,
    "in_flight": an_event_that_is_being_processed_is_told_to_come_again,
    "store_unavailable": a_ledger_that_cannot_be_asked_refuses_rather_than_guesses,
    "queue_full": a_queue_without_room_says_so,
    "overloaded": a_bound_on_concurrent_work_is_said,
}

#[test]
fn every_outcome_has_a_test() {
    assert_eq!(TESTED, Outcome::LABELS);
}

/// What is true of every answer.
async fn check(label: &str, (gate, answers): Ended) {
    assert!(!answers.is_empty());
    for (status, answer) in &answers {
        assert_eq!(
            (answer.outcome(), answer.status),
            (label, *status),
            "{answer:?}"
        );
        let id = answer.header("x-request-id").expect("a request id");
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("server"), None, "no banner");
        assert_eq!(answer.header("allow").is_some(), *status == 405);
        let wait = answer.header("retry-after");
        match *status {
            429 | 503 => assert!(wait.unwrap().parse::<u64>().unwrap() >= 1, "{wait:?}"),
            _ => assert_eq!(wait, None),
        }
        let is_ours = answer.header("content-type") == Some("application/problem+json");
        // What the app said goes back as it is.
        assert_eq!(
            is_ours,
            *status >= 300 && (label != "upstream_status" || answer.status == 502),
            "{answer:?}"
        );
        if is_ours {
            let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            let problem = problem.as_object().unwrap();
            assert_eq!(problem.len(), 3, "{problem:?}");
            assert_eq!(problem["status"], *status);
            assert_eq!(problem["code"], label);
            assert!(problem["title"].as_str().unwrap().ends_with('.'));
        }
    }
    let metrics = gate.metrics().await;
    let counted: f64 = metrics
        .lines()
        .filter(|line| {
            line.starts_with("passgate_requests_total{")
                && line.contains(&format!("outcome=\"{label}\""))
        })
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert_eq!(counted, answers.len() as f64, "counted as {label}");
    let (_, logged) = gate.end().await;
    for (_, answer) in &answers {
        let id = answer.header("x-request-id").unwrap();
        let text = logged.text();
        let mut lines = text.lines().filter(|line| line.contains(id));
        let line: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(
            (&line["outcome"], &line["status"]),
            (&label.into(), &answer.status.into())
        );
        assert_eq!(lines.next(), None, "one line for each request");
    }
}

async fn an_event_that_the_app_takes_is_answered_with_the_apps_status() -> Ended {
    const STATUSES: [u16; 5] = [200, 201, 202, 204, 299];
    let app = App::start(|_, before| match STATUSES[before] {
        status @ 204 => Reply::Raw(format!("HTTP/1.1 {status} X\r\n\r\n").into_bytes()),
        status => Reply::with(status, "content-type: text/x-app\r\nx-app: a\r\n", "taken"),
    });
    let gate = Setup::walletwerk(app.await, "").start().await;
    let mut answers = Vec::new();
    for (n, status) in (0..).zip(STATUSES) {
        let answer = gate.send(&Request::walletwerk(card_event(n), "d")).await;
        let (content_type, body) = match status {
            204 => (None, ""),
            _ => (Some("text/x-app"), "taken"),
        };
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.body, body);
        assert_eq!(answer.header("x-app"), None, "nothing else of the app's");
        answers.push((status, answer));
    }
    (gate, answers)
}

async fn an_event_that_is_settled_is_answered_200_and_not_forwarded_again() -> Ended {
    let app = App::start(|_, _| Reply::with(202, "", "once"));
    let gate = Setup::walletwerk(app.await, "").start().await;
    let event = Request::walletwerk(card_event(1), "d1");
    assert_eq!(gate.send(&event).await.status, 202);
    let mut answers = Vec::new();
    for again in [
        event.clone(),
        Request::walletwerk(card_event(1), "another id"),
        event.without("X-WalletWerk-Delivery-ID"),
    ] {
        answers.push((200, gate.send(&again).await));
    }
    assert_eq!(gate.app.count(), 1);
    (gate, answers)
}

async fn an_ambiguous_request_is_refused_with_the_status_that_says_most() -> Ended {
    let gate = Gate::willing().await;
    let event = Request::walletwerk(card_event(1), "d1");
    let mut long = event.clone();
    long.line = format!("POST /{} HTTP/1.1", "a".repeat(9_000));
    let mut elsewhere = event.clone();
    elsewhere.line = "POST http://elsewhere/webhooks/walletwerk HTTP/1.1".into();
    let mut endless = event.clone();
    endless.headers.extend((0..70).map(|n| format!("X-{n}: y")));
    let mut unstated = event.clone();
    unstated.body.clear();
    let unreadable = "[\"signed, but no object\"]";
    let mut answers = Vec::new();
    for (status, request) in [
        (400, event.clone().with("Transfer-Encoding: chunked")),
        (400, event.clone().with("X-WalletWerk-Signature: twice")),
        (400, event.clone().without("Host")),
        (400, Request::walletwerk(unreadable, "d1")),
        (411, unstated),
        (414, long),
        (417, event.clone().with("Expect: the-unexpected")),
        (421, elsewhere),
        (431, endless),
    ] {
        answers.push((status, gate.send(&request).await));
    }
    assert_eq!(gate.app.count(), 0);
    (gate, answers)
}

async fn a_request_that_cannot_be_verified_is_refused_in_one_text() -> Ended {
    let gate = Gate::willing().await;
    let event = Request::walletwerk(card_event(1), "d1");
    let mut altered = event.clone();
    altered.body.push(b'\n');
    let mut answers = Vec::new();
    for request in [
        altered,
        event.clone().without("X-WalletWerk-Signature"),
        event
            .clone()
            .without("X-WalletWerk-Signature")
            .with("X-WalletWerk-Signature: tag"),
        event
            .without("X-WalletWerk-Signature")
            .with(&format!("X-WalletWerk-Signature: {}", "0".repeat(64))),
    ] {
        answers.push((401, gate.send(&request).await));
    }
    let texts: Vec<&str> = answers.iter().map(|(_, answer)| &*answer.body).collect();
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    assert_eq!(gate.app.count(), 0);
    (gate, answers)
}

async fn an_event_from_another_time_is_refused() -> Ended {
    let gate = Gate::willing().await;
    let mut answers = Vec::new();
    // The clock says 2026-01-01T00:00:00Z.
    for time in ["2025-12-28T23:59:59Z", "2026-01-01T00:05:01Z"] {
        let event = Request::walletwerk(event_at("card.active", time, 1), "d");
        answers.push((401, gate.send(&event).await));
    }
    assert_eq!(gate.app.count(), 0);
    for time in ["2025-12-29T00:00:00Z", "2026-01-01T00:05:00Z"] {
        let event = Request::walletwerk(event_at("card.active", time, 1), "d");
        assert_eq!(gate.send(&event).await.outcome(), "forwarded", "{time}");
    }
    (gate, answers)
}

async fn a_client_outside_of_the_routes_networks_is_refused() -> Ended {
    let app = App::willing().await;
    let config = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[[route]]\nprovider = \"walletwerk\"\n\
                  secrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/events\"\n\
                  allow_from = [\"203.0.113.0/24\", \"2001:db8::/32\"]";
    let gate = Setup::config(app, config).start().await;
    let mut answers = Vec::new();
    for (n, client, is_let_in) in [
        (1, "203.0.113.255", true),
        (2, "203.0.114.0", false),
        (3, "2001:db8:ffff::1", true),
        (4, "2001:db9::1", false),
        (5, "::ffff:203.0.113.7", true),
        (6, "rubbish", false),
        // Whom the proxy names, not whom the sender does.
        (7, "203.0.113.1, 192.0.2.1", false),
    ] {
        let request = Request::walletwerk(card_event(n), &format!("d{n}"));
        let request = request.with(&format!("X-Forwarded-For: {client}"));
        let answer = gate.send(&request).await;
        match is_let_in {
            true => assert_eq!(answer.outcome(), "forwarded", "{client}"),
            false => answers.push((403, answer)),
        }
    }
    (gate, answers)
}

async fn a_path_that_is_not_configured_is_not_found() -> Ended {
    let gate = Gate::willing().await;
    let mut answers = Vec::new();
    for target in ["/", "/webhooks", "/webhooks/walletwerk/", "/metrics"] {
        let mut event = Request::walletwerk(card_event(1), "d");
        event.line = format!("POST {target} HTTP/1.1");
        answers.push((404, gate.send(&event).await));
        answers.push((404, gate.send(&Request::get(target)).await));
    }
    assert_eq!(gate.app.count(), 0);
    (gate, answers)
}

async fn a_method_that_the_route_does_not_take_is_named_with_those_it_takes() -> Ended {
    let config = "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/\"\n\
        [[route]]\nprovider = \"wallit\"\nupstream = \"http://@APP@/\"\nverify.allow_unproven = true\n";
    let gate = Setup::config(App::willing().await, config).start().await;
    let mut answers = Vec::new();
    for (method, path, allow) in [
        ("GET", "/webhooks/walletwerk", "POST"),
        ("PUT", "/webhooks/walletwerk", "POST"),
        ("OPTIONS", "/webhooks/walletwerk", "POST"),
        ("HEAD", "/webhooks/wallit", "GET, POST"),
        ("DELETE", "/webhooks/wallit", "GET, POST"),
    ] {
        let mut request = Request::get(path);
        request.line = format!("{method} {path}?CallbackType=A&CallbackToken=b HTTP/1.1");
        let mut wire = Wire::open(gate.address).await;
        wire.write(&request.bytes()).await;
        let mut answer = wire.answer_to(method).await.unwrap();
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        if method == "HEAD" {
            // There is no body to a HEAD; the rest is as to any other method.
            answer.body = answers
                .last()
                .map(|(_, other): &(u16, Answer)| other.body.clone())
                .unwrap();
        }
        answers.push((405, answer));
    }
    assert_eq!(gate.app.count(), 0);
    (gate, answers)
}

async fn a_head_or_body_that_does_not_come_in_time_is_given_up() -> Ended {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| {
            limits.head_time = Duration::from_millis(50);
            limits.body_time = Duration::from_millis(50);
        })
        .start()
        .await;
    let event = Request::walletwerk(card_event(1), "d");
    let whole = event.bytes();
    let of_head = 40;
    let of_body = whole.len() - 1;
    let mut chunked = event.clone().with("Transfer-Encoding: chunked");
    chunked.body.clear();
    let chunked = [chunked.bytes(), b"5\r\n{\"eve\r\n".to_vec()].concat();
    let mut answers = Vec::new();
    for part in [&whole[..of_head], &whole[..of_body], &chunked] {
        let mut wire = Wire::open(gate.address).await;
        wire.write(part).await;
        answers.push((408, wire.answer().await.unwrap()));
        assert!(wire.rest().await.is_empty());
    }
    assert_eq!(gate.app.count(), 0);
    (gate, answers)
}

async fn a_body_over_the_limit_is_refused_declared_or_not() -> Ended {
    let gate = Setup::walletwerk(App::willing().await, "max_body = \"1KiB\"")
        .start()
        .await;
    // To the byte: a body of the limit passes.
    let padded = |bytes: usize| {
        let event = card_event(1);
        let padding = " ".repeat(bytes - event.len());
        format!("{event}{padding}")
    };
    let chunked = |body: &str| {
        let mut request = Request::walletwerk(body, "d").with("Transfer-Encoding: chunked");
        let chunks: Vec<String> = body
            .as_bytes()
            .chunks(100)
            .map(|chunk| {
                format!(
                    "{:x}\r\n{}\r\n",
                    chunk.len(),
                    String::from_utf8_lossy(chunk)
                )
            })
            .collect();
        request.body.clear();
        let bytes = [request.bytes(), chunks.concat().into(), b"0\r\n\r\n".into()];
        bytes.concat()
    };
    let mut answers = Vec::new();
    for bytes in [
        Request::walletwerk(padded(1025), "d").bytes(),
        chunked(&padded(1025)),
        b"POST /webhooks/walletwerk HTTP/1.1\r\nHost: h\r\nContent-Length: 10737418240\r\nExpect: 100-continue\r\n\r\n".into(),
    ] {
        let mut wire = Wire::open(gate.address).await;
        wire.write(&bytes).await;
        answers.push((413, wire.answer().await.unwrap()));
        assert!(wire.rest().await.is_empty());
    }
    assert_eq!(gate.app.count(), 0);
    for (bytes, outcome) in [
        (chunked(&padded(1024)), "forwarded"),
        (Request::walletwerk(padded(1024), "d").bytes(), "duplicate"),
    ] {
        let mut wire = Wire::open(gate.address).await;
        wire.write(&bytes).await;
        assert_eq!(wire.answer().await.unwrap().outcome(), outcome);
    }
    (gate, answers)
}

async fn an_encoded_body_is_refused() -> Ended {
    let gate = Gate::willing().await;
    let mut answers = Vec::new();
    for encoding in ["gzip", "br", "deflate", "identity, gzip"] {
        let event = Request::walletwerk(card_event(1), "d");
        let event = event.with(&format!("Content-Encoding: {encoding}"));
        answers.push((415, gate.send(&event).await));
    }
    let plain = Request::walletwerk(card_event(1), "d").with("Content-Encoding: identity");
    assert_eq!(gate.send(&plain).await.outcome(), "forwarded");
    (gate, answers)
}

async fn a_client_that_used_its_quota_up_is_told_to_wait() -> Ended {
    let gate = Setup::walletwerk(
        App::willing().await,
        "[client_quota]\nrate = \"1/min\"\nburst = 1",
    )
    .start()
    .await;
    let mut junk = Request::walletwerk(card_event(1), "d");
    junk.body.push(b' ');
    let no_tag = junk.clone().without("X-WalletWerk-Signature");
    assert_eq!(gate.send(&junk).await.outcome(), "unauthentic");
    let answers = vec![
        (429, gate.send(&junk).await),
        (429, gate.send(&no_tag).await),
    ];
    (gate, answers)
}

async fn an_event_over_the_routes_quota_is_told_to_wait() -> Ended {
    let quota = "[route.quota]\nrate = \"1/min\"\nburst = 1";
    let gate = Setup::walletwerk(App::willing().await, quota).start().await;
    let event = |n| Request::walletwerk(card_event(n), "d");
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
    let answers = vec![(429, gate.send(&event(2)).await)];
    assert_eq!(gate.app.count(), 1);
    (gate, answers)
}

async fn an_apps_refusal_goes_back() -> Ended {
    const STATUSES: [(u16, u16); 8] = [
        (400, 400),
        (401, 401),
        (404, 404),
        (429, 429),
        (500, 500),
        (503, 503),
        (302, 502),
        (410, 502),
    ];
    let app = App::start(|_, before| Reply::with(STATUSES[before].0, "", "no"));
    let gate = Setup::walletwerk(app.await, "").start().await;
    let mut answers = Vec::new();
    for (n, (_, status)) in (0..).zip(STATUSES) {
        let answer = gate.send(&Request::walletwerk(card_event(n), "d")).await;
        answers.push((status, answer));
    }
    (gate, answers)
}

/// A gateway in this mode before an app that answers with these statuses, one after the other, and its
/// answers to as many events.
async fn durable(more: &str, statuses: &'static [u16]) -> Ended {
    let app = App::start(move |_, before| Reply::status(*statuses.get(before).unwrap_or(&503)));
    let gate = Setup::walletwerk(app.await, more).start().await;
    let mut answers = Vec::new();
    for n in 0..statuses.len() as u64 {
        let answer = gate.send(&Request::walletwerk(card_event(n), "d")).await;
        answers.push((200, answer));
    }
    (gate, answers)
}

async fn an_event_that_waits_is_answered_at_once() -> Ended {
    durable("delivery = \"queue\"", &[200, 500, 400]).await
}

async fn an_event_that_the_app_could_not_take_is_answered_all_the_same() -> Ended {
    durable("delivery = \"spill\"", &[500, 401, 302]).await
}

async fn an_event_that_must_not_be_delivered_is_kept() -> Ended {
    durable("delivery = \"spill\"", &[400, 410, 422]).await
}

async fn a_queue_without_room_says_so() -> Ended {
    let app = App::start(|_, _| Reply::status(500));
    let more = "delivery = \"queue\"\n[route.queue]\nmax_events = 1";
    let gate = Setup::walletwerk(app.await, more).start().await;
    let event = |n| Request::walletwerk(card_event(n), "d");
    assert_eq!(gate.send(&event(1)).await.outcome(), "queued");
    let answer = gate.send(&event(2)).await;
    (gate, vec![(503, answer)])
}

async fn an_app_that_hangs_up_is_a_bad_gateway() -> Ended {
    let app = App::start(|_, _| Reply::Close);
    let gate = Setup::walletwerk(app.await, "").start().await;
    let answer = gate.send(&Request::walletwerk(card_event(1), "d")).await;
    (gate, vec![(502, answer)])
}

async fn an_app_that_does_not_answer_is_a_gateway_timeout() -> Ended {
    let app = App::start(|_, _| Reply::Never);
    let gate = Setup::walletwerk(app.await, "timeout = \"100ms\"")
        .start()
        .await;
    let answer = gate.send(&Request::walletwerk(card_event(1), "d")).await;
    (gate, vec![(504, answer)])
}

async fn an_event_that_is_being_processed_is_told_to_come_again() -> Ended {
    let (app, open) = App::held(200).await;
    let gate = Setup::walletwerk(app, "")
        .within(|limits| limits.copy_time = Duration::from_millis(100))
        .start()
        .await;
    let event = Request::walletwerk(card_event(1), "d");
    let mut first = Wire::open(gate.address).await;
    first.write(&event.bytes()).await;
    gate.app.reached(1).await;
    let answers = vec![(503, gate.send(&event).await)];
    open.send_replace(true);
    assert_eq!(first.answer().await.unwrap().outcome(), "forwarded");
    assert_eq!(gate.app.count(), 1);
    (gate, answers)
}

async fn a_ledger_that_cannot_be_asked_refuses_rather_than_guesses() -> Ended {
    let (setup, store) = Setup::walletwerk(App::willing().await, "").in_memory();
    let gate = setup.start().await;
    passgate::keepers::store::Store::close(&*store);
    let answer = gate.send(&Request::walletwerk(card_event(1), "d")).await;
    assert_eq!(gate.app.count(), 0);
    (gate, vec![(503, answer)])
}

async fn a_bound_on_concurrent_work_is_said() -> Ended {
    let (app, open) = App::held(200).await;
    let gate = Setup::walletwerk(app, "")
        .within(|limits| {
            limits.live = 1;
            limits.body_bytes = 2000;
        })
        .start()
        .await;
    let event = |n| Request::walletwerk(card_event(n), "d");
    let mut first = Wire::open(gate.address).await;
    first.write(&event(1).bytes()).await;
    gate.app.reached(1).await;
    let too_many = gate.send(&event(2)).await;
    let too_much = gate.send(&Request::walletwerk([b' '; 1990], "d")).await;
    open.send_replace(true);
    assert_eq!(first.answer().await.unwrap().outcome(), "forwarded");
    let again = gate.send(&event(2)).await;
    assert_eq!(again.outcome(), "forwarded", "nothing was kept of it");
    (gate, vec![(503, too_many), (503, too_much)])
}
