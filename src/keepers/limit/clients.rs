//! The states of many clients, in a table of bounded size.
//!
//! Anybody can come from a new address, so the table forgets: first whoever is at full quota again, which
//! loses nothing. If a shard holds nothing but offenders, newcomers share one state, so that a hot offender
//! is never reset by a crowd of others.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use governor::nanos::Nanos;

use crate::rules::client::ClientKey;

/// Clients that are remembered one by one.
#[cfg(test)]
pub const CLIENTS_MAX: usize = SHARDS * SHARD_CLIENTS_MAX;

const SHARDS: usize = 16;
const SHARD_CLIENTS_MAX: usize = 4096;

/// When each client is at full quota again, in nanoseconds since the start.
pub struct ClientStates {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Somebody was charged. Until then nobody need be looked for, and mostly it stays so.
    has_charged: AtomicBool,
}

/// A client at a moment, in nanoseconds since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Visit {
    /// Who.
    pub client: ClientKey,
    /// When.
    pub now: u64,
}

#[derive(Default)]
struct Shard {
    arrivals: HashMap<ClientKey, u64>,
    /// The state that newcomers share while there is no room for one of their own.
    crowd: u64,
    /// No entry can be dropped before this moment, so that a full shard is not searched at each request.
    full_until: u64,
}

// === impl ClientStates ===

impl ClientStates {
    /// Nobody is known.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            has_charged: AtomicBool::new(false),
        }
    }

    /// Whether all clients are at full quota, since none was ever charged.
    pub fn is_untouched(&self) -> bool {
        !self.has_charged.load(Ordering::Acquire)
    }

    /// When `client` is at full quota again.
    pub fn arrival(&self, client: ClientKey, now: u64) -> u64 {
        self.with_shard(client, |shard| match shard.arrivals.get(&client).copied() {
            Some(arrival) => arrival,
            None if shard.has_room(now) => 0,
            None => shard.crowd,
        })
        .unwrap_or(0)
    }

    /// Charges a client, as governor's `StateStore` has it.
    pub fn measure_and_replace<T, E>(
        &self,
        visit: Visit,
        measure: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        self.has_charged.store(true, Ordering::Release);
        let charge = |arrival: &mut u64| {
            let (result, next) = measure((*arrival != 0).then(|| Nanos::from(*arrival)))?;
            *arrival = next.as_u64();
            Ok(result)
        };
        let result = self.with_shard(visit.client, |shard| {
            let Visit { client, now } = visit;
            if !shard.arrivals.contains_key(&client) && !shard.has_room(now) {
                return charge(&mut shard.crowd);
            }
            charge(shard.arrivals.entry(client).or_default())
        });
        // There is no such shard only if there are none at all.
        result.unwrap_or_else(|| charge(&mut 0))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap().arrivals.len())
            .sum()
    }

    fn with_shard<T>(&self, client: ClientKey, work: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let hash = self.hasher.hash_one(client);
        let place = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let shard = self.shards.get(place)?;
        Some(work(
            &mut shard.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

// === impl Shard ===

impl Shard {
    fn has_room(&mut self, now: u64) -> bool {
        if self.arrivals.len() < SHARD_CLIENTS_MAX {
            return true;
        }
        if now < self.full_until {
            return false;
        }
        self.arrivals.retain(|_, arrival| *arrival > now);
        self.full_until = self.arrivals.values().copied().min().unwrap_or(0);
        self.arrivals.len() < SHARD_CLIENTS_MAX
    }
}
