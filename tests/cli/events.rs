//! `passgate events` against a gateway that runs beside it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::server::Server;
use crate::{Files, Ran, VARIABLES, expect, passgate};

/// A gateway of its own, killed at the end.
struct Running {
    child: Child,
    config: String,
    admin: String,
    url: String,
    _files: Files,
}

impl Running {
    /// One WalletWerk route before this app; `admin` are lines for `[admin]`, where it listens perhaps among them.
    fn start(app: &Server, admin: &str) -> Self {
        let files = Files::new();
        let (listen, admin_listen) = (free_address(), free_address());
        let admin = match admin.contains("listen =") {
            true => admin.to_owned(),
            false => format!("listen = \"{admin_listen}\"\n{admin}"),
        };
        let config = format!(
            "[server]\nlisten = \"{listen}\"\n[admin]\n{admin}\n[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WW\"]\nupstream = \"{}\"\n",
            app.url("/events")
        );
        let config = files.put("config.toml", config);
        let mut child = Command::new(env!("CARGO_BIN_EXE_passgate"))
            .args(["run", "--config", &config])
            .env_clear()
            .envs(VARIABLES)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(log.any(|line| line.unwrap().contains("passgate is ready")));
        // Read on, so that the gateway is never held up.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            config,
            admin: format!("http://{admin_listen}"),
            url: format!("http://{listen}/webhooks/walletwerk"),
            _files: files,
        }
    }

    fn send(&self, count: &str) {
        let arguments = ["send", "walletwerk", "card.active", "--secret", "env:WW"];
        let more = ["--to", &self.url, "--count", count];
        expect(&[&arguments[..], &more[..]].concat(), 0, &[]);
    }

    /// `passgate events …` for this gateway.
    fn events(&self, arguments: &[&str], code: i32, texts: &[&str]) -> Ran {
        let arguments = [&["events"], arguments, &["--admin", &self.admin]].concat();
        expect(&arguments, code, texts)
    }

    fn ids(&self, arguments: &[&str]) -> Vec<String> {
        let list = self.events(&[&["list", "--json"], arguments].concat(), 0, &[]);
        let list: Value = serde_json::from_str(&list.stdout).unwrap();
        let events = list["events"].as_array().unwrap().iter();
        events
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens at, as good as sure.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn dead_letters_are_listed_shown_and_replayed_from_the_shell() {
    let app = Server::start(|n| (if n < 3 { 422 } else { 200 }, "-"));
    let gateway = Running::start(&app, "");
    gateway.send("3");
    gateway.events(
        &["list", "--state", "dead_letter"],
        0,
        &["ID ", "STATE", "dead_letter", "refused", "card.active"],
    );
    let ids = gateway.ids(&["--route", "walletwerk", "--limit", "2"]);
    assert_eq!(ids.len(), 2);
    let all = gateway.ids(&[]);
    assert_eq!(all.len(), 3);
    assert!(gateway.ids(&["--state", "queued"]).is_empty());

    let id = &all[2];
    gateway.events(
        &["show", id],
        0,
        &["answered 422", "header", "application/json", "reason"],
    );
    let shown = gateway.events(&["show", id, "--json"], 0, &[]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["attempts"][0]["status"], 422);
    let body = gateway.events(&["show", id, "--body"], 0, &[]).stdout;
    let received = app.requests()[0].clone();
    assert!(
        !body.is_empty() && received.ends_with(body.as_bytes()),
        "{body}"
    );

    gateway.events(&["replay", id], 0, &[id, "queued"]);
    let filter = ["--route", "walletwerk", "--state", "dead_letter"];
    let more = ["--rate", "100/s", "--wait"];
    let ran = gateway.events(
        &[&["replay"], &filter[..], &more[..]].concat(),
        0,
        &["done: "],
    );
    assert!(ran.stdout.starts_with("rpl_"), "{}", ran.stdout);
    let unknown = "evt_00000000000000000000000000000000";
    gateway.events(&["replay", unknown], 1, &[unknown, "404"]);
    gateway.events(&["show", unknown], 1, &["404"]);
    gateway.events(&["show", unknown, "--body"], 1, &["404"]);
}

#[test]
fn a_token_comes_from_the_configuration_or_by_reference() {
    let app = Server::start(|_| (200, "-"));
    let gateway = Running::start(&app, "token = \"env:PASSWORKS_KEY\"");
    gateway.events(&["list"], 1, &["wants a token"]);
    gateway.events(
        &["list", "--token", "env:WW"],
        1,
        &["env:WW", "is not the one"],
    );
    gateway.events(
        &["list", "--token", "env:PASSWORKS_KEY"],
        0,
        &["no such events"],
    );
    let by_config = ["events", "list", "--config", &gateway.config];
    expect(&by_config, 0, &["no such events"]);
    let other = [&by_config[..], &["--token", "env:WW"]].concat();
    expect(&other, 1, &["is not the one"]);
}

#[test]
fn whether_it_is_ready_is_an_exit_code() {
    let app = Server::start(|_| (200, "-"));
    let mut gateway = Running::start(&app, "token = \"env:PASSWORKS_KEY\"");
    let by_config = ["ready", "--config", &gateway.config];
    let by_url = ["ready", "--admin", &gateway.admin];
    for arguments in [&by_config, &by_url] {
        assert_eq!(expect(arguments, 0, &[]).stdout, "ready\n");
    }
    let red = Server::start(|_| (503, "-"));
    let stranger = ["ready", "--admin", &red.url("")];
    expect(&stranger, 1, &["not ready: ", "answered 503"]);
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    expect(&by_config, 1, &["cannot be reached"]);
    expect(&["ready", "--admin", "127.0.0.1:9180"], 2, &[]);
    expect(&["ready", "--config", "/does/not/exist"], 78, &[]);
}

#[test]
fn a_gateway_whose_admin_api_is_a_unix_socket_is_asked_over_it() {
    let app = Server::start(|_| (422, "-"));
    let mut gateway = Running::start(&app, "listen = [\"unix:admin.sock\"]");
    gateway.send("1");
    let list = ["events", "list", "--config", &gateway.config];
    expect(&list, 0, &["dead_letter", "card.active"]);
    expect(&["ready", "--config", &gateway.config], 0, &["ready"]);
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    expect(&list, 1, &["unix:/", "admin.sock", "cannot be reached"]);
}

#[test]
fn who_does_not_answer_or_is_somebody_else_is_told_apart() {
    let nobody = format!("http://{}", free_address());
    for command in [
        &["list"][..],
        &["show", "evt_00000000000000000000000000000000"],
        &["replay", "--state", "dead_letter"],
    ] {
        let arguments = [&["events"], command, &["--admin", &nobody]].concat();
        expect(
            &arguments,
            1,
            &["cannot be reached", "is the gateway running?"],
        );
    }
    let stranger = Server::start(|n| (if n == 0 { 200 } else { 404 }, "-"));
    for _ in 0..2 {
        let arguments = ["events", "list", "--admin", &stranger.url("")];
        expect(&arguments, 1, &["not the admin API"]);
    }
}

#[test]
fn what_cannot_be_meant_ends_with_2_and_what_cannot_be_read_with_78() {
    let id = "evt_00000000000000000000000000000000";
    for arguments in [
        &[][..],
        &["list", "--state", "dead"],
        &["list", "--since", "yesterday"],
        &["list", "--limit", "0"],
        &["list", "--admin", "127.0.0.1:9180"],
        &["list", "--admin", "http://x/", "--config", "config.toml"],
        &["show"],
        &["show", "evt_1"],
        &["show", id, "--body", "--json"],
        &["replay"],
        &["replay", id, "--state", "dead_letter"],
        &["replay", id, "--wait"],
        &["replay", "--state", "dead_letter", "--rate", "fast"],
    ] {
        expect(&[&["events"], arguments].concat(), 2, &[]);
    }
    expect(
        &["events", "list", "--config", "/does/not/exist"],
        78,
        &["cannot be read", "--admin"],
    );
    for (reference, problem) in [
        ("env:NOT_SET", "NOT_SET is not set"),
        ("hunter2hunter2", "not a reference"),
    ] {
        let arguments = [
            "events",
            "list",
            "--admin",
            "http://x/",
            "--token",
            reference,
        ];
        let ran = passgate(&arguments);
        assert_eq!(ran.code, 78, "{}", ran.stderr);
        assert!(ran.stderr.contains(problem) && !ran.stderr.contains("hunter2"));
    }
}
