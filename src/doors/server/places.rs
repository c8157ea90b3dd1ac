//! How many connections there are at one time: of all senders together, and of each client.
//!
//! Whoever has not sent a whole head yet holds his place on sufferance: at a bound the one that has kept it longest
//! has to leave for a newcomer. So thousands of connections that stay silent, or never end their handshake, do
//! not keep a true sender out, not even from his own address. One that asked something keeps its place.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::rules::client::ClientKey;

/// The places for connections.
pub struct Places {
    free: Arc<Semaphore>,
    client_max: usize,
    taken: Mutex<Taken>,
}

/// A connection's place among all and among its client's, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    client: Option<ClientKey>,
    number: u64,
    has_asked: AtomicBool,
    leave: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Taken {
    by_client: HashMap<ClientKey, usize>,
    /// Those that have asked nothing yet, the oldest first.
    silent: BTreeMap<u64, Silent>,
    next: u64,
}

struct Silent {
    client: Option<ClientKey>,
    leave: Arc<Notify>,
}

// === impl Places ===

impl Places {
    /// So many places, and so many for one client.
    pub fn new(max: usize, client_max: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            client_max,
            taken: Mutex::default(),
        })
    }

    /// Waits for a place for a newcomer who is there already. If all are taken, the oldest silent connection leaves;
    /// if there is none, the newcomer waits, and others behind it in the system's queue.
    pub async fn vacant(&self) -> Option<OwnedSemaphorePermit> {
        let free = || Arc::clone(&self.free);
        match free().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.taken().dismiss(|_| true);
                free().acquire_owned().await.ok()
            }
        }
    }

    /// Gives a place to a connection; `None` for a client that has too many already, all of which have asked
    /// something. Without a client there is no bound but that of all.
    pub fn take(
        self: &Arc<Self>,
        client: Option<ClientKey>,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arc<Place>> {
        let mut taken = self.taken();
        if let Some(client) = client {
            let is_full = taken.of(client) >= self.client_max;
            if is_full && !taken.dismiss(|silent| silent.client == Some(client)) {
                return None;
            }
            *taken.by_client.entry(client).or_default() += 1;
        }
        let number = taken.next;
        taken.next += 1;
        let leave = Arc::new(Notify::new());
        let silent = Silent {
            client,
            leave: Arc::clone(&leave),
        };
        taken.silent.insert(number, silent);
        Some(Arc::new(Place {
            places: Arc::clone(self),
            client,
            number,
            has_asked: AtomicBool::new(false),
            leave,
            _permit: permit,
        }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// The connection has asked something, and keeps its place from now on.
    pub fn asked(&self) {
        if !self.has_asked.load(Ordering::Relaxed)
            && self.places.taken().silent.remove(&self.number).is_some()
        {
            self.has_asked.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until the connection has to leave.
    pub async fn dismissed(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        // One that was dismissed gave its client's place up then.
        if taken.silent.remove(&self.number).is_some() || *self.has_asked.get_mut() {
            taken.leave(self.client);
        }
    }
}

// === impl Taken ===

impl Taken {
    fn of(&self, client: ClientKey) -> usize {
        self.by_client.get(&client).copied().unwrap_or(0)
    }

    /// Has the oldest silent connection leave that `may` leave; whether there was one.
    fn dismiss(&mut self, may: impl Fn(&Silent) -> bool) -> bool {
        let mut silent = self.silent.iter();
        let Some(number) = silent.find(|(_, silent)| may(silent)).map(|(n, _)| *n) else {
            return false;
        };
        if let Some(silent) = self.silent.remove(&number) {
            self.leave(silent.client);
            silent.leave.notify_one();
        }
        true
    }

    fn leave(&mut self, client: Option<ClientKey>) {
        let Some(client) = client else {
            return;
        };
        if let Some(count) = self.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> Option<ClientKey> {
        Some(ClientKey::from(IpAddr::from([192, 0, 2, last])))
    }

    async fn take(places: &Arc<Places>, last: u8) -> Option<Arc<Place>> {
        let permit = places.vacant().await?;
        places.take(client(last), permit)
    }

    async fn is_dismissed(place: &Place) -> bool {
        tokio::select! {
            biased;
            () = place.dismissed() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn the_oldest_silent_one_leaves_for_a_newcomer_of_its_client() {
        let places = Places::new(100, 3);
        let other = take(&places, 1).await.unwrap();
        let one = take(&places, 2).await.unwrap();
        let two = take(&places, 2).await.unwrap();
        let three = take(&places, 2).await.unwrap();
        one.asked();
        one.asked();
        let four = take(&places, 2).await.unwrap();
        assert!(is_dismissed(&two).await);
        for place in [&other, &one, &three, &four] {
            assert!(!is_dismissed(place).await);
        }
        three.asked();
        four.asked();
        // It asks in the moment that it is dismissed: that is too late.
        two.asked();
        assert!(
            take(&places, 2).await.is_none(),
            "all of them asked something"
        );
        drop(two);
        assert!(take(&places, 2).await.is_none(), "it had left already");
        drop(one);
        assert!(take(&places, 2).await.is_some());
    }

    #[tokio::test]
    async fn when_all_places_are_taken_the_oldest_silent_one_of_anybody_leaves() {
        let places = Places::new(3, 100);
        let mut taken = Vec::new();
        for last in 1..=3 {
            taken.push(take(&places, last).await.unwrap());
        }
        taken[0].asked();
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { take(&places, 4).await.is_some() }
        });
        let leaver = taken.remove(1);
        leaver.dismissed().await;
        drop(leaver);
        assert!(waiting.await.unwrap());
        assert_eq!(places.taken().silent.len(), 1);
    }

    #[tokio::test]
    async fn nothing_is_kept_of_those_who_left() {
        let places = Places::new(3, 2);
        for _ in 0..10 {
            let one = take(&places, 1).await.unwrap();
            let two = take(&places, 1).await.unwrap();
            two.asked();
            let three = take(&places, 1).await.unwrap();
            drop((one, two, three));
        }
        let taken = places.taken();
        assert!(taken.by_client.is_empty() && taken.silent.is_empty());
        assert_eq!(places.free.available_permits(), 3);
    }
}
