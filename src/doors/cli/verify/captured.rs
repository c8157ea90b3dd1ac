//! A captured request in a file: request line, header lines, an empty line, and the body byte for byte.
//!
//! Line ends of the head may be CRLF or LF, since captures are saved by hand. The body is never touched.

use std::fmt;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

/// A request as it stands in the file.
#[derive(Debug)]
pub struct Captured {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The headers, doubled ones included.
    pub headers: HeaderMap,
    /// Everything after the empty line.
    pub body: Vec<u8>,
}

/// A line that is not what has to stand there. The line itself is not shown: it may be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from 1.
    pub line: usize,
    /// What belongs there.
    pub expected: &'static str,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: this line is not {}", self.line, self.expected)
    }
}

/// Reads a whole file.
///
/// # Errors
/// The first line of the head that cannot be read.
pub fn read(file: &[u8]) -> Result<Captured, Mistake> {
    let mut rest = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut line = 1;
    let first = next_line(&mut rest);
    let (method, uri) = request_line(first).ok_or(Mistake {
        line,
        expected: "a request line like `POST /webhooks/walletwerk HTTP/1.1`",
    })?;
    let mut headers = HeaderMap::new();
    while !rest.is_empty() {
        line += 1;
        let text = next_line(&mut rest);
        if text.is_empty() {
            break;
        }
        let (name, value) = header(text).ok_or(Mistake {
            line,
            expected: "a header like `Name: value` (an empty line ends the headers)",
        })?;
        headers.append(name, value);
    }
    Ok(Captured {
        method,
        uri,
        headers,
        body: rest.to_vec(),
    })
}

/// One header line. White space around the value is no part of it, as in HTTP.
pub fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let value = value.strip_prefix(b":")?.trim_ascii();
    Some((
        HeaderName::from_bytes(name).ok()?,
        HeaderValue::from_bytes(value).ok()?,
    ))
}

fn next_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (line, after) = match end.and_then(|end| rest.split_at_checked(end)) {
        Some((line, after)) => (line, after.strip_prefix(b"\n").unwrap_or(after)),
        None => (*rest, &b""[..]),
    };
    *rest = after;
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn request_line(line: &[u8]) -> Option<(Method, Uri)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let method = words.next()?.parse().ok()?;
    let uri = words.next()?.parse().ok()?;
    match (words.next(), words.next()) {
        (Some(version), None) if version.starts_with("HTTP/") => Some((method, uri)),
        (None, None) => Some((method, uri)),
        (Some(_), _) | (None, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_body_is_every_byte_after_the_empty_line() {
        for head in [
            "POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-A:  1 \r\n\r\n",
            "POST /a?b=c HTTP/1.1\nHost: x\nX-A: 1\n\n",
        ] {
            let body = b"{\r\n}\n\n\xff";
            let captured = read(&[head.as_bytes(), body].concat()).unwrap();
            assert_eq!(captured.body, body);
            assert_eq!(captured.method, Method::POST);
            assert_eq!(captured.uri.query(), Some("b=c"));
            assert_eq!(captured.headers["x-a"], "1");
        }
    }

    #[test]
    fn a_request_may_end_with_its_head() {
        for file in [
            "GET /a HTTP/1.1",
            "GET /a\nHost: x",
            "GET /a HTTP/1.1\r\nHost: x\r\n",
        ] {
            assert!(read(file.as_bytes()).unwrap().body.is_empty());
        }
    }

    #[test]
    fn says_which_line_is_wrong_and_does_not_show_it() {
        for (file, line) in [
            ("", 1),
            ("{\"event\":1}", 1),
            ("HTTP/1.1 200 OK\n\n", 1),
            ("POST /a HTTP/1.1\nHost: x\nsecret-without-colon\n\n", 3),
            ("POST /a HTTP/1.1\nHost: x\n folded: secret\n\n", 3),
        ] {
            let mistake = read(file.as_bytes()).unwrap_err();
            assert_eq!(mistake.line, line, "{file}");
            assert!(!mistake.to_string().contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&file);
        }
    }
}
