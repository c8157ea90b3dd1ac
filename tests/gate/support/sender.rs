//! The other side: raw requests, and answers read to their end.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The secret of every WalletWerk route in the tests.
pub const SECRET: &str = "walletwerk_test_secret";

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// A request to be written.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request line, without its end.
    pub line: String,
    /// Header lines.
    pub headers: Vec<String>,
    /// The body; its length is added as a header unless there is none.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; it may be there once at most.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice");
        value
    }

    /// `Passgate-Outcome`.
    pub fn outcome(&self) -> &str {
        self.header("passgate-outcome").unwrap_or("-")
    }
}

impl Request {
    /// A POST with these bytes as JSON.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            line: format!("POST {path} HTTP/1.1"),
            headers: vec!["Host: gate".into(), "Content-Type: application/json".into()],
            body: body.into(),
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self {
            line: format!("GET {target} HTTP/1.1"),
            headers: vec!["Host: gate".into()],
            body: Vec::new(),
        }
    }

    /// A WalletWerk event, signed and with a delivery id.
    pub fn walletwerk(body: impl Into<Vec<u8>>, id: &str) -> Self {
        let body = body.into();
        let tag = sign(SECRET.as_bytes(), &body);
        Self::post("/webhooks/walletwerk", body)
            .with(&format!("X-WalletWerk-Signature: {tag}"))
            .with(&format!("X-WalletWerk-Delivery-ID: {id}"))
    }

    /// The same with one header line more.
    pub fn with(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }

    /// The same without the headers of this name.
    pub fn without(mut self, name: &str) -> Self {
        let name = format!("{}:", name.to_ascii_lowercase());
        self.headers
            .retain(|line| !line.to_ascii_lowercase().starts_with(&name));
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n{}\r\n", self.line, self.headers.join("\r\n")).into_bytes();
        if !self.body.is_empty() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it over a connection of its own.
    pub async fn send(&self, to: SocketAddr) -> Answer {
        exchange(to, &self.bytes()).await.expect("an answer")
    }
}

/// A WalletWerk body; `n` makes events different, the time is that of the tests' clock at its start.
pub fn card_event(n: u64) -> String {
    event_at("card.active", "2026-01-01T00:00:00Z", n)
}

/// A WalletWerk body with this event and time.
pub fn event_at(event: &str, time: &str, n: u64) -> String {
    format!(
        r#"{{"event":"{event}","timestamp":"{time}","organization_id":123,"data":{{"card_id":"card_{n}","old_status":"invited","new_status":"active","metadata":{{}}}}}}"#
    )
}

/// The tag in lower-case hex.
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(body);
    data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// Writes bytes on a new connection and reads one answer, if there is one.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut socket = TcpStream::connect(to).await.unwrap();
    // A gateway that refuses early may close before all of it is written.
    let _ = socket.write_all(bytes).await;
    read_answer(&mut socket, &mut Vec::new()).await
}

/// Reads one answer; `None` where the connection ends without one.
pub async fn read_answer<S: AsyncRead + Unpin>(
    socket: &mut S,
    bytes: &mut Vec<u8>,
) -> Option<Answer> {
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if socket.read_buf(bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end - 4].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, value)| value.parse().unwrap());
        while bytes.len() < end + length {
            if socket.read_buf(bytes).await.ok()? == 0 {
                return None;
            }
        }
        let body = String::from_utf8(bytes[end..end + length].to_vec()).unwrap();
        bytes.drain(..end + length);
        if status != 100 {
            return Some(Answer {
                status,
                headers,
                body,
            });
        }
    }
}

/// One connection, for many requests one after the other.
pub struct Session {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Session {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        Self {
            socket: TcpStream::connect(address).await.unwrap(),
            read: Vec::new(),
        }
    }

    /// Writes a request without waiting for its answer.
    pub async fn write(&mut self, request: &Request) {
        self.socket.write_all(&request.bytes()).await.unwrap();
    }

    /// Reads the next answer; `None` where the connection ends without one.
    pub async fn read(&mut self) -> Option<Answer> {
        read_answer(&mut self.socket, &mut self.read).await
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &Request) -> Answer {
        self.write(request).await;
        self.read().await.expect("an answer")
    }
}
