//! Every row reads back, and any bytes are read or refused.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn state() -> impl Strategy<Value = JobState> {
    prop_oneof![
        (time(), any::<bool>()).prop_map(|(due, waits)| JobState::Queued { due, waits }),
        time().prop_map(|at| JobState::Delivered { at }),
        (time(), any::<u8>()).prop_map(|(at, code)| JobState::Dead {
            at,
            reason: Reason(code)
        }),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    any::<[u8; Key::LEN]>().prop_map(Key::from_bytes)
}

fn volume() -> impl Strategy<Value = Volume> {
    any::<(u64, u64)>().prop_map(|(jobs, bytes)| Volume { jobs, bytes })
}

proptest! {
    #[test]
    fn jobs_read_back(
        (shelf, attempts, bytes) in any::<(u32, u32, u32)>(), replayed_at in proptest::option::of(time()),
        (at, state, order) in (time(), state(), option::of(any::<u64>())),
        (content, id) in (key(), option::of(key())),
    ) {
        let job = JobInfo {
            id: JobId(7),
            shelf: ShelfId(shelf),
            keys: Keys { content, id },
            at, state, order, attempts, replayed_at, bytes,
        };
        let row = encode_job(&job);
        prop_assert_eq!(decode_job(JobId(7), &row), Some(job));
        prop_assert_eq!(decode_job(JobId(7), &row[..row.len() - 1]), None);
    }

    #[test]
    fn contents_read_back(head in vec(any::<u8>(), 0..50), len in 0usize..2 * BODY_INLINE_MAX) {
        let body = Bytes::from(vec![7; len]);
        let (row, inline) = encode_content(&Bytes::from(head.clone()), &body);
        prop_assert_eq!(inline, len <= BODY_INLINE_MAX);
        let content = decode_content(&row).unwrap();
        prop_assert_eq!(content.head, head);
        prop_assert_eq!(content.body, inline.then_some(&*body));
    }

    #[test]
    fn attempts_read_back_with_a_bounded_error(
        (number, at, took) in (any::<u32>(), time(), any::<u32>()),
        (status, error) in (option::of(1u16..), option::of(".{0,200}")),
    ) {
        let took = Duration::from_millis(took.into());
        let mut attempt = AttemptRecord { number, at, status, error, took };
        let read = decode_attempt(&encode_attempt(&attempt)).unwrap();
        attempt.error = attempt.error.map(|error| bounded(&error).to_owned());
        prop_assert!(attempt.error.as_ref().is_none_or(|error| error.len() <= ATTEMPT_ERROR_BYTES_MAX));
        prop_assert_eq!(read, attempt);
    }

    #[test]
    fn tallies_terms_and_numbers_read_back(
        (queued, delivered, dead, renewed) in (volume(), volume(), volume(), any::<u32>()),
        (kept, next, max_events, max_bytes) in any::<(u32, u64, u64, u64)>(),
    ) {
        let tally = Tally { queued, delivered, dead, renewed };
        prop_assert_eq!(decode_tally(&encode_tally(&tally)), Some(tally));
        prop_assert_eq!(decode_next(&encode_next(next)), Some(next));
        let keep = Duration::from_millis(kept.into());
        let terms = Terms { keep_delivered: keep, keep_dead: keep * 2, max_events, max_bytes };
        prop_assert_eq!(decode_terms(&encode_terms(&terms)), Some(terms));
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in vec(any::<u8>(), 0..200), versioned: bool) {
        if let (true, Some(first)) = (versioned, bytes.first_mut()) {
            *first = VERSION;
        }
        let _ = decode_job(JobId(0), &bytes);
        let _ = decode_content(&bytes);
        let _ = decode_bytes(&bytes);
        let _ = decode_attempt(&bytes);
        let _ = decode_tally(&bytes);
        let _ = decode_next(&bytes);
        let _ = decode_terms(&bytes);
    }
}
