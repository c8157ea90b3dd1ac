//! Who is calling: the socket's peer, or whom a trusted proxy names.
//!
//! A sender can write any forwarding header. So only a peer on the list of trusted proxies is believed,
//! only the one configured header is read, and it is read from the right: the first address that is no
//! trusted proxy is the client. Whatever cannot be read leaves the client at the last address known.

use std::net::IpAddr;

use hyper::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::rules::config::ClientAddressFrom;

/// What a client is counted by: an IPv4 address, or the /64 that an IPv6 address lies in, since
/// whoever has one of its addresses has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(u128);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// More hops than this are not followed.
const HOPS_MAX: usize = 16;

/// The client's address.
pub fn address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    from: ClientAddressFrom,
) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    if !is_trusted(peer) {
        return peer;
    }
    let (name, read): (HeaderName, fn(&str) -> Option<IpAddr>) = match from {
        ClientAddressFrom::XForwardedFor => (X_FORWARDED_FOR, |hop| read_node(hop.trim())),
        ClientAddressFrom::Forwarded => (FORWARDED, read_forwarded),
        // It has been said before the request, and is the peer.
        ClientAddressFrom::ProxyProtocol => return peer,
    };
    let mut client = peer;
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        // A value that is no text hides nothing: the hops to its left are not reached.
        .map(|value| value.to_str().unwrap_or(""))
        .collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = read(hop) else {
            return client;
        };
        client = address;
        if !is_trusted(address) {
            return client;
        }
    }
    client
}

// === impl ClientKey ===

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // The IPv4-mapped form never meets a /64 prefix with zeroed low half, so the kinds stay apart.
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().into()),
            IpAddr::V6(v6) => Self(u128::from(v6) >> 64 << 64),
        }
    }
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239).
fn read_forwarded(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("for") {
            let value = value.trim().trim_matches('"');
            if found.replace(read_node(value)?).is_some() {
                return None;
            }
        }
    }
    found
}

/// An address with or without a port; IPv6 in brackets where there is a port.
fn read_node(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
            is_port
                .then_some(address)?
                .parse::<std::net::Ipv6Addr>()
                .ok()?
                .into()
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_digits(port) => {
                address.parse::<std::net::Ipv4Addr>().ok()?.into()
            }
            Some(_) | None => text.parse::<IpAddr>().ok()?,
        },
    };
    Some(address.to_canonical())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, from: ClientAddressFrom, values: &[&str]) -> String {
        let name = match from {
            ClientAddressFrom::XForwardedFor => X_FORWARDED_FOR,
            ClientAddressFrom::Forwarded | ClientAddressFrom::ProxyProtocol => FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        address(peer.parse().unwrap(), &headers, &trusted, from).to_string()
    }

    #[test]
    fn only_a_trusted_peer_is_believed_and_only_up_to_the_first_stranger() {
        use ClientAddressFrom::XForwardedFor as Xff;
        for (peer, values, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["1.1.1.1, 198.51.100.1, 10.0.0.2"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["rubbish"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, rubbish, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, Xff, values), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_the_standard_writes_it() {
        use ClientAddressFrom::Forwarded;
        for (values, expected) in [
            (&["for=198.51.100.1"][..], "198.51.100.1"),
            (
                &["For=\"198.51.100.1:47\";proto=https;by=10.0.0.1"],
                "198.51.100.1",
            ),
            (&["for=\"[2001:db8::1]:47\""], "2001:db8::1"),
            (&["for=1.1.1.1, for=198.51.100.1"], "198.51.100.1"),
            (&["for=_hidden"], "10.0.0.1"),
            (&["for=1.1.1.1;for=2.2.2.2"], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
        ] {
            assert_eq!(
                client("10.0.0.1", Forwarded, values),
                expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn an_ipv6_client_is_counted_by_its_64() {
        let key = |text: &str| ClientKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    proptest! {
        #[test]
        fn any_header_leaves_some_client(value in "[ -~]{0,200}") {
            let _ = client("10.0.0.1", ClientAddressFrom::XForwardedFor, &[&value]);
            let _ = client("10.0.0.1", ClientAddressFrom::Forwarded, &[&value]);
        }
    }
}
