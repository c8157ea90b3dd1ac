//! Random histories against a map.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{TestClock, found, keys, settle_all, small};
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::tuning::{Options, Tuning};
use crate::keepers::store::{Keep, Store};
use crate::words::time::{Clock, Timestamp};

/// One thing that happens to a store.
#[derive(Clone, Debug)]
enum Step {
    Settle {
        shelf: usize,
        first: u64,
        count: u64,
    },
    Advance(u64),
    Tidy,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2usize, 0..400u64, 1..60u64)
            .prop_map(|(shelf, first, count)| Step::Settle { shelf, first, count }),
        3 => (1..30_000u64).prop_map(Step::Advance),
        3 => Just(Step::Tidy),
        1 => Just(Step::Reopen),
    ]
}

const SHELVES: [(&str, u64); 2] = [("short", 60), ("long", 300)];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_a_map_does(steps in vec(step(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let open = || {
            let store = Embedded::open(Options {
                path: directory.path().join("store"),
                clock: clock.clone(),
                tuning: Tuning { run_keys_max: 200, ..small() },
                on_commit: None,
            });
            let store = Arc::new(store.unwrap());
            let shelves = SHELVES.map(|(name, secs)| {
                let remember = Duration::from_secs(secs);
                store.shelf(name, Keep { remember, max_keys: None }).unwrap()
            });
            (store, shelves)
        };
        let (mut store, mut shelves) = open();
        let mut model: HashMap<(usize, u64), Timestamp> = HashMap::new();
        for step in steps {
            match step {
                Step::Settle { shelf, first, count } => {
                    settle_all(&*store, shelves[shelf], first..first + count, clock.now());
                    for n in first..first + count {
                        let second = Timestamp::from_secs(clock.now().as_secs());
                        model.insert((shelf, n), second);
                    }
                }
                Step::Advance(ms) => clock.advance(Duration::from_millis(ms)),
                Step::Tidy => store.tidy(),
                Step::Reopen => {
                    store.close();
                    (store, shelves) = open();
                }
            }
        }
        let now = clock.now();
        for (place, (_, secs)) in SHELVES.iter().enumerate() {
            for n in 0..470 {
                let known = model
                    .get(&(place, n))
                    .is_some_and(|at| now < at.after(Duration::from_secs(*secs)));
                let seen = found(&*store, shelves[place], &keys(n), now);
                prop_assert_eq!((seen.content, seen.id), (known, known), "event {} of shelf {}", n, place);
            }
        }
    }
}
