//! The configuration is read anew while the gateway runs: all of it or nothing, and no request sees two.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::app::{App, Reply};
use crate::support::clock::HandClock;
use crate::support::gate::{Gate, Setup};
use crate::support::operator::{ask, json_of, over, switched};
use crate::support::sender::{Request, card_event, sign};
use crate::support::tls::{Certificates, Hello};

/// A configuration's file, and what it says at the moment.
struct File {
    folder: tempfile::TempDir,
    app: String,
}

// === impl File ===

impl File {
    fn before(app: &App) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            app: app.address.to_string(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it say that these are the routes.
    fn says(&self, routes: &str) {
        self.says_all(&format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{routes}"
        ));
    }

    fn says_all(&self, text: &str) {
        let text = text.replace("@APP@", &self.app);
        std::fs::write(self.path(), text).unwrap();
    }
}

/// One WalletWerk route with `more` lines in its table.
fn route(more: &str) -> String {
    format!(
        "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:WALLETWERK_SECRET\"]\nupstream = \"http://@APP@/events\"\n{more}\n"
    )
}

impl Gate {
    /// Has the configuration read anew; it must be right.
    async fn reload(&self) -> Value {
        let answer = self.admin_post("reload", None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        json_of(&answer)
    }
}

fn event(n: u64) -> Request {
    Request::walletwerk(card_event(n), &format!("d{n}"))
}

fn to(path: &str, request: Request) -> Request {
    Request {
        line: format!("POST {path} HTTP/1.1"),
        ..request
    }
}

#[tokio::test]
async fn a_configuration_with_mistakes_changes_nothing_and_says_them_all() {
    let app = App::willing().await;
    let file = File::before(&app);
    file.says(&route("delivery = \"inline\""));
    let gate = Setup::from_file(app, &file.path()).start().await;
    file.says(
        "[[route]]\nprovider = \"walletwerk\"\nname = \"other\"\nsecret = 5\ntimeout = \"1y\"\n",
    );
    let answer = gate.admin_post("reload", None).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    let problem = json_of(&answer);
    let mistakes = problem["mistakes"].as_array().unwrap();
    assert!(mistakes.len() >= 4, "{problem}");
    assert!(
        mistakes
            .iter()
            .any(|said| said.as_str().unwrap().starts_with("8:1: ")),
        "{problem}"
    );
    assert_eq!(gate.metric("passgate_config_is_current").await, 0.0);
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
    let other = gate.send(&to("/webhooks/other", event(2))).await;
    assert_eq!(other.outcome(), "no_route");

    file.says(&route("name = \"other\"\ndelivery = \"inline\""));
    let reloaded = gate.reload().await;
    assert_eq!(
        reloaded,
        json!({"reloaded": true, "warnings": [], "needs_restart": []})
    );
    assert_eq!(gate.metric("passgate_config_is_current").await, 1.0);
    let other = gate.send(&to("/webhooks/other", event(2))).await;
    assert_eq!(other.outcome(), "forwarded");
    assert_eq!(gate.send(&event(3)).await.outcome(), "no_route");
    let reloads = "passgate_config_reloads_total{result=\"failed\"}";
    assert_eq!(gate.metric(reloads).await, 1.0);
    let log = gate.stop().await.text();
    assert!(log.contains("the one before holds"), "{log}");
}

#[tokio::test]
async fn secrets_overlap_for_as_long_as_both_are_written() {
    let app = App::willing().await;
    let file = File::before(&app);
    let with = |secrets: &str| {
        route("delivery = \"inline\"").replace("[\"env:WALLETWERK_SECRET\"]", secrets)
    };
    let signed = |n: u64, secret: &str| {
        let body = card_event(n);
        let tag = sign(secret.as_bytes(), body.as_bytes());
        Request::walletwerk(body, &format!("d{n}"))
            .without("X-WalletWerk-Signature")
            .with(&format!("X-WalletWerk-Signature: {tag}"))
    };
    let (old, new) = ("walletwerk_previous_secret", "walletwerk_test_secret");
    file.says(&with("[\"env:WALLETWERK_SECRET_OLD\"]"));
    let gate = Setup::from_file(app, &file.path()).start().await;
    assert_eq!(gate.send(&signed(1, old)).await.outcome(), "forwarded");
    assert_eq!(gate.send(&signed(2, new)).await.outcome(), "unauthentic");
    file.says(&with(
        "[\"env:WALLETWERK_SECRET\", \"env:WALLETWERK_SECRET_OLD\"]",
    ));
    gate.reload().await;
    assert_eq!(gate.send(&signed(3, old)).await.outcome(), "forwarded");
    assert_eq!(gate.send(&signed(4, new)).await.outcome(), "forwarded");
    file.says(&with("[\"env:WALLETWERK_SECRET\"]"));
    gate.reload().await;
    assert_eq!(gate.send(&signed(5, old)).await.outcome(), "unauthentic");
    assert_eq!(gate.send(&signed(6, new)).await.outcome(), "forwarded");
    assert_eq!(gate.send(&signed(1, new)).await.outcome(), "duplicate");
}

#[tokio::test]
async fn quotas_that_did_not_change_keep_their_state() {
    let app = App::willing().await;
    let file = File::before(&app);
    let quota = "[route.quota]\nrate = \"1/h\"\nburst = 2";
    file.says(&route(&format!("delivery = \"inline\"\n{quota}")));
    let gate = Setup::from_file(app, &file.path()).start().await;
    assert_eq!(gate.send(&event(1)).await.outcome(), "forwarded");
    assert_eq!(gate.send(&event(2)).await.outcome(), "forwarded");
    file.says(&route(&format!(
        "delivery = \"inline\"\ntimeout = \"5s\"\n{quota}"
    )));
    gate.reload().await;
    assert_eq!(gate.send(&event(3)).await.outcome(), "rate_limited");
    let wider = quota.replace("burst = 2", "burst = 3");
    file.says(&route(&format!("delivery = \"inline\"\n{wider}")));
    gate.reload().await;
    let answer = gate.send(&event(3)).await;
    assert_eq!(answer.outcome(), "forwarded");
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("2"));

    let forged = || Request::walletwerk(card_event(9), "d9").without("X-WalletWerk-Signature");
    let remaining = async |text: &str| {
        file.says(text);
        gate.reload().await;
        let refused = gate.send(&forged()).await;
        refused.outcome().to_owned()
    };
    let strict = format!("[client_quota]\nrate = \"1/h\"\nburst = 1\n{}", route(""));
    assert_eq!(remaining(&strict).await, "unauthentic");
    assert_eq!(remaining(&strict).await, "client_limited");
    let wide = strict.replace("burst = 1", "burst = 2");
    assert_eq!(remaining(&wide).await, "unauthentic");
}

#[tokio::test]
async fn a_request_that_has_begun_goes_on_as_it_began() {
    let (app, open) = App::held(200).await;
    let file = File::before(&app);
    file.says(&route("delivery = \"inline\""));
    let gate = Arc::new(Setup::from_file(app, &file.path()).start().await);
    let sending = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.send(&event(1)).await }
    });
    gate.app_reached(1).await;
    file.says(&route("name = \"other\""));
    gate.reload().await;
    assert_eq!(gate.send(&event(2)).await.outcome(), "no_route");
    open.send(true).unwrap();
    assert_eq!(sending.await.unwrap().outcome(), "forwarded");
}

#[tokio::test]
async fn events_of_a_removed_route_are_parked_until_a_reload_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::new());
    let (app, switch) = switched(500).await;
    let file = File::before(&app);
    file.says(&route(""));
    let setup = Setup::from_file(app, &file.path());
    let gate = over(folder.path(), &clock, setup).start().await;
    gate.send_events(0..5, "spilled").await;
    let attempts = gate.app.count();
    file.says(&route("name = \"other\""));
    gate.reload().await;
    switch.send(200).unwrap();
    clock.advance(Duration::from_secs(60));
    let parked = gate.events("state=parked").await;
    assert_eq!(parked.len(), 5);
    gate.send(&to("/webhooks/other", event(9))).await;
    assert_eq!(gate.app.count(), attempts + 1, "no attempt without a route");
    file.says(&route(""));
    gate.reload().await;
    gate.app_reached(attempts + 6).await;
    gate.send_events(0..5, "duplicate").await;
    let none: [Value; 0] = [];
    gate.until_shown("events?state=queued", |list| list["events"] == json!(none))
        .await;
    assert_eq!(gate.app.count(), attempts + 6, "each of them once");
}

#[tokio::test]
async fn an_attempt_that_runs_while_its_route_goes_and_comes_is_not_made_twice() {
    let (app, open) = App::held(200).await;
    let file = File::before(&app);
    file.says(&route("delivery = \"queue\""));
    let gate = Setup::from_file(app, &file.path()).start().await;
    gate.send_events(0..3, "queued").await;
    gate.app_reached(3).await;
    for routes in [route("name = \"other\""), route("delivery = \"queue\"")] {
        file.says(&routes);
        gate.reload().await;
    }
    gate.send_events(3..4, "queued").await;
    gate.app_reached(4).await;
    open.send(true).unwrap();
    gate.until_shown("routes", |routes| {
        routes["routes"][0]["queue"]["in_flight"] == 0
            && routes["routes"][0]["queue"]["queued"] == 0
    })
    .await;
    assert_eq!(gate.app.count(), 4);
}

#[tokio::test]
async fn the_events_of_a_route_that_is_added_are_delivered() {
    let app = App::willing().await;
    let file = File::before(&app);
    file.says(&route("delivery = \"queue\""));
    let gate = Setup::from_file(app, &file.path()).start().await;
    let added = route("name = \"other\"\ndelivery = \"queue\"");
    file.says(&format!("{}{added}", route("delivery = \"queue\"")));
    gate.reload().await;
    let other = gate.send(&to("/webhooks/other", event(1))).await;
    assert_eq!(other.outcome(), "queued");
    gate.app_reached(1).await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_takes_effect() {
    let app = App::willing().await;
    let file = File::before(&app);
    file.says(&route("delivery = \"inline\""));
    let gate = Setup::from_file(app, &file.path()).start().await;
    file.says_all(&format!(
        "[server]\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:2\"\ntoken = \"env:PASSWORKS_API_KEY\"\n[store]\npath = \"other.redb\"\nreserve = \"1MiB\"\n{}",
        route("name = \"other\"\ndelivery = \"inline\"")
    ));
    let reloaded = gate.reload().await;
    assert_eq!(
        reloaded["needs_restart"],
        json!([
            "server.listen",
            "admin.listen",
            "store.path",
            "store.reserve"
        ])
    );
    let other = gate.send(&to("/webhooks/other", event(2))).await;
    assert_eq!(other.outcome(), "forwarded");
    assert!(!file.folder().join("other.redb").exists());
    // The token is the new configuration's.
    let answer = ask("GET", "routes", None).send(gate.admin).await;
    assert_eq!(answer.status, 401);
    let request = ask("GET", "routes", None);
    let shown = request.with("Authorization: Bearer passworks-live-api-key");
    assert_eq!(shown.send(gate.admin).await.status, 200);
}

#[tokio::test]
async fn a_timeout_is_held_against_the_bounds_in_force() {
    let app = App::willing().await;
    let file = File::before(&app);
    file.says(&route("delivery = \"inline\""));
    let gate = Setup::from_file(app, &file.path()).start().await;
    file.says(&format!(
        "[server.limits]\nbody_time = \"1s\"\n{}",
        route("timeout = \"21s\"")
    ));
    let answer = gate.admin_post("reload", None).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.body.contains("bounds in force"), "{answer:?}");
}

#[tokio::test]
async fn a_file_that_became_a_pipe_is_a_mistake_and_holds_nobody_up() {
    let app = App::willing().await;
    let file = File::before(&app);
    file.says(&route(""));
    let gate = Setup::from_file(app, &file.path()).start().await;
    std::fs::remove_file(file.path()).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(file.path())
        .status();
    assert!(made.unwrap().success());
    let reloading = gate.admin_post("reload", None);
    let answer = tokio::time::timeout(Duration::from_secs(10), reloading).await;
    assert_eq!(answer.expect("it does not wait for a writer").status, 422);
    std::fs::remove_file(file.path()).unwrap();
    file.says(&route("name = \"other\""));
    gate.reload().await;
    let stopping = tokio::time::timeout(Duration::from_secs(10), gate.stop()).await;
    assert!(stopping.is_ok(), "the end waits for it");
}

/// The pair is served as it was, and is its own watch's business.
#[tokio::test]
async fn a_broken_certificate_keeps_no_secret_in_force() {
    let app = App::willing().await;
    let (certificates, _) = Certificates::of("gate");
    let file = File::before(&app);
    let tls = format!("[server.tls]\n{}", certificates.lines("one"));
    let says = |secrets: &str| {
        let route = route("delivery = \"inline\"");
        let route = route.replace("[\"env:WALLETWERK_SECRET\"]", secrets);
        file.says(&format!("{tls}\n{route}"));
    };
    says("[\"env:WALLETWERK_SECRET\"]");
    let gate = Setup::from_file(app, &file.path()).start().await;
    let mut sender = Hello::to("gate").open(gate.address).await;
    assert_eq!(sender.ask(&event(1)).await.outcome(), "forwarded");
    for name in ["one.pem", "one.key"] {
        std::fs::write(certificates.path(name), "rubbish").unwrap();
    }
    says("[\"env:WALLETWERK_SECRET_OLD\"]");
    let reloaded = gate.reload().await;
    assert!(!reloaded["warnings"].as_array().unwrap().is_empty());
    assert_eq!(sender.ask(&event(2)).await.outcome(), "unauthentic");
}

#[tokio::test]
async fn without_a_file_there_is_nothing_to_read_anew() {
    let gate = Gate::willing().await;
    assert_eq!(gate.admin_post("reload", None).await.status, 409);
}

#[tokio::test]
async fn a_change_of_the_file_is_noticed() {
    let app = App::willing().await;
    let file = File::before(&app);
    file.says(&route(""));
    let gate = Setup::from_file(app, &file.path()).start().await;
    // Another file in its place, as an editor or a mounted volume does it.
    let beside = file.folder().join("beside.toml");
    let text = std::fs::read_to_string(file.path()).unwrap();
    std::fs::write(
        &beside,
        text.replace("[[route]]", "[[route]]\nname = \"other\""),
    )
    .unwrap();
    std::fs::rename(&beside, file.path()).unwrap();
    let reloads = "passgate_config_reloads_total{result=\"ok\"}";
    let looking = async {
        while !gate.metrics().await.contains(reloads) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let noticed = tokio::time::timeout(Duration::from_secs(20), looking).await;
    assert!(noticed.is_ok(), "nobody noticed");
    let other = gate.send(&to("/webhooks/other", event(2))).await;
    assert_eq!(other.outcome(), "forwarded");
}

/// Of two configurations each says two things that must never be seen apart.
#[tokio::test]
async fn a_hundred_reloads_under_load_lose_and_mix_nothing() {
    const SENDERS: u64 = 8;
    let app = App::start(|_, before| Reply::status(if before % 50 == 7 { 503 } else { 200 })).await;
    let file = File::before(&app);
    let plain = route("").replace("/events", "/plain");
    let signed = route("sign_with = \"env:SIGNING_SECRET\"").replace("/events", "/signed");
    file.says(&plain);
    let gate = Arc::new(Setup::from_file(app, &file.path()).start().await);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (gate, stopped) = (Arc::clone(&gate), stopped.clone());
        senders.spawn(async move {
            let mut sent = Vec::new();
            for n in 0.. {
                if *stopped.borrow() {
                    break;
                }
                let number = n * SENDERS + sender;
                let answer = gate.send(&event(number)).await;
                assert_eq!(answer.status, 200, "{number}: {answer:?}");
                sent.push(number);
            }
            sent
        });
    }
    for turn in 0..100 {
        file.says(if turn % 2 == 0 { &signed } else { &plain });
        gate.reload().await;
    }
    stop.send(true).unwrap();
    let mut sent = 0;
    while let Some(numbers) = senders.join_next().await {
        sent += numbers.unwrap().len();
    }
    let delivered = |gate: &Gate| {
        let requests = gate.app.requests();
        let mut keys: Vec<String> = requests
            .iter()
            .map(|request| request.header("idempotency-key").unwrap().to_owned())
            .collect();
        keys.sort();
        keys.dedup();
        keys.len()
    };
    let none: [Value; 0] = [];
    gate.until_shown("events?state=queued", |list| {
        gate.clock.advance(Duration::from_millis(100));
        list["events"] == json!(none)
    })
    .await;
    assert_eq!(delivered(&gate), sent);
    let requests = gate.app.requests();
    for request in &requests {
        let is_signed = request.header("webhook-signature").is_some();
        assert_eq!(request.target() == "/signed", is_signed, "{request:?}");
    }
    let kinds = ["/signed", "/plain"].map(|path| {
        requests
            .iter()
            .filter(|request| request.target() == path)
            .count()
    });
    assert!(kinds.iter().all(|count| *count > 10), "{kinds:?}");
}
