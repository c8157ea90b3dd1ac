//! Proxies that say whom they stand for before anything else: the PROXY protocol.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::App;
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Answer, Request, card_event, read_answer};

/// A gate whose one route is for 203.0.113.0/24 and 2001:db8::/32, behind proxies in this network.
async fn gate(trusted: &str) -> Gate {
    let config = format!(
        "[server]\ntrusted_proxies = [\"{trusted}\"]\nclient_address_from = \"proxy_protocol\"\n\
         [[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\n\
         upstream = \"http://@APP@/events\"\nallow_from = [\"203.0.113.0/24\", \"2001:db8::/32\"]"
    );
    Setup::config(App::willing().await, config).start().await
}

fn event(n: u64) -> Request {
    // Whoever writes it, it is not what is believed here.
    Request::walletwerk(card_event(n), &format!("d{n}")).with("X-Forwarded-For: 203.0.113.9")
}

/// A header of version 2 with this command, family and addresses.
fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
    header.extend(addresses);
    header
}

/// What comes back to a header and a request behind it; `None` where the connection is closed.
async fn answer(gate: &Gate, header: &[u8], request: &Request) -> Option<Answer> {
    let mut socket = TcpStream::connect(gate.address).await.unwrap();
    socket.write_all(header).await.unwrap();
    // The gate may have closed by now.
    let _ = socket.write_all(&request.bytes()).await;
    read_answer(&mut socket, &mut Vec::new()).await
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_in_either_version() {
    let gate = gate("127.0.0.0/8").await;
    let v6: Vec<u8> = [0x20, 0x01, 0x0d, 0xb8]
        .into_iter()
        .chain([0; 28])
        .chain([0, 1, 0, 2])
        .collect();
    for (n, header, outcome) in [
        (
            1,
            b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n".to_vec(),
            "forwarded",
        ),
        (
            2,
            b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n".to_vec(),
            "not_allowed",
        ),
        (
            3,
            b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n".to_vec(),
            "forwarded",
        ),
        (
            4,
            v2(1, 0x11, &[203, 0, 113, 1, 192, 0, 2, 1, 0, 1, 0, 2]),
            "forwarded",
        ),
        (
            5,
            v2(1, 0x11, &[192, 0, 2, 1, 203, 0, 113, 1, 0, 1, 0, 2]),
            "not_allowed",
        ),
        (6, v2(1, 0x21, &v6), "forwarded"),
        // It looks whether somebody is there: then it is the proxy itself that asks.
        (7, v2(0, 0, &[]), "not_allowed"),
        (8, b"PROXY UNKNOWN\r\n".to_vec(), "not_allowed"),
    ] {
        let answer = answer(&gate, &header, &event(n)).await;
        assert_eq!(answer.unwrap().outcome(), outcome, "{n}");
    }
    let forwarded = gate.app.requests();
    let client = |n: usize| forwarded[n].header("x-forwarded-for").unwrap().to_owned();
    assert_eq!(
        (client(0), client(1)),
        ("203.0.113.7".to_owned(), "2001:db8::7".to_owned())
    );
}

#[tokio::test]
async fn a_trusted_proxy_that_says_nothing_of_the_kind_is_not_served() {
    let gate = gate("127.0.0.0/8").await;
    for header in [
        &b""[..],
        b"PROXY TCP4 203.0.113.7\r\n",
        b"PROXY TCP4 not an address 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ] {
        assert!(
            answer(&gate, header, &event(1)).await.is_none(),
            "{header:?}"
        );
    }
    assert_eq!(gate.metric("passgate_proxies_silent_total").await, 4.0);
    assert_eq!(gate.app.count(), 0);
}

#[tokio::test]
async fn whoever_is_no_trusted_proxy_is_not_believed() {
    let gate = gate("192.0.2.1").await;
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n";
    let refused = answer(&gate, header, &event(1)).await.unwrap();
    assert_eq!(refused.outcome(), "malformed");
    let plain = answer(&gate, b"", &event(1)).await.unwrap();
    assert_eq!(plain.outcome(), "not_allowed");
}

/// It comes with the first bytes of the request, or byte by byte.
#[tokio::test]
async fn a_header_may_come_in_any_pieces() {
    let gate = gate("127.0.0.0/8").await;
    let mut bytes = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n".to_vec();
    bytes.extend(event(1).bytes());
    let mut socket = TcpStream::connect(gate.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in bytes {
        socket.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_answer(&mut socket, &mut Vec::new()).await;
    assert_eq!(answer.unwrap().outcome(), "forwarded");
    drop(socket);
    let mut silent = TcpStream::connect(gate.address).await.unwrap();
    silent.write_all(b"PROXY").await.unwrap();
    silent.shutdown().await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
}
