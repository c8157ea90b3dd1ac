//! What a configured secret may have been meant as.
//!
//! A secret is used as its raw bytes. Often these bytes are not the secret that the platform uses: a
//! newline or quotes came along from a file, or one side decodes what the other takes as it is.

use data_encoding::{
    BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE,
};

use crate::words::secret::Secret;

/// Other bytes that a secret may stand for.
#[derive(Debug)]
pub struct Reading {
    /// How they come from the secret; follows its reference, as in "env:KEY without its last newline".
    pub change: &'static str,
    /// The bytes, under the same reference.
    pub secret: Secret,
}

/// Every other reading of `secret`, the most usual first. None equals the secret itself.
pub fn readings(secret: &Secret) -> Vec<Reading> {
    let bytes = secret.expose();
    let bare = unwrapped(bytes);
    let unprefixed = bare.strip_prefix(b"whsec_");
    let candidates = [
        ("without the newline at its end", without_newline(bytes)),
        ("with a newline at its end", Some([bytes, b"\n"].concat())),
        ("with CRLF at its end", Some([bytes, b"\r\n"].concat())),
        (
            "without the white space around it",
            owned(bytes.trim_ascii()),
        ),
        ("without the quotes around it", owned(bare)),
        ("without the NAME= before it", without_name(bare)),
        (
            "without the byte order mark before it",
            stripped(bytes, b"\xef\xbb\xbf"),
        ),
        ("without its `whsec_`", unprefixed.and_then(owned)),
        (
            "without its `whsec_`, decoded from base64",
            unprefixed.and_then(from_base64),
        ),
        ("decoded from base64", from_base64(bare)),
        ("decoded from hex", HEXLOWER_PERMISSIVE.decode(bare).ok()),
        ("written as hex", Some(HEXLOWER.encode(bytes).into_bytes())),
        ("written as base64", Some(BASE64.encode(bytes).into_bytes())),
        ("in lower case", Some(bytes.to_ascii_lowercase())),
        ("in upper case", Some(bytes.to_ascii_uppercase())),
    ];
    candidates
        .into_iter()
        .filter_map(|(change, bytes)| {
            let other = Secret::new(bytes?, secret.reference().clone());
            let is_other = other.expose() != secret.expose() && !other.expose().is_empty();
            is_other.then_some(Reading {
                change,
                secret: other,
            })
        })
        .collect()
}

fn owned(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

fn stripped(bytes: &[u8], prefix: &[u8]) -> Option<Vec<u8>> {
    bytes.strip_prefix(prefix).map(<[u8]>::to_vec)
}

fn without_newline(bytes: &[u8]) -> Option<Vec<u8>> {
    let rest = bytes.strip_suffix(b"\n")?;
    owned(rest.strip_suffix(b"\r").unwrap_or(rest))
}

/// Without white space and one pair of quotes.
fn unwrapped(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii();
    match bytes {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] | [b'`', inner @ .., b'`'] => inner,
        _ => bytes,
    }
}

/// A line of an environment file instead of the value in it.
fn without_name(bytes: &[u8]) -> Option<Vec<u8>> {
    let place = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = bytes.split_at_checked(place)?;
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let value = value.strip_prefix(b"=")?;
    (!name.is_empty() && name.iter().all(is_name)).then(|| unwrapped(value).to_vec())
}

fn from_base64(bytes: &[u8]) -> Option<Vec<u8>> {
    let encodings: [Encoding; 4] = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD];
    encodings
        .iter()
        .find_map(|encoding| encoding.decode(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::secret::Reference;

    fn reading(secret: &str, change: &str) -> Option<Vec<u8>> {
        let secret = Secret::new(secret.as_bytes().to_vec(), Reference::new("env:TEST"));
        readings(&secret)
            .into_iter()
            .find(|reading| reading.change == change)
            .map(|reading| reading.secret.expose().to_vec())
    }

    #[test]
    fn undoes_what_usually_comes_along_with_a_secret() {
        for (secret, change, meant) in [
            ("key\n", "without the newline at its end", "key"),
            ("key\r\n", "without the newline at its end", "key"),
            ("key", "with a newline at its end", "key\n"),
            (" key\t", "without the white space around it", "key"),
            ("\"key\"", "without the quotes around it", "key"),
            ("'key'\n", "without the quotes around it", "key"),
            ("SECRET=\"key\"", "without the NAME= before it", "key"),
            ("whsec_a2V5", "without its `whsec_`", "a2V5"),
            (
                "whsec_a2V5",
                "without its `whsec_`, decoded from base64",
                "key",
            ),
            ("a2V5", "decoded from base64", "key"),
            ("6B6579", "decoded from hex", "key"),
            ("key", "written as hex", "6b6579"),
            ("key", "written as base64", "a2V5"),
        ] {
            assert_eq!(
                reading(secret, change).as_deref(),
                Some(meant.as_bytes()),
                "{secret:?} {change}"
            );
        }
    }

    #[test]
    fn a_reading_is_always_other_bytes() {
        let secret = Secret::new(b"plainkey".to_vec(), Reference::new("env:TEST"));
        assert!(
            readings(&secret)
                .iter()
                .all(|reading| reading.secret.expose() != b"plainkey")
        );
    }
}
