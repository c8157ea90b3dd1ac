use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use bytes::Bytes;

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

fn head(into: &mut Vec<u8>) {
    into.extend_from_slice(b"POST /hooks?a=b HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\n\r\n");
}

/// Asks over the pool.
async fn ask(pool: &Pool, upstream: &Uri) -> Result<Bytes, Failed> {
    let answered = pool.exchange(upstream, head, b"body", Instant::now(), LIMIT);
    answered.await.map(|answer| answer.body)
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
        let asking = ask(&pool, &app.upstream);
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
                assert_eq!(ask(&pool, &upstream).await.unwrap(), "ok");
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
    let asking = ask(&pool, &app.upstream);
    let (answer, ()) = tokio::join!(asking, serving);
    assert!(answer.is_err());
    assert!(!app.accepted_another());
}

#[tokio::test]
async fn an_exchange_that_is_dropped_half_way_closes_its_connection() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let mut socket = {
        let asking = ask(&pool, &app.upstream);
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
    let asking = ask(&pool, &app.upstream);
    let (answer, _socket) = tokio::join!(asking, serving);
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn nothing_is_taken_for_an_answer_that_was_said_before_the_request() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let upstream = app.upstream.clone();
    let asking = async {
        let connection = pool.connect(&upstream).await.unwrap();
        let mut socket = app.accepted.recv().await.unwrap();
        socket.write_all(OK).await.unwrap();
        heard_by_the_runtime().await;
        pool.keep(&upstream, connection);
        let serving = async {
            let _socket = answered_once(&mut app, LAST).await;
        };
        let (answer, ()) = tokio::join!(ask(&pool, &upstream), serving);
        assert_eq!(answer.unwrap(), "ok");
        socket
    };
    let mut socket = asking.await;
    // It was never asked.
    assert_eq!(socket.read(&mut [0; 64]).await.unwrap_or(0), 0);
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
        match ask(&pool, &upstream).await {
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
async fn an_app_that_never_comes_to_its_end_is_given_up_however_much_it_says() {
    const CHUNK: &[u8] = b"0000000000000000;extension\r\n";
    for (first, more, expected) in [
        (
            &b""[..],
            &b"HTTP/1.1 100 Continue\r\n\r\n"[..],
            Failed::Broken("the head of the app's answer is too large".to_owned()),
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;",
            CHUNK.trim_ascii_end(),
            Failed::Broken("a chunk of the app's answer is broken".to_owned()),
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            b"a: b\r\n",
            Failed::Broken("a chunk of the app's answer is broken".to_owned()),
        ),
    ] {
        let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
        let upstream = app.upstream.clone();
        tokio::spawn(async move {
            let mut socket = answered_once(&mut app, first).await;
            let more = more.repeat(4096);
            while socket.write_all(&more).await.is_ok() {}
        });
        let asked = tokio::time::timeout(LIMIT, ask(&pool, &upstream)).await;
        assert_eq!(asked.expect("it is never given up"), Err(expected));
    }
}

#[tokio::test]
async fn an_app_that_answers_before_it_has_read_everything_gets_the_rest() {
    const BYTES: usize = 8 << 20;
    let body = vec![b'x'; BYTES];
    for (answer, is_kept) in [(OK, true), (LAST, false)] {
        let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
        let upstream = app.upstream.clone();
        let mut wanted = Vec::new();
        head(&mut wanted);
        wanted.extend_from_slice(&body);
        let serving = async {
            let mut socket = app.accepted.recv().await.unwrap();
            let mut heard = vec![0; 64 * 1024];
            let mut bytes = socket.read(&mut heard).await.unwrap();
            socket.write_all(answer).await.unwrap();
            while bytes < wanted.len() {
                let more = socket.read(&mut heard).await.unwrap();
                assert_ne!(more, 0, "the request was cut off after {bytes} bytes");
                assert_eq!(heard[..more], wanted[bytes..bytes + more]);
                bytes += more;
            }
            socket
        };
        let asking = pool.exchange(&upstream, head, &body, Instant::now(), LIMIT);
        let (answer, _socket) = tokio::join!(asking, serving);
        assert_eq!(answer.unwrap().body, "ok");
        assert_eq!(!pool.idle().is_empty(), is_kept);
    }
}

#[tokio::test]
async fn an_app_that_answers_and_leaves_before_it_has_read_everything_has_answered() {
    let body = vec![b'x'; 8 << 20];
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let upstream = app.upstream.clone();
    let serving = async {
        let mut socket = app.accepted.recv().await.unwrap();
        assert_ne!(socket.read(&mut [0; 1024]).await.unwrap(), 0);
        socket.write_all(OK).await.unwrap();
        // With the rest unread, which resets the connection.
    };
    let asking = pool.exchange(&upstream, head, &body, Instant::now(), LIMIT);
    let (answer, ()) = tokio::join!(asking, serving);
    assert_eq!(answer.unwrap().body, "ok");
    assert!(pool.idle().is_empty());
}

#[tokio::test]
async fn one_whose_answer_is_refused_is_not_used_again() {
    let (pool, mut app) = (Pool::new(false).unwrap(), App::start().await);
    let upstream = app.upstream.clone();
    let twice = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok";
    let (answer, _socket) = tokio::join!(ask(&pool, &upstream), answered_once(&mut app, twice));
    assert!(matches!(answer, Err(Failed::Broken(_))), "{answer:?}");
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

/// A pool that trusts an app which only it knows, and that app.
async fn pool_and_secure_app() -> (Arc<Pool>, Uri, TcpListener, TlsAcceptor) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let served = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusted = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new_with_resolver(CheckedResolver::new());
    http.enforce_http(false);
    let connector = HttpsConnectorBuilder::new().with_tls_config(trusted);
    let pool = Arc::new(Pool {
        has_tls: true,
        connector: connector.https_only().enable_http1().wrap_connector(http),
        idle: Arc::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = format!("https://localhost:{port}/").parse().unwrap();
    (pool, upstream, listener, Arc::new(served).into())
}

#[tokio::test]
async fn an_app_is_spoken_to_by_tls_and_told_when_its_connection_ends() {
    const BYTES: usize = 300_000;
    let (pool, upstream, listener, tls) = pool_and_secure_app().await;
    let serving = async {
        let mut socket = tls
            .accept(listener.accept().await.unwrap().0)
            .await
            .unwrap();
        let mut wanted = Vec::new();
        head(&mut wanted);
        for body in [0, 4, BYTES] {
            let mut heard = vec![0; wanted.len() + body];
            socket.read_exact(&mut heard).await.unwrap();
            assert!(heard.starts_with(&wanted) && heard.ends_with(&vec![b'x'; body]));
            for piece in OK.chunks(20) {
                socket.write_all(piece).await.unwrap();
                socket.flush().await.unwrap();
            }
        }
        socket
    };
    let asking = async {
        for body in [0, 4, BYTES] {
            let body = vec![b'x'; body];
            let answered = pool.exchange(&upstream, head, &body, Instant::now(), LIMIT);
            assert_eq!(answered.await.unwrap().body, "ok");
        }
    };
    let ((), mut socket) = tokio::join!(asking, serving);
    let old = pool.idle().take_old(Instant::now() + IDLE_TIMEOUT);
    assert_eq!(old.len(), 1);
    close_all(old);
    // Without its word for the end this would be an error.
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_must_say_so_by_tls() {
    let (pool, upstream, listener, tls) = pool_and_secure_app().await;
    for says_so in [true, false] {
        let serving = async {
            let mut socket = tls
                .accept(listener.accept().await.unwrap().0)
                .await
                .unwrap();
            hear(&mut socket).await;
            socket
                .write_all(b"HTTP/1.1 200 OK\r\n\r\nok")
                .await
                .unwrap();
            socket.flush().await.unwrap();
            if says_so {
                socket.shutdown().await.unwrap();
            }
        };
        let (answer, ()) = tokio::join!(ask(&pool, &upstream), serving);
        assert_eq!(answer.is_ok(), says_so, "{answer:?}");
    }
}
