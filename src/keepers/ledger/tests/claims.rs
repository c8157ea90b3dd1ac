//! What a claimant is told, and what becomes of claims and of those who wait.

use super::*;

// === claims and those who wait ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_claimants_at_once_one_is_first_and_the_others_share_its_end() {
    for bench in Bench::each() {
        let barrier = Arc::new(Barrier::new(64));
        let mut claimants = JoinSet::new();
        for _ in 0..64 {
            let (barrier, claimant) = (Arc::clone(&barrier), bench.claimant(plain(1), patient()));
            claimants.spawn(async move {
                barrier.wait().await;
                claimant.await
            });
        }
        let Some(Ok(Ok(claim))) = claimants.join_next().await else {
            panic!(
                "{}: somebody was answered before the first was done",
                bench.name
            );
        };
        bench.waiting(63).await;
        assert!(claimants.try_join_next().is_none(), "{}", bench.name);
        bench.settle(claim).await;
        while let Some(claimed) = claimants.join_next().await {
            assert_eq!(label(&claimed.unwrap()), "duplicate", "{}", bench.name);
        }
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_claim_is_taken_over_by_exactly_one_of_those_who_wait() {
    for bench in Bench::each() {
        let mut claim = bench.first(plain(1)).await;
        let mut claimants = JoinSet::new();
        for _ in 0..16 {
            claimants.spawn(bench.claimant(plain(1), patient()));
        }
        for left in (0..16).rev() {
            bench.waiting(left + 1).await;
            drop(claim);
            let taken = claimants.join_next().await.unwrap().unwrap();
            let Ok(taken) = taken else {
                panic!("{}: {}", bench.name, label(&taken));
            };
            claim = taken;
            bench.waiting(left).await;
            assert!(claimants.try_join_next().is_none(), "{}", bench.name);
        }
        drop(claim);
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

#[tokio::test]
async fn who_waited_and_has_no_time_for_the_work_takes_nothing_over_and_leaves_the_event_free() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        let waiter = tokio::spawn(bench.claimant(plain(1), without_time_to_work()));
        bench.waiting(1).await;
        drop(claim);
        assert_eq!(label(&waiter.await.unwrap()), "in_flight", "{}", bench.name);
        assert_eq!(bench.told(plain(1)).await, "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn who_runs_out_of_time_is_sent_away_and_the_owner_keeps_its_claim() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        assert_eq!(bench.told(plain(1)).await, "in_flight", "{}", bench.name);
        assert_eq!(bench.ledger.waiting.load(Ordering::SeqCst), 0);
        bench.settle(claim).await;
        assert_eq!(bench.told(plain(1)).await, "duplicate", "{}", bench.name);
    }
}

#[tokio::test]
async fn a_panic_of_the_owner_releases_its_claim() {
    for bench in Bench::each() {
        let owner = bench.claimant(plain(1), patient());
        let owner = tokio::spawn(async move {
            let Ok(_claim) = owner.await else {
                return;
            };
            std::panic::resume_unwind(Box::new("the owner's own trouble"));
        });
        assert!(owner.await.unwrap_err().is_panic());
        assert_eq!(bench.told(plain(1)).await, "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn an_aborted_owner_releases_its_claim_to_whoever_waits() {
    for bench in Bench::each() {
        let owner = bench.claimant(plain(1), patient());
        let (owns, owned) = tokio::sync::oneshot::channel();
        let owner = tokio::spawn(async move {
            let _claim = owner.await;
            let _ = owns.send(());
            std::future::pending::<()>().await;
        });
        owned.await.unwrap();
        let waiter = tokio::spawn(bench.claimant(plain(1), patient()));
        bench.waiting(1).await;
        owner.abort();
        assert_eq!(label(&waiter.await.unwrap()), "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn nobody_can_cancel_a_settle() {
    for bench in Bench::each() {
        // Neither who drops it …
        drop(bench.first(plain(1)).await.settle(bench.clock.now()));
        // … nor who is aborted while waiting for it …
        let settling = bench.first(plain(2)).await.settle(bench.clock.now());
        let waiter = tokio::spawn(settling.answered());
        waiter.abort();
        let _ = waiter.await;
        // … nor who gives up.
        let settling = bench.first(plain(3)).await.settle(bench.clock.now());
        let _ = tokio::time::timeout(Duration::ZERO, settling.answered()).await;
        for n in 1..=3 {
            let again = bench.claim(plain(n), patient()).await;
            assert_eq!(label(&again), "duplicate", "{}: {n}", bench.name);
        }
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

#[tokio::test]
async fn of_those_who_wait_no_more_than_the_bound_are_kept_waiting() {
    let bench = Bench::memory();
    let claim = bench.first(plain(1)).await;
    let mut claimants = JoinSet::new();
    for _ in 0..WAITING_MAX {
        claimants.spawn(bench.claimant(plain(1), patient()));
    }
    bench.waiting(WAITING_MAX).await;
    let beyond = bench.claim(plain(1), patient()).await;
    assert_eq!(label(&beyond), "in_flight");
    // The bound is on waiting: an event that nobody is at needs no place.
    drop(bench.first(plain(2)).await);
    bench.settle(claim).await;
    while let Some(claimed) = claimants.join_next().await {
        assert_eq!(label(&claimed.unwrap()), "duplicate");
    }
    assert_eq!(bench.ledger.waiting.load(Ordering::SeqCst), 0);
}

// === what is the same event ===

#[tokio::test]
async fn the_keys_decide_what_is_the_same_event() {
    use Duplicate::{Content, Retry};
    let known = keys(1, 1, Some("d1"));
    let table = [
        ("the same again", known, Some(Retry)),
        (
            "its content under another id",
            keys(1, 1, Some("d2")),
            Some(Content),
        ),
        ("its content without an id", keys(1, 1, None), Some(Retry)),
        (
            "its id and facts, serialised anew",
            keys(2, 1, Some("d1")),
            Some(Retry),
        ),
        ("its id on another event", keys(3, 3, Some("d1")), None),
        (
            "another event under another id",
            keys(4, 4, Some("d4")),
            None,
        ),
        ("another event without an id", keys(5, 5, None), None),
    ];
    for bench in Bench::each() {
        let claim = bench.first(known).await;
        bench.settle(claim).await;
        for (what, keys, expected) in table {
            let expected = expected.map_or("first", Duplicate::label);
            let context = format!("{}: {what}", bench.name);
            assert_eq!(bench.told(keys).await, expected, "{context}");
        }
    }
}

#[tokio::test]
async fn either_key_of_an_event_in_flight_keeps_others_waiting() {
    for bench in Bench::each() {
        let claim = bench.first(keys(1, 1, Some("d1"))).await;
        for (what, keys) in [
            ("its content under another id", keys(1, 1, Some("d2"))),
            ("its id and facts, serialised anew", keys(2, 1, Some("d1"))),
        ] {
            assert_eq!(
                bench.told(keys).await,
                "in_flight",
                "{}: {what}",
                bench.name
            );
        }
        assert_eq!(
            bench.told(keys(3, 3, Some("d1"))).await,
            "first",
            "{}",
            bench.name
        );
        bench.settle(claim).await;
    }
}

#[tokio::test]
async fn an_event_serialised_anew_is_known_by_its_new_content_too() {
    for bench in Bench::each() {
        let claim = bench.first(keys(1, 1, Some("d1"))).await;
        bench.settle(claim).await;
        assert_eq!(
            bench.told(keys(2, 1, Some("d1"))).await,
            "duplicate",
            "{}",
            bench.name
        );
        bench.written(0).await;
        // Whoever captured that second writing cannot play it under an id of his own.
        let played = bench.told(keys(2, 1, Some("forged"))).await;
        assert_eq!(played, "duplicate_content", "{}", bench.name);
    }
}

#[tokio::test]
async fn shelves_know_nothing_of_each_other() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        let other = bench.ledger.shelf("other", KEEP).unwrap();
        let in_flight_there = ask(&bench.ledger, other, plain(1), hasty()).await;
        assert_eq!(label(&in_flight_there), "first", "{}", bench.name);
        drop(in_flight_there);
        bench.settle(claim).await;
        let settled_here = ask(&bench.ledger, other, plain(1), hasty()).await;
        assert_eq!(label(&settled_here), "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn an_event_is_forgotten_when_its_time_is_over_and_not_before() {
    for bench in Bench::each() {
        let claim = bench.first(plain(1)).await;
        bench.settle(claim).await;
        bench.clock.advance(REMEMBER - Duration::from_secs(1));
        assert_eq!(bench.told(plain(1)).await, "duplicate", "{}", bench.name);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.told(plain(1)).await, "first", "{}", bench.name);
    }
}

#[tokio::test]
async fn an_id_that_came_with_other_content_is_told_and_never_decides() {
    let bench = Bench::memory();
    let note = |id: &str, content: u8| {
        let content = keys(content, 0, None).content;
        bench.ledger.is_id_conflict(bench.shelf, id, content)
    };
    let noted = [
        note("a", 1),
        note("a", 1),
        note("a", 2),
        note("a", 2),
        note("b", 1),
    ];
    assert_eq!(noted, [false, false, true, false, false]);
}

// === a store in trouble ===

#[tokio::test]
async fn without_its_store_the_ledger_is_unavailable_and_holds_nothing() {
    for bench in Bench::each() {
        bench.ledger.store().close();
        assert_eq!(bench.told(plain(1)).await, "unavailable", "{}", bench.name);
        assert_eq!(bench.ledger.in_flight(), 0, "{}", bench.name);
    }
}

// The lock is what hangs; nobody else on this thread takes it.
#[allow(clippy::await_holding_lock)]
#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_ends_as_unavailable_and_holds_nothing() {
    let held = Arc::new(Mutex::new(()));
    let store = Hooked::new(Hanging(Arc::clone(&held)));
    let bench = Bench::over("hanging", Arc::new(store), Arc::default());
    let disk = held.lock().unwrap();
    let claimant = tokio::spawn(bench.claimant(plain(1), patient()));
    while bench.ledger.in_flight() == 0 {
        yield_now().await;
    }
    tokio::time::advance(READ_TIME + Duration::from_secs(1)).await;
    // Its timer went off; it only has to be run.
    for _ in 0..1_000 {
        yield_now().await;
    }
    assert!(claimant.is_finished());
    drop(disk);
    assert_eq!(label(&claimant.await.unwrap()), "unavailable");
    assert_eq!(bench.ledger.in_flight(), 0);
    drop(bench.first(plain(1)).await);
}
