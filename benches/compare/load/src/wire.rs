//! As much of HTTP/1.1 as both ends need: where a message ends, and what its first line says.
//!
//! A length is needed; a chunked message is a mistake here, so that a gateway which re-frames what it
//! forwards is noticed rather than measured.

/// A whole message in a buffer.
pub struct Framed {
    /// Where its body begins.
    pub body: usize,
    /// Where it ends.
    pub end: usize,
}

/// The message that `bytes` begin with, once it is all there; an error where it has no length.
pub fn frame(bytes: &[u8]) -> Result<Option<Framed>, &'static str> {
    let Some(head) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let body = head + 4;
    let mut length = None;
    for line in bytes[..head].split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        if line[..colon].eq_ignore_ascii_case(b"content-length") {
            let text = std::str::from_utf8(&line[colon + 1..]).unwrap_or_default();
            length = text.trim().parse::<usize>().ok();
        } else if line[..colon].eq_ignore_ascii_case(b"transfer-encoding") {
            return Err("a chunked message");
        }
    }
    let is_get = bytes.starts_with(b"GET ");
    let length = length.or(is_get.then_some(0)).ok_or("no length")?;
    Ok((bytes.len() >= body + length).then_some(Framed {
        body,
        end: body + length,
    }))
}

/// The status of an answer; 0 where it has none.
pub fn status(answer: &[u8]) -> u16 {
    let digits = answer.get(9..12).unwrap_or_default();
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// Where `needle` begins.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabcHTTP/1.1";
        for short in 0..41 {
            assert!(
                frame(&bytes[..short]).is_ok_and(|framed| framed.is_none()),
                "{short}"
            );
        }
        let framed = frame(bytes).ok().flatten();
        assert!(framed.is_some_and(|framed| framed.body == 38 && framed.end == 41));
        assert_eq!(status(bytes), 200);
    }

    #[test]
    fn a_message_without_a_length_is_a_mistake() {
        assert!(frame(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(frame(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(frame(b"GET / HTTP/1.1\r\n\r\n").is_ok_and(|framed| framed.is_some()));
    }
}
