//! One process after the other on one store: a rolling update starts the next while the last one drains.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::app::{App, Reply};
use crate::support::process::{Process, Said, ended, event, signal};

const WAITS: &str = "another process has the store; waiting for it to end";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_one_store_gives_up_and_harms_nothing() {
    let app = App::willing().await;
    let process = Process::before(app.address);
    let child = process.start().await;
    assert_eq!(event(1).send(process.address).await.outcome(), "forwarded");
    for lock_wait in ["0s", "300ms"] {
        let began = Instant::now();
        let (code, said) = process.successor(lock_wait).refused().await;
        assert_eq!(code, 75, "{said}");
        assert!(said.contains("passgate.redb"), "{said}");
        assert!(said.contains("another process"), "{said}");
        let waited = usize::from(lock_wait != "0s");
        assert_eq!(said.matches(WAITS).count(), waited, "{said}");
        assert!(waited == 0 || began.elapsed() >= Duration::from_millis(300));
    }
    // The first goes on as if nothing had been.
    let later = event(2);
    assert_eq!(later.send(process.address).await.outcome(), "forwarded");
    signal(&child, "-TERM");
    assert!(ended(child).await.success());
    let _child = process.start().await;
    assert_eq!(later.send(process.address).await.outcome(), "duplicate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_waits_for_the_old_one_and_goes_on_with_what_it_left() {
    let (app, open) = App::held(200).await;
    let process = Process::before(app.address);
    let old = process.start().await;
    let (first, to) = (event(1), process.address);
    let held = first.clone();
    let sender = tokio::spawn(async move { held.send(to).await });
    app.reached(1).await;
    let next = process.successor("20s");
    let mut new = next.command().stdout(Stdio::piped()).spawn().unwrap();
    let said = Said::of(&mut new);
    said.until(WAITS).await;
    signal(&old, "-TERM");
    // The old one still has an event with the app, so the new one has to wait on.
    let began = Instant::now();
    while tokio::net::TcpStream::connect(to).await.is_ok() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it takes connections"
        );
        tokio::task::yield_now().await;
    }
    assert!(!next.is_ready().await);
    open.send(true).unwrap();
    assert_eq!(sender.await.unwrap().outcome(), "forwarded");
    assert!(ended(old).await.success());
    next.until_ready(&mut new).await;
    assert_eq!(said.with(WAITS).len(), 1);
    assert_eq!(first.send(next.address).await.outcome(), "duplicate");
    assert_eq!(app.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_waits_for_its_turn_can_be_told_to_stop() {
    let app = App::start(|_, _| Reply::Never).await;
    let process = Process::before(app.address);
    let _old = process.start().await;
    let next = process.successor("10min");
    let mut new = next.command().stdout(Stdio::piped()).spawn().unwrap();
    let said = Said::of(&mut new);
    said.until(WAITS).await;
    signal(&new, "-TERM");
    assert_eq!(ended(new).await.code(), Some(0));
}
