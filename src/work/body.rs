//! Reads a body: raw, bounded in bytes and in time, never truncated.
//!
//! All bodies that are being read share one budget of memory. It is taken as bytes arrive, not as they are
//! announced, so that announcing much and sending nothing holds nothing. What else a client makes us keep before it
//! is known, like the heads of HTTP/2, is held of the same budget; it can wait for room, where a body cannot.

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::rules::client::ClientKey;

/// The memory that bodies may take: all of them together, and those of one client until they are verified.
pub struct BodyBudget {
    all: Arc<Semaphore>,
    /// What may be held besides bodies.
    besides: Arc<Semaphore>,
    by_client: Arc<ByClient>,
    client_max: usize,
}

/// What clients have of the memory; those only that have something, or wait for it.
#[derive(Default)]
struct ByClient(Mutex<HashMap<ClientKey, OfClient>>);

/// What one client has of it.
#[derive(Default)]
struct OfClient {
    bytes: usize,
    /// How many [`ClientShare`]s there are, empty ones included.
    shares: usize,
    /// Told each time that bytes come free.
    freed: Arc<Notify>,
}

/// A client's share of the memory, until it is dropped.
pub struct ClientShare {
    by_client: Arc<ByClient>,
    client: ClientKey,
    bytes: usize,
    freed: Arc<Notify>,
}

/// A complete body.
pub struct ReadBody {
    /// The bytes, as they came.
    pub bytes: Bytes,
    /// Its share of the whole budget, for as long as the event is worked on.
    pub share: Option<OwnedSemaphorePermit>,
    /// Its share of the client's, for as long as it is not verified; `None` if it came in one piece.
    pub unverified: Option<ClientShare>,
    /// It was waited for.
    pub was_awaited: bool,
}

/// Why there is no complete body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than allowed.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It ended early, or its coding is broken.
    Broken,
    /// All memory for bodies is taken, or all that one client may take.
    NoMemory,
}

/// One client's unverified bodies may take this part of the budget, so that nobody alone takes all of it.
const CLIENT_PART: usize = 8;

/// What is held besides bodies may take this part of it, so that who waits to hold something takes bodies no room
/// that they cannot wait for.
const BESIDES_PART: usize = 2;

/// Bytes of the budget that are taken, until this is dropped.
pub struct Held {
    _of_client: ClientShare,
    _besides: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// How slowly a body may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// All of it has this long.
    pub limit: Duration,
    /// So long it may come as slowly as it likes,
    pub grace: Duration,
    /// and then no slower than so many bytes a second, on the whole.
    pub rate: u32,
}

// === impl Pace ===

impl Pace {
    /// After how long a body of which so much came is given up.
    fn patience(&self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let earned =
            Duration::from_millis(bytes.saturating_mul(1000) / u64::from(self.rate.max(1)));
        self.grace.saturating_add(earned).min(self.limit)
    }
}

// === impl BodyBudget ===

impl BodyBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            all: semaphore(bytes),
            besides: semaphore(bytes / BESIDES_PART),
            by_client: Arc::default(),
            client_max: bytes / CLIENT_PART,
        }
    }

    /// The bytes that one client may take.
    pub const fn client_bytes(&self) -> usize {
        self.client_max
    }

    /// Takes so many bytes for something else that a client has in memory; `None` if there is no room.
    pub fn try_hold(&self, client: ClientKey, bytes: u32) -> Option<Held> {
        let mut of_client = ClientShare::new(&self.by_client, client);
        if !of_client.grow(usize::try_from(bytes).ok()?, self.client_max) {
            return None;
        }
        Some(Held {
            _of_client: of_client,
            _besides: Arc::clone(&self.besides)
                .try_acquire_many_owned(bytes)
                .ok()?,
            _all: Arc::clone(&self.all).try_acquire_many_owned(bytes).ok()?,
        })
    }

    /// The same, and waits for room: first for the client's, so that one who has all its part keeps nobody else
    /// waiting, then, each in its turn, for that of all. For ever, if it is more than a client may take.
    pub async fn hold(&self, client: ClientKey, bytes: u32) -> Held {
        let mut of_client = ClientShare::new(&self.by_client, client);
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
        of_client.grow_in_time(wanted, self.client_max).await;
        Held {
            _of_client: of_client,
            _besides: acquire(&self.besides, bytes).await,
            _all: acquire(&self.all, bytes).await,
        }
    }

    /// Reads a body of at most `max` bytes at this pace.
    ///
    /// What comes in one piece is not held while more of it is waited for, and so takes nothing of what its client
    /// may have.
    ///
    /// # Errors
    /// Why it is not complete; whatever was read of it is dropped.
    pub async fn read(
        &self,
        mut body: Incoming,
        client: ClientKey,
        max: usize,
        pace: Pace,
    ) -> Result<ReadBody, BodyError> {
        let mut began = None;
        let mut read = Chunks::None;
        let mut share: Option<OwnedSemaphorePermit> = None;
        let mut unverified: Option<ClientShare> = None;
        while !body.is_end_stream() {
            // What is there is taken without a timer, and nearly every body is there with its head.
            let there = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context)));
            let frame = match there.await {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let began = *began.get_or_insert_with(Instant::now);
                    let until = began + pace.patience(read.len());
                    let frame = tokio::time::timeout_at(until, body.frame());
                    frame.await.map_err(|_| BodyError::TooSlow)?
                }
            };
            let Some(frame) = frame else {
                break;
            };
            let frame = frame.map_err(|_| BodyError::Broken)?;
            // Trailers are dropped: nothing in them was there when the head was checked.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > max - read.len() {
                return Err(BodyError::TooLarge);
            }
            let size = u32::try_from(data.len()).map_err(|_| BodyError::TooLarge)?;
            if unverified.is_some() || !body.is_end_stream() {
                let of_client =
                    unverified.get_or_insert_with(|| ClientShare::new(&self.by_client, client));
                if !of_client.grow(data.len(), self.client_max.max(max)) {
                    return Err(BodyError::NoMemory);
                }
            }
            let more = Arc::clone(&self.all)
                .try_acquire_many_owned(size)
                .map_err(|_| BodyError::NoMemory)?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            let expected = body.size_hint().lower();
            read = read.and(data, usize::try_from(expected).unwrap_or(max).min(max));
        }
        Ok(ReadBody {
            bytes: read.into_bytes(),
            share,
            unverified,
            was_awaited: began.is_some(),
        })
    }
}

// === impl ClientShare ===

impl ClientShare {
    /// Nothing yet.
    fn new(by_client: &Arc<ByClient>, client: ClientKey) -> Self {
        let freed = {
            let mut clients = by_client.clients();
            let of_client = clients.entry(client).or_default();
            of_client.shares += 1;
            Arc::clone(&of_client.freed)
        };
        Self {
            by_client: Arc::clone(by_client),
            client,
            bytes: 0,
            freed,
        }
    }

    /// Takes so many bytes more, unless the client then has more than `max`.
    fn grow(&mut self, bytes: usize, max: usize) -> bool {
        let mut clients = self.by_client.clients();
        let taken = &mut clients.entry(self.client).or_default().bytes;
        if bytes > max.saturating_sub(*taken) {
            return false;
        }
        *taken += bytes;
        self.bytes += bytes;
        true
    }

    /// The same, once there is room.
    async fn grow_in_time(&mut self, bytes: usize, max: usize) {
        let freed = Arc::clone(&self.freed);
        while !self.grow(bytes, max) {
            // What came free since is remembered, and passed on to another who waits if this one is dropped.
            freed.notified().await;
        }
        // One is told for all that came free, and there may be room for the next.
        freed.notify_one();
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        let mut clients = self.by_client.clients();
        if let Some(of_client) = clients.get_mut(&self.client) {
            of_client.bytes -= self.bytes;
            of_client.shares -= 1;
            if of_client.shares == 0 {
                clients.remove(&self.client);
            }
        }
        drop(clients);
        if self.bytes > 0 {
            self.freed.notify_one();
        }
    }
}

// === impl ByClient ===

impl ByClient {
    fn clients(&self) -> MutexGuard<'_, HashMap<ClientKey, OfClient>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl BodyError ===

impl BodyError {
    /// Whether the sender is at fault, rather than the moment.
    pub const fn is_the_senders(self) -> bool {
        match self {
            Self::TooLarge | Self::TooSlow | Self::Broken => true,
            Self::NoMemory => false,
        }
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

async fn acquire(from: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    match Arc::clone(from).acquire_many_owned(permits).await {
        Ok(permits) => permits,
        // Nobody closes it.
        Err(_) => pending().await,
    }
}

/// What was read so far. Nearly every body comes in one piece, which is not copied.
pub(super) enum Chunks {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Chunks {
    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    /// The same and a piece more; about so many bytes are still to come.
    pub(super) fn and(self, more: Bytes, still_expected: usize) -> Self {
        match self {
            Self::None => Self::One(more),
            Self::One(first) => {
                let mut bytes = BytesMut::with_capacity(first.len() + more.len() + still_expected);
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&more);
                Self::Many(bytes)
            }
            Self::Many(mut bytes) => {
                bytes.extend_from_slice(&more);
                Self::Many(bytes)
            }
        }
    }

    /// All of it.
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

#[cfg(test)]
mod tests;
