use http_body_util::BodyExt;
use hyper::Method;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

const LIMIT: Duration = Duration::from_secs(20);

/// An app whose connections are handed out as they come.
struct App {
    upstream: Uri,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
}

impl App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accept, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if accept.send(socket).is_err() {
                    return;
                }
            }
        });
        Self {
            upstream: format!("http://{address}/hooks?a=b").parse().unwrap(),
            accepted,
        }
    }

    fn accepted_another(&mut self) -> bool {
        self.accepted.try_recv().is_ok()
    }
}

/// Reads one request, and gives back what it says.
async fn hear(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(b"body") {
        assert_ne!(
            socket.read_buf(&mut heard).await.unwrap(),
            0,
            "the request ended early"
        );
    }
    String::from_utf8(heard).unwrap()
}

/// Takes the next connection and answers the request that comes over it.
async fn answered_once(app: &mut App, answer: &[u8]) -> TcpStream {
    let mut socket = app.accepted.recv().await.unwrap();
    hear(&mut socket).await;
    socket.write_all(answer).await.unwrap();
    socket
}

/// Until the runtime knows of all that sockets were told before: it learns of the connection that is made here, which
/// comes after it, in no other way.
async fn heard_by_the_runtime() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    connected.unwrap();
    accepted.unwrap();
}

fn request() -> Request<Full<Bytes>> {
    let body = Full::new(Bytes::from_static(b"body"));
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/hooks?a=b");
    request
}

async fn read(response: Response<Incoming>) -> Result<Bytes, String> {
    let body = response.into_body().collect().await;
    body.map(|body| body.to_bytes())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_connection_is_used_again_and_asked_for_path_and_query() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let mut socket = None;
    for _ in 0..3 {
        let serving = async {
            let socket = match &mut socket {
                Some(socket) => socket,
                none => none.insert(app.accepted.recv().await.unwrap()),
            };
            let heard = hear(socket).await;
            assert!(heard.starts_with("POST /hooks?a=b HTTP/1.1\r\n"), "{heard}");
            socket.write_all(OK).await.unwrap();
        };
        let asking = pool.exchange(&app.upstream, request, Instant::now(), LIMIT, read);
        let (answer, ()) = tokio::join!(asking, serving);
        assert_eq!(answer.unwrap(), "ok");
    }
    assert!(!app.accepted_another());
}

#[tokio::test]
async fn one_that_the_app_closed_or_wants_closed_is_not_used_again() {
    for answer in [OK, LAST] {
        let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
        let origin = app.upstream.authority().unwrap().to_string();
        for _ in 0..3 {
            let upstream = app.upstream.clone();
            let asking = async {
                let answered = pool
                    .exchange(&upstream, request, Instant::now(), LIMIT, read)
                    .await;
                assert_eq!(answered.unwrap(), "ok");
            };
            let ((), socket) = tokio::join!(asking, answered_once(&mut app, answer));
            assert_eq!(pool.idle().plain.contains_key(&*origin), answer == OK);
            drop(socket);
            heard_by_the_runtime().await;
        }
        // Where no request meets it, the sweep does.
        assert_eq!(
            pool.idle().take_old(Instant::now()).len(),
            usize::from(answer == OK)
        );
        assert!(pool.idle().is_empty());
    }
}

#[tokio::test]
async fn a_connection_that_closes_under_the_request_is_an_error_and_not_tried_twice() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let serving = async {
        let mut socket = app.accepted.recv().await.unwrap();
        hear(&mut socket).await;
        drop(socket);
    };
    let asking = pool.exchange(&app.upstream, request, Instant::now(), LIMIT, read);
    let (answer, ()) = tokio::join!(asking, serving);
    assert!(answer.is_err());
    assert!(!app.accepted_another());
}

#[tokio::test]
async fn an_exchange_that_is_dropped_half_way_closes_its_connection() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let mut socket = {
        let asking = pool.exchange(&app.upstream, request, Instant::now(), LIMIT, read);
        tokio::pin!(asking);
        let serving = async {
            let mut socket = app.accepted.recv().await.unwrap();
            hear(&mut socket).await;
            socket
        };
        tokio::select! {
            _ = &mut asking => panic!("nobody answered"),
            socket = serving => socket,
        }
    };
    assert_eq!(socket.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(pool.idle().plain.values().all(VecDeque::is_empty));
}

#[tokio::test]
async fn an_answer_that_comes_piece_by_piece_is_read_whole() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let serving = async {
        let mut socket = app.accepted.recv().await.unwrap();
        hear(&mut socket).await;
        for byte in OK {
            socket.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        socket
    };
    let asking = pool.exchange(&app.upstream, request, Instant::now(), LIMIT, read);
    let (answer, _socket) = tokio::join!(asking, serving);
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn a_request_that_meets_a_closed_connection_comes_back_to_go_another_way() {
    let (near, mut far) = tokio::io::duplex(1024);
    let mut connection = connection::Connection::begin(TokioIo::new(near))
        .await
        .unwrap();
    // One that was used ends in order when it is closed, which is no error to anybody.
    let serving = async {
        hear(&mut far).await;
        far.write_all(OK).await.unwrap();
    };
    let until = Instant::now() + LIMIT;
    let sending = pin!(connection.send(request(), until));
    let (answer, ()) = tokio::join!(connection.answered(sending, read), serving);
    assert_eq!(answer.ok().unwrap().unwrap(), "ok");
    assert!(connection.left_free());
    drop(far);
    let sending = pin!(connection.send(request(), until));
    match connection.answered(sending, read).await {
        Err(connection::Unanswered::Failed { unsent, .. }) => {
            assert_eq!(unsent.expect("it was written").uri().path(), "/hooks");
        }
        Err(connection::Unanswered::TimedOut) => panic!("it is held back"),
        Ok(_) => panic!("nobody answered"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_held_back_by_a_connection_that_its_app_closes_beside_it() {
    const ROUNDS: usize = 2_000;
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let upstream = app.upstream.clone();
    let serving = tokio::spawn(async move {
        while let Some(mut socket) = app.accepted.recv().await {
            hear(&mut socket).await;
            socket.write_all(OK).await.unwrap();
            // Closed at any moment of the next request, which is told that it failed or goes another way.
        }
    });
    let mut answered = 0;
    for _ in 0..ROUNDS {
        match pool
            .exchange(&upstream, request, Instant::now(), LIMIT, read)
            .await
        {
            Ok(_) => answered += 1,
            Err(Failed::Broken(_)) => {}
            Err(Failed::TimedOut) => panic!("it was held back"),
        }
    }
    // One that fails leaves no connection, so that the next has one of its own.
    assert!(answered >= ROUNDS / 2, "{answered}");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_never_comes_to_its_answer_is_given_up_in_time_however_much_it_says() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let upstream = app.upstream.clone();
    tokio::spawn(async move {
        let mut socket = app.accepted.recv().await.unwrap();
        hear(&mut socket).await;
        let wait = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(4096);
        while socket.write_all(&wait).await.is_ok() {}
    });
    let asking = pool.exchange(
        &upstream,
        request,
        Instant::now(),
        Duration::from_millis(200),
        read,
    );
    let asked = tokio::time::timeout(LIMIT, asking).await;
    assert_eq!(asked.expect("it is never given up"), Err(Failed::TimedOut));
}

#[tokio::test]
async fn an_app_that_answers_before_it_has_read_everything_gets_the_rest() {
    const BYTES: usize = 8 << 20;
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let request = || request().map(|_| Full::new(Bytes::from(vec![b'x'; BYTES])));
    let serving = async {
        let mut socket = app.accepted.recv().await.unwrap();
        let mut heard = vec![0; 64 * 1024];
        let mut bytes = socket.read(&mut heard).await.unwrap();
        socket.write_all(OK).await.unwrap();
        while bytes < BYTES {
            let more = socket.read(&mut heard).await.unwrap();
            assert_ne!(more, 0, "the request was cut off after {bytes} bytes");
            bytes += more;
        }
        socket
    };
    let asking = pool.exchange(&app.upstream, request, Instant::now(), LIMIT, read);
    let (answer, _socket) = tokio::join!(asking, serving);
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn one_whose_answer_is_refused_is_not_used_again() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let upstream = app.upstream.clone();
    let refuse = async |_: Response<Incoming>| Err::<Bytes, _>("ambiguous".to_owned());
    let asking = pool.exchange(&upstream, request, Instant::now(), LIMIT, refuse);
    let (answer, _socket) = tokio::join!(asking, answered_once(&mut app, OK));
    assert_eq!(answer, Err(Failed::Broken("ambiguous".to_owned())));
    assert!(pool.idle().is_empty());
}

#[tokio::test]
async fn no_more_are_kept_than_the_bound_and_none_for_longer_than_its_time() {
    let (pool, app) = (Pool::new(false).unwrap(), App::start().await);
    let (upstream, now) = (&app.upstream, Instant::now());
    for n in 0..IDLE_MAX + 3 {
        let connection = pool.connect(upstream).await.unwrap();
        let since = now + Duration::from_micros(n as u64);
        let gone = pool.idle().put(upstream, connection, since);
        assert_eq!(gone.is_some(), n >= IDLE_MAX);
    }
    let mut idle = pool.idle();
    // The first three had to go.
    let first = now + Duration::from_micros(3);
    assert_eq!(idle.take_old(first + IDLE_TIMEOUT).len(), 1);
    let last = now + Duration::from_micros(IDLE_MAX as u64 + 2);
    let taken = idle.take(upstream, last).unwrap();
    idle.put(upstream, taken.last.unwrap(), last);
    let taken = idle.take(upstream, last + IDLE_TIMEOUT).unwrap();
    assert!(taken.last.is_none());
    assert_eq!(taken.old.len(), IDLE_MAX - 1);
    assert!(idle.take(upstream, last).is_none());
    assert!(idle.take_old(last).is_empty() && idle.is_empty());
}
