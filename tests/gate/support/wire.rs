//! A sender's connection, byte by byte: what is written is on the wire, what comes back is read to its end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::sender::Answer;

/// A gateway that neither answers nor closes within this has hung. It is no pause: nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the gateway.
pub struct Wire {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Wire {
    /// A new connection.
    pub async fn open(to: SocketAddr) -> Self {
        Self::open_from(IpAddr::from([127, 0, 0, 1]), to).await
    }

    /// A new connection from this address of ours.
    pub async fn open_from(from: IpAddr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let socket = socket.connect(to).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            bytes: Vec::new(),
        }
    }

    /// Writes; what the gateway does not take any more is dropped. Whether it took all.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.socket.write_all(bytes))
            .await
            .expect("the gateway reads or closes")
            .is_ok()
    }

    /// Writes each byte alone.
    pub async fn write_slowly(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write(std::slice::from_ref(byte)).await;
            tokio::task::yield_now().await;
        }
    }

    /// Ends our side.
    pub async fn finish(&mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// The next answer, a `100` among them; `None` where the connection ends first.
    pub async fn answer(&mut self) -> Option<Answer> {
        self.answer_to("POST").await
    }

    /// The next answer to a request with this method: one to HEAD has no body.
    pub async fn answer_to(&mut self, method: &str) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer(method == "HEAD"))
            .await
            .expect("the gateway answers or closes")
    }

    /// Every answer until the gateway closes the connection, which it must.
    pub async fn rest(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer().await {
            answers.push(answer);
        }
        answers
    }

    async fn read_answer(&mut self, is_bodiless: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.bytes[..end - 4].to_vec()).expect("a head of text");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let status: u16 = status_line
            .strip_prefix("HTTP/1.1 ")
            .or(status_line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {status_line:?}"));
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header with a colon"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, value)| value.parse().unwrap());
        let length = if is_bodiless { 0 } else { length };
        while self.bytes.len() < end + length {
            self.fill().await?;
        }
        let body = String::from_utf8(self.bytes[end..end + length].to_vec()).expect("text");
        self.bytes.drain(..end + length);
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    /// Reads more; `None` at the end, be it a reset.
    async fn fill(&mut self) -> Option<()> {
        match self.socket.read_buf(&mut self.bytes).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}
