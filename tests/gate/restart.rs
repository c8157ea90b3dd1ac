//! Stops, starts and kills: what was answered 2xx stays answered.
//!
//! `PASSGATE_KILLS` sets how often the process is killed under load.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::app::{App, Reply};
use crate::support::clock::HandClock;
use crate::support::gate::{Gate, Setup, open_store};
use crate::support::process::{Process, ended, event, signal};
use crate::support::sender::{Answer, Request, Session, card_event, read_answer};

/// A sender's way to the gateway.
struct Lane {
    to: SocketAddr,
    /// Connections are kept for as long as the gateway does.
    keeps: bool,
    open: Option<(TcpStream, Vec<u8>)>,
}

impl Lane {
    /// Whether there is somebody to send to.
    async fn is_open(&mut self) -> bool {
        if self.open.is_none() {
            let socket = TcpStream::connect(self.to).await.ok();
            self.open = socket.map(|socket| (socket, Vec::new()));
        }
        self.open.is_some()
    }

    async fn send(&mut self, request: &Request) -> Option<Answer> {
        let (mut socket, mut read) = self.open.take()?;
        socket.write_all(&request.bytes()).await.ok()?;
        let answer = read_answer(&mut socket, &mut read).await?;
        if self.keeps && answer.header("connection") != Some("close") {
            self.open = Some((socket, read));
        }
        Some(answer)
    }
}

/// How often the app saw each event, by its idempotency key.
fn seen(app: &App) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    for request in app.requests() {
        *seen
            .entry(request.header("idempotency-key").unwrap().to_owned())
            .or_default() += 1;
    }
    seen
}

/// What became of the events of all senders.
#[derive(Default)]
struct Sent {
    /// Answered 2xx.
    answered: Mutex<Vec<Request>>,
    /// Sent, and never answered.
    unanswered: Mutex<Vec<Request>>,
}

impl Sent {
    fn count(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    fn take(list: &Mutex<Vec<Request>>) -> Vec<Request> {
        std::mem::take(&mut *list.lock().unwrap())
    }
}

/// Senders that send new events, each over a connection of its own, until there is nobody to take them any more.
fn load(to: SocketAddr, numbers: Range<u64>, sent: &Arc<Sent>) -> JoinSet<()> {
    load_of(to, numbers, sent, 0)
}

/// The same, where so many of the eight senders keep their connections.
fn load_of(to: SocketAddr, numbers: Range<u64>, sent: &Arc<Sent>, keeping: usize) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    for lane in 0..8 {
        let (mine, sent) = (numbers.clone().skip(lane).step_by(8), Arc::clone(sent));
        let mut lane = Lane {
            to,
            keeps: lane < keeping,
            open: None,
        };
        senders.spawn(async move {
            for n in mine {
                if !lane.is_open().await {
                    return;
                }
                let request = event(n);
                match lane.send(&request).await {
                    Some(answer) if answer.status == 200 => {
                        sent.answered.lock().unwrap().push(request)
                    }
                    Some(answer) => assert_eq!(answer.status, 503, "{}", answer.outcome()),
                    // A kept connection may be closed just then, with somebody still there for a new one.
                    None => sent.unanswered.lock().unwrap().push(request),
                }
            }
        });
    }
    senders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop_and_a_start_whatever_was_answered_is_a_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let (path, clock) = (folder.path().join("store.redb"), Arc::new(HandClock::new()));
    let mut app = App::willing().await;
    for start in 0..3 {
        let gate = Setup::walletwerk(app, "")
            .over(open_store(&path, clock.clone()), clock.clone())
            .start()
            .await;
        let mut sender = Session::to(gate.address).await;
        for n in 0..(start + 1) * 20 {
            let answer = sender
                .ask(&Request::walletwerk(card_event(n), &format!("d{n}")))
                .await;
            let expected = if n < start * 20 {
                "duplicate"
            } else {
                "forwarded"
            };
            assert_eq!(answer.outcome(), expected, "start {start}: {n}");
        }
        clock.advance(Duration::from_secs(60));
        app = gate.retire().await;
    }
    assert_eq!(app.count(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_the_work_that_a_sender_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (path, clock) = (folder.path().join("store.redb"), Arc::new(HandClock::new()));
    let (open, gated) = watch::channel(false);
    let app =
        App::start(move |_, _| Reply::After(gated.clone(), Box::new(Reply::status(200)))).await;
    let start = |app| {
        let store = open_store(&path, clock.clone());
        Setup::walletwerk(app, "")
            .over(store, clock.clone())
            .start()
    };
    let gate: Gate = start(app).await;
    let event = Request::walletwerk(card_event(1), "d1");
    let mut session = Session::to(gate.address).await;
    session.write(&event).await;
    gate.app.reached(1).await;
    drop(session);
    gate.until("passgate_connections", |open| open == 0.0).await;
    let (address, admin) = (gate.address, gate.admin);
    let stop = tokio::spawn(gate.retire());
    // It takes no new connections and says so, but has not ended.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(Request::get("/readyz").send(admin).await.status, 503);
    assert!(!stop.is_finished());
    open.send(true).unwrap();
    let gate = start(stop.await.unwrap()).await;
    assert_eq!(gate.send(&event).await.outcome(), "duplicate");
    assert_eq!(gate.app.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_what_is_in_flight_finish_and_those_who_wait_for_it_share_its_end() {
    let (open, gated) = watch::channel(false);
    let app =
        App::start(move |_, _| Reply::After(gated.clone(), Box::new(Reply::status(200)))).await;
    let gate = Setup::walletwerk(app, "").start().await;
    let event = Request::walletwerk(card_event(1), "d1");
    let mut senders = Vec::new();
    for _ in 0..5 {
        let mut sender = Session::to(gate.address).await;
        sender.write(&event).await;
        senders.push(sender);
    }
    gate.app.reached(1).await;
    gate.until("passgate_connections", |open| open == 5.0).await;
    let address = gate.address;
    let stop = tokio::spawn(gate.retire());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    open.send(true).unwrap();
    let mut outcomes = Vec::new();
    for mut sender in senders {
        // Whose head was not yet read when the stop came is closed without an answer, and comes again.
        if let Some(answer) = sender.read().await {
            outcomes.push(answer.outcome().to_owned());
        }
    }
    outcomes.sort();
    assert_eq!(
        outcomes.last().map(String::as_str),
        Some("forwarded"),
        "{outcomes:?}"
    );
    let duplicates = outcomes
        .iter()
        .filter(|outcome| *outcome == "duplicate")
        .count();
    assert_eq!(duplicates, outcomes.len() - 1, "{outcomes:?}");
    assert_eq!(stop.await.unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_it_forgets_nothing_that_it_answered() {
    let kills = std::env::var("PASSGATE_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let app = App::willing().await;
    let process = Process::before(app.address);
    let sent: Arc<Sent> = Arc::default();
    let mut next = 0;
    for kill in 0..kills {
        let mut child = process.start().await;
        let before = sent.count();
        let mut senders = load(process.address, next..next + 1_000_000, &sent);
        next += 1_000_000;
        // At another point of the work each time.
        let at = before + fastrand::usize(1..200);
        while sent.count() < at {
            tokio::task::yield_now().await;
        }
        child.kill().await.unwrap();
        while let Some(sender) = senders.join_next().await {
            sender.unwrap();
        }
        assert!(sent.count() > before, "kill {kill} met no load");
    }
    let child = process.start().await;
    let sent_to_app = app.count();
    let mut sender = Session::to(process.address).await;
    let answered = Sent::take(&sent.answered);
    for (n, request) in answered.iter().enumerate() {
        let answer = sender.ask(request).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (200, "duplicate"),
            "{n} of {}",
            answered.len()
        );
    }
    assert_eq!(app.count(), sent_to_app, "a duplicate reached the app");
    // No sender sent anything twice, so neither did anybody else.
    let twice: Vec<_> = seen(&app)
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    // What was cut off comes again: a second time to the app only if the kill fell after the app's answer.
    for request in Sent::take(&sent.unanswered) {
        let answer = sender.ask(&request).await;
        let is_taken = ["forwarded", "duplicate"].contains(&answer.outcome());
        assert!(is_taken, "{}", answer.outcome());
        assert_eq!(sender.ask(&request).await.outcome(), "duplicate");
    }
    assert!(seen(&app).into_values().all(|times| times <= 2));
    let ids: HashSet<_> = answered
        .iter()
        .map(|request| request.body.clone())
        .collect();
    assert_eq!(ids.len(), answered.len());
    signal(&child, "-TERM");
    assert!(ended(child).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_at_the_app_when_it_was_killed_comes_once_more_and_under_one_key() {
    let (_never, gated) = watch::channel(false);
    let app = App::start(move |_, n| match n {
        0 => Reply::After(gated.clone(), Box::new(Reply::status(200))),
        _ => Reply::status(200),
    })
    .await;
    let process = Process::before(app.address);
    let mut child = process.start().await;
    let event = event(1);
    let mut sender = Session::to(process.address).await;
    sender.write(&event).await;
    app.reached(1).await;
    child.kill().await.unwrap();
    assert!(sender.read().await.is_none());
    let _child = process.start().await;
    for expected in ["forwarded", "duplicate"] {
        let answer = event.send(process.address).await;
        assert_eq!(answer.outcome(), expected);
    }
    assert_eq!(seen(&app).into_values().collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_end_under_load_it_loses_nothing_it_answered_and_exits_0() {
    end_under_load("").await;
    // Now new connections are taken for a while, and those that there are go on.
    end_under_load("drain_delay = \"300ms\"").await;
}

async fn end_under_load(server: &str) {
    let app = App::willing().await;
    let process = Process::written(app.address, server, "", "");
    let sent: Arc<Sent> = Arc::default();
    let child = process.start().await;
    let mut senders = load_of(process.address, 0..1_000_000, &sent, 4);
    while sent.count() < 100 {
        tokio::task::yield_now().await;
    }
    signal(&child, "-TERM");
    let status = ended(child).await;
    assert_eq!(status.code(), Some(0), "{status}");
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    let _child = process.start().await;
    let answered = Sent::take(&sent.answered);
    // Gently stopped, it leaves no window: the app saw exactly what was answered.
    assert_eq!(app.count(), answered.len());
    let mut sender = Session::to(process.address).await;
    for request in &answered {
        assert_eq!(sender.ask(request).await.outcome(), "duplicate");
    }
    assert_eq!(app.count(), answered.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_with_an_app_that_comes_and_goes_all_that_was_answered_arrives() {
    let kills = std::env::var("PASSGATE_KILLS").map_or(3, |kills| kills.parse().unwrap());
    for mode in ["spill", "queue"] {
        // Which runs of the gateway the app took each event from: each run has a target of its own.
        let accepted: Arc<Mutex<HashMap<String, Vec<String>>>> = Arc::default();
        let by_app = Arc::clone(&accepted);
        // Of every fifty requests it refuses ten, in one way or another, until it is back for good: what is
        // left of the queue is not to meet eight refusals in a row, as probes with their growing pauses.
        let is_back = Arc::new(AtomicBool::new(false));
        let for_good = Arc::clone(&is_back);
        let app = App::start(move |request, before| match before % 50 {
            n @ 0..10 if !for_good.load(Ordering::Relaxed) => match n {
                0..4 => Reply::Close,
                4..8 => Reply::status(503),
                _ => Reply::status(500),
            },
            _ => {
                let key = request.header("idempotency-key").unwrap().to_owned();
                let run = request.target().to_owned();
                by_app.lock().unwrap().entry(key).or_default().push(run);
                Reply::status(200)
            }
        })
        .await;
        let more = format!(
            "delivery = \"{mode}\"\n[route.queue]\nretry_first = \"10ms\"\nretry_max = \"50ms\""
        );
        let process = Process::with(app.address, &more);
        let sent: Arc<Sent> = Arc::default();
        let mut next = 0;
        let mut targets = Vec::new();
        for run in 0..kills {
            targets.push(process.aim_at(&format!("/run/{run}")));
            let mut child = process.start().await;
            let before = sent.count();
            let mut senders = load(process.address, next..next + 1_000_000, &sent);
            next += 1_000_000;
            let at = before + fastrand::usize(50..300);
            while sent.count() < at {
                tokio::task::yield_now().await;
            }
            child.kill().await.unwrap();
            while let Some(sender) = senders.join_next().await {
                sender.unwrap();
            }
        }
        is_back.store(true, Ordering::Relaxed);
        process.aim_at("/run/last");
        let child = process.start().await;
        let answered = Sent::take(&sent.answered);
        let mut sender = Session::to(process.address).await;
        let mut keys = Vec::new();
        for request in &answered {
            let answer = sender.ask(request).await;
            assert_eq!(
                (answer.status, answer.outcome()),
                (200, "duplicate"),
                "{mode}"
            );
            keys.push(request.body.clone());
        }
        let bodies = || -> HashSet<Vec<u8>> {
            let accepted = accepted.lock().unwrap();
            let requests = app.requests().into_iter();
            requests
                .filter(|request| accepted.contains_key(request.header("idempotency-key").unwrap()))
                .map(|request| request.body)
                .collect()
        };
        let began = Instant::now();
        loop {
            let taken = bodies();
            if keys.iter().all(|body| taken.contains(body)) {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{mode}: something is missing"
            );
            // What is still queued is delivered by another process, at its pace.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        signal(&child, "-TERM");
        assert!(ended(child).await.success());
        let accepted = accepted.lock().unwrap();
        for (event, runs) in accepted.iter() {
            let distinct: HashSet<_> = runs.iter().collect();
            assert_eq!(distinct.len(), runs.len(), "{mode}: {event} of {runs:?}");
        }
        // The app takes an event again only if a kill fell between its answer and our commit, however slow the disk
        // is just then: for one event of each sender, and for as many as the queue attempts or has to write down.
        for killed in &targets {
            let is_again = |runs: &&Vec<String>| {
                runs.split_last()
                    .is_some_and(|(_, before)| before.contains(killed))
            };
            let again = accepted.values().filter(is_again).count();
            assert!(
                again <= 8 + (4 * 16 + 64),
                "{mode}: {again} of {killed} came again"
            );
        }
    }
}

#[tokio::test]
async fn a_hangup_has_the_configuration_read_anew_and_ends_nothing() {
    let app = App::willing().await;
    let process = Process::before(app.address);
    let child = process.start().await;
    let answer = event(1).send(process.address).await;
    assert_eq!(answer.outcome(), "forwarded");
    // The file is as it was: without the signal nobody would read it.
    signal(&child, "-HUP");
    let reloads = "passgate_config_reloads_total{result=\"ok\"} 1";
    let looking = async {
        loop {
            let metrics = Request::get("/metrics").send(process.admin).await;
            if metrics.body.contains(reloads) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let followed = tokio::time::timeout(Duration::from_secs(10), looking).await;
    assert!(followed.is_ok(), "the signal was not followed");
    let again = event(2).send(process.address).await;
    assert_eq!(again.outcome(), "forwarded");
    signal(&child, "-TERM");
    assert!(ended(child).await.success());
}
