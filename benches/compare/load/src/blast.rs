//! Sends as fast as answers come: `connections` kept alive, each with one request at a time.
//!
//! Words: `to=ADDRESS`, `secs=`, `connections=` (64), `count=` (stops after so many; none), `from=` (the
//! number of the first event; 1), and those of [`Events`].
//!
//! A request without an answer within ten seconds counts as unanswered, and its connection is made anew.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::events::Events;
use crate::report::Report;
use crate::wire::{frame, status};
use crate::words::{Words, fail};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

struct Load {
    events: RefCell<Events>,
    to: String,
    next: Cell<u64>,
    last: u64,
    end: Instant,
}

/// Sends, and prints what it saw.
pub fn run(words: &Words) {
    let connections: u64 = words.number("connections", 64);
    let secs: f64 = words.number("secs", 5.0);
    let from: u64 = words.number("from", 1);
    let start = Instant::now();
    let load = Rc::new(Load {
        events: RefCell::new(Events::new(words)),
        to: words.text("to").to_owned(),
        next: Cell::new(from),
        last: from.saturating_add(words.number("count", u64::MAX / 2)),
        end: start + Duration::from_secs_f64(secs),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap_or_else(|error| fail(&error.to_string()));
    let mut all = Report::default();
    LocalSet::new().block_on(&runtime, async {
        let senders: Vec<_> = (0..connections)
            .map(|_| tokio::task::spawn_local(send(Rc::clone(&load))))
            .collect();
        for sender in senders {
            all.add(sender.await.unwrap_or_default());
        }
    });
    all.print(start.elapsed().as_secs_f64());
}

async fn send(load: Rc<Load>) -> Report {
    let mut report = Report::default();
    let mut request = Vec::new();
    let mut answer = Vec::with_capacity(8192);
    let mut socket = None;
    while Instant::now() < load.end && load.next.get() < load.last {
        let n = load.next.replace(load.next.get() + 1);
        load.events.borrow_mut().write(n, &mut request);
        let sent = Instant::now();
        let exchanged = timeout(
            PATIENCE,
            exchange(&load.to, &mut socket, &request, &mut answer),
        );
        let status = exchanged.await.unwrap_or(None);
        if status.is_none() {
            socket = None;
        }
        report.answered(status, sent.elapsed());
    }
    report
}

async fn exchange(
    to: &str,
    socket: &mut Option<TcpStream>,
    request: &[u8],
    answer: &mut Vec<u8>,
) -> Option<u16> {
    if socket.is_none() {
        let opened = TcpStream::connect(to).await.ok()?;
        opened.set_nodelay(true).ok()?;
        *socket = Some(opened);
    }
    let open = socket.as_mut()?;
    open.write_all(request).await.ok()?;
    answer.clear();
    loop {
        if open.read_buf(answer).await.ok()? == 0 {
            return None;
        }
        if frame(answer).ok()?.is_some() {
            return Some(status(answer));
        }
    }
}
