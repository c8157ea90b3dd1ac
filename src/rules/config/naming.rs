//! A route's name, path and host.
//!
//! All three are compared byte for byte later, so what a proxy or a sender might write in another way is
//! refused here rather than guessed at.

use std::net::Ipv6Addr;

/// A name becomes a metric label, a log field and a part of the default path.
pub fn name(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if text.is_empty() || text.len() > NAME_LONGEST || !text.chars().all(is_allowed) {
        return Err(format!(
            "is not a name; write 1 to {NAME_LONGEST} of a-z, 0-9, `_` and `-`"
        ));
    }
    Ok(text.to_owned())
}

/// The exact path of a route.
pub fn path(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err("must begin with `/`".to_owned());
    };
    if let Some(strange) = rest.chars().find(|c| !is_path_character(*c)) {
        return Err(match strange {
            '?' => "must not have a query; the query plays no part in finding the route".to_owned(),
            '#' => "must not have a fragment; senders never send one".to_owned(),
            '%' => {
                "must not be percent-encoded; it is compared byte for byte, and proxies differ in \
                    how they encode"
                    .to_owned()
            }
            _ => {
                format!("must not hold {strange:?}; write letters, digits and `-._~!$&'()*+,;=:@/`")
            }
        });
    }
    if rest
        .split('/')
        .any(|segment| segment == "." || segment == "..")
    {
        return Err("must not have a segment `.` or `..`; proxies resolve them".to_owned());
    }
    if rest.contains("//") || rest.starts_with('/') {
        return Err("must not have an empty segment; proxies fold `//` into `/`".to_owned());
    }
    if text.len() > PATH_LONGEST {
        return Err(format!("is longer than {PATH_LONGEST} characters"));
    }
    Ok(text.to_owned())
}

/// A host without its port, in lower case.
pub fn host(text: &str) -> Result<String, String> {
    let host = text.to_ascii_lowercase();
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let address = inner.parse::<Ipv6Addr>();
        return address
            .map(|_| host.clone())
            .map_err(|_| "is not an IPv6 address in brackets".to_owned());
    }
    if host.contains(':') {
        return Err("must be without a port; write \"hooks.example.com\"".to_owned());
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(is_allowed);
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err("is not a host; write one name such as \"hooks.example.com\"".to_owned());
    }
    Ok(host)
}

/// What RFC 3986 lets a path hold without encoding.
fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c)
}

const NAME_LONGEST: usize = 64;
/// Far above any real path, and far below what a request's head may hold.
const PATH_LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_a_metric_label() {
        for right in ["a", "walletwerk-2", "_x", "0", &"a".repeat(64)] {
            assert!(name(right).is_ok(), "{right}");
        }
        for wrong in ["", "A", "a b", "a.b", "a/b", "ä", "a\n", &"a".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        for right in [
            "/",
            "/a",
            "/a/b-c.d_e~f/",
            "/a:b@c;d=e",
            "/.well-known/x",
            "/...",
        ] {
            assert_eq!(path(right).as_deref(), Ok(right));
        }
        let wrong = [
            "",
            "a",
            "http://a/b",
            "/a?b",
            "/a#b",
            "/a%20b",
            "/a b",
            "/ä",
            "/a\\b",
            "/a\tb",
            "//",
            "//a",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/../b",
            "/a\"b",
            "/{a}",
        ];
        for wrong in wrong {
            assert!(path(wrong).is_err(), "{wrong}");
        }
        assert!(path(&format!("/{}", "a".repeat(1024))).is_err());
    }

    #[test]
    fn a_host_is_kept_in_lower_case_and_without_a_port() {
        let right = [
            ("Hooks.Example.COM", "hooks.example.com"),
            ("localhost", "localhost"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("[FD00::A]", "[fd00::a]"),
        ];
        for (text, expected) in right {
            assert_eq!(host(text).as_deref(), Ok(expected));
        }
        for wrong in [
            "",
            "a:80",
            "::1",
            "[::1]:80",
            "[a]",
            "a..b",
            "a.",
            ".a",
            "a b",
            "ä.de",
            "*.a",
            "http://a",
            "a/b",
            "a,b",
            &"a".repeat(64),
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
