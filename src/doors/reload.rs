//! The configuration is read anew while the gateway runs: all of it or nothing.
//!
//! Whoever asks (a signal, the operator's API, a change of the files) has it read, checked and put in the place
//! of the one before, in one step; a request that has begun goes on as it began. What is wrong changes nothing
//! and is told. What only a restart can change is named, and the rest takes effect.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, watch};

use crate::keepers::log::Level;
use crate::rules::config::Config;
use crate::rules::config::source::{ConfigSource, Marks};
use crate::rules::reader::remark::Remark;
use crate::rules::reader::units::duration_text;
use crate::words::limits::Limits;
use crate::words::secret::Presented;
use crate::work::ingest::Gate;
use crate::work::routes::Ground;
use crate::work::snapshot::{NotWorking, Snapshot};

/// How often the files are looked at. Two looks must agree, so that a file is not read while it is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A reload that the store failed is made again after so many looks, until one ends otherwise.
const REPEAT_LOOKS: u32 = 5;

/// Nobody wrote the files for so long when they are read, and so often that is waited for.
const STILL_FOR: Duration = Duration::from_millis(50);
const STILL_LOOKS_MAX: usize = 40;

/// Reads the configuration anew.
pub struct Reloader {
    gate: Arc<Gate>,
    ground: Ground,
    source: Option<Arc<dyn ConfigSource>>,
    fixed: Fixed,
    /// The bounds in force, which a reload does not change.
    limits: Limits,
    /// The operator's token of the moment.
    token: Arc<ArcSwapOption<Presented>>,
    /// One at a time.
    turn: Mutex<()>,
    /// The store failed the last one. Shelves may have the terms of the new configuration already, which is what
    /// the operator asked for, but nothing else of it is in force.
    is_half_done: AtomicBool,
}

/// What a running gateway keeps until it is started again: keys, and what they said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed([(&'static str, String); 10]);

/// The configuration was read anew and holds.
#[derive(Debug)]
pub struct Reloaded {
    /// What the operator should know of it.
    pub warnings: Vec<Remark>,
    /// Keys that say something else now and hold only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Why the configuration of before still holds.
#[derive(Debug)]
pub enum NotReloaded {
    /// The gateway was not started from a file.
    NoFile,
    /// The new one has mistakes.
    Mistakes(Vec<Remark>),
    /// Its files are being written.
    Moving,
    /// The new one cannot be put to work.
    NotWorking(NotWorking),
}

// === impl Reloader ===

impl Reloader {
    /// A reloader of `gate`, which was started with what is `fixed`.
    pub fn new(
        gate: Arc<Gate>,
        ground: Ground,
        source: Option<Arc<dyn ConfigSource>>,
        fixed: Fixed,
        token: Arc<ArcSwapOption<Presented>>,
    ) -> Self {
        let gate_limits = gate.limits;
        Self {
            gate,
            ground,
            source,
            fixed,
            limits: gate_limits,
            token,
            turn: Mutex::new(()),
            is_half_done: AtomicBool::new(false),
        }
    }

    /// Reads the configuration anew and puts it in the place of the one before; tells of it in the log and in
    /// the metrics.
    ///
    /// # Errors
    /// Why the one of before still holds.
    pub async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        let _turn = self.turn.lock().await;
        let reloaded = self.read_and_replace().await;
        let is_half_done = matches!(
            &reloaded,
            Err(NotReloaded::NotWorking(NotWorking::Store(_)))
        );
        self.is_half_done.store(is_half_done, Ordering::Relaxed);
        self.tell(&reloaded);
        reloaded
    }

    /// Reads it anew whenever its files changed, and again where the store failed that, until told to stop.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let Some(source) = self.source.clone() else {
            return;
        };
        let mut before: Option<Marks> = None;
        let mut looks = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stops| *stops) => return,
            }
            let looking = Arc::clone(&source);
            let looked = tokio::task::spawn_blocking(move || {
                let now = looking.marks();
                (now != looking.marks_read()).then_some(now)
            });
            let changed = looked.await.unwrap_or(None);
            looks = match self.is_half_done.load(Ordering::Relaxed) {
                true => looks + 1,
                false => 0,
            };
            if looks == REPEAT_LOOKS || (changed.is_some() && changed == before) {
                // It tells of its end itself.
                let _ = self.reload().await;
                before = None;
                looks = 0;
            } else {
                before = changed;
            }
        }
    }

    async fn read_and_replace(&self) -> Result<Reloaded, NotReloaded> {
        let source = self.source.clone().ok_or(NotReloaded::NoFile)?;
        let (ground, before) = (self.ground.clone(), self.gate.snapshot.load_full());
        self.until_still(&source).await;
        let running = self.limits;
        let made = tokio::task::spawn_blocking(move || {
            let (config, warnings) = source.read().map_err(NotReloaded::Mistakes)?;
            if source.marks() != source.marks_read() {
                return Err(NotReloaded::Moving);
            }
            check_deadlines(&config, &running)?;
            let fixed = Fixed::of(&config);
            let token = config.admin.token.clone();
            let snapshot =
                Snapshot::new(config, &ground, Some(&before)).map_err(NotReloaded::NotWorking)?;
            Ok((snapshot, token, fixed, warnings))
        });
        let made = made.await.map_err(|_| NotReloaded::panicked())?;
        let (snapshot, token, fixed, warnings) = made?;
        let before = self.gate.snapshot.swap(Arc::new(snapshot));
        self.token.store(token.map(Arc::new));
        self.gate.replaced.send_replace(());
        // The workers of routes that are gone must notice, and the others what changed.
        for route in before.routes.iter() {
            route.wake.notify_one();
        }
        Ok(Reloaded {
            warnings,
            needs_restart: self.fixed.differences(&fixed),
        })
    }

    /// Waits for a moment in which nobody writes the files, but not for ever: then reading them tells.
    async fn until_still(&self, source: &Arc<dyn ConfigSource>) {
        let look = || {
            let source = Arc::clone(source);
            tokio::task::spawn_blocking(move || source.marks())
        };
        let mut before = look().await.ok();
        for _ in 0..STILL_LOOKS_MAX {
            tokio::time::sleep(STILL_FOR).await;
            let now = look().await.ok();
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn tell(&self, reloaded: &Result<Reloaded, NotReloaded>) {
        self.gate.metrics.count_reload(reloaded.is_ok());
        let log = &self.gate.log;
        match reloaded {
            Ok(Reloaded {
                warnings,
                needs_restart,
            }) => {
                for warning in warnings {
                    log.say(Level::Warn, "the new configuration", &[("remark", warning)]);
                }
                if !needs_restart.is_empty() {
                    log.say(
                        Level::Warn,
                        "some of the new configuration holds only after a restart",
                        &[("keys", &needs_restart.join(", "))],
                    );
                }
                log.say(Level::Info, "the configuration was read anew", &[]);
            }
            Err(error) => {
                if let NotReloaded::Mistakes(remarks) = error {
                    for remark in remarks {
                        log.say(Level::Error, "the new configuration", &[("remark", remark)]);
                    }
                }
                log.say(
                    Level::Error,
                    "the configuration was not read anew; the one before holds",
                    &[("reason", error)],
                );
            }
        }
    }
}

/// The bounds that a configuration was checked against may hold only after a restart.
fn check_deadlines(config: &Config, running: &Limits) -> Result<(), NotReloaded> {
    let most = running
        .request_time
        .saturating_sub(running.body_time + running.store_time);
    let too_long = config.routes.iter().filter(|route| route.timeout > most);
    let mistakes: Vec<Remark> = too_long
        .map(|route| {
            let message = format!(
                "the timeout of route {:?} is longer than the {} that the bounds in force leave; restart for others",
                route.name,
                duration_text(most)
            );
            Remark::of_file(None, message)
        })
        .collect();
    match mistakes.is_empty() {
        true => Ok(()),
        false => Err(NotReloaded::Mistakes(mistakes)),
    }
}

// === impl Fixed ===

impl Fixed {
    /// What a gateway with this configuration keeps.
    pub fn of(config: &Config) -> Self {
        let Config {
            server,
            admin,
            store,
            ..
        } = config;
        Self([
            ("server.listen", format!("{:?}", server.listen)),
            ("server.socket_mode", format!("{:?}", server.socket_mode)),
            ("server.limits", format!("{:?}", server.limits)),
            ("server.drain_delay", format!("{:?}", server.drain.delay)),
            (
                "server.drain_timeout",
                format!("{:?}", server.drain.timeout),
            ),
            ("server.tls", format!("{:?}", server.tls)),
            ("admin.listen", format!("{:?}", admin.listen)),
            ("admin.socket_mode", format!("{:?}", admin.socket_mode)),
            ("store.path", format!("{:?}", store.path)),
            ("store.reserve", format!("{:?}", store.reserve)),
        ])
    }

    fn differences(&self, new: &Self) -> Vec<&'static str> {
        let both = self.0.iter().zip(&new.0);
        let changed = both.filter(|(old, new)| old != new);
        changed.map(|((key, _), _)| *key).collect()
    }
}

// === impl NotReloaded ===

impl NotReloaded {
    /// A panic was shown where it happened; here it is a configuration that could not be read.
    fn panicked() -> Self {
        Self::Mistakes(vec![Remark::of_file(None, "reading it panicked")])
    }
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("the gateway was not started from a file"),
            Self::Mistakes(remarks) => {
                let mistakes = remarks.iter().filter(|remark| remark.is_mistake()).count();
                match mistakes {
                    1 => f.write_str("it has a mistake"),
                    mistakes => write!(f, "it has {mistakes} mistakes"),
                }
            }
            Self::Moving => f.write_str("its files are being written"),
            Self::NotWorking(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotReloaded {}
