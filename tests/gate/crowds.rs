//! More connections than there are places: the silent ones leave, and true senders come in.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::App;
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Request, Session, card_event};
use crate::support::tls::{Certificates, Hello};

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

/// Waits until the gateway has closed a connection, without a word.
async fn closed(socket: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut byte));
    assert!(matches!(read.await.expect("an end"), Ok(0) | Err(_)));
}

async fn silent(gate: &Gate, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(gate.address).await.unwrap();
        // One that had to leave already takes nothing more.
        let _ = socket.write_all(says).await;
        sockets.push(socket);
    }
    sockets
}

const CONNECTIONS: &str = "passgate_connections";
const DISMISSED: &str = "passgate_connections_dismissed_total";

#[tokio::test]
async fn silent_connections_of_the_senders_own_address_keep_it_not_out() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| limits.client_connections = 8)
        .start()
        .await;
    // One that asked something keeps its place, though it is the oldest.
    let mut kept = Session::to(gate.address).await;
    assert_eq!(kept.ask(&event(0)).await.status, 200);
    let mut sockets = silent(&gate, 100, b"POST /webh").await;
    gate.reached(DISMISSED, 93.0).await;
    assert_eq!(gate.send(&event(1)).await.status, 200);
    assert_eq!(kept.ask(&event(2)).await.status, 200);
    gate.reached(DISMISSED, 94.0).await;
    let mut young = sockets.split_off(94);
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

#[tokio::test]
async fn who_asked_something_is_not_closed_for_anybody() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| limits.client_connections = 3)
        .start()
        .await;
    let mut kept = Vec::new();
    for n in 0..3 {
        let mut session = Session::to(gate.address).await;
        assert_eq!(session.ask(&event(n)).await.status, 200);
        kept.push(session);
    }
    let mut fourth = TcpStream::connect(gate.address).await.unwrap();
    closed(&mut fourth).await;
    for (n, session) in kept.iter_mut().enumerate() {
        assert_eq!(session.ask(&event(10 + n as u64)).await.status, 200);
    }
    assert_eq!(gate.metric(DISMISSED).await, 0.0);
}

#[tokio::test]
async fn half_open_handshakes_from_everywhere_keep_no_sender_out() {
    let (certificates, _) = Certificates::of("gate");
    let tls = format!("[server.tls]\n{}", certificates.lines("one"));
    let gate = Setup::walletwerk(App::willing().await, &tls)
        .within(|limits| {
            limits.connections = 50;
            limits.client_connections = 1000;
        })
        .start()
        .await;
    let mut kept = Hello::to("gate").open(gate.address).await;
    assert_eq!(kept.ask(&event(0)).await.status, 200);
    for round in 0..10 {
        let sockets = silent(&gate, 100, &[22, 3, 1, 2, 0, 1, 0, 1]).await;
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
async fn where_everybody_has_asked_something_a_newcomer_waits_for_a_place() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| limits.connections = 3)
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
