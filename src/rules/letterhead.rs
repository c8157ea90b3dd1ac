//! What all requests of a route to its app have in common, composed when the configuration is read.

use std::borrow::Cow;
use std::fmt::Write;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;

/// What stands on every request of one route.
#[derive(Debug)]
pub struct Letterhead {
    /// The upstream's path and query, which is what a server is asked for (RFC 9112, 3.2.1).
    pub target: Box<str>,
    /// `Host`: the upstream without user, and without a port that its scheme implies (RFC 9110, 7.2).
    pub host: Option<HeaderValue>,
    /// `ce-source`: the provider's name and the route's.
    pub source: String,
}

// === impl Letterhead ===

impl Letterhead {
    /// That of `route` from `provider` to `upstream`.
    pub fn new(upstream: &Uri, provider: &str, route: &str) -> Self {
        let target = upstream.path_and_query().cloned();
        let target = target.unwrap_or(PathAndQuery::from_static("/"));
        Self {
            target: target.to_string().into(),
            host: host(upstream).and_then(|host| HeaderValue::from_str(host).ok()),
            source: source(provider, route),
        }
    }
}

/// `ce-source` of the events of `provider` on `route`.
pub fn source(provider: &str, route: &str) -> String {
    format!(
        "/{}/{}",
        encode_attribute(provider),
        encode_attribute(route)
    )
}

/// Percent-encoding as the CloudEvents HTTP binding has it (3.1.3.2): space, double quote, percent and
/// all that is not printable ASCII.
pub fn encode_attribute(text: &str) -> Cow<'_, str> {
    // Nearly all are plain to the end, and looking at every byte takes fewer instructions than stopping at the first.
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match is_plain(byte) {
            true => encoded.push(char::from(byte)),
            false => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    Cow::Owned(encoded)
}

fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'"' | b'%' | ..=b' ' | 0x7f..)
}

fn host(upstream: &Uri) -> Option<&str> {
    let authority = upstream.authority()?;
    let implied = match upstream.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    Some(match authority.port_u16() {
        Some(port) if port != implied => {
            let user_and_host = authority.as_str().rsplit_once('@');
            user_and_host.map_or(authority.as_str(), |(_, host)| host)
        }
        Some(_) | None => authority.host(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_encoded_as_the_binding_says() {
        assert_eq!(encode_attribute("card_abc123"), "card_abc123");
        assert_eq!(
            encode_attribute("Euro € \u{1F600} 100%\"\n"),
            "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25%22%0A"
        );
    }

    #[test]
    fn the_app_reads_its_own_name_without_user_and_implied_port() {
        for (upstream, expected) in [
            ("http://app/hooks", "app"),
            ("http://app:80/hooks", "app"),
            ("http://app:443/", "app:443"),
            ("https://app:443/", "app"),
            ("https://u:p@app:8443/", "app:8443"),
            ("http://u@app/", "app"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("http://[::1]/", "[::1]"),
        ] {
            let upstream = Uri::from_static(upstream);
            assert_eq!(host(&upstream), Some(expected), "{upstream}");
        }
    }

    proptest! {
        #[test]
        fn every_encoded_attribute_is_a_header_value_and_decodes_back(text in ".{0,60}") {
            let encoded = encode_attribute(&text);
            prop_assert!(HeaderValue::from_str(&encoded).is_ok());
            let decoded: Vec<u8> = form_urlencoded::parse(encoded.replace('+', "%2B").replace('&', "%26").replace('=', "%3D").as_bytes())
                .next().map(|(name, _)| name.into_owned().into_bytes()).unwrap_or_default();
            prop_assert_eq!(decoded, text.into_bytes());
        }
    }
}
