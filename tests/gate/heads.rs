//! Heads of HTTP/2 take memory before they are read, and where there is none they wait.

use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::http2::{block, connect, deliver, good_fields, setup};
use crate::support::app::App;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, Fate, Frames, GOAWAY, HEADERS, RST_STREAM, frame,
};
use crate::support::gate::Setup;
use crate::support::sender::{self, card_event};
use crate::support::tls::{Certificates, Hello};

/// Room for two heads of a client, and for eight in all: half of it is for bodies only.
const ROOM_FOR_TWO: usize = 8 * 2 * 64 * 1024;

fn narrow(app: App) -> (Setup, Certificates) {
    let (setup, certificates) = setup(app, "");
    let setup = setup.within(|limits| {
        limits.body_bytes = ROOM_FOR_TWO;
        // Nobody is given up because the machine is slow.
        limits.head_time = Duration::from_secs(60);
    });
    (setup, certificates)
}

/// An event, as frames.
fn event(stream: u32, n: u64) -> Vec<u8> {
    let head = block(&good_fields(n));
    let body = card_event(n);
    [
        frame(HEADERS, END_HEADERS, stream, &head),
        frame(DATA, END_STREAM, stream, body.as_bytes()),
    ]
    .concat()
}

/// What the library refuses by itself.
fn refused_head() -> Vec<u8> {
    let mut fields = good_fields(1);
    fields.retain(|(name, _)| name != ":path");
    block(&fields)
}

#[tokio::test]
async fn a_head_waits_for_room_and_keeps_no_other_client_waiting() {
    let (app, open) = App::held(200).await;
    let (setup, _certificates) = narrow(app);
    let gate = setup.start().await;
    let mut first = Frames::open(gate.address).await;
    first.write(&[event(1, 1), event(3, 2)].concat()).await;
    gate.app.reached(2).await;
    // The third head has no room, and what stands behind it comes with it once there is.
    let mut second = Frames::open(gate.address).await;
    second.write(&[event(1, 3), event(3, 4)].concat()).await;
    // Others are served: as many clients as there is room for in all.
    let mut others = Vec::new();
    for last in 2..=4 {
        let mut other = Frames::open_from(IpAddr::from([127, 0, 0, last]), gate.address).await;
        let n = 10 * u64::from(last);
        other.write(&[event(1, n), event(3, n + 1)].concat()).await;
        others.push(other);
    }
    gate.app.reached(8).await;
    // And then nobody is, until there is room again.
    let mut last = Frames::open_from(IpAddr::from([127, 0, 0, 5]), gate.address).await;
    last.write(&event(1, 100)).await;
    // But who speaks HTTP/1.1 needs no such room.
    let hello = Hello::to("gate").coming_from(IpAddr::from([127, 0, 0, 6]));
    let mut plain = hello.open(gate.address).await;
    let plain = tokio::spawn(async move {
        let event = sender::Request::walletwerk(card_event(200), "d200");
        plain.ask(&event).await.status
    });
    gate.app.reached(9).await;
    open.send(true).unwrap();
    for frames in [&mut first, &mut second].into_iter().chain(&mut others) {
        assert_eq!(frames.fate(1).await, Fate::Answered(Some(200)));
        assert_eq!(frames.fate(3).await, Fate::Answered(Some(200)));
    }
    assert_eq!(last.fate(1).await, Fate::Answered(Some(200)));
    assert_eq!(plain.await.unwrap(), 200);
    assert_eq!(gate.app.count(), 12);
}

#[tokio::test]
async fn a_head_without_room_ends_its_connection_in_time_and_nothing_that_is_at_work() {
    let (app, open) = App::held(200).await;
    let (setup, _certificates) = narrow(app);
    let gate = setup
        .within(|limits| {
            limits.head_time = Duration::from_millis(1500);
            limits.write_time = Duration::from_millis(300);
        })
        .start()
        .await;
    let mut first = Frames::open(gate.address).await;
    first.write(&event(1, 1)).await;
    let mut second = Frames::open(gate.address).await;
    second.write(&event(1, 2)).await;
    gate.app.reached(2).await;
    second.write(&event(3, 3)).await;
    loop {
        let frame = second.next().await.expect("a goodbye");
        if frame.kind == GOAWAY {
            assert_eq!(frame.payload[4..8], [0; 4], "without an error");
            break;
        }
    }
    assert_eq!(gate.app.count(), 2);
    open.send(true).unwrap();
    assert_eq!(second.fate(1).await, Fate::Answered(Some(200)));
    assert_eq!(second.fate(5).await, Fate::Closed);
    assert_eq!(first.fate(1).await, Fate::Answered(Some(200)));
}

#[tokio::test]
async fn heads_that_never_become_requests_hold_nothing() {
    let (setup, _certificates) = narrow(App::willing().await);
    let gate = setup.start().await;
    let mut frames = Frames::open(gate.address).await;
    let refused = refused_head();
    let mut stream = 1;
    for n in 0..20 {
        // Far more than there is room for, at one time and one after the other.
        let count = if n == 0 { 40 } else { 1 };
        for _ in 0..count {
            let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &refused);
            frames.write(&head).await;
            stream += 2;
        }
        let is_reset = matches!(frames.fate(stream - 2).await, Fate::Reset(_));
        assert!(is_reset, "{n}");
    }
    frames.write(&event(stream, 1)).await;
    assert_eq!(frames.fate(stream).await, Fate::Answered(Some(200)));
    // A request that its peer ends gives back its room as well.
    for n in 0..20 {
        stream += 2;
        let head = block(&good_fields(100 + n));
        let code = 8u32.to_be_bytes();
        frames.send(HEADERS, END_HEADERS, stream, &head).await;
        frames.send(RST_STREAM, 0, stream, &code).await;
        stream += 2;
        frames.write(&event(stream, 200 + n)).await;
        let fate = frames.fate(stream).await;
        assert_eq!(fate, Fate::Answered(Some(200)), "{n}");
    }
    assert_eq!(gate.app.count(), 21);
}

/// A wake-up that is lost would leave somebody waiting for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_in_little_room_are_all_served() {
    let (setup, _certificates) = narrow(App::willing().await);
    let gate = setup.start().await;
    let mut sending = JoinSet::new();
    // One request at a time on each: of two, the body of the first may stand behind the head of the second, and wait
    // with it for room that is held by others in the same place.
    for connection in 0..16 {
        let mut requests = connect(&gate).await;
        sending.spawn(async move {
            for n in 0..50 {
                requests = requests.ready().await.unwrap();
                assert_eq!(
                    deliver(&mut requests, 1_000 + 100 * connection + n).await,
                    200
                );
            }
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent.unwrap();
    }
    assert_eq!(gate.app.count(), 800);
}
