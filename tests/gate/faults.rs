//! A store in trouble: said aloud, never guessed around, and over by itself once the disk is well.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::tuning::Tuning;

use crate::disk::{Disk, Fault, How, Kind};
use crate::support::app::App;
use crate::support::clock::HandClock;
use crate::support::gate::{Gate, Setup, open_store};
use crate::support::sender::{Request, Session, card_event};

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

fn store_on(disk: &Disk, clock: &Arc<HandClock>) -> Arc<Embedded> {
    let tuning = Tuning {
        retry_first: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        ..Tuning::default()
    };
    Arc::new(Embedded::open_on(Arc::new(disk.clone()), clock.clone(), tuning, None).unwrap())
}

async fn gate_on(disk: &Disk, clock: &Arc<HandClock>, app: App) -> Gate {
    let store = store_on(disk, clock);
    Setup::walletwerk(app, "")
        .over(store, clock.clone())
        .start()
        .await
}

async fn readiness(gate: &Gate) -> (u16, String) {
    let answer = Request::get("/readyz").send(gate.admin).await;
    (answer.status, answer.body)
}

async fn until_ready(gate: &Gate) {
    let began = Instant::now();
    while readiness(gate).await.0 != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            readiness(gate).await
        );
        tokio::task::yield_now().await;
    }
}

async fn refused_for_the_store(gate: &Gate, request: &Request) {
    let answer = gate.send(request).await;
    assert_eq!(
        (answer.status, answer.outcome()),
        (503, "store_unavailable")
    );
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1);
    assert!(answer.body.contains("store_unavailable"), "{}", answer.body);
}

/// One fault while an event is settled, and the way out of it.
async fn endure(kind: Kind, how: How) {
    let context = format!("{kind:?} {how:?}");
    let (disk, clock) = (Disk::default(), Arc::new(HandClock::new()));
    let gate = gate_on(&disk, &clock, App::willing().await).await;
    assert_eq!(
        gate.send(&event(0)).await.outcome(),
        "forwarded",
        "{context}"
    );
    disk.fail(Fault {
        kind,
        after: 0,
        for_ever: true,
        how,
    });
    // The app has it, so the answer is yes.
    let answer = gate.send(&event(1)).await;
    assert_eq!(
        (answer.status, answer.outcome()),
        (200, "forwarded"),
        "{context}"
    );
    assert!(disk.fault_met(), "{context}");
    assert_eq!(readiness(&gate).await.0, 503, "{context}");
    assert_eq!(
        Request::get("/livez").send(gate.admin).await.status,
        200,
        "{context}"
    );
    assert_eq!(gate.metric("passgate_store_up").await, 0.0, "{context}");
    // What is new is not taken, what is settled is known, written or not.
    for n in 10..15 {
        refused_for_the_store(&gate, &event(n)).await;
    }
    for n in [0, 1] {
        let answer = gate.send(&event(n)).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (200, "duplicate"),
            "{context}: {n}"
        );
    }
    assert_eq!(gate.app.count(), 2, "{context}");
    assert_eq!(
        gate.metric("passgate_ledger_unwritten_keys").await,
        2.0,
        "{context}"
    );
    disk.heal();
    until_ready(&gate).await;
    assert_eq!(
        gate.metric("passgate_ledger_unwritten_keys").await,
        0.0,
        "{context}"
    );
    assert_eq!(gate.metric("passgate_store_up").await, 1.0, "{context}");
    assert!(
        gate.metric("passgate_store_faults").await >= 1.0,
        "{context}"
    );
    for (n, expected) in [
        (0, "duplicate"),
        (1, "duplicate"),
        (10, "forwarded"),
        (10, "duplicate"),
    ] {
        assert_eq!(
            gate.send(&event(n)).await.outcome(),
            expected,
            "{context}: {n}"
        );
    }
    // And it is all on disk, the power going this very moment.
    disk.cut();
    let logged = gate.logged.clone();
    let app = gate.retire().await;
    let logged = logged.text();
    assert!(
        logged.contains("could not be settled"),
        "{context}: {logged}"
    );
    disk.restart(&mut fastrand::Rng::with_seed(1));
    let gate = gate_on(&disk, &clock, app).await;
    for n in [0, 1, 10] {
        assert_eq!(
            gate.send(&event(n)).await.outcome(),
            "duplicate",
            "{context}: {n}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_settled_is_accepted_and_nothing_else_is_until_the_disk_is_well() {
    endure(Kind::Sync, How::Error).await;
    endure(Kind::Write, How::Error).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_while_writing_is_endured_in_the_same_way() {
    endure(Kind::Write, How::Full).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_below_the_store_is_endured_in_the_same_way() {
    endure(Kind::Sync, How::Panic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failed_sync_is_over_by_itself() {
    let (disk, clock) = (Disk::default(), Arc::new(HandClock::new()));
    let gate = gate_on(&disk, &clock, App::willing().await).await;
    for n in 0..20 {
        disk.fail(Fault {
            kind: Kind::Sync,
            after: 0,
            for_ever: false,
            how: How::Error,
        });
        assert_eq!(gate.send(&event(n)).await.status, 200, "{n}");
        until_ready(&gate).await;
    }
    for n in 0..20 {
        assert_eq!(gate.send(&event(n)).await.outcome(), "duplicate", "{n}");
    }
    assert_eq!(gate.app.count(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_delays_no_answer_beyond_its_time_and_is_said_to_hang() {
    let (disk, clock) = (Disk::default(), Arc::new(HandClock::new()));
    let gate = gate_on(&disk, &clock, App::willing().await).await;
    let (held, reached) = channel();
    disk.hold_syncs(held);
    let mut sender = Session::to(gate.address).await;
    sender.write(&event(1)).await;
    tokio::task::spawn_blocking(move || reached.recv().unwrap())
        .await
        .unwrap();
    assert_eq!(readiness(&gate).await.0, 200, "a sync may take its time");
    clock.advance(Duration::from_millis(3_001));
    let (status, body) = readiness(&gate).await;
    assert_eq!(status, 503);
    assert!(body.contains("hangs"), "{body}");
    refused_for_the_store(&gate, &event(2)).await;
    let answer = sender.read().await.unwrap();
    assert_eq!((answer.status, answer.outcome()), (200, "forwarded"));
    disk.release_syncs();
    until_ready(&gate).await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "duplicate");
    assert_eq!(gate.send(&event(2)).await.outcome(), "forwarded");
    assert_eq!(gate.app.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_leaves_before_the_event_is_synced() {
    let (disk, clock) = (Disk::default(), Arc::new(HandClock::new()));
    let gate = gate_on(&disk, &clock, App::willing().await).await;
    let (held, reached) = channel();
    disk.hold_syncs(held);
    let is_released = Arc::new(AtomicBool::new(false));
    let mut sender = Session::to(gate.address).await;
    sender.write(&event(1)).await;
    let seen = Arc::clone(&is_released);
    let answer = tokio::spawn(async move {
        let answer = sender.read().await.unwrap();
        assert!(seen.load(Ordering::SeqCst), "it was answered before");
        answer
    });
    tokio::task::spawn_blocking(move || reached.recv().unwrap())
        .await
        .unwrap();
    // Many answers of another listener give a hasty one the time to show.
    for _ in 0..50 {
        assert_eq!(readiness(&gate).await.0, 200);
    }
    is_released.store(true, Ordering::SeqCst);
    disk.release_syncs();
    assert_eq!(answer.await.unwrap().outcome(), "forwarded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_the_power_going_at_that_very_moment() {
    let (disk, clock) = (Disk::default(), Arc::new(HandClock::new()));
    let mut app = App::willing().await;
    let mut rng = fastrand::Rng::with_seed(1);
    for n in 0..40 {
        let gate = gate_on(&disk, &clock, app).await;
        let mut sender = Session::to(gate.address).await;
        for before in 0..n {
            let again = sender.ask(&event(before)).await;
            assert_eq!(again.outcome(), "duplicate", "{before} after cut {n}");
        }
        assert_eq!(sender.ask(&event(n)).await.outcome(), "forwarded", "{n}");
        disk.cut();
        drop(sender);
        app = gate.retire().await;
        disk.restart(&mut rng);
    }
    assert_eq!(app.count(), 40);
}

/// A small disk of its own, where the machine lets us have one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        let status = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size}"),
                "passgate-test",
            ])
            .arg(folder)
            .stderr(std::process::Stdio::null())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then(|| Self(folder.to_owned()))
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let filler = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.0.join("filler"));
        let mut file = filler.unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_disk_that_is_full_is_said_aloud_and_is_over_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "2924k") else {
        println!("skipped: no tmpfs can be mounted here");
        return;
    };
    let clock = Arc::new(HandClock::new());
    let path = folder.path().join("store.redb");
    let start = |app| {
        let store = open_store(&path, clock.clone());
        Setup::walletwerk(app, "")
            .over(store, clock.clone())
            .start()
    };
    let gate = start(App::willing().await).await;
    disk.fill();
    let mut sender = Session::to(gate.address).await;
    let mut taken = 0;
    loop {
        let answer = sender.ask(&event(taken)).await;
        if answer.status != 200 {
            assert_eq!(
                (answer.status, answer.outcome()),
                (503, "store_unavailable")
            );
            break;
        }
        taken += 1;
        assert!(taken < 100_000, "the disk does not fill up");
    }
    assert_eq!(gate.app.count() as u64, taken);
    assert!(taken > 0);
    assert_eq!(readiness(&gate).await.0, 503);
    // The first ones and the last.
    let some = |taken: u64| (0..taken).filter(move |n| *n < 100 || taken - n < 200);
    for n in some(taken) {
        assert_eq!(
            sender.ask(&event(n)).await.outcome(),
            "duplicate",
            "{n} of {taken}, full"
        );
    }
    disk.free();
    until_ready(&gate).await;
    assert_eq!(gate.send(&event(taken)).await.outcome(), "forwarded");
    drop(sender);
    let gate = start(gate.retire().await).await;
    for n in some(taken + 1) {
        assert_eq!(
            gate.send(&event(n)).await.outcome(),
            "duplicate",
            "{n} of {taken}, restarted"
        );
    }
    drop(gate.retire().await);
}

/// What the store's file had room for is its own, also what it had before a stop and gave back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_that_others_filled_events_are_delivered_and_settled_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "64m") else {
        println!("skipped: no tmpfs can be mounted here");
        return;
    };
    let clock = Arc::new(HandClock::new());
    let mut next = 0;
    for fills_first in [false, true, true] {
        if fills_first {
            disk.fill();
        }
        let store = open_store(&folder.path().join("store.redb"), clock.clone());
        let setup = Setup::walletwerk(App::willing().await, "");
        let gate = setup.over(store, clock.clone()).start().await;
        disk.fill();
        let mut sender = Session::to(gate.address).await;
        for n in next..next + 500 {
            assert_eq!(sender.ask(&event(n)).await.outcome(), "forwarded", "{n}");
        }
        next += 500;
        assert_eq!(readiness(&gate).await.0, 200);
        drop(sender);
        drop(gate.retire().await);
    }
}

/// A reload whose store fails after so many writes, and what becomes of it without anybody's doing.
async fn reload_that_fails_after(writes: u64) {
    let (disk, clock) = (Disk::default(), Arc::new(HandClock::new()));
    let folder = tempfile::tempdir().unwrap();
    let (file, app) = (folder.path().join("config.toml"), App::willing().await);
    let address = app.address;
    let says = |remember: &str, names: &[&str]| {
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nremember = \"{remember}\"\n"
        );
        for name in names {
            text += &format!(
                "[[route]]\nname = \"{name}\"\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://{}/\"\n",
                address
            );
        }
        std::fs::write(&file, text).unwrap();
    };
    says("30d", &["one"]);
    let gate = Setup::from_file(app, &file)
        .over(store_on(&disk, &clock), clock.clone())
        .start()
        .await;
    disk.fail(Fault {
        kind: Kind::Write,
        after: writes,
        for_ever: true,
        how: How::Error,
    });
    says("20d", &["one", "two", "three"]);
    let answer = gate.admin_post("reload", None).await;
    assert_ne!(answer.status, 200, "{writes}");
    assert!(disk.fault_met());
    let to_three = Request {
        line: "POST /webhooks/three HTTP/1.1".to_owned(),
        ..event(3)
    };
    assert_eq!(gate.send(&to_three).await.status, 404);
    disk.heal();
    let began = Instant::now();
    while gate.send(&to_three).await.status == 404 {
        assert!(began.elapsed() < Duration::from_secs(60), "{writes}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_reload_that_the_store_failed_is_made_again_by_itself() {
    tokio::join!(
        reload_that_fails_after(0),
        reload_that_fails_after(6),
        reload_that_fails_after(12),
    );
}
