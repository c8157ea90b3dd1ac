//! Why a header's value is no HMAC-SHA256 tag, and which tag it may have been meant as.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use crate::rules::hmac::{SignatureEncoding, Tag};

/// What is wrong with a value that does not decode.
#[derive(Debug)]
pub struct Misshape {
    /// What it is instead; follows "the value". Shows lengths, never the value.
    pub problem: String,
    /// The tag that it becomes once that is undone.
    pub meant: Option<Tag>,
    /// Bytes of another length than a tag's, where it is well written.
    pub other: Option<Vec<u8>>,
}

/// Explains a `value` that `encoding` does not decode.
pub fn explain(value: &[u8], encoding: SignatureEncoding) -> Misshape {
    let value = value.trim_ascii();
    let (bare, wrapping) = unwrapped(value);
    let (prefix, digits) = unprefixed(bare);
    let meant = SignatureEncoding::Auto.decode(digits);
    if let Some(tag) = &meant {
        let problem = if !wrapping.is_empty() {
            format!("stands in {wrapping}")
        } else if let Some(prefix) = prefix {
            format!("begins with `{prefix}`, where only `sha256=` may stand")
        } else {
            format!(
                "is {}, but the route insists on {}",
                tag.shape(),
                name(encoding)
            )
        };
        return Misshape {
            problem,
            meant,
            other: None,
        };
    }
    if let Some(first) = first_of_several(bare) {
        return Misshape {
            problem: "holds several signatures; there must be one".to_owned(),
            meant: SignatureEncoding::Auto.decode(first),
            other: None,
        };
    }
    let other = decoded(digits);
    Misshape {
        problem: match prefix.filter(|prefix| !prefix.eq_ignore_ascii_case("sha256=")) {
            Some(prefix) => format!("begins with `{prefix}` and {}", described(digits)),
            None => described(digits),
        },
        meant: None,
        other,
    }
}

fn name(encoding: SignatureEncoding) -> &'static str {
    match encoding {
        SignatureEncoding::Auto => "hex or base64",
        SignatureEncoding::Hex => "hex",
        SignatureEncoding::Base64 => "base64",
    }
}

fn unwrapped(value: &[u8]) -> (&[u8], &'static str) {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => (inner, "quotes"),
        [b'<', inner @ .., b'>'] | [b'[', inner @ .., b']'] => (inner, "brackets"),
        _ => (value, ""),
    }
}

/// The algorithm or scheme before a tag: `sha1=`, `v1,`, `HMAC-SHA256 `. Only from a fixed list: whatever
/// else stands there may be a part of the credential.
fn unprefixed(value: &[u8]) -> (Option<&'static str>, &[u8]) {
    for prefix in PREFIXES {
        if let Some((before, rest)) = value.split_at_checked(prefix.len())
            && before.eq_ignore_ascii_case(prefix.as_bytes())
        {
            return (Some(prefix), rest);
        }
    }
    (None, value)
}

fn first_of_several(value: &[u8]) -> Option<&[u8]> {
    let mut parts = value.split(|byte| b", ;".contains(byte));
    let first = parts.next()?;
    parts.next()?;
    (SignatureEncoding::Auto.decode(first).is_some()).then_some(first)
}

fn decoded(digits: &[u8]) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(digits).ok().or_else(|| {
        [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
            .iter()
            .find_map(|encoding| encoding.decode(digits).ok())
    })
}

fn described(digits: &[u8]) -> String {
    let len = digits.len();
    if len == 0 {
        return "is empty".to_owned();
    }
    if digits.iter().all(u8::is_ascii_hexdigit) {
        let meaning = match len {
            32 => "; that is the length of MD5",
            40 => "; that is the length of SHA-1, and only HMAC-SHA256 is accepted",
            96 => "; that is the length of SHA-384, and only HMAC-SHA256 is accepted",
            128 => "; that is the length of SHA-512, and only HMAC-SHA256 is accepted",
            63 => "; one is missing (a number printed without its leading zero?)",
            _ if len < 64 => "; it was cut off",
            _ => "",
        };
        return format!("has {len} hex digits, where a signature has 64{meaning}");
    }
    if len == 64 {
        return "has 64 characters, but not all of them are hex digits".to_owned();
    }
    match decoded(digits) {
        Some(bytes) => match bytes.len() {
            20 => "is base64 of 20 bytes; that is the length of SHA-1, and only HMAC-SHA256 is accepted"
                .to_owned(),
            64 if bytes.iter().all(u8::is_ascii_hexdigit) => {
                "is base64 of the hex digits; write the 32 bytes in one of the two, not both".to_owned()
            }
            bytes => format!("is base64 of {bytes} bytes, where a signature has 32"),
        },
        None if digits.contains(&b'%') => {
            format!("has {len} characters, `%` among them: it looks percent-encoded")
        }
        None => format!(
            "has {len} characters and is neither 64 hex digits nor base64 of 32 bytes (43 or 44 characters)"
        ),
    }
}

const PREFIXES: [&str; 14] = [
    "sha256=",
    "sha256:",
    "sha-256=",
    "sha1=",
    "sha512=",
    "sha384=",
    "md5=",
    "hmac-sha256=",
    "hmac-sha256 ",
    "hmac ",
    "bearer ",
    "v1=",
    "v1,",
    "0x",
];

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "df64e9bd1f220fdb73fab55cd07a9a6b8a3da137f699f81d79b6fe544fe9de59";

    #[test]
    fn says_what_a_value_is_and_what_it_may_have_been() {
        for (value, problem, is_repaired) in [
            (
                HEX[..63].to_owned(),
                "has 63 hex digits, where a signature has 64; one is missing",
                false,
            ),
            (
                format!("{HEX}0"),
                "has 65 hex digits, where a signature has 64",
                false,
            ),
            (HEX[..40].to_owned(), "SHA-1", false),
            (
                format!("sha1={}", &HEX[..40]),
                "begins with `sha1=` and has 40 hex digits",
                false,
            ),
            (format!("sha1={HEX}"), "begins with `sha1=`", true),
            (format!("v1={HEX}"), "begins with `v1=`", true),
            (format!("\"{HEX}\""), "stands in quotes", true),
            (format!("{HEX},{HEX}"), "holds several signatures", true),
            (
                format!("g{}", &HEX[1..]),
                "not all of them are hex digits",
                false,
            ),
            (
                BASE64.encode(HEX.as_bytes()),
                "base64 of the hex digits",
                false,
            ),
            (String::new(), "is empty", false),
            ("hello".to_owned(), "has 5 characters and is neither", false),
        ] {
            let misshape = explain(value.as_bytes(), SignatureEncoding::Auto);
            assert!(
                misshape.problem.contains(problem),
                "{value}: {}",
                misshape.problem
            );
            assert_eq!(misshape.meant.is_some(), is_repaired, "{value}");
        }
    }

    #[test]
    fn names_the_encoding_that_the_route_insists_on() {
        let misshape = explain(HEX.as_bytes(), SignatureEncoding::Base64);
        assert_eq!(misshape.problem, "is hex, but the route insists on base64");
        assert!(misshape.meant.is_some());
    }

    #[test]
    fn never_shows_the_value() {
        let misshape = explain(b"super-secret-token", SignatureEncoding::Auto);
        assert!(!misshape.problem.contains("secret"));
    }
}
