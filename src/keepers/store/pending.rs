//! What the store was asked to do and has not answered yet.

use tokio::sync::oneshot;

use super::StoreError;

/// A commit that is waited for. Dropping it takes nothing back: the store goes on.
#[must_use]
pub struct Pending<T>(oneshot::Receiver<Result<T, StoreError>>);

// === impl Pending ===

impl<T: Send + 'static> Pending<T> {
    /// Something to wait for, and what the store calls with its answer. Nobody may be waiting by then; it is
    /// done all the same.
    pub fn new() -> (impl FnOnce(Result<T, StoreError>) + Send + 'static, Self) {
        let (done, pending) = oneshot::channel();
        let tell = move |result| {
            let _ = done.send(result);
        };
        (tell, Self(pending))
    }

    /// Waits for the store's answer, however long it takes: that it is synced to disk.
    ///
    /// # Errors
    /// As the store says; `Closed` if it never will.
    pub async fn answered(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }
}
