use proptest::prelude::*;
use redb::backends::InMemoryBackend;

use super::*;
use crate::keepers::store::ShelfId;
use crate::keepers::store::codec::JournalRow;
use crate::keepers::store::jobs::{JobId, JobInfo, JobState, NewJob, NewState};
use crate::keepers::store::record::Draft;
use crate::words::identity::{Key, Keys};
use crate::words::time::Timestamp;

fn row(n: u64, keys: usize) -> Numbered {
    let keys = (0..keys).map(|key| Key::from_bytes([key as u8; 16]));
    let row = JournalRow {
        shelf: n as u32 % 3,
        secs: n as u32,
        keys: keys.collect(),
    };
    (n, row)
}

/// A record of `rows`.
fn record(wal: &Wal, rows: &[Numbered]) -> Bytes {
    let first = rows.first().map_or(0, |(number, _)| *number);
    let mut draft = Draft::new(&wal.epoch, first, record::len(rows, 0, 0));
    rows.iter().for_each(|(_, row)| draft.row(row));
    draft.finish()
}

fn add(wal: &mut Wal, rows: &[Numbered]) -> io::Result<()> {
    wal.append(&record(wal, rows), rows, false)
}

fn opened(file: &Arc<InMemoryBackend>, epoch: &Epoch) -> Wal {
    Wal::open(file.clone(), REGION_BYTES, epoch.clone()).unwrap()
}

fn has_room(wal: &Wal, rows: &[Numbered]) -> bool {
    wal.has_room(record::len(rows, 0, 0))
}

fn file() -> Arc<InMemoryBackend> {
    let file = Arc::new(InMemoryBackend::new());
    prepare(file.as_ref()).unwrap();
    file
}

/// A transaction has taken over all there is, and a new epoch begins.
fn begin(wal: &mut Wal) {
    let turn = wal.turn().unwrap();
    wal.turned(Turn {
        epoch: wal.epoch().next().unwrap(),
        goes_on: false,
        ..turn
    });
}

/// A log that takes records, of a file with none.
fn begun(file: &Arc<InMemoryBackend>) -> Wal {
    let mut wal = Wal::open(file.clone(), REGION_BYTES, Epoch::default()).unwrap();
    assert!(!has_room(&wal, &[]), "a transaction comes first");
    begin(&mut wal);
    wal
}

#[test]
fn what_was_added_is_read_again_in_its_order() {
    let file = file();
    let mut wal = begun(&file);
    add(&mut wal, &[row(1, 2), row(2, 0)]).unwrap();
    add(&mut wal, &[row(3, 240)]).unwrap();
    add(&mut wal, &[row(9, 240), row(10, 1)]).unwrap();
    let read = opened(&file, wal.epoch());
    assert_eq!(read.rows(), wal.rows());
    assert_eq!(read.rows().len(), 5);
    let next = wal.epoch().next().unwrap();
    let same_number = Epoch::default().next().unwrap();
    for other in [Epoch::default(), next, same_number] {
        assert!(opened(&file, &other).rows().is_empty());
    }
}

#[test]
fn a_new_epoch_voids_the_records_of_the_old_one() {
    let file = file();
    let mut wal = begun(&file);
    for n in 0..5 {
        add(&mut wal, &[row(n, 2)]).unwrap();
    }
    begin(&mut wal);
    add(&mut wal, &[row(7, 1)]).unwrap();
    let read = opened(&file, wal.epoch());
    assert_eq!(read.rows(), [row(7, 1)], "what lies behind it is of before");
}

#[test]
fn what_is_added_beside_a_transaction_counts_whether_or_not_that_happens() {
    let file = file();
    let mut wal = begun(&file);
    add(&mut wal, &[row(1, 2), row(2, 0)]).unwrap();
    add(&mut wal, &[row(3, 1)]).unwrap();
    let before = wal.epoch().clone();
    let turn = wal.turn().unwrap();
    assert!(turn.goes_on);
    let after = turn.epoch.clone();
    assert_eq!(turn.rows, [row(1, 2), row(2, 0), row(3, 1)]);
    add(&mut wal, &[row(9, 4)]).unwrap();
    wal.turned(turn);
    assert_eq!(wal.rows(), [row(9, 4)]);
    add(&mut wal, &[row(10, 1)]).unwrap();
    assert!(wal.epoch() == &after);
    let left = [row(9, 4), row(10, 1)];
    assert_eq!(opened(&file, &after).rows(), left);
    let all = [row(1, 2), row(2, 0), row(3, 1), row(9, 4), row(10, 1)];
    let all_again = opened(&file, &before);
    assert_eq!((all_again.rows(), all_again.damaged()), (&all[..], 0));
    // A torn record beside a transaction is the first one behind it.
    let torn = after.begin() as usize;
    file.write(torn as u64 + 100, &[0xff; 40]).unwrap();
    let rest = opened(&file, &after);
    assert_eq!((rest.rows(), rest.damaged()), (&left[1..], 1));
}

#[test]
fn a_new_epoch_begins_when_a_part_of_the_log_is_left() {
    let file = file();
    let mut wal = begun(&file);
    let first = wal.epoch().clone();
    let mut turns = 0;
    for number in 1.. {
        add(&mut wal, &[row(number, 1)]).unwrap();
        let turn = wal.turn().unwrap();
        let goes_on = turn.goes_on;
        let room = wal.room() as u64;
        assert!(!goes_on || room >= REGION_BYTES / LEFT_PART);
        wal.turned(turn);
        assert!(wal.rows().is_empty() && wal.epoch() != &first);
        assert!(is_within(wal.epoch(), REGION_BYTES));
        if !goes_on {
            break;
        }
        turns += 1;
    }
    let pages = REGION_BYTES / PAGE_BYTES;
    assert_eq!(turns, pages - pages / LEFT_PART - 1);
    assert_eq!(wal.epoch().number(), first.number() + 1);
    assert_eq!(wal.room() as u64, REGION_BYTES - PAGE_BYTES);
    for at in [1, PAGE_BYTES - 1, REGION_BYTES + PAGE_BYTES, u64::MAX] {
        assert!(!is_within(&first.behind(at), REGION_BYTES), "{at}");
    }
}

/// The epoch before wrote farther than the new one has come: what is behind a torn record is void, and no damage.
#[test]
fn a_torn_record_before_void_ones_is_no_damage() {
    let file = file();
    let mut wal = begun(&file);
    for n in 0..5 {
        add(&mut wal, &[row(n, 2)]).unwrap();
    }
    begin(&mut wal);
    add(&mut wal, &[row(5, 1)]).unwrap();
    add(&mut wal, &[row(6, 1)]).unwrap();
    file.write(2 * PAGE_BYTES, &[0; 3]).unwrap();
    let read = opened(&file, wal.epoch());
    assert_eq!((read.rows(), read.damaged()), (&[row(5, 1)][..], 0));
}

#[test]
fn a_record_that_stands_twice_is_read_once() {
    let file = file();
    let mut wal = begun(&file);
    for n in 0..3 {
        add(&mut wal, &[row(n, 2)]).unwrap();
    }
    let mut page = vec![0; PAGE_BYTES as usize];
    file.read(PAGE_BYTES, &mut page).unwrap();
    file.write(2 * PAGE_BYTES, &page).unwrap();
    let read = opened(&file, wal.epoch());
    assert_eq!(
        (read.rows(), read.damaged()),
        (&[row(0, 2), row(2, 2)][..], 1)
    );
}

/// A record of a push in whose body `page` begins where a page does: whoever sends many finds the place.
fn around(wal: &Wal, page: &[u8]) -> Bytes {
    let at = Timestamp::from_secs(1);
    let keys = Keys {
        content: Key::from_bytes([1; 16]),
        id: None,
    };
    let record = |before: usize| {
        let body = [&vec![9; before], page, &[9; 50]].concat();
        let new = NewJob {
            shelf: ShelfId(0),
            keys,
            head: Bytes::new(),
            body: body.into(),
            order: None,
            at,
            state: NewState::Queued { due: at },
            attempts: Vec::new(),
        };
        let state = JobState::Queued {
            due: at,
            waits: false,
        };
        let info = JobInfo {
            id: JobId::from_number(1),
            shelf: new.shelf,
            keys,
            at,
            state,
            order: None,
            attempts: 0,
            replayed_at: None,
            bytes: 0,
        };
        let mut draft = Draft::new(&wal.epoch, 1, 0);
        draft.push(&info, &new);
        draft.finish()
    };
    let is_there = |bytes: &[u8]| bytes == page;
    let place = record(0).windows(page.len()).position(is_there).unwrap();
    record(PAGE_BYTES as usize - place)
}

#[test]
fn a_record_that_somebody_put_into_a_body_is_none_even_where_its_own_record_is_torn() {
    let file = file();
    let mut wal = begun(&file);
    let number_alone = Epoch::decode(&wal.epoch().number().to_le_bytes()).unwrap();
    let same_number = Epoch::default().next().unwrap();
    // With the nonce it would be one: that is what the test stands on.
    for (epoch, jobs) in [
        (number_alone, 0),
        (same_number, 0),
        (wal.epoch().clone(), 1),
    ] {
        let mut forged = Draft::new(&epoch, 1, 0);
        forged.end(JobId::from_number(7));
        let record = around(&wal, &forged.finish());
        wal.end = PAGE_BYTES;
        wal.append(&record, &[], true).unwrap();
        let read = opened(&file, wal.epoch()).take_jobs();
        assert!(matches!(&read[..], [JobEntry::Pushed(_)]));
        file.write(PAGE_BYTES, &[0; 20]).unwrap();
        let read = opened(&file, wal.epoch()).take_jobs();
        assert_eq!(read.len(), jobs);
    }
}

#[test]
fn a_record_of_ends_alone_that_is_lost_is_counted() {
    let file = file();
    let mut wal = begun(&file);
    for id in 0..3 {
        let mut draft = Draft::new(&wal.epoch, 5, 0);
        draft.end(JobId::from_number(id));
        let record = draft.finish();
        wal.append(&record, &[], true).unwrap();
    }
    add(&mut wal, &[row(5, 1)]).unwrap();
    for (page, damaged) in [(2, 1), (4, 0)] {
        file.write(page * PAGE_BYTES, &[1; 3]).unwrap();
        let mut read = opened(&file, wal.epoch());
        assert_eq!(
            (read.take_jobs().len(), read.damaged()),
            (2, damaged.max(1))
        );
    }
}

#[test]
fn it_is_full_at_the_end_of_its_part() {
    let file = file();
    let mut wal = begun(&file);
    let mut added = 0;
    while has_room(&wal, &[row(added, 2)]) {
        add(&mut wal, &[row(added, 2)]).unwrap();
        added += 1;
    }
    assert_eq!(added, REGION_BYTES / PAGE_BYTES - 1);
    assert_eq!(file.len().unwrap(), REGION_BYTES);
    assert_eq!(opened(&file, wal.epoch()).rows().len() as u64, added);
    begin(&mut wal);
    assert!(has_room(&wal, &[row(0, 2)]));
}

#[test]
fn after_an_error_nothing_more_is_added() {
    let mut wal = begun(&file());
    wal.file = Arc::new(Broken);
    assert!(add(&mut wal, &[row(1, 1)]).is_err());
    assert!(wal.rows().is_empty() && !has_room(&wal, &[row(1, 1)]));
}

#[test]
fn a_beginning_that_was_cut_short_is_begun_again_and_a_stranger_is_left_alone() {
    for len in [0, 1, 4096, REGION_BYTES] {
        let file = InMemoryBackend::new();
        file.set_len(len).unwrap();
        prepare(&file).unwrap();
        prepare(&file).unwrap();
        let mut head = [0; 16];
        file.read(0, &mut head).unwrap();
        assert_eq!((file.len().unwrap(), head), (REGION_BYTES, *MAGIC));
    }
    for torn in [
        &b"passgate"[..],
        b"passgate st\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0 store 1",
        b"\0\0\0\0\0\0\0\0 store 2",
    ] {
        let file = InMemoryBackend::new();
        file.set_len(REGION_BYTES).unwrap();
        file.write(0, torn).unwrap();
        prepare(&file).unwrap();
        let mut head = [0; 16];
        file.read(0, &mut head).unwrap();
        assert_eq!(head, *MAGIC);
    }
    for (len, bytes) in [
        (16, &b"passgate store 3"[..]),
        (5, b"hello"),
        (REGION_BYTES + 1, b""),
        (9000, b"redb"),
    ] {
        let file = InMemoryBackend::new();
        file.set_len(len).unwrap();
        file.write(0, bytes).unwrap();
        assert_eq!(prepare(&file), Err(OpenError::Foreign));
        assert_eq!(file.len().unwrap(), len);
    }
}

#[derive(Debug)]
struct Broken;

impl StorageBackend for Broken {
    fn len(&self) -> io::Result<u64> {
        Err(io::Error::other("broken"))
    }
    fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("broken"))
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::Error::other("broken"))
    }
    fn sync_data(&self) -> io::Result<()> {
        Err(io::Error::other("broken"))
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other("broken"))
    }
}

proptest! {
    /// Whatever single piece of a record is not as it was written, the record is not there, and all others are. It was
    /// torn if it was the last one, and else damaged.
    #[test]
    fn a_record_that_is_not_whole_is_no_record_and_hides_no_other(
        before in 0_u64..4,
        behind in 0_u64..4,
        // Up to three pages.
        rows in prop::collection::vec(0_usize..240, 1..4),
        at in 0_usize..12_288,
        bytes in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let file = file();
        let mut wal = begun(&file);
        for n in 0..before {
            add(&mut wal, &[row(n, 3)]).unwrap();
        }
        let from = wal.end;
        let hit: Vec<_> = (before..).zip(&rows).map(|(n, keys)| row(n, *keys)).collect();
        add(&mut wal, &hit).unwrap();
        let first_behind = before + rows.len() as u64;
        for n in first_behind..first_behind + behind {
            add(&mut wal, &[row(n, 240)]).unwrap();
        }
        let len = record::len(&hit, 0, 0);
        let at = at % len;
        let changed = bytes.len().min(len - at);
        let mut were = vec![0; changed];
        file.read(from + at as u64, &mut were).unwrap();
        let bytes = bytes.get(..changed).unwrap();
        file.write(from + at as u64, bytes).unwrap();
        let read = opened(&file, wal.epoch());
        let is_whole = were == bytes;
        let left: Vec<_> = wal.rows().iter().filter(|row| is_whole || !hit.contains(row)).cloned().collect();
        prop_assert_eq!(read.rows(), left);
        let damaged = match (is_whole || behind == 0, before) {
            (true, _) => 0,
            // Nothing says where the epoch's first row began.
            (false, 0) => 1,
            (false, _) => rows.len() as u64,
        };
        prop_assert_eq!(read.damaged(), damaged);
    }

    #[test]
    fn whatever_is_there_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = record::decode(&Bytes::from(bytes), 0, &Epoch::default());
    }
}
