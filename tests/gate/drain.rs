//! The end: who is told of it, who is still served, and when it is over.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::app::App;
use crate::support::process::{Process, Said, ended, event, signal};
use crate::support::sender::{Request, Session};

async fn until_red(admin: SocketAddr) {
    let began = Instant::now();
    loop {
        let ready = Request::get("/readyz").send(admin).await;
        if ready.status == 503 {
            assert!(ready.body.contains("draining"), "{}", ready.body);
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{}", ready.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_delay_lasts_it_says_that_it_ends_and_still_serves() {
    let app = App::willing().await;
    let process = Process::written(app.address, "drain_delay = \"10min\"", "", "");
    let child = process.start().await;
    let mut kept = Session::to(process.address).await;
    let before = kept.ask(&event(1)).await;
    assert_eq!(before.header("connection"), None);
    signal(&child, "-TERM");
    until_red(process.admin).await;
    // A connection that was kept is served once more, and so is a new one; neither is kept any longer.
    let answer = kept.ask(&event(2)).await;
    assert_eq!(answer.outcome(), "forwarded");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(kept.read().await.is_none());
    let mut new = Session::to(process.address).await;
    let answer = new.ask(&event(3)).await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(new.read().await.is_none());
    // The second signal is the operator's impatience.
    signal(&child, "-TERM");
    assert_eq!(ended(child).await.code(), Some(0));
    assert_eq!(app.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_delay_nobody_new_is_taken_and_what_is_in_flight_finishes() {
    let (app, open) = App::held(200).await;
    let process = Process::written(app.address, "drain_delay = \"200ms\"", "", "");
    let child = process.start().await;
    let mut sender = Session::to(process.address).await;
    sender.write(&event(1)).await;
    app.reached(1).await;
    signal(&child, "-TERM");
    until_red(process.admin).await;
    let began = Instant::now();
    while TcpStream::connect(process.address).await.is_ok() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it takes connections"
        );
        tokio::task::yield_now().await;
    }
    open.send(true).unwrap();
    let answer = sender.read().await.unwrap();
    assert_eq!(answer.outcome(), "forwarded");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(ended(child).await.code(), Some(0));
    let _child = process.start().await;
    assert_eq!(event(1).send(process.address).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_in_time_is_left_unanswered_and_comes_again() {
    let (app, open) = App::held(200).await;
    let process = Process::written(app.address, "drain_timeout = \"100ms\"", "", "");
    let mut command = process.command();
    command.stdout(Stdio::piped());
    let mut child = process.started(command).await;
    let said = Said::of(&mut child);
    let (mut sender, request) = (Session::to(process.address).await, event(1));
    sender.write(&request).await;
    app.reached(1).await;
    signal(&child, "-TERM");
    assert_eq!(ended(child).await.code(), Some(0));
    assert!(sender.read().await.is_none());
    said.until("stopped before everything in flight had ended")
        .await;
    open.send(true).unwrap();
    let _child = process.start().await;
    assert_eq!(request.send(process.address).await.outcome(), "forwarded");
}
