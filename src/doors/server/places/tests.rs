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

/// Comes, and brings a new event, or asks for what is refused.
async fn ask(places: &Arc<Places>, last: u8, is_event: bool) -> Arc<Place> {
    let place = come(places, last).await.unwrap();
    assert!(place.settled().await);
    again(&place, is_event);
    place
}

fn again(place: &Place, is_event: bool) {
    place.heard();
    match is_event {
        true => place.begin().unwrap().proven(),
        false => place.refused(),
    }
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
    let two = come(&places, 1).await.unwrap();
    let waiting = tokio::spawn(async move { two.settled().await.then_some(two) });
    tokio::task::yield_now().await;
    let three = come(&places, 1).await.unwrap();
    drop(one);
    let _two = waiting.await.unwrap().unwrap();
    assert!(at_once(three.settled()).await.is_none());
}

/// Regression: until whoever waits was run for the first time, others of its client came before it.
#[tokio::test(start_paused = true)]
async fn nobody_overtakes_one_that_came_before() {
    let places = places(100, 2);
    let one = come(&places, 1).await.unwrap();
    let two = come(&places, 1).await.unwrap();
    let three = come(&places, 1).await.unwrap();
    let four = come(&places, 1).await.unwrap();
    drop(one);
    assert!(at_once(four.settled()).await.is_none());
    assert!(at_once(three.settled()).await.is_some());
    advance(AGE).await;
    let five = come(&places, 1).await.unwrap();
    assert!(leaves(&two).await && at_once(five.settled()).await.is_none());
    assert!(at_once(four.settled()).await.is_some());
    // The place that is given up for one is not the next one's.
    let six = come(&places, 1).await.unwrap();
    assert!(leaves(&three).await && at_once(six.settled()).await.is_none());
    assert!(at_once(five.settled()).await.is_some());
    drop((four, five));
    let (seven, eight) = (
        come(&places, 1).await.unwrap(),
        come(&places, 1).await.unwrap(),
    );
    assert!(at_once(six.settled()).await.is_some() && at_once(seven.settled()).await.is_some());
    assert!(at_once(eight.settled()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_event_at_work_takes_no_place_from_its_client() {
    let places = places(100, 1);
    let one = come(&places, 1).await.unwrap();
    let asking = one.begin().unwrap();
    let two = come(&places, 1).await.unwrap();
    assert!(at_once(two.settled()).await.is_some());
    // Nor does it once it is known, however long it idles.
    asking.proven();
    drop(asking);
    drop(two);
    advance(AGE * 100).await;
    assert!(
        at_once(come(&places, 1).await.unwrap().settled())
            .await
            .is_some()
    );
    assert!(!leaves(&one).await);
}

/// Regression: whoever asked for junk again and again never came of age.
#[tokio::test(start_paused = true)]
async fn asking_for_junk_makes_nobody_younger() {
    let places = places(100, 2);
    let junk = ask(&places, 1, false).await;
    let copies = come(&places, 1).await.unwrap();
    for _ in 0..3 {
        advance(AGE / 2).await;
        again(&junk, false);
    }
    let newcomer = come(&places, 1).await.unwrap();
    assert!(leaves(&junk).await && newcomer.settled().await);
    // An event that came before proves nothing, and its place among all is free for others.
    let copy = |place: &Place| drop(place.begin().unwrap());
    copy(&copies);
    advance(AGE).await;
    copy(&copies);
    assert!(places.taken().dismiss(None, AGE, AGE));
    assert!(leaves(&copies).await && copies.begin().is_none());
}

#[tokio::test(start_paused = true)]
async fn for_all_the_refused_leave_first_then_the_silent_and_the_proven_where_they_are_more() {
    let places = places(100, 100);
    let old = ask(&places, 1, true).await;
    let busy = ask(&places, 1, true).await;
    let _at_work = busy.begin().unwrap();
    let fresh = ask(&places, 1, true).await;
    let silent = come(&places, 2).await.unwrap();
    let junk = ask(&places, 2, false).await;
    let dismiss = || places.taken().dismiss(None, AGE, AGE);
    assert!(!dismiss(), "nobody is of age");
    advance(AGE).await;
    assert!(dismiss() && leaves(&junk).await);
    assert!(dismiss() && leaves(&silent).await);
    assert!(!dismiss(), "who is known may idle for longer");
    advance(AGE * (PATIENCE_WITH_PROVEN - 1)).await;
    fresh.heard();
    let newcomers = [2, 2].map(|last| come(&places, last));
    let [first, second] = newcomers;
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(!dismiss(), "the others are as many, and will be of age");
    drop(second);
    assert!(dismiss() && leaves(&old).await);
    assert!(!dismiss() && !leaves(&fresh).await && !leaves(&busy).await);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn in_a_crowd_the_oldest_silent_one_leaves_though_it_is_young() {
    let places = places(100, 1);
    let mut crowd = Vec::new();
    for _ in 0..4 {
        crowd.push(come(&places, 1).await.unwrap());
    }
    assert!(!leaves(&crowd[0]).await);
    let fifth = come(&places, 1).await.unwrap();
    assert!(leaves(&crowd[0]).await);
    drop(crowd.remove(0));
    // The next in the row has the place, and asks: it is no longer silent, and too young for one that was refused.
    assert!(crowd[0].settled().await);
    crowd[0].refused();
    assert!(come(&places, 1).await.is_none(), "as many wait as may");
    assert!(come(&places, 2).await.is_some());
    drop(fifth);
    assert!(come(&places, 1).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_newcomer_waits_until_somebody_may_leave() {
    let places = places(3, 1);
    let asked = ask(&places, 1, true).await;
    let busy = ask(&places, 2, true).await;
    let at_work = busy.begin().unwrap();
    let silent = come(&places, 1).await.unwrap();
    let waits = |last| {
        let places = Arc::clone(&places);
        tokio::spawn(async move { come(&places, last).await.unwrap() })
    };
    let began = Instant::now();
    let newcomer = waits(3);
    silent.dismissed().await;
    assert!(began.elapsed() >= AGE && began.elapsed() < AGE * 2);
    drop(silent);
    let newcomer = newcomer.await.unwrap();
    let _at_work_too = newcomer.begin().unwrap();
    let next = waits(4);
    asked.dismissed().await;
    drop(asked);
    next.await.unwrap();
    drop(at_work);
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
        let five = ask(&places, 2, true).await;
        drop((one, two, three, four, five));
    }
    let taken = places.taken();
    assert!(taken.clients.is_empty() && taken.seats.is_empty());
    assert_eq!(places.free.available_permits(), 6);
}
