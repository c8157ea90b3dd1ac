//! A certificate by ACME: ordered when there is none, renewed in time, kept over restarts.
//!
//! Nothing here stops the listener. An order that fails is an alarm and is tried again, after pauses that double up
//! to six hours; what was served before is served on.

mod cache;
mod client;
mod order;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{AuthorizationStatus, OrderStatus, Problem};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::doors::server::tls::acme::cache::Cache;
use crate::doors::server::tls::acme::order::order;
use crate::doors::server::tls::certificates::Certificates;
use crate::doors::server::tls::telling::{Expiry, Teller};
use crate::keepers::log::Level;
use crate::keepers::metrics::CertificateMetrics;
use crate::rules::certificate::{Certificate, Unusable};
use crate::rules::config::acme::Acme;
use crate::rules::renewal;
use crate::words::limits::Limits;
use crate::words::time::Clock;

/// Keeps the certificate of a configuration.
pub struct Renewal {
    config: Acme,
    cache: Cache,
    certificates: Arc<Certificates>,
    served: Option<Certificate>,
    /// When it was ordered, by the clock that does not jump; `None` for one that was kept.
    ordered: Option<Duration>,
    /// Orders that failed since the last that did not.
    failures: u32,
}

/// Why there is no certificate.
#[derive(Debug)]
pub enum AcmeError {
    /// The authority said no, or could not be talked to.
    Authority(instant_acme::Error),
    /// An authorization was not open: whose, and what it was.
    Authorization(String, AuthorizationStatus),
    /// The authority has no challenge by TLS for this domain.
    NoChallenge(String),
    /// The authority was not content, and did not say why: what became of the order.
    NotReady(OrderStatus),
    /// The certificate that answers a challenge cannot be made.
    Generation(rcgen::Error),
    /// The same, of its key.
    Answer(rustls::Error),
    /// What the authority gave cannot be served.
    Unusable(Unusable),
    /// The cache cannot be written.
    Cache(io::Error),
    /// The configured roots cannot be used.
    Roots(PathBuf, String),
    /// The system's roots cannot be used.
    SystemRoots(String),
    /// It was not done in time.
    TooSlow,
}

/// A whole order takes no longer than this.
const ORDER_TIME: Duration = Duration::from_secs(10 * 60);

// === impl Renewal ===

impl Renewal {
    /// Serves what was kept, if anything was.
    pub fn new(config: Acme, certificates: Arc<Certificates>) -> Self {
        let cache = Cache::new(&config);
        let served = cache.certificate();
        if let Some(served) = &served {
            certificates.serve_acme(served.clone());
        }
        Self {
            config,
            cache,
            certificates,
            served,
            ordered: None,
            failures: 0,
        }
    }

    /// Orders and renews until told to stop.
    pub async fn run(mut self, teller: Teller, limits: Limits, mut stop: watch::Receiver<bool>) {
        let name = self.config.domains.first().cloned().unwrap_or_default();
        let metrics = teller.metrics.certificate(&name);
        let mut expiry = Expiry::default();
        let mut chance = fastrand::f64();
        loop {
            if let Some(served) = &self.served {
                expiry.tell(&teller, &name, served, &metrics);
            }
            let pause = match (self.failures, self.is_due(&*teller.clock, chance)) {
                (0, true) => Duration::ZERO,
                // The wall clock is asked again and again, since it may jump.
                (0, false) => limits.certificate_poll,
                (failures, _) => renewal::pause(limits.acme_pause, failures, fastrand::f64()),
            };
            let is_time = self.failures > 0 || pause.is_zero();
            let next = async {
                tokio::time::sleep(pause).await;
                match is_time {
                    true => Some(self.attempt().await),
                    false => None,
                }
            };
            let attempted = tokio::select! {
                attempted = next => attempted,
                _ = stop.changed() => return,
            };
            if let Some(attempted) = attempted {
                self.conclude(attempted, &name, &teller, &metrics);
                chance = fastrand::f64();
            }
        }
    }

    fn is_due(&self, clock: &dyn Clock, chance: f64) -> bool {
        let Some(served) = &self.served else {
            return true;
        };
        let is_rested = self
            .ordered
            .is_none_or(|ordered| clock.elapsed().saturating_sub(ordered) >= renewal::rest(served));
        is_rested && clock.now() >= renewal::due(served, chance)
    }

    async fn attempt(&self) -> Result<(Certificate, Result<(), AcmeError>), AcmeError> {
        let ordering = order(&self.config, &self.cache, &self.certificates);
        let ordered = tokio::time::timeout(ORDER_TIME, ordering).await;
        self.certificates.answer_challenges(HashMap::new());
        let pem = ordered.unwrap_or(Err(AcmeError::TooSlow))?;
        let certificate =
            Certificate::read(pem.as_bytes(), pem.as_bytes()).map_err(AcmeError::Unusable)?;
        let cache = self.cache.clone();
        let keeping = spawn_blocking(move || cache.keep_certificate(&pem)).await;
        let kept = keeping.unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok((certificate, kept.map_err(AcmeError::Cache)))
    }

    fn conclude(
        &mut self,
        attempted: Result<(Certificate, Result<(), AcmeError>), AcmeError>,
        name: &str,
        teller: &Teller,
        metrics: &CertificateMetrics,
    ) {
        let (certificate, kept) = match attempted {
            Ok(issued) => issued,
            Err(error) => {
                if error.is_of_account() {
                    self.cache.forget_account();
                }
                self.failures += 1;
                metrics.reload_errors.inc();
                metrics.reload_failing.set(1);
                teller.log.say(
                    Level::Error,
                    "a certificate could not be had by ACME; it will be tried again",
                    &[("certificate", &name), ("reason", &error)],
                );
                return;
            }
        };
        self.certificates.serve_acme(certificate.clone());
        self.failures = 0;
        metrics.reload_failing.set(0);
        let not_after = certificate.not_after().to_rfc3339();
        teller.log.say(
            Level::Info,
            "a new certificate is served, had by ACME",
            &[("certificate", &name), ("not_after", &not_after)],
        );
        if let Err(error) = kept {
            metrics.reload_errors.inc();
            teller.log.say(
                Level::Error,
                "a certificate could not be kept; a restart will ask for another",
                &[("certificate", &name), ("reason", &error)],
            );
        }
        self.served = Some(certificate);
        self.ordered = Some(teller.clock.elapsed());
    }
}

// === impl AcmeError ===

impl AcmeError {
    /// Whether the authority does not know our account: it forgot, or was made anew.
    fn is_of_account(&self) -> bool {
        let Self::Authority(instant_acme::Error::Api(Problem { r#type, .. })) = self else {
            return false;
        };
        r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
    }
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        Self::Authority(error)
    }
}

impl From<rcgen::Error> for AcmeError {
    fn from(error: rcgen::Error) -> Self {
        Self::Generation(error)
    }
}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(error) => {
                write!(f, "{error}")?;
                let mut error: &dyn Error = error;
                // Those around it only say "client error".
                while let Some(source) = error.source() {
                    write!(f, ": {source}")?;
                    error = source;
                }
                Ok(())
            }
            Self::Authorization(domain, status) => {
                write!(f, "the authorization of {domain} is {status:?}")
            }
            Self::NoChallenge(domain) => {
                write!(
                    f,
                    "the authority has no challenge by TLS (tls-alpn-01) for {domain}"
                )
            }
            Self::NotReady(status) => write!(f, "the order is {status:?}"),
            Self::Generation(error) => write!(f, "a certificate cannot be made: {error}"),
            Self::Answer(error) => write!(f, "a challenge cannot be answered: {error}"),
            Self::Unusable(unusable) => write!(f, "what the authority gave {unusable}"),
            Self::Cache(error) => write!(f, "the cache cannot be written: {error}"),
            Self::Roots(path, error) => write!(f, "{} cannot be used: {error}", path.display()),
            Self::SystemRoots(error) => {
                write!(f, "the system's certificates cannot be used: {error}")
            }
            Self::TooSlow => write!(f, "it was not done within {} s", ORDER_TIME.as_secs()),
        }
    }
}

impl Error for AcmeError {}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;

    use crate::words::time::Timestamp;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Wall time and monotonic time.
    struct At(Timestamp, Duration);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }

        fn elapsed(&self) -> Duration {
            self.1
        }
    }

    /// A renewal whose certificate of ninety days was ordered at the start, or kept from before.
    fn renewal(folder: &std::path::Path, ordered: Option<Duration>) -> Renewal {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let served = Certificate::read(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let config = Acme {
            domains: vec!["a.example".to_owned()],
            contact: Vec::new(),
            directory: String::new(),
            cache: folder.to_owned(),
            roots: None,
        };
        Renewal {
            served: Some(served),
            ordered,
            ..Renewal::new(config, Arc::default())
        }
    }

    #[test]
    fn it_is_renewed_in_time_and_not_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let from = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let kept = renewal(folder.path(), None);
        let ordered = renewal(folder.path(), Some(DAY));
        for (day, elapsed, kept_is_due, ordered_is_due) in [
            (0, 1, false, false),
            (59, 59, false, false),
            (60, 60, true, true),
            // The wall clock jumped: once may be right, but not again and again.
            (1000, 2, true, false),
            (1000, 30, true, false),
            (1000, 31, true, true),
        ] {
            let clock = At(from.after(DAY * day), DAY * elapsed);
            assert_eq!(kept.is_due(&clock, 0.0), kept_is_due, "{day} {elapsed}");
            assert_eq!(
                ordered.is_due(&clock, 0.0),
                ordered_is_due,
                "{day} {elapsed}"
            );
        }
        // Up to a thirtieth of its time earlier.
        let clock = At(from.after(DAY * 57), DAY * 57);
        assert!(kept.is_due(&clock, 1.0) && !kept.is_due(&clock, 0.9));
        let nothing = Renewal {
            served: None,
            ..renewal(folder.path(), None)
        };
        assert!(nothing.is_due(&clock, 0.0));
    }
}
