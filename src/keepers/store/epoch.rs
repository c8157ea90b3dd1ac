//! The epochs of the log: which of its records count.
//!
//! Each has a number, and a nonce that nobody knows but whoever may read the file. A record is checked against both. Of
//! an epoch that goes on while its records are taken over into the tables, those count that come behind a place.
//!
//! # Why
//! Records hold the bytes of strangers, and where one is torn or damaged the next is looked for at every page, within
//! those bytes too. Whoever could make a check by himself could put a record into a body, one that ends the jobs of
//! others or pushes what nobody verified, and wait for a crash.

use std::io;

use sha2::{Digest, Sha256};

/// An epoch.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Epoch {
    number: u64,
    /// None in files of earlier versions, whose records hold nobody's bytes.
    nonce: Option<[u8; NONCE_BYTES]>,
    /// Where in the file its records begin that are in no table; 0 for where the log begins.
    begin: u64,
}

// === impl Epoch ===

impl Epoch {
    /// The one that follows, with a new nonce.
    ///
    /// # Errors
    /// Where the system has no random numbers to give.
    pub(super) fn next(&self) -> io::Result<Self> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self {
            number: self.number.wrapping_add(1),
            nonce: Some(nonce),
            begin: 0,
        })
    }

    /// The same, of whose records those before a place in the file are in the tables.
    pub(super) fn behind(&self, place: u64) -> Self {
        Self {
            begin: place,
            ..self.clone()
        }
    }

    /// Where in the file its records begin that are in no table; 0 for where the log begins.
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The row that names it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let nonce = self.nonce.as_ref().map_or(&[][..], |nonce| nonce);
        [&self.number.to_le_bytes(), nonce, &self.begin.to_le_bytes()].concat()
    }

    /// Reads what [`Self::encode`] wrote, or versions before it, of which the first knew no nonce, and neither a place.
    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (number, rest) = row.split_first_chunk()?;
        let (nonce, begin) = match rest.split_first_chunk() {
            None if rest.is_empty() => (None, &[][..]),
            None => return None,
            Some((nonce, begin)) => (Some(*nonce), begin),
        };
        let begin = match begin {
            [] => 0,
            begin => u64::from_le_bytes(begin.try_into().ok()?),
        };
        Some(Self {
            number: u64::from_le_bytes(*number),
            nonce,
            begin,
        })
    }

    /// The check of a record's bytes. A strong one: whoever chooses the bytes of an event must not be able to choose
    /// what a torn record looks like.
    pub(super) fn check(&self, record: &[u8]) -> [u8; CHECK_BYTES] {
        let mut hasher = Sha256::new();
        hasher.update(self.nonce.as_ref().map_or(&[][..], |nonce| nonce));
        hasher.update(record);
        let digest: [u8; 32] = hasher.finalize().into();
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(digest.split_at(CHECK_BYTES).0);
        check
    }
}

/// Bytes of a check.
pub(super) const CHECK_BYTES: usize = 16;
const NONCE_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_back_and_one_of_before_has_no_nonce() {
        let next = Epoch::default().next().unwrap();
        assert_eq!((next.number(), next.encode().len()), (1, 32));
        let later = next.behind(4096);
        assert_eq!((later.number(), later.begin(), next.begin()), (1, 4096, 0));
        assert_eq!(later.check(b"a record"), next.check(b"a record"));
        for epoch in [&next, &later] {
            assert!(Epoch::decode(&epoch.encode()) == Some(epoch.clone()));
        }
        let other = Epoch::default().next().unwrap();
        assert!(other != next, "nobody can guess it");
        assert_ne!(other.check(b"a record"), next.check(b"a record"));
        let of_before = Epoch::decode(&[5, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((of_before.number(), of_before.nonce), (5, None));
        let without_place = Epoch::decode(&next.encode()[..24]);
        assert!(without_place == Some(next.clone()));
        for cut in [0, 7, 9, 23, 25, 31] {
            assert!(Epoch::decode(&next.encode()[..cut]).is_none());
        }
    }
}
