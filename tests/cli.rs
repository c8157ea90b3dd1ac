//! The command line as a shell sees it: the real binary, its output and its exit codes.
//!
//! `verify` is held against fixed vectors, so that no signing code of ours has to be right for it; `send`
//! talks to a small server of its own.

// Clippy knows tests by their attribute and takes their helpers for production code.
#![allow(clippy::unwrap_used)]

#[path = "cli/check.rs"]
mod check;
#[path = "cli/events.rs"]
mod events;
#[path = "cli/send.rs"]
mod send;
#[path = "cli/server.rs"]
mod server;
#[path = "cli/verify.rs"]
mod verify;
#[path = "cli/verify_others.rs"]
mod verify_others;

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What came of a command.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Secrets in the environment of every command.
const VARIABLES: [(&str, &str); 8] = [
    ("WW", "walletwerk_test_secret"),
    ("WW_NEXT", "walletwerk_next_secret"),
    ("WW_NEWLINE", "walletwerk_test_secret\n"),
    ("WW_QUOTED", "\"walletwerk_test_secret\""),
    ("PASSWORKS_KEY", "a1b2c3d4e5f60718"),
    ("PATH_SECRET", "7Q-path-secret"),
    ("SHORT", "short"),
    ("MANAGEMENT", "test-secret"),
];

/// A folder that lives as long as the test's files are needed.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Runs the binary in an environment of which nothing is inherited.
fn passgate(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_passgate"))
        .args(arguments)
        .env_clear()
        .envs(VARIABLES)
        .env("MANAGEMENT_KEY", "BB772A5B-1E7B-461C-8AC6-CA9E6E2FD2B9")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Holds a command to its exit code, to texts that must be in its output, and to showing no secret.
fn expect(arguments: &[&str], code: i32, texts: &[&str]) -> Ran {
    let ran = passgate(arguments);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, code, "{arguments:?}\n{all}");
    for text in texts {
        assert!(all.contains(text), "{arguments:?} says no {text:?}:\n{all}");
    }
    for (name, secret) in VARIABLES {
        let shows = secret.len() >= 8 && all.contains(secret.trim_matches(['"', '\n']));
        assert!(!shows, "{arguments:?} shows {name}:\n{all}");
    }
    ran
}

#[test]
fn the_version_and_the_help_are_no_errors() {
    expect(&["--version"], 0, &["passgate 0."]);
    for command in ["run", "ready", "check", "demo", "send", "verify", "events"] {
        expect(&[command, "--help"], 0, &["Usage: passgate", "passgate "]);
    }
    for arguments in [&["--help"][..], &["run", "--help"]] {
        expect(
            arguments,
            0,
            &["\n  0 ", "\n  1 ", "\n  2 ", "\n  75 ", "\n  78 "],
        );
    }
    expect(
        &["send", "--help"],
        0,
        &["card.active", "installed", "ExternalSubscriberLinked"],
    );
}

#[test]
fn wrong_arguments_end_with_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["verify"],
        &["verify", "stripe", "body.json"],
        &["verify", "walletwerk", "--secret", "env:WW"],
        &[
            "verify",
            "walletwerk",
            "--secret",
            "env:WW",
            "/does/not/exist",
        ],
        &["verify", "walletwerk", "body.json", "--request", "file"],
        &["verify", "walletwerk", "--header", "no colon", "body.json"],
        &["verify", "walletwerk", "--at", "yesterday", "body.json"],
        &["send", "walletwerk", "card.active"],
        &["send", "walletwerk", "card.active", "--to", "/path"],
        &[
            "send",
            "walletwerk",
            "card.active",
            "--to",
            "ftp://127.0.0.1/",
        ],
        &[
            "send",
            "walletwerk",
            "card.active",
            "--to",
            "http://127.0.0.1/",
            "--tamper",
        ],
        &[
            "send",
            "walletwerk",
            "card.active",
            "--to",
            "http://127.0.0.1/",
            "--count",
            "0",
        ],
        &["run", "--conf"],
    ] {
        expect(arguments, 2, &[]);
    }
}

#[test]
fn a_secret_that_cannot_be_had_ends_with_78_and_a_literal_is_not_repeated() {
    for (reference, problem) in [
        ("env:NOT_SET", "NOT_SET is not set"),
        ("env:SHORT", "fewer than 8 bytes"),
        ("file:/does/not/exist", "cannot be read"),
        ("hunter2hunter2", "not a reference"),
    ] {
        for arguments in [
            &["verify", "walletwerk", "--secret", reference, "body.json"][..],
            &[
                "send",
                "walletwerk",
                "card.active",
                "--to",
                "http://127.0.0.1:9/",
                "--secret",
                reference,
            ],
        ] {
            let ran = expect(arguments, 78, &[problem]);
            assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        }
    }
}
