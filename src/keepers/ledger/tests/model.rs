//! Many at once, and any history held against the plainest ledger.

use super::*;

/// However claims, settles and releases of a few events meet, no event is ever worked on twice at a time
/// or again after it was settled. The ledger looks into the store only after nobody holds the event, and
/// an end takes it off the map only once the store shows it; either the other way round fails here.
#[test]
fn under_many_threads_no_event_is_first_twice_at_a_time_or_after_it_was_settled() {
    const EVENTS: usize = 12;
    const THREADS: usize = 8;
    for (bench, rounds) in Bench::each().into_iter().zip([60, 30, 6]) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .unwrap();
        for round in 0..rounds {
            let settled: Arc<[AtomicBool; EVENTS]> = Arc::default();
            let at_work: Arc<[AtomicUsize; EVENTS]> = Arc::default();
            let event_keys = |event: usize| {
                let name = format!("{round}.{event}");
                let identity = Identity {
                    content: PartsHasher::new("stress").part(name.as_bytes()).digest(),
                    delivery_id: Some(name.into()),
                    facts: Some([0; 32]),
                    id_counts: false,
                };
                Keys::new("route", &identity, false)
            };
            let events: [Keys; EVENTS] = std::array::from_fn(event_keys);
            runtime.block_on(async {
                let mut threads = JoinSet::new();
                for thread in 0..THREADS {
                    let (ledger, shelf) = (Arc::clone(&bench.ledger), bench.shelf);
                    let (settled, at_work) = (Arc::clone(&settled), Arc::clone(&at_work));
                    let now = bench.clock.now();
                    threads.spawn(async move {
                        for step in 0..EVENTS * 4 {
                            let event = (step * 5 + thread) % EVENTS;
                            let claimed = ask(&ledger, shelf, events[event], patient()).await;
                            let Ok(claim) = claimed else {
                                assert!(
                                    settled[event].load(Ordering::SeqCst),
                                    "a duplicate of nothing"
                                );
                                continue;
                            };
                            assert!(!settled[event].load(Ordering::SeqCst), "first again");
                            assert_eq!(at_work[event].fetch_add(1, Ordering::SeqCst), 0);
                            if step % 3 == 0 {
                                yield_now().await;
                            }
                            at_work[event].fetch_sub(1, Ordering::SeqCst);
                            if fastrand::u8(..) < 100 {
                                settled[event].store(true, Ordering::SeqCst);
                                let settling = claim.settle(now);
                                if fastrand::bool() {
                                    settling.answered().await.unwrap();
                                }
                            }
                        }
                    });
                }
                while let Some(done) = threads.join_next().await {
                    done.unwrap();
                }
            });
        }
    }
}

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody without time to wait asks for this event.
    Claim {
        content: u8,
        facts: u8,
        id: u8,
    },
    /// The owner of the claim at this place ends it.
    Settle(prop::sample::Index),
    Release(prop::sample::Index),
    /// Time passes.
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0u8..4, 0u8..2, 0u8..3).prop_map(|(content, facts, id)| Step::Claim { content, facts, id }),
        3 => any::<prop::sample::Index>().prop_map(Step::Settle),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        1 => (1u32..500_000).prop_map(Step::Pass),
    ]
}

/// The plainest ledger: who holds what, and which key was settled when.
#[derive(Default)]
struct Model {
    held: Vec<Keys>,
    settled: std::collections::HashMap<[u8; 16], u64>,
}

impl Model {
    fn claim(&mut self, keys: Keys, now: u64) -> &'static str {
        let taken = |held: &Keys| held.iter().any(|key| keys.iter().any(|other| other == key));
        if self.held.iter().any(taken) {
            return "in_flight";
        }
        let lives = |key: &[u8; 16]| {
            let settled = self.settled.get(key);
            settled.is_some_and(|at| now < at + REMEMBER.as_secs())
        };
        let content = lives(keys.content.as_bytes());
        match (content, keys.id.map(|id| lives(id.as_bytes()))) {
            (false, None | Some(false)) => {
                self.held.push(keys);
                "first"
            }
            (true, Some(false)) => "duplicate_content",
            (true, None | Some(true)) => "duplicate",
            (false, Some(true)) => {
                self.settled.insert(*keys.content.as_bytes(), now);
                "duplicate"
            }
        }
    }

    fn settle(&mut self, place: usize, now: u64) {
        for key in self.held.remove(place).iter() {
            self.settled.insert(*key.as_bytes(), now);
        }
    }
}

/// Lives a history in the ledger and in the model, and holds one against the other at each step.
fn live(bench: &Bench, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut model = Model::default();
    let mut claims: Vec<Claim> = Vec::new();
    runtime.block_on(async {
        for (place, step) in steps.iter().enumerate() {
            let now = u64::try_from(bench.clock.now().as_secs()).unwrap();
            match step {
                Step::Claim { content, facts, id } => {
                    let id = ["a", "b"].get(usize::from(*id)).copied();
                    // The content says the facts, so other facts are other content.
                    let keys = keys(content * 2 + facts, *facts, id);
                    let claimed = bench.claim(keys, hasty()).await;
                    let context = format!("{}: step {place} of {steps:?}", bench.name);
                    assert_eq!(label(&claimed), model.claim(keys, now), "{context}");
                    if let Ok(claim) = claimed {
                        claims.push(claim);
                    } else {
                        bench.written(place).await;
                    }
                }
                Step::Settle(index) if !claims.is_empty() => {
                    let place = index.index(claims.len());
                    bench.settle(claims.remove(place)).await;
                    model.settle(place, now);
                }
                Step::Release(index) if !claims.is_empty() => {
                    let place = index.index(claims.len());
                    drop(claims.remove(place));
                    model.held.remove(place);
                }
                Step::Settle(_) | Step::Release(_) => {}
                Step::Pass(secs) => bench.clock.advance(Duration::from_secs(u64::from(*secs))),
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_history_of_claims_is_as_the_plainest_ledger_says(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        live(&Bench::memory(), &steps);
        live(&Bench::doubtful(), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_history_over_a_file_is_as_the_plainest_ledger_says(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        live(&Bench::embedded(), &steps);
    }
}
