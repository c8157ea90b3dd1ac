//! Work that is done where it is waited for, and goes on by itself once nobody waits for it any more.
//!
//! A sender that hangs up has its connection's task dropped, wherever it is. What an event has begun by then, a
//! claim, an attempt, a settlement, must come to its end all the same: dropped work becomes a task of its own.
//!
//! # Why
//! A task for every event from the start does the same, but a task is large, is moved about until it lies on the
//! heap, and has to be woken beside the connection's own; hardly any sender hangs up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Work that ends, even if it is dropped. Dropped outside of a runtime, or of one that ends, it is dropped for good.
pub struct Outliving<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

/// The work panicked; the panic hook has shown where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

// === impl Outliving ===

impl<T: Send + 'static> Outliving<T> {
    /// Begins nothing yet.
    ///
    /// # Why
    /// Work has room for all that it will ever hold, kilobytes of it, and little to begin with. Where its place is there
    /// first, the compiler puts that little into it, instead of copying it all from the stack.
    #[inline]
    pub fn new<W: Future<Output = T> + Send + 'static>(work: impl FnOnce() -> W) -> Self {
        let work = Box::write(Box::new_uninit(), work());
        Self(Some(Box::into_pin(work)))
    }
}

impl<T: Send + 'static> Future for Outliving<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else {
            // It has ended, so there is nothing to wake anybody for.
            return Poll::Pending;
        };
        // A panic is the end of this work, and not of the connection with it: the work is not looked at again.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(_) => Err(Panicked),
        };
        self.0 = None;
        Poll::Ready(ended)
    }
}

impl<T: Send + 'static> Drop for Outliving<T> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_waited_for_is_given_back() {
        assert_eq!(Outliving::new(|| ready(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_dropped_half_way_goes_on_to_its_end() {
        let (go, gone) = oneshot::channel::<()>();
        let (say, said) = oneshot::channel();
        let (begin, begun) = oneshot::channel();
        let work = Outliving::new(|| async move {
            let _ = begin.send(());
            let _ = gone.await;
            let _ = say.send("done");
        });
        tokio::select! {
            biased;
            _ = work => panic!("it waits"),
            _ = begun => {}
        }
        go.send(()).unwrap();
        assert_eq!(said.await, Ok("done"));
    }

    #[tokio::test]
    async fn what_is_dropped_before_it_began_is_done_all_the_same() {
        let (say, said) = oneshot::channel();
        drop(Outliving::new(|| async move {
            let _ = say.send("done");
        }));
        assert_eq!(said.await, Ok("done"));
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_and_nothing_else() {
        struct Claim(Option<oneshot::Sender<()>>);
        impl Drop for Claim {
            fn drop(&mut self) {
                let _ = self.0.take().map(|released| released.send(()));
            }
        }
        let (release, released) = oneshot::channel();
        let claim = Claim(Some(release));
        let work = Outliving::new(|| async move {
            let _claim = claim;
            if ready(true).await {
                panic!("on purpose");
            }
        });
        assert_eq!(work.await, Err(Panicked));
        assert_eq!(released.await, Ok(()));
    }

    #[test]
    fn without_a_runtime_it_is_dropped() {
        let (kept, dropped) = std::sync::mpsc::channel::<()>();
        drop(Outliving::new(|| async move {
            let _kept = kept;
        }));
        assert!(dropped.recv().is_err());
    }
}
