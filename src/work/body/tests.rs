//! Who has a share of the memory, and who waits for one.

use std::net::IpAddr;
use std::pin::{Pin, pin};

use super::*;

#[test]
fn what_is_held_counts_for_its_client_and_for_all_until_it_is_dropped() {
    let client = |last| ClientKey::from(IpAddr::from([192, 0, 2, last]));
    let part = 100;
    let budget = BodyBudget::new(part * CLIENT_PART);
    let mut held = vec![budget.try_hold(client(1), 60).unwrap()];
    assert!(budget.try_hold(client(1), 60).is_none(), "its own part");
    held.extend(
        (2..)
            .map_while(|last| budget.try_hold(client(last), 100))
            .take(200),
    );
    assert_eq!(held.len(), CLIENT_PART / BESIDES_PART, "all of its part");
    drop(held);
    assert!(budget.try_hold(client(1), 100).is_some());
    assert!(budget.by_client.clients().is_empty());
}

#[tokio::test]
async fn who_waits_for_room_keeps_no_other_client_waiting() {
    let client = |last| ClientKey::from(IpAddr::from([192, 0, 2, last]));
    let budget = BodyBudget::new(100 * CLIENT_PART);
    let first = budget.hold(client(1), 100).await;
    // Together they wait for more than may be held in all.
    let mut waiting: Vec<_> = std::iter::repeat_with(|| Box::pin(budget.hold(client(1), 50)))
        .take(2 * CLIENT_PART)
        .collect();
    for holding in &mut waiting {
        assert!(is_pending(holding.as_mut()).await);
    }
    drop(in_time(budget.hold(client(2), 100)).await);
    drop(first);
    let last = waiting.pop().unwrap();
    drop(waiting);
    let last = in_time(last).await;
    // One that gives up waiting leaves nothing behind.
    assert!(is_pending(pin!(budget.hold(client(1), 100))).await);
    drop(last);
    assert!(budget.by_client.clients().is_empty());
}

#[tokio::test]
async fn what_comes_free_at_one_time_is_for_all_who_wait_for_it() {
    let client = ClientKey::from(IpAddr::from([192, 0, 2, 1]));
    let budget = BodyBudget::new(100 * CLIENT_PART);
    let first = budget.hold(client, 100).await;
    let mut waiting: Vec<_> = std::iter::repeat_with(|| Box::pin(budget.hold(client, 20)))
        .take(5)
        .collect();
    for holding in &mut waiting {
        assert!(is_pending(holding.as_mut()).await);
    }
    drop(first);
    let mut held = Vec::new();
    for holding in waiting {
        held.push(in_time(holding).await);
    }
    assert!(budget.try_hold(client, 1).is_none());
}

async fn in_time<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("room")
}

async fn is_pending(holding: Pin<&mut impl Future<Output = Held>>) -> bool {
    tokio::select! {
        biased;
        _ = holding => false,
        () = std::future::ready(()) => true,
    }
}

/// Twice as many as have room, of clients that together have more than all of it; some give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn among_many_who_hold_wait_and_give_up_nobody_is_forgotten() {
    let budget = Arc::new(BodyBudget::new(8 * CLIENT_PART));
    let mut holding = tokio::task::JoinSet::new();
    for n in 0u8..64 {
        let budget = Arc::clone(&budget);
        holding.spawn(async move {
            let client = ClientKey::from(IpAddr::from([192, 0, 2, n % 16]));
            for turn in 0u32..500 {
                let mut held = pin!(budget.hold(client, 4));
                // Some are gone before they are told, some after.
                if turn % 5 == 0 {
                    tokio::select! {
                        biased;
                        _ = held.as_mut() => {}
                        () = tokio::task::yield_now() => continue,
                    }
                    continue;
                }
                let held = held.await;
                tokio::task::yield_now().await;
                drop(held);
            }
        });
    }
    let all = async { while holding.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("each has its turn");
    assert_eq!(budget.all.available_permits(), 8 * CLIENT_PART);
    assert!(budget.by_client.clients().is_empty());
}
