//! `passgate send`: sample events, signed and sent as a platform would.

pub mod courier;
mod retrying;
mod tally;
pub mod tamper;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use tokio::sync::{Semaphore, mpsc};

use crate::doors::cli::send::courier::{Courier, Parcel, Target};
use crate::doors::cli::send::retrying::{Retries, Try};
use crate::doors::cli::send::tally::Tally;
use crate::doors::cli::send::tamper::Tamperer;
use crate::doors::cli::terminal::{complain, foreign, say};
use crate::doors::cli::{CONFIGURATION, DONE, REFUSED, USAGE, provider_parser, secrets};
use crate::rules::provider::{KINDS, Kind, Sample, SampleOrder};
use crate::words::secret::Secret;
use crate::words::time::{Clock, SystemClock};

/// What `send` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The platform to stand in for.
    #[arg(value_parser = provider_parser())]
    provider: &'static Kind,
    /// The event, one of those below or any other name.
    event: String,
    /// Where to: the route's URL, without the secret segment of Wallit.
    #[arg(long, value_name = "URL")]
    to: Uri,
    /// The secret to sign with or to present: env:NAME or file:PATH. Without it nothing is proven.
    #[arg(long, value_name = "REF")]
    secret: Option<String>,
    /// How many events.
    #[arg(long, value_name = "N", default_value = "1")]
    count: NonZeroU32,
    /// Send the same bytes every time, instead of fresh ids and the current time.
    #[arg(long)]
    same: bool,
    /// Break each event after it was signed: one bit of what the signature covers, or of the credential.
    #[arg(long, requires = "secret")]
    tamper: bool,
    /// Repeat what is refused, on the platform's own schedule.
    #[arg(long)]
    retry: bool,
    /// Divide the schedule's pauses by this.
    #[arg(long, value_name = "N", default_value = "1", requires = "retry")]
    retry_speed: NonZeroU32,
    /// How many events may be under way at once.
    #[arg(long, value_name = "N", default_value = "1", value_parser = read_parallel)]
    parallel: NonZeroUsize,
}

/// The most that can be under way at once; more would only measure this machine's sockets.
const PARALLEL_MAX: usize = 1_000;

/// Shown below the help: an example, and the events that are known.
pub fn help() -> String {
    let mut help = "Examples:
  passgate send walletwerk card.active --secret env:WALLETWERK_SECRET \\
      --to http://127.0.0.1:8080/webhooks/walletwerk
  passgate send passworks installed --secret env:PASSWORKS_KEY --tamper \\
      --to http://127.0.0.1:8080/webhooks/passworks

Exit codes: 0 all were accepted, 1 some were refused, 2 wrong usage, 78 the secret cannot be had.

Events that the platforms document (others are sent all the same):"
        .to_owned();
    for kind in KINDS {
        help.push_str(&format!("\n  {}: {}", kind.name, kind.events.join(", ")));
    }
    help
}

/// Sends everything and gives the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    let references: Vec<String> = arguments.secret.iter().cloned().collect();
    let Some(secrets) = secrets::resolve(&references) else {
        return CONFIGURATION;
    };
    let prepared = Target::new(&arguments.to)
        .and_then(|target| Ok((Courier::new(&target)?, target)))
        .and_then(|(courier, target)| Ok((Maker::new(arguments, secrets, target)?, courier)));
    let (maker, courier) = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => {
            complain(&problem);
            return USAGE;
        }
    };
    let kind = arguments.provider;
    if !kind.events.contains(&arguments.event.as_str()) {
        let event = foreign(&arguments.event);
        complain(&format!(
            "note: {} documents no event {event}; it is sent all the same",
            kind.name
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return REFUSED;
        }
    };
    match runtime.block_on(send_all(arguments, maker, courier)) {
        true => DONE,
        false => REFUSED,
    }
}

/// Sends all events and tells each try as it ends; whether every event was accepted in the end.
async fn send_all(arguments: &Arguments, mut maker: Maker, courier: Courier) -> bool {
    let kind = arguments.provider;
    let courier = Arc::new(courier);
    let retries = Retries {
        pauses: if arguments.retry {
            kind.retry_pauses
        } else {
            &[]
        },
        speed: arguments.retry_speed,
        accepted_status: kind.accepted_status,
    };
    let count = arguments.count.get();
    let places = Arc::new(Semaphore::new(arguments.parallel.get()));
    let (tries, mut ended) = mpsc::channel::<Try>(TRIES_WAITING);
    let spawning = async move {
        for _ in 0..count {
            // The semaphore is never closed, so there is always a place in the end.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            // Made only now, so that ids and time are those of the sending.
            let parcel = maker.make();
            let (courier, tries) = (Arc::clone(&courier), tries.clone());
            tokio::spawn(async move {
                retries.deliver(&courier, &parcel, &tries).await;
                drop(place);
            });
        }
    };
    let mut tally = Tally::new(kind);
    let event = foreign(&arguments.event);
    let telling = async {
        while let Some(ended) = ended.recv().await {
            say(&format!("{event}  {ended}"));
            if let Some(warning) = tally.count(&ended) {
                say(&warning);
            }
        }
    };
    tokio::join!(spawning, telling);
    say(&tally.summary());
    tally.is_all_accepted()
}

/// Makes one event after the other.
struct Maker {
    kind: &'static Kind,
    event: String,
    secret: Option<Secret>,
    target: Target,
    tamperer: Option<Tamperer>,
    /// With `--same`: what is sent every time.
    same: Option<Parcel>,
    is_same: bool,
    nonce: u64,
}

impl Maker {
    fn new(arguments: &Arguments, secrets: Vec<Secret>, target: Target) -> Result<Self, String> {
        let kind = arguments.provider;
        let tamperer = match arguments.tamper {
            true => Some(Tamperer::new(kind, &secrets)?),
            false => None,
        };
        Ok(Self {
            kind,
            event: arguments.event.clone(),
            secret: secrets.into_iter().next(),
            target,
            tamperer,
            same: None,
            is_same: arguments.same,
            nonce: fastrand::u64(..NONCES),
        })
    }

    fn make(&mut self) -> Parcel {
        if let Some(parcel) = &self.same {
            return parcel.clone();
        }
        self.nonce += 1;
        let now = SystemClock::new().now();
        let sample: Sample = (self.kind.sample)(&SampleOrder {
            event: &self.event,
            secret: self.secret.as_ref().map(Secret::expose),
            now,
            nonce: self.nonce,
        });
        let sample = match &self.tamperer {
            Some(tamperer) => tamperer.tampered(sample, now),
            None => sample,
        };
        let parcel = self.target.parcel(sample);
        if self.is_same {
            self.same = Some(parcel.clone());
        }
        parcel
    }
}

fn read_parallel(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(number) if number.get() <= PARALLEL_MAX => Ok(number),
        Ok(_) | Err(_) => Err(format!("a number from 1 to {PARALLEL_MAX} is needed")),
    }
}

/// Tries that may wait to be told; senders wait for the terminal beyond that.
const TRIES_WAITING: usize = 64;

/// First ids are drawn from so many: twelve digits, as the samples write them, with room to count up.
const NONCES: u64 = 900_000_000_000;

/// A platform gives up on a try after this long.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);
