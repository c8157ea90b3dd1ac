//! The files to run it with, held to the binary and to each other: what they call exists, what they mount is
//! used, what they probe is served, and nobody is killed before it has drained.
//!
//! No container engine is needed and none is asked; what only an engine could say is not said here.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use passgate::rules::config::Config;
use passgate::rules::config::listen::Listen;
use serde_json::Value;

/// What closing the store may take after a drain, and a little patience.
const CLOSING: Duration = Duration::from_secs(5);

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn documents(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn config(text: &str) -> Config {
    Config::read(text, Path::new("/etc/passgate/config.toml"), None)
        .unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
        .0
}

fn passgate(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_passgate"))
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

/// The configuration that the sidecar embeds.
fn embedded() -> String {
    let maps = documents("deploy/kubernetes-sidecar.yaml");
    let map = maps.iter().find(|map| map["kind"] == "ConfigMap").unwrap();
    map["data"]["config.toml"].as_str().unwrap().to_owned()
}

fn strings(value: &Value) -> Vec<&str> {
    let items = value.as_array().unwrap().iter();
    items.map(|item| item.as_str().unwrap()).collect()
}

/// The value of an instruction that is there once in the last stage of the Dockerfile.
fn instruction(name: &str) -> String {
    let dockerfile = text("Dockerfile");
    let (_, last) = dockerfile.split_once("FROM scratch\n").unwrap();
    let values: Vec<&str> = last
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .collect();
    assert_eq!(values.len(), 1, "{name}");
    values[0].to_owned()
}

/// The command line that the image runs without further arguments, without the program itself.
fn image_arguments() -> Vec<String> {
    let entrypoint: Vec<String> = serde_json::from_str(&instruction("ENTRYPOINT")).unwrap();
    assert_eq!(entrypoint, ["/passgate"]);
    serde_json::from_str(&instruction("CMD")).unwrap()
}

/// Every argument is known, and the configuration is where `--config` says.
fn assert_runs(arguments: &[&str], config: &str) {
    assert_eq!(arguments, ["run", "--config", config]);
    let (code, said) = passgate(&[arguments, &["--help"]].concat());
    assert_eq!(code, 0, "{said}");
}

fn tcp_ports(places: &[Listen]) -> BTreeSet<u64> {
    let addresses = places.iter().filter_map(Listen::tcp);
    // What listens on loopback is for who is inside.
    let open = addresses.filter(|address| !address.ip().is_loopback());
    open.map(|address| address.port().into()).collect()
}

fn assert_drains_within(config: &Config, patience: Duration) {
    let drain = config.server.drain;
    assert!(
        drain.delay + drain.timeout + CLOSING <= patience,
        "{drain:?} is cut off after {patience:?}"
    );
}

/// `45s` as compose and systemd write it.
fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
}

#[test]
fn every_configuration_passes_the_check_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("container.toml", text("deploy/container.toml")),
        ("systemd.toml", text("deploy/systemd.toml")),
        ("embedded.toml", embedded()),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let (code, said) = passgate(&["check", "--no-secrets", "--config", path.to_str().unwrap()]);
        assert_eq!(code, 0, "{said}");
        assert!(said.ends_with(" is right: 1 route\n"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn the_image_runs_what_there_is_as_nobody_in_particular() {
    let arguments = image_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_runs(&arguments, "/etc/passgate/config.toml");
    let user = instruction("USER");
    let ids: Vec<u32> = user.split(':').map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() == 2 && !ids.contains(&0), "{user}");
    let dockerfile = text("Dockerfile");
    for prepared in [
        format!("chown -R {user} /image{}", instruction("VOLUME")),
        "/etc/ssl/certs/ca-certificates.crt".to_owned(),
        "target-feature=+crt-static".to_owned(),
        "--locked".to_owned(),
    ] {
        assert!(dockerfile.contains(&prepared), "{prepared}");
    }
    assert_eq!(instruction("STOPSIGNAL"), "SIGTERM");
    let (_, health) = dockerfile.split_once("HEALTHCHECK").unwrap();
    let (_, health) = health.split_once("CMD ").unwrap();
    let health: Vec<String> = serde_json::from_str(health.trim()).unwrap();
    assert_eq!(health[0], "/passgate");
    assert_eq!(
        health[1..],
        ["ready", "--config", "/etc/passgate/config.toml"]
    );
    let ready: Vec<&str> = health[1..].iter().map(String::as_str).collect();
    assert_eq!(passgate(&[&ready[..], &["--help"]].concat()).0, 0);
}

#[test]
fn the_image_is_built_from_what_the_build_needs() {
    let ignored = text(".dockerignore");
    assert_eq!(ignored.lines().next(), Some("*"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let let_in: BTreeSet<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for name in &let_in {
        assert!(root.join(name).exists(), "{name}");
    }
    let manifest = text("Cargo.toml");
    let targets = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = "));
    for target in targets {
        let folder = target.trim_matches('"').split('/').next().unwrap();
        assert!(let_in.contains(folder), "{target}");
    }
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo",
        "pgo",
        "src",
        "benches",
    ] {
        assert!(let_in.contains(name), "{name}");
    }
}

#[test]
fn compose_mounts_what_is_used_and_publishes_what_is_served() {
    let compose = documents("deploy/compose.yaml").remove(0);
    let service = &compose["services"]["passgate"];
    let mounts = strings(&service["volumes"]);
    let (mounted, path) = mounts
        .iter()
        .find_map(|mount| mount.strip_suffix(":ro")?.split_once(':'))
        .unwrap();
    assert_eq!(path, image_arguments()[2]);
    let config = config(&text(&format!("deploy/{mounted}")));
    let (volume, state) = mounts[1].split_once(':').unwrap();
    assert!(compose["volumes"].get(volume).is_some());
    assert_eq!(state, instruction("VOLUME"));
    assert_eq!(config.store.path.parent(), Some(Path::new(state)));

    let mut served = tcp_ports(&config.server.listen);
    served.extend(tcp_ports(&config.admin.listen));
    let published: BTreeSet<u64> = strings(&service["ports"])
        .iter()
        .map(|port| port.rsplit(':').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(published, served);
    let exposed = instruction("EXPOSE");
    let exposed: BTreeSet<u64> = exposed
        .split(' ')
        .map(|port| port.parse().unwrap())
        .collect();
    assert_eq!(exposed, served);

    let secret = text(&format!("deploy/{mounted}"));
    for name in service["environment"].as_object().unwrap().keys() {
        assert!(secret.contains(&format!("\"env:{name}\"")), "{name}");
    }
    let app = &compose["services"]["app"];
    let upstream = &config.routes[0].upstream;
    assert_eq!(upstream.host(), Some("app"));
    assert_eq!(
        strings(&app["command"])[1],
        upstream.port().unwrap().as_str()
    );
    assert_eq!(service["read_only"], true);
    assert_drains_within(
        &config,
        seconds(service["stop_grace_period"].as_str().unwrap()),
    );
}

#[test]
fn the_sidecar_is_probed_where_it_answers_and_drains_before_it_is_killed() {
    let config = config(&embedded());
    let all = documents("deploy/kubernetes-sidecar.yaml");
    let set = all.iter().find(|one| one["kind"] == "StatefulSet").unwrap();
    let pod = &set["spec"]["template"]["spec"];
    let containers = pod["containers"].as_array().unwrap();
    let passgate = containers
        .iter()
        .find(|one| one["name"] == "passgate")
        .unwrap();
    let arguments = strings(&passgate["args"]);
    assert_runs(&arguments, "/etc/passgate/config.toml");
    // Not `latest`, which a node would ask its registry for each time.
    let image = concat!("passgate:", env!("CARGO_PKG_VERSION"));
    assert_eq!(passgate["image"], image);

    let port = |name: &str| {
        let ports = passgate["ports"].as_array().unwrap().iter();
        let mut named = ports.filter(|port| port["name"] == name);
        BTreeSet::from([named.next().unwrap()["containerPort"].as_u64().unwrap()])
    };
    assert_eq!(port("webhooks"), tcp_ports(&config.server.listen));
    assert_eq!(port("admin"), tcp_ports(&config.admin.listen));
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        let get = &passgate[probe]["httpGet"];
        assert_eq!(
            (&get["path"], &get["port"]),
            (&path.into(), &"admin".into())
        );
    }
    let service = all.iter().find(|one| one["kind"] == "Service").unwrap();
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "webhooks");
    assert_eq!(
        service["spec"]["selector"],
        set["spec"]["template"]["metadata"]["labels"]
    );

    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert_drains_within(&config, Duration::from_secs(grace));
    assert!(config.server.drain.delay >= Duration::from_secs(5));
    let user: u64 = instruction("USER")
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let context = &passgate["securityContext"];
    assert_eq!(context["runAsUser"], user);
    assert_eq!(context["runAsGroup"], user);
    assert_eq!(pod["securityContext"]["fsGroup"], user);
    for (key, expected) in [
        ("runAsNonRoot", true),
        ("readOnlyRootFilesystem", true),
        ("allowPrivilegeEscalation", false),
    ] {
        assert_eq!(context[key], expected, "{key}");
    }

    let mounts = passgate["volumeMounts"].as_array().unwrap();
    let mounted = |name: &str| {
        let mount = mounts.iter().find(|mount| mount["name"] == name).unwrap();
        PathBuf::from(mount["mountPath"].as_str().unwrap())
    };
    assert_eq!(config.store.path.parent(), Some(mounted("store").as_path()));
    let secret = format!("\"file:{}/walletwerk\"", mounted("secrets").display());
    assert!(embedded().contains(&secret), "{secret}");
    assert_eq!(mounted("config"), Path::new("/etc/passgate"));
    let app = containers.iter().find(|one| one["name"] == "app").unwrap();
    let upstream = config.routes[0].upstream.port().unwrap();
    assert_eq!(strings(&app["args"])[1], upstream.as_str());
}

/// The values of a key in a unit, in order.
fn unit(name: &str, key: &str) -> Vec<String> {
    let prefix = format!("{key}=");
    let text = text(&format!("deploy/{name}"));
    let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_units_start_what_there_is_and_agree_with_their_configuration() {
    let text = text("deploy/systemd.toml");
    let config = config(&text);
    let start = &unit("passgate.service", "ExecStart")[0];
    let (program, arguments) = start.split_once(' ').unwrap();
    assert_eq!(Path::new(program).file_name().unwrap(), "passgate");
    let arguments: Vec<&str> = arguments.split(' ').collect();
    assert_runs(&arguments, "/etc/passgate/config.toml");
    let name = unit("passgate.socket", "FileDescriptorName").remove(0);
    assert_eq!(config.server.listen, [Listen::Passed(name)]);
    assert_eq!(unit("passgate.service", "StateDirectory"), ["passgate"]);
    assert_eq!(
        config.store.path.parent(),
        Some(Path::new("/var/lib/passgate"))
    );
    for credential in unit("passgate.service", "LoadCredential") {
        let (id, _) = credential.split_once(':').unwrap();
        let reference = format!("\"file:/run/credentials/passgate.service/{id}\"");
        assert!(text.contains(&reference), "{reference}");
    }
    let stop = unit("passgate.service", "TimeoutStopSec").remove(0);
    assert_drains_within(&config, seconds(&stop));
    assert_eq!(unit("passgate.service", "Type"), ["notify"]);
    // Those that a restart does not mend, and only those; the help says which they are.
    let hopeless = unit("passgate.service", "RestartPreventExitStatus").remove(0);
    let (_, help) = passgate(&["run", "--help"]);
    for code in hopeless.split(' ') {
        assert!(help.contains(&format!("\n  {code} ")), "{code} in {help}");
    }
    assert_eq!(hopeless, "2 78");
}
