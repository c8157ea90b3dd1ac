use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::keepers::store::ShelfId;
use crate::keepers::store::jobs::{AttemptRecord, JobState, NewState};
use crate::words::identity::{Key, Keys};
use crate::words::time::Timestamp;

/// What is put into a record.
#[derive(Clone, Debug)]
enum Put {
    Row(u32, usize),
    Push(u64, Vec<u8>, Vec<u8>, Option<String>),
    End(u64),
}

fn put() -> impl Strategy<Value = Put> {
    let bytes = || vec(any::<u8>(), 0..300);
    prop_oneof![
        (any::<u32>(), 0..240usize).prop_map(|(secs, keys)| Put::Row(secs, keys)),
        (any::<u64>(), bytes(), bytes(), prop::option::of(".{0,300}"))
            .prop_map(|(id, head, body, error)| Put::Push(id, head, body, error)),
        any::<u64>().prop_map(Put::End),
    ]
}

fn row(secs: u32, keys: usize) -> JournalRow {
    let keys = (0..keys).map(|key| Key::from_bytes([key as u8; 16]));
    JournalRow {
        shelf: 3,
        secs,
        keys: keys.collect(),
    }
}

pub(in crate::keepers::store) fn job(
    id: u64,
    head: &[u8],
    body: &[u8],
    error: Option<&String>,
) -> (JobInfo, NewJob) {
    let at = Timestamp::from_millis(id as i64 >> 8);
    let keys = Keys {
        content: Key::from_bytes([id as u8; 16]),
        id: id.is_multiple_of(2).then(|| Key::from_bytes([7; 16])),
    };
    let attempt = error.map(|error| AttemptRecord {
        number: 1,
        at,
        status: None,
        error: Some(error.clone()),
        took: Duration::from_millis(id % 5_000),
    });
    let new = NewJob {
        shelf: ShelfId(id as u32),
        keys,
        head: Bytes::copy_from_slice(head),
        body: Bytes::copy_from_slice(body),
        order: None,
        at,
        state: NewState::Queued { due: at },
        attempts: attempt.into_iter().collect(),
    };
    let info = JobInfo {
        id: JobId::from_number(id),
        shelf: new.shelf,
        keys,
        at,
        state: JobState::Queued {
            due: at,
            waits: false,
        },
        order: None,
        attempts: new.attempts.len() as u32,
        replayed_at: None,
        bytes: (head.len() + body.len()) as u32,
    };
    (info, new)
}

fn record(puts: &[Put], epoch: &Epoch, first: u64) -> Bytes {
    let mut draft = Draft::new(epoch, first, 0);
    for put in puts {
        match put {
            Put::Row(secs, keys) => draft.row(&row(*secs, *keys)),
            Put::Push(id, head, body, error) => {
                let (info, new) = job(*id, head, body, error.as_ref());
                draft.push(&info, &new);
            }
            Put::End(id) => draft.end(JobId::from_number(*id)),
        }
    }
    draft.finish()
}

/// As the versions wrote it whose log knew only rows.
fn of_before(rows: &[Numbered], epoch: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for (_, row) in rows {
        let row = row.encode();
        body.extend((row.len() as u32).to_le_bytes());
        body.extend(row);
    }
    let mut record = vec![0; 16];
    record.extend((body.len() as u32).to_le_bytes());
    record.extend(epoch.to_le_bytes());
    record.extend(rows[0].0.to_le_bytes());
    record.extend((rows.len() as u32).to_le_bytes());
    record.extend(body);
    let digest = Sha256::digest(&record[16..]);
    record[..16].copy_from_slice(&digest[..16]);
    record
}

#[test]
fn a_record_of_before_reads_as_it_did() {
    let rows = [(40, row(1, 2)), (41, row(2, 0)), (42, row(9, 240))];
    let bytes = Bytes::from(of_before(&rows, 6));
    let epoch = Epoch::decode(&[6, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let (read, len) = decode(&bytes, 0, &epoch).unwrap();
    assert_eq!((read.rows, len), (rows.to_vec(), bytes.len()));
    assert!(read.jobs.is_empty());
    let puts = [Put::Row(1, 2), Put::Row(2, 0), Put::Row(9, 240)];
    assert_eq!(
        record(&puts, &epoch, 40),
        bytes,
        "and so it would be written"
    );
}

proptest! {
    #[test]
    fn a_record_reads_back_whole_or_not_at_all(
        puts in vec(put(), 1..8),
        before in 0..50usize,
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let epoch = Epoch::default().next().unwrap();
        let bytes = record(&puts, &epoch, 100);
        let mut longer = vec![9; before];
        longer.extend(&bytes);
        longer.extend([5; 20]);
        let longer = Bytes::from(longer);
        let (read, len) = decode(&longer, before, &epoch).unwrap();
        prop_assert_eq!(len, bytes.len());
        let (mut rows, mut jobs) = (read.rows.into_iter(), read.jobs.into_iter());
        let mut number = 100;
        let mut jobs_bytes = 0;
        for put in &puts {
            match put {
                Put::Row(secs, keys) => {
                    prop_assert_eq!(rows.next(), Some((number, row(*secs, *keys))));
                    number += 1;
                }
                Put::Push(id, head, body, error) => {
                    let (info, new) = job(*id, head, body, error.as_ref());
                    let Some(JobEntry::Pushed(job)) = jobs.next() else {
                        return Err(TestCaseError::fail("a push is gone"));
                    };
                    prop_assert_eq!((job.info, &job.head, &job.body), (info, &new.head, &new.body));
                    let kept = job.attempt.as_ref().and_then(|attempt| attempt.error.as_ref());
                    prop_assert_eq!(kept.is_some(), error.is_some());
                    prop_assert!(kept.is_none_or(|kept| error.as_ref().unwrap().starts_with(kept)));
                    jobs_bytes += logged::push_len(&new);
                }
                Put::End(id) => {
                    let ended = matches!(jobs.next(), Some(JobEntry::Ended(ended)) if ended.number() == *id);
                    prop_assert!(ended);
                    jobs_bytes += logged::END_BYTES;
                }
            }
        }
        prop_assert!(rows.next().is_none() && jobs.next().is_none());
        let rows: Vec<_> = puts.iter().filter_map(|put| match put {
            Put::Row(secs, keys) => Some((0, row(*secs, *keys))),
            Put::Push(..) | Put::End(_) => None,
        }).collect();
        prop_assert!(super::len(&rows, puts.len() - rows.len(), jobs_bytes) >= bytes.len());
        prop_assert!(decode(&bytes, 0, &epoch.next().unwrap()).is_none());
        prop_assert!(decode(&bytes.slice(..bytes.len() - 1), 0, &epoch).is_none());
        let mut torn = bytes.to_vec();
        torn[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(decode(&Bytes::from(torn), 0, &epoch).is_none());
    }

    /// Entries that nobody wrote, under a check that is right.
    #[test]
    fn whatever_a_record_says_is_read_without_a_panic(
        entries in vec(vec(any::<u8>(), 0..120), 0..5),
        kind in 0..5u8,
        count in 0..6u32,
    ) {
        let epoch = Epoch::default();
        let mut draft = Draft::new(&epoch, u64::MAX, 0);
        for entry in entries {
            draft.entry(|bytes| {
                bytes.push(kind);
                bytes.extend(entry);
            });
        }
        draft.entries = count;
        let _ = decode(&draft.finish(), 0, &epoch);
    }
}
