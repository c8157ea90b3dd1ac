//! The same event several times at once, and who ends up doing the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Answer, Request, Session, card_event};

/// Until so many connections of senders are open.
async fn connected(gate: &Gate, count: usize) {
    gate.until("passgate_connections", |open| open >= count as f64)
        .await;
}

fn outcomes(answers: &[Answer], outcome: &str) -> usize {
    answers
        .iter()
        .filter(|answer| answer.outcome() == outcome)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_at_once_one_is_forwarded_and_none_is_answered_before_the_app_has_answered()
{
    const SENDERS: usize = 200;
    let (open, gated) = watch::channel(false);
    let has_answered = Arc::new(AtomicBool::new(false));
    let app =
        App::start(move |_, _| Reply::After(gated.clone(), Box::new(Reply::status(202)))).await;
    let gate = Setup::walletwerk(app, "").start().await;
    let written = Arc::new(Barrier::new(SENDERS + 1));
    let mut senders = JoinSet::new();
    for n in 0..SENDERS {
        // Retries and replays together.
        let request = Request::walletwerk(card_event(1), if n % 2 == 0 { "d1" } else { "d2" });
        let (address, written, has_answered) =
            (gate.address, written.clone(), has_answered.clone());
        senders.spawn(async move {
            let mut session = Session::to(address).await;
            session.write(&request).await;
            written.wait().await;
            let answer = session.read().await.expect("an answer");
            assert!(
                has_answered.load(Ordering::SeqCst),
                "an answer before the app's"
            );
            answer
        });
    }
    written.wait().await;
    gate.app.reached(1).await;
    connected(&gate, SENDERS).await;
    has_answered.store(true, Ordering::SeqCst);
    open.send(true).unwrap();
    let answers = senders.join_all().await;
    assert_eq!(gate.app.count(), 1);
    assert_eq!(outcomes(&answers, "forwarded"), 1);
    assert_eq!(outcomes(&answers, "duplicate"), SENDERS - 1);
    for answer in &answers {
        let expected = if answer.outcome() == "forwarded" {
            202
        } else {
            200
        };
        assert_eq!(answer.status, expected);
    }
    assert_eq!(gate.metric("passgate_ledger_unwritten_keys").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_first_fails_exactly_one_takes_over_and_the_rest_wait_on_it() {
    const SENDERS: usize = 60;
    let (open, gated) = watch::channel(false);
    let at_once = Arc::new(AtomicUsize::new(0));
    let app = App::start(move |_, n| {
        let reply = if n < 3 {
            Reply::status(503)
        } else {
            Reply::status(200)
        };
        Reply::After(gated.clone(), Box::new(reply))
    })
    .await;
    let gate = Arc::new(Setup::walletwerk(app, "").start().await);
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (gate, at_once) = (Arc::clone(&gate), Arc::clone(&at_once));
        senders.spawn(async move {
            at_once.fetch_add(1, Ordering::SeqCst);
            gate.send(&Request::walletwerk(card_event(1), "d1")).await
        });
    }
    gate.app.reached(1).await;
    connected(&gate, SENDERS).await;
    open.send(true).unwrap();
    let answers = senders.join_all().await;
    assert_eq!(gate.app.count(), 4, "three failures and one success");
    assert_eq!(outcomes(&answers, "upstream_status"), 3);
    assert_eq!(outcomes(&answers, "forwarded"), 1);
    assert_eq!(outcomes(&answers, "duplicate"), SENDERS - 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_hangs_up_aborts_nothing_and_its_retry_is_a_duplicate() {
    let (open, gated) = watch::channel(false);
    let app =
        App::start(move |_, _| Reply::After(gated.clone(), Box::new(Reply::status(200)))).await;
    let gate = Setup::walletwerk(app, "").start().await;
    let event = Request::walletwerk(card_event(1), "d1");
    let mut session = Session::to(gate.address).await;
    session.write(&event).await;
    gate.app.reached(1).await;
    drop(session);
    gate.until("passgate_connections", |open| open == 0.0).await;
    let mut retry = Session::to(gate.address).await;
    retry.write(&event).await;
    connected(&gate, 1).await;
    open.send(true).unwrap();
    let answer = retry.read().await.unwrap();
    assert_eq!((answer.status, answer.outcome()), (200, "duplicate"));
    assert_eq!(gate.app.count(), 1);
    let attempts = r#"passgate_attempts_total{route="walletwerk",result="delivered"}"#;
    assert_eq!(gate.metric(attempts).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_hangs_up_before_its_body_is_there_leaves_nothing() {
    let gate = Gate::willing().await;
    let event = Request::walletwerk(card_event(1), "d1");
    let bytes = event.bytes();
    for cut in [40, bytes.len() - 200, bytes.len() - 1] {
        let mut cut_off = event.clone();
        cut_off.line = String::from_utf8(bytes[..cut].to_vec()).unwrap();
        let mut socket = tokio::net::TcpStream::connect(gate.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, &bytes[..cut])
            .await
            .unwrap();
        drop(socket);
    }
    assert_eq!(gate.send(&event).await.outcome(), "forwarded");
    assert_eq!(gate.app.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_owner_times_out_whoever_waits_takes_over() {
    let (_never, gated) = watch::channel(false);
    let app = App::start(move |_, n| match n {
        0 => Reply::After(gated.clone(), Box::new(Reply::status(200))),
        _ => Reply::status(200),
    })
    .await;
    let gate = Setup::walletwerk(app, "timeout = \"1s\"").start().await;
    let event = Request::walletwerk(card_event(1), "d1");
    let mut owner = Session::to(gate.address).await;
    owner.write(&event).await;
    gate.app.reached(1).await;
    let waiter = gate.send(&event).await;
    let owner = owner.read().await.unwrap();
    assert_eq!((owner.status, owner.outcome()), (504, "upstream_timeout"));
    assert_eq!((waiter.status, waiter.outcome()), (200, "forwarded"));
    assert_eq!(gate.app.count(), 2);
    let seen = gate.app.requests();
    assert_eq!(
        seen[0].header("idempotency-key"),
        seen[1].header("idempotency-key")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_events_wait_for_nothing_but_themselves() {
    const EVENTS: usize = 100;
    let (open, gated) = watch::channel(false);
    let app =
        App::start(move |_, _| Reply::After(gated.clone(), Box::new(Reply::status(200)))).await;
    let gate = Arc::new(Setup::walletwerk(app, "").start().await);
    let mut senders = JoinSet::new();
    for n in 0..EVENTS {
        let gate = Arc::clone(&gate);
        // One id for all of them: an id alone is no identity.
        senders.spawn(async move {
            gate.send(&Request::walletwerk(card_event(n as u64), "d1"))
                .await
        });
    }
    // All of them are at the app before it answers the first.
    gate.app.reached(EVENTS).await;
    open.send(true).unwrap();
    let answers = senders.join_all().await;
    assert_eq!(outcomes(&answers, "forwarded"), EVENTS);
    assert_eq!(gate.app.count(), EVENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_copy_of_an_event_at_work_neither_waits_for_it_nor_ends_it() {
    let (open, gated) = watch::channel(false);
    let app =
        App::start(move |_, _| Reply::After(gated.clone(), Box::new(Reply::status(200)))).await;
    let gate = Setup::walletwerk(app, "").start().await;
    let event = Request::walletwerk(card_event(1), "d1");
    let mut owner = Session::to(gate.address).await;
    owner.write(&event).await;
    gate.app.reached(1).await;
    let forged = event
        .clone()
        .without("x-walletwerk-signature")
        .with(&format!("X-WalletWerk-Signature: {}", "0".repeat(64)));
    assert_eq!(gate.send(&forged).await.outcome(), "unauthentic");
    assert_eq!(gate.app.count(), 1);
    open.send(true).unwrap();
    assert_eq!(owner.read().await.unwrap().outcome(), "forwarded");
    assert_eq!(gate.send(&event).await.outcome(), "duplicate");
}
