use proptest::prelude::*;

use super::*;

/// What becomes of an answer that comes in these pieces, and then ends.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Whole, NoAnswer> {
    let mut reading = Reading::default();
    for piece in pieces {
        if let Some(whole) = reading.take(piece)? {
            return Ok(whole);
        }
    }
    reading.end()
}

/// The same, of one in which lines end as they do in this file.
fn read_text(text: &str) -> Result<Whole, NoAnswer> {
    read([text.replace('\n', "\r\n").as_bytes()])
}

#[test]
fn what_is_asked_for_is_taken_out_of_the_head() {
    let whole = read_text(
        "HTTP/1.1 503 Away\nDate: x\nRetry-After: 7\nCONTENT-TYPE:text/plain \nretry-after: 9\nContent-Length: 2\nContent-Type: b\n\nno",
    );
    let Whole {
        answer,
        is_reusable,
    } = whole.unwrap();
    assert_eq!(
        answer,
        Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            content_type: Some(HeaderValue::from_static("text/plain")),
            retry_after: Some(HeaderValue::from_static("7")),
            body: Bytes::from_static(b"no"),
        }
    );
    assert!(is_reusable);
}

#[test]
fn a_connection_is_used_again_only_where_both_sides_know_that_it_goes_on() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK\ncontent-length: 2\n\nok", true),
        ("HTTP/1.1 200\ncontent-length: 02\n\nok", true),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: Chunked\n\n2\nok\n0\n\n",
            true,
        ),
        ("HTTP/1.1 204 OK\ncontent-length: 0\n\n", true),
        (
            "HTTP/1.0 200 OK\nconnection: Keep-Alive\ncontent-length: 2\n\nok",
            true,
        ),
        ("HTTP/1.1 304 OK\n\n", true),
        (
            "HTTP/1.1 100 OK\nconnection: close\n\nHTTP/1.1 204 OK\n\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\nconnection: keep-alive\ncontent-length: 0\n\n",
            true,
        ),
        // What the app will close, or what may follow on another answer.
        ("HTTP/1.1 200 OK\n\nok", false),
        ("HTTP/1.0 200 OK\ncontent-length: 2\n\nok", false),
        ("HTTP/1.1 204 OK\ncontent-length: 2\n\n", false),
        ("HTTP/1.1 304 OK\ntransfer-encoding: chunked\n\n", false),
        (
            "HTTP/1.1 200 OK\nconnection: x, Close\ncontent-length: 2\n\nok",
            false,
        ),
        (
            "HTTP/1.1 200 OK\nconnection: close\nconnection: keep-alive\ncontent-length: 2\n\nok",
            false,
        ),
        ("HTTP/1.1 200 OK\ncontent-length: 2\n\nok ", false),
        ("HTTP/1.1 204 OK\ncontent-length: 2\n\nok", false),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nok\n0\n\n\n",
            false,
        ),
    ] {
        let whole = read_text(text).unwrap();
        assert_eq!(whole.is_reusable, expected, "{text}");
    }
}

#[test]
fn what_is_said_twice_or_in_an_unknown_way_is_no_answer() {
    for (head, expected) in [
        (
            "HTTP/1.1 200 OK\ncontent-length: 2\ncontent-length: 2",
            AMBIGUOUS,
        ),
        ("HTTP/1.1 200 OK\ncontent-length: 2, 2", AMBIGUOUS),
        ("HTTP/1.1 200 OK\ncontent-length: +2", AMBIGUOUS),
        ("HTTP/1.1 200 OK\ncontent-length:", AMBIGUOUS),
        (
            "HTTP/1.1 200 OK\ncontent-length: 18446744073709551616",
            AMBIGUOUS,
        ),
        (
            "HTTP/1.1 200 OK\ncontent-length: 2\ntransfer-encoding: chunked",
            AMBIGUOUS,
        ),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\ncontent-length: 2",
            AMBIGUOUS,
        ),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: gzip, chunked",
            AMBIGUOUS,
        ),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\ntransfer-encoding: chunked",
            AMBIGUOUS,
        ),
        ("HTTP/1.1 204 OK\ntransfer-encoding: gzip", AMBIGUOUS),
        ("HTTP/1.0 200 OK\ntransfer-encoding: chunked", AMBIGUOUS),
        ("HTTP/1.1 101 OK\nupgrade: x", SWITCHED),
        ("HTTP/2.0 200 OK", NO_HTTP),
        ("HTTP/1.1 099 OK", NO_HTTP),
        ("HTTP/1.1 200 OK\n folded: x", NO_HTTP),
        ("HTTP/1.1 200 OK\ncontent-length : 2", NO_HTTP),
        ("HTTP/1.1 200 OK\ncontent-length", NO_HTTP),
    ] {
        let read = read_text(&format!("{head}\n\nok"));
        assert_eq!(read.map(|_| ()), Err(expected), "{head}");
    }
    for (chunks, expected) in [
        ("2\nok\n0\n", CUT_OFF),
        ("2\nok\n", CUT_OFF),
        ("2\nok", CUT_OFF),
        ("", CUT_OFF),
        ("2\nokx0\n\n", BAD_CHUNK),
        ("x\nok\n0\n\n", BAD_CHUNK),
        ("-2\nok\n0\n\n", BAD_CHUNK),
        ("11111111111111111\nok", BAD_CHUNK),
        ("\n\n", BAD_CHUNK),
        ("2\nok\n\n\n", BAD_CHUNK),
        (";a\n\n", BAD_CHUNK),
        (" \n\n", BAD_CHUNK),
        (" 2\nok\n0\n\n", BAD_CHUNK),
        ("0x2\nok\n0\n\n", BAD_CHUNK),
    ] {
        let read = read_text(&format!(
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n{chunks}"
        ));
        assert_eq!(read.map(|_| ()), Err(expected), "{chunks}");
    }
}

#[test]
fn a_line_between_chunks_ends_in_one_way() {
    for (chunks, expected) in [
        ("2\r\nok\r\n0\r\na: b\r\n\r\n", None),
        ("2 \r\nok\r\n0\t \r\n\r\n", None),
        ("2 ;a=b\r\nok\r\n0\r\n\r\n", None),
        ("2 0\r\nok\r\n0\r\n\r\n", Some(BAD_CHUNK)),
        ("2 \nok\r\n0\r\n\r\n", Some(BAD_CHUNK)),
        (" 2\r\nok\r\n0\r\n\r\n", Some(BAD_CHUNK)),
        ("2\nok\r\n0\r\n\r\n", Some(BAD_CHUNK)),
        ("2;a\nXX\r\nok\r\n0\r\n\r\n", Some(BAD_CHUNK)),
        ("2;a\rXX\r\nok\r\n0\r\n\r\n", Some(BAD_CHUNK)),
        ("2\r\nok\n0\r\n\r\n", Some(BAD_CHUNK)),
        ("2\r\nok\r\n0\n\r\n", Some(BAD_CHUNK)),
        ("2\r\nok\r\n0\r\n\n", Some(BAD_CHUNK)),
        ("2\r\nok\r\n0\r\na: b\n\r\n", Some(BAD_CHUNK)),
        ("2\r\nok\r\n0\r\na: b\r\n\n", Some(BAD_CHUNK)),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        for pieces in [text.len(), 1] {
            let read = read(text.as_bytes().chunks(pieces));
            assert_eq!(read.err(), expected, "{chunks:?} in {pieces}");
        }
    }
}

#[test]
fn what_chunks_say_beside_their_data_is_bounded() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |bytes: usize| format!("{head}1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes));
    let trailers = |bytes: usize| format!("{head}1\r\na\r\n0\r\nx: {}\r\n\r\n", "y".repeat(bytes));
    for (text, expected) in [
        (chunk(256), None),
        (chunk(257), Some(BAD_CHUNK)),
        (trailers(ASIDE_BYTES_MAX - 100), None),
        (trailers(ASIDE_BYTES_MAX), Some(BAD_CHUNK)),
    ] {
        for size in [1, 1000, text.len()] {
            let read = read(text.as_bytes().chunks(size));
            assert_eq!(read.err(), expected, "{} in {size}", text.len());
        }
    }
    // However small the chunks are.
    let small = b"0000000000001;a=b\r\na\r\n".repeat(20_000);
    let small = [head.as_bytes(), &small, b"0\r\n\r\n"].concat();
    assert_eq!(read(small.chunks(999)).unwrap().answer.body.len(), 20_000);
}

#[test]
fn a_length_beyond_four_gigabytes_is_not_taken_for_a_small_one() {
    let mut reading = Reading::default();
    let text = b"HTTP/1.1 200 OK\r\ncontent-length: 4294967298\r\n\r\nok";
    assert!(reading.take(text).unwrap().is_none());
    let text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n100000002\r\nok\r\n0\r\n\r\n";
    assert!(Reading::default().take(text).unwrap().is_none());
}

#[test]
fn heads_have_bounds_in_whatever_pieces_they_come() {
    let head = |value: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n",
            "y".repeat(value)
        )
    };
    let around = head(0).len();
    let many = |headers: usize| format!("HTTP/1.1 204 OK\r\n{}\r\n", "x: y\r\n".repeat(headers));
    let interim = |times: usize| {
        format!(
            "{}HTTP/1.1 204 OK\r\n\r\n",
            "HTTP/1.1 103 Hints\r\nlink: a\r\n\r\n".repeat(times)
        )
    };
    for (text, expected) in [
        (head(HEAD_BYTES_MAX - around), None),
        (head(HEAD_BYTES_MAX + 1), Some(TOO_LARGE)),
        (many(HEADERS_MAX), None),
        (many(HEADERS_MAX + 1), Some(TOO_LARGE)),
        (interim(1000), None),
        (interim(4000), Some(TOO_LARGE)),
    ] {
        for size in [1, 1000] {
            let read = read(text.as_bytes().chunks(size));
            assert_eq!(read.err(), expected, "{} in {size}", text.len());
        }
    }
}

#[test]
fn of_a_long_body_the_beginning_is_kept_and_the_rest_is_not_waited_for() {
    let bytes = ANSWER_BYTES_MAX + 2;
    for (head, is_chunked) in [
        (
            format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n"),
            false,
        ),
        (
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", u64::MAX),
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), false),
        (
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{bytes:x}\r\n"),
            true,
        ),
    ] {
        let mut reading = Reading::default();
        assert!(reading.take(head.as_bytes()).unwrap().is_none());
        assert!(
            reading
                .take(&[b'x'; ANSWER_BYTES_MAX - 1])
                .unwrap()
                .is_none()
        );
        let whole = reading.take(b"xy").unwrap().unwrap();
        assert_eq!(
            whole.answer.body,
            [b'x'; ANSWER_BYTES_MAX].as_slice(),
            "{is_chunked}"
        );
        assert!(!whole.is_reusable);
    }
}

/// A body as chunks of such sizes.
fn chunked(mut body: &[u8], sizes: &[usize], trailers: &str) -> Vec<u8> {
    let mut chunks = Vec::new();
    for &size in sizes {
        let chunk = cut(&mut body, size);
        if !chunk.is_empty() {
            chunks.extend_from_slice(format!("{:X};a=b\r\n", chunk.len()).as_bytes());
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
    }
    if !body.is_empty() {
        chunks.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        chunks.extend_from_slice(body);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(format!("000\r\n{trailers}\r\n").as_bytes());
    chunks
}

proptest! {
    #[test]
    fn an_answer_is_read_the_same_in_whatever_pieces_it_comes(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        sizes in proptest::collection::vec(1usize..60, 0..6),
        cuts in proptest::collection::vec(1usize..50, 1..60),
        framing in 0..3,
        interim in 0usize..3,
        trailers in prop_oneof![Just(""), Just("a: b\r\nc: d\r\n")],
        behind in prop_oneof![Just(""), Just("HTTP/1.1 500 X\r\n\r\n")],
    ) {
        let mut all = b"HTTP/1.1 103 X\r\nlink: a\r\n\r\n".repeat(interim);
        match framing {
            0 => all.extend_from_slice(format!("HTTP/1.1 201 X\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes()),
            1 => all.extend_from_slice(b"HTTP/1.1 201 X\r\ntransfer-encoding: chunked\r\n\r\n"),
            _ => all.extend_from_slice(b"HTTP/1.1 201 X\r\n\r\n"),
        }
        match framing {
            1 => all.extend_from_slice(&chunked(&body, &sizes, trailers)),
            _ => all.extend_from_slice(&body),
        }
        // Behind one that ends with its connection there is nothing.
        let behind = if framing == 2 { "" } else { behind };
        all.extend_from_slice(behind.as_bytes());
        let mut left = &all[..];
        let mut pieces = Vec::new();
        for &size in cuts.iter().cycle() {
            if left.is_empty() {
                break;
            }
            pieces.push(cut(&mut left, size));
        }
        let in_pieces = read(pieces.iter().copied()).unwrap();
        let at_once = read([&all[..]]).unwrap();
        for whole in [&in_pieces, &at_once] {
            prop_assert_eq!(whole.answer.status, StatusCode::CREATED);
            prop_assert_eq!(&whole.answer.body, &body);
        }
        prop_assert_eq!(at_once.is_reusable, framing < 2 && behind.is_empty());
        // Of what comes later this one does not know; the next to use the connection sees it.
        prop_assert!(in_pieces.is_reusable >= at_once.is_reusable);
    }

    #[test]
    fn nothing_that_comes_is_a_panic_or_grows_without_bound(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
        head in prop_oneof![
            Just(""), Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ],
    ) {
        let _ = read([head.as_bytes()].into_iter().chain(pieces.iter().map(Vec::as_slice)));
    }
}
