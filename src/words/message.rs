//! What arrived, unaltered: the bytes that are verified are the bytes that are forwarded.
//!
//! A [`Head`] is all that is known before the body; a [`Message`] is a head with its complete body.
//! Neither says anything about trust.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri, Version};

use crate::words::time::Timestamp;

/// A request's head as it was received.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The request target; its path is compared byte for byte and never normalised.
    pub uri: Uri,
    /// Every header as received, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// Who is calling, after trusted proxies were asked.
    pub client: IpAddr,
    /// The version of HTTP that it came by.
    pub version: Version,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// When the head was complete.
    pub received_at: Timestamp,
    /// Our own name for this request, in the log and in the answer.
    pub request_id: RequestId,
}

/// A request with its complete, raw body.
#[derive(Clone, Debug)]
pub struct Message {
    /// The head.
    pub head: Arc<Head>,
    /// The body: never decoded, never truncated.
    pub body: Bytes,
}

/// Our own name for a request: 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

/// A header that must be single was there more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

// === impl RequestId ===

impl RequestId {
    /// The digits of a number that nobody gains from guessing.
    pub fn new(number: u128) -> Self {
        let mut digits = [0; 32];
        HEXLOWER.encode_mut(&number.to_be_bytes(), &mut digits);
        Self(digits)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        // Digits are text.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

// === impl Head ===

impl Head {
    /// The raw path, without the query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The raw query, without the question mark; empty if there is none.
    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or("")
    }

    /// The value of a header that may be there once at most.
    ///
    /// # Errors
    /// [`Ambiguous`] if it is there twice: taking the first or the last of two would let two readers see
    /// different requests.
    pub fn single(&self, name: &HeaderName) -> Result<Option<&HeaderValue>, Ambiguous> {
        // As nearly always: none of them is there twice, and there is no need to look for a second value.
        if self.headers.keys_len() == self.headers.len() {
            return Ok(self.headers.get(name));
        }
        let mut values = self.headers.get_all(name).iter();
        let first = values.next();
        match values.next() {
            Some(_) => Err(Ambiguous),
            None => Ok(first),
        }
    }

    /// The value of a single header as visible ASCII; `None` where it is absent or anything else.
    pub fn text(&self, name: &HeaderName) -> Option<&str> {
        self.single(name).ok()??.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_id_is_its_number_in_32_hex_digits(number in any::<u128>()) {
            let id = RequestId::new(number);
            prop_assert_eq!(id.as_str(), format!("{number:032x}"));
        }
    }
}
