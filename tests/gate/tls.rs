//! TLS with senders: what is shown to whom, what is refused, and certificates that change meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::App;
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Request, card_event};
use crate::support::tls::{Certificates, Hello, Pair};

/// Looked at so often, a change is seen at once.
const POLL: Duration = Duration::from_millis(20);

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

fn to_host(request: Request, host: &str) -> Request {
    request.without("Host").with(&format!("Host: {host}"))
}

async fn setup(tls: &str) -> Setup {
    let app = App::willing().await;
    Setup::walletwerk(app, &format!("[server.tls]\n{tls}"))
        .within(|limits| limits.certificate_poll = POLL)
}

fn series(name: &str, certificates: &Certificates) -> String {
    series_of(name, certificates, "one.pem")
}

fn series_of(name: &str, certificates: &Certificates, file: &str) -> String {
    let path = certificates.path(file);
    format!("{name}{{certificate=\"{}\"}}", path.display())
}

/// The lines for `one` and for a second one, by whose changes is seen that the files were looked at.
fn with_another(certificates: &Certificates) -> String {
    certificates.put("other", &["other"]);
    format!(
        "{}[[server.tls.more]]\n{}",
        certificates.lines("one"),
        certificates.lines("other")
    )
}

/// Waits until every file was looked at a few times.
async fn looked(gate: &Gate, certificates: &Certificates) {
    let not_after = series_of("passgate_tls_not_after_seconds", certificates, "other.pem");
    for day in 1..=3 {
        certificates.write("other", &Pair::until(&["other"], (2027, 1, day)));
        let expected = 1_798_761_600.0 + 86_400.0 * f64::from(day - 1);
        gate.reached(&not_after, expected).await;
    }
}

const FAILED: &str = "passgate_tls_handshakes_total{result=\"failed\"}";
const CONNECTIONS: &str = "passgate_connections";

#[tokio::test]
async fn an_event_comes_in_over_tls_1_2_and_1_3_and_the_app_hears_of_it() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    for (n, hello) in [Hello::to("gate"), Hello::to("gate").old()]
        .iter()
        .enumerate()
    {
        let mut connection = hello.open(gate.address).await;
        for m in 0..2 {
            let answer = connection.ask(&event(2 * n as u64 + m)).await;
            assert_eq!((answer.status, answer.outcome()), (200, "forwarded"));
        }
    }
    let requests = gate.app.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
        let expected = "for=127.0.0.1;host=\"gate\";proto=https";
        assert_eq!(request.header("forwarded"), Some(expected));
    }
}

#[tokio::test]
async fn what_is_stored_still_knows_that_it_came_over_tls() {
    let (certificates, _) = Certificates::of("gate");
    let app = App::willing().await;
    let more = format!(
        "delivery = \"queue\"\n[server.tls]\n{}",
        certificates.lines("one")
    );
    let gate = Setup::walletwerk(app, &more).start().await;
    let mut connection = Hello::to("gate").open(gate.address).await;
    assert_eq!(connection.ask(&event(1)).await.outcome(), "queued");
    gate.app.reached(1).await;
    let request = &gate.app.requests()[0];
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn older_versions_are_refused_with_an_alert() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    for minor in [0, 1, 2] {
        let mut socket = TcpStream::connect(gate.address).await.unwrap();
        socket.write_all(&old_hello(minor)).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        // A fatal alert: protocol_version, or handshake_failure.
        assert_eq!((answer[0], answer[5]), (21, 2), "{answer:?}");
        assert!([40, 70].contains(&answer[6]), "{answer:?}");
    }
    assert_eq!(gate.metric(FAILED).await, 3.0);
}

/// A hello of SSL 3.0, TLS 1.0 or 1.1 with suites of its time, without extensions.
fn old_hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    // No session; CBC, RC4, and an AEAD of TLS 1.2; no compression.
    hello.extend([0, 0, 6, 0xc0, 0x13, 0x00, 0x05, 0xc0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, minor, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name_and_the_first_is_the_default() {
    let (certificates, one) = Certificates::of("one.example");
    let two = certificates.put("two", &["two.example", "*.two.example"]);
    let lines = format!(
        "{}[[server.tls.more]]\n{}",
        certificates.lines("one"),
        certificates.lines("two")
    );
    let gate = setup(&lines).await.start().await;
    for (name, expected) in [
        ("one.example", &one),
        ("two.example", &two),
        ("TWO.example", &two),
        ("a.two.example", &two),
        ("three.example", &one),
        // An address asks for no name.
        ("127.0.0.1", &one),
    ] {
        for hello in [Hello::to(name), Hello::to(name).old()] {
            assert!(hello.shown(gate.address).await == expected.der, "{name}");
        }
    }
}

#[tokio::test]
async fn a_host_that_the_shown_certificate_is_not_of_is_misdirected() {
    let (certificates, _) = Certificates::of("one.example");
    certificates.put("two", &["two.example", "three.example"]);
    let lines = format!(
        "{}[[server.tls.more]]\n{}",
        certificates.lines("one"),
        certificates.lines("two")
    );
    let gate = setup(&lines).await.start().await;
    for (n, (name, host, status)) in [
        ("one.example", "one.example", 200),
        ("one.example", "ONE.example:8443", 200),
        ("one.example", "two.example", 421),
        ("one.example", "elsewhere", 421),
        ("two.example", "one.example", 421),
        // Another name of one certificate: a connection may be shared (RFC 9113, 9.1.1).
        ("two.example", "three.example:443", 200),
        ("elsewhere.example", "elsewhere.example", 200),
        ("elsewhere.example", "one.example", 200),
        ("elsewhere.example", "two.example", 421),
        // Who asks for no name was promised none.
        ("127.0.0.1", "two.example", 200),
    ]
    .into_iter()
    .enumerate()
    {
        let request = to_host(event(n as u64), host);
        let mut connection = Hello::to(name).open(gate.address).await;
        let answer = connection.ask(&request).await;
        assert_eq!(answer.status, status, "{name} {host}");
        if status == 421 {
            assert_eq!(answer.outcome(), "malformed");
            assert_eq!(answer.header("connection"), Some("close"));
            assert!(connection.try_ask(&request).await.is_none());
        }
    }
    assert_eq!(gate.app.count(), 6);
}

#[tokio::test]
async fn protocols_are_agreed_upon_or_refused() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    for (offered, expected) in [
        (&[][..], Ok(None)),
        (&["http/1.1"], Ok(Some(&b"http/1.1"[..]))),
        (&["h2", "http/1.1"], Ok(Some(b"http/1.1"))),
        (&["h2"], Err(())),
        (&["acme-tls/1"], Err(())),
        (&["spdy/3"], Err(())),
    ] {
        let hello = Hello::to("gate").offering(offered);
        let agreed = hello.shake(gate.address).await;
        let agreed = agreed.map_err(drop);
        let agreed = agreed
            .as_ref()
            .map(|stream| stream.get_ref().1.alpn_protocol());
        assert_eq!(
            agreed,
            expected.as_ref().map(|agreed| *agreed),
            "{offered:?}"
        );
    }
}

#[tokio::test]
async fn plain_text_and_junk_on_the_port_end_at_once_and_leave_nothing_behind() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    let half = &old_hello(3)[..20];
    for bytes in [
        &event(1).bytes()[..],
        &[0; 100],
        b"\x16\x03\x01\xff\xff\x01",
        half,
    ] {
        let mut socket = TcpStream::connect(gate.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        if bytes == half {
            socket.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        // An alert, or nothing; the end in any case, be it a reset.
        let _ = socket.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    gate.reached(FAILED, 4.0).await;
    gate.reached(CONNECTIONS, 0.0).await;
    let (app, logged) = gate.end().await;
    assert_eq!(app.count(), 0);
    assert_eq!(logged.text(), "", "anybody could fill the log like this");
}

#[tokio::test]
async fn a_handshake_on_a_port_of_plain_text_ends_at_once() {
    let gate = Gate::willing().await;
    for hello in [Hello::to("gate"), Hello::to("gate").old()] {
        assert!(hello.shake(gate.address).await.is_err());
    }
    gate.reached(CONNECTIONS, 0.0).await;
    assert!(!gate.metrics().await.contains("certificate="));
}

#[tokio::test]
async fn a_handshake_that_takes_its_time_is_cut_at_the_deadline() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one"))
        .await
        .within(|limits| limits.handshake_time = Duration::from_millis(300))
        .start()
        .await;
    let hello = old_hello(3);
    let mut sockets = Vec::new();
    for sent in [0, 1, 9, hello.len() - 1] {
        for _ in 0..10 {
            let mut socket = TcpStream::connect(gate.address).await.unwrap();
            socket.write_all(&hello[..sent]).await.unwrap();
            sockets.push(socket);
        }
    }
    // Meanwhile whoever gets on with it is served.
    let mut connection = Hello::to("gate").open(gate.address).await;
    assert_eq!(connection.ask(&event(1)).await.status, 200);
    for mut socket in sockets {
        let _ = socket.read_to_end(&mut Vec::new()).await;
    }
    gate.reached("passgate_tls_handshakes_total{result=\"too_slow\"}", 40.0)
        .await;
    gate.reached(CONNECTIONS, 1.0).await;
}

#[tokio::test]
async fn bytes_that_come_one_by_one_are_a_handshake_too() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    // A connection between the two that passes on one byte at a time.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap();
    let to = gate.address;
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        far.set_nodelay(true).unwrap();
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        let back = async { tokio::io::copy(&mut far_read, &mut near_write).await };
        let forth = async {
            while let Ok(byte) = near_read.read_u8().await {
                far_write.write_u8(byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::join!(back, forth);
    });
    let mut connection = Hello::to("gate").open(between).await;
    assert_eq!(connection.ask(&event(1)).await.status, 200);
}

#[tokio::test]
async fn an_early_answer_can_be_read_though_the_body_is_still_coming() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    for hello in [Hello::to("gate"), Hello::to("gate").old()] {
        let mut connection = hello.open(gate.address).await;
        let huge = Request::walletwerk(vec![b'a'; 8 << 20], "d");
        let answer = connection.ask(&huge).await;
        assert_eq!((answer.status, answer.outcome()), (413, "too_large"));
        assert!(connection.try_ask(&event(1)).await.is_none(), "it is over");
    }
    gate.reached(CONNECTIONS, 0.0).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let (certificates, _) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    let _silent = TcpStream::connect(gate.address).await.unwrap();
    let idle = Hello::to("gate").open(gate.address).await;
    gate.reached(CONNECTIONS, 2.0).await;
    let ending = tokio::time::timeout(Duration::from_secs(5), gate.end());
    ending.await.expect("an end before any deadline");
    drop(idle);
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_old_connections_stay() {
    let (certificates, old) = Certificates::of("gate");
    let gate = setup(&certificates.lines("one")).await.start().await;
    let hello = Hello::to("gate");
    assert!(hello.shown(gate.address).await == old.der);
    let mut connection = hello.open(gate.address).await;
    assert_eq!(connection.ask(&event(1)).await.status, 200);

    let new = Pair::until(&["gate"], (2027, 1, 2));
    certificates.write("one", &new);
    let not_after = series("passgate_tls_not_after_seconds", &certificates);
    gate.reached(&not_after, 1_798_848_000.0).await;
    assert!(hello.shown(gate.address).await == new.der);
    assert_eq!(connection.ask(&event(2)).await.status, 200);
    assert_eq!(gate.metric(CONNECTIONS).await, 1.0);
    let (_, logged) = gate.end().await;
    assert_eq!(
        logged
            .text()
            .matches("a changed certificate is served")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_link_that_is_swapped_is_a_change_too() {
    let (certificates, _) = Certificates::of("unused");
    // As a Kubernetes volume: the files are links through `..data`, which is replaced as a whole.
    for (folder, names) in [("..first", ["gate"]), ("..second", ["gate"])] {
        std::fs::create_dir(certificates.path(folder)).unwrap();
        certificates.put(&format!("{folder}/tls"), &names);
    }
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, certificates.path("..new")).unwrap();
        std::fs::rename(certificates.path("..new"), certificates.path("..data")).unwrap();
    };
    link("..first");
    for file in ["tls.pem", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), certificates.path(file)).unwrap();
    }
    let gate = setup(&certificates.lines("tls")).await.start().await;
    let hello = Hello::to("gate");
    let first = hello.shown(gate.address).await;
    link("..second");
    let seen = async { while hello.shown(gate.address).await == first {} };
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .expect("the new certificate");
}

#[tokio::test]
async fn a_broken_or_foreign_pair_changes_nothing_and_is_an_alarm() {
    let (certificates, old) = Certificates::of("gate");
    let gate = setup(&with_another(&certificates)).await.start().await;
    let failing = series("passgate_tls_reload_failing", &certificates);
    let errors = series("passgate_tls_reload_errors_total", &certificates);
    gate.reached(&failing, 0.0).await;
    let new = Pair::of(&["gate"]);
    let (pem, key) = (certificates.path("one.pem"), certificates.path("one.key"));
    let mut count = 0.0;
    for breaks in [
        // Half-written.
        &|| std::fs::write(&pem, &new.chain[..new.chain.len() / 2]).unwrap(),
        &|| std::fs::write(&pem, "").unwrap(),
        // The new certificate, but not its key.
        &|| std::fs::write(&pem, &new.chain).unwrap(),
        &|| std::fs::write(&key, &new.key[..new.key.len() / 2]).unwrap(),
        &|| std::fs::remove_file(&key).unwrap(),
        &|| std::fs::create_dir(&key).unwrap(),
    ] as [&dyn Fn(); 6]
    {
        breaks();
        count += 1.0;
        gate.reached(&errors, count).await;
        assert_eq!(gate.metric(&failing).await, 1.0);
        looked(&gate, &certificates).await;
        assert!(Hello::to("gate").shown(gate.address).await == old.der);
    }
    // The rest of it makes it whole.
    std::fs::remove_dir(&key).unwrap();
    std::fs::write(&key, &new.key).unwrap();
    gate.reached(&failing, 0.0).await;
    assert!(Hello::to("gate").shown(gate.address).await == new.der);
    assert_eq!(gate.metric(&errors).await, count);
    let (_, logged) = gate.end().await;
    let alarms = logged.text().matches("cannot be served").count();
    assert_eq!(alarms, 6, "each once: {}", logged.text());
    assert!(
        !logged.text().contains("PRIVATE KEY-----"),
        "{}",
        logged.text()
    );
}

#[tokio::test]
async fn a_certificate_that_expires_meanwhile_is_an_alarm_once() {
    let (certificates, _) = Certificates::of("gate");
    certificates.write("one", &Pair::until(&["gate"], (2026, 1, 2)));
    let gate = setup(&with_another(&certificates)).await.start().await;
    let not_after = series("passgate_tls_not_after_seconds", &certificates);
    gate.reached(&not_after, 1_767_312_000.0).await;
    assert!(!gate.logged.text().contains("expired"));
    gate.clock.advance(Duration::from_secs(86_401));
    gate.told("a certificate has expired").await;
    looked(&gate, &certificates).await;
    certificates.write("one", &Pair::until(&["gate"], (2026, 2, 1)));
    gate.reached(&not_after, 1_769_904_000.0).await;
    let (_, logged) = gate.end().await;
    assert_eq!(logged.text().matches("has expired").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_and_no_request_notices() {
    let (certificates, _) = Certificates::of("gate");
    let gate = Arc::new(setup(&certificates.lines("one")).await.start().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (gate, is_over, next) = (gate.clone(), is_over.clone(), next.clone());
        senders.spawn(async move {
            let mut kept = Hello::to("gate").open(gate.address).await;
            while !is_over.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed) as u64;
                let answer = match number % 2 {
                    // One half keeps its connection, the other makes a new one each time.
                    0 => kept.ask(&event(n)).await,
                    _ => {
                        Hello::to("gate")
                            .open(gate.address)
                            .await
                            .ask(&event(n))
                            .await
                    }
                };
                assert_eq!(answer.status, 200);
            }
        });
    }
    let not_after = series("passgate_tls_not_after_seconds", &certificates);
    for day in 1..=20 {
        certificates.write("one", &Pair::until(&["gate"], (2027, 1, day)));
        let expected = 1_798_761_600.0 + 86_400.0 * f64::from(day - 1);
        gate.reached(&not_after, expected).await;
    }
    is_over.store(true, Ordering::Relaxed);
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    let sent = next.load(Ordering::Relaxed);
    assert_eq!(gate.app.count(), sent, "each once");
    assert_eq!(gate.metric(FAILED).await, 0.0);
}
