//! A connection that speaks HTTP/2, from its preface to its end.
//!
//! Its requests run side by side, within bounds, and take the same way as those of HTTP/1. What has no deadline in
//! the library has one here: the first request, idling, the connection's age, and its end; what asks nothing is
//! rationed, and what asks something waits until there is room for it.

mod heads;
mod ration;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::CONNECTION;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::doors::server::activity::Activity;
use crate::doors::server::caller::Caller;
use crate::doors::server::http2::heads::{Heads, STREAM_BYTES};
use crate::doors::server::http2::ration::Rationed;
use crate::rules::client::ClientKey;
use crate::rules::decoded;
use crate::rules::framing::BodyLength;
use crate::work::head::HeadNote;

/// Bytes of one body, and of all bodies of a connection, that may come before they are asked for.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes of one answer that wait for a peer that does not read.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// A peer is asked this often whether it is still there, and has so long to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_TIME: Duration = Duration::from_secs(20);

/// After a goodbye requests count for so long: those of a peer that has not heard it yet. The library goes on
/// taking requests until the peer acknowledges a ping, and a peer that never does may send them for ever.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Serves a connection until it ends; once `stop` changes, until what is in flight has.
pub async fn serve<S>(socket: S, caller: Caller, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = caller.gate.limits;
    let activity = Activity::new();
    let heads = Heads::new(Arc::clone(&caller.gate), ClientKey::from(caller.peer));
    let caller = Arc::new(caller);
    let service = service_fn(|request| {
        let (caller, going, held) = (Arc::clone(&caller), activity.begin(), heads.claim());
        async move {
            let _going = going;
            let Some(_held) = held else {
                return Ok(caller.gate.overloaded());
            };
            Ok::<_, Infallible>(answer(&caller, request).await)
        }
    });
    // No connection waits for room that it has itself.
    let streams_of_client = caller.gate.bodies.client_bytes() / STREAM_BYTES as usize;
    let streams_of_client = u32::try_from(streams_of_client).unwrap_or(u32::MAX).max(1);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams.min(streams_of_client))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.head.bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_TIME);
    let socket = TokioIo::new(Rationed::new(socket, heads.clone()));
    let connection = builder.serve_connection(socket, service);
    tokio::pin!(connection);
    let is_done = tokio::select! {
        () = settled(connection.as_mut(), &heads) => true,
        () = heads.starved() => false,
        _ = stop.changed() => false,
        () = activity.idle(limits.head_time, limits.idle_time) => false,
        () = tokio::time::sleep(limits.http2_age) => false,
    };
    if !is_done {
        connection.as_mut().graceful_shutdown();
        let last_call = async {
            tokio::time::sleep(LAST_CALL).await;
            activity.close();
            pending().await
        };
        // Requests have deadlines of their own. Once none is left that counts, a peer that does not take what is
        // there for it, or does not act on the goodbye, has as long as for any answer.
        tokio::select! {
            () = settled(connection, &heads) => {}
            () = activity.quiet(limits.write_time) => {}
            () = last_call => {}
        }
    }
}

/// Runs a connection to its end. After each of its turns, all that it was passed is a request or will be none.
async fn settled(mut connection: Pin<&mut impl Future>, heads: &Heads) {
    poll_fn(|context| {
        let polled = connection.as_mut().poll(context);
        heads.settle();
        polled.map(drop)
    })
    .await;
}

async fn answer(caller: &Caller, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let note = match decoded::check(&head, !body.is_end_stream(), &caller.gate.limits.head) {
        Ok(length) => HeadNote::new(length, None),
        Err(flaw) => HeadNote::new(BodyLength::Unstated, Some(flaw)),
    };
    decoded::as_http1(&mut head);
    let arrived = caller.take_in(Request::from_parts(head, body), note);
    let mut response = caller.answer(arrived).await;
    // One stream ends with its answer, and the others have nothing to do with it.
    response.headers_mut().remove(CONNECTION);
    response
}
