//! What is the same event, as the sender, the app and the ledger see it.

use std::time::Duration;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Request, Session, card_event, event_at, sign};

const NOW: &str = "2026-01-01T00:00:00Z";
const HOUR: Duration = Duration::from_secs(3600);

/// A body, and the same event written in another order.
const WRITTEN: &str = r#"{"event":"card.active","timestamp":"2026-01-01T00:00:00Z","organization_id":123,"data":{"card_id":"card_1","new_status":"active"}}"#;
const WRITTEN_ANEW: &str = r#"{ "data": {"new_status": "active", "card_id": "card\u005f1"}, "organization_id": 123, "timestamp": "2026-01-01T00:00:00Z", "event": "card.active" }"#;

async fn outcome(gate: &Gate, request: &Request) -> (u16, String) {
    let answer = gate.send(request).await;
    (answer.status, answer.outcome().to_owned())
}

/// Sends each and holds its outcome, and whether the app saw it, against the table.
async fn go_through(gate: &Gate, table: &[(&str, Request, u16, &str)]) {
    for (what, request, status, expected) in table {
        let before = gate.app.count();
        let got = outcome(gate, request).await;
        assert_eq!(got, (*status, (*expected).to_owned()), "{what}");
        let seen = gate.app.count() - before;
        assert_eq!(seen, usize::from(*expected == "forwarded"), "{what}");
    }
}

fn unsigned_id(body: &str, id: Option<&str>) -> Request {
    let request = Request::walletwerk(body, "x").without("x-walletwerk-delivery-id");
    match id {
        Some(id) => request.with(&format!("X-WalletWerk-Delivery-ID: {id}")),
        None => request,
    }
}

#[tokio::test]
async fn content_and_id_together_say_what_is_the_same_event() {
    let gate = Gate::willing().await;
    let event = |body: &str, id: &str| Request::walletwerk(body, id);
    let other = card_event(2);
    go_through(
        &gate,
        &[
            ("the first", event(WRITTEN, "d1"), 200, "forwarded"),
            ("a retry", event(WRITTEN, "d1"), 200, "duplicate"),
            ("a new id", event(WRITTEN, "d2"), 200, "duplicate"),
            ("no id", unsigned_id(WRITTEN, None), 200, "duplicate"),
            ("written anew", event(WRITTEN_ANEW, "d1"), 200, "duplicate"),
            (
                "its id, another event",
                event(&other, "d1"),
                200,
                "forwarded",
            ),
            ("that one again", event(&other, "d1"), 200, "duplicate"),
        ],
    )
    .await;
    for (series, value) in [
        (
            r#"passgate_duplicates_total{route="walletwerk",kind="duplicate"}"#,
            4.0,
        ),
        (
            r#"passgate_duplicates_total{route="walletwerk",kind="duplicate_content"}"#,
            1.0,
        ),
        (r#"passgate_id_conflict_total{route="walletwerk"}"#, 1.0),
    ] {
        assert_eq!(gate.metric(series).await, value, "{series}");
    }
    let keys = |n: usize| {
        gate.app.requests()[n]
            .header("idempotency-key")
            .unwrap()
            .to_owned()
    };
    assert_ne!(
        keys(0),
        keys(1),
        "other content under one id is another event to the app"
    );
}

#[tokio::test]
async fn a_retry_written_anew_cannot_be_played_under_a_new_id_either() {
    let gate = Gate::willing().await;
    let event = |body: &str, id: &str| Request::walletwerk(body, id);
    go_through(
        &gate,
        &[
            ("the first", event(WRITTEN, "d1"), 200, "forwarded"),
            ("written anew", event(WRITTEN_ANEW, "d1"), 200, "duplicate"),
            // Settles are committed in their order, so now the words above are written.
            (
                "one behind it",
                event(&card_event(9), "d9"),
                200,
                "forwarded",
            ),
            (
                "captured and played",
                event(WRITTEN_ANEW, "forged"),
                200,
                "duplicate",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_thousand_replays_under_new_ids_give_one_forward_and_one_entry() {
    let gate = Gate::willing().await;
    let mut attacker = Session::to(gate.address).await;
    let first = attacker
        .ask(&Request::walletwerk(card_event(1), "d0"))
        .await;
    assert_eq!(first.outcome(), "forwarded");
    let keys = gate.metric("passgate_ledger_keys").await;
    for n in 0..1_000 {
        let replay = Request::walletwerk(card_event(1), &format!("forged-{n}"))
            .with("X-WalletWerk-Timestamp: 2026-01-02T00:00:00Z");
        assert_eq!(attacker.ask(&replay).await.outcome(), "duplicate");
    }
    assert_eq!(gate.app.count(), 1);
    assert_eq!(gate.metric("passgate_ledger_keys").await, keys);
    assert_eq!(
        gate.store.statistics().keys,
        2,
        "its content and its first id"
    );
    let replays = r#"passgate_duplicates_total{route="walletwerk",kind="duplicate_content"}"#;
    assert_eq!(gate.metric(replays).await, 1_000.0);
    assert_eq!(gate.metric("passgate_ledger_unwritten_keys").await, 0.0);
}

#[tokio::test]
async fn a_test_that_is_pressed_twice_arrives_twice_and_ten_times_a_minute_at_most() {
    let gate = Gate::willing().await;
    let test = event_at("webhook.test", NOW, 1);
    let press = |n: u32| Request::walletwerk(test.as_str(), &format!("press-{n}"));
    let mut sender = Session::to(gate.address).await;
    for n in 0..15 {
        let expected = if n < 10 { "forwarded" } else { "duplicate" };
        let answer = sender.ask(&press(n)).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (200, expected),
            "press {n}"
        );
    }
    // One of those that were not let through is no duplicate yet: its press may come again.
    gate.clock.advance(Duration::from_secs(6));
    go_through(
        &gate,
        &[
            ("a retry of the first", press(0), 200, "duplicate"),
            ("one whose turn it is", press(12), 200, "forwarded"),
            ("and the next", press(13), 200, "duplicate"),
        ],
    )
    .await;
    // No test is an event, and no event is held up by tests.
    let event = Request::walletwerk(card_event(1), "d1");
    assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    let ids: Vec<String> = gate
        .app
        .requests()
        .iter()
        .map(|seen| seen.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert!(
        ids.iter()
            .all(|id| ids.iter().filter(|other| *other == id).count() == 1),
        "{ids:?}"
    );
}

#[tokio::test]
async fn a_test_without_an_id_or_a_time_is_known_by_its_content() {
    let gate = Gate::willing().await;
    let test = r#"{"event":"webhook.test"}"#;
    go_through(
        &gate,
        &[
            ("the first", unsigned_id(test, None), 200, "forwarded"),
            ("again", unsigned_id(test, None), 200, "duplicate"),
            (
                "with an id",
                unsigned_id(test, Some("t1")),
                200,
                "forwarded",
            ),
        ],
    )
    .await;
    let undated = r#"passgate_undated_events_total{route="walletwerk"}"#;
    assert_eq!(gate.metric(undated).await, 3.0);
}

#[tokio::test]
async fn where_a_route_says_so_the_same_content_under_another_id_is_another_event() {
    let app = App::willing().await;
    let gate = Setup::walletwerk(app, "same_content = \"forward\"")
        .start()
        .await;
    go_through(
        &gate,
        &[
            (
                "the first",
                Request::walletwerk(WRITTEN, "d1"),
                200,
                "forwarded",
            ),
            (
                "a retry",
                Request::walletwerk(WRITTEN, "d1"),
                200,
                "duplicate",
            ),
            (
                "another id",
                Request::walletwerk(WRITTEN, "d2"),
                200,
                "forwarded",
            ),
            ("no id", unsigned_id(WRITTEN, None), 200, "forwarded"),
            ("no id again", unsigned_id(WRITTEN, None), 200, "duplicate"),
        ],
    )
    .await;
    let keys: Vec<_> = gate
        .app
        .requests()
        .iter()
        .map(|seen| seen.header("idempotency-key").map(str::to_owned))
        .collect();
    assert!(
        keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2],
        "{keys:?}"
    );
}

#[tokio::test]
async fn an_id_that_cannot_be_one_plays_no_part() {
    let gate = Gate::willing().await;
    let longest = "i".repeat(256);
    let ignored = r#"passgate_delivery_ids_ignored_total{route="walletwerk"}"#;
    for (n, (what, id, is_used)) in [
        ("missing", None, true),
        ("as long as one may be", Some(longest.clone()), true),
        ("a byte too long", Some(format!("{longest}i")), false),
        ("no text", Some("\u{fc}".into()), false),
        ("empty", Some(String::new()), false),
    ]
    .into_iter()
    .enumerate()
    {
        let before = gate.metric(ignored).await;
        let event = unsigned_id(&card_event(n as u64), id.as_deref());
        let again = unsigned_id(&card_event(n as u64), None);
        assert_eq!(gate.send(&event).await.outcome(), "forwarded", "{what}");
        assert_eq!(gate.send(&again).await.outcome(), "duplicate", "{what}");
        let more = gate.metric(ignored).await - before;
        assert_eq!(more, if is_used { 0.0 } else { 1.0 }, "{what}");
    }
    // What plays no part makes no two events one.
    for n in 100..110 {
        let event = unsigned_id(&card_event(n), Some(&"x".repeat(300)));
        assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    }
    assert_eq!(
        gate.metric(r#"passgate_id_conflict_total{route="walletwerk"}"#)
            .await,
        0.0
    );
}

#[tokio::test]
async fn one_body_on_two_routes_is_two_events() {
    let route = |name: &str| {
        format!(
            "[[route]]\nprovider = \"walletwerk\"\nname = \"{name}\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/{name}\"\n"
        )
    };
    let app = App::willing().await;
    let gate = Setup::config(app, route("a") + &route("b")).start().await;
    let on = |name: &str| {
        let mut request = Request::walletwerk(card_event(1), "d1");
        request.line = format!("POST /webhooks/{name} HTTP/1.1");
        request
    };
    go_through(
        &gate,
        &[
            ("on the one", on("a"), 200, "forwarded"),
            ("on the other", on("b"), 200, "forwarded"),
            ("again on the one", on("a"), 200, "duplicate"),
            ("again on the other", on("b"), 200, "duplicate"),
        ],
    )
    .await;
    let seen = gate.app.requests();
    assert_ne!(
        seen[0].header("idempotency-key"),
        seen[1].header("idempotency-key")
    );
}

#[tokio::test]
async fn who_cannot_sign_leaves_nothing_in_the_ledger_and_blocks_nothing() {
    let app = App::willing().await;
    let config = Setup::walletwerk(app, "[client_quota]\nrate = \"1000/s\"\nburst = 1000");
    let gate = config.start().await;
    let body = card_event(1);
    let forged = |id: &str| {
        Request::post("/webhooks/walletwerk", body.as_str())
            .with(&format!(
                "X-WalletWerk-Signature: {}",
                sign(b"not the secret", body.as_bytes())
            ))
            .with(&format!("X-WalletWerk-Delivery-ID: {id}"))
    };
    let mut forger = Session::to(gate.address).await;
    for n in 0..50 {
        assert_eq!(forger.ask(&forged("d1")).await.status, 401);
        assert_eq!(forger.ask(&forged(&format!("d{n}"))).await.status, 401);
    }
    assert_eq!(gate.metric("passgate_ledger_keys").await, 0.0);
    assert_eq!(gate.app.count(), 0);
    let event = Request::walletwerk(body.as_str(), "d1");
    assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    assert_eq!(
        forger.ask(&forged("d1")).await.status,
        401,
        "not even as a duplicate"
    );
    assert_eq!(gate.send(&event).await.outcome(), "duplicate");
    assert_eq!(
        gate.metric(r#"passgate_id_conflict_total{route="walletwerk"}"#)
            .await,
        0.0
    );
}

#[tokio::test]
async fn what_is_authentic_and_too_old_or_too_new_or_unreadable_is_refused_and_not_remembered() {
    let gate = Gate::willing().await;
    let at = |time: &str, n: u64| {
        Request::walletwerk(event_at("card.active", time, n), &format!("d{n}"))
    };
    let body = |body: &str, n: u64| Request::walletwerk(body, &format!("d{n}"));
    let stale = (401, "stale");
    let malformed = (400, "malformed");
    let taken = (200, "forwarded");
    let table = [
        ("as old as may be", at("2025-12-29T00:00:00Z", 1), taken),
        ("a second older", at("2025-12-28T23:59:59Z", 2), stale),
        (
            "as far ahead as may be",
            at("2026-01-01T00:05:00Z", 3),
            taken,
        ),
        ("a second further", at("2026-01-01T00:05:01Z", 4), stale),
        ("another offset", at("2026-01-01T02:00:00+02:00", 5), taken),
        ("a year ahead", at("2027-01-01T00:00:00Z", 6), stale),
        (
            "a stale test",
            body(&event_at("webhook.test", "2025-01-01T00:00:00Z", 7), 7),
            stale,
        ),
        ("no offset", at("2026-01-01T00:00:00", 8), malformed),
        ("no time", body(r#"{"event":"card.active"}"#, 9), malformed),
        (
            "no event",
            body(r#"{"timestamp":"2026-01-01T00:00:00Z"}"#, 10),
            malformed,
        ),
        (
            "two events",
            body(
                r#"{"event":"card.active","event":"card.active","timestamp":"2026-01-01T00:00:00Z"}"#,
                11,
            ),
            malformed,
        ),
        (
            "an event that is no text",
            body(r#"{"event":7,"timestamp":"2026-01-01T00:00:00Z"}"#, 12),
            malformed,
        ),
        ("an array", body("[]", 13), malformed),
        ("no JSON", body("hello", 14), malformed),
        (
            "an unknown event",
            body(
                r#"{"event":"card.flown","timestamp":"2026-01-01T00:00:00Z"}"#,
                15,
            ),
            taken,
        ),
    ];
    let table = table.map(|(what, request, (status, outcome))| (what, request, status, outcome));
    go_through(&gate, &table).await;
    let keys = gate.metric("passgate_ledger_keys").await;
    // Refused again for the same reason, and never as a duplicate of a refusal.
    for (what, request, status, expected) in &table {
        if *expected != "forwarded" {
            let again = outcome(&gate, request).await;
            assert_eq!(again, (*status, (*expected).to_owned()), "{what}");
        }
    }
    assert_eq!(gate.metric("passgate_ledger_keys").await, keys);
}

#[tokio::test]
async fn a_settled_event_that_has_become_stale_is_still_a_duplicate() {
    let gate = Gate::willing().await;
    let event = Request::walletwerk(card_event(1), "d1");
    assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    gate.clock.advance(73 * HOUR);
    go_through(
        &gate,
        &[
            ("a late retry", event, 200, "duplicate"),
            (
                "a replay under a new id",
                Request::walletwerk(card_event(1), "d2"),
                200,
                "duplicate",
            ),
            (
                "one that never came",
                Request::walletwerk(card_event(2), "d3"),
                401,
                "stale",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn when_the_memory_of_an_event_ends_its_replay_is_too_old() {
    let gate = Gate::willing().await;
    let event = Request::walletwerk(card_event(1), "d1");
    assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    gate.clock.advance(7 * 24 * HOUR - Duration::from_secs(1));
    assert_eq!(outcome(&gate, &event).await, (200, "duplicate".into()));
    gate.clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&gate, &event).await, (401, "stale".into()));
    assert_eq!(gate.app.count(), 1);
}

#[tokio::test]
async fn without_freshness_an_event_counts_as_new_after_its_memory_has_ended_and_not_before() {
    let config = "[store]\nremember = \"25h\"\n[[route]]\nprovider = \"passworks\"\nsecrets = [\"env:PASSWORKS_API_KEY\"]\nupstream = \"http://@APP@/events\"\n";
    let gate = Setup::config(App::willing().await, config).start().await;
    let event = Request::post("/webhooks/passworks", r#"{"event":"installed"}"#)
        .with("Authorization: passworks-live-api-key");
    assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    gate.clock.advance(25 * HOUR - Duration::from_secs(1));
    assert_eq!(gate.send(&event).await.outcome(), "duplicate");
    gate.clock.advance(Duration::from_secs(1));
    assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    assert_eq!(gate.app.count(), 2);
}

#[tokio::test]
async fn what_the_app_did_not_accept_is_forwarded_again() {
    let replies = [
        ("500", Reply::status(500), 500, "upstream_status"),
        ("404", Reply::status(404), 404, "upstream_status"),
        ("302", Reply::status(302), 502, "upstream_status"),
        ("410", Reply::status(410), 502, "upstream_status"),
        (
            "a closed connection",
            Reply::Close,
            502,
            "upstream_unreachable",
        ),
        (
            "half an answer",
            Reply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec()),
            502,
            "upstream_unreachable",
        ),
        (
            "an unasked 101",
            Reply::Raw(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_vec()),
            502,
            "upstream_unreachable",
        ),
    ];
    let script = replies.clone();
    let app = App::start(move |_, n| {
        script
            .get(n)
            .map_or(Reply::status(204), |(_, reply, ..)| reply.clone())
    })
    .await;
    let gate = Setup::walletwerk(app, "").start().await;
    let event = Request::walletwerk(card_event(1), "d1");
    for (what, _, status, expected) in replies {
        let got = outcome(&gate, &event).await;
        assert_eq!(got, (status, expected.to_owned()), "{what}");
        assert_eq!(gate.metric("passgate_ledger_keys").await, 0.0, "{what}");
    }
    assert_eq!(outcome(&gate, &event).await, (204, "forwarded".into()));
    assert_eq!(outcome(&gate, &event).await, (200, "duplicate".into()));
    let seen = gate.app.requests();
    assert_eq!(seen.len(), 8);
    let key = seen[0].header("idempotency-key");
    assert!(
        seen.iter()
            .all(|again| again.header("idempotency-key") == key)
    );
}
