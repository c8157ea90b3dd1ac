//! `verify` with WalletWerk: fixed vectors, each with one thing wrong, and what is said about it.

use crate::{Files, expect};

const A: &str = r#"{"event":"card.active","timestamp":"2025-12-09T10:30:00Z","organization_id":123,"data":{"card_id":"card_abc123","recipient_id":"recipient_xyz789","campaign_id":"campaign_def456","provider":"apple","old_status":"invited","new_status":"active","metadata":{}}}"#;
const A_HEX: &str = "5694e3f34662e92d41520c1a734b2b5c3bf1a3c5eb3b859428d3e1388c23a834";
const A_BASE64: &str = "VpTj80Zi6S1BUgwac0srXDvxo8XrO4WUKNPhOIwjqDQ=";
/// Of [`A`] with a newline at its end.
const A_NEWLINE_HEX: &str = "da1365c0c74accb3f73d288c7a6abdf10799c9b58a0362eb75236318401f7a0b";
/// Of [`A`], by the secret with a newline at its end.
const A_KEY_NEWLINE_HEX: &str = "887aafa9db525e6fa689ba19fea320f92f1ce114f28c5f5f8fcb04d2474d255f";
/// Of [`A`], by the next secret.
const A_NEXT_HEX: &str = "6c35caba33dc432e5d40394021eb00fb31aa3f44c101a09d9bae13c83973474c";
const EMPTY_HEX: &str = "52bcd8b50dee65e2010405126a6a943a0ceafa57283acd86b28fd730f348fcfe";
const B: &str = r#"{"event":"recipient.updated","timestamp":"2025-12-09T10:31:00Z","organization_id":123,"data":{"recipient_id":"recipient_xyz789","metadata":{"name":"Zoë \u00e9","n":12345678901234567890,"r":1.0}}}"#;
const B_HEX: &str = "7c45775581963dcf17f9a728b8bc38ccd426b6e1c531d8b7845c259047f78ab4";

/// Verifies `body` under `signature` with the secret, two minutes after the event.
fn walletwerk(secret: &str, signature: &str, body: impl AsRef<[u8]>, code: i32, texts: &[&str]) {
    let files = Files::new();
    let body = files.put("body.json", body);
    let header = format!("X-WalletWerk-Signature: {signature}");
    let at = "2025-12-09T10:32:00Z";
    let arguments = [
        "verify",
        "walletwerk",
        "--secret",
        secret,
        "--header",
        &header,
        "--at",
        at,
        &body,
    ];
    let ran = expect(&arguments, code, texts);
    assert!(!ran.stdout.contains(signature), "{}", ran.stdout);
}

#[test]
fn a_true_request_verifies_and_says_what_it_is() {
    for (signature, shape) in [(A_HEX, "(hex)"), (A_BASE64, "(base64)")] {
        walletwerk(
            "env:WW",
            signature,
            A,
            0,
            &[
                "verifies",
                "card.active",
                "2025-12-09T10:30:00Z",
                "card_abc123",
                shape,
                "by env:WW",
                "evt_",
            ],
        );
    }
    walletwerk(
        "env:WW",
        B_HEX,
        B,
        0,
        &["recipient.updated", "recipient_xyz789"],
    );
}

#[test]
fn of_several_secrets_the_one_that_matches_is_named() {
    let files = Files::new();
    let body = files.put("body.json", A);
    let key = files.put("key", "walletwerk_next_secret\n");
    let reference = format!("file:{key}");
    let header = format!("X-WalletWerk-Signature: {A_NEXT_HEX}");
    let at = "2025-12-09T10:30:00Z";
    expect(
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "--secret",
            &reference,
            "--header",
            &header,
            "--at",
            at,
            &body,
        ],
        0,
        &[&format!("by {reference}")],
    );
}

#[test]
fn a_changed_body_is_recognised_by_what_was_signed() {
    let spaced = A.replace("\":", "\": ").replace(",\"", ", \"");
    let pretty = A.replace(",\"", ",\n  \"");
    for (signature, body, cause) in [
        (
            A_HEX,
            format!("{A}\n"),
            "of the body without the newline at its end",
        ),
        (
            A_HEX,
            format!("{A}\r\n"),
            "of the body without the newline at its end",
        ),
        (
            A_HEX,
            format!("\u{feff}{A}"),
            "of the body without the byte order mark",
        ),
        (
            A_NEWLINE_HEX,
            A.to_owned(),
            "of the body with a newline at its end",
        ),
        (
            A_HEX,
            spaced,
            "of the body as JavaScript's JSON.stringify writes it",
        ),
        (
            A_HEX,
            pretty.clone(),
            "of the body as JavaScript's JSON.stringify writes it",
        ),
        (
            A_HEX,
            format!("{pretty}\n"),
            "of the body as JavaScript's JSON.stringify writes it",
        ),
        (EMPTY_HEX, A.to_owned(), "of the body taken as empty"),
    ] {
        walletwerk(
            "env:WW",
            signature,
            body,
            1,
            &["does not verify", cause, "env:WW"],
        );
    }
    let latin1: Vec<u8> = B
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    walletwerk(
        "env:WW",
        B_HEX,
        latin1,
        1,
        &["of the body in UTF-8 instead of Latin-1"],
    );
}

#[test]
fn another_reading_of_the_secret_is_recognised() {
    walletwerk(
        "env:WW",
        A_KEY_NEWLINE_HEX,
        A,
        1,
        &["made with env:WW with a newline at its end"],
    );
    walletwerk(
        "env:WW_NEWLINE",
        A_HEX,
        A,
        1,
        &["env:WW_NEWLINE without the newline at its end"],
    );
    walletwerk(
        "env:WW_QUOTED",
        A_HEX,
        A,
        1,
        &["env:WW_QUOTED without the quotes around it"],
    );
    walletwerk(
        "env:WW_QUOTED",
        A_HEX,
        format!("{A}\n"),
        1,
        &["Two things differ", "without the quotes"],
    );
    walletwerk(
        "env:WW_NEXT",
        A_HEX,
        A,
        1,
        &["No usual change explains it", "another secret"],
    );
}

#[test]
fn an_ill_shaped_signature_is_described() {
    for (signature, problem) in [
        (&A_HEX[..63], "has 63 hex digits"),
        (&A_HEX[..40], "SHA-1"),
        (&format!("sha1={A_HEX}"), "begins with `sha1=`"),
        (&format!("\"{A_HEX}\""), "stands in quotes"),
        (&format!("{A_HEX}, {A_HEX}"), "holds several signatures"),
        ("not-a-signature-at-all", "neither 64 hex digits nor base64"),
    ] {
        walletwerk("env:WW", signature, A, 1, &["has not the shape", problem]);
    }
    let quoted = format!("\"{A_HEX}\"");
    walletwerk(
        "env:WW",
        &quoted,
        A,
        1,
        &["Once that is undone the signature verifies"],
    );
}

#[test]
fn an_event_outside_of_its_time_is_authentic_but_stale() {
    let files = Files::new();
    let body = files.put("body.json", A);
    let header = format!("X-WalletWerk-Signature: {A_HEX}");
    let base = [
        "verify",
        "walletwerk",
        "--secret",
        "env:WW",
        "--header",
        &header,
        &body,
    ];
    for (at, code, text) in [
        ("2025-12-12T10:30:00Z", 0, "would be delivered"),
        ("2025-12-12T10:30:01Z", 1, "3 d ago, and `max_age` is 3 d"),
        ("2025-12-09T10:25:00Z", 0, "would be delivered"),
        ("2025-12-09T10:24:59Z", 1, "5 min 1 s in the future"),
    ] {
        expect(&[&base[..], &["--at", at]].concat(), code, &[text]);
    }
    let options = [
        "--at",
        "2025-12-10T10:30:01Z",
        "--option",
        "max_age = \"24h\"",
    ];
    expect(
        &[&base[..], &options].concat(),
        1,
        &["authentic", "stale", "`max_age` is 1 d"],
    );
    expect(&base, 1, &["stale"]);
}

#[test]
fn a_whole_request_can_be_given_in_one_file() {
    let files = Files::new();
    let crlf = format!(
        "POST /webhooks/walletwerk HTTP/1.1\r\nHost: x\r\nX-WalletWerk-Signature: {A_HEX}\r\nX-WalletWerk-Event: card.revoked\r\nContent-Length: 257\r\n\r\n{A}"
    );
    let at = "2025-12-09T10:30:00Z";
    let lf = crlf.replace("\r\n", "\n");
    for (head, rest, code, text) in [
        (&crlf, "", 0, "x-walletwerk-event says something else"),
        (&lf, "", 0, "would be delivered"),
        (&lf, "\n", 1, "without the newline at its end"),
        (
            &lf,
            "\n",
            1,
            "`content-length` says 257 bytes, but the captured body has 258",
        ),
    ] {
        let file = files.put("captured.http", format!("{head}{rest}"));
        expect(
            &[
                "verify",
                "walletwerk",
                "--secret",
                "env:WW",
                "--at",
                at,
                "--request",
                &file,
            ],
            code,
            &[text],
        );
    }
    let doubled = crlf.replacen("Host: x", &format!("x-walletwerk-signature: {A_HEX}"), 1);
    let file = files.put("captured.http", doubled);
    expect(
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "--request",
            &file,
        ],
        1,
        &["more than one"],
    );
    let doubled = crlf.replacen("Host: x", "x-walletwerk-event: card.active", 1);
    let file = files.put("captured.http", doubled);
    expect(
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "--at",
            at,
            "--request",
            &file,
        ],
        1,
        &["more than one `x-walletwerk-event`"],
    );
    let got = crlf.replacen("POST", "PUT", 1);
    let file = files.put("captured.http", got);
    expect(
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "--at",
            at,
            "--request",
            &file,
        ],
        1,
        &["would not be delivered", "method is not POST"],
    );
    let broken = files.put("captured.http", "POST / HTTP/1.1\nno colon here\n\n");
    expect(
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "--request",
            &broken,
        ],
        2,
        &["captured.http:2:"],
    );
}

#[test]
fn a_missing_header_is_told_with_what_is_there_instead() {
    let files = Files::new();
    let body = files.put("body.json", A);
    expect(
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "--header",
            "X-Hub-Signature-256: sha256=00",
            &body,
        ],
        1,
        &[
            "`x-walletwerk-signature` is not there",
            "`x-hub-signature-256`",
        ],
    );
}

#[test]
fn a_wrong_option_is_said_with_its_place() {
    let files = Files::new();
    let body = files.put("body.json", A);
    expect(
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "--option",
            "max_agee = \"1h\"",
            &body,
        ],
        78,
        &["--option:1:1:", "max_age"],
    );
}
