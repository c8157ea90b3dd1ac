//! The app's side, broken and hostile: what goes back, that nothing counts as delivered which was not
//! answered whole, and that the next event is served as ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Answer, Request, card_event};

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

fn text(bytes: &str) -> Vec<u8> {
    bytes.replace('\n', "\r\n").into_bytes()
}

/// The first event meets `reply`, everything after it a 200. Whatever came of the first: sent again it is
/// forwarded exactly if it was not accepted, and the next event is served.
async fn first_meets(name: &str, reply: Reply) -> Answer {
    first_meets_within("10s", name, reply).await
}

/// The same with a time of its own for the app.
async fn first_meets_within(timeout: &str, name: &str, reply: Reply) -> Answer {
    let app = App::start(move |_, before| match before {
        0 => reply.clone(),
        _ => Reply::with(200, "", "fine"),
    });
    let gate = Setup::walletwerk(app.await, &format!("timeout = \"{timeout}\""))
        .start()
        .await;
    let answer = gate.send(&event(1)).await;
    assert_eq!(gate.app.count(), 1, "{name}: one attempt for one request");
    let is_accepted = (200..300).contains(&answer.status);
    let again = gate.send(&event(1)).await;
    let expected = if is_accepted {
        "duplicate"
    } else {
        "forwarded"
    };
    assert_eq!(again.outcome(), expected, "{name}");
    let next = gate.send(&event(2)).await;
    assert_eq!(
        (next.outcome(), &*next.body),
        ("forwarded", "fine"),
        "{name}"
    );
    let requests = gate.app.requests();
    assert_eq!(requests.len(), if is_accepted { 2 } else { 3 }, "{name}");
    if !is_accepted {
        let key = |at: usize| requests[at].header("idempotency-key").unwrap();
        assert_eq!(key(0), key(1), "{name}");
        assert_ne!(key(1), key(2), "{name}");
        assert_eq!(requests[0].body, requests[1].body, "{name}");
    }
    answer
}

#[tokio::test]
async fn an_apps_refusal_goes_back_as_it_is_with_its_words() {
    for status in [
        400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 425, 429, 451, 500, 501, 502, 503, 504,
        599,
    ] {
        let reply = Reply::with(
            status,
            "content-type: text/x-app\r\nx-app: a\r\nset-cookie: a=b\r\nserver: app\r\n",
            "no",
        );
        let answer = first_meets(&status.to_string(), reply).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (status, "upstream_status")
        );
        assert_eq!(answer.header("content-type"), Some("text/x-app"));
        assert_eq!(answer.body, "no");
        for name in ["x-app", "set-cookie", "server", "location"] {
            assert_eq!(answer.header(name), None);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_goes_back_no_more_than_a_410_does() {
    for status in [300, 301, 302, 303, 304, 305, 307, 308, 399, 410] {
        for location in [
            "/elsewhere",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
        ] {
            let headers = format!("location: {location}\r\n");
            let body = if status == 304 { "" } else { "moved" };
            let answer = first_meets(
                &format!("{status} {location}"),
                Reply::with(status, &headers, body),
            )
            .await;
            assert_eq!((answer.status, answer.outcome()), (502, "upstream_status"));
            assert_eq!(answer.header("location"), None);
            assert!(!answer.body.contains("moved"));
        }
    }
}

#[tokio::test]
async fn the_apps_retry_after_is_passed_on_as_seconds_within_bounds() {
    for (status, said, told) in [
        (503, "7", "7"),
        (429, "120", "120"),
        (503, "0", "1"),
        (503, "99999999999", "3600"),
        (503, "-1", "5"),
        (429, "Fri, 31 Dec 1999 23:59:59 GMT", "1"),
        (503, "Thu, 01 Jan 2026 00:02:00 GMT", "120"),
        (503, "soon", "5"),
    ] {
        let reply = Reply::with(status, &format!("retry-after: {said}\r\n"), "");
        let answer = first_meets(said, reply).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("retry-after"), Some(told), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_whole_unambiguous_answer_is_a_bad_gateway() {
    let flood: String = (0..200).map(|n| format!("x-{n}: y\n")).collect();
    let long = format!("x-long: {}\n", "y".repeat(600_000));
    for (name, reply) in [
        ("closed", Reply::Close),
        ("reset", Reply::Reset),
        ("nothing but a line end", Reply::Cut(text("\n\n"))),
        (
            "half a head",
            Reply::Cut(text("HTTP/1.1 200 OK\ncontent-length: 0\n")),
        ),
        (
            "a body cut short",
            Reply::Cut(text("HTTP/1.1 200 OK\ncontent-length: 100\n\nshort")),
        ),
        (
            "no body at all",
            Reply::Cut(text("HTTP/1.1 200 OK\ncontent-length: 1\n\n")),
        ),
        (
            "a chunk cut short",
            Reply::Cut(text("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nab")),
        ),
        (
            "no last chunk",
            Reply::Cut(text(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nab\n",
            )),
        ),
        (
            "a broken chunk",
            Reply::Cut(text(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nx\nab\n0\n\n",
            )),
        ),
        (
            "chunks without a size",
            Reply::Raw(text(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nab\n\n\n",
            )),
        ),
        (
            "a length and chunks",
            Reply::Raw(text(
                "HTTP/1.1 200 OK\ncontent-length: 2\ntransfer-encoding: chunked\n\n2\nab\n0\n\n",
            )),
        ),
        (
            "chunks and a length",
            Reply::Raw(text(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked\ncontent-length: 12\n\n2\nab\n0\n\n",
            )),
        ),
        (
            "one length twice",
            Reply::Raw(text(
                "HTTP/1.1 200 OK\ncontent-length: 2\ncontent-length: 2\n\nab",
            )),
        ),
        (
            "two lengths",
            Reply::Raw(text(
                "HTTP/1.1 200 OK\ncontent-length: 2\ncontent-length: 3\n\nabc",
            )),
        ),
        (
            "a length of words",
            Reply::Raw(text("HTTP/1.1 200 OK\ncontent-length: two\n\nab")),
        ),
        (
            "a negative length",
            Reply::Raw(text("HTTP/1.1 200 OK\ncontent-length: -2\n\nab")),
        ),
        (
            "an odd coding",
            Reply::Cut(text("HTTP/1.1 200 OK\ntransfer-encoding: gzip\n\nab")),
        ),
        (
            "two codings",
            Reply::Cut(text(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked\ntransfer-encoding: chunked\n\n2\nab\n0\n\n",
            )),
        ),
        (
            "a coding after chunked",
            Reply::Cut(text(
                "HTTP/1.1 200 OK\ntransfer-encoding: chunked, gzip\n\n2\nab\n0\n\n",
            )),
        ),
        (
            "a coding before chunked",
            Reply::Cut(text(
                "HTTP/1.1 200 OK\ntransfer-encoding: gzip, chunked\n\n2\nab\n0\n\n",
            )),
        ),
        (
            "chunks by HTTP/1.0",
            Reply::Raw(text(
                "HTTP/1.0 200 OK\ntransfer-encoding: chunked\n\n2\nab\n0\n\n",
            )),
        ),
        (
            "an unasked switch",
            Reply::Raw(text(
                "HTTP/1.1 101 X\nconnection: upgrade\nupgrade: x\n\nhello",
            )),
        ),
        ("a bare switch", Reply::Raw(text("HTTP/1.1 101 X\n\n"))),
        (
            "garbage",
            Reply::Raw(vec![0, 159, 146, 150, 13, 10, 13, 10]),
        ),
        (
            "another protocol",
            Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ),
        (
            "HTTP/2",
            Reply::Raw(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80".to_vec()),
        ),
        ("a status of words", Reply::Raw(text("HTTP/1.1 OK OK\n\n"))),
        (
            "a status below 100",
            Reply::Raw(text("HTTP/1.1 099 X\ncontent-length: 0\n\n")),
        ),
        (
            "a NUL in a header",
            Reply::Raw(b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ),
        (
            "a flood of headers",
            Reply::Raw(text(&format!(
                "HTTP/1.1 200 OK\n{flood}content-length: 0\n\n"
            ))),
        ),
        (
            "an endless header",
            Reply::Endless(text("HTTP/1.1 200 OK\nx: "), vec![b'y'; 4096]),
        ),
        (
            "a flood of 1xx",
            Reply::Endless(Vec::new(), text("HTTP/1.1 103 Early Hints\nlink: a\n\n")),
        ),
        (
            "a long header",
            Reply::Raw(text(&format!(
                "HTTP/1.1 200 OK\n{long}content-length: 0\n\n"
            ))),
        ),
    ] {
        let answer = first_meets(name, reply).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (502, "upstream_unreachable"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_app_that_is_not_there_is_a_bad_gateway() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let config = format!(
        "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://{address}/\"\n"
    );
    let gate = Setup::config(App::willing().await, config).start().await;
    for _ in 0..2 {
        let answer = gate.send(&event(1)).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (502, "upstream_unreachable")
        );
    }
}

#[tokio::test]
async fn an_app_that_is_not_done_in_time_is_a_gateway_timeout() {
    let (_closed, never) = tokio::sync::watch::channel(false);
    let stalls = |bytes: &str| {
        // Written, and then nothing more comes, but the connection stays.
        Reply::Raw(text(bytes))
    };
    // All at once, since each waits.
    let mut waits = JoinSet::new();
    for (name, reply) in [
        ("silence", Reply::Never),
        ("waiting", Reply::After(never, Box::new(Reply::status(200)))),
        ("half a head", stalls("HTTP/1.1 200 OK\ncontent-le")),
        (
            "half a body",
            stalls("HTTP/1.1 200 OK\ncontent-length: 100\n\nshort"),
        ),
        (
            "half a chunk",
            stalls("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nab"),
        ),
        ("a body without an end", stalls("HTTP/1.1 200 OK\n\nab")),
        ("an unasked 100", stalls("HTTP/1.1 100 Continue\n\n")),
    ] {
        waits.spawn(async move { (name, first_meets_within("500ms", name, reply).await) });
    }
    for (name, answer) in waits.join_all().await {
        assert_eq!(
            (answer.status, answer.outcome()),
            (504, "upstream_timeout"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_surrounds_a_whole_answer_does_no_harm() {
    for (name, reply, status, body) in [
        (
            "a 100 before",
            Reply::Raw(text(
                "HTTP/1.1 100 Continue\n\nHTTP/1.1 201 X\ncontent-length: 2\n\nab",
            )),
            201,
            "ab",
        ),
        (
            "hints before",
            Reply::Raw(text(
                "HTTP/1.1 103 X\nlink: a\n\nHTTP/1.1 200 X\ncontent-length: 2\n\nab",
            )),
            200,
            "ab",
        ),
        (
            "chunks",
            Reply::Raw(text(
                "HTTP/1.1 200 X\ntransfer-encoding: chunked\n\n1\na\n1;x=y\nb\n0\nx: trailer\n\n",
            )),
            200,
            "ab",
        ),
        (
            "until it closes",
            Reply::Cut(text("HTTP/1.1 200 X\n\nab")),
            200,
            "ab",
        ),
        (
            "HTTP/1.0",
            Reply::Cut(text("HTTP/1.0 200 X\n\nab")),
            200,
            "ab",
        ),
        ("no body", Reply::Raw(text("HTTP/1.1 204 X\n\n")), 204, ""),
        // What stands after an answer must never be taken for the next one's.
        (
            "another answer behind",
            Reply::Raw(text(
                "HTTP/1.1 200 X\ncontent-length: 2\n\nabHTTP/1.1 500 X\ncontent-length: 6\n\nforged",
            )),
            200,
            "ab",
        ),
        (
            "another answer behind none",
            Reply::Raw(text(
                "HTTP/1.1 204 X\n\nHTTP/1.1 500 X\ncontent-length: 6\n\nforged",
            )),
            204,
            "",
        ),
    ] {
        let answer = first_meets(name, reply).await;
        assert_eq!((answer.status, &*answer.body), (status, body), "{name}");
        assert_eq!(answer.outcome(), "forwarded", "{name}");
    }
}

#[tokio::test]
async fn of_a_long_answer_64_kib_go_back_and_nobody_waits_for_the_rest() {
    let line = vec![b'a'; 1000];
    for (name, reply) in [
        ("exactly", Reply::with(200, "", &"a".repeat(65_536))),
        ("one more", Reply::with(200, "", &"a".repeat(65_537))),
        (
            "huge",
            Reply::Endless(
                text("HTTP/1.1 200 X\ncontent-length: 1073741824\n\n"),
                line.clone(),
            ),
        ),
        (
            "endless",
            Reply::Endless(text("HTTP/1.1 200 X\n\n"), line.clone()),
        ),
        (
            "endless chunks",
            Reply::Endless(
                text("HTTP/1.1 200 X\ntransfer-encoding: chunked\n\n"),
                [text("3e8\n"), line, text("\n")].concat(),
            ),
        ),
    ] {
        let answer = first_meets(name, reply).await;
        assert_eq!(
            (answer.outcome(), answer.body.len()),
            ("forwarded", 65_536),
            "{name}"
        );
    }
}

#[tokio::test]
async fn any_2xx_of_the_app_is_a_200_for_wallit_and_nothing_else_is() {
    const STATUSES: [u16; 7] = [200, 201, 202, 204, 299, 404, 500];
    let app = App::start(|_, before| match STATUSES[before] {
        204 => Reply::Raw(text("HTTP/1.1 204 X\n\n")),
        status => Reply::with(status, "", "said"),
    });
    let config = "[[route]]\nprovider = \"wallit\"\nsecrets = [\"env:WALLIT_PATH_SECRET\"]\nupstream = \"http://@APP@/callback?a=b\"\n";
    let gate = Setup::config(app.await, config).start().await;
    for (n, status) in (0..).zip(STATUSES) {
        let query = format!("CallbackType=ExternalSubscriberLinked&CallbackToken=token-{n}");
        let target = format!("/webhooks/wallit/wallit-path-secret?{query}");
        let answer = gate.send(&Request::get(&target)).await;
        let expected = if status < 300 { 200 } else { status };
        assert_eq!(answer.status, expected, "{status}");
        assert_eq!(answer.body, if status == 204 { "" } else { "said" });
        let request = gate.app.requests().pop().unwrap();
        assert_eq!(request.target(), format!("/callback?a=b&{query}"));
    }
}

#[tokio::test]
async fn a_connection_that_the_app_closes_between_two_events_loses_none() {
    // Closed without a word after each answer, as a server does whose idle time is over.
    let app = App::start(|_, _| Reply::Cut(text("HTTP/1.1 200 X\ncontent-length: 0\n\n")));
    let gate = Setup::walletwerk(app.await, "").start().await;
    for n in 0..50 {
        let mut answer = gate.send(&event(n)).await;
        // The close may cross the next request on its way; then its outcome is unknown, so it is said.
        if answer.outcome() == "upstream_unreachable" {
            answer = gate.send(&event(n)).await;
        }
        assert_eq!(answer.outcome(), "forwarded", "{n}");
        assert!(
            gate.app
                .requests()
                .iter()
                .any(|request| request.body == card_event(n).as_bytes())
        );
    }
}

#[tokio::test]
async fn a_request_that_the_app_read_and_did_not_answer_is_not_sent_again_by_itself() {
    let app = App::start(|_, before| match before {
        1 => Reply::Close,
        _ => Reply::status(200),
    });
    let gate = Setup::walletwerk(app.await, "").start().await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
    // Over the connection that is there by now.
    assert_eq!(gate.send(&event(2)).await.outcome(), "upstream_unreachable");
    assert_eq!(gate.app.count(), 2);
    assert_eq!(gate.send(&event(2)).await.outcome(), "forwarded");
    assert_eq!(gate.app.count(), 3);
}

#[tokio::test]
async fn authentic_events_that_are_refused_in_a_row_raise_an_alarm_that_a_success_ends() {
    let app = App::start(|_, before| Reply::status(if before < 6 { 500 } else { 200 }));
    let gate = Setup::walletwerk(app.await, "").start().await;
    let series = "passgate_consecutive_refusals{route=\"walletwerk\"}";
    for refusals in 1..=6 {
        gate.send(&event(1)).await;
        assert_eq!(gate.metric(series).await, f64::from(refusals));
    }
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
    assert_eq!(gate.metric(series).await, 0.0);
    let (_, logged) = gate.end().await;
    let alarms = logged
        .text()
        .matches("authentic events are being refused")
        .count();
    assert_eq!(alarms, 1, "at the fifth, once");
}

#[tokio::test]
async fn an_app_whose_certificate_nobody_vouches_for_is_not_talked_to() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tried, trusted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (tried.clone(), trusted.clone());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counters.0.fetch_add(1, Ordering::Relaxed);
            if acceptor.accept(socket).await.is_ok() {
                counters.1.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let config = format!(
        "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"https://localhost:{port}/\"\n"
    );
    let gate: Gate = Setup::config(App::willing().await, config).start().await;
    for _ in 0..2 {
        let answer = gate.send(&event(1)).await;
        assert_eq!(
            (answer.status, answer.outcome()),
            (502, "upstream_unreachable")
        );
    }
    assert!(tried.load(Ordering::Relaxed) >= 2, "the way there was open");
    assert_eq!(trusted.load(Ordering::Relaxed), 0);
    let (_, logged) = gate.end().await;
    assert!(logged.text().contains("certificate"), "{}", logged.text());
}
