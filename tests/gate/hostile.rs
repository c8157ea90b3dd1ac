//! Bytes of any kind, and true requests with something broken in them: the gateway always answers in its
//! own words or closes, never panics, and the app sees nothing but what was signed.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestCaseResult, TestRunner};
use tokio::runtime::{Builder, Runtime};

use crate::support::app::App;
use crate::support::gate::{Gate, Setup};
use crate::support::panics;
use crate::support::sender::{Request, card_event};
use crate::support::wire::Wire;

/// Pieces that mean something to a parser.
const PIECES: [&str; 24] = [
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Connection: close\r\n",
    "Connection: x-walletwerk-signature\r\n",
    "Expect: 100-continue\r\n",
    "Host: h\r\n",
    " HTTP/1.0\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /webhooks/walletwerk HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
];

/// A true request to begin with.
#[derive(Clone, Copy, Debug)]
enum Whole {
    WithLength,
    Chunked,
    Passworks,
    Wallit,
}

/// What is done to it; places are parts of 65,536.
#[derive(Clone, Debug)]
enum Change {
    Set(u16, u8),
    Flip(u16, u8),
    Cut(u16, u16),
    Repeat(u16, u16),
    Insert(u16, usize),
    End(u16),
}

fn whole() -> impl Strategy<Value = Whole> {
    prop_oneof![
        4 => Just(Whole::WithLength),
        4 => Just(Whole::Chunked),
        1 => Just(Whole::Passworks),
        1 => Just(Whole::Wallit),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<u16>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (place(), 0u16..2000).prop_map(|(at, part)| Change::Cut(at, part)),
        (place(), 0u16..20_000).prop_map(|(at, part)| Change::Repeat(at, part)),
        (place(), 0..PIECES.len()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        place().prop_map(Change::End),
    ]
}

fn place(bytes: &[u8], part: u16) -> usize {
    bytes.len() * usize::from(part) / 65_536
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let range = |at: u16, part: u16| {
            let start = place(bytes, at);
            start..(start + place(bytes, part)).min(bytes.len())
        };
        match *self {
            Self::Set(at, byte) => {
                let at = place(bytes, at);
                bytes[at] = byte;
            }
            Self::Flip(at, bit) => {
                let at = place(bytes, at);
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at, part) => drop(bytes.drain(range(at, part))),
            Self::Repeat(at, part) => {
                let range = range(at, part);
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, copy);
            }
            Self::Insert(at, piece) => {
                let at = place(bytes, at);
                bytes.splice(at..at, PIECES[piece].bytes());
            }
            Self::End(at) => bytes.truncate(place(bytes, at)),
        }
    }
}

/// A gateway with a route for each provider, and the bodies that were signed for it.
struct Ground {
    runtime: Runtime,
    gate: Gate,
    signed: Mutex<HashSet<Vec<u8>>>,
    count: AtomicU64,
    /// The last inputs: the work on one may outlive its connection.
    sent: Mutex<VecDeque<Vec<u8>>>,
}

impl Ground {
    fn new() -> Self {
        panics::watch();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut config = String::from("[client_quota]\nrate = \"1000000/s\"\nburst = 1000000\n");
        for (provider, secret) in [
            ("walletwerk", "WALLETWERK_SECRET"),
            ("passworks", "PASSWORKS_API_KEY"),
            ("wallit", "WALLIT_PATH_SECRET"),
        ] {
            config += &format!(
                "[[route]]\nprovider = \"{provider}\"\nsecrets = [\"env:{secret}\"]\nupstream = \"http://@APP@/{provider}\"\n"
            );
        }
        let gate = runtime.block_on(async {
            let (setup, _) = Setup::config(App::willing().await, config).in_memory();
            // Most inputs are cut short, and nobody shall wait for what they lack.
            let setup = setup.within(|limits| {
                limits.head_time = Duration::from_millis(20);
                limits.body_time = Duration::from_millis(20);
                limits.idle_time = Duration::from_millis(500);
            });
            setup.start().await
        });
        Self {
            runtime,
            gate,
            signed: Mutex::default(),
            count: AtomicU64::new(0),
            sent: Mutex::default(),
        }
    }

    /// The bytes of a true request for an event of its own.
    fn request(&self, whole: Whole) -> Vec<u8> {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let body = card_event(n);
        match whole {
            Whole::WithLength | Whole::Chunked => {
                self.signed
                    .lock()
                    .unwrap()
                    .insert(body.clone().into_bytes());
                let mut request = Request::walletwerk(body.clone(), "d");
                if matches!(whole, Whole::WithLength) {
                    return request.bytes();
                }
                request.body.clear();
                let (start, end) = body.split_at(20);
                let chunks = format!("14\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n", end.len());
                let head = request.with("Transfer-Encoding: chunked").bytes();
                [head, chunks.into_bytes()].concat()
            }
            Whole::Passworks => Request::post("/webhooks/passworks", body)
                .with("Authorization: passworks-live-api-key")
                .bytes(),
            Whole::Wallit => Request::get(&format!(
                "/webhooks/wallit/wallit-path-secret?CallbackType=A&CallbackToken=t{n}"
            ))
            .bytes(),
        }
    }

    /// Sends `bytes` in as many writes as there are `cuts` and one, and judges what came of them.
    fn send(&self, mut bytes: Vec<u8>, cuts: &[u16]) -> TestCaseResult {
        // Where a head could begin this is a broken one, which ends the connection.
        bytes.extend_from_slice(b"\0\r\n\r\n");
        {
            let mut sent = self.sent.lock().unwrap();
            sent.push_front(bytes.clone());
            sent.truncate(20);
        }
        let answers = self.runtime.block_on(async {
            let mut wire = Wire::open(self.gate.address).await;
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| place(&bytes, *cut)).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut start = 0;
            for end in cuts {
                wire.write(&bytes[start..end]).await;
                start = end;
            }
            wire.rest().await
        });
        for answer in answers.iter().filter(|answer| answer.status != 100) {
            prop_assert_ne!(answer.outcome(), "-", "not in our own words: {:?}", answer);
            // The app closes on anything ambiguous.
            prop_assert_ne!(answer.outcome(), "upstream_unreachable");
        }
        self.judge()
    }

    /// Everything that the app ever saw was signed, or came with the credential of its provider.
    fn judge(&self) -> TestCaseResult {
        let was_sent_with = |part: &[u8], credential: &str| {
            let sent = self.sent.lock().unwrap();
            let contains = |bytes: &[u8], part: &[u8]| {
                part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
            };
            sent.iter()
                .any(|bytes| contains(bytes, part) && contains(bytes, credential.as_bytes()))
        };
        for request in self.gate.app.take() {
            let (path, query) = request
                .target()
                .split_once('?')
                .unwrap_or((request.target(), ""));
            let is_authentic = match path {
                "/walletwerk" => self.signed.lock().unwrap().contains(&request.body),
                "/passworks" => was_sent_with(&request.body, "passworks-live-api-key"),
                "/wallit" => was_sent_with(query.as_bytes(), "wallit-path-secret"),
                _ => false,
            };
            prop_assert!(is_authentic, "the app saw {:?}", request);
        }
        let panics = panics::seen();
        prop_assert!(panics.is_empty(), "{:?}", panics);
        Ok(())
    }

    /// Tries many inputs, then shows that nothing of it left a trace.
    fn try_all<T: std::fmt::Debug>(
        self,
        cases: u32,
        inputs: &impl Strategy<Value = T>,
        check: impl Fn(&Self, T) -> Result<(), TestCaseError>,
    ) {
        let mut runner = TestRunner::new(Config {
            cases,
            max_shrink_iters: 500,
            failure_persistence: None,
            ..Config::default()
        });
        if let Err(error) = runner.run(inputs, |input| check(&self, input)) {
            panic!("{error}");
        }
        let last = Request::walletwerk(card_event(u64::MAX), "last");
        self.runtime.block_on(async {
            assert_eq!(self.gate.send(&last).await.outcome(), "forwarded");
            let (_, logged) = self.gate.end().await;
            assert!(!logged.text().contains("panicked"));
        });
    }
}

#[test]
fn any_bytes_are_answered_or_closed_upon() {
    let inputs = vec(any::<u8>(), 0..600);
    Ground::new().try_all(800, &inputs, |ground, bytes| {
        ground.send(bytes, &[])?;
        prop_assert_eq!(ground.gate.app.count(), 0);
        Ok(())
    });
}

#[test]
fn any_mixture_of_meaningful_pieces_is_answered_or_closed_upon() {
    let inputs = vec(0..PIECES.len(), 0..30);
    Ground::new().try_all(800, &inputs, |ground, pieces| {
        let bytes: Vec<u8> = pieces.iter().flat_map(|at| PIECES[*at].bytes()).collect();
        ground.send(bytes, &[])?;
        prop_assert_eq!(ground.gate.app.count(), 0);
        Ok(())
    });
}

#[test]
fn a_true_request_with_anything_changed_in_it_brings_nothing_to_the_app_that_was_not_signed() {
    let inputs = (
        vec((whole(), vec(change(), 0..5)), 1..4),
        vec(any::<u16>(), 0..4),
    );
    Ground::new().try_all(1500, &inputs, |ground, (requests, cuts)| {
        let mut all = Vec::new();
        for (whole, changes) in requests {
            let mut bytes = ground.request(whole);
            changes.iter().for_each(|change| change.apply(&mut bytes));
            all.extend(bytes);
        }
        ground.send(all, &cuts)
    });
}

/// The tests above can fail: an app that is sent something unsigned is noticed.
#[test]
fn an_unsigned_body_at_the_app_would_be_noticed() {
    let ground = Ground::new();
    let bytes = ground.request(Whole::WithLength);
    ground.signed.lock().unwrap().clear();
    assert!(ground.send(bytes, &[]).is_err());
}
