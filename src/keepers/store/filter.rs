//! A blocked Bloom filter over keys.
//!
//! It answers "certainly not here" or "perhaps here", and is built key by key without holding them.
//!
//! # Why
//! A run's filter lets a new event pass without a read. All bits of a key lie in one block of one cache
//! line, so that asking costs a single miss of the processor's cache; keys are uniform hashes already, so
//! slices of their bits serve as the hash functions.

use crate::words::identity::Key;

/// Which keys may be in a run.
///
/// Its memory comes in slabs of one size: filters come and go with every merge, in all sizes, and an
/// allocator keeps the odd holes they would leave.
pub(super) struct Filter {
    slabs: Vec<Box<Slab>>,
    blocks: u64,
}

type Slab = [Block; SLAB_BLOCKS];

/// One cache line, aligned to it.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([u64; 8]);

impl Filter {
    /// An empty filter for up to `keys` keys.
    pub(super) fn new(keys: u64) -> Self {
        let blocks = keys
            .saturating_mul(bits_per_key(keys))
            .div_ceil(BLOCK_BITS)
            .max(1);
        let slabs = blocks.div_ceil(SLAB_BLOCKS as u64);
        Self {
            slabs: (0..slabs)
                .map(|_| Box::new([Block([0; 8]); SLAB_BLOCKS]))
                .collect(),
            blocks,
        }
    }

    /// Adds a key.
    pub(super) fn add(&mut self, key: &Key) {
        let (slab, block) = self.place(key);
        let slab = self.slabs.get_mut(slab);
        if let Some(Block(words)) = slab.and_then(|slab| slab.get_mut(block)) {
            for (word, mask) in words.iter_mut().zip(masks(key)) {
                *word |= mask;
            }
        }
    }

    /// False only if the key was never added.
    pub(super) fn may_hold(&self, key: &Key) -> bool {
        let (slab, block) = self.place(key);
        let slab = self.slabs.get(slab);
        slab.and_then(|slab| slab.get(block))
            .is_none_or(|Block(words)| {
                words
                    .iter()
                    .zip(masks(key))
                    .all(|(word, mask)| word & mask == mask)
            })
    }

    /// The block of a key: its leading half scaled to the number of blocks.
    fn place(&self, key: &Key) -> (usize, usize) {
        let scaled = (u128::from(key.leading()) * u128::from(self.blocks)) >> 64;
        // Below the number of blocks, which are in memory, so it fits.
        let place = usize::try_from(scaled).unwrap_or(0);
        (place / SLAB_BLOCKS, place % SLAB_BLOCKS)
    }
}

/// One bit in each of the eight words, six bits of the key choosing each. A bit a word beats bits
/// anywhere in the block: no two can fall together, and the loop needs no branches.
fn masks(key: &Key) -> [u64; 8] {
    let bits = key.trailing();
    let mut masks = [0; 8];
    for (word, mask) in masks.iter_mut().enumerate() {
        *mask = 1 << ((bits >> (word * 6)) & 63);
    }
    masks
}

/// Bits for each key of a filter for so many.
///
/// # Why
/// A key that is wrongly claimed costs a read on another thread, as much as the whole way of an event, and each run is
/// asked. Most runs are young and small, so certainty about them takes little memory: one of ten thousand keys is
/// wrongly claimed, with twelve bits it would be one of two hundred. Nearly all keys are in the few large runs, and
/// there one of a thousand is.
const fn bits_per_key(keys: u64) -> u64 {
    if keys <= YOUNG_KEYS { 24 } else { 16 }
}

/// Keys of a run that counts as young.
const YOUNG_KEYS: u64 = 1 << 20;
const BLOCK_BITS: u64 = 512;
/// Blocks of a slab, which has 16 KiB.
const SLAB_BLOCKS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::identity::PartsHasher;

    fn key(n: u32) -> Key {
        PartsHasher::new("filter").part(&n.to_le_bytes()).key()
    }

    /// A filter that holds so many keys, and how many of 20,000 others it claims.
    fn filled(keys: u32) -> (Filter, usize) {
        let mut filter = Filter::new(u64::from(keys));
        (0..keys).for_each(|n| filter.add(&key(n)));
        let others = keys..keys + 20_000;
        let wrong = others.filter(|&n| filter.may_hold(&key(n))).count();
        (filter, wrong)
    }

    #[test]
    fn never_misses_a_key_and_rarely_claims_another() {
        let (filter, wrong) = filled(20_000);
        assert!((0..20_000).all(|n| filter.may_hold(&key(n))));
        assert!(wrong < 20, "{wrong} wrongly claimed");
    }

    #[test]
    fn a_large_one_wrongly_claims_few_and_takes_two_bytes_a_key() {
        let keys = 1_100_000;
        let (filter, wrong) = filled(keys);
        let bytes = filter.slabs.len() * size_of::<Slab>();
        let most = 2 * keys as usize + size_of::<Slab>();
        assert!(bytes <= most, "{bytes} bytes");
        assert!(wrong < 60, "{wrong} wrongly claimed");
    }

    #[test]
    fn a_filter_for_nothing_holds_nothing() {
        assert!(!Filter::new(0).may_hold(&key(1)));
    }
}
