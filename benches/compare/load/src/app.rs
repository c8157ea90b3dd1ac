//! The app behind the gateway: takes every POST with 200, as fast as it can, and counts.
//!
//! Words: `listen=ADDRESS`. `GET /` answers what was seen so far as JSON: `requests`, `secs` from the first of
//! them to the last, and `out_of_order`, the events of a card that came after a later one of the same card; with
//! `?refuse=1` it answers every POST with 503 from then on, with `?refuse=0` it takes them again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::wire::{find, frame};
use crate::words::{Words, fail};

const TAKEN: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}";
const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

#[derive(Default)]
struct Seen {
    requests: Cell<u64>,
    /// When the first and the last of them came.
    between: Cell<Option<(Instant, Instant)>>,
    refuses: Cell<bool>,
    out_of_order: Cell<u64>,
    /// The latest number of each card.
    latest: RefCell<HashMap<[u8; 6], [u8; 12]>>,
}

/// Serves until it is killed.
pub fn run(words: &Words) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap_or_else(|error| fail(&error.to_string()));
    let listen = words.text("listen").to_owned();
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await;
        let listener = listener.unwrap_or_else(|error| fail(&error.to_string()));
        let seen = Rc::new(Seen::default());
        loop {
            if let Ok((socket, _)) = listener.accept().await {
                spawn_local(serve(socket, Rc::clone(&seen)));
            }
        }
    });
}

async fn serve(mut socket: TcpStream, seen: Rc<Seen>) {
    let _ = socket.set_nodelay(true);
    let mut bytes = Vec::with_capacity(32 * 1024);
    loop {
        match frame(&bytes) {
            Ok(None) => match socket.read_buf(&mut bytes).await {
                Ok(1..) => {}
                _ => return,
            },
            Ok(Some(framed)) => {
                let answer = seen.answer(&bytes[..framed.body], &bytes[framed.body..framed.end]);
                if socket.write_all(&answer).await.is_err() {
                    return;
                }
                bytes.drain(..framed.end);
            }
            Err(why) => {
                eprintln!("the app got {why}");
                return;
            }
        }
    }
}

// === impl Seen ===

impl Seen {
    fn answer(&self, head: &[u8], body: &[u8]) -> std::borrow::Cow<'static, [u8]> {
        if head.starts_with(b"GET ") {
            return self.said(head).into_bytes().into();
        }
        if self.refuses.get() {
            return REFUSED.into();
        }
        self.requests.set(self.requests.get() + 1);
        let now = Instant::now();
        let first = self.between.get().map_or(now, |(first, _)| first);
        self.between.set(Some((first, now)));
        self.note(body);
        TAKEN.into()
    }

    fn said(&self, head: &[u8]) -> String {
        if let Some(at) = find(head, b"?refuse=") {
            self.refuses.set(head.get(at + 8) == Some(&b'1'));
        }
        let between = self.between.get();
        let secs = between.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        let text = format!(
            "{{\"requests\":{},\"secs\":{secs:.6},\"out_of_order\":{}}}",
            self.requests.get(),
            self.out_of_order.get()
        );
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
    }

    /// Holds the order of a card's events. The marks stand near the body's start, so this costs little.
    fn note(&self, body: &[u8]) {
        let start = &body[..body.len().min(256)];
        let (Some(card), Some(number)) = (
            after(start, b"\"card_id\":\"card_"),
            after(start, b"\"number\":\""),
        ) else {
            return;
        };
        let mut latest = self.latest.borrow_mut();
        let held = latest.entry(card).or_insert([b'0'; 12]);
        if number < *held {
            self.out_of_order.set(self.out_of_order.get() + 1);
        } else {
            *held = number;
        }
    }
}

fn after<const N: usize>(bytes: &[u8], mark: &[u8]) -> Option<[u8; N]> {
    let at = find(bytes, mark)? + mark.len();
    bytes.get(at..at + N)?.try_into().ok()
}
