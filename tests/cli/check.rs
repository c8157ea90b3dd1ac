//! `check`: every mistake with its place, and the exit code.

use crate::expect;

const ROUTE: &str = "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WW\"]\nupstream = \"http://127.0.0.1:3000/\"\n";

#[test]
fn a_right_configuration_is_said_to_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let file = file.to_str().unwrap();
    std::fs::write(file, ROUTE).unwrap();
    expect(
        &["check", "--config", file],
        0,
        &["config.toml is right: 1 route\n"],
    );
}

#[test]
fn every_mistake_is_said_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let file = file.to_str().unwrap();
    std::fs::write(
        file,
        format!("{ROUTE}timeuot = \"1s\"\nmax_body = \"huge\"\n"),
    )
    .unwrap();
    let ran = expect(
        &["check", "--config", file],
        78,
        &["config.toml:5:1:", "config.toml:6:12:"],
    );
    assert_eq!(ran.stdout, "");
}

#[test]
fn secrets_need_not_be_there_when_they_are_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let file = file.to_str().unwrap();
    std::fs::write(file, ROUTE.replace("env:WW", "env:NOT_SET")).unwrap();
    expect(&["check", "--config", file], 78, &["NOT_SET"]);
    expect(
        &["check", "--config", file, "--no-secrets"],
        0,
        &["1 route"],
    );
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_too() {
    expect(
        &["check", "--config", "/does/not/exist.toml"],
        78,
        &["cannot be read"],
    );
}
