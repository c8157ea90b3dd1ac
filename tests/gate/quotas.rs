//! Quotas: what they count, what they leave alone, and the numbers they tell.
//!
//! The clock is moved by hand, and every number in a header is computed a second time here, by a bucket
//! that knows nothing of the product's arithmetic.

use std::time::Duration;

use passgate::keepers::limit::lane;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Answer, Request, card_event, event_at};
use crate::support::wire::Wire;

/// A bucket in milliseconds of credit: it fills by one each millisecond, and an event costs `cost`.
struct Bucket {
    name: &'static str,
    burst: u64,
    cost: u64,
    credit: u64,
    now: u64,
}

impl Bucket {
    fn new(name: &'static str, burst: u64, cost: u64) -> Self {
        Self {
            name,
            burst,
            cost,
            credit: burst * cost,
            // The tests' clock at its start.
            now: 1_767_225_600_000,
        }
    }

    fn advance(&mut self, gate: &Gate, millis: u64) {
        gate.clock.advance(Duration::from_millis(millis));
        self.now += millis;
        self.credit = (self.credit + millis).min(self.burst * self.cost);
    }

    fn take(&mut self) {
        self.credit -= self.cost;
    }

    /// Every header of `answer` is what follows from the credit that is left.
    fn check(&self, answer: &Answer) {
        let Self {
            name,
            burst,
            cost,
            credit,
            now,
        } = self;
        let missing = burst * cost - credit;
        let left = credit / cost;
        let full_at = match missing {
            0 => now / 1000,
            missing => (now + missing).div_ceil(1000),
        };
        let expected = [
            ("x-ratelimit-limit", burst.to_string()),
            ("x-ratelimit-remaining", left.to_string()),
            ("x-ratelimit-reset", full_at.to_string()),
            (
                "ratelimit-policy",
                format!("\"{name}\";q={burst};w={}", (burst * cost).div_ceil(1000)),
            ),
            (
                "ratelimit",
                format!("\"{name}\";r={left};t={}", missing.div_ceil(1000)),
            ),
        ];
        for (header, value) in expected {
            assert_eq!(
                answer.header(header),
                Some(&*value),
                "{header} of {answer:?}"
            );
        }
        if answer.status == 429 {
            let wait = (cost - credit).div_ceil(1000).max(1);
            assert_eq!(answer.header("retry-after"), Some(&*wait.to_string()));
        }
    }
}

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

/// Truly shaped, and signed for another body.
fn junk() -> Request {
    let mut request = event(9_999);
    request.body.push(b' ');
    request
}

fn has_quota_headers(answer: &Answer) -> bool {
    answer
        .headers
        .iter()
        .any(|(name, _)| name.contains("ratelimit"))
}

#[tokio::test]
async fn every_answer_of_the_route_tells_one_state_of_its_quota() {
    let quota = "[route.quota]\nrate = \"40/min\"\nburst = 3";
    let gate = Setup::walletwerk(App::willing().await, quota).start().await;
    let mut bucket = Bucket::new("walletwerk", 3, 1500);
    let mut n = 0;
    for (wait, outcome) in [
        (0, "forwarded"),
        (0, "forwarded"),
        (400, "forwarded"),
        (0, "rate_limited"),
        (700, "rate_limited"),
        (399, "rate_limited"),
        (1, "forwarded"),
        (0, "rate_limited"),
        (2250, "forwarded"),
        (0, "rate_limited"),
        (750, "forwarded"),
        (3_600_000, "forwarded"),
        (0, "forwarded"),
        (0, "forwarded"),
        (0, "rate_limited"),
    ] {
        n += 1;
        bucket.advance(&gate, wait);
        let answer = gate.send(&event(n)).await;
        assert_eq!(answer.outcome(), outcome, "event {n}");
        if outcome == "forwarded" {
            bucket.take();
        }
        bucket.check(&answer);
    }
    // Those that are refused for something else tell it too.
    for (outcome, request) in [
        ("duplicate", event(1)),
        ("unauthentic", junk()),
        ("malformed", event(100).with("Host: two")),
        ("method", Request::get("/webhooks/walletwerk")),
    ] {
        bucket.advance(&gate, 100);
        let answer = gate.send(&request).await;
        assert_eq!(answer.outcome(), outcome);
        bucket.check(&answer);
    }
    bucket.advance(&gate, 60_001);
    bucket.check(&gate.send(&event(1)).await);
    assert!(!has_quota_headers(&gate.send(&Request::get("/")).await));
}

#[tokio::test]
async fn a_route_without_a_quota_tells_none() {
    let gate = Gate::willing().await;
    for request in [event(1), event(1), junk()] {
        assert!(!has_quota_headers(&gate.send(&request).await));
    }
}

#[tokio::test]
async fn an_event_refused_for_speed_is_released_and_forwarded_when_it_comes_again() {
    let quota = "[route.quota]\nrate = \"1/min\"\nburst = 1";
    let gate = Setup::walletwerk(App::willing().await, quota).start().await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
    for _ in 0..3 {
        let answer = gate.send(&event(2)).await;
        assert_eq!(answer.outcome(), "rate_limited");
        assert_eq!(answer.header("retry-after"), Some("60"));
    }
    gate.clock.advance(Duration::from_secs(60));
    assert_eq!(gate.send(&event(2)).await.outcome(), "forwarded");
    assert_eq!(gate.send(&event(2)).await.outcome(), "duplicate");
    assert_eq!(gate.app.count(), 2);
}

#[tokio::test]
async fn only_attempts_at_the_app_take_from_the_routes_quota() {
    let app = App::start(|_, before| match before {
        1 => Reply::status(500),
        2 => Reply::Close,
        _ => Reply::status(200),
    });
    let quota = "[route.quota]\nrate = \"1/h\"\nburst = 4";
    let gate = Setup::walletwerk(app.await, quota).start().await;
    let left = |answer: &Answer| answer.header("x-ratelimit-remaining").unwrap().to_owned();
    let answer = gate.send(&event(1)).await;
    assert_eq!((answer.outcome(), &*left(&answer)), ("forwarded", "3"));
    let stale = event_at("card.active", "2020-01-01T00:00:00Z", 2);
    for (outcome, request) in [
        ("duplicate", event(1)),
        ("duplicate", Request::walletwerk(card_event(1), "other")),
        ("unauthentic", junk()),
        ("unauthentic", event(2).without("X-WalletWerk-Signature")),
        ("stale", Request::walletwerk(stale, "d")),
        ("malformed", Request::walletwerk("[]", "d")),
        ("malformed", event(2).with("Transfer-Encoding: chunked")),
        ("media_type", event(2).with("Content-Encoding: gzip")),
        ("method", Request::get("/webhooks/walletwerk")),
    ] {
        for _ in 0..3 {
            let answer = gate.send(&request).await;
            assert_eq!((answer.outcome(), &*left(&answer)), (outcome, "3"));
        }
    }
    for (outcome, remaining) in [
        ("upstream_status", "2"),
        ("upstream_unreachable", "1"),
        ("forwarded", "0"),
        ("duplicate", "0"),
    ] {
        let answer = gate.send(&event(2)).await;
        assert_eq!((answer.outcome(), &*left(&answer)), (outcome, remaining));
    }
    assert_eq!(gate.send(&event(3)).await.outcome(), "rate_limited");
}

#[tokio::test]
async fn routes_have_quotas_of_their_own() {
    let route = |name| {
        format!(
            "[[route]]\nname = \"{name}\"\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/{name}\"\nquota = {{ rate = \"1/h\", burst = 1 }}\n"
        )
    };
    let gate = Setup::config(App::willing().await, route("a") + &route("b"))
        .start()
        .await;
    let to = |name: &str, n| {
        let mut request = event(n);
        request.line = format!("POST /webhooks/{name} HTTP/1.1");
        request
    };
    for (name, n, outcome) in [
        ("a", 1, "forwarded"),
        ("a", 2, "rate_limited"),
        ("b", 2, "forwarded"),
        ("b", 1, "rate_limited"),
    ] {
        let answer = gate.send(&to(name, n)).await;
        assert_eq!(answer.outcome(), outcome, "{name} {n}");
        let policy = answer.header("ratelimit-policy").unwrap();
        assert_eq!(policy, format!("\"{name}\";q=1;w=3600"));
    }
}

#[tokio::test]
async fn a_test_pressed_often_is_forwarded_ten_times_a_minute() {
    let gate = Gate::willing().await;
    let press = |n: u64| {
        let test = r#"{"event":"webhook.test","timestamp":"2026-01-01T00:00:00Z","data":{}}"#;
        Request::walletwerk(test, &format!("press{n}"))
    };
    for n in 0..15 {
        let outcome = if n < 10 { "forwarded" } else { "duplicate" };
        let answer = gate.send(&press(n)).await;
        assert_eq!((answer.status, answer.outcome()), (200, outcome), "{n}");
    }
    gate.clock.advance(Duration::from_secs(6));
    // The eleventh was not settled by not being forwarded.
    assert_eq!(gate.send(&press(10)).await.outcome(), "forwarded");
    assert_eq!(gate.send(&press(11)).await.outcome(), "duplicate");
    assert_eq!(gate.app.count(), 11);
}

#[tokio::test]
async fn a_client_has_sixty_failed_verifications_and_its_true_events_pass_all_the_same() {
    let gate = Gate::willing().await;
    for n in 0..60 {
        // Whatever fails to verify counts, be it for the head or for the body.
        let request = if n % 2 == 0 {
            junk()
        } else {
            event(1).without("X-WalletWerk-Signature")
        };
        let answer = gate.send(&request).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (401, "unauthentic"),
            "{n}"
        );
        assert!(!has_quota_headers(&answer));
    }
    let mut bucket = Bucket::new("client", 60, 1000);
    bucket.credit = 0;
    for request in [junk(), event(1).without("X-WalletWerk-Signature")] {
        let answer = gate.send(&request).await;
        assert_eq!((answer.status, answer.outcome()), (429, "client_limited"));
        bucket.check(&answer);
    }
    let answer = gate.send(&event(1)).await;
    assert_eq!(answer.outcome(), "forwarded");
    assert!(!has_quota_headers(&answer), "the route has no quota");
    assert_eq!(gate.send(&event(1)).await.outcome(), "duplicate");
    // What comes back is one a second.
    bucket.advance(&gate, 999);
    let answer = gate.send(&junk()).await;
    assert_eq!(answer.outcome(), "client_limited");
    bucket.check(&answer);
    bucket.advance(&gate, 1);
    assert_eq!(gate.send(&junk()).await.outcome(), "unauthentic");
    assert_eq!(gate.send(&junk()).await.outcome(), "client_limited");
}

#[tokio::test]
async fn what_is_not_a_failed_verification_does_not_count_for_a_client() {
    let quota = "[client_quota]\nrate = \"1/h\"\nburst = 1";
    let gate = Setup::walletwerk(App::willing().await, quota).start().await;
    let stale = event_at("card.active", "2020-01-01T00:00:00Z", 2);
    for request in [
        Request::get("/"),
        Request::get("/webhooks/walletwerk"),
        event(1).with("Transfer-Encoding: chunked"),
        event(1).with("Content-Encoding: gzip"),
        event(1).with("Expect: x"),
        Request::walletwerk(stale, "d"),
        event(1),
        event(1),
    ] {
        assert_ne!(gate.send(&request).await.outcome(), "client_limited");
    }
    assert_eq!(gate.send(&junk()).await.outcome(), "unauthentic");
    assert_eq!(gate.send(&junk()).await.outcome(), "client_limited");
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart_and_others_cannot_pretend() {
    for (server, told_apart) in [
        ("trusted_proxies = [\"127.0.0.0/8\"]", true),
        ("trusted_proxies = [\"10.0.0.0/8\"]", false),
        ("", false),
        // The header that the proxy does not set passes through it as a sender wrote it.
        (
            "trusted_proxies = [\"127.0.0.0/8\"]\nclient_address_from = \"forwarded\"",
            false,
        ),
    ] {
        let config = format!(
            "[server]\n{server}\n[client_quota]\nrate = \"1/h\"\nburst = 1\n[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/\"\n"
        );
        let gate = Setup::config(App::willing().await, config).start().await;
        for (hops, is_new) in [
            ("203.0.113.1", true),
            ("203.0.113.1", false),
            ("203.0.113.2", true),
            // The proxy appends who it saw: what stands before that was written by the sender.
            ("198.51.100.7, 203.0.113.2", false),
            ("198.51.100.7", true),
            // An IPv6 client is its /64.
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::1", true),
        ] {
            let is_first = hops == "203.0.113.1" && is_new;
            let answer = gate
                .send(&junk().with(&format!("X-Forwarded-For: {hops}")))
                .await;
            let expected = match is_first || (told_apart && is_new) {
                true => "unauthentic",
                false => "client_limited",
            };
            assert_eq!(answer.outcome(), expected, "{server} {hops}");
        }
        gate.send(&event(1).with("X-Forwarded-For: 203.0.113.9"))
            .await;
        let told = if told_apart {
            "203.0.113.9"
        } else {
            "127.0.0.1"
        };
        let requests = gate.app.requests();
        assert_eq!(
            requests[0].header("x-forwarded-for"),
            Some(told),
            "{server}"
        );
    }
}

/// A gateway that has seen enough of this client.
async fn limited(more: &str, lane_body_time: Duration) -> Gate {
    let config = format!("{more}\n[client_quota]\nrate = \"1/h\"\nburst = 1");
    let gate = Setup::walletwerk(App::willing().await, &config)
        .within(|limits| limits.lane_body_time = lane_body_time)
        .start()
        .await;
    assert_eq!(gate.send(&junk()).await.outcome(), "unauthentic");
    gate
}

#[tokio::test]
async fn the_narrow_lane_has_few_places_and_a_slow_body_that_finds_none_is_told_to_wait() {
    let gate = limited("", Duration::from_secs(10)).await;
    let mut in_lane = Vec::new();
    for n in 0..=lane::PLACES as u64 {
        let bytes = event(n).with("Expect: 100-continue").bytes();
        let (head, body) = bytes.split_at(bytes.len() - event(n).body.len());
        let mut wire = Wire::open(gate.address).await;
        wire.write(head).await;
        // Its body is asked for, so from now on it is waited for.
        assert_eq!(wire.answer().await.unwrap().status, 100);
        in_lane.push((wire, body.to_vec()));
    }
    let (mut last, _) = in_lane.pop().unwrap();
    let answer = last.answer().await.unwrap();
    assert_eq!((answer.status, answer.outcome()), (429, "client_limited"));
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some("\"client\";q=1;w=3600")
    );
    // What comes at once needs no place.
    assert_eq!(gate.send(&event(100)).await.outcome(), "forwarded");
    for (mut wire, body) in in_lane {
        wire.write(&body).await;
        assert_eq!(wire.answer().await.unwrap().outcome(), "forwarded");
    }
}

#[tokio::test]
async fn a_place_in_the_lane_is_not_held_for_long() {
    let gate = limited("", Duration::from_millis(50)).await;
    let bytes = event(1).bytes();
    let mut wires = Vec::new();
    for _ in 0..2 * lane::PLACES {
        let mut wire = Wire::open(gate.address).await;
        wire.write(&bytes[..bytes.len() - 1]).await;
        wires.push(wire);
    }
    for mut wire in wires {
        let answer = wire.answer().await.unwrap();
        assert_eq!((answer.status, answer.outcome()), (408, "too_slow"));
    }
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
}

#[tokio::test]
async fn a_place_in_the_lane_is_given_back_when_its_sender_hangs_up_or_waits_for_the_app() {
    let (app, open) = App::held(200).await;
    let config = "[client_quota]\nrate = \"1/h\"\nburst = 1";
    let gate = Setup::walletwerk(app, config).start().await;
    assert_eq!(gate.send(&junk()).await.outcome(), "unauthentic");
    for _ in 0..lane::PLACES {
        let mut wire = Wire::open(gate.address).await;
        let event = event(1).with("Expect: 100-continue").bytes();
        wire.write(&event[..event.len() - event.len() / 2]).await;
    }
    let mut waiting = Vec::new();
    for n in 0..2 * lane::PLACES as u64 {
        let mut wire = Wire::open(gate.address).await;
        wire.write(&event(n).bytes()).await;
        waiting.push(wire);
    }
    gate.app.reached(2 * lane::PLACES).await;
    open.send_replace(true);
    for mut wire in waiting {
        assert_eq!(wire.answer().await.unwrap().outcome(), "forwarded");
    }
}
