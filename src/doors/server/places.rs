//! How many connections there are at one time: of all senders together, and of each client.
//!
//! Nobody is sent away while an event of its is at work. At a bound somebody else leaves for a newcomer: who only asked
//! for what was refused; else who has not come to the end of a request yet; and at the bound of all, where these are
//! the fewer, who is known by a new event and has idled for longer. It leaves only after a moment in that state,
//! since in a burst the oldest silent one is a true sender in its handshake; asking again for junk makes nobody
//! younger. Until somebody may leave the newcomer waits: for a place among all in the accept loop, with others
//! behind it in the system's queue; for a place of its client in a task of its own, unread, so that the crowd of one
//! client holds up nobody else. A client's bound is for those that have brought no event: true senders are bounded
//! by what they bring.
//!
//! So neither thousands of connections that stay silent, nor hundreds that ask for junk, keep a true sender out, not
//! even from his own address.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout, timeout_at};

use crate::doors::server::seat::{Asking, Seat, Standing};
use crate::rules::client::ClientKey;
use crate::words::limits::Limits;

/// For each connection that a client may have, so many more may wait for a place.
const WAITING_PER_PLACE: usize = 3;

/// Who is known by a new event may idle so many times as long as others may be silent.
const PATIENCE_WITH_PROVEN: u32 = 4;

/// Whoever waits looks around no more often than this.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// The places for connections.
pub struct Places {
    free: Arc<Semaphore>,
    client_max: usize,
    silent_time: Duration,
    wait_max: Duration,
    taken: Mutex<Taken>,
}

/// A connection's place among all and, once it has settled, among its client's, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
    /// Its turn among those of its client that wait, until it has come.
    turn: Mutex<Option<Turn>>,
    _permit: OwnedSemaphorePermit,
}

/// Somebody's turn to have a place of its client's, in the order in which they came.
struct Turn(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>);

#[derive(Default)]
struct Taken {
    clients: HashMap<ClientKey, Client>,
    /// Who has not been asked to leave, in the order of coming.
    seats: BTreeMap<u64, Arc<Seat>>,
    next: u64,
}

/// The connections of a client.
struct Client {
    /// The places that are left for it.
    free: Arc<Semaphore>,
    /// Those that have a place and those that wait for one.
    here: usize,
}

/// Connections of one kind that could leave.
#[derive(Clone, Copy, Default)]
struct Group<'a> {
    count: usize,
    oldest: Option<(Instant, &'a Arc<Seat>)>,
}

// === impl Places ===

impl Places {
    /// The places that `limits` allow.
    pub fn new(limits: &Limits) -> Arc<Self> {
        let all = limits.connections.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(all)),
            client_max: limits.client_connections.min(Semaphore::MAX_PERMITS),
            silent_time: limits.silent_time,
            wait_max: limits.handshake_time,
            taken: Mutex::default(),
        })
    }

    /// Waits for a place for a newcomer who is there already, until somebody goes or can be sent away.
    pub async fn vacant(&self) -> Option<OwnedSemaphorePermit> {
        let acquired = Arc::clone(&self.free).acquire_owned();
        tokio::pin!(acquired);
        let mut pause = Duration::ZERO;
        loop {
            if let Ok(permit) = timeout(pause, &mut acquired).await {
                return permit.ok();
            }
            let mut taken = self.taken();
            pause = match taken.dismiss(None, self.silent_time, self.silent_time) {
                // It needs but a moment to go.
                true => self.silent_time,
                false => taken.until_of_age(self.silent_time),
            };
        }
    }

    /// Gives a connection its place among all, `permit`; among its client's it has to settle. `None` where as many
    /// of the client wait as may, and nobody can leave. Without a client there is no bound but that of all.
    pub fn take(
        self: &Arc<Self>,
        client: Option<ClientKey>,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arc<Place>> {
        let mut taken = self.taken();
        let (mut held, mut turn) = (None, None);
        if let Some(client) = client {
            let (free, here) = taken.of(client, self.client_max);
            held = Arc::clone(&free).try_acquire_owned().ok();
            if held.is_none() {
                let crowd_max = self.client_max.saturating_mul(1 + WAITING_PER_PLACE);
                let is_crowd = here >= crowd_max;
                // In a crowd no silent one is spared for being young.
                let spared = match is_crowd {
                    true => Duration::ZERO,
                    false => self.silent_time,
                };
                if !taken.dismiss(Some(client), spared, self.silent_time) && is_crowd {
                    return None;
                }
                // Whoever comes next must not have the place of the one that left for this one.
                let mut queued = Turn::behind(free);
                held = queued.has_come();
                turn = held.is_none().then_some(queued);
            }
            if let Some(client) = taken.clients.get_mut(&client) {
                client.here += 1;
            }
        }
        let standing = match turn {
            Some(_) => Standing::Waiting,
            None => Standing::Silent,
        };
        let number = taken.next;
        taken.next += 1;
        let seat = Arc::new(Seat::new(number, client, standing, held));
        taken.seats.insert(number, Arc::clone(&seat));
        Some(Arc::new(Place {
            places: Arc::clone(self),
            seat,
            turn: Mutex::new(turn),
            _permit: permit,
        }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// Waits for a place among its client's, for as long as a handshake may take; false where none came.
    pub async fn settled(&self) -> bool {
        if self.seat.standing() != Standing::Waiting {
            return true;
        }
        let until = Instant::now() + self.places.wait_max;
        let spared = self.places.silent_time;
        while Instant::now() < until {
            let look = until.min(Instant::now() + spared);
            match timeout_at(look, poll_fn(|context| self.poll_turn(context))).await {
                Ok(Some(held)) => return self.seat.settle(held),
                Ok(None) => return false,
                // Who was too young when it came is of age now.
                Err(_) if look < until => {
                    let client = self.seat.client;
                    self.places.taken().dismiss(client, spared, spared);
                }
                Err(_) => {}
            }
        }
        false
    }

    /// Its place, once its turn has come; `None` where it has come before.
    fn poll_turn(&self, context: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let held = match turn.as_mut() {
            Some(Turn(acquired)) => ready!(acquired.as_mut().poll(context)).ok(),
            None => None,
        };
        *turn = None;
        Poll::Ready(held)
    }

    /// A request's head has come.
    pub fn heard(&self) {
        self.seat.heard();
    }

    /// A request was refused before it was a verified event.
    pub fn refused(&self) {
        self.seat.refused();
    }

    /// A verified event begins; `None` where the connection has to leave, so that nothing must begin.
    pub fn begin(&self) -> Option<Asking<'_>> {
        self.seat.begin()
    }

    /// Waits until the connection has to leave.
    pub async fn dismissed(&self) {
        self.seat.dismissed().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.seats.remove(&self.seat.number);
        if let Some(key) = self.seat.client
            && let Some(client) = taken.clients.get_mut(&key)
        {
            client.here -= 1;
            if client.here == 0 {
                taken.clients.remove(&key);
            }
        }
    }
}

// === impl Turn ===

impl Turn {
    /// Behind all who wait for one of `free` already.
    fn behind(free: Arc<Semaphore>) -> Self {
        Self(Box::pin(free.acquire_owned()))
    }

    /// Its place, if it is its turn already; otherwise it is in the queue from now on.
    fn has_come(&mut self) -> Option<OwnedSemaphorePermit> {
        // However much the task of the accept loop has done in this turn of its own.
        let acquired = pin!(unconstrained(&mut self.0));
        match acquired.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(held) => held.ok(),
            Poll::Pending => None,
        }
    }
}

// === impl Taken ===

impl Taken {
    /// The places that are left for `client`, and how many of its connections there are.
    fn of(&mut self, client: ClientKey, max: usize) -> (Arc<Semaphore>, usize) {
        let client = self.clients.entry(client).or_insert_with(|| Client {
            free: Arc::new(Semaphore::new(max)),
            here: 0,
        });
        (Arc::clone(&client.free), client.here)
    }

    /// Has one leave, of `client` if one is named; whether there was one. It has been as it is for so long as `age`
    /// says, or at least silent for `spared`.
    ///
    /// # Why
    /// Of the silent and the proven only the larger group loses proven ones: a flood of young ones must not cost true
    /// senders their connections, nor may these, idle, cost others of theirs the handshake. It looks at everybody,
    /// which for the 4,096 of the default takes some 50 microseconds, and only at the bound.
    fn dismiss(&mut self, client: Option<ClientKey>, spared: Duration, age: Duration) -> bool {
        let [mut refused, mut silent, mut proven] = [Group::default(); 3];
        for seat in self.seats.values() {
            let Some(idle) = seat.idle() else {
                continue;
            };
            // A newcomer of a client is served by the places of its client's others only.
            if client.is_some() && !(seat.client == client && idle.has_place) {
                continue;
            }
            match idle.standing {
                Standing::Waiting | Standing::Silent => silent.add(idle.since, seat),
                Standing::Refused => refused.add(idle.since, seat),
                Standing::Proven => proven.add(idle.since, seat),
            }
        }
        let spares_proven = silent.count >= proven.count;
        let leaver = refused
            .of_age(age)
            .or_else(|| silent.of_age(spared.min(age)))
            .or_else(|| {
                proven
                    .of_age(age * PATIENCE_WITH_PROVEN)
                    .filter(|_| !spares_proven)
            });
        let Some(number) = leaver.filter(|seat| seat.dismiss()).map(|seat| seat.number) else {
            return false;
        };
        self.seats.remove(&number);
        true
    }

    /// How long until one is of this `age`; `age` where an event of everybody is at work.
    fn until_of_age(&self, age: Duration) -> Duration {
        let idle = self.seats.values().filter_map(|seat| seat.idle());
        let since = idle.map(|idle| idle.since).min();
        let rest = since.map_or(age, |since| age.saturating_sub(since.elapsed()));
        rest.max(LOOK_PAUSE)
    }
}

// === impl Group ===

impl<'a> Group<'a> {
    fn add(&mut self, since: Instant, seat: &'a Arc<Seat>) {
        self.count += 1;
        if self.oldest.is_none_or(|(oldest, _)| since < oldest) {
            self.oldest = Some((since, seat));
        }
    }

    fn of_age(&self, age: Duration) -> Option<&'a Arc<Seat>> {
        let (since, seat) = self.oldest?;
        (since.elapsed() >= age).then_some(seat)
    }
}

#[cfg(test)]
mod tests;
