//! What makes two events the same.
//!
//! A provider says what an event's identity consists of ([`Identity`]); together with the route's name
//! that becomes one or two ledger [`Key`]s and the idempotency key that the app sees.
//!
//! # Why
//! Every part is length-prefixed before it is hashed, and an absent part differs from an empty one, so
//! that no two different events can be written into the same bytes. The route's name is part of every
//! key, so that one body on two routes is two events.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// What the ledger remembers an event by: the first 128 bits of a SHA-256.
///
/// 128 bits leave a collision as improbable as any sender's effort of 2^64 hashes can make it, and
/// halve what a remembered event costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; Key::LEN]);

/// The keys of one event: both are settled together, and either one known makes it a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// From the content, or from content and id where the identity includes the id.
    pub content: Key,
    /// From the delivery id and what the body says of the event; absent where ids play no part.
    pub id: Option<Key>,
}

/// What a provider knows of an event's identity, before the route's name is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the content (the raw body, or whatever a provider puts in its place).
    pub content: [u8; 32],
    /// The provider's delivery id, where it sent a usable one.
    pub delivery_id: Option<Box<str>>,
    /// SHA-256 of what the content itself says of the event; only used together with `delivery_id`.
    pub facts: Option<[u8; 32]>,
    /// Whether the same content under another id is another event (WalletWerk's `webhook.test`).
    pub id_counts: bool,
}

/// Hashes length-prefixed parts, so that `ab` + `c` is not `a` + `bc` and absent is not empty.
#[derive(Clone)]
pub struct PartsHasher(Sha256);

/// What every idempotency key begins with.
const IDEMPOTENCY_PREFIX: &str = "evt_";

// === impl Key ===

impl Key {
    /// Bytes of a key.
    pub const LEN: usize = 16;

    /// A key from its stored bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are stored.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// What the app knows the event by whose content key this is.
    pub fn idempotency_key(&self) -> String {
        let mut text = String::with_capacity(IDEMPOTENCY_PREFIX.len() + 2 * Self::LEN);
        text.push_str(IDEMPOTENCY_PREFIX);
        HEXLOWER.encode_append(&self.0, &mut text);
        text
    }

    /// Appends [`Key::idempotency_key`].
    pub fn write_idempotency_key(&self, text: &mut Vec<u8>) {
        let mut digits = [0; 2 * Self::LEN];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        text.extend_from_slice(IDEMPOTENCY_PREFIX.as_bytes());
        text.extend_from_slice(&digits);
    }

    /// The key behind an idempotency key.
    pub fn from_idempotency_key(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(IDEMPOTENCY_PREFIX)?;
        let bytes = HEXLOWER.decode(digits.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The first eight bytes as a number. Uniform, since a key is a cryptographic hash.
    pub const fn leading(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Where it stands among all keys: the first eight bytes as a number that ascends as keys do.
    pub const fn rank(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The last eight bytes as a number, independent of [`Key::leading`].
    pub const fn trailing(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", HEXLOWER.encode(&self.0))
    }
}

// === impl Keys ===

impl Keys {
    /// The keys of an event on `route`. `id_counts` is the route's `same_content = "forward"`.
    pub fn new(route: &str, identity: &Identity, id_counts: bool) -> Self {
        let id_counts = id_counts || identity.id_counts;
        let route = route.as_bytes();
        match (&identity.delivery_id, id_counts) {
            (Some(id), true) => Self {
                content: PartsHasher::new("content and id")
                    .part(route)
                    .part(&identity.content)
                    .part(id.as_bytes())
                    .key(),
                id: None,
            },
            (id, _) => Self {
                content: PartsHasher::new("content")
                    .part(route)
                    .part(&identity.content)
                    .key(),
                id: id.as_ref().zip(identity.facts).map(|(id, facts)| {
                    PartsHasher::new("id")
                        .part(route)
                        .part(id.as_bytes())
                        .part(&facts)
                        .key()
                }),
            },
        }
    }

    /// What the app knows the event by: the same in every attempt and retry, even under a new delivery
    /// id, and different for different content, even under one id.
    pub fn idempotency_key(&self) -> String {
        self.content.idempotency_key()
    }

    /// Both keys, the content key first.
    pub fn iter(&self) -> impl Iterator<Item = Key> {
        [Some(self.content), self.id].into_iter().flatten()
    }
}

// === impl PartsHasher ===

impl PartsHasher {
    /// A hasher for one `purpose`; hashes of different purposes never meet.
    pub fn new(purpose: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.part(purpose.as_bytes());
        hasher
    }

    /// Adds a part that is there, if only as an empty one.
    pub fn part(&mut self, part: &[u8]) -> &mut Self {
        let [a, b, c, d, e, f, g, h] = (part.len() as u64).to_le_bytes();
        self.0.update([1, a, b, c, d, e, f, g, h]);
        self.0.update(part);
        self
    }

    /// Adds the knowledge that a part is absent.
    pub fn absent(&mut self) -> &mut Self {
        self.0.update([0]);
        self
    }

    /// Adds a part that may be absent.
    pub fn maybe(&mut self, part: Option<&[u8]>) -> &mut Self {
        match part {
            Some(part) => self.part(part),
            None => self.absent(),
        }
    }

    /// The whole digest of what was added so far.
    pub fn digest(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }

    /// The digest cut to a ledger key.
    pub fn key(&self) -> Key {
        let digest = self.digest();
        let mut bytes = [0; Key::LEN];
        bytes.copy_from_slice(&digest[..Key::LEN]);
        Key(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(content: u8, id: Option<&str>) -> Identity {
        Identity {
            content: [content; 32],
            delivery_id: id.map(Into::into),
            facts: Some([9; 32]),
            id_counts: false,
        }
    }

    #[test]
    fn a_new_id_leaves_the_content_key_and_the_idempotency_key_alone() {
        let first = Keys::new("r", &identity(1, Some("a")), false);
        let second = Keys::new("r", &identity(1, Some("b")), false);
        assert_eq!(first.content, second.content);
        assert_ne!(first.id, second.id);
        assert_eq!(first.idempotency_key(), second.idempotency_key());
    }

    #[test]
    fn another_route_is_another_event() {
        let first = Keys::new("r", &identity(1, Some("a")), false);
        let second = Keys::new("s", &identity(1, Some("a")), false);
        assert_ne!(first.content, second.content);
        assert_ne!(first.id, second.id);
    }

    #[test]
    fn where_the_id_counts_there_is_one_key_from_both() {
        let first = Keys::new("r", &identity(1, Some("a")), true);
        let second = Keys::new("r", &identity(1, Some("b")), true);
        assert_eq!(first.id, None);
        assert_ne!(first.content, second.content);
        let without = Keys::new("r", &identity(1, None), true);
        assert_eq!(without, Keys::new("r", &identity(1, None), false));
    }

    /// Computed apart, in Python: what is stored by one release is known to the next.
    #[test]
    fn keys_are_what_earlier_releases_stored() {
        let hex = |key: Key| HEXLOWER.encode(key.as_bytes());
        let identity = identity(1, Some("a"));
        let keys = Keys::new("r", &identity, false);
        assert_eq!(hex(keys.content), "abb7969aaec7208a126acbd54af9a062");
        assert_eq!(
            keys.id.map(hex).as_deref(),
            Some("0d596f0f324d0732880fa812fceaf723")
        );
        let both = Keys::new("r", &identity, true);
        assert_eq!(hex(both.content), "b2538cc4804085f55f7e6efdb9812fee");
    }

    #[test]
    fn the_idempotency_key_is_evt_and_32_hex_digits() {
        let key = Keys::new("r", &identity(1, None), false).idempotency_key();
        let digits = key.strip_prefix("evt_").unwrap();
        assert_eq!(digits.len(), 32);
        assert!(
            digits
                .bytes()
                .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
        );
    }

    proptest! {
        #[test]
        fn parts_cannot_be_shifted_into_each_other(
            a in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4)), 0..4),
            b in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4)), 0..4),
        ) {
            let hash = |parts: &[Option<Vec<u8>>]| {
                let mut hasher = PartsHasher::new("t");
                for part in parts {
                    hasher.maybe(part.as_deref());
                }
                hasher.digest()
            };
            prop_assert_eq!(a == b, hash(&a) == hash(&b));
        }
    }
}
