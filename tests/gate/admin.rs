//! The admin API through its socket: events in every state, replays, refusals, routes, and who is let in.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::clock::HandClock;
use crate::support::gate::{Gate, Setup};
use crate::support::operator::{ask, json_of, over, subjects, switched};
use crate::support::sender::{Request, card_event};

/// One WalletWerk route that keeps what its app could not take, unless `more` says otherwise.
fn setup(app: App, more: &str) -> Setup {
    match more.contains("delivery") {
        true => Setup::walletwerk(app, more),
        false => Setup::walletwerk(app, &format!("delivery = \"spill\"\n{more}")),
    }
}

#[tokio::test]
async fn what_went_straight_through_is_listed_but_not_its_body() {
    let gate = Gate::willing().await;
    gate.send_events(1..2, "forwarded").await;
    let events = gate.events("").await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    let expected = json!({
        "id": event["id"], "route": "walletwerk", "provider": "walletwerk", "type": "card.active",
        "subject": "card_1", "delivery_id": "id-1", "received_at": "2026-01-01T00:00:00Z",
        "state": "delivered", "reason": null, "attempt_count": 1, "next_attempt_at": null,
        "is_stored": false,
    });
    assert_eq!(*event, expected);
    let id = event["id"].as_str().unwrap();
    assert_eq!(
        gate.app.requests()[0].header("idempotency-key"),
        Some(id),
        "{id}"
    );
    let shown = gate.admin_get(&format!("events/{id}")).await;
    assert_eq!(shown["headers"]["content-type"], "application/json");
    assert_eq!(shown["attempts"][0]["number"], 1);
    assert_eq!(shown["attempts"][0]["status"], 200);
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    let body = ask("GET", &format!("events/{id}/body"), None);
    assert_eq!(body.send(gate.admin).await.status, 404);
    let replayed = gate.admin_post(&format!("events/{id}/replay"), None).await;
    assert_eq!(replayed.status, 409);
    assert!(replayed.body.contains("keep_delivered"), "{replayed:?}");
}

#[tokio::test]
async fn a_queued_event_is_shown_with_its_attempts_its_headers_and_its_body() {
    let (app, _switch) = switched(503).await;
    let gate = setup(app, "").start().await;
    gate.send_events(1..2, "spilled").await;
    let events = gate
        .events("state=queued&route=walletwerk&type=card.active&q=CARD_1")
        .await;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event["attempt_count"], 1);
    assert_eq!(event["is_stored"], true);
    assert!(event["next_attempt_at"].is_string(), "{event}");
    for query in [
        "state=delivered",
        "route=other",
        "type=card.gone",
        "q=card_2",
        "since=2026-01-01T00:00:01Z",
        "until=2026-01-01T00:00:00Z",
    ] {
        assert_eq!(gate.events(query).await, Vec::<Value>::new(), "{query}");
    }
    let id = event["id"].as_str().unwrap();
    let shown = gate.admin_get(&format!("events/{id}")).await;
    assert_eq!(shown["headers"]["content-type"], "application/json");
    assert!(shown["headers"].get("x-walletwerk-signature").is_some());
    assert_eq!(shown["attempts"][0]["status"], 503);
    assert!(shown["attempts"][0]["duration_ms"].is_number());
    let body = ask("GET", &format!("events/{id}/body"), None)
        .send(gate.admin)
        .await;
    assert_eq!(body.body, card_event(1));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        (
            "content-disposition",
            &format!("attachment; filename=\"{id}.bin\""),
        ),
    ] {
        assert_eq!(body.header(name), Some(value));
    }
    let replayed = gate.admin_post(&format!("events/{id}/replay"), None).await;
    assert_eq!(replayed.status, 409, "{replayed:?}");
    let log = gate.stop().await.text();
    assert!(log.contains("an operator read an event's body"), "{log}");
}

#[tokio::test]
async fn a_dead_letter_is_replayed_and_what_was_delivered_then_again() {
    let (app, switch) = switched(422).await;
    let gate = setup(app, "[route.queue]\nkeep_delivered = \"1h\"")
        .start()
        .await;
    gate.send_events(1..2, "dead_lettered").await;
    let events = gate.events("state=dead_letter").await;
    assert_eq!(events[0]["reason"], "refused");
    let id = events[0]["id"].as_str().unwrap();
    switch.send(200).unwrap();
    for count in 2..4 {
        let replayed = gate.admin_post(&format!("events/{id}/replay"), None).await;
        assert_eq!(replayed.status, 202, "{replayed:?}");
        assert_eq!(json_of(&replayed), json!({"id": id, "state": "queued"}));
        gate.app_reached(count).await;
        gate.until_shown(&format!("events/{id}"), |event| {
            event["state"] == "delivered" && event["attempt_count"] == count
        })
        .await;
    }
    let requests = gate.app.requests();
    let replays: Vec<_> = requests
        .iter()
        .map(|request| request.header("passgate-replay"))
        .collect();
    assert_eq!(replays, [None, Some("true"), Some("true")]);
    let keys: HashSet<_> = requests
        .iter()
        .map(|request| request.header("idempotency-key"))
        .collect();
    assert_eq!(keys, HashSet::from([Some(id)]));
    let bodies: HashSet<_> = requests.iter().map(|request| &request.body).collect();
    assert_eq!(bodies.len(), 1);
}

#[tokio::test]
async fn what_is_being_attempted_is_in_flight_and_not_replayed() {
    let (app, open) = App::held(200).await;
    let more = "delivery = \"queue\"\n[route.queue]\nmax_in_flight = 2";
    let gate = setup(app, more).start().await;
    gate.send_events(0..3, "queued").await;
    gate.app_reached(2).await;
    let queued = gate.events("state=queued").await;
    assert_eq!(subjects(&queued), ["card_2"]);
    let page = gate.admin_get("events?state=in_flight&limit=1").await;
    assert_eq!(subjects(page["events"].as_array().unwrap()), ["card_1"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = gate
        .admin_get(&format!("events?state=in_flight&limit=1&cursor={cursor}"))
        .await;
    assert_eq!(page["next_cursor"], Value::Null);
    let events = page["events"].as_array().unwrap();
    assert_eq!(subjects(events), ["card_0"]);
    let id = events[0]["id"].as_str().unwrap();
    let replayed = gate.admin_post(&format!("events/{id}/replay"), None).await;
    assert_eq!(replayed.status, 409);
    let in_flight = "passgate_queue_events{route=\"walletwerk\",state=\"in_flight\"}";
    assert_eq!(gate.metric(in_flight).await, 2.0);
    let queued = "passgate_queue_events{route=\"walletwerk\",state=\"queued\"}";
    assert_eq!(gate.metric(queued).await, 1.0);
    open.send(true).unwrap();
    gate.app_reached(3).await;
    let (app, _) = gate.end().await;
    assert_eq!(app.count(), 3);
}

#[tokio::test]
async fn pages_show_every_event_once_and_the_newest_first() {
    let (app, switch) = switched(200).await;
    let (setup, _) = setup(app, "").in_memory();
    let gate = setup.start().await;
    for round in 0..4 {
        // Three that go through, three that are stored, by turns.
        for (status, outcome, at) in [(200, "forwarded", 0), (422, "dead_lettered", 3)] {
            switch.send(status).unwrap();
            let first = round * 6 + at;
            for n in first..first + 3 {
                gate.clock.advance(Duration::from_millis(10));
                gate.send_events(n..n + 1, outcome).await;
            }
        }
    }
    for limit in [1, 2, 5, 24, 500] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let list = gate
                .admin_get(&format!("events?limit={limit}{cursor}"))
                .await;
            let page = list["events"].as_array().unwrap();
            assert!(page.len() <= limit);
            seen.extend(subjects(page).iter().map(|subject| (*subject).to_owned()));
            match list["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let expected: Vec<String> = (0..24).rev().map(|n| format!("card_{n}")).collect();
        assert_eq!(seen, expected, "limit={limit}");
    }
    // What comes meanwhile moves nothing.
    let list = gate.admin_get("events?limit=4").await;
    gate.send_events(100..103, "dead_lettered").await;
    let cursor = list["next_cursor"].as_str().unwrap();
    let events = gate.events(&format!("limit=2&cursor={cursor}")).await;
    assert_eq!(subjects(&events), ["card_19", "card_18"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_a_problem_that_says_so() {
    let gate = Gate::willing().await;
    let unknown = "events/evt_00000000000000000000000000000000";
    for (method, target, body, status, parameter) in [
        ("GET", "events?colour=red", None, 400, json!("colour")),
        ("GET", "events?limit=501", None, 400, json!("limit")),
        ("GET", "events?cursor=AAAA", None, 400, json!("cursor")),
        ("GET", "events?state=dead", None, 400, json!("state")),
        ("GET", "rejections?cursor=x", None, 400, json!("cursor")),
        ("GET", "routes?limit=1", None, 400, json!("limit")),
        ("GET", unknown, None, 404, Value::Null),
        ("GET", "events/evt_1", None, 404, Value::Null),
        ("GET", "replays/rpl_1", None, 404, Value::Null),
        ("GET", "nothing", None, 404, Value::Null),
        ("PUT", "events", None, 405, Value::Null),
        ("DELETE", unknown, None, 405, Value::Null),
        ("POST", "replays", Some(json!({})), 400, json!("filter")),
        (
            "POST",
            "replays",
            Some(json!({"filter": {"state": "queued"}})),
            400,
            json!("filter.state"),
        ),
        (
            "POST",
            "replays",
            Some(json!({"filter": {"q": "x".repeat(64 << 10)}})),
            413,
            Value::Null,
        ),
        (
            "POST",
            &format!("{unknown}/replay"),
            Some(json!({"rate": "1/s"})),
            400,
            json!("rate"),
        ),
    ] {
        let answer = ask(method, target, body).send(gate.admin).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        let problem = json_of(&answer);
        assert_eq!(problem["status"], status);
        assert!(problem["title"].as_str().unwrap().ends_with('.'));
        assert_eq!(problem["parameter"], parameter, "{method} {target}");
    }
}

#[tokio::test]
async fn refusals_are_shown_with_the_reason_that_the_sender_was_not_told() {
    let (app, _switch) = switched(500).await;
    let gate = setup(app, "delivery = \"inline\"").start().await;
    let forged = Request::walletwerk(card_event(1), "id-1")
        .without("X-WalletWerk-Signature")
        .with(&format!("X-WalletWerk-Signature: {}", "0".repeat(64)))
        .with("Cookie: session=hunter2");
    assert_eq!(gate.send(&forged).await.status, 401);
    let lost = Request::post("/webhooks/elsewhere?token=hunter2", "hunter2");
    assert_eq!(gate.send(&lost).await.status, 404);
    gate.send_events(2..3, "upstream_status").await;
    let list = gate.admin_get("rejections").await;
    assert_eq!(list["next_cursor"], Value::Null);
    let rejections = list["rejections"].as_array().unwrap();
    let outcomes: Vec<&str> = rejections
        .iter()
        .map(|rejection| rejection["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["upstream_status", "no_route", "unauthentic"]);
    assert_eq!(rejections[0]["reason"], "the app answered 500");
    assert_eq!(rejections[0]["delivery_id"], "id-2");
    assert!(
        rejections[0]["event_id"]
            .as_str()
            .unwrap()
            .starts_with("evt_")
    );
    assert_eq!(rejections[2]["route"], "walletwerk");
    assert_eq!(rejections[2]["status"], 401);
    assert!(rejections[2]["reason"].is_string());
    assert_eq!(rejections[2]["client"], "127.0.0.1");
    assert_eq!(rejections[2]["event_id"], Value::Null);
    assert!(!list.to_string().contains("hunter2"), "{list}");
    // By pages, and by route.
    let first = gate.admin_get("rejections?limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = gate
        .admin_get(&format!("rejections?limit=2&cursor={cursor}"))
        .await;
    assert_eq!(second["rejections"], json!([rejections[2]]));
    let of_route = gate.admin_get("rejections?route=walletwerk").await;
    assert_eq!(of_route["rejections"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn routes_and_metrics_tell_what_is_stored_and_whether_the_app_is_away() {
    let (app, switch) = switched(422).await;
    let gate = setup(app, "").start().await;
    gate.send_events(0..2, "dead_lettered").await;
    switch.send(503).unwrap();
    gate.send_events(2..5, "spilled").await;
    gate.send_events(5..6, "queued").await;
    gate.clock.advance(Duration::from_millis(100));
    let routes = gate.admin_get("routes").await;
    let route = &routes["routes"][0];
    assert_eq!(route["name"], "walletwerk");
    assert_eq!(route["state"], "configured");
    assert_eq!(route["provider"], "walletwerk");
    assert_eq!(route["path"], "/webhooks/walletwerk");
    assert_eq!(route["delivery"], "spill");
    assert_eq!(route["breaker"], "open");
    assert_eq!(route["consecutive_refusals"], 0);
    assert_eq!(route["queue"]["queued"], 4);
    assert_eq!(route["queue"]["dead_letter"], 2);
    let of =
        |state: &str| format!("passgate_queue_events{{route=\"walletwerk\",state=\"{state}\"}}");
    for (state, count) in [
        ("queued", 4.0),
        ("in_flight", 0.0),
        ("dead_letter", 2.0),
        ("delivered", 0.0),
        ("parked", 0.0),
    ] {
        assert_eq!(gate.metric(&of(state)).await, count, "{state}");
    }
    let breaker = "passgate_breaker_open{route=\"walletwerk\"}";
    assert_eq!(gate.metric(breaker).await, 1.0);
}

#[tokio::test]
async fn a_filter_is_replayed_as_a_snapshot_from_the_oldest_on() {
    let (app, switch) = switched(422).await;
    let gate = setup(app, "[route.queue]\nmax_in_flight = 1").start().await;
    gate.send_events(0..5, "dead_lettered").await;
    let order =
        json!({"filter": {"state": "dead_letter", "route": "walletwerk"}, "rate": "1000/s"});
    // The app still refuses: what becomes a dead letter again is not replayed twice.
    let made = gate.admin_post("replays", Some(order)).await;
    assert_eq!(made.status, 202, "{made:?}");
    let made = json_of(&made);
    assert_eq!(made["rate"], "1000/s");
    assert_eq!(made["filter"]["state"], "dead_letter");
    let id = made["id"].as_str().unwrap();
    let done = gate
        .until_shown(&format!("replays/{id}"), |replay| replay["state"] == "done")
        .await;
    assert_eq!(
        (&done["matched"], &done["replayed"], &done["skipped"]),
        (&json!(5), &json!(5), &json!(0))
    );
    gate.app_reached(10).await;
    gate.until_shown("events?state=dead_letter", |list| {
        list["events"].as_array().unwrap().len() == 5
    })
    .await;
    switch.send(200).unwrap();
    let list = gate.admin_get("replays").await;
    assert_eq!(list["replays"], json!([done]));
    let late = ask("DELETE", &format!("replays/{id}"), None)
        .send(gate.admin)
        .await;
    assert_eq!(late.status, 409);
    let (app, _) = gate.end().await;
    let requests = app.requests();
    assert_eq!(requests.len(), 10);
    for (n, request) in (0..).zip(&requests[5..]) {
        assert_eq!(request.header("passgate-replay"), Some("true"));
        assert_eq!(request.body, card_event(n).into_bytes(), "{n}");
    }
}

/// What is given up between the making of a replay and its turn was not in the operator's list.
#[tokio::test]
async fn a_replay_that_goes_on_after_a_restart_means_what_was_dead_when_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::new());
    let (app, switch) = switched(422).await;
    let gate = over(folder.path(), &clock, setup(app, "")).start().await;
    gate.send_events(0..2, "dead_lettered").await;
    switch.send(500).unwrap();
    gate.send_events(2..3, "spilled").await;
    let order = json!({"filter": {"state": "dead_letter"}, "rate": "1/min"});
    let made = json_of(&gate.admin_post("replays", Some(order)).await);
    let target = format!("replays/{}", made["id"].as_str().unwrap());
    gate.until_shown(&target, |replay| replay["replayed"] == 1)
        .await;
    switch.send(422).unwrap();
    clock.advance(Duration::from_secs(30));
    // An attempt may have been on its way, and then its next one is due so much later. No second replay is by then.
    let steps = AtomicU32::new(0);
    gate.until_shown("events?state=dead_letter", |list| {
        if steps.fetch_add(1, Ordering::Relaxed) < 25 {
            clock.advance(Duration::from_secs(1));
        }
        list["events"].as_array().unwrap().len() == 3
    })
    .await;
    gate.stop().await;

    let (app, _switch) = switched(422).await;
    let gate = over(folder.path(), &clock, setup(app, "")).start().await;
    clock.advance(Duration::from_secs(60));
    let done = gate
        .until_shown(&target, |replay| {
            clock.advance(Duration::from_secs(1));
            replay["state"] == "done"
        })
        .await;
    assert_eq!(
        (&done["matched"], &done["replayed"], &done["skipped"]),
        (&json!(2), &json!(2), &json!(0))
    );
    gate.stop().await;
}

#[tokio::test]
async fn a_replay_keeps_its_pace_until_it_is_cancelled() {
    let (app, _switch) = switched(422).await;
    let gate = setup(app, "").start().await;
    gate.send_events(0..3, "dead_lettered").await;
    let order = json!({"filter": {"state": "dead_letter"}, "rate": "1/min"});
    let made = json_of(&gate.admin_post("replays", Some(order)).await);
    let target = format!("replays/{}", made["id"].as_str().unwrap());
    gate.until_shown(&target, |replay| replay["replayed"] == 1)
        .await;
    gate.clock.advance(Duration::from_secs(30));
    gate.app_reached(4).await;
    let replay = gate.admin_get(&target).await;
    assert_eq!(
        (&replay["matched"], &replay["replayed"]),
        (&json!(3), &json!(1))
    );
    gate.clock.advance(Duration::from_secs(31));
    gate.until_shown(&target, |replay| replay["replayed"] == 2)
        .await;
    for _ in 0..2 {
        let cancelled = ask("DELETE", &target, None).send(gate.admin).await;
        assert_eq!(cancelled.status, 200, "{cancelled:?}");
        assert_eq!(json_of(&cancelled)["state"], "cancelled");
    }
    gate.clock.advance(Duration::from_secs(600));
    gate.app_reached(5).await;
    assert_eq!(gate.admin_get(&target).await["replayed"], 2);
    let (app, _) = gate.end().await;
    let requests = app.requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(requests[3].body, card_event(0).into_bytes());
    assert_eq!(requests[4].body, card_event(1).into_bytes());
}

#[tokio::test]
async fn a_replay_goes_on_after_a_restart_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::new());
    let (app, _switch) = switched(422).await;
    let gate = over(folder.path(), &clock, setup(app, "")).start().await;
    gate.send_events(0..3, "dead_lettered").await;
    let order = json!({"filter": {"state": "dead_letter"}, "rate": "1/min"});
    let made = json_of(&gate.admin_post("replays", Some(order)).await);
    let target = format!("replays/{}", made["id"].as_str().unwrap());
    gate.until_shown(&target, |replay| replay["replayed"] == 1)
        .await;
    // What comes after it was made is none of its business.
    gate.send_events(3..4, "dead_lettered").await;
    gate.stop().await;

    clock.advance(Duration::from_secs(60));
    let gate = over(folder.path(), &clock, setup(App::willing().await, ""))
        .start()
        .await;
    gate.until_shown(&target, |replay| replay["replayed"] == 2)
        .await;
    clock.advance(Duration::from_secs(61));
    let done = gate
        .until_shown(&target, |replay| replay["state"] == "done")
        .await;
    assert_eq!(
        (&done["matched"], &done["replayed"], &done["skipped"]),
        (&json!(3), &json!(3), &json!(0))
    );
    assert_eq!(done["created_at"], made["created_at"]);
    gate.stop().await;
}

#[tokio::test]
async fn only_who_may_is_let_in_and_everybody_to_health_and_metrics() {
    let config = "[admin]\ntoken = \"env:PASSWORKS_API_KEY\"\n[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/\"";
    let gate = Setup::config(App::willing().await, config).start().await;
    let token = "Authorization: Bearer passworks-live-api-key";
    let events = || ask("GET", "events", None);
    for (request, status) in [
        (events(), 401),
        (events().with(token), 200),
        (
            events().with("Authorization: Bearer passworks-live-api-kex"),
            401,
        ),
        (ask("GET", "events?token=passworks-live-api-key", None), 401),
        (ask("GET", "nothing", None), 401),
        (
            ask("POST", "replays", Some(json!({"filter": {}})))
                .with(token)
                .with("Origin: http://evil.example"),
            403,
        ),
        (
            ask("POST", "replays", Some(json!({"filter": {}})))
                .without("Content-Type")
                .with("Content-Type: text/plain")
                .with(token),
            403,
        ),
        (
            ask("POST", "replays", Some(json!({"filter": {}})))
                .with(token)
                .with("Origin: http://127.0.0.1:9180"),
            202,
        ),
    ] {
        let answer = request.send(gate.admin).await;
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        let asks = answer.header("www-authenticate");
        assert_eq!(asks, (status == 401).then_some("Bearer"));
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(Request::get(path).send(gate.admin).await.status, 200);
    }
    // The senders' listener knows nothing of it.
    for path in ["/api/v1/events", "/livez", "/metrics"] {
        let answer = Request::get(path).with(token).send(gate.address).await;
        assert_eq!(answer.outcome(), "no_route", "{path}");
    }
    let log = gate.stop().await.text();
    assert!(!log.contains("passworks-live-api-key"));

    let gate = Gate::willing().await;
    assert_eq!(events().send(gate.admin).await.status, 200);
    let rebound = events().without("Host").with("Host: evil.example:9180");
    assert_eq!(rebound.send(gate.admin).await.status, 403);
}
