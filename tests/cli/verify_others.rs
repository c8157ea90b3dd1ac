//! `verify` with Passworks and Wallit: every way in which a credential or a parameter can be wrong.

use crate::{Files, expect};

#[test]
fn passworks_wants_the_bare_key() {
    let files = Files::new();
    let body = files.put("body.json", r#"{"event":"installed","pass_id":"p1"}"#);
    for (value, code, text) in [
        (
            "a1b2c3d4e5f60718",
            0,
            "api_key (bare), by env:PASSWORKS_KEY",
        ),
        ("Bearer a1b2c3d4e5f60718", 1, "with `Bearer` before it"),
        (
            "Token token=\"a1b2c3d4e5f60718\"",
            1,
            "written as `Token token=…`",
        ),
        (
            "Basic dXNlcjphMWIyYzNkNGU1ZjYwNzE4",
            1,
            "as the password of `Basic`",
        ),
        ("A1B2C3D4E5F60718", 1, "in another case"),
        ("\"a1b2c3d4e5f60718\"", 1, "in quotes"),
        ("a1b2c3d4e5f6", 1, "it was cut off"),
        ("something-else-entirely", 1, "is another secret"),
        (
            "Bearer something-else",
            1,
            "begins with the word of a scheme",
        ),
    ] {
        let header = format!("Authorization: {value}");
        let arguments = [
            "verify",
            "passworks",
            "--secret",
            "env:PASSWORKS_KEY",
            "--header",
            &header,
            &body,
        ];
        let ran = expect(&arguments, code, &[text]);
        assert!(!ran.stdout.contains("something-else"));
    }
    expect(
        &[
            "verify",
            "passworks",
            "--secret",
            "env:PASSWORKS_KEY",
            &body,
        ],
        1,
        &["`authorization` is not there"],
    );
    let cut = files.put("cut.json", "{\"event\":");
    let header = "Authorization: a1b2c3d4e5f60718";
    expect(
        &[
            "verify",
            "passworks",
            "--secret",
            "env:PASSWORKS_KEY",
            "--header",
            header,
            &cut,
        ],
        1,
        &["authentic", "unreadable", "cut off"],
    );
}

#[test]
fn wallits_path_and_parameters_are_looked_at_one_by_one() {
    let right =
        "CallbackType=ExternalSubscriberLinked&CallbackToken=5d0f5ca5-2528-4bbd-b83f-18b3a732c1ee";
    for (target, code, text) in [
        (
            format!("/hooks/7Q-path-secret?{right}"),
            0,
            "token (token), by env:PATH_SECRET",
        ),
        (
            format!("/hooks/7q-path-secret?{right}"),
            1,
            "in another case",
        ),
        (
            format!("/hooks/7Q-path-secret/?{right}"),
            1,
            "ends in a slash after env:PATH_SECRET",
        ),
        (
            format!("/hooks/7Q%2Dpath-secret?{right}"),
            1,
            "percent-encoded",
        ),
        (
            format!("/hooks/7Q-path-secret/more?{right}"),
            1,
            "not as its last segment",
        ),
        (
            format!("/hooks?secret=7Q-path-secret&{right}"),
            1,
            "in the query",
        ),
        (
            format!("/hooks/other-secret?{right}"),
            1,
            "is another secret",
        ),
        (
            "/hooks/7Q-path-secret?CallbackType=A".to_owned(),
            1,
            "`CallbackToken`, which Wallit always sends",
        ),
        (
            "/hooks/7Q-path-secret?callbacktype=A&CallbackToken=1".to_owned(),
            1,
            "is written `callbacktype`",
        ),
        (
            format!("/hooks/7Q-path-secret?{right}&CallbackType=B"),
            1,
            "`CallbackType` is there more than once",
        ),
        (
            "/hooks/7Q-path-secret?CallbackType=A&CallbackToken=a%2Fb".to_owned(),
            1,
            "characters that do not occur",
        ),
    ] {
        let ran = expect(
            &[
                "verify",
                "wallit",
                "--secret",
                "env:PATH_SECRET",
                "--target",
                &target,
            ],
            code,
            &[text],
        );
        assert!(!ran.stdout.contains("5d0f5ca5"), "{}", ran.stdout);
    }
}

#[test]
fn wallits_authentication_header_is_taken_apart() {
    let key = "BB772A5B-1E7B-461C-8AC6-CA9E6E2FD2B9";
    let tag = "4X+iNR7cMjFmYKxbZ+11DK1lEgwEtVVDJJ5jS6Ls2Ew=";
    let date = "Wed, 05 Oct 2016 15:08:05 GMT";
    let target = "/hooks/Wallit/7Q?ExternalSubscriberImportID=e63f94b4-247f-405d-9222-af01507271ec%7C0635781205603107443&CallbackType=ExternalSubscriberImportCompleted&CallbackToken=5d0f5ca5-2528-4bbd-b83f-18b3a732c1ee";
    let prefixed = target.replace("/hooks", "/prefix/hooks");
    let at = "2016-10-05T15:09:00Z";
    for (authentication, date, target, at, code, text) in [
        (
            format!("{key}:{tag}"),
            date,
            target,
            at,
            0,
            "by env:MANAGEMENT",
        ),
        (
            format!("{key}:{tag}"),
            date,
            target,
            "2016-10-05T15:20:05Z",
            1,
            "lies 12 min before",
        ),
        (
            format!("{key}:{tag}"),
            "yesterday",
            target,
            at,
            1,
            "not an RFC 1123 date",
        ),
        (
            format!("{key}:{}", &tag[1..]),
            date,
            target,
            at,
            1,
            "not base64 of 32 bytes",
        ),
        (tag.to_owned(), date, target, at, 1, "has no colon"),
        (
            format!("AA772A5B-{}:{tag}", &key[9..]),
            date,
            target,
            at,
            1,
            "is not `management_key`",
        ),
        (
            format!("{key}:{tag}"),
            date,
            &prefixed,
            at,
            1,
            "over a shorter path",
        ),
        (
            format!("{key}:{tag}"),
            date,
            "/other?CallbackType=A&CallbackToken=1",
            at,
            1,
            "of another request",
        ),
    ] {
        let authentication = format!("Authentication: {authentication}");
        let date = format!("Timestamp: {date}");
        let ran = expect(
            &[
                "verify",
                "wallit",
                "--option",
                "management_key = \"env:MANAGEMENT_KEY\"",
                "--option",
                "management_secret = \"env:MANAGEMENT\"",
                "--header",
                &authentication,
                "--header",
                &date,
                "--target",
                target,
                "--at",
                at,
            ],
            code,
            &[text],
        );
        assert!(!ran.stdout.contains(key) && !ran.stdout.contains(&tag[1..]));
    }
}
