//! Where a list goes on: opaque to who carries it, checked when it comes back.
//!
//! Events come from two places, the store and the ring of recent ones, and a cursor has a place in both. It
//! names entries and not numbers of entries, so that what is added meanwhile moves nothing.

use data_encoding::BASE64URL_NOPAD;

use crate::keepers::store::jobs::JobId;

/// Where a list of events goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// In the store.
    pub stored: StoredPlace,
    /// Below this number in the ring.
    pub recent: u64,
}

/// A place among what is stored, which is listed by the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredPlace {
    /// Before the newest.
    Newest,
    /// At this one.
    At(JobId),
    /// After the oldest.
    End,
}

// === impl Cursor ===

impl Cursor {
    /// The beginning of a list.
    pub const START: Self = Self {
        stored: StoredPlace::Newest,
        recent: u64::MAX,
    };

    /// As it is given out.
    pub fn encode(self) -> String {
        let (place, job) = match self.stored {
            StoredPlace::Newest => (0, 0),
            StoredPlace::At(job) => (1, job.number()),
            StoredPlace::End => (2, 0),
        };
        let mut bytes = vec![VERSION, place];
        bytes.extend(job.to_be_bytes());
        bytes.extend(self.recent.to_be_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Reads one that was given out; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (&[version, place], rest) = bytes.split_first_chunk()?;
        let (job, recent) = rest.split_first_chunk()?;
        let job = u64::from_be_bytes(*job);
        let stored = match (version, place, job) {
            (VERSION, 0, 0) => StoredPlace::Newest,
            (VERSION, 1, job) => StoredPlace::At(JobId::from_number(job)),
            (VERSION, 2, 0) => StoredPlace::End,
            _ => return None,
        };
        let recent = u64::from_be_bytes(recent.try_into().ok()?);
        Some(Self { stored, recent })
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = StoredPlace> {
        prop_oneof![
            Just(StoredPlace::Newest),
            any::<u64>().prop_map(|number| StoredPlace::At(JobId::from_number(number))),
            Just(StoredPlace::End),
        ]
    }

    proptest! {
        #[test]
        fn what_is_given_out_reads_back(stored in place(), recent in any::<u64>()) {
            let cursor = Cursor { stored, recent };
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}|[A-Za-z0-9_-]{24}") {
            if let Some(cursor) = Cursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }

        #[test]
        fn only_what_could_have_been_given_out_is_read(
            version in 0u8..3, place in 0u8..4, job in prop_oneof![Just(0), any::<u64>()], recent in any::<u64>(),
        ) {
            let bytes = [&[version, place][..], &job.to_be_bytes(), &recent.to_be_bytes()].concat();
            let text = BASE64URL_NOPAD.encode(&bytes);
            let is_right = version == VERSION && (place == 1 || (place % 2 == 0 && job == 0));
            let read = Cursor::decode(&text).map(Cursor::encode);
            prop_assert_eq!(read, is_right.then_some(text));
        }

        #[test]
        fn a_cut_one_is_refused(stored in place(), recent in any::<u64>(), keep in 0usize..24) {
            let text = Cursor { stored, recent }.encode();
            prop_assert_eq!(Cursor::decode(&text[..keep]), None);
        }
    }
}
