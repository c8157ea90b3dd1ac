//! What stands between cargo and rustc: an optimised build of the profile's own compiler gets the profile, and
//! everything else is handed on as it is. A script stands in for rustc.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

const OPTIMISED: [&str; 3] = ["a file.rs", "-C", "opt-level=3"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pgo")
}

fn compiler() -> String {
    let text = fs::read_to_string(folder().join("compiler")).unwrap();
    text.trim_end().to_owned()
}

/// What a compiler that calls itself `version` is given, line by line, and how that ends.
fn given(version: &str, arguments: &[&str], record: Option<&str>) -> (Vec<String>, i32) {
    let output = Command::new(folder().join("rustc"))
        .arg(folder().join("../tests/pgo/rustc"))
        .args(arguments)
        .env_remove("PASSGATE_RECORD")
        .envs(record.map(|folder| ("PASSGATE_RECORD", folder)))
        .env("VERSION", version)
        // Some shells speak up at a language that they do not have.
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    (
        said.lines().map(str::to_owned).collect(),
        output.status.code().unwrap(),
    )
}

#[test]
fn an_optimised_build_gets_the_profile() {
    let (words, code) = given(&compiler(), &OPTIMISED, None);
    assert_eq!(code, 7, "its end is rustc's");
    assert_eq!(words[..3], OPTIMISED);
    let profile = words
        .iter()
        .find_map(|word| word.strip_prefix("profile-use="))
        .unwrap();
    // A compiler that is handed half a profile may crash.
    let sum = HEXLOWER.encode(&Sha256::digest(fs::read(profile).unwrap()));
    let sums = fs::read_to_string(folder().join("sums")).unwrap();
    assert!(sums.starts_with(&sum), "it is not as it was recorded");
}

#[test]
fn another_compiler_and_other_builds_are_left_alone() {
    let (words, code) = given("rustc 1.0.0", &OPTIMISED, None);
    assert_eq!(
        (words.as_slice(), code),
        (OPTIMISED.map(str::to_owned).as_slice(), 7)
    );
    for own in [
        "profile-use=/tmp/mine",
        "profile-generate=/tmp/mine",
        "instrument-coverage",
    ] {
        let theirs = [&OPTIMISED[..], &["-C", own]].concat();
        let (words, _) = given(&compiler(), &theirs, None);
        assert_eq!(words, theirs, "they exclude each other");
    }
    let across = [&OPTIMISED[..], &["--target", "x86_64-unknown-linux-gnu"]].concat();
    let (words, _) = given(&compiler(), &across, None);
    assert_eq!(words, across, "its functions have other names");
    let debug = ["main.rs", "-C", "opt-level=1"];
    let (words, _) = given(&compiler(), &debug, Some("/tmp/raw"));
    assert_eq!(words, debug);
}

#[test]
fn cargo_asks_it() {
    let config = fs::read_to_string(folder().join("../.cargo/config.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    assert_eq!(config["build"]["rustc-wrapper"].as_str(), Some("pgo/rustc"));
}

#[test]
fn a_recording_is_compiled_to_count() {
    let (words, _) = given(&compiler(), &OPTIMISED, Some("/tmp/raw"));
    assert_eq!(words[3..], ["-C", "profile-generate=/tmp/raw"]);
}

#[test]
fn the_image_is_built_by_the_compiler_of_the_profile() {
    let dockerfile = fs::read_to_string(folder().join("../Dockerfile")).unwrap();
    let compiler = compiler();
    let version = compiler.split(' ').nth(1).unwrap();
    assert!(
        dockerfile.contains(&format!("FROM rust:{version}-")),
        "{version}"
    );
    // With it, cargo gives every function another name than the profile has.
    let commands: Vec<&str> = dockerfile
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(!commands.iter().any(|line| line.contains("--target")));
}
