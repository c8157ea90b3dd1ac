//! What does a whole request cost: 64 connections, each with a signed event of its own after the other,
//! verified, claimed, forwarded to a local app, settled with a sync and answered?

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use passgate::doors::gateway::{Gateway, Parts};
use passgate::doors::listener::passed::Passed;
use passgate::keepers::log::{Format, Log};
use passgate::keepers::metrics::Metrics;
use passgate::keepers::store::Store;
use passgate::keepers::store::embedded::Embedded;
use passgate::keepers::store::jobs::Queue;
use passgate::keepers::store::memory::Memory;
use passgate::keepers::store::tuning::{Options, Tuning};
use passgate::rules::config::Config;
use passgate::rules::reader::secrets::{SecretFile, SecretSource, Unreadable};
use passgate::words::limits::Limits;
use passgate::words::time::{Clock, SystemClock};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

const SECRET: &str = "a-secret-for-the-bench";
const CONNECTIONS: u64 = 64;

struct BenchSecrets;

impl SecretSource for BenchSecrets {
    fn variable(&self, _: &str) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(SECRET.as_bytes().to_vec()))
    }

    fn file(&self, _: &Path) -> Result<SecretFile, Unreadable> {
        Err(Unreadable::NotAFile)
    }
}

async fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let service = service_fn(|request: Request<Incoming>| async {
                let _ = request.into_body().collect().await;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    address
}

async fn gateway<S: Store + Queue>(store: Arc<S>, mode: &str, clock: Arc<dyn Clock>) -> Gateway {
    let text = format!(
        "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:S\"]\nupstream = \"http://{}/\"\ndelivery = \"{mode}\"\n",
        app().await
    );
    let read = Config::read(&text, Path::new("bench.toml"), Some(&BenchSecrets));
    let (mut config, _) = read.expect("a right configuration");
    config.server.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()];
    config.admin.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()];
    let log = Log::new(Box::new(std::io::sink()), Format::Json, Arc::clone(&clock)).expect("a log");
    let parts = Parts {
        store: store.clone(),
        queue: store,
        clock,
        log,
        metrics: Arc::new(Metrics::new()),
        limits: Limits::default(),
        source: None,
        passed: Passed::default(),
    };
    Gateway::start(config, parts).await.expect("a gateway")
}

/// Sends `count` events over one connection, one after the other.
async fn send(to: SocketAddr, count: u64, next: &AtomicU64, now: &str) {
    let mut socket = TcpStream::connect(to).await.expect("a connection");
    socket.set_nodelay(true).expect("an option");
    let mut answer = vec![0; 4096];
    let padding = "x".repeat(400);
    for _ in 0..count {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"event":"card.active","timestamp":"{now}","organization_id":1,"data":{{"card_id":"card_{id}","metadata":{{"p":"{padding}"}}}}}}"#
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key");
        mac.update(body.as_bytes());
        let tag = data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes());
        let length = body.len();
        let request = format!(
            "POST /webhooks/walletwerk HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nX-WalletWerk-Signature: {tag}\r\nX-WalletWerk-Delivery-ID: d{id}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.expect("written");
        let read = socket.read(&mut answer).await.expect("an answer");
        assert!(
            answer[..read].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..read])
        );
    }
}

fn gate(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir().expect("a folder");
    let durable = Embedded::open(Options {
        path: folder.path().join("bench.redb"),
        clock: Arc::clone(&clock),
        tuning: Tuning::default(),
        on_commit: None,
    });
    let next = AtomicU64::new(0);
    let mut group = criterion.benchmark_group("gate");
    group.throughput(Throughput::Elements(1));
    group.sample_size(10);
    group.measurement_time(Duration::from_secs(8));
    let durable = Arc::new(durable.expect("a store"));
    let gateways = [
        (
            "memory",
            runtime.block_on(gateway(
                Arc::new(Memory::new()),
                "inline",
                Arc::clone(&clock),
            )),
        ),
        (
            "inline",
            runtime.block_on(gateway(Arc::clone(&durable), "inline", Arc::clone(&clock))),
        ),
        (
            "queue",
            runtime.block_on(gateway(durable, "queue", Arc::clone(&clock))),
        ),
    ];
    for (name, gateway) in &gateways {
        let to = gateway.listening()[0].tcp().expect("an address");
        group.bench_function(*name, |bencher| {
            bencher.iter_custom(|count| {
                let now = clock.now().to_rfc3339();
                let each = count.div_ceil(CONNECTIONS);
                let started = Instant::now();
                runtime.block_on(async {
                    let senders = (0..CONNECTIONS).map(|_| send(to, each, &next, &now));
                    futures(senders).await;
                });
                // As long as the asked-for count would have taken.
                started
                    .elapsed()
                    .mul_f64(count as f64 / (each * CONNECTIONS) as f64)
            });
        });
    }
    group.finish();
    for (_, gateway) in gateways {
        runtime.block_on(gateway.stop(std::future::pending()));
    }
}

/// Runs them all at once, on one task: the senders are not what is measured.
async fn futures<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        match all.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

criterion_group!(benches, gate);
criterion_main!(benches);
