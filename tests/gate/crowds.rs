//! More connections than there are places: the silent ones leave, and true senders come in.

use std::io::Write as _;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Request, Session, card_event};
use crate::support::tls::{Certificates, Hello};
use crate::support::wire::Wire;

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

/// Waits until the gateway has closed a connection, without a word.
async fn closed(socket: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut byte));
    assert!(matches!(read.await.expect("an end"), Ok(0) | Err(_)));
}

/// So many at once: on a thread that is also the gateway's, it gets no turn before the last one is there.
fn silent(gate: &Gate, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let come = || {
        let mut socket = std::net::TcpStream::connect(gate.address).unwrap();
        // One that had to leave already takes nothing more.
        let _ = socket.write_all(says);
        socket.set_nonblocking(true).unwrap();
        TcpStream::from_std(socket).unwrap()
    };
    std::iter::repeat_with(come).take(count).collect()
}

const CONNECTIONS: &str = "passgate_connections";
const DISMISSED: &str = "passgate_connections_dismissed_total";

#[tokio::test]
async fn silent_connections_of_the_senders_own_address_keep_it_not_out() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| {
            limits.client_connections = 8;
            limits.silent_time = Duration::ZERO;
        })
        .start()
        .await;
    let mut kept = Session::to(gate.address).await;
    assert_eq!(kept.ask(&event(0)).await.status, 200);
    let mut sockets = silent(&gate, 100, b"POST /webh");
    gate.reached(DISMISSED, 92.0).await;
    // One that brought an event stays, though it is the oldest, and takes no place from the others.
    assert_eq!(kept.ask(&event(1)).await.status, 200);
    assert_eq!(gate.send(&event(2)).await.status, 200);
    assert_eq!(kept.ask(&event(3)).await.status, 200);
    gate.reached(DISMISSED, 93.0).await;
    let mut young = sockets.split_off(93);
    for socket in &mut sockets {
        closed(socket).await;
    }
    for socket in &mut young {
        let is_open = socket
            .try_read(&mut [0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(is_open, "only the oldest leave");
    }
    drop(young);
    gate.reached(CONNECTIONS, 1.0).await;
}

/// Regression: of a burst all but as many as a client may have were reset in their handshakes.
#[tokio::test]
async fn a_burst_of_true_senders_waits_for_its_turn_and_nobody_is_sent_away() {
    let (certificates, _) = Certificates::of("gate");
    let tls = format!("[server.tls]\n{}", certificates.lines("one"));
    let gate = Setup::walletwerk(App::willing().await, &tls)
        .within(|limits| {
            limits.client_connections = 16;
            // Nobody comes of age while this runs.
            limits.silent_time = Duration::from_secs(60);
            limits.handshake_time = Duration::from_secs(60);
        })
        .start()
        .await;
    let mut burst = JoinSet::new();
    for n in 0..64 {
        let address = gate.address;
        burst.spawn(async move {
            let mut connection = Hello::to("gate").open(address).await;
            connection.ask(&event(n)).await.status
        });
    }
    for status in burst.join_all().await {
        assert_eq!(status, 200);
    }
    assert_eq!(gate.app.count(), 64);
    assert_eq!(gate.metric(DISMISSED).await, 0.0);
}

/// Regression: one refused request bought a place for as long as a connection may idle.
#[tokio::test]
async fn connections_that_asked_for_junk_leave_for_a_true_sender() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| {
            limits.client_connections = 4;
            limits.silent_time = Duration::from_millis(50);
        })
        .start()
        .await;
    let mut kept = Session::to(gate.address).await;
    assert_eq!(kept.ask(&event(0)).await.status, 200);
    let mut junk = Vec::new();
    for _ in 0..3 {
        let mut session = Session::to(gate.address).await;
        let forged = event(1)
            .without("x-walletwerk-signature")
            .with("X-WalletWerk-Signature: 00");
        assert_eq!(session.ask(&forged).await.status, 401);
        junk.push(session);
    }
    for n in 1..4 {
        assert_eq!(gate.send(&event(n)).await.status, 200);
    }
    for session in &mut junk {
        assert!(session.read().await.is_none(), "it was to leave");
    }
    assert_eq!(kept.ask(&event(4)).await.status, 200);
}

#[tokio::test]
async fn nobody_leaves_while_an_event_of_its_is_at_work() {
    let (open, gated) = watch::channel(false);
    let app =
        App::start(move |_, _| Reply::After(gated.clone(), Box::new(Reply::status(200)))).await;
    let gate = Setup::walletwerk(app, "")
        .within(|limits| {
            limits.connections = 3;
            limits.client_connections = 1;
            limits.silent_time = Duration::ZERO;
        })
        .start()
        .await;
    // As many as there are places, and more than their client has: what they bring has bounds of its own.
    let mut kept = Vec::new();
    for n in 0..3 {
        let mut session = Session::to(gate.address).await;
        session.write(&event(n)).await;
        gate.app.reached(n as usize + 1).await;
        kept.push(session);
    }
    let mut fourth = Session::to(gate.address).await;
    fourth.write(&event(9)).await;
    open.send(true).unwrap();
    for session in &mut kept {
        assert_eq!(session.read().await.unwrap().outcome(), "forwarded");
    }
    assert_eq!(fourth.read().await.unwrap().outcome(), "forwarded");
    assert_eq!(gate.app.count(), 4);
}

/// Regression: connections that asked for junk more often than they could come of age kept everybody out.
#[tokio::test]
async fn connections_that_never_stop_asking_for_junk_leave_for_a_true_sender() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| {
            limits.connections = 4;
            limits.silent_time = Duration::from_millis(100);
        })
        .start()
        .await;
    let replayed = event(0);
    assert_eq!(gate.send(&replayed).await.status, 200);
    let mut talkers = JoinSet::new();
    for _ in 0..4 {
        // A captured event: its answer keeps the connection.
        let (address, junk) = (gate.address, replayed.clone());
        talkers.spawn(async move {
            loop {
                let mut session = Session::to(address).await;
                loop {
                    session.write(&junk).await;
                    if session.read().await.is_none() {
                        break;
                    }
                }
            }
        });
    }
    gate.reached(CONNECTIONS, 4.0).await;
    for n in 10..14 {
        assert_eq!(gate.send(&event(n)).await.status, 200);
    }
    talkers.abort_all();
    assert!(gate.metric(DISMISSED).await > 0.0);
}

#[tokio::test]
async fn half_open_handshakes_from_everywhere_keep_no_sender_out() {
    let (certificates, _) = Certificates::of("gate");
    let tls = format!("[server.tls]\n{}", certificates.lines("one"));
    let gate = Setup::walletwerk(App::willing().await, &tls)
        .within(|limits| {
            limits.connections = 50;
            limits.client_connections = 1000;
            limits.silent_time = Duration::from_millis(20);
        })
        .start()
        .await;
    let mut kept = Hello::to("gate").open(gate.address).await;
    assert_eq!(kept.ask(&event(0)).await.status, 200);
    for round in 0..10 {
        let sockets = silent(&gate, 100, &[22, 3, 1, 2, 0, 1, 0, 1]);
        let mut connection = Hello::to("gate").open(gate.address).await;
        let n = 2 * round + 1;
        assert_eq!(connection.ask(&event(n)).await.status, 200);
        assert_eq!(kept.ask(&event(n + 1)).await.status, 200);
        drop(sockets);
    }
    gate.reached(CONNECTIONS, 1.0).await;
    assert!(gate.metric(DISMISSED).await > 500.0);
    assert_eq!(gate.app.count(), 21);
    let (_, logged) = gate.end().await;
    assert_eq!(logged.text().lines().count(), 21, "a line for each request");
}

/// Regression: the newcomer itself was the only silent one, and left at once.
#[tokio::test]
async fn where_everybody_has_just_asked_something_a_newcomer_waits_for_a_place() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| {
            limits.connections = 3;
            limits.silent_time = Duration::from_secs(60);
        })
        .start()
        .await;
    let mut kept = Vec::new();
    for n in 0..3 {
        let mut session = Session::to(gate.address).await;
        assert_eq!(session.ask(&event(n)).await.status, 200);
        kept.push(session);
    }
    let mut newcomer = Session::to(gate.address).await;
    newcomer.write(&event(9)).await;
    assert_eq!(kept[0].ask(&event(10)).await.status, 200);
    drop(kept.pop());
    assert_eq!(newcomer.read().await.unwrap().outcome(), "forwarded");
    assert_eq!(gate.metric(DISMISSED).await, 0.0);
}

#[tokio::test]
async fn bodies_that_are_waited_for_keep_no_event_out_that_comes_in_one_piece() {
    const MAX: usize = 2048;
    let gate = Setup::walletwerk(App::willing().await, &format!("max_body = \"{MAX}B\""))
        .within(|limits| limits.body_bytes = 8 * MAX)
        .start()
        .await;
    let bytes = Request::walletwerk([b' '; MAX], "slow").bytes();
    let mut slow = [
        Wire::open(gate.address).await,
        Wire::open(gate.address).await,
    ];
    for wire in &mut slow {
        wire.write(&bytes[..bytes.len() - 1]).await;
    }
    // All that one client may have is taken by one of them.
    let [one, other] = &mut slow;
    let refused = tokio::select! {
        answer = one.answer() => answer,
        answer = other.answer() => answer,
    };
    assert_eq!(refused.unwrap().outcome(), "overloaded");
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
}
