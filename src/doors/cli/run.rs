//! `passgate run`: a configuration becomes a gateway that serves until it is told to stop.
//!
//! SIGTERM and SIGINT drain: nothing that was answered is lost. A second one ends the wait. SIGHUP has the
//! configuration read anew.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::doors::cli::opening::{NotOpened, Opening};
use crate::doors::cli::terminal::{complain, complain_all};
use crate::doors::cli::{CONFIGURATION, DONE, LATER, REFUSED};
use crate::doors::gateway::{Gateway, Parts};
use crate::doors::listener::passed::Passed;
use crate::doors::notify::Notifier;
use crate::doors::process::{
    file_bytes_max, is_root_without_need, limits_within, outlive_file_limit, raise_descriptors,
};
use crate::doors::reload::Reloader;
use crate::keepers::log::{Format, Level, Log};
use crate::keepers::metrics::Metrics;
use crate::keepers::store::Store;
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::tuning::Workers;
use crate::rules::config::Config;
use crate::rules::config::listen::Listen;
use crate::rules::config::source::{ConfigSource, FileSource};
use crate::rules::reader::remark::listing;
use crate::words::limits::Limits;
use crate::words::time::{Clock, SystemClock};

/// Why it ended other than as wished.
struct Failed {
    code: u8,
    message: String,
}

/// Runs until a signal, and gives the exit code.
pub fn run(path: &Path) -> ExitCode {
    let source = FileSource::new(path, Arc::new(SystemClock::new()));
    let config = match source.read() {
        Ok((config, warnings)) => {
            complain_all(&listing(path, &warnings));
            config
        }
        Err(remarks) => {
            complain_all(&listing(path, &remarks));
            return ExitCode::from(CONFIGURATION);
        }
    };
    match serve(config, Arc::new(source)) {
        Ok(()) => ExitCode::from(DONE),
        Err(failed) => {
            complain(&failed.message);
            ExitCode::from(failed.code)
        }
    }
}

fn serve(config: Config, source: Arc<dyn ConfigSource>) -> Result<(), Failed> {
    // Before there is any other thread: it takes variables out of the environment.
    let passed = Passed::take()
        .map_err(|error| format!("what the service manager passed on cannot be used: {error}"))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let format = match io::stdout().is_terminal() {
        true => Format::Pretty,
        false => Format::Json,
    };
    let log = Log::new(Box::new(io::stdout()), format, Arc::clone(&clock))
        .map_err(|error| format!("the log's thread cannot be started: {error}"))?;
    let workers = Arc::new(Workers::default());
    let (resting, working) = (Arc::clone(&workers), Arc::clone(&workers));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(move || resting.rests())
        .on_thread_unpark(move || working.works())
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let served = runtime.block_on(until_told(
        config,
        source,
        passed,
        clock,
        log.clone(),
        workers,
    ));
    // Whatever still runs has been waited for as long as it may take.
    runtime.shutdown_background();
    log.close();
    served
}

async fn until_told(
    config: Config,
    source: Arc<dyn ConfigSource>,
    passed: Passed,
    clock: Arc<dyn Clock>,
    log: Log,
    workers: Arc<Workers>,
) -> Result<(), Failed> {
    // First of all: as process 1 of a container it would not hear a signal that it does not listen for.
    let no_signals = |error| format!("signals cannot be listened for: {error}");
    let mut signals = Signals::new().map_err(no_signals)?;
    outlive_file_limit().map_err(no_signals)?;
    let notifier = Notifier::new(log.clone())
        .map_err(|error| format!("the service manager cannot be told anything: {error}"))?;
    let limits = settle_in(&config, &log);
    let metrics = Arc::new(Metrics::new());
    let opening = open_store(&config, &clock, &metrics, &log, &notifier, workers);
    let opened = tokio::select! {
        opened = opening => opened,
        () = signals.told_to_stop(None) => return Ok(()),
    };
    let store = Arc::new(opened?);
    let parts = Parts {
        store: store.clone(),
        queue: store,
        clock,
        log: log.clone(),
        metrics,
        limits,
        source: Some(source),
        passed,
    };
    let routes = named(&config);
    let drain = config.server.drain;
    let gateway = Gateway::start(config, parts)
        .await
        .map_err(|error| error.to_string())?;
    let listening = listed(gateway.listening());
    log.say(
        Level::Info,
        "passgate is ready",
        &[
            ("listen", &listening),
            ("admin", &listed(gateway.admin_listening())),
            ("routes", &routes),
            ("version", &env!("CARGO_PKG_VERSION")),
        ],
    );
    let status = format!("listening on {listening}");
    notifier.ready(&status);
    let watchdog = tokio::spawn(notifier.clone().keep_alive(Arc::clone(gateway.store())));
    let hangup = Hangup {
        reloader: Arc::clone(gateway.reloader()),
        notifier: notifier.clone(),
        status,
    };
    signals.told_to_stop(Some(hangup)).await;
    log.say(Level::Info, "passgate is draining", &[]);
    notifier.stopping(drain.delay + drain.timeout + CLOSING_TIME);
    gateway
        .stop(async move { signals.told_to_stop(None).await })
        .await;
    watchdog.abort();
    Ok(())
}

async fn open_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    log: &Log,
    notifier: &Notifier,
    workers: Arc<Workers>,
) -> Result<Embedded, Failed> {
    let opening = Opening::new(config, clock, metrics).with_workers(workers);
    let store = opening.open_patiently(log, notifier).await?;
    if store.is_new() {
        // On a first start this is as it should be; after any other it means that all is forgotten.
        log.say(
            Level::Warn,
            "a new store was made: nothing is remembered from before",
            &[("path", &config.store.path.display())],
        );
    }
    let damaged = store.statistics().damaged_rows;
    if damaged > 0 {
        log.say(
            Level::Error,
            "the store is damaged: what could not be read is not remembered",
            &[("path", &config.store.path.display()), ("rows", &damaged)],
        );
    }
    Ok(store)
}

/// Looks at what the system grants, and says what is worth knowing of it.
fn settle_in(config: &Config, log: &Log) -> Limits {
    let descriptors = raise_descriptors();
    let limits = limits_within(config.server.limits, descriptors);
    let shown = descriptors.map_or("unlimited".to_owned(), |most| most.to_string());
    let level = match limits.connections < config.server.limits.connections {
        true => Level::Warn,
        false => Level::Info,
    };
    log.say(
        level,
        "passgate starts",
        &[
            ("descriptors_max", &shown),
            ("connections_max", &limits.connections),
        ],
    );
    if let Some(most) = file_bytes_max() {
        log.say(
            Level::Warn,
            "a file may grow to a limit only (`ulimit -f`, `LimitFSIZE=`); where the store meets it, events are refused with 503",
            &[("file_bytes_max", &most)],
        );
    }
    if is_root_without_need(config) {
        log.say(
            Level::Warn,
            "it runs as root, and nothing in its configuration needs that; give it a user of its own",
            &[],
        );
    }
    limits
}

fn named(config: &Config) -> String {
    let routes = config.routes.iter();
    let routes: Vec<String> = routes
        .map(|route| format!("{} at {}", route.name, route.path))
        .collect();
    routes.join(", ")
}

fn listed(places: &[Listen]) -> String {
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    places.join(", ")
}

/// What closing the store may take after the drain, as the service manager is told.
const CLOSING_TIME: Duration = Duration::from_secs(10);

// === impl Failed ===

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Self {
            code: REFUSED,
            message,
        }
    }
}

impl From<NotOpened> for Failed {
    fn from(failed: NotOpened) -> Self {
        Self {
            code: match failed.is_locked {
                true => LATER,
                false => REFUSED,
            },
            message: failed.message,
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until then SIGHUP does what `hangup` says, or nothing; it never ends anything, so that a closed terminal
    /// does not either.
    async fn told_to_stop(&mut self, hangup: Option<Hangup>) {
        let (asked, asks) = mpsc::channel(1);
        if let Some(hangup) = hangup {
            // A signal to stop does not wait for it.
            tokio::spawn(follow(asks, async move || hangup.reload().await));
        }
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => ask(&asked),
            }
        }
    }
}

/// What SIGHUP does: it has the configuration read anew.
struct Hangup {
    reloader: Arc<Reloader>,
    notifier: Notifier,
    status: String,
}

impl Hangup {
    async fn reload(&self) {
        self.notifier.reloading();
        // What comes of it stands in the log.
        let _ = self.reloader.reload().await;
        self.notifier.ready(&self.status);
    }
}

/// Asks for something to be done, unless it is asked for already.
fn ask(asked: &mpsc::Sender<()>) {
    // It is full then, or nobody does it.
    let _ = asked.try_send(());
}

/// Does something whenever it is asked for, until nobody can ask any more. However often that happens while it is
/// being done, it is done once more afterwards, with what is there then.
async fn follow(mut asks: mpsc::Receiver<()>, done: impl AsyncFn()) {
    while asks.recv().await.is_some() {
        done().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn however_often_it_is_asked_for_meanwhile_it_is_done_once_more_and_no_asking_is_lost() {
        let (asked, asks) = mpsc::channel(1);
        let (begun, may_end) = (AtomicU32::new(0), Semaphore::new(0));
        let following = follow(asks, async || {
            begun.fetch_add(1, Ordering::Relaxed);
            may_end.acquire().await.unwrap().forget();
        });
        let asking = async {
            ask(&asked);
            while begun.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            for _ in 0..10 {
                ask(&asked);
            }
            may_end.add_permits(100);
            drop(asked);
        };
        tokio::join!(following, asking);
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }
}
