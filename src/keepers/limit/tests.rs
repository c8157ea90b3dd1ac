//! Quotas under a clock that is set by hand.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct HandClock(Mutex<Duration>);

impl HandClock {
    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_000).after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

fn quota(count: u32, per_secs: u64, burst: u32) -> Quota {
    Quota {
        count: NonZeroU32::new(count).unwrap(),
        per: Duration::from_secs(per_secs),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn limiter(quota: Quota) -> (Limiter, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    (Limiter::new("r".into(), quota, clock.clone()), clock)
}

fn client(text: &str) -> ClientKey {
    ClientKey::from(text.parse::<IpAddr>().unwrap())
}

#[test]
fn the_burst_comes_at_once_and_then_the_rate() {
    let (limiter, clock) = limiter(quota(2, 1, 5));
    assert_eq!(limiter.standing().remaining, 5);
    assert!((0..5).all(|_| limiter.take()));
    assert!(!limiter.take());
    clock.advance(Duration::from_millis(499));
    assert!(!limiter.take());
    clock.advance(Duration::from_millis(1));
    assert!(limiter.take());
    assert!(!limiter.take());
}

#[test]
fn the_standing_says_what_is_left_and_when_it_is_full() {
    let (limiter, clock) = limiter(quota(2, 1, 5));
    for taken in 1..=5 {
        assert!(limiter.take());
        let standing = limiter.standing();
        assert_eq!(standing.remaining, 5 - taken);
        assert_eq!(standing.full_in, Duration::from_millis(500) * taken);
    }
    let standing = limiter.standing();
    assert_eq!(standing.next_in, Duration::from_millis(500));
    assert_eq!(standing.quota.policy.as_ref().unwrap(), "\"r\";q=5;w=3");
    assert_eq!(standing.full_at(clock.now()), 1_003);
    clock.advance(Duration::from_millis(2500));
    assert_eq!(limiter.standing().remaining, 5);
    assert_eq!(limiter.standing().full_at(clock.now()), 1_002);
}

#[test]
fn reading_charges_nothing_and_refused_ones_charge_nothing() {
    let (limiter, clock) = limiter(quota(1, 1, 1));
    for _ in 0..10 {
        assert_eq!(limiter.standing().remaining, 1);
    }
    assert!(limiter.take());
    for _ in 0..10 {
        assert!(!limiter.take());
    }
    clock.advance(Duration::from_secs(1));
    assert!(limiter.take());
}

#[test]
fn clients_are_counted_apart() {
    let limiter = ClientLimiter::new(quota(1, 1, 2), Arc::new(HandClock::default()));
    let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
    limiter.charge(one);
    assert!(!limiter.is_used_up(one));
    limiter.charge(one);
    assert!(limiter.is_used_up(one));
    assert!(!limiter.is_used_up(other));
    assert_eq!(limiter.standing(other).remaining, 2);
}

#[test]
fn a_crowd_of_addresses_neither_grows_the_table_nor_resets_an_offender() {
    let limiter = ClientLimiter::new(quota(1, 3600, 1), Arc::new(HandClock::default()));
    let offender = client("192.0.2.1");
    limiter.charge(offender);
    for host in 0..(clients::CLIENTS_MAX as u32 + 20_000) {
        limiter.charge(ClientKey::from(IpAddr::from(
            (0x0a00_0000 + host).to_be_bytes(),
        )));
    }
    assert!(limiter.is_used_up(offender));
    assert!(limiter.states.len() <= clients::CLIENTS_MAX);
}

#[test]
fn clients_at_full_quota_make_room() {
    let clock = Arc::new(HandClock::default());
    let limiter = ClientLimiter::new(quota(1, 1, 1), clock.clone());
    let charge = |host: u32| limiter.charge(ClientKey::from(IpAddr::from(host.to_be_bytes())));
    (0..200_000).for_each(charge);
    clock.advance(Duration::from_secs(2));
    let newcomer = client("192.0.2.1");
    assert!(!limiter.is_used_up(newcomer));
    limiter.charge(newcomer);
    assert!(limiter.is_used_up(newcomer));
}

#[tokio::test]
async fn a_lane_takes_a_few_and_is_taken_down_after_the_last() {
    let lanes = Lanes::new();
    let one = client("192.0.2.1");
    let mut places = Vec::new();
    for _ in 0..lane::PLACES {
        places.push(lanes.enter(one).await.unwrap());
    }
    assert!(lanes.enter(one).await.is_none());
    assert!(lanes.enter(client("192.0.2.2")).await.is_some());
    places.pop();
    places.push(lanes.enter(one).await.unwrap());
    drop(places);
    assert_eq!(lanes.count(), 0);
}

proptest! {
    /// Headers and decisions come from one state: a remainder means yes, none means no.
    #[test]
    fn the_standing_never_disagrees_with_the_decision(
        count in 1u32..1000, per_secs in 1u64..100, burst in 1u32..50,
        steps in proptest::collection::vec(0u64..2_000_000_000, 1..100),
    ) {
        let (limiter, clock) = limiter(quota(count, per_secs, burst));
        for nanos in steps {
            clock.advance(Duration::from_nanos(nanos));
            let before = limiter.standing();
            prop_assert_eq!(before.remaining > 0, before.next_in.is_zero());
            prop_assert_eq!(limiter.take(), before.remaining > 0);
        }
    }
}
