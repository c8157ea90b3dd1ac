//! Where a route's app takes events.
//!
//! The operator wrote it, so private and container addresses are fine. Only the link-local addresses
//! are refused where clouds hand credentials to whoever asks. A name that resolves to one of them
//! cannot be seen here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;

/// Reads an upstream. The value is never shown, for it may carry a password.
pub fn upstream(text: &str) -> Result<Uri, String> {
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "must be visible ASCII; percent-encode the rest. {ADVICE}"
        ));
    }
    if text.contains('#') {
        return Err("must not have a fragment (`#…`), which is never sent".to_owned());
    }
    let uri: Uri = text
        .parse()
        .map_err(|_| format!("is not a URL; {ADVICE}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("must begin with http:// or https://; {ADVICE}"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("must not have a user or password before the host".to_owned());
    }
    let host = uri.host().unwrap_or("");
    if host.is_empty() {
        return Err(format!("has no host; {ADVICE}"));
    }
    check_port(authority.get(host.len()..).unwrap_or(""))?;
    check_host(host)?;
    Ok(uri)
}

fn check_port(after_host: &str) -> Result<(), String> {
    let port = match after_host.strip_prefix(':') {
        Some(port) => port,
        None if after_host.is_empty() => return Ok(()),
        None => return Err(format!("is not a URL; {ADVICE}")),
    };
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err("has a port that is not a number from 1 to 65535".to_owned()),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => {
            Some(IpAddr::V6(inner.parse::<Ipv6Addr>().map_err(|_| {
                "has brackets around what is no IPv6 address".to_owned()
            })?))
        }
        None => address_of_name(host.strip_suffix('.').unwrap_or(host))?,
    };
    match address {
        Some(address) if is_link_local(address) => Err(format!(
            "leads to {address}, a link-local address where clouds keep credentials; \
             write the address of the app"
        )),
        Some(_) | None => Ok(()),
    }
}

/// Resolvers take `2852039166` and `0xa9fe.43518` for addresses; only the plain form is understood
/// here, so the others are refused instead of let through unseen.
fn address_of_name(name: &str) -> Result<Option<IpAddr>, String> {
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(Some(IpAddr::V4(address)));
    }
    let last = name.rsplit('.').next().unwrap_or("").to_ascii_lowercase();
    let is_number = |digits: &str| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    if is_number(&last) || last.starts_with("0x") {
        return Err(
            "has a host that ends in a number but is no plain IPv4 address; \
                    write four decimal numbers"
                .to_owned(),
        );
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let has_labels = name.split('.').all(|label| !label.is_empty());
    if !name.chars().all(is_allowed) || !has_labels {
        return Err(format!("has a host that is no name; {ADVICE}"));
    }
    Ok(None)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6 == METADATA_V6
                || embedded_v4(v6).is_some_and(|v4| v4.is_link_local())
        }
    }
}

/// The IPv4 address in a mapped, a compatible or a translated (`64:ff9b::/96`) one.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
const ADVICE: &str = "write a URL such as \"http://127.0.0.1:3000/webhooks\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_app_of_the_operator_can_be_an_upstream() {
        let right = [
            "http://app:3000",
            "https://app.example.com/hooks?tenant=1",
            "HTTP://app/",
            "http://localhost:1/a",
            "http://127.0.0.1:3000/webhooks",
            "http://10.0.0.1./",
            "http://[::1]:3000/",
            "http://[fd00::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://my_app.internal-2/",
            "http://a1/",
        ];
        for text in right {
            assert!(upstream(text).is_ok(), "{text}: {:?}", upstream(text));
        }
        assert_eq!(
            upstream("http://a/b?c=d")
                .unwrap()
                .path_and_query()
                .unwrap(),
            "/b?c=d"
        );
    }

    #[test]
    fn what_is_no_plain_http_url_is_refused() {
        let wrong = [
            "",
            "app",
            "/app",
            "app:3000",
            "ftp://a",
            "http://",
            "http:///a",
            "http://:80/",
            "//a/b",
            "http://user@a/",
            "http://user:password@a/",
            "http://@a/",
            "http://a/#b",
            "http://a#",
            "http://a:0/",
            "http://a:65536/",
            "http://a:/",
            "http://a:b/",
            "http://a b/",
            "http://ä/",
            "http://a/ä",
            "http://[::1/",
            "http://[a]/",
            "http://[fe80::1%25eth0]/",
            "http://a..b/",
            "http://a%41/",
            "http://a/\n",
            "*",
        ];
        for text in wrong {
            assert!(upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_refused_for_what_it_is_and_not_shown() {
        for text in ["http://user@a/", "https://user:hunter2@a:80/"] {
            let message = upstream(text).unwrap_err();
            assert_eq!(message, "must not have a user or password before the host");
        }
    }

    #[test]
    fn link_local_addresses_are_refused_in_every_spelling() {
        let wrong = [
            "http://169.254.169.254/latest",
            "http://169.254.0.1:80/",
            "http://169.254.169.254./",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://169.254.169.0xfe/",
            "http://[fe80::1]/",
            "http://[febf::1]/",
            "http://[fd00:ec2::254]/",
            "http://[FD00:0EC2:0::254]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
        ];
        for text in wrong {
            assert!(upstream(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(https?://)?\\PC{0,40}") {
            let _ = upstream(&text);
        }
    }
}
