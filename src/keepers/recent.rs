//! What happened lately and is stored nowhere: events that went straight through, and refusals with their
//! true reason.
//!
//! Both are for the operator's eyes, bounded, and gone with the process. No body, query, path or credential
//! is kept. The hot path pays one short lock.
//!
//! # Why
//! Refused events and refused junk have a ring each: anybody can send junk, and a flood of it must not push
//! out the one refusal that somebody has to look at.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::keepers::store::jobs::AttemptRecord;
use crate::words::message::RequestId;
use crate::words::outcome::Outcome;
use crate::words::record::Record;
use crate::words::time::Timestamp;

/// Entries of each ring.
pub const ENTRIES_MAX: usize = 1000;

/// Bytes of an event's headers; of an event with more none are kept.
pub const HEADER_BYTES_MAX: usize = 2048;

/// The rings.
pub struct Recent {
    passed: PassedRing,
    refused_events: Ring<Refused>,
    refused_requests: Ring<Refused>,
    /// The number of the next entry of any ring.
    next: AtomicU64,
}

/// An event that the app took at once and that is not stored.
#[derive(Debug)]
pub struct Passed {
    /// The route's name.
    pub route: Arc<str>,
    /// What is known of it; the query is left out, since with some providers it is the body.
    pub record: Box<Record>,
    /// The one attempt that was needed.
    pub attempt: AttemptRecord,
}

/// A request that was refused.
#[derive(Debug)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// Our own name for the request.
    pub request_id: RequestId,
    /// The route's name, if one was found.
    pub route: Option<Arc<str>>,
    /// How it ended.
    pub outcome: Outcome,
    /// The true reason.
    pub reason: Option<Cow<'static, str>>,
    /// The client's address.
    pub client: IpAddr,
    /// The method.
    pub method: String,
    /// What was refused, where it was authentic.
    pub event: Option<RefusedEvent>,
}

/// An authentic event that was refused.
#[derive(Debug)]
pub struct RefusedEvent {
    /// The idempotency key.
    pub id: String,
    /// The provider's name of what happened.
    pub event_type: String,
    /// The provider's delivery id.
    pub delivery_id: Option<String>,
}

/// An entry and its number; numbers ascend, and later processes' are higher.
pub type Numbered<T> = (u64, Arc<T>);

// === impl Recent ===

impl Recent {
    /// Empty rings, filled from `now` on.
    pub fn new(now: Timestamp) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self {
            passed: PassedRing::default(),
            refused_events: Ring::default(),
            refused_requests: Ring::default(),
            // A cursor may outlive the process that gave it, and must not point into newer entries.
            next: AtomicU64::new(millis.saturating_mul(1 << 10)),
        }
    }

    /// An event went straight through.
    pub fn note_passed(&self, mut passed: Passed) {
        let record = &mut passed.record;
        record.query = String::new();
        let lengths = record.headers.iter();
        let bytes: usize = lengths
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if bytes > HEADER_BYTES_MAX {
            record.headers = Vec::new();
        }
        self.passed.note(&self.next, passed);
    }

    /// A request was refused.
    pub fn note_refused(&self, refused: Refused) {
        let ring = match refused.event {
            Some(_) => &self.refused_events,
            None => &self.refused_requests,
        };
        ring.note(&self.next, refused);
    }

    /// Events that went straight through, the newest first, from below number `before`.
    pub fn passed(&self, before: u64) -> Vec<Numbered<Passed>> {
        self.passed.below(before)
    }

    /// Refusals, the newest first, from below number `before`.
    pub fn refused(&self, before: u64) -> Vec<Numbered<Refused>> {
        let mut refused = self.refused_events.below(before);
        refused.extend(self.refused_requests.below(before));
        refused.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        refused
    }
}

/// Events that went straight through, their records in the stored form and one behind the other.
///
/// # Why
/// Every event puts one in and has one taken out that nobody looked at for a thousand events. As it is, a record lies
/// in a dozen places of the heap, and each of them would have to be fetched from far away to be freed.
#[derive(Default)]
struct PassedRing(Mutex<PassedEntries>);

#[derive(Default)]
struct PassedEntries {
    entries: VecDeque<PassedEntry>,
    records: VecDeque<u8>,
    /// The last record, once more: room to make the next one in.
    last: Vec<u8>,
}

#[derive(Clone)]
struct PassedEntry {
    number: u64,
    route: Arc<str>,
    attempt: AttemptRecord,
    /// Bytes of its record.
    length: usize,
}

// === impl PassedRing ===

impl PassedRing {
    fn note(&self, next: &AtomicU64, passed: Passed) {
        let mut ring = self.ring();
        let ring = &mut *ring;
        ring.last.clear();
        passed.record.encode_into(&mut ring.last);
        ring.records.extend(&ring.last);
        ring.entries.push_back(PassedEntry {
            // Under the lock, so that numbers ascend within the ring.
            number: next.fetch_add(1, Ordering::Relaxed),
            route: passed.route,
            attempt: passed.attempt,
            length: ring.last.len(),
        });
        if ring.entries.len() > ENTRIES_MAX
            && let Some(oldest) = ring.entries.pop_front()
        {
            ring.records.drain(..oldest.length);
        }
    }

    fn below(&self, before: u64) -> Vec<Numbered<Passed>> {
        let (found, records) = {
            let ring = self.ring();
            let older = ring.entries.iter();
            let found: Vec<_> = older
                .take_while(|entry| entry.number < before)
                .cloned()
                .collect();
            // In one piece, and read only where nobody waits for the lock.
            let (first, second) = ring.records.as_slices();
            (found, [first, second].concat())
        };
        let mut records = &records[..];
        let mut passed = Vec::with_capacity(found.len());
        for entry in found {
            // Each entry's record lies behind that of the one before, in the form that it was given here.
            let (record, rest) = records.split_at(entry.length.min(records.len()));
            records = rest;
            if let Ok(record) = Record::decode(record) {
                let found = Passed {
                    route: entry.route,
                    record: Box::new(record),
                    attempt: entry.attempt,
                };
                passed.push((entry.number, Arc::new(found)));
            }
        }
        passed.reverse();
        passed
    }

    fn ring(&self) -> MutexGuard<'_, PassedEntries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ring<T>(Mutex<VecDeque<Numbered<T>>>);

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Ring<T> {
    fn note(&self, next: &AtomicU64, entry: T) {
        let entry = Arc::new(entry);
        let oldest = {
            let mut entries = self.entries();
            // Under the lock, so that numbers ascend within the ring.
            entries.push_back((next.fetch_add(1, Ordering::Relaxed), entry));
            match entries.len() > ENTRIES_MAX {
                true => entries.pop_front(),
                false => None,
            }
        };
        // Freed here, where nobody waits for the lock.
        drop(oldest);
    }

    fn below(&self, before: u64) -> Vec<Numbered<T>> {
        let entries = self.entries();
        entries
            .iter()
            .rev()
            .filter(|(number, _)| *number < before)
            .cloned()
            .collect()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Numbered<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::words::identity::Key;
    use crate::words::record::Stamp;
    use crate::words::verdict::Assurance;

    fn refused(n: usize, is_event: bool) -> Refused {
        Refused {
            at: Timestamp::from_secs(0),
            request_id: RequestId::new(n as u128),
            route: None,
            outcome: Outcome::Overloaded,
            reason: None,
            client: [127, 0, 0, 1].into(),
            method: "POST".to_owned(),
            event: is_event.then(|| RefusedEvent {
                id: String::new(),
                event_type: String::new(),
                delivery_id: None,
            }),
        }
    }

    fn passed(header_bytes: usize) -> Passed {
        let stamp = Stamp {
            content: Key::from_bytes([0; 16]),
            time: None,
            received_at: Timestamp::from_secs(0),
        };
        let mut record = Record::new("p", stamp, Assurance::Token, [127, 0, 0, 1].into());
        record.query = "CallbackToken=t".to_owned();
        let value = HeaderValue::try_from(vec![b'v'; header_bytes - 1]).unwrap();
        record.headers.push((HeaderName::from_static("x"), value));
        Passed {
            route: "r".into(),
            record: Box::new(record),
            attempt: AttemptRecord {
                number: 1,
                at: Timestamp::from_secs(0),
                status: Some(200),
                error: None,
                took: Duration::ZERO,
            },
        }
    }

    #[test]
    fn a_ring_holds_the_newest_and_no_more_than_its_bound() {
        let recent = Recent::new(Timestamp::from_secs(0));
        for n in 0..ENTRIES_MAX + 5 {
            recent.note_refused(refused(n, false));
        }
        let kept = recent.refused(u64::MAX);
        assert_eq!(kept.len(), ENTRIES_MAX);
        assert_eq!(
            kept[0].1.request_id,
            RequestId::new(ENTRIES_MAX as u128 + 4)
        );
        let oldest = &kept[ENTRIES_MAX - 1];
        assert_eq!(oldest.1.request_id, RequestId::new(5));
        assert!(recent.refused(oldest.0).is_empty());
    }

    #[test]
    fn a_flood_of_junk_does_not_push_out_a_refused_event() {
        let recent = Recent::new(Timestamp::from_secs(0));
        recent.note_refused(refused(7, true));
        for n in 0..ENTRIES_MAX * 2 {
            recent.note_refused(refused(n, false));
        }
        let last = recent.refused(u64::MAX).pop().unwrap();
        assert_eq!(last.1.request_id, RequestId::new(7));
    }

    #[test]
    fn neither_a_query_nor_large_headers_are_kept() {
        let recent = Recent::new(Timestamp::from_secs(0));
        recent.note_passed(passed(HEADER_BYTES_MAX));
        recent.note_passed(passed(HEADER_BYTES_MAX + 1));
        let kept = recent.passed(u64::MAX);
        assert!(
            kept.iter()
                .all(|(_, passed)| passed.record.query.is_empty())
        );
        assert!(kept[0].1.record.headers.is_empty());
        assert_eq!(kept[1].1.record.headers.len(), 1);
    }

    #[test]
    fn of_what_went_through_the_newest_are_kept_as_they_were_and_no_others() {
        let recent = Recent::new(Timestamp::from_secs(0));
        for n in 0..ENTRIES_MAX + 5 {
            let mut passed = passed(1 + n % 7);
            passed.record.event_type = n.to_string();
            passed.attempt.number = n as u32;
            recent.note_passed(passed);
        }
        let kept = recent.passed(u64::MAX);
        let numbers: Vec<_> = kept
            .iter()
            .map(|(_, passed)| passed.attempt.number)
            .collect();
        let newest_first: Vec<_> = (5..ENTRIES_MAX as u32 + 5).rev().collect();
        assert_eq!(numbers, newest_first);
        for (_, passed) in &kept {
            let n = passed.attempt.number;
            assert_eq!(passed.record.event_type, n.to_string());
            assert_eq!(passed.record.headers[0].1.len(), n as usize % 7);
        }
        let (third, _) = kept[2];
        assert_eq!(
            recent.passed(third)[0].1.attempt.number,
            kept[3].1.attempt.number
        );
        let ring = recent.passed.ring();
        let lengths: usize = ring.entries.iter().map(|entry| entry.length).sum();
        assert_eq!(ring.records.len(), lengths);
    }

    #[test]
    fn a_later_process_numbers_higher_than_an_earlier_one_ever_did() {
        let first = Recent::new(Timestamp::from_secs(1_000));
        for n in 0..ENTRIES_MAX {
            first.note_refused(refused(n, false));
        }
        let cursor = first.refused(u64::MAX)[0].0;
        let second = Recent::new(Timestamp::from_secs(1_001));
        second.note_refused(refused(0, false));
        assert!(second.refused(cursor).is_empty());
    }
}
