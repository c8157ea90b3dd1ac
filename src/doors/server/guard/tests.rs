use std::convert::Infallible;
use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::joined::JOINED_BYTES;
use super::*;

/// What hyper makes of a chunked body, with the guard before it or without; `None` if it cannot read it.
async fn read(chunked: &[u8], is_guarded: bool) -> Option<Bytes> {
    let (mut sender, socket) = tokio::io::duplex(1024);
    let body = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| async {
        let read = request.into_body().collect().await;
        *body.lock().unwrap() = read.ok().map(http_body_util::Collected::to_bytes);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let sending = async {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = sender.write_all(head).await;
        for part in chunked.chunks(7) {
            let _ = sender.write_all(part).await;
        }
        let mut checker = Chunks::begin();
        checker.check(chunked);
        // Whoever hangs up is not answered, and a body that is not over never will be unless somebody does.
        if !checker.is_over() {
            let _ = sender.shutdown().await;
        }
        let _ = sender.read_to_end(&mut Vec::new()).await;
        let _ = sender.shutdown().await;
    };
    let guarded = Guard::new(socket, Limits::default());
    let mut builder = http1::Builder::new();
    builder.half_close(true).keep_alive(false);
    let _ = match is_guarded {
        true => {
            let serving = builder.serve_connection(TokioIo::new(guarded), service);
            tokio::join!(serving, sending).0
        }
        false => {
            let serving = builder.serve_connection(TokioIo::new(guarded.socket), service);
            tokio::join!(serving, sending).0
        }
    };
    body.into_inner().unwrap()
}

#[tokio::test]
async fn a_sender_that_hangs_up_before_its_answer_is_noticed() {
    let continued =
        "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 6000\r\n\r\n";
    let continued = continued.to_owned() + &"x".repeat(6000);
    for request in [
        // Between its parts something is written that is no answer.
        &*continued,
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        // Something behind it, of which no request became one.
        "GET / HTTP/1.1\r\nHost: h\r\n\r\nP",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx\r\n",
    ] {
        let (mut sender, socket) = tokio::io::duplex(1 << 14);
        let asked = Notify::new();
        let service = service_fn(|request: Request<Incoming>| async {
            let _ = request.into_body().collect().await;
            asked.notify_one();
            pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        });
        let guarded = Guard::new(socket, Limits::default());
        let serving = http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(guarded), service);
        let sending = async {
            sender.write_all(request.as_bytes()).await.unwrap();
            asked.notified().await;
            drop(sender);
        };
        let both = async { tokio::join!(serving, sending).0 };
        let served = tokio::time::timeout(Duration::from_secs(20), both).await;
        assert!(served.expect("an end").is_err(), "{request:?}");
    }
}

#[tokio::test]
async fn what_is_sent_behind_the_last_request_costs_nobody_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let asked = Notify::new();
    let service = service_fn(|request: Request<Incoming>| async {
        asked.notify_one();
        let _ = request.into_body().collect().await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"answer"))))
    });
    let guarded = Guard::new(socket, Limits::default());
    let connection = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(guarded), service);
    let sending = async {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\n";
        sender.write_all(head).await.unwrap();
        asked.notified().await;
        sender.write_all(b"x\r\n").await.unwrap();
        let mut answer = Vec::new();
        sender.read_to_end(&mut answer).await.unwrap();
        // A reset, which would take the answer along wherever it came before it.
        let error = sender.take_error().unwrap();
        drop(sender);
        (answer, error)
    };
    // The socket is closed as soon as the connection has ended.
    let (served, (answer, error)) = tokio::join!(connection, sending);
    assert!(served.is_ok() && answer.ends_with(b"answer"));
    assert!(error.is_none(), "{error:?}");
}

/// A chunk as it should be, or nearly.
fn chunk() -> impl Strategy<Value = String> {
    let size = (0usize..20, "[ \t0]{0,1}", "0{0,17}", "[ \t]{0,1}");
    let rest = ("(;[a-z=\"; ]{0,4}\r?)?", "\r?\n|\r\r\n", "\r?\n");
    (size, rest, any::<bool>()).prop_map(
        |((size, before, zeros, after), (extension, line_end, data_end), is_plain)| match is_plain {
            true => format!("{size:x}{extension}\r\n{}\r\n", "y".repeat(size)),
            false => format!(
                "{before}{zeros}{size:x}{after}{extension}{line_end}{}{data_end}",
                "y".repeat(size)
            ),
        },
    )
}

proptest! {
    #[test]
    fn a_chunked_body_that_passes_is_one_that_hyper_reads_and_reads_the_same(
        chunks in proptest::collection::vec(chunk(), 0..4),
        end in "0{1,17}[ ;]?\r?\n(x: y\r?\n)?\r\n",
    ) {
        let chunked = chunks.concat() + &end;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let guarded = runtime.block_on(read(chunked.as_bytes(), true));
        let plain = runtime.block_on(read(chunked.as_bytes(), false));
        let mut checker = Chunks::begin();
        let passes = checker.check(chunked.as_bytes()) == chunked.len();
        prop_assert_eq!(guarded.is_some(), passes && plain.is_some());
        prop_assert!(plain.is_some() || !passes, "hyper is stricter: {:?}", chunked);
        if guarded.is_some() {
            prop_assert_eq!(guarded, plain);
        }
    }
}

/// A body in which no byte stands for another near it.
fn content(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// A request with such a body.
fn request(length: usize) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &content(length)].concat()
}

/// The pieces in which hyper reads the bodies of these lengths from a sender that writes so many bytes at a time.
async fn pieces(bodies: &[usize], written: usize) -> Vec<Vec<usize>> {
    let (sender, socket) = tokio::io::duplex(written);
    let (mut answers, mut sender) = tokio::io::split(sender);
    let read = Mutex::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| async {
        assert_eq!(request.method(), "POST");
        let (mut body, mut pieces) = (request.into_body(), Vec::new());
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            pieces.push(data.len());
            all.extend(data);
        }
        assert_eq!(all, content(all.len()));
        read.lock().unwrap().push(pieces);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let sending = async {
        let requests: Vec<u8> = bodies.iter().copied().flat_map(request).collect();
        sender.write_all(&requests).await.unwrap();
        sender.shutdown().await.unwrap();
    };
    let serving = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(Guard::new(socket, Limits::default())), service);
    let mut answered = Vec::new();
    let answering = answers.read_to_end(&mut answered);
    let _ = tokio::join!(serving, sending, answering);
    read.into_inner().unwrap()
}

#[tokio::test]
async fn a_body_that_is_there_is_read_in_one_piece_however_much_of_it_came_with_its_head() {
    for length in [600, 3_000, READ_BYTES - 1, READ_BYTES, 8_192] {
        // The second one is read where the first one left the buffers.
        let read = pieces(&[length, length], 1 << 20).await;
        assert_eq!(read, [[length], [length]]);
    }
    // hyper's buffer grows from one to the next.
    let read = pieces(&[20_000; 4], 1 << 20).await;
    assert_eq!(read.last(), Some(&vec![20_000]));
}

/// A socket that gives what it has, notes how much it was asked for, and breaks when it has nothing left.
struct Noting<'a>(&'a [u8], &'a mut Vec<usize>);

impl AsyncRead for Noting<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(into.remaining()));
        self.1.push(into.remaining());
        into.put_slice(now);
        self.0 = later;
        match now {
            [] => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[tokio::test]
async fn a_body_and_one_byte_more_are_asked_for() {
    let (sent, mut asked) = (request(10_000), Vec::new());
    let head = sent.len() - 10_000;
    let mut guarded = Guard::new(Noting(&sent, &mut asked), Limits::default());
    for length in [head, 10_000] {
        let mut read = Vec::with_capacity(20_000);
        assert_eq!(guarded.read_buf(&mut read).await.unwrap(), length);
    }
    assert_eq!(asked, [READ_BYTES, sent.len() - READ_BYTES + 1]);
}

#[tokio::test]
async fn a_byte_of_the_next_head_makes_no_buffer_larger() {
    let sent = [request(10_000), request(10)].concat();
    let mut asked = Vec::new();
    let mut guarded = Guard::new(Noting(&sent, &mut asked), Limits::default());
    let mut read = Vec::with_capacity(20_000);
    while read.len() < sent.len() {
        guarded.read_buf(&mut read).await.unwrap();
        assert!(guarded.waiting.capacity() <= READ_BYTES);
    }
    assert_eq!(read, sent);
}

#[tokio::test]
async fn what_continues_a_request_is_no_answer_to_it() {
    let (mut sender, socket) = tokio::io::duplex(1 << 20);
    sender.write_all(&request(1)).await.unwrap();
    let mut guarded = Guard::new(socket, Limits::default());
    guarded.read_buf(&mut Vec::new()).await.unwrap();
    guarded.write_all(CONTINUE).await.unwrap();
    assert!(guarded.is_asked);
    let pieces = [io::IoSlice::new(CONTINUE)];
    let written = guarded.write_vectored(&pieces).await.unwrap();
    assert_eq!(written, CONTINUE.len());
    assert!(guarded.is_asked);
    guarded.write_all(b"HTTP/1.1 200 OK").await.unwrap();
    assert!(!guarded.is_asked);
}

#[tokio::test]
async fn a_socket_is_looked_at_before_it_is_closed() {
    let (mut sender, socket) = tokio::io::duplex(1 << 20);
    let sent = [&request(10_000)[..], b"\r\n"].concat();
    sender.write_all(&sent).await.unwrap();
    sender.shutdown().await.unwrap();
    let mut guarded = Guard::new(socket, Limits::default());
    let mut read = vec![0; sent.len() - 2];
    let (head, body) = read.split_at_mut(sent.len() - 2 - 10_000);
    assert_eq!(guarded.read(head).await.unwrap(), head.len());
    // There is no room for a byte more.
    assert_eq!(guarded.read(body).await.unwrap(), body.len());
    assert!(guarded.waiting.is_empty());
    guarded.shutdown().await.unwrap();
    assert_eq!(guarded.waiting, b"\r\n");
}

#[tokio::test]
async fn a_socket_that_breaks_within_a_body_is_broken_to_who_reads_it() {
    let (sent, mut asked) = (request(10_000), Vec::new());
    let mut guarded = Guard::new(Noting(&sent[..READ_BYTES], &mut asked), Limits::default());
    let mut read = Vec::with_capacity(20_000);
    guarded.read_buf(&mut read).await.unwrap();
    let error = guarded.read_buf(&mut read).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bodies_in_a_row_are_told_from_each_other_and_from_their_heads(
        bodies in proptest::collection::vec(0usize..20_000, 1..5), written in 16usize..30_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = runtime.block_on(pieces(&bodies, written));
        let lengths: Vec<usize> = read.iter().map(|pieces| pieces.iter().sum()).collect();
        prop_assert_eq!(lengths, bodies);
    }
}

/// What a peer reads of pieces that are written through the guard, however little it takes at a time.
async fn written(pieces: &[Vec<u8>], taken: usize) -> Vec<u8> {
    let (mut sender, socket) = tokio::io::duplex(taken);
    let mut guarded = Guard::new(socket, Limits::default());
    let writing = async move {
        let mut slices: Vec<_> = pieces.iter().map(|piece| io::IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        // Once what is left is empty, there is nothing that could be written of it.
        while left.iter().any(|slice| !slice.is_empty()) {
            let bytes = guarded.write_vectored(left).await.unwrap();
            assert_ne!(bytes, 0);
            io::IoSlice::advance_slices(&mut left, bytes);
        }
    };
    let mut read = Vec::new();
    let (read_all, ()) = tokio::join!(sender.read_to_end(&mut read), writing);
    read_all.unwrap();
    read
}

proptest! {
    #[test]
    fn an_answer_in_pieces_is_written_as_it_is(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..JOINED_BYTES), 0..5), taken in 1usize..3000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        prop_assert_eq!(runtime.block_on(written(&pieces, taken)), pieces.concat());
    }
}
