//! What is told of certificates: where, and when one has expired.

use std::sync::Arc;

use crate::keepers::log::{Level, Log};
use crate::keepers::metrics::{CertificateMetrics, Metrics};
use crate::rules::certificate::Certificate;
use crate::words::time::Clock;

/// Where it is told.
#[derive(Clone)]
pub struct Teller {
    /// The present: what is past its time is an alarm.
    pub clock: Arc<dyn Clock>,
    /// Where it is said.
    pub log: Log,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// Whether it was told that a certificate has expired.
#[derive(Default)]
pub struct Expiry {
    is_told: bool,
}

// === impl Expiry ===

impl Expiry {
    /// Sets until when the certificate is good, and raises the alarm once when that is past.
    pub fn tell(
        &mut self,
        teller: &Teller,
        name: &str,
        certificate: &Certificate,
        metrics: &CertificateMetrics,
    ) {
        let not_after = certificate.not_after();
        metrics.not_after.set(not_after.as_secs());
        let was_told = self.is_told;
        self.is_told = teller.clock.now() > not_after;
        if self.is_told && !was_told {
            teller.log.say(
                Level::Error,
                "a certificate has expired; senders will refuse it",
                &[
                    ("certificate", &name),
                    ("not_after", &not_after.to_rfc3339()),
                ],
            );
        }
    }
}
