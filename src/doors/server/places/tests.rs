use std::future::Future;
use std::net::IpAddr;

use tokio::time::advance;

use super::*;

const AGE: Duration = Duration::from_secs(1);

fn places(all: usize, of_client: usize) -> Arc<Places> {
    Places::new(&Limits {
        connections: all,
        client_connections: of_client,
        silent_time: AGE,
        ..Limits::default()
    })
}

async fn come(places: &Arc<Places>, last: u8) -> Option<Arc<Place>> {
    let client = ClientKey::from(IpAddr::from([192, 0, 2, last]));
    let permit = places.vacant().await?;
    places.take(Some(client), permit)
}

/// Comes, and asks something right away.
async fn ask(places: &Arc<Places>, last: u8, is_accepted: bool) -> Arc<Place> {
    let place = come(places, last).await.unwrap();
    assert!(place.settled().await);
    let asking = place.begin().unwrap();
    if is_accepted {
        asking.proven();
    }
    drop(asking);
    place
}

/// Whether it is so without any time going by.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        it = future => Some(it),
        () = tokio::task::yield_now() => None,
    }
}

async fn leaves(place: &Place) -> bool {
    at_once(place.dismissed()).await.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_silent_one_of_age_leaves_for_a_newcomer_of_its_client() {
    let places = places(100, 2);
    let other = come(&places, 1).await.unwrap();
    let one = come(&places, 2).await.unwrap();
    advance(AGE / 2).await;
    let two = come(&places, 2).await.unwrap();
    advance(AGE / 2).await;
    let three = come(&places, 2).await.unwrap();
    assert!(leaves(&one).await && one.begin().is_none());
    assert!(three.settled().await, "its place is free at once");
    for place in [&other, &two, &three] {
        assert!(!leaves(place).await);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_young_leaves_and_the_newcomer_waits_until_somebody_is_of_age() {
    let places = places(100, 2);
    let one = come(&places, 1).await.unwrap();
    let two = come(&places, 1).await.unwrap();
    let three = come(&places, 1).await.unwrap();
    assert!(!leaves(&one).await && !leaves(&two).await);
    let began = Instant::now();
    assert!(three.settled().await);
    assert_eq!(began.elapsed(), AGE);
    assert!(leaves(&one).await && !leaves(&two).await);
    // Its own moment begins with its place.
    let four = come(&places, 1).await.unwrap();
    assert!(leaves(&two).await && four.settled().await);
    let five = come(&places, 1).await.unwrap();
    assert!(!leaves(&three).await && at_once(five.settled()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_comes_free_goes_to_who_has_waited_longest() {
    let places = places(100, 1);
    let one = come(&places, 1).await.unwrap();
    let asking = one.begin().unwrap();
    let two = come(&places, 1).await.unwrap();
    let waiting = tokio::spawn(async move { two.settled().await.then_some(two) });
    tokio::task::yield_now().await;
    let three = come(&places, 1).await.unwrap();
    drop(asking);
    drop(one);
    let two = waiting.await.unwrap().unwrap();
    let _asking = two.begin().unwrap();
    assert!(
        !three.settled().await,
        "nobody can leave for as long as a handshake"
    );
}

#[tokio::test(start_paused = true)]
async fn of_those_that_asked_the_refused_leave_before_the_proven_and_the_longest_idle_first() {
    let places = places(100, 4);
    let old = ask(&places, 1, true).await;
    let busy = come(&places, 1).await.unwrap();
    let _asking = busy.begin().unwrap();
    let junk = ask(&places, 1, false).await;
    advance(AGE / 2).await;
    let fresh = ask(&places, 1, true).await;
    advance(AGE).await;
    let come = async || {
        let newcomer = come(&places, 1).await.unwrap();
        assert!(newcomer.settled().await);
        newcomer
    };
    let first = come().await;
    assert!(leaves(&junk).await && !leaves(&old).await);
    let second = come().await;
    assert!(leaves(&old).await && !leaves(&fresh).await);
    assert!(
        at_once(come()).await.is_none(),
        "the silent ones are more now, and will be of age"
    );
    let _asking = [first.begin().unwrap(), second.begin().unwrap()];
    let third = come().await;
    assert!(leaves(&fresh).await && !leaves(&busy).await);
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn in_a_crowd_the_oldest_silent_one_leaves_though_it_is_young() {
    let places = places(100, 1);
    let mut crowd = Vec::new();
    for _ in 0..4 {
        crowd.push(come(&places, 1).await.unwrap());
    }
    assert!(!leaves(&crowd[0]).await);
    let _fifth = come(&places, 1).await.unwrap();
    assert!(leaves(&crowd[0]).await);
    drop(crowd.remove(0));
    // The next in the row has the place, asks, and cannot be sent away for another.
    assert!(crowd[0].settled().await);
    let asking = crowd[0].begin().unwrap();
    assert!(come(&places, 1).await.is_none(), "as many wait as may");
    assert!(come(&places, 2).await.is_some());
    drop(asking);
    assert!(
        come(&places, 1).await.is_none(),
        "it is no longer silent, and has just asked"
    );
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_anybody_of_age_leaves() {
    let places = places(3, 1);
    let asked = ask(&places, 1, true).await;
    let busy = ask(&places, 2, true).await;
    let asking = busy.begin().unwrap();
    // It waits for a place of its client, and is silent like any other.
    let waiting = come(&places, 1).await.unwrap();
    let began = Instant::now();
    let newcomer = tokio::spawn({
        let places = Arc::clone(&places);
        async move { come(&places, 3).await.unwrap() }
    });
    waiting.dismissed().await;
    assert!(began.elapsed() >= AGE && began.elapsed() < AGE * 2);
    drop(waiting);
    let newcomer = newcomer.await.unwrap();
    let _asking_too = newcomer.begin().unwrap();
    let next = tokio::spawn({
        let places = Arc::clone(&places);
        async move { come(&places, 4).await.unwrap() }
    });
    asked.dismissed().await;
    drop(asked);
    next.await.unwrap();
    drop(asking);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_those_who_left() {
    let places = places(6, 2);
    for _ in 0..10 {
        let one = come(&places, 1).await.unwrap();
        let two = ask(&places, 1, false).await;
        let three = come(&places, 1).await.unwrap();
        advance(AGE).await;
        let four = come(&places, 1).await.unwrap();
        assert!(leaves(&two).await && !leaves(&one).await);
        drop((one, two, three, four));
    }
    let taken = places.taken();
    assert!(taken.clients.is_empty() && taken.seats.is_empty());
    assert_eq!(places.free.available_permits(), 6);
}
