//! The rows of the file, byte by byte.
//!
//! Every value begins with a version byte and its length is checked, so that a row from another version or
//! a damaged one reads as `None` and never as wrong keys. Numbers are little-endian. Nothing here does I/O.

use std::time::Duration;

use super::Keep;
use crate::words::identity::Key;

/// A key and when it was settled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) secs: u32,
}

/// Keys of one shelf settled in one commit within one second.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct JournalRow {
    pub(super) shelf: u32,
    pub(super) secs: u32,
    pub(super) keys: Vec<Key>,
}

/// What a sorted run holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Manifest {
    pub(super) shelf: u32,
    pub(super) count: u64,
    pub(super) oldest: u32,
    pub(super) newest: u32,
}

/// A shelf's name and what its route last asked to keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ShelfRow {
    pub(super) name: String,
    pub(super) keep: Keep,
}

/// Records of one chunk, checked in length and borrowed from the page.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a>(&'a [[u8; RECORD_BYTES]]);

// === impl JournalRow ===

impl JournalRow {
    pub(super) fn encoded_len(&self) -> usize {
        9 + self.keys.len() * Key::LEN
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.encoded_len());
        row.push(VERSION);
        row.extend(self.shelf.to_le_bytes());
        row.extend(self.secs.to_le_bytes());
        for key in &self.keys {
            row.extend(key.as_bytes());
        }
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (shelf, rest) = versioned(row)?.split_first_chunk()?;
        let (secs, rest) = rest.split_first_chunk()?;
        let (keys, []) = rest.as_chunks() else {
            return None;
        };
        Some(Self {
            shelf: u32::from_le_bytes(*shelf),
            secs: u32::from_le_bytes(*secs),
            keys: keys.iter().map(|key| Key::from_bytes(*key)).collect(),
        })
    }
}

// === impl Manifest ===

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        row.extend(self.shelf.to_le_bytes());
        row.extend(self.count.to_le_bytes());
        row.extend(self.oldest.to_le_bytes());
        row.extend(self.newest.to_le_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (shelf, rest) = versioned(row)?.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (oldest, rest) = rest.split_first_chunk()?;
        let newest = rest.try_into().ok()?;
        Some(Self {
            shelf: u32::from_le_bytes(*shelf),
            count: u64::from_le_bytes(*count),
            oldest: u32::from_le_bytes(*oldest),
            newest: u32::from_le_bytes(newest),
        })
    }
}

// === impl ShelfRow ===

impl ShelfRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let max_keys = self.keep.max_keys.map_or(NO_BOUND, |max| max as u64);
        let mut row = vec![VERSION];
        row.extend(self.keep.remember.as_secs().to_le_bytes());
        row.extend(self.keep.remember.subsec_millis().to_le_bytes());
        row.extend(max_keys.to_le_bytes());
        row.extend(self.name.as_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (secs, rest) = versioned(row)?.split_first_chunk()?;
        let (millis, rest) = rest.split_first_chunk()?;
        let (max_keys, name) = rest.split_first_chunk()?;
        let millis = u32::from_le_bytes(*millis);
        if millis > 999 {
            return None;
        }
        let max_keys = match u64::from_le_bytes(*max_keys) {
            NO_BOUND => None,
            max => Some(usize::try_from(max).ok()?),
        };
        let remember = Duration::new(u64::from_le_bytes(*secs), millis * 1_000_000);
        Some(Self {
            name: String::from_utf8(name.to_vec()).ok()?,
            keep: Keep { remember, max_keys },
        })
    }
}

// === impl Chunk ===

impl<'a> Chunk<'a> {
    /// Checks a stored chunk. Its order is not checked: a chunk out of order only misses keys.
    pub(super) fn parse(row: &'a [u8]) -> Option<Self> {
        match versioned(row)?.as_chunks() {
            (records @ [_, ..], []) => Some(Self(records)),
            _ => None,
        }
    }

    /// When `key` was settled, if it is here.
    pub(super) fn find(self, key: &Key) -> Option<u32> {
        let place = self.0.binary_search_by(|bytes| record(bytes).key.cmp(key));
        place
            .ok()
            .and_then(|place| self.0.get(place))
            .map(|bytes| record(bytes).secs)
    }

    /// All records, in order of their keys.
    pub(super) fn records(self) -> impl Iterator<Item = Record> + 'a {
        self.0.iter().map(record)
    }
}

/// Packs the records of one chunk, which are sorted by key.
pub(super) fn encode_chunk(records: &[Record]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + records.len() * RECORD_BYTES);
    row.push(VERSION);
    for record in records {
        row.extend(record.key.as_bytes());
        row.extend(record.secs.to_le_bytes());
    }
    row
}

/// Packs the number of the file's format.
pub(super) fn encode_format(format: u32) -> Vec<u8> {
    let mut row = vec![VERSION];
    row.extend(format.to_le_bytes());
    row
}

/// The number of the file's format.
pub(super) fn decode_format(row: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(versioned(row)?.try_into().ok()?))
}

fn record(bytes: &[u8; RECORD_BYTES]) -> Record {
    let [key @ .., a, b, c, d] = *bytes;
    Record {
        key: Key::from_bytes(key),
        secs: u32::from_le_bytes([a, b, c, d]),
    }
}

fn versioned(row: &[u8]) -> Option<&[u8]> {
    match row.split_first() {
        Some((&VERSION, rest)) => Some(rest),
        Some(_) | None => None,
    }
}

/// Records in a full chunk: with its key and the page's own bookkeeping it just fills a page of 4 KiB,
/// where a few bytes more would take two pages.
pub(super) const CHUNK_RECORDS: usize = 200;

const VERSION: u8 = 1;
const RECORD_BYTES: usize = Key::LEN + 4;
const NO_BOUND: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        any::<[u8; Key::LEN]>().prop_map(Key::from_bytes)
    }

    #[test]
    fn another_version_is_no_row() {
        let mut row = encode_format(7);
        assert_eq!(decode_format(&row), Some(7));
        row[0] = VERSION + 1;
        assert_eq!(decode_format(&row), None);
        assert_eq!(decode_format(&[]), None);
    }

    proptest! {
        #[test]
        fn journal_rows_read_back(shelf: u32, secs: u32, keys in vec(key(), 0..300)) {
            let row = JournalRow { shelf, secs, keys };
            let bytes = row.encode();
            prop_assert_eq!(JournalRow::decode(&bytes), Some(row));
            prop_assert_eq!(JournalRow::decode(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn manifests_read_back(shelf: u32, count: u64, oldest: u32, newest: u32) {
            let manifest = Manifest { shelf, count, oldest, newest };
            let bytes = manifest.encode();
            prop_assert_eq!(Manifest::decode(&bytes), Some(manifest));
            prop_assert_eq!(Manifest::decode(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn shelves_read_back(name in ".{0,40}", millis in 0u64..1 << 50, max in proptest::option::of(0usize..1 << 40)) {
            let keep = Keep { remember: Duration::from_millis(millis), max_keys: max };
            let row = ShelfRow { name, keep };
            prop_assert_eq!(ShelfRow::decode(&row.encode()), Some(row));
        }

        #[test]
        fn chunks_read_back_and_find_exactly_their_keys(
            keys in proptest::collection::btree_map(key(), any::<u32>(), 1..CHUNK_RECORDS),
            other in key(),
        ) {
            let records: Vec<_> = keys.iter().map(|(&key, &secs)| Record { key, secs }).collect();
            let bytes = encode_chunk(&records);
            let chunk = Chunk::parse(&bytes).unwrap();
            prop_assert_eq!(chunk.records().collect::<Vec<_>>(), records);
            for (key, secs) in &keys {
                prop_assert_eq!(chunk.find(key), Some(*secs));
            }
            prop_assert_eq!(chunk.find(&other), keys.get(&other).copied());
            prop_assert!(Chunk::parse(&bytes[..bytes.len() - 1]).is_none());
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in vec(any::<u8>(), 0..200), versioned: bool) {
            if let (true, Some(first)) = (versioned, bytes.first_mut()) {
                *first = VERSION;
            }
            let _ = JournalRow::decode(&bytes);
            let _ = Manifest::decode(&bytes);
            let _ = ShelfRow::decode(&bytes);
            let _ = decode_format(&bytes);
            if let Some(chunk) = Chunk::parse(&bytes) {
                let _ = chunk.find(&Key::from_bytes([7; Key::LEN]));
                prop_assert_eq!(chunk.records().count(), (bytes.len() - 1) / RECORD_BYTES);
            }
        }
    }
}
