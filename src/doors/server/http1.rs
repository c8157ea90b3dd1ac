//! A connection that speaks HTTP/1.1, from its first byte to its last.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::doors::server::caller::Caller;
use crate::doors::server::guard::Guard;
use crate::rules::framing::{BodyLength, Flaw};
use crate::work::head::HeadNote;

/// Serves a connection until it ends; once `stop` changes, until what is in flight has.
pub async fn serve<S>(socket: S, caller: Caller, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = caller.gate.limits;
    let guarded = Guard::new(socket, limits);
    let notes = guarded.notes();
    let caller = Arc::new(caller);
    let service = service_fn(|request| {
        // hyper sees only heads that the guard passed on, each with a note.
        let note = notes
            .take()
            .unwrap_or(HeadNote::new(BodyLength::Unstated, Some(Flaw::RequestLine)));
        let caller = Arc::clone(&caller);
        let arrived = caller.take_in(request, note);
        async move { Ok::<_, Infallible>(caller.answer(arrived).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard keeps the time of heads and of idling.
        .header_read_timeout(None)
        .max_headers(limits.head.fields)
        .max_buf_size(limits.head.bytes * 2)
        // The guard looks whether a sender that waits is still there.
        .half_close(true)
        .serve_connection(TokioIo::new(guarded), service);
    tokio::pin!(connection);
    let is_done = tokio::select! {
        // Which comes first makes no difference, and lots need not be drawn for it.
        biased;
        _ = connection.as_mut() => true,
        _ = stop.changed() => false,
    };
    if !is_done {
        connection.as_mut().graceful_shutdown();
        // What ends a connection early (a reset, a broken chunk) has been answered as far as it could be.
        let _ = connection.await;
    }
}
