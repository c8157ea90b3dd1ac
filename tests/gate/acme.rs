//! Certificates by ACME, from a real authority: Let's Encrypt's test server `pebble`, which looks at our answers
//! through its own DNS. Debian has both in the package `pebble`.
//!
//! Where it is not installed these tests say so and prove nothing; `.ci/run` installs it, and sets
//! `PASSGATE_PEBBLE=required`, under which they fail instead.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::process::{Child, Command};

use crate::support::app::App;
use crate::support::gate::{Gate, Setup};
use crate::support::process::free_address;
use crate::support::sender::{Request, card_event};
use crate::support::tls::{Certificates, Hello};

const DOMAINS: [&str; 2] = ["hooks.passgate.example", "more.passgate.example"];

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
        .without("Host")
        .with(&format!("Host: {}", DOMAINS[0]))
}

fn series(name: &str) -> String {
    format!("{name}{{certificate=\"{}\"}}", DOMAINS[0])
}

/// An authority that is not running yet.
struct Authority {
    folder: Certificates,
    directory: SocketAddr,
}

/// One that is; it ends when it is dropped.
struct Running {
    _processes: Vec<Child>,
}

impl Authority {
    /// `None` where `pebble` is not installed.
    fn installed() -> Option<Self> {
        let is_there = |program: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        };
        if !is_there("pebble") || !is_there("pebble-challtestsrv") {
            let is_required =
                std::env::var_os("PASSGATE_PEBBLE").is_some_and(|value| value == "required");
            assert!(!is_required, "pebble is not installed");
            eprintln!("NOT TESTED: pebble is not installed (Debian: apt-get install pebble)");
            return None;
        }
        // What its own HTTPS shows, which the gateway is told to believe.
        let (folder, _) = Certificates::of("localhost");
        Some(Self {
            folder,
            directory: free_address(),
        })
    }

    /// The gateway's configuration for it.
    fn lines(&self, cache: &Path) -> String {
        format!(
            "[server.tls.acme]\ndomains = {DOMAINS:?}\ncontact = \"mailto:ops@passgate.example\"\n\
             directory = \"https://localhost:{}/dir\"\nroots = {:?}\ncache = {:?}\n",
            self.directory.port(),
            self.folder.path("one.pem").to_str().unwrap(),
            cache.to_str().unwrap(),
        )
    }

    /// Starts it; it finds every domain at 127.0.0.1, and looks for answers at this port.
    async fn start(&self, answers_at: u16) -> Running {
        let (dns, management) = (free_address(), free_address());
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "{}", "managementListenAddress": "{}", "certificate": {:?},
                "privateKey": {:?}, "httpPort": 1, "tlsPort": {answers_at}}}}}"#,
            self.directory,
            free_address(),
            self.folder.path("one.pem").to_str().unwrap(),
            self.folder.path("one.key").to_str().unwrap(),
        );
        let file = self.folder.path("pebble.json");
        std::fs::write(&file, config).unwrap();
        let run = |command: &mut Command| {
            let command = command.stdout(Stdio::null()).stderr(Stdio::null());
            command.kill_on_drop(true).spawn().unwrap()
        };
        let names = run(Command::new("pebble-challtestsrv")
            .args([
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-defaultIPv6",
                "",
            ])
            .args([
                "-dns01",
                &dns.to_string(),
                "-management",
                &management.to_string(),
            ]));
        let authority = run(Command::new("pebble")
            .args([
                "-config",
                file.to_str().unwrap(),
                "-dnsserver",
                &dns.to_string(),
            ])
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Each order is to be proven anew, and some nonces are refused for the sake of it.
            .env("PEBBLE_AUTHZREUSE", "0"));
        let listening = async {
            while tokio::net::TcpStream::connect(self.directory)
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), listening)
            .await
            .expect("pebble listens");
        Running {
            _processes: vec![names, authority],
        }
    }
}

async fn setup(tls: &str) -> Setup {
    let app = App::willing().await;
    Setup::walletwerk(app, tls).within(|limits| {
        limits.certificate_poll = Duration::from_millis(20);
        limits.acme_pause = Duration::from_millis(100);
    })
}

fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let parsed = ParsedCertificate::try_from(certificate).unwrap();
    verify_server_name(&parsed, &ServerName::try_from(name).unwrap()).is_ok()
}

async fn deliver(gate: &Gate, n: u64) -> u16 {
    let mut connection = Hello::to(DOMAINS[0]).open(gate.address).await;
    connection.ask(&event(n)).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_had_kept_served_and_renewed() {
    let Some(authority) = Authority::installed() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("below/cache");
    let gate = setup(&authority.lines(&cache)).await.start().await;
    // There is nobody to ask yet, which is an alarm and does not stop the listener.
    let (failing, errors) = (
        "passgate_tls_reload_failing",
        "passgate_tls_reload_errors_total",
    );
    gate.reached(&series(failing), 1.0).await;
    assert!(gate.metric(&series(errors)).await >= 1.0);
    gate.told("could not be had by ACME").await;
    assert!(Hello::to(DOMAINS[0]).shake(gate.address).await.is_err());

    let running = authority.start(gate.address.port()).await;
    gate.reached(&series(failing), 0.0).await;
    let first = Hello::to(DOMAINS[1]).shown(gate.address).await;
    assert!(DOMAINS.iter().all(|domain| is_for(&first, domain)));
    assert_eq!(deliver(&gate, 1).await, 200);
    let not_after = gate.metric(&series("passgate_tls_not_after_seconds")).await;
    assert!(not_after > 1_767_225_600.0, "{not_after}");
    // Challenges are over, and nobody is shown anything of them.
    let hello = Hello::to(DOMAINS[0]).offering(&["acme-tls/1"]);
    let error = hello
        .shake(gate.address)
        .await
        .expect_err("nothing to show");
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    assert!(
        matches!(error, Some(rustls::Error::AlertReceived(_))),
        "{error:?}"
    );

    // What is kept is for its owner alone.
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    let mut kept: Vec<_> = std::fs::read_dir(&cache)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    kept.sort();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.iter().all(|file| mode(file) == 0o600), "{kept:?}");

    // Five years later it is renewed, under the same account, without a connection being dropped.
    let mut open = Hello::to(DOMAINS[0]).open(gate.address).await;
    assert_eq!(open.ask(&event(2)).await.status, 200);
    let account = std::fs::read(&kept[0]).unwrap();
    gate.clock.advance(Duration::from_secs(5 * 366 * 86_400));
    let renewed = async { while Hello::to(DOMAINS[0]).shown(gate.address).await == first {} };
    tokio::time::timeout(Duration::from_secs(20), renewed)
        .await
        .expect("another certificate");
    assert_eq!(std::fs::read(&kept[0]).unwrap(), account);
    let second = Hello::to(DOMAINS[0]).shown(gate.address).await;
    drop(running);

    // After a restart what was kept is served at once, whether the authority is there or not.
    let (_, logged) = gate.end().await;
    let text = logged.text();
    assert_eq!(
        text.matches("had by ACME\"").count(),
        2,
        "once each: {text}"
    );
    assert!(!text.contains("PRIVATE"), "{text}");
    let gate = setup(&authority.lines(&cache)).await.start().await;
    assert!(Hello::to(DOMAINS[0]).shown(gate.address).await == second);
    assert_eq!(deliver(&gate, 3).await, 200);

    // An authority that was made anew knows neither us nor what it signed; that is no reason to ask it.
    assert!(
        !gate
            .metrics()
            .await
            .contains("reload_errors_total{certificate=\"hooks.passgate.example\"} 1")
    );
    drop(gate);
    // Without the certificate it is asked, and says that it does not know the account.
    std::fs::remove_file(&kept[1]).unwrap();
    let gate = setup(&authority.lines(&cache)).await.start().await;
    let _running = authority.start(gate.address.port()).await;
    let served = async { while Hello::to(DOMAINS[0]).shake(gate.address).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), served)
        .await
        .expect("a certificate");
    assert_ne!(std::fs::read(&kept[0]).unwrap(), account, "a new account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_not_content_is_an_alarm_that_says_why() {
    let Some(authority) = Authority::installed() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // It looks for the answers where nobody is; the certificate from files is served meanwhile.
    let _running = authority.start(1).await;
    let files = Certificates::of("elsewhere.example");
    let lines = format!(
        "[server.tls]\n{}{}",
        files.0.lines("one"),
        authority.lines(folder.path())
    );
    let gate = setup(&lines).await.start().await;
    gate.reached(&series("passgate_tls_reload_failing"), 1.0)
        .await;
    assert!(Hello::to("elsewhere.example").shown(gate.address).await == files.1.der);
    let (_, logged) = gate.end().await;
    let alarm = logged.text();
    let alarm = alarm.lines().find(|line| line.contains("could not be had"));
    let alarm = alarm.expect("an alarm");
    assert!(alarm.contains("tls-alpn-01 challenge"), "{alarm}");
}
