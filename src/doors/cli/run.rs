//! `passgate run`: a configuration becomes a gateway that serves until it is told to stop.
//!
//! SIGTERM and SIGINT drain: nothing that was answered is lost. A second one ends the wait. SIGHUP has the
//! configuration read anew.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::doors::cli::terminal::{complain, complain_all};
use crate::doors::cli::{CONFIGURATION, DONE, REFUSED};
use crate::doors::gateway::{Gateway, Parts};
use crate::doors::reload::Reloader;
use crate::keepers::log::{Format, Level, Log};
use crate::keepers::metrics::Metrics;
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::tuning::{Options, Tuning};
use crate::rules::config::Config;
use crate::rules::config::source::{ConfigSource, FileSource};
use crate::rules::reader::remark::listing;
use crate::words::limits::Limits;
use crate::words::time::{Clock, SystemClock};

/// Runs until a signal, and gives the exit code.
pub fn run(path: &Path) -> ExitCode {
    let source = FileSource::new(path);
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
        Err(reason) => {
            complain(&reason);
            ExitCode::from(REFUSED)
        }
    }
}

/// Opens the store of a configuration, with its commits in the metrics.
///
/// # Errors
/// What keeps it from being opened.
pub fn open_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Embedded, String> {
    let path = config.store.path.clone();
    let observed = Arc::clone(metrics);
    Embedded::open(Options {
        path: path.clone(),
        clock: Arc::clone(clock),
        tuning: Tuning {
            free_bytes_min: config.store.reserve,
            ..Tuning::default()
        },
        on_commit: Some(Box::new(move |commit| {
            observed
                .store_commit_seconds
                .observe(commit.took.as_secs_f64());
        })),
    })
    .map_err(|error| format!("the store {} cannot be opened: {error}", path.display()))
}

fn serve(config: Config, source: Arc<dyn ConfigSource>) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let format = match io::stdout().is_terminal() {
        true => Format::Pretty,
        false => Format::Json,
    };
    let log = Log::new(Box::new(io::stdout()), format, Arc::clone(&clock))
        .map_err(|error| format!("the log's thread cannot be started: {error}"))?;
    let metrics = Arc::new(Metrics::new());
    let store_path = config.store.path.clone();
    let is_new = !store_path.exists();
    let store = Arc::new(open_store(&config, &clock, &metrics)?);
    if is_new {
        // On a first start this is as it should be; after any other it means that all is forgotten.
        log.say(
            Level::Warn,
            "a new store was made: nothing is remembered from before",
            &[("path", &store_path.display())],
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let parts = Parts {
        store: store.clone(),
        queue: store,
        clock,
        log: log.clone(),
        metrics,
        limits: Limits::default(),
        source: Some(source),
    };
    let served = runtime.block_on(until_told(config, parts));
    // Whatever still runs has been waited for as long as it may take.
    runtime.shutdown_background();
    log.close();
    served
}

async fn until_told(config: Config, parts: Parts) -> Result<(), String> {
    let no_signals = |error| format!("signals cannot be listened for: {error}");
    let mut signals = Signals::new().map_err(no_signals)?;
    let log = parts.log.clone();
    let routes: Vec<String> = config
        .routes
        .iter()
        .map(|route| format!("{} at {}", route.name, route.path))
        .collect();
    let gateway = Gateway::start(config, parts)
        .await
        .map_err(|error| error.to_string())?;
    let listening: Vec<String> = gateway
        .listening()
        .iter()
        .map(ToString::to_string)
        .collect();
    log.say(
        Level::Info,
        "passgate is ready",
        &[
            ("listen", &listening.join(", ")),
            ("admin", &gateway.admin_listening()),
            ("routes", &routes.join(", ")),
            ("version", &env!("CARGO_PKG_VERSION")),
        ],
    );
    signals.told_to_stop(Some(gateway.reloader())).await;
    log.say(Level::Info, "passgate is draining", &[]);
    gateway
        .stop(async move { signals.told_to_stop(None).await })
        .await;
    Ok(())
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

    /// Until then SIGHUP has the configuration read anew, where there is a reloader; it ends nothing, so that a
    /// closed terminal does not either.
    async fn told_to_stop(&mut self, reloader: Option<&Arc<Reloader>>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    if let Some(reloader) = reloader {
                        // It tells of its end itself, and a signal to stop does not wait for it.
                        let reloader = Arc::clone(reloader);
                        tokio::spawn(async move { reloader.reload().await });
                    }
                }
            }
        }
    }
}
