//! A hash map from keys to the second they were settled in, and how keys are hashed here and in the ledger.
//!
//! # Why
//! Keys are hashes already, so hashing them again in full would be waste. But senders can choose bodies until
//! their keys agree in some bits, so the bits are mixed with numbers nobody outside the process knows.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::words::identity::Key;

/// Keys and their stored seconds.
pub(super) type KeyMap = HashMap<Key, u32, Seeds>;

/// Two random numbers, fixed for the process or at least for the map.
#[derive(Clone, Copy)]
pub struct Seeds {
    leading: u64,
    trailing: u64,
}

/// Folds a key, and what stands before it, and the seeds into one number.
pub struct KeyHasher {
    seeds: Seeds,
    hash: u64,
}

/// Adds a key, or moves it to the later second.
pub(super) fn remember(map: &mut KeyMap, key: Key, secs: u32) {
    map.entry(key)
        .and_modify(|held| *held = secs.max(*held))
        .or_insert(secs);
}

impl Default for Seeds {
    fn default() -> Self {
        // A map must exist even where the operating system has no numbers left to give; fastrand then
        // still differs from process to process.
        let draw = || getrandom::u64().unwrap_or_else(|_| fastrand::u64(..));
        Self {
            leading: draw(),
            trailing: draw(),
        }
    }
}

impl BuildHasher for Seeds {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher {
            seeds: *self,
            hash: 0,
        }
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(rest) {
                *to = *from;
            }
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.fold(number.into());
    }

    // An array writes its length first, which is the same for every key.
    fn write_usize(&mut self, _length: usize) {}
}

impl KeyHasher {
    /// Folding both halves of the product lets every input bit reach every output bit.
    fn fold(&mut self, word: u64) {
        let left = u128::from(word ^ self.seeds.leading);
        let right = u128::from(self.hash ^ self.seeds.trailing);
        let product = left * right;
        self.hash = (product as u64) ^ ((product >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most of 6,400 keys that are in one of 64 buckets.
    fn most_in_a_bucket(seeds: Seeds) -> u32 {
        let mut buckets = [0u32; 64];
        for n in 0..6400u32 {
            let mut bytes = [0; Key::LEN];
            bytes[12..].copy_from_slice(&n.to_le_bytes());
            let hash = seeds.hash_one(Key::from_bytes(bytes));
            buckets[(hash & 63) as usize] += 1;
        }
        buckets.into_iter().max().unwrap()
    }

    #[test]
    fn keys_that_agree_in_most_bits_still_spread() {
        // With one pair of numbers in six hundred keys like these crowd together; nobody can know which.
        let most: Vec<_> = (0..16)
            .map(|_| most_in_a_bucket(Seeds::default()))
            .collect();
        let crowds = most.iter().filter(|most| **most >= 200).count();
        assert!(crowds <= 4, "{most:?}");
    }

    #[test]
    fn the_later_second_stays() {
        let mut map = KeyMap::default();
        let key = Key::from_bytes([1; Key::LEN]);
        for secs in [5, 9, 7] {
            remember(&mut map, key, secs);
        }
        assert_eq!(map.get(&key), Some(&9));
    }
}
