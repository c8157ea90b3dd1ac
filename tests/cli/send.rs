//! `send`: what arrives at a server, and what is made of its answers.

use crate::expect;
use crate::server::Server;

/// The header's value in a raw request.
fn header(request: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(request).into_owned();
    let lines = text.split("\r\n").take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_once(": "))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.to_owned()))
}

fn body(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request).into_owned();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Holds what `send` sent to what `verify` says of it.
fn expect_verified(provider: &str, secret: &str, request: &[u8], code: i32) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("captured.http");
    std::fs::write(&file, request).unwrap();
    let file = file.to_str().unwrap();
    expect(
        &["verify", provider, "--secret", secret, "--request", file],
        code,
        &[],
    );
}

#[test]
fn each_provider_is_sent_as_it_would_send() {
    let server = Server::start(|_| (200, "forwarded"));
    let cases = [
        ("walletwerk", "card.active", "env:WW"),
        ("walletwerk", "campaign.new-one", "env:WW"),
        ("passworks", "redeemed", "env:PASSWORKS_KEY"),
        (
            "wallit",
            "ExternalSubscriberImportCompleted",
            "env:PATH_SECRET",
        ),
    ];
    for (provider, event, secret) in cases {
        let to = server.url(&format!("/webhooks/{provider}"));
        let arguments = ["send", provider, event, "--to", &to, "--secret", secret];
        expect(
            &arguments,
            0,
            &[
                event,
                "200",
                "forwarded",
                "1 event: 1 accepted, 0 refused (1 forwarded)",
            ],
        );
    }
    let requests = server.requests();
    assert_eq!(requests.len(), cases.len());
    for ((provider, _, secret), request) in cases.iter().zip(&requests) {
        expect_verified(provider, secret, request, 0);
    }
    assert!(requests[0].starts_with(b"POST /webhooks/walletwerk HTTP/1.1\r\n"));
    assert!(requests[3].starts_with(b"GET /webhooks/wallit/7Q-path-secret?CallbackType="));
    assert_eq!(
        header(&requests[2], "authorization").unwrap(),
        "a1b2c3d4e5f60718"
    );
}

#[test]
fn every_event_is_fresh_unless_the_same_is_asked_for() {
    let server = Server::start(|_| (200, "forwarded"));
    let to = server.url("/");
    let arguments = [
        "send",
        "walletwerk",
        "card.active",
        "--to",
        &to,
        "--secret",
        "env:WW",
        "--count",
        "3",
    ];
    expect(&arguments, 0, &["3 events: 3 accepted"]);
    expect(&[&arguments[..], &["--same"]].concat(), 0, &["3 events"]);
    let requests = server.requests();
    assert_eq!(requests.len(), 6);
    let (fresh, same) = requests.split_at(3);
    assert_ne!(body(&fresh[0]), body(&fresh[1]));
    assert_ne!(
        header(&fresh[0], "x-walletwerk-delivery-id"),
        header(&fresh[1], "x-walletwerk-delivery-id")
    );
    assert!(same.iter().all(|request| *request == same[0]));
}

#[test]
fn a_tampered_event_does_not_verify() {
    let server = Server::start(|_| (401, "unauthentic"));
    let cases = [
        ("walletwerk", "card.active", "env:WW"),
        ("passworks", "installed", "env:PASSWORKS_KEY"),
        ("wallit", "ExternalSubscriberLinked", "env:PATH_SECRET"),
    ];
    for (provider, event, secret) in cases {
        let to = server.url("/hooks");
        let arguments = [
            "send", provider, event, "--to", &to, "--secret", secret, "--tamper",
        ];
        expect(&arguments, 1, &["401  unauthentic", "1 refused"]);
    }
    for ((provider, _, secret), request) in cases.iter().zip(&server.requests()) {
        expect_verified(provider, secret, request, 1);
    }
}

#[test]
fn a_refused_event_is_repeated_with_the_same_bytes_until_it_is_accepted() {
    let server = Server::start(|number| match number {
        0 | 1 => (503, "overloaded"),
        _ => (200, "forwarded"),
    });
    let to = server.url("/hooks");
    expect(
        &[
            "send",
            "walletwerk",
            "card.active",
            "--to",
            &to,
            "--secret",
            "env:WW",
            "--retry",
            "--retry-speed",
            "1000000",
        ],
        0,
        &[
            "try 1  503  overloaded",
            "try 3  200  forwarded",
            "1 event in 3 tries: 1 accepted, 0 refused",
        ],
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| *request == requests[0]));
}

#[test]
fn ten_refusals_in_a_row_would_have_disabled_the_endpoint() {
    let server = Server::start(|_| (503, "store_unavailable"));
    let to = server.url("/hooks");
    let arguments = [
        "send",
        "walletwerk",
        "card.active",
        "--to",
        &to,
        "--secret",
        "env:WW",
        "--retry",
    ];
    let ran = expect(
        &[
            &arguments[..],
            &["--retry-speed", "1000000", "--count", "2"],
        ]
        .concat(),
        1,
        &["2 events in 12 tries: 0 accepted, 2 refused"],
    );
    let warnings = ran
        .stdout
        .matches("walletwerk would have disabled the endpoint")
        .count();
    assert_eq!(warnings, 1);
}

#[test]
fn wallit_takes_nothing_but_200_and_tries_three_times() {
    let server = Server::start(|_| (204, "forwarded"));
    let to = server.url("/hooks");
    let arguments = [
        "send",
        "wallit",
        "ExternalSubscriberLinked",
        "--to",
        &to,
        "--secret",
        "env:PATH_SECRET",
    ];
    expect(
        &[&arguments[..], &["--retry", "--retry-speed", "1000000"]].concat(),
        1,
        &["1 event in 3 tries: 0 accepted, 1 refused"],
    );
}

#[test]
fn many_can_be_under_way_at_once() {
    let server = Server::start(|_| (200, "duplicate"));
    let to = server.url("/hooks");
    expect(
        &[
            "send",
            "passworks",
            "installed",
            "--to",
            &to,
            "--secret",
            "env:PASSWORKS_KEY",
            "--count",
            "40",
            "--parallel",
            "8",
        ],
        0,
        &["40 events: 40 accepted, 0 refused (40 duplicate)"],
    );
    assert_eq!(server.requests().len(), 40);
}

#[test]
fn without_a_secret_nothing_is_signed() {
    let server = Server::start(|_| (401, "unauthentic"));
    let to = server.url("/hooks");
    expect(
        &["send", "walletwerk", "card.active", "--to", &to],
        1,
        &["401"],
    );
    assert_eq!(
        header(&server.requests()[0], "x-walletwerk-signature"),
        None
    );
}

#[test]
fn a_server_that_is_not_there_is_a_refusal_and_no_url_is_shown() {
    // Bound and dropped: nobody listens on that port now.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let to = format!("http://{address}/hooks");
    expect(
        &[
            "send",
            "wallit",
            "ExternalSubscriberLinked",
            "--to",
            &to,
            "--secret",
            "env:PATH_SECRET",
        ],
        1,
        &["no answer: ", "refused"],
    );
}

#[test]
fn an_outcome_that_is_no_label_is_not_shown() {
    let server = Server::start(|_| (200, "Not A Label; \"really\""));
    let to = server.url("/hooks");
    let arguments = [
        "send",
        "walletwerk",
        "card.active",
        "--to",
        &to,
        "--secret",
        "env:WW",
    ];
    let ran = expect(&arguments, 0, &["1 event: 1 accepted"]);
    assert!(!ran.stdout.contains("Label"));
}

/// The certificate is trusted only because the environment names it, as for the system's own.
#[test]
fn https_is_spoken_to_servers_whose_certificate_is_trusted() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let trusted = files.path().join("roots.pem");
    std::fs::write(&trusted, certified.cert.pem()).unwrap();
    let server = Server::start_tls(certified, |_| (200, "forwarded"));
    let to = format!(
        "https://localhost:{}/hooks",
        server.address.rsplit(':').next().unwrap()
    );
    let arguments = [
        "send",
        "passworks",
        "created",
        "--to",
        &to,
        "--secret",
        "env:PASSWORKS_KEY",
    ];
    let run = |roots: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_passgate"));
        command
            .args(arguments)
            .env("PASSWORKS_KEY", "a1b2c3d4e5f60718")
            .env("SSL_CERT_FILE", roots);
        command.output().unwrap()
    };
    let ran = run(&trusted);
    assert!(ran.status.success(), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("200  forwarded"));
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let untrusted = files.path().join("other.pem");
    std::fs::write(&untrusted, other.cert.pem()).unwrap();
    let ran = run(&untrusted);
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stdout).contains("no answer: "));
}
