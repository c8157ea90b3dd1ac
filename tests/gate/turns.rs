//! Stored events that are delivered while others come in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Request, Session, card_event};

/// Stored events of one route that are begun at one time, by a runtime of one thread.
const TURNS: usize = 16;

/// How long one counts at the most.
const TURN_TIME: Duration = Duration::from_millis(2);

/// Two routes that store, and one that does not.
const ROUTES: &str = r#"
[[route]]
provider = "walletwerk"
name = "stored"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://@APP@/stored"
delivery = "queue"
timeout = "12s"
queue.max_in_flight = 64

[[route]]
provider = "walletwerk"
name = "other"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://@APP@/other"
delivery = "queue"

[[route]]
provider = "walletwerk"
name = "live"
secrets = ["env:WALLETWERK_SECRET"]
upstream = "http://@APP@/live"
delivery = "inline"
"#;

/// A gate whose app never answers on the one path, and on the other only once the sender says `true`.
async fn gate(never: &'static str, held: &'static str) -> (Gate, watch::Sender<bool>) {
    let (open, is_open) = watch::channel(false);
    let app = App::start(move |request, _| match request.target() {
        target if target == never => Reply::Never,
        target if target == held => Reply::After(is_open.clone(), Box::new(Reply::status(200))),
        _ => Reply::status(200),
    })
    .await;
    (Setup::config(app, ROUTES).start().await, open)
}

/// An event for this route.
fn event(route: &str, n: u64) -> Request {
    let mut request = Request::walletwerk(card_event(n), &format!("{route}{n}"));
    request.line = format!("POST /webhooks/{route} HTTP/1.1");
    request
}

impl Gate {
    async fn store(&self, route: &str, count: u64) {
        for n in 0..count {
            assert_eq!(self.send(&event(route, n)).await.outcome(), "queued");
        }
    }

    /// How many events the app was sent on this path.
    fn attempts_at(&self, path: &str) -> usize {
        let requests = self.app.requests();
        let there = requests.iter().filter(|request| request.target() == path);
        there.count()
    }

    async fn attempts_reach(&self, path: &str, count: usize) {
        let reaching = async {
            while self.attempts_at(path) < count {
                self.app.reached(self.app.count() + 1).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reaching).await;
        let there = self.attempts_at(path);
        assert!(reached.is_ok(), "only {there} at {path}");
    }

    /// Lets time pass until there is one.
    async fn a_probe_is_made(&self) {
        let before = self.app.count();
        for _ in 0..200 {
            self.clock.advance(Duration::from_secs(1));
            let more = self.app.reached(before + 1);
            if tokio::time::timeout(Duration::from_millis(100), more)
                .await
                .is_ok()
            {
                return;
            }
        }
        panic!("no probe was made");
    }

    /// Live events come and go, and with each the worker has the time to begin what it may.
    async fn others_pass(&self, from: u64) {
        for n in from..from + 5 {
            assert_eq!(self.send(&event("live", n)).await.outcome(), "forwarded");
        }
    }
}

#[tokio::test]
async fn while_events_come_in_so_many_stored_ones_are_begun_and_a_slow_app_has_all_its_places() {
    let (gate, _open) = gate("/stored", "").await;
    gate.store("stored", 70).await;
    for (turn, begun) in [TURNS, 2 * TURNS, 3 * TURNS, 64].into_iter().enumerate() {
        gate.attempts_reach("/stored", begun).await;
        gate.others_pass(1_000 * turn as u64).await;
        assert_eq!(gate.attempts_at("/stored"), begun);
        gate.clock.advance(TURN_TIME);
    }
}

#[tokio::test]
async fn an_event_that_is_at_work_for_long_is_one_that_comes_in_and_after_it_nothing_is_held_back()
{
    let (gate, open) = gate("/stored", "/live").await;
    let mut sender = Session::to(gate.address).await;
    sender.write(&event("live", 0)).await;
    gate.attempts_reach("/live", 1).await;
    gate.store("stored", 60).await;
    gate.attempts_reach("/stored", TURNS).await;
    gate.clock.advance(Duration::from_secs(5));
    gate.attempts_reach("/stored", 2 * TURNS).await;
    open.send(true).unwrap();
    assert_eq!(sender.read().await.unwrap().outcome(), "forwarded");
    assert_eq!(gate.attempts_at("/stored"), 2 * TURNS);
    gate.clock.advance(Duration::from_secs(1));
    gate.attempts_reach("/stored", 60).await;
}

#[tokio::test]
async fn events_that_came_in_before_a_calm_hold_nothing_back_when_the_app_is_back() {
    let (back, is_back) = watch::channel(false);
    let taken = AtomicUsize::new(0);
    let app = App::start(move |_, _| match *is_back.borrow() {
        false => Reply::Close,
        // One tells that it is back, and none of the others comes to its end.
        true if taken.fetch_add(1, Ordering::Relaxed) == 0 => Reply::status(200),
        true => Reply::Never,
    })
    .await;
    let gate = Setup::config(app, ROUTES).start().await;
    gate.store("stored", 40).await;
    // The first may have been on its way already; before the second the worker saw all that came in.
    for _ in 0..2 {
        gate.a_probe_is_made().await;
    }
    back.send(true).unwrap();
    let before = gate.app.count();
    gate.a_probe_is_made().await;
    gate.app.reached(before + 40).await;
}

#[tokio::test]
async fn all_that_is_stored_arrives_though_others_never_stop_coming() {
    let (gate, _open) = gate("", "/live").await;
    // Somebody is always at work, and no time passes: a turn ends with its result or never.
    let mut sender = Session::to(gate.address).await;
    sender.write(&event("live", 0)).await;
    gate.attempts_reach("/live", 1).await;
    let coming = async {
        let mut n = 0;
        loop {
            assert_eq!(gate.send(&event("other", n)).await.outcome(), "queued");
            n += 1;
        }
    };
    let arriving = async {
        gate.store("stored", 100).await;
        gate.attempts_reach("/stored", 100).await;
    };
    tokio::select! {
        () = arriving => {}
        () = coming => {}
    }
    gate.attempts_reach("/other", 1).await;
}

#[tokio::test]
async fn a_route_whose_app_is_slow_keeps_no_other_from_its_turns() {
    let (gate, _open) = gate("/stored", "").await;
    gate.store("stored", 40).await;
    gate.attempts_reach("/stored", TURNS).await;
    gate.store("other", 40).await;
    gate.attempts_reach("/other", 40).await;
    assert_eq!(gate.attempts_at("/stored"), TURNS);
}
