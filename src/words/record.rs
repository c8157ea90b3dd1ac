//! An event as it is kept: everything that the app is to receive of it, but the body.
//!
//! It holds nothing that must not be stored: headers come from the allow-list, the credential is not among
//! them. The stored form begins with a version, so that a later release reads what an earlier one wrote.

use std::borrow::Cow;
use std::net::IpAddr;

use hyper::Version;
use hyper::header::{HeaderName, HeaderValue};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::words::identity::Key;
use crate::words::time::Timestamp;
use crate::words::verdict::Assurance;

/// An event, ready to be made into a request for the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The provider's name.
    pub provider: Cow<'static, str>,
    /// What the ledger knows it by, and the app.
    content: [u8; Key::LEN],
    /// The method.
    pub method: Cow<'static, str>,
    /// The query, where it belongs to the message.
    pub query: String,
    /// The sender's headers that go to the app. Where they did not come out of the store they share the memory of the
    /// head that they came with.
    #[serde(with = "headers")]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The provider's name of what happened.
    pub event_type: String,
    /// `ce-type`.
    pub ce_type: String,
    time_ms: Option<i64>,
    /// `ce-subject`.
    pub subject: Option<String>,
    /// The provider's delivery id.
    pub delivery_id: Option<String>,
    /// How strong the proof was.
    pub assurance: Assurance,
    /// Who sent it.
    pub client: IpAddr,
    /// The host it was sent to.
    pub host: Option<String>,
    received_ms: i64,
    /// Whether it came over TLS. The version of the stored form says so.
    #[serde(skip)]
    pub is_secure: bool,
    /// The version of HTTP that it came by: 1.0, 1.1 or 2. The version of the stored form says so.
    #[serde(skip)]
    pub http: Version,
}

/// What a record is made of besides its public fields.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// What the ledger knows the event by.
    pub content: Key,
    /// When it happened, where it says so.
    pub time: Option<Timestamp>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// A stored record that cannot be read: damaged, or from a later release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Bytes that nearly every stored form has room in.
const STORED_BYTES_USUALLY: usize = 512;

/// The versions of the stored form. They differ in nothing but the way that the event came.
const VERSIONS: [(u8, Version, bool); 6] = [
    (1, Version::HTTP_11, false),
    (2, Version::HTTP_11, true),
    (3, Version::HTTP_10, false),
    (4, Version::HTTP_10, true),
    (5, Version::HTTP_2, false),
    (6, Version::HTTP_2, true),
];

// === impl Record ===

impl Record {
    /// A record of that provider, otherwise empty.
    pub fn new(provider: &'static str, stamp: Stamp, assurance: Assurance, client: IpAddr) -> Self {
        Self {
            provider: provider.into(),
            content: *stamp.content.as_bytes(),
            method: "".into(),
            query: String::new(),
            headers: Vec::new(),
            event_type: String::new(),
            ce_type: String::new(),
            time_ms: stamp.time.map(Timestamp::as_millis),
            subject: None,
            delivery_id: None,
            assurance,
            client,
            host: None,
            received_ms: stamp.received_at.as_millis(),
            is_secure: false,
            http: Version::HTTP_11,
        }
    }

    /// What the ledger knows it by.
    pub fn content(&self) -> Key {
        Key::from_bytes(self.content)
    }

    /// What the app knows it by.
    pub fn idempotency_key(&self) -> String {
        self.content().idempotency_key()
    }

    /// When it happened, where it says so.
    pub fn time(&self) -> Option<Timestamp> {
        self.time_ms.map(Timestamp::from_millis)
    }

    /// When it was received.
    pub fn received_at(&self) -> Timestamp {
        Timestamp::from_millis(self.received_ms)
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut stored = Vec::with_capacity(STORED_BYTES_USUALLY);
        self.encode_into(&mut stored);
        stored
    }

    /// Appends the stored form.
    pub fn encode_into(&self, stored: &mut Vec<u8>) {
        let way = VERSIONS
            .iter()
            .find(|&&(_, http, is_secure)| (http, is_secure) == (self.http, self.is_secure));
        let version = way.map_or(1, |&(version, _, _)| version);
        stored.push(version);
        // Only a sequence of unknown length could fail, and there is none.
        let _ = postcard::serialize_with_flavor(self, Stored(stored));
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Unreadable`], whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (version, rest) = bytes.split_first().ok_or(Unreadable)?;
        let &(_, http, is_secure) = VERSIONS
            .iter()
            .find(|(known, _, _)| known == version)
            .ok_or(Unreadable)?;
        let record: Self = postcard::from_bytes(rest).map_err(|_| Unreadable)?;
        Ok(Self {
            is_secure,
            http,
            ..record
        })
    }
}

/// A stored form in the making. postcard's own of a sort that takes what stands there already goes byte by byte.
struct Stored<'a>(&'a mut Vec<u8>);

impl Flavor for Stored<'_> {
    type Output = ();

    fn try_extend(&mut self, piece: &[u8]) -> postcard::Result<()> {
        match piece {
            // Every other piece is a length, and most lengths are one byte.
            [byte] => self.0.push(*byte),
            piece => self.0.extend_from_slice(piece),
        }
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Headers in the stored form: names as text, values as bytes.
mod headers {
    use std::borrow::Cow;

    use hyper::header::{HeaderName, HeaderValue};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes each value in one piece rather than byte by byte, which looks the same.
    pub fn serialize<S: Serializer>(
        headers: &[(HeaderName, HeaderValue)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        struct Value<'a>(&'a [u8]);

        impl Serialize for Value<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.0)
            }
        }

        let headers = headers.iter();
        serializer
            .collect_seq(headers.map(|(name, value)| (name.as_str(), Value(value.as_bytes()))))
    }

    /// Reads what was written. What is no header was not.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, D::Error> {
        let headers: Vec<(Cow<'de, str>, Vec<u8>)> = Vec::deserialize(deserializer)?;
        let headers = headers.into_iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(D::Error::custom)?;
            let value = HeaderValue::try_from(value).map_err(D::Error::custom)?;
            Ok((name, value))
        });
        headers.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any byte that a header's value may hold, text or not.
    fn byte_of_value() -> impl Strategy<Value = u8> {
        prop_oneof![Just(b'\t'), 32u8..127, 128u8..=255]
    }

    proptest! {
        #[test]
        fn what_is_stored_reads_back(
            query in ".{0,20}", value in proptest::collection::vec(byte_of_value(), 0..30),
            subject in proptest::option::of(".{0,20}"), time in proptest::option::of(-9_000_000_000i64..9_000_000_000),
            content in any::<[u8; 16]>(), (_, http, is_secure) in proptest::sample::select(&VERSIONS[..]),
        ) {
            let stamp = Stamp {
                content: Key::from_bytes(content),
                time: time.map(Timestamp::from_millis),
                received_at: Timestamp::from_secs(5),
            };
            let mut record = Record::new("p", stamp, Assurance::ApiKey, [1, 2, 3, 4].into());
            record.query = query;
            // As they were stored when they were kept as text and bytes.
            let headers: Vec<(&str, &[u8])> = vec![("x", &value)];
            let headers = postcard::to_stdvec(&headers).unwrap();
            record.headers.push((HeaderName::from_static("x"), HeaderValue::from_bytes(&value).unwrap()));
            record.subject = subject;
            record.is_secure = is_secure;
            record.http = http;
            let stored = record.encode();
            prop_assert_eq!(&stored[1..], postcard::to_stdvec(&record).unwrap());
            prop_assert!(stored.windows(headers.len()).any(|piece| piece == headers));
            prop_assert_eq!(Record::decode(&stored), Ok(record));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let stamp = Stamp {
            content: Key::from_bytes([0; 16]),
            time: None,
            received_at: Timestamp::from_secs(0),
        };
        let mut record = Record::new("p", stamp, Assurance::None, [0, 0, 0, 0].into());
        let header = (
            HeaderName::from_static("x-y"),
            HeaderValue::from_static("a?b"),
        );
        record.headers.push(header);
        for (good, bad) in [(b'?', b'\n'), (b'-', b' ')] {
            let stored = record.encode();
            assert!(Record::decode(&stored).is_ok());
            let broken: Vec<u8> = stored
                .into_iter()
                .map(|byte| if byte == good { bad } else { byte })
                .collect();
            assert_eq!(Record::decode(&broken), Err(Unreadable));
        }
    }

    #[test]
    fn a_later_version_is_refused() {
        let stamp = Stamp {
            content: Key::from_bytes([0; 16]),
            time: None,
            received_at: Timestamp::from_secs(0),
        };
        let mut bytes = Record::new("p", stamp, Assurance::None, [0, 0, 0, 0].into()).encode();
        bytes[0] = 7;
        assert_eq!(Record::decode(&bytes), Err(Unreadable));
    }
}
