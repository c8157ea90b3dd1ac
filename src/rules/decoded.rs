//! What is demanded of a request's head that came decoded, over HTTP/2.
//!
//! Nothing can hide between its fields as in the bytes of HTTP/1, but what two readers may take for two things is
//! refused all the same, and within the same bounds: one authority, one length, no fields that belong to a
//! connection. The library refuses much of it already, by ending the stream; this does not rely on it. One thing
//! cannot be seen here: it cuts a fragment off a `:path`, so that `/a#b` is `/a`. The app never sees a sender's path.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Uri};

use crate::rules::framing::{
    BodyLength, Flaw, METHOD_BYTES_MAX, is_authority, is_target, read_length,
};
use crate::words::limits::HeadLimits;

/// Fields that say something of a connection, which HTTP/2 says in frames (RFC 9113, 8.2.2).
static OF_A_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Checks a head. `has_body` is whether the stream goes on behind it.
///
/// # Errors
/// The first flaw.
pub fn check(head: &Parts, has_body: bool, limits: &HeadLimits) -> Result<BodyLength, Flaw> {
    // A tunnel is never opened.
    if head.method == Method::CONNECT || head.method.as_str().len() > METHOD_BYTES_MAX {
        return Err(Flaw::RequestLine);
    }
    // HTTP/1 counts `Host` among the fields.
    if head.headers.len() + 1 > limits.fields + usize::from(head.headers.contains_key(HOST)) {
        return Err(Flaw::HeadTooLarge);
    }
    check_target(&head.uri, limits)?;
    check_authority(&head.uri, &head.headers)?;
    check_fields(&head.headers)?;
    read_body_length(&head.headers, has_body)
}

/// Writes a head as HTTP/1 would have it: the authority in `Host`, and a target without one.
pub fn as_http1(head: &mut Parts) {
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    if let Some(target) = head.uri.path_and_query() {
        head.uri = Uri::from(target.clone());
    }
}

fn check_target(uri: &Uri, limits: &HeadLimits) -> Result<(), Flaw> {
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > limits.target_bytes {
        return Err(Flaw::TargetTooLong);
    }
    let is_web = uri
        .scheme_str()
        .is_some_and(|scheme| scheme == "https" || scheme == "http");
    // In its own form a target is a path; whatever else could stand here was for a proxy.
    match is_web && is_target(target.as_bytes()) && target.starts_with('/') {
        true => Ok(()),
        false => Err(Flaw::Target),
    }
}

/// `:authority` or `Host`; if both, they are the same.
fn check_authority(uri: &Uri, headers: &HeaderMap) -> Result<(), Flaw> {
    let mut hosts = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let (host, other) = (hosts.next(), hosts.next());
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let is_one = match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        (Some(_), None) | (None, Some(_)) => true,
        (None, None) => false,
    };
    let is_well_formed = authority.or(host).is_some_and(is_authority);
    match is_one && is_well_formed && other.is_none() {
        true => Ok(()),
        false => Err(Flaw::Host),
    }
}

fn check_fields(headers: &HeaderMap) -> Result<(), Flaw> {
    let is_of_connection = OF_A_CONNECTION
        .iter()
        .any(|name| headers.contains_key(name));
    let is_te = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    // HTTP/1 takes space around a value away, so here it could only be there to be read differently.
    let is_padded = |value: &HeaderValue| value.as_bytes().trim_ascii() != value.as_bytes();
    match is_of_connection
        || !headers.get_all(TE).iter().all(is_te)
        || headers.values().any(is_padded)
    {
        true => Err(Flaw::Field),
        false => Ok(()),
    }
}

fn read_body_length(headers: &HeaderMap, has_body: bool) -> Result<BodyLength, Flaw> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => Some(read_length(length.as_bytes())?),
        (Some(_), Some(_)) => return Err(Flaw::Length),
    };
    match (length, has_body) {
        (Some(0) | None, false) => Ok(length.map_or(BodyLength::Unstated, BodyLength::Exact)),
        (Some(_), false) => Err(Flaw::Length),
        (Some(length), true) => Ok(BodyLength::Exact(length)),
        // Where it ends is for the frames to say, as it is for chunks.
        (None, true) => Ok(BodyLength::Chunked),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn plain_heads_pass_with_the_length_of_their_body() {
        for (uri, fields, has_body, expected) in [
            ("https://h/a", &[][..], false, BodyLength::Unstated),
            ("https://h/a?b=c%7Cd|e", &[], true, BodyLength::Chunked),
            (
                "https://h/a",
                &[("content-length", "5")],
                true,
                BodyLength::Exact(5),
            ),
            (
                "https://h/a",
                &[("content-length", "0")],
                false,
                BodyLength::Exact(0),
            ),
            (
                "http://h:80/",
                &[("host", "H:80")],
                false,
                BodyLength::Unstated,
            ),
            (
                "https://[::1]:8443/",
                &[("te", "Trailers")],
                false,
                BodyLength::Unstated,
            ),
        ] {
            assert_eq!(
                check(&head(uri, fields), has_body, &HeadLimits::DEFAULT),
                Ok(expected),
                "{uri}"
            );
        }
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        for (uri, fields, has_body, flaw) in [
            ("https://h/a", &[("host", "other")][..], false, Flaw::Host),
            (
                "https://h/a",
                &[("host", "h"), ("host", "h")],
                false,
                Flaw::Host,
            ),
            ("https://u@h/a", &[], false, Flaw::Host),
            ("https://u@h/a", &[("host", "u@h")], false, Flaw::Host),
            ("https://h:x1/a", &[], false, Flaw::Host),
            ("/a", &[], false, Flaw::Target),
            ("ftp://h/a", &[], false, Flaw::Target),
            ("https://h/a<b", &[], false, Flaw::Target),
            (
                "https://h/a",
                &[("connection", "close")],
                false,
                Flaw::Field,
            ),
            (
                "https://h/a",
                &[("transfer-encoding", "chunked")],
                true,
                Flaw::Field,
            ),
            ("https://h/a", &[("upgrade", "h2c")], false, Flaw::Field),
            ("https://h/a", &[("keep-alive", "5")], false, Flaw::Field),
            (
                "https://h/a",
                &[("proxy-connection", "x")],
                false,
                Flaw::Field,
            ),
            ("https://h/a", &[("te", "gzip")], false, Flaw::Field),
            ("https://h/a", &[("x", " a")], false, Flaw::Field),
            ("https://h/a", &[("x", "a\t")], false, Flaw::Field),
            (
                "https://h/a",
                &[("content-length", "5"), ("content-length", "5")],
                true,
                Flaw::Length,
            ),
            (
                "https://h/a",
                &[("content-length", "+5")],
                true,
                Flaw::Length,
            ),
            (
                "https://h/a",
                &[("content-length", "5,5")],
                true,
                Flaw::Length,
            ),
            ("https://h/a", &[("content-length", "")], true, Flaw::Length),
            (
                "https://h/a",
                &[("content-length", "5")],
                false,
                Flaw::Length,
            ),
        ] {
            // The library's own type refuses some of these before they get here.
            if uri.parse::<Uri>().is_ok() {
                let head = head(uri, fields);
                assert_eq!(
                    check(&head, has_body, &HeadLimits::DEFAULT),
                    Err(flaw),
                    "{uri} {fields:?}"
                );
            }
        }
        let mut connect = head("https://h/", &[]);
        connect.method = Method::CONNECT;
        assert_eq!(
            check(&connect, false, &HeadLimits::DEFAULT),
            Err(Flaw::RequestLine)
        );
        connect.method = Method::from_bytes(&[b'A'; METHOD_BYTES_MAX + 1]).unwrap();
        assert_eq!(
            check(&connect, false, &HeadLimits::DEFAULT),
            Err(Flaw::RequestLine)
        );
    }

    #[test]
    fn a_head_has_the_bounds_of_http_1() {
        let verdict = |fields: usize, target: usize, host: bool| {
            let uri = format!("https://h/{}", "a".repeat(target - 1));
            let mut fields = vec![("x", "y"); fields];
            if host {
                fields.push(("host", "h"));
            }
            check(&head(&uri, &fields), false, &HeadLimits::DEFAULT)
        };
        for host in [false, true] {
            assert_eq!(
                verdict(HeadLimits::DEFAULT.fields - 1, 1, host),
                Ok(BodyLength::Unstated)
            );
            assert_eq!(
                verdict(HeadLimits::DEFAULT.fields, 1, host),
                Err(Flaw::HeadTooLarge)
            );
        }
        assert_eq!(
            verdict(0, HeadLimits::DEFAULT.target_bytes, false),
            Ok(BodyLength::Unstated)
        );
        assert_eq!(
            verdict(0, HeadLimits::DEFAULT.target_bytes + 1, false),
            Err(Flaw::TargetTooLong)
        );
    }

    #[test]
    fn the_rest_sees_a_head_as_of_http_1() {
        for fields in [&[][..], &[("host", "h:1")]] {
            let mut head = head("https://h:1/a?b", fields);
            as_http1(&mut head);
            assert_eq!(head.uri, "/a?b");
            let hosts: Vec<_> = head.headers.get_all(HOST).iter().collect();
            assert_eq!(hosts, ["h:1"]);
        }
    }
}
