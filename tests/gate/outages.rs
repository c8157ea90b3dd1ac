//! What an app's absence, its poison events and its wishes do to the events that wait.

use std::time::Duration;

use serde_json::json;

use crate::support::app::{App, Reply, Request as Received};
use crate::support::gate::{Gate, Setup};
use crate::support::operator::{ids, switched};
use crate::support::sender::{Request, card_event};

/// A gate before an app that answers by `script`, in this mode.
async fn gate(
    mode: &str,
    more: &str,
    script: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static,
) -> Gate {
    let app = App::start(script).await;
    Setup::walletwerk(app, &format!("delivery = \"{mode}\"\n{more}"))
        .start()
        .await
}

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

/// The number that [`event`] put into it.
fn number(request: &Received) -> u64 {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let (_, rest) = body.split_once("\"card_id\":\"card_").unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

impl Gate {
    /// How many requests came for events of these numbers.
    fn attempts_on(&self, numbers: std::ops::Range<u64>) -> usize {
        let requests = self.app.requests();
        let is_meant = |request: &&Received| numbers.contains(&number(request));
        requests.iter().filter(is_meant).count()
    }

    /// Has an event stored. By a clock that is moved by hand a commit that is under way may seem to hang.
    async fn stores(&self, n: u64) {
        let store = async {
            while self.send(&event(n)).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let stored = tokio::time::timeout(Duration::from_secs(20), store).await;
        stored.expect("it is stored");
    }

    /// Lets a second pass, and the gate do what it does in it.
    async fn a_second_passes(&self) {
        self.clock.advance(Duration::from_secs(1));
        let more = self.app.reached(self.app.count() + 1);
        let _ = tokio::time::timeout(Duration::from_millis(300), more).await;
    }
}

#[tokio::test]
async fn a_good_event_does_not_wait_behind_poison_and_poison_is_not_called_up_again_and_again() {
    const POISON: u64 = 10;
    let more = "[route.queue]\nretry_first = \"1h\"\nretry_max = \"1h\"";
    let gate = gate("queue", more, |request, _| match number(request) {
        ..POISON => Reply::Reset,
        _ => Reply::status(200),
    })
    .await;
    for n in 0..POISON {
        assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
    }
    // By now the pauses between probes have grown to their longest.
    for _ in 0..40 {
        gate.clock.advance(Duration::from_secs(1));
        tokio::time::timeout(Duration::from_millis(30), gate.app.reached(usize::MAX))
            .await
            .unwrap_err();
    }
    for good in POISON..POISON + 20 {
        gate.stores(good).await;
        // Two seconds after the last poison was met, which may be on its way still.
        let mut passed = 0;
        while gate.attempts_on(good..good + 1) == 0 {
            assert!(passed < 5, "{good} waits behind poison");
            gate.a_second_passes().await;
            passed += 1;
        }
    }
    let wasted = gate.attempts_on(0..POISON);
    assert!(wasted < 70, "{wasted} attempts on {POISON} poison events");
}

#[tokio::test]
async fn while_the_app_is_away_events_are_given_up_in_time_and_without_attempts() {
    let more = "[route.queue]\ngive_up_after = \"1m\"";
    let gate = gate("spill", more, |_, _| Reply::Close).await;
    for n in 0..3 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "spilled");
    }
    for n in 3..40 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
    }
    gate.clock.advance(Duration::from_secs(61));
    gate.until_shown("events?state=dead_letter&limit=100", |list| {
        let dead = list["events"].as_array().unwrap();
        dead.len() == 40 && dead.iter().all(|event| event["reason"] == "given_up")
    })
    .await;
    let count = gate.app.count();
    assert!(count <= 5, "{count} attempts on an app that is away");
}

/// None of it was attempted before, so that by that alone the good events would come last.
#[tokio::test]
async fn good_events_do_not_wait_behind_a_block_of_poison() {
    const POISON: u64 = 60;
    let more = "[route.queue]\nretry_first = \"1h\"\nretry_max = \"1h\"\nmax_in_flight = 1";
    let gate = gate("queue", more, |request, _| match number(request) {
        ..POISON => Reply::Reset,
        _ => Reply::status(200),
    })
    .await;
    for n in 0..POISON + 10 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
    }
    for _ in 0..100 {
        gate.clock.advance(Duration::from_secs(2));
        let more = gate.app.reached(gate.app.count() + 1);
        let _ = tokio::time::timeout(Duration::from_millis(300), more).await;
        if gate.attempts_on(POISON..POISON + 10) == 10 {
            break;
        }
    }
    let good = gate.attempts_on(POISON..POISON + 10);
    let poison = gate.attempts_on(0..POISON);
    assert!(
        good == 10 && poison < 55,
        "{good} of 10 good events came, and {poison} attempts on poison"
    );
}

#[tokio::test]
async fn while_an_app_rests_events_are_given_up_in_time() {
    let more = "[route.queue]\ngive_up_after = \"30s\"\nmax_in_flight = 1";
    let header = "retry-after: 3600\r\n";
    let gate = gate("queue", more, move |_, _| Reply::with(429, header, "")).await;
    for n in 0..20 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
    }
    gate.app_reached(1).await;
    gate.clock.advance(Duration::from_secs(31));
    gate.until_shown("events?state=dead_letter&limit=100", |list| {
        list["events"].as_array().unwrap().len() == 20
    })
    .await;
    assert_eq!(gate.app.count(), 1);
}

#[tokio::test]
async fn by_a_clock_that_jumped_nothing_is_given_up() {
    let more = "[route.queue]\ngive_up_after = \"1h\"";
    let gate = gate("spill", more, |_, _| Reply::status(500)).await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "spilled");
    gate.clock.jump(Duration::from_secs(30 * 24 * 3600));
    gate.app_reached(2).await;
    let target = format!("events/{}", ids(&gate.events("").await)[0]);
    let shown = gate
        .until_shown(&target, |event| {
            event["attempt_count"] == 2 && event["state"] != "in_flight"
        })
        .await;
    assert_eq!(shown["state"], "queued", "{shown}");
}

#[tokio::test]
async fn an_app_that_asks_for_rest_is_left_alone_by_all_that_waits() {
    for wish in ["30", "Thu, 01 Jan 2026 00:00:30 GMT"] {
        let header = format!("retry-after: {wish}\r\n");
        let more = "[route.queue]\nmax_in_flight = 1";
        let gate = gate("queue", more, move |_, before| match before {
            0 => Reply::with(429, &header, ""),
            _ => Reply::status(200),
        })
        .await;
        for n in 0..5 {
            assert_eq!(gate.send(&event(n)).await.outcome(), "queued");
        }
        gate.app_reached(1).await;
        gate.clock.advance(Duration::from_secs(29));
        let more = tokio::time::timeout(Duration::from_millis(400), gate.app.reached(2)).await;
        assert!(more.is_err(), "{wish}: the app was not left alone");
        gate.clock.advance(Duration::from_secs(1));
        gate.app_reached(6).await;
    }
}

#[tokio::test]
async fn an_event_that_is_sent_again_may_wait_as_long_as_a_new_one() {
    let (app, switch) = switched(500).await;
    let more = "delivery = \"spill\"\n[route.queue]\ngive_up_after = \"1h\"";
    let gate = Setup::walletwerk(app, more).start().await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "spilled");
    gate.clock.advance(Duration::from_secs(3601));
    gate.app_reached(2).await;
    let id = ids(&gate.events("").await)[0].clone();
    let target = format!("events/{id}");
    let dead = |event: &serde_json::Value| event["state"] == "dead_letter";
    gate.until_shown(&target, dead).await;
    let again = format!("{target}/replay");
    assert_eq!(gate.admin_post(&again, None).await.status, 202);
    gate.app_reached(3).await;
    let shown = gate
        .until_shown(&target, |event| {
            event["attempt_count"] == 3 && event["state"] != "in_flight"
        })
        .await;
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("queued"), &json!(null))
    );
    switch.send(200).unwrap();
    gate.clock.advance(Duration::from_secs(900));
    gate.app_reached(4).await;
    let replays = gate.app.requests();
    let last = replays.last().unwrap();
    assert_eq!(last.header("passgate-replay"), Some("true"));
}
