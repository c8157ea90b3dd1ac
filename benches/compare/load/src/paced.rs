//! Sends at a fixed rate, whatever the answers do: each connection is a thread with a schedule of its own.
//!
//! Words: `to=ADDRESS`, `rate=` (requests a second of all together; 2,000), `secs=`, `connections=` (32),
//! and those of [`Events`].
//!
//! # Why
//! A latency counts from when its request was due, so that a gateway which stalls is charged for every
//! request that had to wait behind the stall, and not only for the one that it held.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::events::Events;
use crate::report::Report;
use crate::wire::{frame, status};
use crate::words::Words;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the first request is due all threads should have begun.
const RUN_UP: Duration = Duration::from_millis(200);

/// Sends, and prints what it saw.
pub fn run(words: &Words) {
    let connections: u64 = words.number("connections", 32);
    let rate: f64 = words.number("rate", 2_000.0);
    let secs: f64 = words.number("secs", 5.0);
    // Threads sleep as exactly as they can; by default the kernel may wake them 50 us late. Inherited.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let each = (rate * secs / connections as f64) as u64;
    let start = Instant::now() + RUN_UP;
    let senders: Vec<_> = (0..connections)
        .map(|sender| {
            let (events, to) = (Events::new(words), words.text("to").to_owned());
            let numbers = (0..each).map(move |turn| turn * connections + sender);
            let due = move |n: u64| start + Duration::from_secs_f64(n as f64 / rate);
            std::thread::spawn(move || send(&to, events, numbers, due))
        })
        .collect();
    let mut all = Report::default();
    for sender in senders {
        all.add(sender.join().unwrap_or_default());
    }
    all.print(start.elapsed().as_secs_f64());
}

fn send(
    to: &str,
    mut events: Events,
    numbers: impl Iterator<Item = u64>,
    due: impl Fn(u64) -> Instant,
) -> Report {
    let mut report = Report::default();
    let mut socket = open(to);
    let mut request = Vec::new();
    let mut answer = Vec::new();
    for n in numbers {
        events.write(n + 1, &mut request);
        let due = due(n);
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let status = socket
            .as_mut()
            .and_then(|socket| exchange(socket, &request, &mut answer));
        if status.is_none() {
            socket = open(to);
        }
        report.answered(status, due.elapsed());
    }
    report
}

fn open(to: &str) -> Option<TcpStream> {
    let socket = TcpStream::connect(to).ok()?;
    socket.set_nodelay(true).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(socket)
}

fn exchange(socket: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> Option<u16> {
    socket.write_all(request).ok()?;
    answer.clear();
    let mut chunk = [0; 16 * 1024];
    loop {
        let read = socket.read(&mut chunk).ok()?;
        if read == 0 {
            return None;
        }
        answer.extend_from_slice(&chunk[..read]);
        if frame(answer).ok()?.is_some() {
            return Some(status(answer));
        }
    }
}
