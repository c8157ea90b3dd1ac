//! Opening the store: waiting for another process to let go of it, and telling whoever waits for the start.
//!
//! A rolling update starts the new process while the old one still drains. One process has the store at a
//! time, so the new one waits for its turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::doors::notify::Notifier;
use crate::keepers::log::{Level, Log};
use crate::keepers::metrics::Metrics;
use crate::keepers::store::embedded::Embedded;
use crate::keepers::store::open_error::OpenError;
use crate::keepers::store::tuning::{Options, Tuning, Workers};
use crate::rules::config::Config;
use crate::words::time::Clock;

/// Between two looks at the lock of another process there is nothing to wait on.
const LOOK: Duration = Duration::from_millis(100);

/// How often the service manager hears that the start goes on.
const WORD: Duration = Duration::from_secs(5);

/// A start that opens for longer than this hangs: the service manager's own patience decides from then on.
const OPENING_TIME: Duration = Duration::from_secs(30 * 60);

/// A store that is not open.
pub struct NotOpened {
    /// Another process has it, and may let go of it later.
    pub is_locked: bool,
    /// What is said of it.
    pub message: String,
}

/// What the opening of a store is made of.
pub struct Opening {
    path: std::path::PathBuf,
    reserve: u64,
    lock_wait: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    workers: Option<Arc<Workers>>,
}

// === impl Opening ===

impl Opening {
    /// The opening of a configuration's store, with its commits in the metrics.
    pub fn new(config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) -> Self {
        Self {
            path: config.store.path.clone(),
            reserve: config.store.reserve,
            lock_wait: config.store.lock_wait,
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            workers: None,
        }
    }

    /// The same for a runtime that tells when its threads have nothing to do.
    pub fn with_workers(mut self, workers: Arc<Workers>) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Opens it now.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub fn open(&self) -> Result<Embedded, NotOpened> {
        self.try_open().map_err(|error| self.failed(&error))
    }

    /// Opens it, waiting for another process to let go of it. The disk is waited for elsewhere, so that this
    /// can be dropped at any time; the service manager is told meanwhile.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub async fn open_patiently(
        self,
        log: &Log,
        notifier: &Notifier,
    ) -> Result<Embedded, NotOpened> {
        let waiting = log.clone();
        let mut opening = tokio::task::spawn_blocking(move || self.open_or_wait(&waiting));
        let began = Instant::now();
        loop {
            if began.elapsed() < OPENING_TIME {
                notifier.still_starting("opening the store");
            }
            if let Ok(opened) = tokio::time::timeout(WORD, &mut opening).await {
                return opened.unwrap_or_else(|_panic| {
                    Err(NotOpened {
                        is_locked: false,
                        message: "opening the store panicked".to_owned(),
                    })
                });
            }
        }
    }

    fn open_or_wait(&self, log: &Log) -> Result<Embedded, NotOpened> {
        let until = Instant::now() + self.lock_wait;
        let mut is_said = false;
        loop {
            match self.try_open() {
                Err(OpenError::Locked) if Instant::now() < until => {
                    if !is_said {
                        log.say(
                            Level::Info,
                            "another process has the store; waiting for it to end",
                            &[
                                ("path", &self.path.display()),
                                ("seconds_at_most", &self.lock_wait.as_secs()),
                            ],
                        );
                        is_said = true;
                    }
                    std::thread::sleep(LOOK);
                }
                opened => return opened.map_err(|error| self.failed(&error)),
            }
        }
    }

    fn try_open(&self) -> Result<Embedded, OpenError> {
        let observed = Arc::clone(&self.metrics);
        Embedded::open(Options {
            path: self.path.clone(),
            clock: Arc::clone(&self.clock),
            tuning: Tuning {
                free_bytes_min: self.reserve,
                workers: self.workers.clone(),
                ..Tuning::default()
            },
            on_commit: Some(Box::new(move |commit| {
                observed
                    .store_commit_seconds
                    .observe(commit.took.as_secs_f64());
            })),
        })
    }

    fn failed(&self, error: &OpenError) -> NotOpened {
        NotOpened {
            is_locked: *error == OpenError::Locked,
            message: format!(
                "the store {} cannot be opened: {error}",
                self.path.display()
            ),
        }
    }
}
