//! Which runs to merge next.
//!
//! Young runs are merged four of a size at a time, so that a key is rewritten a few times only however many
//! there are. Runs whose window of time is over are gathered into as few as their size allows, and then
//! left alone until their newest key expires and they are dropped whole.

use std::collections::BTreeMap;

/// What the plan must know of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) id: u64,
    pub(super) count: u64,
    pub(super) newest: u32,
}

/// The bounds of a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Keys of a run made straight from the journal.
    pub(super) flushed: u64,
    /// Keys of a merged run at most; it bounds the memory and the space that a merge takes.
    pub(super) run_keys_max: u64,
    /// Seconds of a window.
    pub(super) window: u32,
    /// The present in seconds.
    pub(super) now: u32,
}

/// The runs to merge into one, if any.
pub(super) fn choose(runs: &[Candidate], limits: Limits) -> Option<Vec<u64>> {
    let window = limits.window.max(1);
    let mut windows: BTreeMap<u32, Vec<Candidate>> = BTreeMap::new();
    for run in runs {
        windows.entry(run.newest / window).or_default().push(*run);
    }
    windows.into_iter().find_map(|(number, runs)| {
        if number < limits.now / window {
            gather(runs, 2, limits.run_keys_max)
        } else {
            let mut tiers: BTreeMap<u32, Vec<Candidate>> = BTreeMap::new();
            for run in runs {
                let tier = (run.count / limits.flushed.max(1)).max(1).ilog(FAN_IN);
                tiers.entry(tier).or_default().push(run);
            }
            tiers
                .into_values()
                .find_map(|tier| gather(tier, FAN_IN as usize, limits.run_keys_max))
        }
    })
}

/// The smallest runs that fit together, if there are `least` of them.
fn gather(mut runs: Vec<Candidate>, least: usize, keys_max: u64) -> Option<Vec<u64>> {
    runs.sort_by_key(|run| run.count);
    let mut keys = 0;
    let fitting: Vec<_> = runs
        .iter()
        .take(FAN_IN_MAX)
        .take_while(|run| {
            keys += run.count;
            keys <= keys_max
        })
        .map(|run| run.id)
        .collect();
    (fitting.len() >= least).then_some(fitting)
}

/// Runs of a size that make the next size.
const FAN_IN: u64 = 4;
/// Runs merged at once at most: each takes a slice of memory while it is read.
const FAN_IN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        flushed: 100,
        run_keys_max: 10_000,
        window: 10,
        now: 55,
    };

    fn runs(counts_and_newest: &[(u64, u32)]) -> Vec<Candidate> {
        let with_id = (0..).zip(counts_and_newest);
        with_id
            .map(|(id, &(count, newest))| Candidate { id, count, newest })
            .collect()
    }

    #[test]
    fn four_of_a_size_are_merged_and_three_are_not() {
        let four = [(100, 50), (120, 51), (399, 52), (100, 53), (400, 53)];
        assert_eq!(choose(&runs(&four[1..]), LIMITS), None);
        assert_eq!(choose(&runs(&four), LIMITS), Some(vec![0, 3, 1, 2]));
    }

    #[test]
    fn a_window_that_is_over_is_gathered_up_to_the_bound() {
        let over = [(100, 41), (9_000, 42), (400, 43), (9_900, 48)];
        assert_eq!(choose(&runs(&over), LIMITS), Some(vec![0, 2, 1]));
        assert_eq!(choose(&runs(&[(9_500, 41), (9_900, 48)]), LIMITS), None);
        assert_eq!(choose(&runs(&[(100, 31), (100, 41)]), LIMITS), None);
    }

    /// Twenty million keys over a week, flushed 32,768 at a time.
    #[test]
    fn the_number_of_runs_stays_small() {
        let limits = |now| Limits {
            flushed: 32_768,
            run_keys_max: 4_000_000,
            window: 604_800 / 8,
            now,
        };
        let mut held: Vec<Candidate> = Vec::new();
        let (mut most, mut written) = (0, 0);
        for flush in 0..610u64 {
            let now = (flush * 604_800 / 610) as u32;
            held.push(Candidate {
                id: flush,
                count: 32_768,
                newest: now,
            });
            while let Some(ids) = choose(&held, limits(now)) {
                let count = held
                    .iter()
                    .filter(|run| ids.contains(&run.id))
                    .map(|run| run.count)
                    .sum();
                let inputs = held.iter().filter(|run| ids.contains(&run.id));
                let newest = inputs.map(|run| run.newest).max().unwrap();
                held.retain(|run| !ids.contains(&run.id));
                held.push(Candidate {
                    id: 1_000_000 + ids[0],
                    count,
                    newest,
                });
                written += count;
            }
            most = most.max(held.len());
        }
        assert!(most <= 28, "{most} runs");
        assert!(written < 4 * 20_000_000, "{written} keys rewritten");
    }
}
