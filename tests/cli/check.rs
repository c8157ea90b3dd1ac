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

#[test]
fn a_certificate_that_has_expired_is_warned_of_and_one_of_another_key_refused() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let key = rcgen::KeyPair::generate().unwrap();
    put("a.pem", &params.self_signed(&key).unwrap().pem());
    put("a.key", &key.serialize_pem());
    put(
        "b.key",
        &rcgen::KeyPair::generate().unwrap().serialize_pem(),
    );
    let tls = "[server.tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";
    let file = put("config.toml", &format!("{ROUTE}{tls}"));
    expect(
        &["check", "--config", &file],
        0,
        &["6:15: warning: server.tls.certificate: expired at 2020-01-02T00:00:00Z"],
    );
    let file = put(
        "config.toml",
        &format!("{ROUTE}{}", tls.replace("a.key", "b.key")),
    );
    expect(
        &["check", "--config", &file],
        78,
        &["7:7: server.tls.key: holds a private key that is not the certificate's"],
    );
    expect(
        &["check", "--config", &file, "--no-secrets"],
        0,
        &["1 route"],
    );
}
