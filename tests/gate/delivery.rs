//! Events that outlive an app's absence: spilled, queued, tried again, ordered, buried, bounded.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup, open_store};
use crate::support::sender::{Request, card_event, event_at};

/// A gate before an app that answers by `script`, in this mode.
async fn gate(
    mode: &str,
    more: &str,
    script: impl Fn(&crate::support::app::Request, usize) -> Reply + Send + Sync + 'static,
) -> Gate {
    let app = App::start(script).await;
    Setup::walletwerk(app, &format!("delivery = \"{mode}\"\n{more}"))
        .start()
        .await
}

/// An app that answers `first` so many times and 200 afterwards.
fn at_first(first: u16, times: usize) -> impl Fn(&crate::support::app::Request, usize) -> Reply {
    move |_, before| Reply::status(if before < times { first } else { 200 })
}

/// Lets time pass, a little at a time, until so many requests came.
async fn time_passes_until(gate: &Gate, count: usize) {
    let passing = async {
        while gate.app.count() < count {
            gate.clock.advance(Duration::from_millis(50));
            tokio::task::yield_now().await;
        }
    };
    let passed = tokio::time::timeout(Duration::from_secs(20), passing).await;
    assert!(passed.is_ok(), "only {} requests came", gate.app.count());
}

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

#[tokio::test]
async fn an_attempt_takes_no_longer_than_the_whole_request_has() {
    for (mode, outcome) in [("spill", "spilled"), ("inline", "upstream_timeout")] {
        let (app, _open) = App::held(200).await;
        let more = format!("delivery = \"{mode}\"\ntimeout = \"12s\"");
        let gate = Setup::walletwerk(app, &more)
            .within(|limits| {
                limits.request_time = Duration::from_secs(4);
                limits.store_time = Duration::from_secs(2);
            })
            .start()
            .await;
        let began = Instant::now();
        assert_eq!(gate.send(&event(1)).await.outcome(), outcome);
        assert!(began.elapsed() < Duration::from_secs(10), "{mode}");
        assert_eq!(gate.app.count(), 1);
    }
}

#[tokio::test]
async fn without_time_for_an_attempt_none_is_made() {
    for (mode, outcome) in [("spill", "queued"), ("inline", "overloaded")] {
        let (app, _open) = App::held(200).await;
        let gate = Setup::walletwerk(app, &format!("delivery = \"{mode}\""))
            .within(|limits| limits.request_time = limits.store_time)
            .start()
            .await;
        assert_eq!(gate.send(&event(1)).await.outcome(), outcome);
    }
}

#[tokio::test]
async fn a_failed_attempt_spills_and_the_queue_delivers_with_the_same_key() {
    let gate = gate("spill", "", at_first(500, 1)).await;
    let answer = gate.send(&event(1)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "spilled"));
    let again = gate.send(&event(1)).await;
    assert_eq!((again.status, again.outcome()), (200, "duplicate"));
    time_passes_until(&gate, 2).await;
    let requests = gate.app.requests();
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(
        requests[0].header("idempotency-key"),
        requests[1].header("idempotency-key")
    );
    assert_eq!(requests[0].header("passgate-attempt"), Some("1"));
    assert_eq!(requests[1].header("passgate-attempt"), Some("2"));
    assert_eq!(
        requests[0].header("x-walletwerk-signature"),
        requests[1].header("x-walletwerk-signature")
    );
}

#[tokio::test]
async fn every_class_of_answer_has_its_outcome_in_spill() {
    for (status, outcome) in [
        (200, "forwarded"),
        (204, "forwarded"),
        (301, "spilled"),
        (400, "dead_lettered"),
        (401, "spilled"),
        (404, "spilled"),
        (409, "spilled"),
        (410, "dead_lettered"),
        (413, "dead_lettered"),
        (415, "dead_lettered"),
        (422, "dead_lettered"),
        (429, "spilled"),
        (500, "spilled"),
        (503, "spilled"),
    ] {
        let gate = gate("spill", "", move |_, _| Reply::status(status)).await;
        let answer = gate.send(&event(1)).await;
        assert_eq!(answer.outcome(), outcome, "{status}");
        let expected = if status == 204 { 204 } else { 200 };
        assert_eq!(answer.status, expected, "{status}");
    }
}

#[tokio::test]
async fn an_app_that_cannot_be_reached_or_breaks_off_spills() {
    for reply in [
        Reply::Close,
        Reply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec()),
        Reply::Cut(b"HTTP/1.1 200".to_vec()),
    ] {
        let gate = gate("spill", "", move |_, before| match before {
            0 => reply.clone(),
            _ => Reply::status(200),
        })
        .await;
        assert_eq!(gate.send(&event(1)).await.outcome(), "spilled");
        time_passes_until(&gate, 2).await;
    }
}

#[tokio::test]
async fn queue_answers_before_the_app_does() {
    let (open, gate_of_app) = watch::channel(false);
    let gate = gate("queue", "", move |_, _| {
        Reply::After(gate_of_app.clone(), Box::new(Reply::status(200)))
    })
    .await;
    let answer = gate.send(&event(1)).await;
    assert_eq!((answer.status, answer.outcome()), (200, "queued"));
    gate.app.reached(1).await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "duplicate");
    open.send(true).unwrap();
    assert_eq!(gate.send(&event(2)).await.outcome(), "queued");
    gate.app.reached(2).await;
}

#[tokio::test]
async fn what_was_queued_is_delivered_after_a_restart_and_stays_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.redb");
    let app = App::start(|_, _| Reply::Close).await;
    let first = Setup::walletwerk(app, "delivery = \"queue\"");
    let clock = first.clock();
    let gate = first
        .over(open_store(&path, clock.clone()), clock.clone())
        .start()
        .await;
    for n in 0..20 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
    }
    gate.stop().await;
    let gate = Setup::walletwerk(App::willing().await, "delivery = \"queue\"")
        .over(open_store(&path, clock.clone()), clock.clone())
        .start()
        .await;
    for n in 0..20 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "duplicate");
    }
    time_passes_until(&gate, 20).await;
    let mut bodies: Vec<Vec<u8>> = gate.app.requests().into_iter().map(|r| r.body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 20);
}

#[tokio::test]
async fn events_of_one_subject_arrive_in_order_and_others_do_not_wait() {
    // The first card's first event fails three times.
    let gate = gate(
        "queue",
        "order_by = \"/data/card_id\"",
        move |request, _| {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let attempt: u32 = request.header("passgate-attempt").unwrap().parse().unwrap();
            match body.contains("\"n\":0") && body.contains("card_a") && attempt <= 3 {
                true => Reply::status(500),
                false => Reply::status(200),
            }
        },
    )
    .await;
    let body = |card: &str, n: u32| {
        format!(
            r#"{{"event":"card.updated","timestamp":"2026-01-01T00:00:00Z","data":{{"card_id":"card_{card}","n":{n}}}}}"#
        )
    };
    for n in 0..5 {
        for card in ["a", "b"] {
            let request = Request::walletwerk(body(card, n), &format!("{card}{n}"));
            assert_eq!(gate.send(&request).await.outcome(), "queued");
        }
    }
    // All of b, and the first attempt on a.
    gate.app.reached(6).await;
    time_passes_until(&gate, 13).await;
    let arrived = |card: &str| -> Vec<String> {
        let card = format!("card_{card}");
        let mut bodies: Vec<String> = gate
            .app
            .requests()
            .iter()
            .map(|request| String::from_utf8(request.body.clone()).unwrap())
            .filter(|body| body.contains(&card))
            .collect();
        bodies.dedup();
        bodies
    };
    for card in ["a", "b"] {
        let expected: Vec<String> = (0..5).map(|n| body(card, n)).collect();
        assert_eq!(arrived(card), expected, "card {card}");
    }
}

#[tokio::test]
async fn an_authentic_event_that_must_not_be_delivered_is_kept_and_answered_200() {
    let gate = gate("spill", "", |_, _| Reply::status(200)).await;
    for (body, id) in [
        (event_at("card.active", "2025-01-01T00:00:00Z", 1), "old"),
        (event_at("card.active", "2026-01-02T00:00:00Z", 2), "ahead"),
        ("[1]".to_owned(), "no object"),
        (
            r#"{"event":"a","event":"b","timestamp":"2026-01-01T00:00:00Z"}"#.to_owned(),
            "doubled",
        ),
    ] {
        let answer = gate.send(&Request::walletwerk(body.clone(), id)).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (200, "dead_lettered"),
            "{id}"
        );
        let again = gate.send(&Request::walletwerk(body, id)).await;
        assert_eq!(again.outcome(), "duplicate", "{id}");
    }
    assert_eq!(gate.app.count(), 0);
}

#[tokio::test]
async fn while_the_app_is_away_it_is_asked_by_probes_only_and_then_gets_everything() {
    let (back, is_back) = watch::channel(false);
    let gate = gate("spill", "", move |_, _| {
        Reply::status(if *is_back.borrow() { 200 } else { 503 })
    })
    .await;
    let mut outcomes = Vec::new();
    for n in 0..30 {
        outcomes.push(gate.send(&event(n)).await.outcome().to_owned());
    }
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| *outcome == "spilled")
            .count(),
        3
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| *outcome == "queued")
            .count(),
        27
    );
    let hammered = gate.app.count();
    assert!(hammered <= 4, "{hammered} attempts on an app that is away");
    back.send(true).unwrap();
    time_passes_until(&gate, hammered + 30).await;
}

#[tokio::test]
async fn over_the_quota_events_are_queued_and_leave_at_its_pace() {
    let more = "[route.quota]\nrate = \"1/s\"\nburst = 2";
    let gate = gate("spill", more, |_, _| Reply::status(200)).await;
    let mut outcomes = Vec::new();
    for n in 0..6 {
        outcomes.push(gate.send(&event(n)).await.outcome().to_owned());
    }
    assert_eq!(
        outcomes,
        [
            "forwarded",
            "forwarded",
            "queued",
            "queued",
            "queued",
            "queued"
        ]
    );
    assert_eq!(gate.app.count(), 2);
    for n in 3..=6 {
        gate.clock.advance(Duration::from_secs(1));
        gate.app.reached(n).await;
        assert_eq!(gate.app.count(), n);
    }
}

#[tokio::test]
async fn a_full_queue_says_503_and_takes_the_event_once_there_is_room() {
    let (open, gate_of_app) = watch::channel(false);
    let more = "[route.queue]\nmax_events = 2";
    let gate = gate("queue", more, move |_, _| {
        Reply::After(gate_of_app.clone(), Box::new(Reply::status(200)))
    })
    .await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "queued");
    assert_eq!(gate.send(&event(2)).await.outcome(), "queued");
    let answer = gate.send(&event(3)).await;
    assert_eq!((answer.status, answer.outcome()), (503, "queue_full"));
    assert!(answer.header("retry-after").is_some());
    open.send(true).unwrap();
    loop {
        match gate.send(&event(3)).await.outcome() {
            "queued" => break,
            outcome => assert_eq!(outcome, "queue_full"),
        }
    }
    gate.app.reached(3).await;
}

#[tokio::test]
async fn an_event_is_given_up_when_its_time_is_over() {
    let more = "[route.queue]\ngive_up_after = \"1h\"";
    let gate = gate("spill", more, |_, _| Reply::status(500)).await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "spilled");
    gate.clock.advance(Duration::from_secs(3601));
    gate.app.reached(2).await;
    let looking = async {
        while !gate.logged.text().contains("given_up") {
            tokio::task::yield_now().await;
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(20), looking).await;
    assert!(said.is_ok(), "it was not given up");
    gate.clock.advance(Duration::from_secs(7200));
    assert_eq!(gate.send(&event(1)).await.outcome(), "duplicate");
    assert_eq!(gate.app.count(), 2);
}

#[tokio::test]
async fn one_dead_app_slows_no_other_route_down() {
    let app = App::start(|request, _| match request.target() {
        "/dead" => Reply::Close,
        _ => Reply::status(200),
    })
    .await;
    let config = r#"
[[route]]
provider = "walletwerk"
name = "dead"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://@APP@/dead"
delivery = "queue"

[[route]]
provider = "walletwerk"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://localhost:@PORT@/alive"
delivery = "queue"
"#
    .replace("@PORT@", &app.address.port().to_string());
    let gate = Setup::config(app, config).start().await;
    for n in 0..50 {
        let mut dead = event(n);
        dead.line = "POST /webhooks/dead HTTP/1.1".to_owned();
        assert_eq!(gate.send(&dead).await.outcome(), "queued");
        assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
    }
    let alive = || {
        let requests = gate.app.requests();
        requests
            .iter()
            .filter(|request| request.target() == "/alive")
            .count()
    };
    while alive() < 50 {
        let count = gate.app.count();
        gate.app.reached(count + 1).await;
    }
    let dead = gate.app.count() - alive();
    assert!(dead < 30, "{dead} attempts on a dead app");
}

/// Regression: the walk over what waits passed over most of it.
#[tokio::test]
async fn when_the_app_is_back_all_that_waits_is_due_at_once() {
    const WAITING: usize = 60;
    let more = "[route.queue]\nretry_first = \"1h\"\nretry_max = \"1h\"";
    let gate = gate("queue", more, |_, before| match before {
        ..WAITING => Reply::status(500),
        WAITING..64 => Reply::Close,
        _ => Reply::status(200),
    })
    .await;
    for n in 0..WAITING as u64 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
    }
    gate.app.reached(WAITING).await;
    // Somebody must meet the app while it is away; then it comes back.
    for n in 0..4 {
        gate.send(&event(1000 + n)).await;
    }
    // Probes come after half a second, and the walk at once; far below the hour that each event would wait.
    for _ in 0..300 {
        gate.clock.advance(Duration::from_secs(1));
        let count = gate.app.count();
        let more = gate.app.reached(count + 1);
        let _ = tokio::time::timeout(Duration::from_millis(100), more).await;
        if gate.app.count() >= 64 + WAITING + 4 {
            return;
        }
    }
    panic!("only {} requests came", gate.app.count());
}

/// Regression: only the worker whose own attempt closed the breaker noticed.
#[tokio::test]
async fn a_live_event_that_finds_the_app_back_brings_the_others_along() {
    let more = "[route.queue]\nretry_first = \"1h\"\nretry_max = \"1h\"";
    let gate = gate("spill", more, |_, before| match before {
        ..3 => Reply::Close,
        _ => Reply::status(200),
    })
    .await;
    for n in 0..3 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "spilled");
    }
    gate.clock.advance(Duration::from_secs(1));
    gate.send(&event(9)).await;
    gate.app.reached(7).await;
}

#[tokio::test]
async fn dead_letters_count_against_the_bound() {
    let more = "[route.queue]\nmax_events = 2";
    let gate = gate("spill", more, |_, _| Reply::status(422)).await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "dead_lettered");
    assert_eq!(gate.send(&event(2)).await.outcome(), "dead_lettered");
    let answer = gate.send(&event(3)).await;
    assert_eq!((answer.status, answer.outcome()), (503, "queue_full"));
    let (_, logged) = gate.end().await;
    let told = logged.text().matches("became a dead letter").count();
    assert_eq!(told, 2, "the third was not stored");
}
