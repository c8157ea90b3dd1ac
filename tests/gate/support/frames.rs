//! HTTP/2 frame by frame, for what no library would send.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::tls::Hello;

/// Kinds of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of frames; the first acknowledges a setting or a ping.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection that writes whatever it likes.
pub struct Frames {
    stream: TlsStream<TcpStream>,
    /// What became of each stream so far.
    fates: HashMap<u32, Fate>,
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered; the status if it is one of HPACK's table.
    Answered(Option<u16>),
    /// It was ended with this code.
    Reset(u32),
    /// The connection was ended with this code.
    GoneAway(u32),
    /// The connection was closed.
    Closed,
}

/// One frame.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

// === impl Frames ===

impl Frames {
    /// Connects, and says what every client says first.
    pub async fn open(to: SocketAddr) -> Self {
        Self::open_from(IpAddr::from([127, 0, 0, 1]), to).await
    }

    /// The same from this address of ours.
    pub async fn open_from(from: IpAddr, to: SocketAddr) -> Self {
        let mut frames = Self::silent_from(from, to).await;
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    /// Connects, and says nothing.
    pub async fn silent(to: SocketAddr) -> Self {
        Self::silent_from(IpAddr::from([127, 0, 0, 1]), to).await
    }

    async fn silent_from(from: IpAddr, to: SocketAddr) -> Self {
        let hello = Hello::to("gate").offering(&["h2"]).coming_from(from);
        Self {
            stream: hello.shake(to).await.expect("a handshake"),
            fates: HashMap::new(),
        }
    }

    /// Writes bytes; whether they were taken.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Writes a frame; whether it was taken.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&frame(kind, flags, stream, payload)).await
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(Duration::from_secs(20), self.read())
            .await
            .expect("a frame, or the end")
    }

    /// What becomes of a stream.
    pub async fn fate(&mut self, stream: u32) -> Fate {
        loop {
            if let Some(fate) = self.fates.get(&stream) {
                return *fate;
            }
            let Some(frame) = self.next().await else {
                return Fate::Closed;
            };
            let code = |at: usize| {
                let code = frame.payload[at..at + 4].try_into().unwrap();
                u32::from_be_bytes(code)
            };
            match frame.kind {
                HEADERS => {
                    let fate = Fate::Answered(status(&frame.payload));
                    self.fates.insert(frame.stream, fate);
                }
                RST_STREAM => {
                    self.fates
                        .entry(frame.stream)
                        .or_insert(Fate::Reset(code(0)));
                }
                GOAWAY if code(4) != 0 => return Fate::GoneAway(code(4)),
                SETTINGS if frame.flags & ACK == 0 => {
                    self.send(SETTINGS, ACK, 0, &[]).await;
                }
                // A goodbye comes in two, with a ping between them.
                PING if frame.flags & ACK == 0 => {
                    self.send(PING, ACK, 0, &frame.payload).await;
                }
                _ => {}
            }
        }
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, s1, s2, s3, s4] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s1, s2, s3, s4]),
            payload,
        })
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK has them that indexes nothing.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        bytes.push(127);
        let mut rest = length - 127;
        while rest > 127 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    // One byte for each character: what no text may hold can be written too.
    bytes.extend(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()));
}

/// The status, where it is one that HPACK has a number for.
fn status(block: &[u8]) -> Option<u16> {
    // A change of the table's size may come first.
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20)?;
    match first {
        0x88 => Some(200),
        0x8c => Some(400),
        0x8d => Some(404),
        _ => None,
    }
}
