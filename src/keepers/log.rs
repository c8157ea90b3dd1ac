//! The log: one structured line per request, and what else the operator must hear.
//!
//! Lines go into a bounded buffer and one thread writes what has gathered, so that a slow or blocked pipe
//! never holds up a request: beyond the bound lines are dropped, counted, and the next line that goes
//! through says how many. No secret, credential, token, query or body is ever handed to this module.

pub mod line;

use std::fmt::Write as _;
use std::io::Write;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::keepers::log::line::RequestLine;
use crate::words::time::{Clock, Timestamp};

/// Bytes of lines that wait to be written; beyond it lines are dropped.
pub const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// Characters of a value that a sender had a hand in.
pub const VALUE_CHARS_MAX: usize = 256;

/// After a batch the writer lets lines gather for this long, so that under load one write carries many.
const GATHER: Duration = Duration::from_millis(20);

/// How long the end waits for lines to be written.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, for machines.
    Json,
    /// One line for a person at a terminal.
    Pretty,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Info,
    /// Look at it when you can.
    Warn,
    /// Somebody must do something: an alarm.
    Error,
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    format: Format,
}

#[derive(Serialize)]
struct Stamped<'a, T: Serialize> {
    time: String,
    level: Level,
    message: &'a str,
    #[serde(flatten)]
    fields: &'a T,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
    dropped_unsaid: u64,
    is_closed: bool,
    is_writer_asleep: bool,
    is_ended: bool,
}

// === impl Log ===

impl Log {
    /// A log that writes to `sink` from a thread of its own.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn new(
        sink: Box<dyn Write + Send>,
        format: Format,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            ended: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("passgate-log".to_owned())
            .spawn(move || {
                writer.write_all_to(sink);
                writer.waiting().is_ended = true;
                writer.ended.notify_all();
            })?;
        Ok(Self {
            shared,
            clock,
            format,
        })
    }

    /// Says how a request ended.
    pub fn request(&self, line: &RequestLine<'_>) {
        match self.format {
            Format::Json => self.shared.write(|lines| line::of_request(lines, line)),
            Format::Pretty => self.line(&line::shown(line)),
        }
    }

    /// Says anything else. `fields` are shown as `name=value`; values are bounded in length.
    pub fn say(&self, level: Level, message: &str, fields: &[(&str, &dyn std::fmt::Display)]) {
        let values = fields
            .iter()
            .map(|(name, value)| (*name, bounded(&value.to_string())));
        match self.format {
            Format::Json => {
                let fields: serde_json::Map<String, serde_json::Value> = values
                    .map(|(name, value)| (name.to_owned(), value.into()))
                    .collect();
                self.json(level, message, &fields);
            }
            Format::Pretty => {
                let mut line = format!("{} ", clock_time(self.clock.now()));
                if level != Level::Info {
                    let _ = write!(line, "{level:?}: ");
                }
                line.push_str(message);
                for (name, value) in values {
                    let _ = write!(line, " {name}={}", value.escape_debug());
                }
                self.line(&line);
            }
        }
    }

    /// Lines that were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.waiting().dropped
    }

    /// Writes what waits and ends the thread. Later lines are dropped. A pipe that nobody reads is waited for
    /// no longer than [`CLOSE_TIME`]: it must not keep a process from ending.
    pub fn close(&self) {
        let mut waiting = self.shared.waiting();
        waiting.is_closed = true;
        self.shared.wake.notify_all();
        let is_writing = |waiting: &mut Waiting| !waiting.is_ended;
        let _ = self
            .shared
            .ended
            .wait_timeout_while(waiting, CLOSE_TIME, is_writing);
    }

    fn json(&self, level: Level, message: &str, fields: &impl Serialize) {
        let stamped = Stamped {
            time: self.clock.now().to_rfc3339(),
            level,
            message,
            fields,
        };
        let mut line = Vec::with_capacity(512);
        // Only a value that is no JSON could fail, and these are strings and numbers.
        if serde_json::to_writer(&mut line, &stamped).is_ok() {
            line.push(b'\n');
            self.shared.push(&line);
        }
    }

    fn line(&self, line: &str) {
        self.shared.push(format!("{line}\n").as_bytes());
    }
}

// === impl Shared ===

impl Shared {
    fn push(&self, line: &[u8]) {
        self.write(|lines| lines.extend_from_slice(line));
    }

    /// Has a line written behind those that wait.
    fn write(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.waiting();
        let before = waiting.bytes.len();
        if !waiting.is_closed {
            write(&mut waiting.bytes);
        }
        if waiting.is_closed || waiting.bytes.len() > WAITING_BYTES_MAX {
            waiting.bytes.truncate(before);
            waiting.dropped += 1;
            waiting.dropped_unsaid += 1;
            return;
        }
        if mem::take(&mut waiting.is_writer_asleep) {
            drop(waiting);
            self.wake.notify_one();
        }
    }

    fn write_all_to(&self, mut sink: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        loop {
            let (dropped, is_closed) = {
                let mut waiting = self.waiting();
                while waiting.bytes.is_empty() && !waiting.is_closed {
                    waiting.is_writer_asleep = true;
                    waiting = self
                        .wake
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                mem::swap(&mut batch, &mut waiting.bytes);
                (mem::take(&mut waiting.dropped_unsaid), waiting.is_closed)
            };
            if dropped > 0 {
                let _ = writeln!(
                    batch,
                    r#"{{"level":"warn","message":"log lines were dropped","count":{dropped}}}"#
                );
            }
            // A closed pipe loses lines, never requests.
            let _ = sink.write_all(&batch).and_then(|()| sink.flush());
            batch.clear();
            if is_closed {
                return;
            }
            std::thread::sleep(GATHER);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first characters of a text of unknown length.
pub fn bounded(text: &str) -> String {
    let end = match text.len() > VALUE_CHARS_MAX {
        true => text.char_indices().nth(VALUE_CHARS_MAX),
        // As many bytes hold no more characters.
        false => None,
    };
    let end = end.map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text).to_owned()
}

/// The time of day in UTC; a person at a terminal knows the date.
fn clock_time(now: Timestamp) -> String {
    let text = now.to_rfc3339();
    match text.split_once('T') {
        Some((_, time)) => time.split(['.', 'Z']).next().unwrap_or(time).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::words::time::SystemClock;

    /// Blocks in every write until it is told to go on.
    struct Gate {
        go: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.go.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_pipe_drops_lines_counts_them_and_says_so_later() {
        let (go, receiver) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let gate = Gate {
            go: receiver,
            written,
        };
        let log = Log::new(Box::new(gate), Format::Json, Arc::new(SystemClock::new())).unwrap();
        let long = "x".repeat(200);
        for _ in 0..10_000 {
            log.say(Level::Info, "m", &[("field", &long)]);
        }
        assert!(log.dropped() > 0);
        drop(go);
        log.close();
        let all: Vec<u8> = lines.try_iter().flatten().collect();
        let text = String::from_utf8(all).unwrap();
        assert!(text.contains("log lines were dropped"));
        let said = text.lines().filter(|line| line.contains("\"m\"")).count() as u64;
        assert_eq!(said + log.dropped(), 10_000);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_does_not_keep_it_from_closing() {
        let (go, receiver) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let gate = Gate {
            go: receiver,
            written,
        };
        let log = Log::new(Box::new(gate), Format::Json, Arc::new(SystemClock::new())).unwrap();
        log.say(Level::Info, "m", &[]);
        log.close();
        assert_eq!(lines.try_iter().count(), 0);
        drop(go);
    }

    #[test]
    fn characters_are_counted_and_never_cut() {
        for (text, chars) in [("", 0), ("é", VALUE_CHARS_MAX), ("é", VALUE_CHARS_MAX + 1)] {
            let long = text.repeat(chars);
            assert_eq!(bounded(&long), text.repeat(chars.min(VALUE_CHARS_MAX)));
        }
        let ascii = "x".repeat(VALUE_CHARS_MAX + 1);
        assert_eq!(bounded(&ascii).len(), VALUE_CHARS_MAX);
    }

    #[test]
    fn what_a_sender_wrote_stays_one_line_and_short() {
        let (written, lines) = mpsc::channel();
        let (go, receiver) = mpsc::channel::<()>();
        drop(go);
        let gate = Gate {
            go: receiver,
            written,
        };
        let log = Log::new(Box::new(gate), Format::Pretty, Arc::new(SystemClock::new())).unwrap();
        let hostile = format!("a\r\n\u{1b}[31m{{\"b\u{202e}{}", "x".repeat(1_000_000));
        log.say(Level::Warn, "m", &[("field", &hostile)]);
        log.close();
        let text = String::from_utf8(lines.try_iter().flatten().collect()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.len() < 2_000);
        assert!(!text.contains('\u{1b}') && !text.contains('\r') && !text.contains('\u{202e}'));
    }
}
