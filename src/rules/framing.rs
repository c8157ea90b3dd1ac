//! What is demanded of a request's head before any HTTP parser sees it.
//!
//! Two parsers that read one byte stream differently are a way around every check behind them. So a head
//! is only let through if there is nothing in it that parsers differ about: one length or one chunked
//! coding, one host, line ends as written in the standard (RFC 9112), no folding, no control characters.
//! This is no second parser: it gives nothing but the length of the body and the first flaw.

use hyper::Uri;
use memchr::{memchr, memchr_iter};

use crate::words::limits::HeadLimits;
use crate::words::outcome::Malformed;

/// Bytes of a method; longer ones than any that is registered are refused.
pub const METHOD_BYTES_MAX: usize = 32;

/// How much body follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither a length nor a transfer coding: none.
    Unstated,
    /// `Content-Length`.
    Exact(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The request line is not `METHOD target HTTP/1.x`.
    RequestLine,
    /// The target is longer than its limit.
    TargetTooLong,
    /// The target holds what no target may, or names an authority with user info.
    Target,
    /// The target's authority is not the one in `Host`.
    Misdirected,
    /// `Host` is no name of the certificate that the sender was shown.
    OtherHost,
    /// A line ends in a bare LF, is folded, has no colon, an ill-formed name or control characters.
    Field,
    /// More fields or more bytes than the limits say.
    HeadTooLarge,
    /// `Host` is missing, doubled or ill-formed.
    Host,
    /// The body's length is stated twice, in two ways, or not as a number.
    Length,
    /// A transfer coding other than `chunked`, doubled, or in HTTP/1.0.
    TransferCoding,
    /// The head did not arrive in time.
    TooSlow,
}

/// Where the head in `bytes` ends, the final empty line included; `None` while it is incomplete.
///
/// # Errors
/// [`Flaw::Field`] at the first line that does not end in CRLF; size flaws as soon as they are certain.
pub fn head_end(bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Flaw> {
    let mut line_start = 0;
    for line_feed in memchr_iter(b'\n', bytes) {
        let line = &bytes[line_start..line_feed];
        if line.last() != Some(&b'\r') {
            return Err(Flaw::Field);
        }
        line_start = line_feed + 1;
        if line.len() == 1 {
            return match line_start > limits.bytes {
                true => Err(Flaw::HeadTooLarge),
                false => Ok(Some(line_start)),
            };
        }
    }
    if line_start == 0 && bytes.len() > limits.target_bytes + LONGEST_AROUND_TARGET {
        return Err(Flaw::TargetTooLong);
    }
    match bytes.len() >= limits.bytes {
        true => Err(Flaw::HeadTooLarge),
        false => Ok(None),
    }
}

/// Checks a complete head, as [`head_end`] cut it.
///
/// # Errors
/// The first flaw; control characters in a field before any other of the fields.
///
/// # Why
/// Looked at one by one, the bytes of heads were a twentieth of what a request costs. So control characters are
/// counted in the whole head at once, many bytes at a time: each line ends in two, and there may be no others.
pub fn check(head: &[u8], limits: &HeadLimits) -> Result<BodyLength, Flaw> {
    let mut lines = Lines(head);
    let request_line = RequestLine::read(lines.next().ok_or(Flaw::RequestLine)??, limits)?;
    if controls(head) != 2 * memchr_iter(b'\n', head).count() {
        return Err(Flaw::Field);
    }
    let mut host = None;
    let mut length = None;
    let mut is_chunked = false;
    let mut fields = 0;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > limits.fields {
            return Err(Flaw::HeadTooLarge);
        }
        let (name, value) = read_field(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if host.replace(value).is_some() {
                return Err(Flaw::Host);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(read_length(value)?).is_some() {
                return Err(Flaw::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Flaw::TransferCoding);
            }
            is_chunked = true;
        }
    }
    request_line.check_host(host)?;
    match (length, is_chunked) {
        (None, false) => Ok(BodyLength::Unstated),
        (Some(length), false) => Ok(BodyLength::Exact(length)),
        (None, true) if request_line.is_http_1_1 => Ok(BodyLength::Chunked),
        (None, true) => Err(Flaw::TransferCoding),
        (Some(_), true) => Err(Flaw::Length),
    }
}

/// Method and target of a head, however flawed the rest is, if an HTTP parser takes them.
pub fn method_and_target<'a>(head: &'a [u8], limits: &HeadLimits) -> Option<(&'a str, &'a str)> {
    let line = RequestLine::read(Lines(head).next()?.ok()?, limits).ok()?;
    Uri::try_from(line.target).ok()?;
    Some((
        std::str::from_utf8(line.method).ok()?,
        std::str::from_utf8(line.target).ok()?,
    ))
}

// === impl Flaw ===

impl Flaw {
    /// What the sender is told, in as far as the status can say it; `None` for a head that is too slow.
    pub const fn malformed(self) -> Option<Malformed> {
        match self {
            Self::RequestLine
            | Self::Target
            | Self::Field
            | Self::Host
            | Self::Length
            | Self::TransferCoding => Some(Malformed::Request),
            Self::TargetTooLong => Some(Malformed::TargetTooLong),
            Self::Misdirected | Self::OtherHost => Some(Malformed::Misdirected),
            Self::HeadTooLarge => Some(Malformed::HeadTooLarge),
            Self::TooSlow => None,
        }
    }

    /// The reason as the log says it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestLine => "ill-formed request line",
            Self::TargetTooLong => "request target too long",
            Self::Target => "ill-formed request target",
            Self::Misdirected => "target and Host name different authorities",
            Self::OtherHost => "Host is no name of the certificate that was shown",
            Self::Field => "ill-formed header field",
            Self::HeadTooLarge => "head too large",
            Self::Host => "Host missing, doubled or ill-formed",
            Self::Length => "length of the body is ambiguous",
            Self::TransferCoding => "transfer coding other than one chunked",
            Self::TooSlow => "head did not arrive in time",
        }
    }
}

/// The lines of a complete head, without their line ends; a flaw where one does not end in CRLF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, rest) = cut(self.0, b'\n')?;
        self.0 = rest;
        Some(line.strip_suffix(b"\r").ok_or(Flaw::Field))
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    is_http_1_1: bool,
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8], limits: &HeadLimits) -> Result<Self, Flaw> {
        let (method, rest) = cut(line, b' ').ok_or(Flaw::RequestLine)?;
        let (target, version) = cut(rest, b' ').ok_or(Flaw::RequestLine)?;
        let is_http_1_1 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Flaw::RequestLine),
        };
        let is_method = !method.is_empty()
            && method.len() <= METHOD_BYTES_MAX
            && method.iter().all(|&byte| TOKEN_BYTES[usize::from(byte)]);
        // A tunnel is never opened, and its target is of a form of its own.
        if !is_method || method == b"CONNECT" {
            return Err(Flaw::RequestLine);
        }
        if target.len() > limits.target_bytes {
            return Err(Flaw::TargetTooLong);
        }
        if !is_target(target) {
            return Err(Flaw::Target);
        }
        Ok(Self {
            method,
            target,
            is_http_1_1,
        })
    }

    fn check_host(&self, host: Option<&[u8]>) -> Result<(), Flaw> {
        match host {
            Some(host) if is_authority(host) => {}
            None if !self.is_http_1_1 => {}
            Some(_) | None => return Err(Flaw::Host),
        }
        let Some(authority) = authority(self.target)? else {
            return Ok(());
        };
        match host {
            Some(host) if host.eq_ignore_ascii_case(authority) => Ok(()),
            Some(_) | None => Err(Flaw::Misdirected),
        }
    }
}

/// The authority of a target in absolute form.
fn authority(target: &[u8]) -> Result<Option<&[u8]>, Flaw> {
    if target.starts_with(b"/") || target == b"*" {
        return Ok(None);
    }
    let rest = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .and_then(|scheme| target.get(scheme.len()..))
        .ok_or(Flaw::Target)?;
    let authority = rest
        .split(|&byte| byte == b'/' || byte == b'?')
        .next()
        .unwrap_or(rest);
    match is_authority(authority) {
        true => Ok(Some(authority)),
        false => Err(Flaw::Target),
    }
}

/// Host and optional port; no user info, nothing that a URL could be built of.
pub fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|&byte| byte == b']') {
            Some(end) => {
                let is_address = rest[..end]
                    .iter()
                    .all(|&byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.');
                if !is_address {
                    return false;
                }
                (&rest[..end], &rest[end + 1..])
            }
            None => return false,
        },
        None => {
            let end = text
                .iter()
                .position(|&byte| byte == b':')
                .unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            if !host.iter().all(|&byte| HOST_BYTES[usize::from(byte)]) {
                return false;
            }
            (host, port)
        }
    };
    let is_port = match port.strip_prefix(b":") {
        Some(digits) => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        None => port.is_empty(),
    };
    !host.is_empty() && is_port
}

fn read_field(line: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    // What ends a name must be the colon. A folded line begins with white space, which is in no name either.
    let name_end = line
        .iter()
        .position(|&byte| !TOKEN_BYTES[usize::from(byte)])
        .ok_or(Flaw::Field)?;
    let (name, rest) = line.split_at(name_end);
    match rest.strip_prefix(b":") {
        // Of what `trim_ascii` takes away only space and tab are there.
        Some(value) if !name.is_empty() => Ok((name, value.trim_ascii())),
        Some(_) | None => Err(Flaw::Field),
    }
}

/// How many control characters there are, tabs aside.
fn controls(bytes: &[u8]) -> usize {
    // What a chunk has of them fits in a byte, and so the compiler counts many bytes at once.
    const CHUNK_BYTES: usize = 192;
    let is_control = |byte: &u8| u8::from(byte.is_ascii_control() && *byte != b'\t');
    let chunks = bytes.chunks(CHUNK_BYTES);
    chunks
        .map(|chunk| usize::from(chunk.iter().map(is_control).sum::<u8>()))
        .sum()
}

/// Digits only, and a number that fits a signed word: above it some parsers see a negative length, and hyper
/// refuses by itself what comes near 2^64.
pub fn read_length(value: &[u8]) -> Result<u64, Flaw> {
    if value.is_empty() {
        return Err(Flaw::Length);
    }
    let add = |length: i64, digit: &u8| {
        let digit = char::from(*digit).to_digit(10)?;
        length.checked_mul(10)?.checked_add(i64::from(digit))
    };
    let length = value.iter().try_fold(0, add).ok_or(Flaw::Length)?;
    Ok(length.unsigned_abs())
}

/// Whether a target holds nothing that no target may.
pub fn is_target(target: &[u8]) -> bool {
    if target.is_empty() {
        return false;
    }
    if target.iter().all(|&byte| PLAIN_BYTES[usize::from(byte)]) {
        return target.starts_with(b"/") || target.starts_with(b"h") || target.starts_with(b"H");
    }
    // What else may stand in a target is the parser's to know; a fragment and raw Unicode may not.
    target
        .iter()
        .all(|&byte| (0x21..0x7f).contains(&byte) && byte != b'#')
        && Uri::try_from(target).is_ok()
}

/// What is before the first `at`, and what is behind it.
fn cut(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let end = memchr(at, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// What a token may hold (RFC 9110, 5.6.2).
static TOKEN_BYTES: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");
/// What a host's name may hold.
static HOST_BYTES: [bool; 256] = alphanumeric_and(b"-._");
/// What nearly every target is made of.
static PLAIN_BYTES: [bool; 256] = alphanumeric_and(b"/-._~%?&=:");

/// Which bytes are a letter, a digit or one of these signs.
const fn alphanumeric_and(signs: &[u8]) -> [bool; 256] {
    let mut is_one = [false; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        is_one[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut sign = 0;
    while sign < signs.len() {
        is_one[signs[sign] as usize] = true;
        sign += 1;
    }
    is_one
}

/// Method, two spaces and version.
const LONGEST_AROUND_TARGET: usize = METHOD_BYTES_MAX + 11;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(lines: &str) -> Vec<u8> {
        format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).into_bytes()
    }

    const LIMITS: HeadLimits = HeadLimits::DEFAULT;

    fn verdict(lines: &str) -> Result<BodyLength, Flaw> {
        check(&head(lines), &LIMITS)
    }

    #[test]
    fn plain_heads_pass_with_the_length_of_their_body() {
        for (lines, length) in [
            ("GET /a?b=c%7Cd HTTP/1.1\nHost: h", BodyLength::Unstated),
            (
                "POST /a HTTP/1.1\nHost: h:8080\nContent-Length: 5",
                BodyLength::Exact(5),
            ),
            (
                "POST /a HTTP/1.1\nhost:h\ncontent-length:  010  ",
                BodyLength::Exact(10),
            ),
            (
                "POST /a HTTP/1.1\nHost: [::1]:80\nTransfer-Encoding: Chunked",
                BodyLength::Chunked,
            ),
            ("POST /a HTTP/1.0\nContent-Length: 0", BodyLength::Exact(0)),
            (
                "POST http://h/a HTTP/1.1\nHost: H\nContent-Length: 1",
                BodyLength::Exact(1),
            ),
            (
                "GET /a|b HTTP/1.1\nHost: h\nX: \tcaf\u{e9}\t",
                BodyLength::Unstated,
            ),
            ("OPTIONS * HTTP/1.1\nHost: h", BodyLength::Unstated),
        ] {
            assert_eq!(verdict(lines), Ok(length), "{lines}");
        }
    }

    #[test]
    fn whatever_parsers_differ_about_is_refused() {
        for (lines, flaw) in [
            (
                "POST /a HTTP/1.1\nHost: h\nContent-Length: 5\nTransfer-Encoding: chunked",
                Flaw::Length,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nContent-Length: 5",
                Flaw::Length,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nContent-Length: 5\nContent-Length: 5",
                Flaw::Length,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nContent-Length: 5\nContent-Length:",
                Flaw::Length,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: xchunked",
                Flaw::TransferCoding,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: gzip, chunked",
                Flaw::TransferCoding,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: chunked,chunked",
                Flaw::TransferCoding,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: ,chunked",
                Flaw::TransferCoding,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked",
                Flaw::TransferCoding,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: identity",
                Flaw::TransferCoding,
            ),
            (
                "POST /a HTTP/1.0\nHost: h\nTransfer-Encoding: chunked",
                Flaw::TransferCoding,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding : chunked",
                Flaw::Field,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\n Transfer-Encoding: chunked",
                Flaw::Field,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: \u{b}chunked",
                Flaw::Field,
            ),
            (
                "POST /a HTTP/1.1\nHost: h\nX: a\rTransfer-Encoding: chunked",
                Flaw::Field,
            ),
            ("POST /a HTTP/1.1\nHost: h\nX: a\0b", Flaw::Field),
            ("POST /a HTTP/1.1\nHost: h\nno colon", Flaw::Field),
            ("POST /a HTTP/1.1\nHost: h\n: empty", Flaw::Field),
            ("POST /a HTTP/1.1\nHost: h\nX: folded\n  on", Flaw::Field),
            ("POST /a HTTP/1.1", Flaw::Host),
            ("POST /a HTTP/1.1\nHost:", Flaw::Host),
            ("POST /a HTTP/1.1\nHost: h\nHost: h", Flaw::Host),
            ("POST /a HTTP/1.1\nHost: u@h", Flaw::Host),
            ("POST /a HTTP/1.1\nHost: h:", Flaw::Host),
            ("POST /a HTTP/1.1\nHost: h:x", Flaw::Host),
            ("POST /a HTTP/1.1\nHost: h/a", Flaw::Host),
            ("POST http://other/a HTTP/1.1\nHost: h", Flaw::Misdirected),
            ("POST http://u@h/a HTTP/1.1\nHost: h", Flaw::Target),
            ("POST h/a HTTP/1.1\nHost: h", Flaw::Target),
            ("POST /a#b HTTP/1.1\nHost: h", Flaw::Target),
            ("POST /caf\u{e9} HTTP/1.1\nHost: h", Flaw::Target),
            ("POST /a<b HTTP/1.1\nHost: h", Flaw::Target),
            ("POST  /a HTTP/1.1\nHost: h", Flaw::RequestLine),
            ("POST /a HTTP/1.1 \nHost: h", Flaw::RequestLine),
            ("POST /a HTTP/2.0\nHost: h", Flaw::RequestLine),
            ("POST /a\nHost: h", Flaw::RequestLine),
            ("PO ST /a HTTP/1.1\nHost: h", Flaw::RequestLine),
            ("CONNECT h:443 HTTP/1.1\nHost: h:443", Flaw::RequestLine),
            ("PRI * HTTP/2.0", Flaw::RequestLine),
        ] {
            assert_eq!(verdict(lines), Err(flaw), "{lines:?}");
        }
    }

    #[test]
    fn a_length_is_digits_and_fits() {
        for value in [
            "+5",
            "-5",
            "0x5",
            "5 5",
            "5,5",
            "5;",
            "1_0",
            "",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999",
        ] {
            let lines = format!("POST /a HTTP/1.1\nHost: h\nContent-Length: {value}");
            assert_eq!(verdict(&lines), Err(Flaw::Length), "{value}");
        }
    }

    #[test]
    fn too_many_fields_or_too_long_a_target_are_refused() {
        let fields =
            |count: usize| format!("GET / HTTP/1.1\nHost: h{}", "\nX: y".repeat(count - 1));
        assert_eq!(verdict(&fields(LIMITS.fields)), Ok(BodyLength::Unstated));
        assert_eq!(verdict(&fields(LIMITS.fields + 1)), Err(Flaw::HeadTooLarge));
        let target = |len: usize| format!("GET /{} HTTP/1.1\nHost: h", "a".repeat(len - 1));
        assert_eq!(
            verdict(&target(LIMITS.target_bytes)),
            Ok(BodyLength::Unstated)
        );
        assert_eq!(
            verdict(&target(LIMITS.target_bytes + 1)),
            Err(Flaw::TargetTooLong)
        );
    }

    #[test]
    fn a_head_ends_at_its_empty_line_or_is_incomplete_or_too_large() {
        assert_eq!(
            head_end(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest", &LIMITS),
            Ok(Some(27))
        );
        assert_eq!(
            head_end(b"GET / HTTP/1.1\r\nHost: h\r\n", &LIMITS),
            Ok(None)
        );
        assert_eq!(
            head_end(b"GET / HTTP/1.1\nHost: h\n\n", &LIMITS),
            Err(Flaw::Field)
        );
        assert_eq!(
            head_end(&[b'a'; LIMITS.target_bytes + 100], &LIMITS),
            Err(Flaw::TargetTooLong)
        );
        let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; LIMITS.bytes]].concat();
        assert_eq!(head_end(&long, &LIMITS), Err(Flaw::HeadTooLarge));
    }

    #[test]
    fn a_token_holds_the_bytes_of_the_standard_and_no_others() {
        for byte in 0..=u8::MAX {
            let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(TOKEN_BYTES[usize::from(byte)], is_token, "{byte}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = head_end(&bytes, &LIMITS);
            let _ = check(&bytes, &LIMITS);
            let _ = method_and_target(&bytes, &LIMITS);
        }

        #[test]
        fn a_control_character_anywhere_in_the_fields_is_refused(at in 18usize..500, byte in any::<u8>()) {
            let mut head = head(&format!("POST /a HTTP/1.1\nHost: h\nX: {}\nY: \tz", "x".repeat(400)));
            head.insert(at.min(head.len() - 1), byte);
            let is_field = check(&head, &LIMITS) == Err(Flaw::Field);
            prop_assert!(is_field || !byte.is_ascii_control() || byte == b'\t');
        }

        #[test]
        fn a_head_cut_anywhere_is_never_complete(cut in 0usize..40) {
            let whole = head("POST /a HTTP/1.1\nHost: h\nContent-Length: 5");
            let cut = cut.min(whole.len() - 1);
            prop_assert_eq!(head_end(&whole[..cut], &LIMITS), Ok(None));
        }
    }
}
