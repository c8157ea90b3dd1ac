//! Framing: whatever parsers differ about is refused, and what is forwarded is framed by us.
//!
//! Every case is raw bytes around a truly signed event, so that a gateway which read it wrongly would
//! forward something, and most hide a second signed request that must never be found.

use std::time::Duration;

use crate::support::app::{App, Reply};
use crate::support::gate::{Gate, Setup};
use crate::support::sender::{Answer, Request, SECRET, card_event, sign};
use crate::support::wire::Wire;

/// The bytes of a template: each line ends in CRLF, `␊` is a bare LF and `␍` a bare CR, a character stands
/// for its Latin-1 byte. Of event `n`: `@TAG@` is the signature's header, `@LEN@` and `@HEX@` the body's
/// length, `@BODY@` the body and `@CHUNKED@` the body in chunks; `@HIDDEN@` is a whole request of its own.
fn raw(template: &str, n: u64) -> Vec<u8> {
    let body = card_event(n);
    let (start, end) = body.split_at(7);
    let chunked = format!("7\n{start}\n{:x}\n{end}\n0\n\n", end.len());
    let tag = format!(
        "X-WalletWerk-Signature: {}",
        sign(SECRET.as_bytes(), body.as_bytes())
    );
    let hidden = String::from_utf8(Request::walletwerk(card_event(n + HIDDEN), "hidden").bytes());
    template
        .replace("@CHUNKED@", &chunked)
        .replace('\n', "\r\n")
        .replace('␊', "\n")
        .replace('␍', "\r")
        .replace("@TAG@", &tag)
        .replace("@LEN@", &body.len().to_string())
        .replace("@HEX@", &format!("{:x}", body.len()))
        .replace("@BODY@", &body)
        .replace("@HIDDEN@", &hidden.unwrap())
        .chars()
        .map(|character| u8::try_from(character).expect("Latin-1"))
        .collect()
}

/// What sets the hidden events apart from the open ones.
const HIDDEN: u64 = 1_000_000;

/// A gateway whose app answers with the card of the event, so that an answer shows whose it is.
async fn gate(more: &str) -> Gate {
    let app = App::start(|request, _| {
        Reply::with(200, "", request.header("ce-subject").unwrap_or("nobody"))
    });
    Setup::walletwerk(app.await, more).start().await
}

/// Writes one case on a connection of its own and ends our side if the case does.
async fn answers(gate: &Gate, bytes: &[u8]) -> Vec<Answer> {
    let mut wire = Wire::open(gate.address).await;
    wire.write(bytes).await;
    wire.rest().await
}

/// Nothing of it reaches the app, the connection is closed, and the next sender is served as ever.
async fn check_refused(gate: &Gate, statuses: &[u16], n: u64, template: &str) {
    let before = gate.app.count();
    let answers = answers(gate, &raw(template, n)).await;
    let shown: String = template.chars().take(300).collect();
    let [answer] = answers.as_slice() else {
        panic!("{} answers to {shown:?}: {answers:?}", answers.len());
    };
    assert!(statuses.contains(&answer.status), "{shown:?}: {answer:?}");
    assert_ne!(
        answer.outcome(),
        "-",
        "{shown:?}: not our answer: {answer:?}"
    );
    assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
    assert_eq!(gate.app.count(), before, "{shown:?}");
    let other = gate
        .send(&Request::walletwerk(card_event(n + 2 * HIDDEN), "other"))
        .await;
    assert_eq!(other.body, format!("card_{}", n + 2 * HIDDEN), "{shown:?}");
}

/// The app sees exactly this one request, framed by us.
async fn check_forwarded(gate: &Gate, n: u64, template: &str) {
    let before = gate.app.count();
    let mut wire = Wire::open(gate.address).await;
    wire.write(&raw(template, n)).await;
    let answer = wire
        .answer()
        .await
        .unwrap_or_else(|| panic!("no answer to {template:?}"));
    assert_eq!(answer.outcome(), "forwarded", "{template:?}: {answer:?}");
    let requests = gate.app.requests();
    assert_eq!(requests.len(), before + 1, "{template:?}");
    let request = requests.last().unwrap();
    assert_eq!(request.body, card_event(n).as_bytes(), "{template:?}");
    let length = request.body.len().to_string();
    assert_eq!(
        request.header("content-length"),
        Some(&*length),
        "{template:?}"
    );
    assert_eq!(request.line, "POST /events HTTP/1.1");
}

/// Stops the gateway, so that nothing can come any more, and checks that no hidden request ever came.
async fn check_nothing_hidden(gate: Gate) {
    let (app, logged) = gate.end().await;
    for request in app.requests() {
        assert_ne!(request.header("x-walletwerk-delivery-id"), Some("hidden"));
    }
    assert!(!logged.text().contains("panicked"));
}

const OPEN: &str = "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n";

#[tokio::test]
async fn an_ambiguous_length_is_refused_and_a_hidden_request_never_found() {
    let gate = gate("").await;
    let mut n = 0;
    for fields in [
        // A length and chunks, in both orders.
        "Content-Length: @LEN@\nTransfer-Encoding: chunked\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked\nContent-Length: @LEN@\n\n@CHUNKED@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encoding: chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n@HIDDEN@",
        // Codings that are not exactly one chunked.
        "Transfer-Encoding: xchunked\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked, identity\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: identity\n\n@BODY@@HIDDEN@",
        "Transfer-Encoding: identity\nContent-Length: @LEN@\n\n@BODY@@HIDDEN@",
        "Transfer-Encoding: gzip, chunked\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: ,chunked\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked,\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked,chunked\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked;q=1\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: \"chunked\"\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding:\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked\nTransfer-Encoding: identity\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: identity\nTransfer-Encoding: chunked\n\n@CHUNKED@@HIDDEN@",
        "transfer-encoding: chunked\nTRANSFER-ENCODING: x\n\n@CHUNKED@@HIDDEN@",
        // A coding in disguise beside a true length.
        "Content-Length: @LEN@\nTransfer-Encoding : chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encoding\t: chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encoding:\tchunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encoding: \u{b}chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encoding: \u{c}chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encoding: chunked\0\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encoding: \u{ff}chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nTransfer-Encod\u{ef}ng: chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\n Transfer-Encoding: chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nX: a␍Transfer-Encoding: chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nX: a␊Transfer-Encoding: chunked\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nX: a␍␊ Transfer-Encoding: chunked\n\n@BODY@@HIDDEN@",
        // Lengths that are no numbers, or two.
        "Content-Length: +@LEN@\n\n@BODY@@HIDDEN@",
        "Content-Length: -@LEN@\n\n@BODY@@HIDDEN@",
        "Content-Length: 0x@HEX@\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@ @LEN@\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@,@LEN@\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@;\n\n@BODY@@HIDDEN@",
        "Content-Length: 1_0\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@.0\n\n@BODY@@HIDDEN@",
        "Content-Length:\n\n@BODY@@HIDDEN@",
        "Content-Length: 99999999999999999999\n\n@BODY@@HIDDEN@",
        "Content-Length: 18446744073709551616\n\n@BODY@@HIDDEN@",
        "Content-Length: 18446744073709551615\n\n@BODY@@HIDDEN@",
        "Content-Length: 9223372036854775808\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nContent-Length: @LEN@\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nContent-Length: 0\n\n@BODY@@HIDDEN@",
        "Content-Length: 0\nContent-Length: @LEN@\n\n@BODY@@HIDDEN@",
        "Content-Length: @LEN@\nContent-Length:\n\n@BODY@@HIDDEN@",
        "Content-Length: x\nTransfer-Encoding: chunked\n\n@CHUNKED@@HIDDEN@",
        "Transfer-Encoding: chunked\nContent-Length: x\n\n@CHUNKED@@HIDDEN@",
    ] {
        n += 1;
        check_refused(&gate, &[400], n, &format!("{OPEN}{fields}")).await;
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn an_old_version_has_a_length_and_no_chunks() {
    let gate = gate("").await;
    let old = "POST /webhooks/walletwerk HTTP/1.0\nHost: h\n@TAG@\n";
    check_refused(
        &gate,
        &[400],
        1,
        &format!("{old}Transfer-Encoding: chunked\n\n@CHUNKED@"),
    )
    .await;
    check_refused(&gate, &[411], 2, &format!("{old}\n@BODY@")).await;
    check_refused(&gate, &[411], 3, &format!("{OPEN}\n@BODY@")).await;
    check_forwarded(&gate, 4, &format!("{old}Content-Length: @LEN@\n\n@BODY@")).await;
    let ways = gate.app.requests().into_iter();
    let old_ways = ways.filter(|request| request.header("via") == Some("1.0 passgate"));
    assert_eq!(old_ways.count(), 1);
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn what_is_forwarded_has_our_own_length_however_it_was_framed() {
    let gate = gate("").await;
    let mut n = 0;
    for fields in [
        "Content-Length: @LEN@\n\n@BODY@",
        "Content-Length: 0000@LEN@\n\n@BODY@",
        "Content-Length: \t @LEN@\t \n\n@BODY@",
        "Transfer-Encoding: chunked\n\n@CHUNKED@",
        "Transfer-Encoding: CHUNKED\n\n@CHUNKED@",
        "Transfer-Encoding: chunked\n\n@HEX@;ext=\"a;b\"\n@BODY@\n000\n\n",
        "Transfer-Encoding: chunked\n\n0000000@HEX@\n@BODY@\n0\n\n",
        // Trailers are dropped, whatever they name.
        "Transfer-Encoding: chunked\n\n@HEX@\n@BODY@\n0\nContent-Length: 3\nHost: other\nX-WalletWerk-Delivery-ID: hidden\nX-WalletWerk-Signature: x\nTransfer-Encoding: gzip\n\n",
    ] {
        n += 1;
        check_forwarded(&gate, n, &format!("{OPEN}{fields}")).await;
    }
    for request in gate.app.requests() {
        assert_eq!(request.header("host"), Some(&*gate.app.address.to_string()));
        assert_eq!(request.header("trailer"), None);
        assert_eq!(request.header("x-walletwerk-delivery-id"), None);
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn nothing_after_a_chunked_body_is_read_as_a_request() {
    let gate = gate("").await;
    let bytes = raw(
        &format!("{OPEN}Transfer-Encoding: chunked\n\n@CHUNKED@@HIDDEN@"),
        1,
    );
    let answers = answers(&gate, &bytes).await;
    let [answer] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert_eq!((answer.outcome(), &*answer.body), ("forwarded", "card_1"));
    assert_eq!(answer.header("connection"), Some("close"));
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn broken_chunks_are_refused_and_no_part_of_them_is_verified() {
    let gate = gate("").await;
    let long = "x".repeat(17 * 1024);
    let mut n = 0;
    for chunks in [
        "\n@BODY@\n0\n\n",
        "0x@HEX@\n@BODY@\n0\n\n",
        "-@HEX@\n@BODY@\n0\n\n",
        "+@HEX@\n@BODY@\n0\n\n",
        " @HEX@\n@BODY@\n0\n\n",
        "\t@HEX@\n@BODY@\n0\n\n",
        "@HEX@ \n@BODY@\n0\n\n",
        "@HEX@\t\n@BODY@\n0\n\n",
        "@HEX@ ;ext\n@BODY@\n0\n\n",
        "00000000000000000@HEX@\n@BODY@\n0\n\n",
        "@HEX@\n@BODY@\n0 \n\n",
        "@HEX@\n@BODY@\n00000000000000000\n\n",
        "@HEX@_\n@BODY@\n0\n\n",
        "10000000000000000\n@BODY@\n0\n\n",
        "@HEX@␊@BODY@\n0\n\n",
        "@HEX@␍␍@BODY@\n0\n\n",
        "@HEX@\n@BODY@0\n\n",
        "@HEX@\n@BODY@␊0\n\n",
        "@HEX@\n@BODY@\n0\n␍x",
        "@HEX@;ext␊a=b\n@BODY@\n0\n\n",
        "@HEX@;ext␍a=b\n@BODY@\n0\n\n",
        &format!("@HEX@;{long}\n@BODY@\n0\n\n"),
        &format!("@HEX@;{}\n@BODY@\n0\n\n", &long[..257]),
        "@HEX@\n@BODY@\n0\nX: a␊\n",
        "@HEX@\n@BODY@\n0\n␊␍␊",
        &format!("{}\n@BODY@\n0\n\n", "f".repeat(5000)),
        // The whole event, and then something broken.
        "@HEX@\n@BODY@\nx\n\n",
        "@HEX@\n@BODY@\n0\nX: a␊b␍c\n\n",
    ] {
        n += 1;
        check_refused(
            &gate,
            &[400, 413],
            n,
            &format!("{OPEN}Transfer-Encoding: chunked\n\n{chunks}@HIDDEN@"),
        )
        .await;
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn trailers_beyond_all_measure_change_nothing() {
    let gate = gate("").await;
    let long = format!("X: {}\n", "x".repeat(17 * 1024));
    let many: String = (0..101).map(|n| format!("X-{n}: y\n")).collect();
    for (n, trailers) in [(1, &long), (2, &many)] {
        let template =
            format!("{OPEN}Transfer-Encoding: chunked\n\n@HEX@\n@BODY@\n0\n{trailers}\n@HIDDEN@");
        let answers = answers(&gate, &raw(&template, n)).await;
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(["forwarded", "malformed"].contains(&answers[0].outcome()));
    }
    for request in gate.app.requests() {
        assert!(
            !request
                .headers
                .iter()
                .any(|(name, _)| name.starts_with("x-0"))
        );
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn a_body_that_ends_early_is_never_verified() {
    let gate = gate("").await;
    for (n, rest) in (1..).zip([
        "Transfer-Encoding: chunked\n\n@HEX@\n@BODY@\n",
        "Transfer-Encoding: chunked\n\n@HEX@\n@BODY@\n0\n",
        "Transfer-Encoding: chunked\n\n@HEX@\n@BODY@\n0\nX: y",
        "Transfer-Encoding: chunked\n\n@HEX@\n@BODY@",
        "Content-Length: 1000\n\n@BODY@",
    ]) {
        let mut wire = Wire::open(gate.address).await;
        wire.write(&raw(&format!("{OPEN}{rest}"), n)).await;
        wire.finish().await;
        for answer in wire.rest().await {
            assert_eq!(answer.status, 400, "{rest:?}");
        }
    }
    let (app, _) = gate.end().await;
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn an_ill_formed_head_is_refused() {
    let gate = gate("").await;
    let mut n = 0;
    let end = "Content-Length: @LEN@\n\n@BODY@@HIDDEN@";
    for head in [
        // Line ends other than CRLF.
        "POST /webhooks/walletwerk HTTP/1.1␊Host: h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h␊@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1␍Host: h\n@TAG@\n",
        // Ill-formed fields.
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX: a\n b\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX: a\n\tb\n",
        "POST /webhooks/walletwerk HTTP/1.1\n Host: h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nno colon\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n: no name\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX: a\0b\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX: a\u{1b}b\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX: a\u{7f}b\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX: a␍b\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX\u{e9}: a\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nX@: a\n",
        // Hosts.
        "POST /webhooks/walletwerk HTTP/1.1\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\nhost: other\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost:\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h:\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h:80a\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: user@h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h, other\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h/path\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1\nHost: h\u{e9}\n@TAG@\n",
        // Request lines.
        "POST  /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk  HTTP/1.1\nHost: h\n@TAG@\n",
        "POST\t/webhooks/walletwerk\tHTTP/1.1\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.1 \nHost: h\n@TAG@\n",
        " POST /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/2.0\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/1.2\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk HTTP/01.1\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk http/1.1\nHost: h\n@TAG@\n",
        "POST /webhooks/walletwerk#x HTTP/1.1\nHost: h\n@TAG@\n",
        "POST /webhooks/wallet\u{e9}werk HTTP/1.1\nHost: h\n@TAG@\n",
        "POST webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n",
        "POST h/webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n",
        "POST ftp://h/webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n",
        "POST http://user@h/webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n",
        "CONNECT h:443 HTTP/1.1\nHost: h:443\n@TAG@\n",
        "PRI * HTTP/2.0\n",
    ] {
        n += 1;
        check_refused(&gate, &[400], n, &format!("{head}{end}")).await;
    }
    // In absolute form the authority must be the one in `Host`.
    for (n, authority) in (100..).zip(["other", "h:81", "h.", "169.254.169.254"]) {
        let head =
            format!("POST http://{authority}/webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n");
        check_refused(&gate, &[421], n, &format!("{head}{end}")).await;
    }
    let head = "POST http://H/webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\n";
    check_forwarded(
        &gate,
        200,
        &format!("{head}Content-Length: @LEN@\n\n@BODY@"),
    )
    .await;
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn a_head_beyond_its_limits_is_refused() {
    let gate = gate("").await;
    let fields = |count: usize| "X: y\n".repeat(count);
    let end = "Content-Length: @LEN@\n\n@BODY@@HIDDEN@";
    for (n, statuses, template) in [
        (1, &[431], format!("{OPEN}{}{end}", fields(101))),
        (2, &[431], format!("{OPEN}{}{end}", fields(10_000))),
        (
            3,
            &[431],
            format!("{OPEN}X: {}\n{end}", "a".repeat(500_000)),
        ),
        (4, &[431], format!("{OPEN}{}: a\n{end}", "a".repeat(70_000))),
        (
            5,
            &[414],
            format!(
                "POST /webhooks/{} HTTP/1.1\nHost: h\n{end}",
                "a".repeat(70_000)
            ),
        ),
        (
            6,
            &[414],
            format!(
                "POST /webhooks/{} HTTP/1.1\nHost: h\n{end}",
                "a".repeat(8_190)
            ),
        ),
    ] {
        check_refused(&gate, statuses, n, &template).await;
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn only_the_routes_methods_are_taken_and_no_other_ones_body_is_read() {
    let gate = gate("").await;
    let long = "M".repeat(100);
    let methods = [
        "GET", "DELETE", "PUT", "TRACE", "OPTIONS", "PATCH", "post", "Post", "PRI", "P!$", &long,
    ];
    for (n, method) in (1..).zip(methods) {
        let template = format!(
            "{method} /webhooks/walletwerk HTTP/1.1\nHost: h\n@TAG@\nContent-Length: @LEN@\n\n@BODY@@HIDDEN@"
        );
        let statuses: &[u16] = if method.len() > 32 { &[400] } else { &[405] };
        check_refused(&gate, statuses, n, &template).await;
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn a_path_is_compared_byte_for_byte_and_never_normalised() {
    let gate = gate("").await;
    let end = "Content-Length: @LEN@\n\n@BODY@@HIDDEN@";
    for (n, path) in (1..).zip([
        "/webhooks/./walletwerk",
        "/webhooks/%2e/walletwerk",
        "/x/../webhooks/walletwerk",
        "/x/%2e%2e/webhooks/walletwerk",
        "/webhooks%2fwalletwerk",
        "/webhooks%5cwalletwerk",
        "/webhooks\\walletwerk",
        "//webhooks/walletwerk",
        "/webhooks//walletwerk",
        "/webhooks/walletwerk/",
        "/webhooks/walletwerk//",
        "/webhooks/walletwerk.",
        "/webhooks/walletwerk;a=b",
        "/webhooks/walletwerk%00",
        "/webhooks/walletwerk%20",
        "/webhooks/%77alletwerk",
        "/WEBHOOKS/walletwerk",
        "/webhooks/walletwerk%c0%af",
        "/webhooks/walletwerk,",
    ]) {
        let template = format!("POST {path} HTTP/1.1\nHost: h\n@TAG@\n{end}");
        check_refused(&gate, &[404], n, &template).await;
    }
    // The query plays no part, and does not go to the app.
    let template = "POST /webhooks/walletwerk?a=../b HTTP/1.1\nHost: h\n@TAG@\nContent-Length: @LEN@\n\n@BODY@";
    check_forwarded(&gate, 100, template).await;
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn a_route_with_a_host_is_found_under_that_host_only() {
    let config = "[[route]]\nprovider = \"walletwerk\"\nhost = \"hooks.example.com\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/events\"\n";
    let gate = Setup::config(App::willing().await, config).start().await;
    for (n, host, outcome) in [
        (1, "hooks.example.com", "forwarded"),
        (2, "HOOKS.example.com:8080", "forwarded"),
        (3, "h", "no_route"),
        (4, "hooks.example.com.", "no_route"),
        (5, "hooks.example.co", "no_route"),
        (6, "xhooks.example.com", "no_route"),
    ] {
        let event = Request::walletwerk(card_event(n), "d");
        let event = event.without("Host").with(&format!("Host: {host}"));
        assert_eq!(gate.send(&event).await.outcome(), outcome, "{host}");
    }
}

#[tokio::test]
async fn a_header_that_decides_is_single_and_no_hop_may_take_it_away() {
    let gate = gate("").await;
    let end = "Content-Length: @LEN@\n\n@BODY@@HIDDEN@";
    for (n, fields) in (1..).zip([
        "X-WalletWerk-Signature: x\n",
        "@TAG@\n",
        "X-WalletWerk-Delivery-ID: a\nX-WalletWerk-Delivery-ID: b\n",
        "X-WalletWerk-Event: a\nx-walletwerk-event: a\n",
        "X-WalletWerk-Timestamp: a\nX-WalletWerk-Timestamp: a\n",
        "Authorization: a\nAuthorization: b\n",
        "Content-Type: application/json\nContent-Type: text/plain\n",
        "Content-Type: application/json, text/plain\n",
        "Content-Encoding: identity\nContent-Encoding: gzip\n",
        "Expect: 100-continue\nExpect: 100-continue\n",
        "Connection: X-WalletWerk-Signature\n",
        "Connection: close, x-walletwerk-delivery-id\n",
        "Connection: keep-alive\nConnection: X-WALLETWERK-EVENT\n",
        "Connection: authorization\n",
        "Connection: host\n",
        "Connection: Content-Type\n",
        "Connection: content-length\n",
        "Connection: ,transfer-encoding ,\n",
    ]) {
        check_refused(&gate, &[400], n, &format!("{OPEN}{fields}{end}")).await;
    }
    for (n, signature) in [
        (100, "@TAG@, x"),
        (101, "@TAG@,@TAG@"),
        (102, "@TAG@\u{ff}"),
    ] {
        let head = format!("POST /webhooks/walletwerk HTTP/1.1\nHost: h\n{signature}\n");
        check_refused(&gate, &[401], n, &format!("{head}{end}")).await;
    }
    // An underscore makes another header, which is dropped.
    let underscores = "X_WalletWerk_Signature: x\nX_WalletWerk_Delivery_ID: x\nContent_Length: 3\nTransfer_Encoding: chunked\n";
    check_forwarded(
        &gate,
        103,
        &format!("{OPEN}{underscores}Content-Length: @LEN@\n\n@BODY@"),
    )
    .await;
    let request = gate.app.requests().pop().unwrap();
    assert!(!request.headers.iter().any(|(name, _)| name.contains('_')));
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_decide_nothing_and_break_nothing() {
    let gate = gate("").await;
    let end = "Content-Length: @LEN@\n\n@BODY@";
    for (n, field, seen) in [
        (1, "X-WalletWerk-Delivery-ID: \u{ff}\u{fe}", None),
        (
            2,
            "X-WalletWerk-Event: \u{ff}",
            Some(("x-walletwerk-event", "card.active")),
        ),
        (
            3,
            "X-WalletWerk-Timestamp: \u{ff}",
            Some(("x-walletwerk-timestamp", "2026-01-01T00:00:00Z")),
        ),
        (
            4,
            "X-Forwarded-For: \u{ff}",
            Some(("x-forwarded-for", "127.0.0.1")),
        ),
        (5, "Authorization: \u{ff}", None),
        (6, "Connection: \u{ff}", None),
        (7, "traceparent: \u{ff}", None),
        (8, "User-Agent: \u{ff}", None),
        (9, "Content-Type: \u{ff}", None),
    ] {
        check_forwarded(&gate, n, &format!("{OPEN}{field}\n{end}")).await;
        let request = gate.app.requests().pop().unwrap();
        if let Some((name, value)) = seen {
            assert_eq!(request.header(name), Some(value), "{field}");
        }
    }
    for (n, field) in [(100, "Expect: \u{ff}"), (101, "Content-Encoding: \u{ff}")] {
        check_refused(&gate, &[415, 417], n, &format!("{OPEN}{field}\n{end}")).await;
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn nobody_switches_protocols() {
    let gate = gate("").await;
    let mut n = 0;
    for fields in [
        "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: eA==\nSec-WebSocket-Version: 13\n",
        "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__\n",
    ] {
        n += 2;
        let first = format!("{OPEN}{fields}Content-Length: @LEN@\n\n@BODY@");
        let second = format!("{OPEN}Connection: close\nContent-Length: @LEN@\n\n@BODY@");
        let bytes = [raw(&first, n), raw(&second, n + 1)].concat();
        let answers = answers(&gate, &bytes).await;
        let bodies: Vec<&str> = answers.iter().map(|answer| &*answer.body).collect();
        // What follows is a request like any other, not bytes of another protocol.
        assert_eq!(bodies, [format!("card_{n}"), format!("card_{}", n + 1)]);
        let bytes = [
            raw(&first, n + 100),
            b"\x82\x85\0\0\0\0hello".to_vec(),
            vec![b'\n'],
        ]
        .concat();
        let answers = self::answers(&gate, &bytes).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 400]);
    }
    for request in gate.app.requests() {
        for name in [
            "upgrade",
            "connection",
            "http2-settings",
            "sec-websocket-key",
        ] {
            assert_eq!(request.header(name), None);
        }
    }
}

#[tokio::test]
async fn a_sender_that_expects_100_gets_it_only_if_its_head_is_good() {
    let gate = gate("").await;
    let expecting = format!("{OPEN}Expect: 100-continue\nContent-Length: @LEN@\n\n");
    let mut wire = Wire::open(gate.address).await;
    wire.write(&raw(&expecting, 1)).await;
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire.write(&raw("@BODY@", 1)).await;
    assert_eq!(wire.answer().await.unwrap().body, "card_1");
    // On the same connection, without waiting, in another case.
    let whole = expecting.replace("100-continue", "100-Continue") + "@BODY@";
    wire.write(&raw(&whole, 2)).await;
    let mut answer = wire.answer().await.unwrap();
    if answer.status == 100 {
        answer = wire.answer().await.unwrap();
    }
    assert_eq!(answer.body, "card_2");
    for (n, status, template) in [
        (3, 401, expecting.replace("@TAG@\n", "")),
        (
            4,
            401,
            expecting.replace("@TAG@", "X-WalletWerk-Signature: x"),
        ),
        (5, 404, expecting.replace("/webhooks/", "/elsewhere/")),
        (6, 405, expecting.replace("POST", "PUT")),
        (7, 413, expecting.replace("@LEN@", "2000000")),
        (
            8,
            415,
            expecting.replace("Expect", "Content-Encoding: gzip\nExpect"),
        ),
        (9, 417, expecting.replace("100-continue", "100-continue, x")),
        (10, 417, expecting.replace("100-continue", "")),
        (11, 417, expecting.replace("100-continue", "200-ok")),
        (
            12,
            400,
            expecting.replace("Expect", "Content-Length: 1\nExpect"),
        ),
    ] {
        check_refused(&gate, &[status], n, &template).await;
    }
    for request in gate.app.requests() {
        assert_eq!(request.header("expect"), None);
    }
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn a_hundred_events_in_one_write_are_answered_in_order_and_a_broken_one_ends_it() {
    let gate = gate("").await;
    let whole = format!("{OPEN}Content-Length: @LEN@\n\n@BODY@");
    let broken = format!("{OPEN}Content-Length: +@LEN@\n\n@BODY@@HIDDEN@");
    let mut bytes: Vec<u8> = (1..=100).flat_map(|n| raw(&whole, n)).collect();
    bytes.extend(raw(&broken, 101));
    let answers = answers(&gate, &bytes).await;
    assert_eq!(answers.len(), 101);
    for (n, answer) in (1..=100).zip(&answers) {
        assert_eq!((answer.status, &*answer.body), (200, &*format!("card_{n}")));
    }
    assert_eq!(answers[100].status, 400);
    for (n, request) in (1..).zip(gate.app.requests()) {
        assert_eq!(request.body, card_event(n).as_bytes());
    }
    assert_eq!(gate.app.count(), 100);
    check_nothing_hidden(gate).await;
}

#[tokio::test]
async fn a_body_never_meets_another_requests_signature() {
    let gate = gate("").await;
    let head = |n| raw(&format!("{OPEN}Content-Length: @LEN@\n\n"), n);
    let body = |n| raw("@BODY@", n);
    let bytes = [head(1), body(2), head(2), body(1), head(3), body(3)].concat();
    let mut wire = Wire::open(gate.address).await;
    wire.write(&bytes).await;
    for outcome in ["unauthentic", "unauthentic", "forwarded"] {
        assert_eq!(wire.answer().await.unwrap().outcome(), outcome);
    }
    assert_eq!(gate.app.requests()[0].body, card_event(3).as_bytes());
}

#[tokio::test]
async fn an_event_that_arrives_byte_by_byte_is_an_event() {
    let gate = gate("").await;
    let mut wire = Wire::open(gate.address).await;
    for (n, rest) in [
        (1, "Content-Length: @LEN@\n\n@BODY@"),
        (2, "Transfer-Encoding: chunked\n\n@CHUNKED@"),
    ] {
        // An empty line before a request line is ignored.
        wire.write_slowly(&raw(&format!("\n{OPEN}{rest}"), n)).await;
        assert_eq!(wire.answer().await.unwrap().body, format!("card_{n}"));
    }
    let bodies: Vec<Vec<u8>> = gate.app.requests().into_iter().map(|r| r.body).collect();
    assert_eq!(
        bodies,
        [card_event(1).into_bytes(), card_event(2).into_bytes()]
    );
}

#[tokio::test]
async fn an_early_refusal_can_be_read_while_the_body_still_arrives() {
    let gate = gate("max_body = \"16MiB\"\n[client_quota]\nrate = \"1/h\"\nburst = 3").await;
    let bytes = 10 * 1024 * 1024;
    let hidden = raw("@HIDDEN@", 1);
    let mut flood = Vec::with_capacity(bytes);
    while flood.len() < bytes {
        flood.extend_from_slice(&hidden);
    }
    let post = "POST /webhooks/walletwerk HTTP/1.1\nHost: h\n";
    for (status, head) in [
        (401, format!("{post}Content-Length: {bytes}\n\n")),
        (
            401,
            format!("{post}Transfer-Encoding: chunked\n\n{bytes:x}\n"),
        ),
        (
            401,
            format!("{post}X-WalletWerk-Signature: x\nContent-Length: {bytes}\n\n"),
        ),
        (429, format!("{post}Content-Length: {bytes}\n\n")),
        (413, format!("{post}@TAG@\nContent-Length: 20000000\n\n")),
        (
            404,
            format!(
                "{}Content-Length: {bytes}\n\n",
                post.replace("/webhooks", "")
            ),
        ),
        (
            400,
            format!("{post}@TAG@\nContent-Length: {bytes}\nContent-Length: 1\n\n"),
        ),
    ] {
        // All of it is written before anything is read, as most senders do: one that cannot write reports
        // a broken connection and never looks for the answer.
        let mut wire = Wire::open(gate.address).await;
        assert!(
            wire.write(&[raw(&head, 1), flood.clone()].concat()).await,
            "{head:?}"
        );
        let answers = wire.rest().await;
        let [answer] = answers.as_slice() else {
            panic!("{} answers to {head:?}", answers.len());
        };
        assert_eq!(answer.status, status, "{head:?}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // Chunked, the limit is only found on the way.
    let head = format!("{OPEN}Transfer-Encoding: chunked\n\n");
    let chunk = [
        b"1000000\r\n".to_vec(),
        vec![b' '; 0x100_0000],
        b"\r\n1\r\nx".to_vec(),
    ]
    .concat();
    let answers = answers(&gate, &[raw(&head, 1), chunk].concat()).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].status, 413);
    let (app, _) = gate.end().await;
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn what_is_unknown_and_what_is_wrong_are_answered_alike_and_reflect_nothing() {
    let gate = gate("").await;
    let canary = "c4n4ry";
    let signed = Request::walletwerk(card_event(1), canary).with(&format!("X-Any: {canary}"));
    let mut forged = signed.clone();
    forged.body = format!("{{\"{canary}\":1}}").into_bytes();
    let mut unknown = forged.clone();
    unknown.line = format!("POST /{canary}?{canary} HTTP/1.1");
    let mut probe = forged.clone();
    probe.line = format!("{canary} /webhooks/walletwerk HTTP/1.1");
    let broken = forged.clone().with(canary);
    let mut names = Vec::new();
    for request in [forged, unknown, probe, broken] {
        let answer = gate.send(&request).await;
        let told = format!("{:?}{}", answer.headers, answer.body);
        assert!(!told.contains(canary), "{told}");
        assert!(
            !told.contains("hyper") && !told.contains("passgate/"),
            "{told}"
        );
        assert!(answer.body.len() < 200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let mut own: Vec<String> = answer.headers.into_iter().map(|(name, _)| name).collect();
        own.retain(|name| name != "allow" && name != "connection");
        own.sort();
        names.push(own);
    }
    assert!(names.iter().all(|other| *other == names[0]), "{names:?}");
}

#[tokio::test]
async fn a_body_may_be_slow_but_not_for_long() {
    const LENGTH: u64 = 4000;
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| {
            limits.body_time = Duration::from_secs(3600);
            limits.body_grace = Duration::from_millis(200);
            limits.body_rate = 2000;
        })
        .start()
        .await;
    let head = format!(
        "POST /webhooks/walletwerk HTTP/1.1\r\nHost: h\r\nX-WalletWerk-Signature: {}\r\nContent-Length: {LENGTH}\r\n\r\n",
        "0".repeat(64)
    );
    for (piece, pause, status) in [(1, 20, 408), (1000, 20, 401)] {
        let mut wire = Wire::open(gate.address).await;
        wire.write(head.as_bytes()).await;
        let mut sent = 0;
        let answer = loop {
            wire.write(&vec![b' '; piece]).await;
            sent += piece as u64;
            if sent >= LENGTH {
                break wire.answer().await;
            }
            // The pause is what is tried here.
            let answer = tokio::time::timeout(Duration::from_millis(pause), wire.answer());
            if let Ok(answer) = answer.await {
                break answer;
            }
            assert!(piece > 1 || sent < 400, "it may go on for ever");
        };
        assert_eq!(answer.unwrap().status, status, "{piece} bytes at a time");
    }
}

#[tokio::test]
async fn a_sender_that_dawdles_is_cut_off_and_others_are_served_meanwhile() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| {
            limits.head_time = Duration::from_millis(300);
            limits.idle_time = Duration::from_millis(300);
            limits.body_time = Duration::from_millis(300);
        })
        .start()
        .await;
    let event = format!("{OPEN}Content-Length: @LEN@\n\n@BODY@");
    let whole = raw(&event, 1);
    let mut wires = Vec::new();
    for (part, status) in [
        (&b""[..], None),
        (b"\r\n", None),
        (b"P", Some(408)),
        (b"PRI * HTTP/2", Some(408)),
        (b"\x16\x03\x01\x02\0\x01\0", Some(408)),
        (&whole[..30], Some(408)),
        (&whole[..whole.len() - 1], Some(408)),
    ] {
        for _ in 0..20 {
            let mut wire = Wire::open(gate.address).await;
            wire.write(part).await;
            wires.push((wire, status));
        }
    }
    assert_eq!(
        answer_to(&gate, &raw(&event, 2)).await.outcome(),
        "forwarded"
    );
    for (mut wire, status) in wires {
        let answers = wire.rest().await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, Vec::from_iter(status));
    }
    // Between two requests it may idle so long, and then goes without a word.
    let mut wire = Wire::open(gate.address).await;
    wire.write(&raw(&event, 3)).await;
    assert_eq!(wire.answer().await.unwrap().outcome(), "forwarded");
    assert!(wire.rest().await.is_empty());
    assert_eq!(gate.app.count(), 2);
}

#[tokio::test]
async fn the_time_of_a_head_cannot_be_stretched() {
    let gate = Setup::walletwerk(App::willing().await, "")
        .within(|limits| limits.head_time = Duration::from_millis(200))
        .start()
        .await;
    let event = raw(&format!("{OPEN}Content-Length: @LEN@\n\n@BODY@"), 1);
    // Neither by beginning it behind another request, where idling is allowed for longer …
    let mut wire = Wire::open(gate.address).await;
    wire.write(&[&event[..], &event[..40]].concat()).await;
    let statuses: Vec<u16> = wire
        .rest()
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    assert_eq!(statuses, [200, 408]);
    // … nor by empty lines before it, which are ignored.
    let mut wire = Wire::open(gate.address).await;
    let started = std::time::Instant::now();
    while wire.write(b"\r\n").await {
        // Meanwhile the gateway reads it: two in one read would be no request.
        gate.metrics().await;
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it goes on for ever"
        );
    }
}

#[tokio::test]
async fn a_sender_that_does_not_read_its_answers_is_cut_off() {
    let app = App::start(|_, _| Reply::with(200, "", &"a".repeat(60_000)));
    let gate = Setup::walletwerk(app.await, "")
        .within(|limits| limits.write_time = Duration::from_millis(100))
        .start()
        .await;
    let event = format!("{OPEN}Content-Length: @LEN@\n\n@BODY@");
    let events: Vec<u8> = (0..300).flat_map(|n| raw(&event, n)).collect();
    let mut wire = Wire::open(gate.address).await;
    wire.write(&events).await;
    gate.reached("passgate_connections", 0.0).await;
    assert!(
        gate.app.count() < 300,
        "its answers filled every buffer there is"
    );
    assert!(wire.rest().await.len() < 300);
    assert_eq!(
        answer_to(&gate, &raw(&event, 1000)).await.outcome(),
        "forwarded"
    );
}

async fn answer_to(gate: &Gate, bytes: &[u8]) -> Answer {
    let mut wire = Wire::open(gate.address).await;
    wire.write(bytes).await;
    wire.answer().await.expect("an answer")
}
