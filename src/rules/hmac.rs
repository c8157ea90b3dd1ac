//! HMAC-SHA256 with one of several secrets, and the ways a tag is written in a header.
//!
//! The key schedule of each secret is computed once, at load. Every secret is always tried and compared
//! in constant time. A tag is 32 bytes or none: truncated tags are not accepted, whoever marks them valid.

use std::fmt;

use data_encoding::{
    BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::words::secret::{Reference, Secret};

/// Bytes of a tag.
pub const TAG_LEN: usize = 32;

/// Bytes that a decoder may ask for before it has looked at the padding.
const DECODED_MAX: usize = 33;

/// A keyed HMAC-SHA256, ready to be cloned for each message.
#[derive(Clone)]
pub struct Signer {
    mac: Hmac<Sha256>,
    reference: Reference,
}

/// The signature encodings that a route can insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// Whatever it looks like. The shapes cannot be confused, so this costs no security.
    Auto,
    /// 64 hex digits in either case.
    Hex,
    /// Base64 or base64url, with or without padding.
    Base64,
}

/// A decoded tag, and how it was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    bytes: [u8; TAG_LEN],
    shape: &'static str,
}

// === impl Signer ===

impl Signer {
    /// Keys an HMAC with the raw bytes of `secret`, of whatever length.
    pub fn new(secret: &Secret) -> Self {
        Self {
            mac: Hmac::new_from_slice(secret.expose()).expect("HMAC takes a key of any length"),
            reference: secret.reference().clone(),
        }
    }

    /// Where the secret came from.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The tag of the concatenated `parts`.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; TAG_LEN] {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The signer among `signers` whose tag of `parts` is `tag`; all are always tried.
    pub fn find<'a>(signers: &'a [Self], parts: &[&[u8]], tag: &Tag) -> Option<&'a Self> {
        let mut matched = None;
        for signer in signers {
            if bool::from(signer.sign(parts).ct_eq(&tag.bytes)) && matched.is_none() {
                matched = Some(signer);
            }
        }
        matched
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, [redacted])", self.reference)
    }
}

// === impl SignatureEncoding ===

impl SignatureEncoding {
    /// The words in the configuration.
    pub const CHOICES: [(&'static str, Self); 3] = [
        ("auto", Self::Auto),
        ("hex", Self::Hex),
        ("base64", Self::Base64),
    ];

    /// Decodes a header's value; `sha256=` before the tag is optional in every encoding.
    pub fn decode(self, value: &[u8]) -> Option<Tag> {
        const PREFIX: &[u8] = b"sha256=";
        let value = value.trim_ascii();
        let value = match value.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            Some(_) | None => value,
        };
        let allowed = |shape: &Shape| match self {
            Self::Auto => true,
            Self::Hex => shape.name == "hex",
            Self::Base64 => shape.name != "hex",
        };
        SHAPES
            .iter()
            .filter(|shape| allowed(shape) && shape.len == value.len())
            .find_map(|shape| {
                let encoding = (shape.encoding)();
                let mut room = [0; DECODED_MAX];
                let room = room.get_mut(..encoding.decode_len(value.len()).ok()?)?;
                let length = encoding.decode_mut(value, room).ok()?;
                Some(Tag {
                    bytes: room.get(..length)?.try_into().ok()?,
                    shape: shape.name,
                })
            })
    }
}

// === impl Tag ===

impl Tag {
    /// How the tag was written.
    pub fn shape(&self) -> &'static str {
        self.shape
    }

    /// The decoded bytes. A tag is no secret once it has been sent, but it is not logged either.
    pub fn as_bytes(&self) -> &[u8; TAG_LEN] {
        &self.bytes
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({}, [redacted])", self.shape)
    }
}

/// The tag as lower-case hex, the most usual spelling.
pub fn to_hex(tag: &[u8; TAG_LEN]) -> String {
    HEXLOWER.encode(tag)
}

struct Shape {
    name: &'static str,
    len: usize,
    encoding: fn() -> Encoding,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "hex",
        len: 64,
        encoding: || HEXLOWER_PERMISSIVE,
    },
    Shape {
        name: "base64",
        len: 44,
        encoding: || BASE64,
    },
    Shape {
        name: "base64",
        len: 43,
        encoding: || BASE64_NOPAD,
    },
    Shape {
        name: "base64url",
        len: 44,
        encoding: || BASE64URL,
    },
    Shape {
        name: "base64url",
        len: 43,
        encoding: || BASE64URL_NOPAD,
    },
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(key: &[u8]) -> Signer {
        Signer::new(&Secret::new(key.to_vec(), Reference::new("env:TEST")))
    }

    /// RFC 4231, the cases with untruncated tags.
    #[test]
    fn agrees_with_rfc_4231() {
        let counting: Vec<u8> = (1..=25).collect();
        let larger = b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.";
        let cases: [(&[u8], &[u8], &str); 6] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &counting,
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                larger,
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, tag) in cases {
            assert_eq!(to_hex(&signer(key).sign(&[data])), tag);
        }
    }

    /// Wycheproof marks truncated tags valid; here only whole ones are.
    #[test]
    fn agrees_with_wycheproof_on_whole_tags_and_refuses_truncated_ones() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
        let mut tried = 0;
        for group in set.test_groups {
            for test in group.tests {
                let wanted = group.tag_size == 256 && !test.result.must_fail();
                let accepted = SignatureEncoding::Hex
                    .decode(HEXLOWER.encode(&test.tag).as_bytes())
                    .is_some_and(|tag| {
                        Signer::find(&[signer(&test.key)], &[&test.msg], &tag).is_some()
                    });
                assert_eq!(accepted, wanted, "test {}", test.tc_id);
                tried += 1;
            }
        }
        assert_eq!(tried, 174);
    }

    #[test]
    fn the_message_may_come_in_parts() {
        assert_eq!(
            signer(b"k").sign(&[b"ab", b"", b"c"]),
            signer(b"k").sign(&[b"abc"])
        );
    }

    /// The test vector C of the sample bodies, in every accepted spelling.
    const TAG_HEX: &str = "df64e9bd1f220fdb73fab55cd07a9a6b8a3da137f699f81d79b6fe544fe9de59";
    const TAG_BASE64: &str = "32TpvR8iD9tz+rVc0Hqaa4o9oTf2mfgdebb+VE/p3lk=";

    #[test]
    fn accepts_every_documented_spelling() {
        for (value, shape) in [
            (TAG_HEX.to_owned(), "hex"),
            (TAG_HEX.to_uppercase(), "hex"),
            (format!("sha256={TAG_HEX}"), "hex"),
            (format!("SHA256={TAG_HEX}"), "hex"),
            (format!(" \t{TAG_HEX} "), "hex"),
            (TAG_BASE64.to_owned(), "base64"),
            (TAG_BASE64.trim_end_matches('=').to_owned(), "base64"),
            (
                "32TpvR8iD9tz-rVc0Hqaa4o9oTf2mfgdebb-VE_p3lk".to_owned(),
                "base64url",
            ),
            (
                "32TpvR8iD9tz-rVc0Hqaa4o9oTf2mfgdebb-VE_p3lk=".to_owned(),
                "base64url",
            ),
            (format!("sha256={TAG_BASE64}"), "base64"),
        ] {
            let tag = SignatureEncoding::Auto.decode(value.as_bytes()).unwrap();
            assert_eq!(to_hex(tag.as_bytes()), TAG_HEX, "{value}");
            assert_eq!(tag.shape(), shape, "{value}");
        }
    }

    #[test]
    fn refuses_every_other_spelling() {
        let hex = TAG_HEX;
        for value in [
            String::new(),
            hex[..63].to_owned(),
            format!("{hex}0"),
            format!("g{}", &hex[1..]),
            TAG_BASE64[..42].to_owned(),
            format!("{TAG_BASE64}="),
            format!("sha1={hex}"),
            format!("sha256=sha256={hex}"),
            format!("{hex},{hex}"),
            format!("\"{hex}\""),
            "32TpvR8iD9tz-rVc0Hqaa4o9oTf2mfgdebb+VE/p3lk=".to_owned(),
            "é".repeat(32),
            "0".repeat(1_000_000),
        ] {
            assert_eq!(
                SignatureEncoding::Auto.decode(value.as_bytes()),
                None,
                "{value:.100}"
            );
        }
    }

    #[test]
    fn a_pinned_encoding_refuses_the_other() {
        assert!(
            SignatureEncoding::Hex
                .decode(TAG_BASE64.as_bytes())
                .is_none()
        );
        assert!(
            SignatureEncoding::Base64
                .decode(TAG_HEX.as_bytes())
                .is_none()
        );
        assert!(SignatureEncoding::Hex.decode(TAG_HEX.as_bytes()).is_some());
        assert!(
            SignatureEncoding::Base64
                .decode(TAG_BASE64.as_bytes())
                .is_some()
        );
    }

    proptest! {
        #[test]
        fn any_value_is_decoded_or_refused(value in proptest::collection::vec(any::<u8>(), 0..90)) {
            let _ = SignatureEncoding::Auto.decode(&value);
        }

        #[test]
        fn every_tag_reads_back_from_every_spelling(bytes in any::<[u8; 32]>()) {
            for shape in &SHAPES {
                let tag = SignatureEncoding::Auto.decode((shape.encoding)().encode(&bytes).as_bytes());
                prop_assert_eq!(tag.map(|tag| tag.bytes), Some(bytes));
            }
        }
    }
}
