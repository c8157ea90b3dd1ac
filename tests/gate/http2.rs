//! HTTP/2: the same gate, the same strictness, and bounds on what one connection can ask for.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use hyper::{Method, Request, Response, Version};
use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frames, GOAWAY, HEADERS, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, fields, frame,
};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{self, SECRET, card_event, sign};
use crate::support::tls::{Certificates, Hello};

const HOOK: &str = "https://gate/webhooks/walletwerk";
const CONNECTIONS: &str = "passgate_connections";

/// A gateway with TLS and HTTP/2 before this app.
pub fn setup(app: App, more: &str) -> (Setup, Certificates) {
    let (certificates, _) = Certificates::of("gate");
    let lines = certificates.lines("one");
    let tls = format!("{more}\n[server.tls]\nhttp2 = true\n{lines}");
    (Setup::walletwerk(app, &tls), certificates)
}

async fn willing() -> (Gate, Certificates) {
    let (setup, certificates) = setup(App::willing().await, "");
    (setup.start().await, certificates)
}

/// A connection for requests. It lives as long as one of its handles.
pub async fn connect(gate: &Gate) -> SendRequest<Bytes> {
    let stream = Hello::to("gate")
        .offering(&["h2"])
        .shake(gate.address)
        .await
        .unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

fn head(uri: &str, body: &str, n: u64) -> hyper::http::request::Builder {
    Request::post(uri)
        .version(Version::HTTP_2)
        .header("content-type", "application/json")
        .header(
            "x-walletwerk-signature",
            sign(SECRET.as_bytes(), body.as_bytes()),
        )
        .header("x-walletwerk-delivery-id", format!("d{n}"))
}

/// Sends a head and, if there is one, a body.
fn begin(
    requests: &mut SendRequest<Bytes>,
    head: Request<()>,
    body: Option<&str>,
) -> ResponseFuture {
    let (response, mut stream) = requests.send_request(head, body.is_none()).unwrap();
    if let Some(body) = body {
        stream
            .send_data(Bytes::copy_from_slice(body.as_bytes()), true)
            .unwrap();
    }
    response
}

async fn ended(response: ResponseFuture) -> Result<Response<()>, h2::Error> {
    tokio::time::timeout(Duration::from_secs(20), response)
        .await
        .expect("an answer, or an end")
        .map(|response| response.map(drop))
}

fn outcome(response: &Response<()>) -> &str {
    response.headers()["passgate-outcome"].to_str().unwrap()
}

/// Sends an event; the status of its answer.
pub async fn deliver(requests: &mut SendRequest<Bytes>, n: u64) -> u16 {
    let body = card_event(n);
    let head = head(HOOK, &body, n).body(()).unwrap();
    ended(begin(requests, head, Some(&body)))
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn an_event_takes_the_same_way_as_over_http_1() {
    let (gate, _certificates) = willing().await;
    let mut requests = connect(&gate).await;
    let body = card_event(1);
    let post = head(HOOK, &body, 1).body(()).unwrap();
    let response = ended(begin(&mut requests, post, Some(&body)))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), outcome(&response)),
        (200, "forwarded")
    );
    assert!(!response.headers().contains_key("connection"));
    let mut plain = Hello::to("gate").open(gate.address).await;
    let same = sender::Request::walletwerk(card_event(2), "d2");
    assert_eq!(plain.ask(&same).await.status, 200);
    let [two, one] = &gate.app.requests()[..] else {
        panic!()
    };
    assert_eq!(two.body, body.as_bytes());
    let named = |request: &crate::support::app::Request| {
        let mut names: Vec<_> = request
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    };
    assert_eq!(named(two), named(one));
    for name in [
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "content-type",
    ] {
        assert_eq!(two.header(name), one.header(name), "{name}");
    }
    // But each tells its own way.
    assert_eq!(two.header("via"), Some("2.0 passgate"));
    assert_eq!(one.header("via"), Some("1.1 passgate"));
}

#[tokio::test]
async fn many_events_at_once_share_a_connection() {
    let (gate, _certificates) = willing().await;
    let mut requests = connect(&gate).await;
    // With the first answer a client knows how many streams it may open.
    assert_eq!(deliver(&mut requests, 500).await, 200);
    let mut sending = tokio::task::JoinSet::new();
    for n in 0..500 {
        let requests = requests.clone();
        sending.spawn(async move {
            let mut requests = requests.ready().await.unwrap();
            deliver(&mut requests, n).await
        });
    }
    while let Some(status) = sending.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(gate.app.count(), 501);
    assert_eq!(gate.metric(CONNECTIONS).await, 1.0);
}

#[tokio::test]
async fn it_is_offered_and_not_forced_on_anybody() {
    let (gate, _certificates) = willing().await;
    for (offered, expected) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = Hello::to("gate")
            .offering(offered)
            .shake(gate.address)
            .await;
        let stream = stream.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), expected, "{offered:?}");
    }
    // And not at all where it was not agreed upon, whatever a sender writes.
    let mut stream = Hello::to("gate").shake(gate.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let answer = sender::read_answer(&mut stream, &mut Vec::new())
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn flawed_heads_are_refused_one_by_one() {
    let (gate, _certificates) = willing().await;
    let mut requests = connect(&gate).await;
    let body = card_event(0);
    let good = || head(HOOK, &body, 0);
    let at = |uri: &str| head(uri, &body, 0);
    let long = format!("{HOOK}?{}", "a".repeat(8200));
    let many = (0..61).fold(good(), |head, n| head.header(format!("x-{n}"), "y"));
    for (post, expected) in [
        (good().header("host", "other"), 400),
        (good().header("host", "gate").header("host", "gate"), 400),
        (at("https://user@gate/webhooks/walletwerk"), 400),
        (at("https://other/webhooks/walletwerk"), 421),
        (
            good()
                .header("content-length", body.len())
                .header("content-length", body.len()),
            400,
        ),
        (good().header("content-type", "text/plain"), 400),
        (good().header("x-walletwerk-delivery-id", "d"), 400),
        (good().header("x-walletwerk-signature", "00"), 400),
        (good().header("content-encoding", "gzip"), 415),
        (good().header("expect", "something"), 417),
        (good().header("x", " padded"), 400),
        (at("https://gate/webhooks/walletwerk/"), 404),
        (at("https://gate/webhooks/./walletwerk"), 404),
        (at("https://gate//webhooks/walletwerk"), 404),
        (at(&long), 414),
        (many, 431),
        (good().method(Method::GET), 405),
        (good().method(Method::DELETE), 405),
    ] {
        let post = post.body(()).unwrap();
        let shown = format!("{post:?}");
        let response = ended(begin(&mut requests, post, Some(&body))).await;
        let response = response.unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(response.status().as_u16(), expected, "{shown}");
        assert!(!response.headers().contains_key("connection"), "{shown}");
    }
    // A length that is too large is seen before the body.
    let huge = good().header("content-length", 1 << 30).body(()).unwrap();
    let (response, _stream) = requests.send_request(huge, false).unwrap();
    let response = ended(response).await.unwrap();
    assert_eq!(response.status().as_u16(), 413);
    // No body at all, and a length that is not stated.
    let empty = begin(&mut requests, good().body(()).unwrap(), None);
    assert_eq!(ended(empty).await.unwrap().status().as_u16(), 411);
    assert_eq!(gate.app.count(), 0);
    // The connection is as good as ever.
    assert_eq!(deliver(&mut requests, 1).await, 200);
    assert_eq!(gate.metric(CONNECTIONS).await, 1.0);
}

/// The fields of a good request, which each case spoils.
pub fn good_fields(n: u64) -> Vec<(String, String)> {
    let body = card_event(n);
    [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "gate"),
        (":path", "/webhooks/walletwerk"),
        ("content-type", "application/json"),
        (
            "x-walletwerk-signature",
            &sign(SECRET.as_bytes(), body.as_bytes()),
        ),
        ("x-walletwerk-delivery-id", &format!("d{n}")),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The head of these fields.
pub fn block(list: &[(String, String)]) -> Vec<u8> {
    let list: Vec<_> = list
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    fields(&list)
}

/// Sends one request of these fields on a connection of its own.
async fn fate_of(gate: &Gate, list: &[(String, String)], body: &str) -> Fate {
    let mut frames = Frames::open(gate.address).await;
    frames.send(HEADERS, END_HEADERS, 1, &block(list)).await;
    frames.send(DATA, END_STREAM, 1, body.as_bytes()).await;
    frames.fate(1).await
}

#[tokio::test]
async fn what_no_library_would_write_ends_its_stream_and_nothing_passes() {
    let (gate, _certificates) = willing().await;
    let body = card_event(1);
    assert_eq!(
        fate_of(&gate, &good_fields(1), &body).await,
        Fate::Answered(Some(200))
    );
    let with = |name: &str, value: &str| {
        let mut list = good_fields(2);
        list.push((name.to_owned(), value.to_owned()));
        list
    };
    let instead = |name: &str, value: Option<&str>| {
        let mut list = good_fields(2);
        list.retain(|(other, _)| other != name);
        if let Some(value) = value {
            list.insert(0, (name.to_owned(), value.to_owned()));
        }
        list
    };
    let body = card_event(2);
    for list in [
        with("transfer-encoding", "chunked"),
        with("connection", "close"),
        with("connection", "x-walletwerk-signature"),
        with("upgrade", "websocket"),
        with("keep-alive", "timeout=5"),
        with("proxy-connection", "close"),
        with("te", "gzip"),
        with("X-Upper", "a"),
        with("x:y", "a"),
        with("x y", "a"),
        with("", "a"),
        with("x", "a\r\nhost: other"),
        with("x", "a\nb"),
        with("x", "a\0b"),
        with("content-length", "1"),
        with("content-length", &(body.len() + 1).to_string()),
        with("content-length", "+5"),
        with("host", "other"),
        with(":path", "/other"),
        with(":unknown", "a"),
        instead(":path", None),
        instead(":path", Some("")),
        instead(":path", Some("/webhooks/walletwerk /x")),
        instead(":path", Some("webhooks/walletwerk")),
        instead(":path", Some("https://gate/webhooks/walletwerk")),
        instead(":method", None),
        instead(":method", Some("")),
        instead(":method", Some("PO ST")),
        instead(":method", Some("CONNECT")),
        instead(":scheme", None),
        instead(":scheme", Some("ftp")),
        instead(":authority", None),
        instead(":authority", Some("")),
        instead(":authority", Some("gate/x")),
        instead(":authority", Some("user@gate")),
        instead(":authority", Some("gate:99x")),
        [with("x", "y"), vec![(":path".to_owned(), "/x".to_owned())]].concat(),
        [good_fields(2), good_fields(2)].concat(),
    ] {
        match fate_of(&gate, &list, &body).await {
            Fate::Answered(Some(400 | 404)) | Fate::Reset(_) | Fate::GoneAway(_) => {}
            fate => panic!("{fate:?} of {list:?}"),
        }
    }
    assert_eq!(gate.app.count(), 1);
    gate.reached(CONNECTIONS, 0.0).await;
}

#[tokio::test]
async fn trailers_are_no_headers() {
    let (gate, _certificates) = willing().await;
    let mut frames = Frames::open(gate.address).await;
    let mut list = good_fields(1);
    let delivery = list.pop().unwrap();
    let signature = list.pop().unwrap();
    let body = card_event(1);
    // A signature that comes after the body was not there when it was asked for.
    frames.send(HEADERS, END_HEADERS, 1, &block(&list)).await;
    frames.send(DATA, 0, 1, body.as_bytes()).await;
    let late = block(std::slice::from_ref(&signature));
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 1, &late)
        .await;
    let fate = frames.fate(1).await;
    assert!(!matches!(fate, Fate::Answered(Some(200))), "{fate:?}");
    // And what comes beside a good one changes nothing.
    list.push(signature);
    list.push(delivery);
    frames.send(HEADERS, END_HEADERS, 3, &block(&list)).await;
    frames.send(DATA, 0, 3, body.as_bytes()).await;
    let late = fields(&[("x-walletwerk-delivery-id", "other"), ("host", "other")]);
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 3, &late)
        .await;
    assert_eq!(frames.fate(3).await, Fate::Answered(Some(200)));
    let [request] = &gate.app.requests()[..] else {
        panic!()
    };
    assert_eq!(request.header("x-walletwerk-delivery-id"), Some("d1"));
    assert_eq!(request.header("x-forwarded-host"), Some("gate"));
}

#[tokio::test]
async fn a_slow_body_is_cut_and_its_neighbours_are_not() {
    let (setup, _certificates) = setup(App::willing().await, "");
    let gate = setup
        .within(|limits| limits.body_time = Duration::from_millis(300))
        .start()
        .await;
    let mut requests = connect(&gate).await;
    let body = card_event(1);
    let slow = head(HOOK, &body, 1).body(()).unwrap();
    let (response, mut stream) = requests.send_request(slow, false).unwrap();
    stream.send_data(Bytes::from_static(b"{"), false).unwrap();
    assert_eq!(deliver(&mut requests, 2).await, 200);
    let response = ended(response).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), outcome(&response)),
        (408, "too_slow")
    );
    assert_eq!(deliver(&mut requests, 3).await, 200);
}

#[tokio::test]
async fn who_says_nothing_or_nothing_more_is_let_go() {
    let (setup, _certificates) = setup(App::willing().await, "");
    let gate = setup
        .within(|limits| {
            limits.head_time = Duration::from_millis(200);
            limits.idle_time = Duration::from_millis(400);
            limits.write_time = Duration::from_millis(200);
        })
        .start()
        .await;
    let mut silent = Frames::silent(gate.address).await;
    assert_eq!(silent.fate(1).await, Fate::Closed);
    let mut half = Frames::silent(gate.address).await;
    half.write(b"PRI * HTTP/2.0\r\n\r\nS").await;
    assert_eq!(half.fate(1).await, Fate::Closed);
    let mut without_request = Frames::open(gate.address).await;
    assert_eq!(without_request.fate(1).await, Fate::Closed);
    // Half a head holds up everything on its connection, and is no request.
    let mut half = Frames::open(gate.address).await;
    half.send(HEADERS, END_STREAM, 1, &block(&good_fields(1)))
        .await;
    assert!(!matches!(half.fate(1).await, Fate::Answered(_)));
    // Pings keep a connection alive that is used for something, and no other.
    let mut pinging = Frames::open(gate.address).await;
    let closed = async {
        while pinging.send(PING, 0, 0, &[0; 8]).await && pinging.next().await.is_some() {}
    };
    tokio::time::timeout(Duration::from_secs(20), closed)
        .await
        .unwrap();
    let mut used = Frames::open(gate.address).await;
    used.send(HEADERS, END_HEADERS, 1, &block(&good_fields(1)))
        .await;
    used.send(DATA, END_STREAM, 1, card_event(1).as_bytes())
        .await;
    assert_eq!(used.fate(1).await, Fate::Answered(Some(200)));
    assert_eq!(used.fate(3).await, Fate::Closed);
    gate.reached(CONNECTIONS, 0.0).await;
    assert_eq!(gate.app.count(), 1);
}

#[tokio::test]
async fn a_connection_that_is_old_enough_is_ended_and_no_request_is_lost() {
    let (app, open) = App::held(200).await;
    let (setup, _certificates) = setup(app, "");
    let gate = setup
        .within(|limits| limits.http2_age = Duration::from_millis(300))
        .start()
        .await;
    let mut frames = Frames::open(gate.address).await;
    frames
        .send(HEADERS, END_HEADERS, 1, &block(&good_fields(1)))
        .await;
    frames
        .send(DATA, END_STREAM, 1, card_event(1).as_bytes())
        .await;
    loop {
        let frame = frames.next().await.expect("a goodbye");
        if frame.kind == GOAWAY {
            break;
        }
    }
    assert_eq!(gate.app.count(), 1, "it is still at work");
    open.send(true).unwrap();
    assert_eq!(frames.fate(1).await, Fate::Answered(Some(200)));
    assert_eq!(frames.fate(3).await, Fate::Closed);
}

#[tokio::test]
async fn floods_end_their_connection_and_harm_no_other() {
    let (gate, _certificates) = willing().await;
    let mut other = connect(&gate).await;
    let head = block(&good_fields(1));
    let opened_and_reset = (0..5_000).flat_map(|n| {
        let stream = 2 * n + 1;
        [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()),
        ]
    });
    // A window that is made larger than it can be, so that we have to end the stream.
    let provoked = (0..5_000).flat_map(|n| {
        let stream = 2 * n + 1;
        [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes()),
        ]
    });
    let endless_head = std::iter::once(frame(HEADERS, 0, 1, &head))
        .chain((0..5_000).map(|_| frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]))));
    let huge_frames = (0..5_000).map(|_| frame(0x42, 0, 0, &[0; 16_000]));
    // One long field, then a byte each for the same again: small on the wire.
    let mut bomb = vec![0x40];
    bomb.extend(&fields(&[("x", &"y".repeat(4_000))])[1..]);
    bomb.extend([0xbe; 12_000]);
    let bombs = (0..100).map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &bomb));
    let floods: [(&str, Vec<Vec<u8>>); 5] = [
        ("resets", opened_and_reset.collect()),
        ("provoked resets", provoked.collect()),
        ("endless head", endless_head.collect()),
        ("unknown frames", huge_frames.collect()),
        ("bombs", bombs.collect()),
    ];
    for (what, flood) in floods {
        let mut frames = Frames::open(gate.address).await;
        let mut is_taken = true;
        for some in flood.chunks(100) {
            is_taken &= frames.write(&some.concat()).await;
            // While it lasts, everybody else is served.
            if !is_taken {
                break;
            }
        }
        let fate = match what {
            // Unknown frames are to be ignored (RFC 9113, 5.5), and cost what they weigh.
            "unknown frames" => Fate::Closed,
            // A decoded head that is too large is refused as such, and the connection may live.
            "bombs" => frames.fate(1).await,
            _ => frames.fate(u32::MAX >> 1).await,
        };
        assert!(
            matches!(
                fate,
                Fate::GoneAway(_) | Fate::Closed | Fate::Answered(None)
            ),
            "{what}: {fate:?}"
        );
        assert_eq!(deliver(&mut other, 100).await, 200, "{what}");
    }
    assert_eq!(gate.app.count(), 1);
    gate.reached(CONNECTIONS, 1.0).await;
}

#[tokio::test]
async fn a_flood_of_what_asks_nothing_ends_its_connection_with_a_request_open_or_without() {
    let (gate, _certificates) = willing().await;
    let mut other = connect(&gate).await;
    for is_open in [false, true] {
        for (what, one) in [
            ("pings", frame(PING, 0, 0, &[0; 8])),
            ("settings", frame(SETTINGS, 0, 0, &[])),
            ("priorities", frame(2, 0, 1, &[0, 0, 0, 3, 16])),
            ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("unknown frames", frame(0x42, 0, 0, &[])),
        ] {
            let mut frames = Frames::open(gate.address).await;
            if is_open {
                let head = block(&good_fields(1));
                frames.send(HEADERS, END_HEADERS, 1, &head).await;
            }
            let many = one.repeat(1_000);
            let flood = async { while frames.write(&many).await {} };
            tokio::time::timeout(Duration::from_secs(20), flood)
                .await
                .unwrap_or_else(|_| panic!("{what} are taken for ever"));
            assert_eq!(deliver(&mut other, 1).await, 200, "{what}");
        }
    }
    gate.reached(CONNECTIONS, 1.0).await;
}

#[tokio::test]
async fn pings_settings_and_empty_data_are_answered_at_the_peers_pace() {
    let (gate, _certificates) = willing().await;
    let mut other = connect(&gate).await;
    let floods = [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
    ];
    for (what, one) in floods {
        let mut frames = Frames::open(gate.address).await;
        // Nobody reads the answers: what cannot be written to the peer is not read from it either.
        let many = one.repeat(1_000);
        let flood = async { while frames.write(&many).await {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), flood).await;
        assert_eq!(deliver(&mut other, 1).await, 200, "{what}");
    }
    let mut frames = Frames::open(gate.address).await;
    frames
        .send(HEADERS, END_HEADERS, 1, &block(&good_fields(2)))
        .await;
    let many = frame(DATA, 0, 1, &[]).repeat(1_000);
    let mut is_taken = true;
    for _ in 0..50 {
        is_taken &= frames.write(&many).await;
    }
    // They are no body, however many come; the library may have enough of them, too.
    frames
        .send(DATA, END_STREAM, 1, card_event(2).as_bytes())
        .await;
    let fate = frames.fate(1).await;
    assert!(
        !is_taken || !matches!(fate, Fate::Answered(None)),
        "{fate:?}"
    );
    assert_eq!(deliver(&mut other, 3).await, 200);
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_can_come_again() {
    let (app, open) = App::held(200).await;
    let (setup, _certificates) = setup(app, "");
    let gate = setup
        .within(|limits| limits.http2_streams = 100)
        .start()
        .await;
    let mut frames = Frames::open(gate.address).await;
    for n in 0..101 {
        let stream = 2 * n + 1;
        let list = block(&good_fields(n.into()));
        frames.send(HEADERS, END_HEADERS, stream, &list).await;
        let body = card_event(n.into());
        frames.send(DATA, END_STREAM, stream, body.as_bytes()).await;
    }
    const REFUSED_STREAM: u32 = 7;
    assert_eq!(frames.fate(201).await, Fate::Reset(REFUSED_STREAM));
    gate.app.reached(100).await;
    open.send(true).unwrap();
    for n in 0..100 {
        assert_eq!(frames.fate(2 * n + 1).await, Fate::Answered(Some(200)));
    }
}

#[tokio::test]
async fn a_peer_that_takes_no_answer_holds_nothing_for_ever() {
    let (setup, _certificates) = setup(App::willing().await, "");
    let gate = setup
        .within(|limits| {
            limits.idle_time = Duration::from_millis(300);
            limits.write_time = Duration::from_millis(300);
        })
        .start()
        .await;
    let mut frames = Frames::silent(gate.address).await;
    frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // A window of nothing, for ever.
    frames.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    frames
        .send(HEADERS, END_HEADERS, 1, &block(&good_fields(1)))
        .await;
    frames
        .send(DATA, END_STREAM, 1, card_event(1).as_bytes())
        .await;
    gate.app.reached(1).await;
    gate.reached(CONNECTIONS, 0.0).await;
}

#[tokio::test]
async fn a_stop_says_goodbye_and_lets_what_is_in_flight_finish() {
    let (app, open) = App::held(200).await;
    let (setup, _certificates) = setup(app, "");
    let gate = setup.start().await;
    let mut frames = Frames::open(gate.address).await;
    let _idle = connect(&gate).await;
    frames
        .send(HEADERS, END_HEADERS, 1, &block(&good_fields(1)))
        .await;
    frames
        .send(DATA, END_STREAM, 1, card_event(1).as_bytes())
        .await;
    gate.app.reached(1).await;
    let ending = tokio::spawn(gate.end());
    loop {
        let frame = frames.next().await.expect("a goodbye");
        if frame.kind == GOAWAY {
            assert_eq!(frame.payload[4..8], [0; 4], "without an error");
            break;
        }
    }
    open.send(true).unwrap();
    assert_eq!(frames.fate(1).await, Fate::Answered(Some(200)));
    assert_eq!(frames.fate(3).await, Fate::Closed);
    let (app, _) = tokio::time::timeout(Duration::from_secs(10), ending)
        .await
        .expect("an end")
        .unwrap();
    assert_eq!(app.count(), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_act_on_the_goodbye_is_not_served_for_ever() {
    let (setup, _certificates) = setup(App::willing().await, "");
    let gate = setup
        .within(|limits| {
            limits.http2_age = Duration::from_millis(300);
            limits.write_time = Duration::from_millis(500);
            limits.request_time = Duration::from_secs(60 * 60);
        })
        .start()
        .await;
    let mut frames = Frames::open(gate.address).await;
    let owed = block(&good_fields(1));
    frames.send(HEADERS, END_HEADERS, 1, &owed).await;
    let mut list = good_fields(2);
    list.retain(|(name, _)| name != ":path");
    list.insert(0, (":path".to_owned(), "/nowhere".to_owned()));
    let more = block(&list);
    let (mut since_goodbye, mut is_told, mut is_answered) = (0, false, false);
    // One request after the other, and no acknowledgement of the ping that goes with the goodbye.
    let served = async {
        for stream in (3..).step_by(2) {
            // It has room for every answer.
            frames
                .send(WINDOW_UPDATE, 0, 0, &1_000u32.to_be_bytes())
                .await;
            frames
                .send(HEADERS, END_HEADERS | END_STREAM, stream, &more)
                .await;
            loop {
                let Some(frame) = frames.next().await else {
                    return;
                };
                is_told |= frame.kind == GOAWAY;
                is_answered |= frame.kind == HEADERS && frame.stream == 1;
                if frame.kind == HEADERS && frame.stream == stream {
                    break;
                }
            }
            since_goodbye += usize::from(is_told);
            if since_goodbye == 10 {
                let body = card_event(1);
                frames.send(DATA, END_STREAM, 1, body.as_bytes()).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), served)
        .await
        .expect("an end");
    assert!(is_answered, "what was in flight is owed");
    gate.reached(CONNECTIONS, 0.0).await;
}
