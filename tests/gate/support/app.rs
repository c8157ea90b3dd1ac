//! The integrator's app: records every request byte for byte, and answers by script.
//!
//! It has a parser of its own, as strict as it is short, so that the gateway's libraries do not check
//! themselves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// An app that listens.
pub struct App {
    /// Where.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    count: watch::Receiver<usize>,
}

/// One request, as it came over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request line.
    pub line: String,
    /// Names in lower case and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the app does with a request.
#[derive(Clone)]
pub enum Reply {
    /// Writes these bytes and keeps the connection.
    Raw(Vec<u8>),
    /// Writes these bytes and closes the connection.
    Cut(Vec<u8>),
    /// Closes the connection at once.
    Close,
    /// Resets the connection at once.
    Reset,
    /// Writes the first bytes, then the second ones for as long as somebody reads.
    Endless(Vec<u8>, Vec<u8>),
    /// Never answers, and keeps the connection.
    Never,
    /// Waits until the gate is opened, then goes on with the other reply.
    After(watch::Receiver<bool>, Box<Reply>),
}

impl Reply {
    /// A plain answer.
    pub fn status(status: u16) -> Self {
        Self::with(status, "", "")
    }

    /// An answer with headers (each line ended by CRLF) and a body.
    pub fn with(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Raw(
            format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    }
}

impl App {
    /// Answers 200 to everything.
    pub async fn willing() -> Self {
        Self::start(|_, _| Reply::status(200)).await
    }

    /// Answers as `script` says of a request and of how many came before it.
    pub async fn start(script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (counter, count) = watch::channel(0);
        let (script, counter) = (Arc::new(script), Arc::new(counter));
        let recorded = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (script, recorded, counter) =
                    (script.clone(), recorded.clone(), counter.clone());
                tokio::spawn(async move {
                    let _ = serve(socket, &*script, &recorded, &counter).await;
                });
            }
        });
        Self {
            address,
            requests,
            count,
        }
    }

    /// An app whose answer is held back until the sender says `true`.
    pub async fn held(status: u16) -> (Self, watch::Sender<bool>) {
        let (open, is_open) = watch::channel(false);
        let script =
            move |_: &Request, _| Reply::After(is_open.clone(), Box::new(Reply::status(status)));
        (Self::start(script).await, open)
    }

    /// Everything that came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// What came since it was last taken; it is forgotten here.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until so many requests came.
    pub async fn reached(&self, count: usize) {
        let mut counter = self.count.clone();
        let reached = counter.wait_for(|reached| *reached >= count);
        tokio::time::timeout(Duration::from_secs(20), reached)
            .await
            .unwrap_or_else(|_| panic!("fewer than {count} requests came"))
            .unwrap();
    }
}

impl Request {
    /// The value of a header that is there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice");
        value
    }

    /// The target of the request line.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }
}

async fn serve(
    mut socket: TcpStream,
    script: &(dyn Fn(&Request, usize) -> Reply + Send + Sync),
    recorded: &Mutex<Vec<Request>>,
    counter: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(request) = read(&mut socket, &mut bytes).await? {
        let before = {
            let mut recorded = recorded.lock().unwrap();
            recorded.push(request.clone());
            recorded.len() - 1
        };
        counter.send_modify(|count| *count += 1);
        let mut reply = script(&request, before);
        loop {
            match reply {
                Reply::Raw(bytes) => {
                    socket.write_all(&bytes).await?;
                    break;
                }
                Reply::Cut(bytes) => return socket.write_all(&bytes).await,
                Reply::Close => return Ok(()),
                Reply::Reset => {
                    socket.set_zero_linger()?;
                    return Ok(());
                }
                Reply::Endless(first, more) => {
                    socket.write_all(&first).await?;
                    loop {
                        socket.write_all(&more).await?;
                    }
                }
                Reply::Never => {
                    // Ends with the gateway's side.
                    let _ = socket.read(&mut [0]).await;
                    return Ok(());
                }
                Reply::After(mut gate, next) => {
                    let _ = gate.wait_for(|is_open| *is_open).await;
                    reply = *next;
                }
            }
        }
    }
    Ok(())
}

/// Reads one request. Panics, and so fails the test, at anything ambiguous.
async fn read(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(bytes).await? == 0 {
            assert!(bytes.is_empty(), "a request was cut off in its head");
            return Ok(None);
        }
    };
    // One character for each byte: what the bytes mean is the test's to judge.
    let head: String = bytes[..end - 4]
        .iter()
        .map(|&byte| char::from(byte))
        .collect();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a header with a colon");
            assert!(!name.contains(|c: char| c.is_whitespace()), "{line:?}");
            (name.to_ascii_lowercase(), value.to_owned())
        })
        .collect();
    let lengths: Vec<&String> = headers
        .iter()
        .filter(|(name, _)| name == "content-length")
        .map(|(_, value)| value)
        .collect();
    assert!(lengths.len() <= 1, "two lengths: {head}");
    assert!(
        !headers.iter().any(|(name, _)| name == "transfer-encoding"),
        "a transfer coding: {head}"
    );
    let length: usize = lengths.first().map_or(0, |value| value.parse().unwrap());
    while bytes.len() < end + length {
        if socket.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
    let body = bytes[end..end + length].to_vec();
    bytes.drain(..end + length);
    Ok(Some(Request {
        line,
        headers,
        body,
    }))
}
