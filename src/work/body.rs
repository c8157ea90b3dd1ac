//! Reads a body: raw, bounded in bytes and in time, never truncated.
//!
//! All bodies that are being read share one budget of memory. It is taken as bytes arrive, not as they are
//! announced, so that announcing much and sending nothing holds nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory that bodies may take.
pub struct BodyBudget(Arc<Semaphore>);

/// A complete body, and its share of the budget for as long as the event is worked on.
pub struct ReadBody {
    /// The bytes, as they came.
    pub bytes: Bytes,
    /// Given back when dropped.
    pub share: Option<OwnedSemaphorePermit>,
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
    /// All memory for bodies is taken.
    NoMemory,
}

// === impl BodyBudget ===

impl BodyBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Reads a body of at most `max` bytes within `limit`.
    ///
    /// # Errors
    /// Why it is not complete; whatever was read of it is dropped.
    pub async fn read(
        &self,
        body: Incoming,
        max: usize,
        limit: Duration,
    ) -> Result<ReadBody, BodyError> {
        match tokio::time::timeout(limit, self.read_all(body, max)).await {
            Ok(read) => read,
            Err(_) => Err(BodyError::TooSlow),
        }
    }

    async fn read_all(&self, mut body: Incoming, max: usize) -> Result<ReadBody, BodyError> {
        let mut read = Chunks::None;
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Broken)?;
            // Trailers are dropped: nothing in them was there when the head was checked.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > max - read.len() {
                return Err(BodyError::TooLarge);
            }
            let size = u32::try_from(data.len()).map_err(|_| BodyError::TooLarge)?;
            let more = Arc::clone(&self.0)
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
        })
    }
}

/// What was read so far. Nearly every body comes in one piece, which is not copied.
enum Chunks {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Chunks {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn and(self, more: Bytes, still_expected: usize) -> Self {
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

    fn into_bytes(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}
