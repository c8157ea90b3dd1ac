use std::collections::VecDeque;
use std::time::Duration;

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LIMIT: Duration = Duration::from_secs(20);

/// What a stream says when it is asked, and that it has to wait when it was asked often enough.
#[derive(Default)]
struct Scripted {
    reads: VecDeque<Poll<io::Result<&'static [u8]>>>,
    writes: VecDeque<Poll<io::Result<usize>>>,
}

impl Read for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let said = ready!(self.reads.pop_front().unwrap_or(Poll::Pending))?;
        into.put_slice(said);
        Poll::Ready(Ok(()))
    }
}

impl Write for Scripted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(self.writes.pop_front().unwrap_or(Poll::Pending))?;
        Poll::Ready(Ok(taken.min(bytes.len())))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

fn head(into: &mut Vec<u8>) {
    into.extend_from_slice(b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n");
}

fn is_failed(answered: &Result<(Answer, bool), Unanswered>) -> bool {
    matches!(answered, Err(Unanswered::Failed(Failed::Broken(_))))
}

fn is_unsent(answered: &Result<(Answer, bool), Unanswered>) -> bool {
    matches!(answered, Err(Unanswered::Unsent(_)))
}

/// What becomes of a request on such a stream, looked at twice.
async fn over(scripted: Scripted, is_secure: bool) -> Result<(Answer, bool), Unanswered> {
    let mut connection = Connection::new(scripted, is_secure);
    let asking = connection.exchange(head, b"body", Instant::now() + LIMIT);
    let mut asking = pin!(asking);
    let mut looks = 0;
    poll_fn(|context| {
        looks += 1;
        assert!(looks < 4, "it waits");
        context.waker().wake_by_ref();
        asking.as_mut().poll(context)
    })
    .await
}

#[tokio::test]
async fn nothing_is_an_answer_to_a_request_of_which_nothing_was_written() {
    for first in [reset(), Poll::Pending] {
        let scripted = Scripted {
            reads: [Poll::Pending, Poll::Ready(Ok(OK))].into(),
            writes: [first].into(),
        };
        let answered = over(scripted, false).await;
        assert!(is_unsent(&answered), "{answered:?}");
    }
}

#[tokio::test]
async fn a_request_is_unsent_only_if_nothing_of_it_can_have_been_written() {
    let writes = |writes: [Poll<io::Result<usize>>; 2]| Scripted {
        reads: [Poll::Pending, Poll::Pending, reset()].into(),
        writes: writes.into(),
    };
    let answered = over(writes([reset(), reset()]), false).await;
    assert!(is_unsent(&answered), "{answered:?}");
    let answered = over(writes([Poll::Ready(Ok(1)), reset()]), false).await;
    assert!(is_failed(&answered), "{answered:?}");
    let answered = over(writes([reset(), reset()]), true).await;
    assert!(is_failed(&answered), "{answered:?}");
}

#[tokio::test]
async fn an_answer_counts_though_its_app_left_before_it_had_read_everything() {
    // The runtime knows of it only later.
    let scripted = Scripted {
        reads: [Poll::Pending, Poll::Pending, Poll::Ready(Ok(OK))].into(),
        writes: [Poll::Ready(Ok(5)), reset()].into(),
    };
    let (answer, is_reusable) = over(scripted, false).await.unwrap();
    assert!(answer.body == "ok" && !is_reusable);
    // It left without a word, or in the middle of one: what ends with its connection may not be whole.
    for (first, last) in [
        (Poll::Pending, reset()),
        (Poll::Pending, Poll::Ready(Ok(&b""[..]))),
        (
            Poll::Ready(Ok(&b"HTTP/1.1 200 OK\r\n\r\nhalf"[..])),
            Poll::Ready(Ok(b"")),
        ),
    ] {
        let scripted = Scripted {
            reads: [Poll::Pending, first, last].into(),
            writes: [Poll::Ready(Ok(5)), reset()].into(),
        };
        let answered = over(scripted, false).await;
        assert!(is_failed(&answered), "{answered:?}");
    }
}

#[tokio::test]
async fn what_is_said_behind_an_early_answer_is_not_taken_for_the_next_one() {
    for (more, expected) in [(Poll::Pending, true), (Poll::Ready(Ok(OK)), false)] {
        let scripted = Scripted {
            reads: [Poll::Pending, Poll::Ready(Ok(OK)), more].into(),
            writes: [Poll::Ready(Ok(5)), Poll::Pending, Poll::Ready(Ok(1000))].into(),
        };
        let (answer, is_reusable) = over(scripted, false).await.unwrap();
        assert!(answer.body == "ok" && is_reusable == expected);
    }
}

/// A connection and its app.
fn pair(bytes: usize) -> (Connection<TokioIo<DuplexStream>>, DuplexStream) {
    let (near, far) = duplex(bytes);
    (Connection::new(TokioIo::new(near), false), far)
}

/// Reads one request.
async fn hear(far: &mut DuplexStream) {
    let mut heard = Vec::new();
    while !heard.ends_with(b"body") {
        assert_ne!(far.read_buf(&mut heard).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_request_that_meets_a_closed_connection_goes_another_way() {
    let until = Instant::now() + LIMIT;
    // It has ended, something was said over it, or it is an end and a word at once.
    for (said, is_left) in [(&b""[..], true), (OK, false), (b"\r\n", true)] {
        let (mut connection, mut far) = pair(1024);
        let serving = async {
            hear(&mut far).await;
            far.write_all(OK).await.unwrap();
        };
        let asking = connection.exchange(head, b"body", until);
        let (answer, ()) = tokio::join!(asking, serving);
        let (answer, is_reusable) = answer.unwrap();
        assert!(answer.body == "ok" && is_reusable && connection.is_free());
        far.write_all(said).await.unwrap();
        let mut far = Some(far);
        if is_left {
            far = None;
        }
        match connection.exchange(head, b"body", until).await {
            Err(Unanswered::Unsent(_)) => {}
            other => panic!("{other:?}"),
        }
        drop(far);
    }
}

#[tokio::test]
async fn a_request_goes_out_as_it_is_whatever_its_size_and_however_little_is_taken_at_a_time() {
    let whole: Vec<u8> = (0..=u8::MAX).cycle().take(3 * JOINED_BYTES).collect();
    for (head, body) in [
        (2, 0),
        (1, 1),
        (700, JOINED_BYTES - 700),
        (700, JOINED_BYTES - 699),
        (JOINED_BYTES + 1, 0),
        (JOINED_BYTES + 1, 1),
        (JOINED_BYTES, 2 * JOINED_BYTES),
    ] {
        for at_a_time in [1, 100, 1 << 20] {
            let (mut connection, mut far) = pair(at_a_time);
            let (first, rest) = whole.split_at(head);
            let write_head = |into: &mut Vec<u8>| into.extend_from_slice(first);
            let serving = async {
                let mut heard = vec![0; head + body];
                far.read_exact(&mut heard).await.unwrap();
                far.write_all(OK).await.unwrap();
                heard
            };
            let asking = connection.exchange(write_head, &rest[..body], Instant::now() + LIMIT);
            let (answer, heard) = tokio::join!(asking, serving);
            assert_eq!(heard, whole[..head + body]);
            let (answer, is_reusable) = answer.unwrap();
            assert!(answer.body == "ok" && is_reusable);
        }
    }
}

#[tokio::test]
async fn what_a_stream_keeps_back_is_flushed() {
    let (near, mut far) = duplex(1024);
    let mut connection = Connection::new(TokioIo::new(BufStream::new(near)), true);
    let serving = async {
        hear(&mut far).await;
        far.write_all(OK).await.unwrap();
    };
    let asking = connection.exchange(head, b"body", Instant::now() + LIMIT);
    let both = async { tokio::join!(asking, serving) };
    let (answer, ()) = tokio::time::timeout(LIMIT, both).await.expect("it waits");
    assert_eq!(answer.unwrap().0.body, "ok");
}

#[tokio::test]
async fn what_was_said_is_seen_by_a_task_that_has_had_its_share_of_the_time() {
    let (mut connection, mut far) = pair(1024);
    assert!(connection.is_free());
    far.write_all(b"x").await.unwrap();
    poll_fn(|context| {
        let shares = (0..10_000).map(|_| pin!(tokio::task::consume_budget()).poll(context));
        assert!(shares.into_iter().any(|share| share.is_pending()));
        assert!(!connection.is_free());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_request_is_given_as_long_as_there_is_time() {
    let body = vec![b'x'; 64 * 1024];
    // Never read; read, but something else is said before; and closed.
    for (more, closes) in [(&b""[..], false), (b"x", false), (b"", true)] {
        let (mut connection, mut far) = pair(1024);
        let began = Instant::now();
        let serving = async {
            far.write_all(OK).await.unwrap();
            tokio::time::sleep(LIMIT / 2).await;
            far.write_all(more).await.unwrap();
            (!closes).then_some(far)
        };
        let asking = connection.exchange(head, &body, began + LIMIT);
        let ((answered, took), _far) =
            tokio::join!(async { (asking.await, began.elapsed()) }, serving);
        let (answer, is_reusable) = answered.unwrap();
        assert!(answer.body == "ok" && !is_reusable);
        let expected = if closes { LIMIT / 2 } else { LIMIT };
        assert!(
            took >= expected && took < expected + Duration::from_millis(2),
            "{took:?}"
        );
    }
}

#[tokio::test]
async fn an_app_that_has_said_its_last_or_goes_on_talking_is_given_the_rest() {
    let body = vec![b'x'; 64 * 1024];
    for says_more in [false, true] {
        let (mut connection, mut far) = pair(1024);
        let serving = async {
            far.write_all(OK).await.unwrap();
            match says_more {
                // More than there is room for unless it is heard.
                true => far.write_all(&[b'y'; 4096]).await.unwrap(),
                false => far.shutdown().await.unwrap(),
            }
            let mut heard = Vec::new();
            while !heard.ends_with(&body) {
                assert_ne!(far.read_buf(&mut heard).await.unwrap(), 0, "it is cut off");
            }
            far
        };
        let asking = connection.exchange(head, &body, Instant::now() + LIMIT);
        let (answered, _far) = tokio::join!(asking, serving);
        let (answer, is_reusable) = answered.unwrap();
        assert!(answer.body == "ok" && !is_reusable);
    }
}

#[tokio::test]
async fn the_memory_of_an_unusual_head_is_not_kept() {
    let (mut connection, mut far) = pair(100_000);
    for bytes in [50_000, 1] {
        let write_head = |into: &mut Vec<u8>| into.resize(bytes, b'x');
        let asking = connection.exchange(write_head, b"", Instant::now() + LIMIT);
        let serving = async {
            far.read_exact(&mut vec![0; bytes]).await.unwrap();
            far.write_all(OK).await.unwrap();
        };
        let (answer, ()) = tokio::join!(asking, serving);
        assert!(answer.unwrap().1);
    }
    assert!(connection.head.capacity() <= JOINED_BYTES);
}
