//! A store on a disk that fails.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::tuning::Tuning;
use passgate::keepers::store::{Found, Health, Probe, ShelfId, Store, StoreError};
use passgate::words::time::Clock;

use crate::disk::Disk;
use crate::life::{KEEP, TestClock, keys};

pub const BOTH: Found = Found {
    content: true,
    id: true,
};

pub struct Bench {
    pub disk: Disk,
    pub clock: Arc<TestClock>,
    pub store: Embedded,
    pub shelf: ShelfId,
}

impl Bench {
    pub fn on(disk: Disk, tuning: Tuning) -> Self {
        let clock: Arc<TestClock> = Arc::default();
        let medium = Arc::new(disk.clone());
        let store = Embedded::open_on(medium, clock.clone(), tuning, None).unwrap();
        let shelf = store.shelf("route", KEEP).unwrap();
        Self {
            disk,
            clock,
            store,
            shelf,
        }
    }

    /// The same disk, opened again.
    pub fn reopened(self) -> Self {
        let Self { disk, store, .. } = self;
        drop(store);
        Self::on(disk, crate::life::tuning())
    }

    pub fn settle(&self, n: u64) -> Result<(), StoreError> {
        let (tell, told) = channel();
        let done = move |result| tell.send(result).unwrap();
        self.store
            .settle(self.shelf, keys(n), self.clock.now(), Box::new(done));
        told.recv().unwrap()
    }

    pub fn probe(&self, n: u64) -> Probe {
        self.store.probe(self.shelf, &keys(n), self.clock.now())
    }

    pub fn until_ready(&self) {
        self.until(|store| store.health() == Health::Ready);
    }

    pub fn until(&self, is_so: impl Fn(&Embedded) -> bool) {
        let began = Instant::now();
        while !is_so(&self.store) {
            let took = began.elapsed();
            assert!(
                took < Duration::from_secs(20),
                "{:?} {:?}",
                self.store.health(),
                self.store.statistics()
            );
            std::thread::yield_now();
        }
    }
}
