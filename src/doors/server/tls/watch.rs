//! Keeps certificates fresh: looks at their files every few seconds, and serves what is new and good.
//!
//! What is compared is content, so that it does not matter how a file changes: written over, renamed, or with
//! a link swapped somewhere on the way to it, as Kubernetes does. A new pair that is broken or does not match
//! changes nothing, and is an alarm once it is still so at the next look: two files cannot change in one
//! moment.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::doors::server::tls::certificates::Certificates;
use crate::doors::server::tls::telling::{Expiry, Teller};
use crate::keepers::log::{Level, Log};
use crate::keepers::metrics::CertificateMetrics;
use crate::rules::certificate::Certificate;
use crate::rules::config::surroundings::Surroundings;
use crate::rules::config::tls::Pair;
use crate::rules::reader::secrets::SecretSource;

/// Watches the files of every certificate.
pub struct Watch {
    files: Vec<Watched>,
    certificates: Arc<Certificates>,
}

/// A pair of files, as they were read.
#[derive(Clone)]
pub struct Reading {
    /// What is in them.
    pub certificate: Certificate,
    content: [u8; 32],
}

/// A pair of files, and what is served of them.
struct Watched {
    pair: Pair,
    served: Reading,
    /// What was wrong with them at the last look, and whether that was told.
    trouble: Option<Trouble>,
    expiry: Expiry,
}

struct Trouble {
    why: String,
    is_told: bool,
}

// === impl Watch ===

impl Watch {
    /// A watch over pairs that were read.
    pub fn new(
        files: impl Iterator<Item = (Pair, Reading)>,
        certificates: Arc<Certificates>,
    ) -> Self {
        let files = files
            .map(|(pair, served)| Watched {
                pair,
                served,
                trouble: None,
                expiry: Expiry::default(),
            })
            .collect();
        Self {
            files,
            certificates,
        }
    }

    /// Looks every `pause` until told to stop.
    pub async fn run(mut self, teller: Teller, pause: Duration, mut stop: watch::Receiver<bool>) {
        let metrics: Vec<CertificateMetrics> = self
            .files
            .iter()
            .map(|watched| teller.metrics.certificate(&watched.pair.name))
            .collect();
        loop {
            for (watched, metrics) in self.files.iter_mut().zip(&metrics) {
                let (name, served) = (&watched.pair.name, &watched.served.certificate);
                watched.expiry.tell(&teller, name, served, metrics);
                // By now what is good is served.
                if watched.trouble.is_none() {
                    metrics.reload_failing.set(0);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => return,
            }
            let mut is_changed = false;
            for (watched, metrics) in self.files.iter_mut().zip(&metrics) {
                let pair = watched.pair.clone();
                let read = spawn_blocking(move || Reading::of(&pair)).await;
                let read = read.unwrap_or_else(|_| Err("reading it failed".to_owned()));
                is_changed |= watched.take(read, &teller.log, metrics);
            }
            if is_changed {
                let served = self.files.iter().map(|file| &file.served.certificate);
                self.certificates.serve_files(served.cloned().collect());
            }
        }
    }
}

// === impl Watched ===

impl Watched {
    /// Takes what was read; whether something else is served from now on.
    fn take(
        &mut self,
        read: Result<Reading, String>,
        log: &Log,
        metrics: &CertificateMetrics,
    ) -> bool {
        let reading = match read {
            Ok(reading) => reading,
            Err(why) => {
                self.complain(why, log, metrics);
                return false;
            }
        };
        self.trouble = None;
        if reading.content == self.served.content {
            return false;
        }
        self.served = reading;
        let not_after = self.served.certificate.not_after().to_rfc3339();
        log.say(
            Level::Info,
            "a changed certificate is served",
            &[("certificate", &self.pair.name), ("not_after", &not_after)],
        );
        true
    }

    fn complain(&mut self, why: String, log: &Log, metrics: &CertificateMetrics) {
        let Some(trouble) = &mut self.trouble else {
            self.trouble = Some(Trouble {
                why,
                is_told: false,
            });
            return;
        };
        if trouble.is_told && trouble.why == why {
            return;
        }
        metrics.reload_errors.inc();
        metrics.reload_failing.set(1);
        log.say(
            Level::Error,
            "a changed certificate cannot be served; the one before it still is",
            &[("certificate", &self.pair.name), ("reason", &why)],
        );
        *trouble = Trouble { why, is_told: true };
    }
}

// === impl Reading ===

impl Reading {
    /// Reads a pair of files.
    ///
    /// # Errors
    /// Why they cannot be served.
    pub fn of(pair: &Pair) -> Result<Self, String> {
        let read = |path| {
            let file = Surroundings.file(path);
            file.map_err(|reason| reason.of_file(path))
        };
        let (chain, key) = (read(&pair.certificate)?, read(&pair.key)?);
        let certificate = Certificate::read(&chain.bytes, &key.bytes).map_err(|unusable| {
            let path = match unusable.is_of_certificate() {
                true => &pair.certificate,
                false => &pair.key,
            };
            format!("{} {unusable}", path.display())
        })?;
        let mut content = Sha256::new();
        content.update(u64::try_from(chain.bytes.len()).unwrap_or(0).to_be_bytes());
        content.update(&chain.bytes);
        content.update(&key.bytes);
        Ok(Self {
            certificate,
            content: content.finalize().into(),
        })
    }
}
