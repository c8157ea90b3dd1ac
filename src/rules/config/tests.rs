//! What a configuration becomes.

mod example;
mod mistakes;
mod tls;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::rules::config::{Config, Delivery, Queue};
use crate::rules::reader::remark::Remark;
use crate::rules::reader::secrets::{SecretFile, SecretSource, Unreadable};
use crate::rules::retry::Schedule;

/// Variables by name, files by whole path.
struct Map(HashMap<&'static str, &'static str>);

impl SecretSource for Map {
    fn variable(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let value = self.0.get(name)?;
        Some(Zeroizing::new(value.as_bytes().to_vec()))
    }

    fn file(&self, path: &Path) -> Result<SecretFile, Unreadable> {
        let value = path.to_str().and_then(|path| self.0.get(path));
        let value = value.ok_or_else(|| Unreadable::Io(std::io::ErrorKind::NotFound.into()))?;
        Ok(SecretFile {
            bytes: Zeroizing::new(value.as_bytes().to_vec()),
            is_world_readable: path.ends_with("open"),
        })
    }
}

fn source() -> Map {
    Map(HashMap::from([
        ("A", "secret-of-a"),
        ("B", "secret-of-b"),
        ("SAME_AS_A", "secret-of-a"),
        ("SHORT", "1234567"),
        ("SPACED", "two words"),
        ("WHSEC", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("WHSEC_SHORT", "whsec_AAAAAAAAAAAAAAAAAAAA"),
        ("WHSEC_ODD", "whsec_AAAAAAAAAAAAAAAAAAAAAA=="),
        (
            "WHSEC_UNPADDED",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        ("WHSEC_BAD", "whsec_not*base64*at*all"),
        ("/etc/passgate/beside", "secret-beside\n"),
        ("/etc/passgate/open", "secret-in-the-open\r\n"),
    ]))
}

fn read(text: &str) -> Result<(Config, Vec<Remark>), Vec<Remark>> {
    Config::read(
        text,
        Path::new("/etc/passgate/config.toml"),
        Some(&source()),
    )
}

/// The whole of what an operator is told.
fn said(text: &str) -> Vec<String> {
    let remarks = match read(text) {
        Ok((_, warnings)) => warnings,
        Err(remarks) => remarks,
    };
    remarks.iter().map(Remark::to_string).collect()
}

/// A right route, with more lines below it.
fn route(more: &str) -> String {
    let head =
        "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"env:A\"]\nupstream = \"http://app\"\n";
    format!("{head}{more}")
}

#[track_caller]
fn assert_said(text: &str, parts: &[&str]) {
    let said = said(text);
    assert_eq!(said.len(), parts.len(), "of {text}\nsaid: {said:#?}");
    for (said, part) in said.iter().zip(parts) {
        assert!(
            said.contains(part),
            "of {text}\nsaid: {said}\nwanted: {part}"
        );
    }
}

#[test]
fn three_lines_are_enough_and_the_rest_has_defaults() {
    let (config, warnings) = read(&route("")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.server.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(config.server.trusted_proxies, []);
    assert_eq!(config.server.socket_mode, 0o660);
    let drain = config.server.drain;
    assert_eq!(
        (drain.delay, drain.timeout),
        (Duration::ZERO, Duration::from_secs(25))
    );
    assert_eq!(config.admin.listen, ["127.0.0.1:9180".parse().unwrap()]);
    assert_eq!(config.admin.socket_mode, 0o660);
    assert_eq!(config.store.lock_wait, Duration::from_secs(30));
    assert!(config.admin.token.is_none());
    assert_eq!(
        config.store.path,
        PathBuf::from("/etc/passgate/passgate.redb")
    );
    assert_eq!(config.store.remember, Duration::from_secs(7 * 86_400));
    assert_eq!(config.store.reserve, 64 << 20);
    assert_eq!(config.client_quota.count.get(), 60);
    assert_eq!(config.client_quota.per, Duration::from_secs(60));
    assert_eq!(config.client_quota.burst.get(), 60);
    let [route] = &config.routes[..] else {
        panic!()
    };
    assert_eq!(&*route.name, "walletwerk");
    assert_eq!(route.path, "/webhooks/walletwerk");
    assert_eq!(route.host, None);
    assert_eq!(route.upstream, "http://app/");
    assert_eq!(route.timeout, Duration::from_secs(10));
    assert_eq!(route.max_body, 1 << 20);
    assert!(!route.same_content_forwards);
    assert!(route.sign_with.is_none());
    assert_eq!(route.quota, None);
    assert_eq!(route.delivery, Delivery::Spill);
    assert_eq!(route.order_by, None);
    assert_eq!(route.queue, QUEUE_DEFAULT);
}

const QUEUE_DEFAULT: Queue = Queue {
    schedule: Schedule {
        first: Duration::from_secs(1),
        max: Duration::from_secs(15 * 60),
        give_up_after: Duration::from_secs(72 * 3600),
    },
    max_in_flight: 16,
    keep_delivered: Duration::ZERO,
    keep_dead: Duration::from_secs(30 * 86_400),
    max_events: 1_000_000,
    max_bytes: 8 << 30,
};

#[test]
fn what_is_right_is_taken() {
    let cases = [
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"",
        "[server]\nlisten = [\"0.0.0.0:8080\", \"[::1]:8080\"]\ntrusted_proxies = [\"10.1.2.3/8\", \"::1\"]\nclient_address_from = \"forwarded\"",
        "[server]\nlisten = \"127.0.0.1:9180\"\n[admin]\nlisten = \"127.0.0.2:9180\"",
        "[admin]\nlisten = \"0.0.0.0:9180\"\ntoken = \"env:B\"",
        "[server.limits]\nconnections = 16\nclient_connections = 1\nsilent_time = \"500ms\"\nbody_time = \"1s\"\nrequest_time = \"29s\"\nhead_bytes = \"4KiB\"\ntarget_bytes = \"256B\"\nheaders = 16\nlive = 1",
        "[server]\nlisten = [\"unix:gate.sock\", \"systemd:gate\", \"[::]:80\"]\nsocket_mode = \"600\"\ntrusted_proxies = [\"127.0.0.1\"]\n[admin]\nlisten = [\"unix:admin.sock\", \"127.0.0.1:9180\"]\nsocket_mode = \"0777\"",
        "[server]\ndrain_delay = \"10min\"\ndrain_timeout = \"0s\"\n[store]\nlock_wait = \"0s\"",
        "[store]\nremember = \"74h\"\npath = \"/var/lib/a.redb\"",
        "timeout = \"12s\"\nmax_body = \"64MiB\"\nsame_content = \"forward\"\ndelivery = \"inline\"",
        "sign_with = \"env:WHSEC\"\nhost = \"Hooks.Example.com\"",
        "sign_with = \"file:beside\"",
        "delivery = \"queue\"\norder_by = \"/data/card_id\"",
        "[route.queue]",
        "[route.queue]\nretry_first = \"10ms\"\nretry_max = \"10ms\"\ngive_up_after = \"1ms\"\nmax_in_flight = 1\nmax_events = 1\nmax_bytes = \"1MiB\"\nkeep_delivered = \"0s\"",
        "[route.queue]\nretry_first = \"1h\"\nretry_max = \"24h\"\ngive_up_after = \"366d\"\nmax_in_flight = 1024\nmax_events = 100_000_000\nmax_bytes = \"1TiB\"\nkeep_delivered = \"366d\"\nkeep_dead = \"366d\"",
        "delivery = \"inline\"\n[route.queue]\nkeep_delivered = \"7d\"\nkeep_dead = \"7d\"\nmax_events = 5\nmax_bytes = \"1GiB\"",
        "[store]\nremember = \"366d\"\nreserve = \"0B\"",
        "[store]\nreserve = \"1TiB\"",
        "[[route]]\nprovider = \"wallit\"\nsecrets = [\"env:B\"]\nupstream = \"http://b\"\n[route.queue]\ngive_up_after = \"24h\"",
        "sign_with = \"env:WHSEC_UNPADDED\"",
        "[route.quota]\nrate = \"5000/h\"",
        "[[route]]\nprovider = \"walletwerk\"\nname = \"b\"\nsecrets = [\"env:B\"]\nupstream = \"http://b\"\npath = \"/webhooks/walletwerk\"\nhost = \"b\"",
        "[[route]]\nprovider = \"wallit\"\nsecrets = [\"env:B\"]\nupstream = \"http://b\"\npath = \"/webhooks/walletwerk/w\"",
    ];
    for more in cases {
        assert_said(&route(more), &[]);
    }
}

#[test]
fn what_is_written_is_what_the_rest_gets() {
    let text = route(
        "host = \"Hooks.Example.com\"\nsign_with = \"env:WHSEC\"\n[route.quota]\nrate = \"50/min\"",
    );
    let (config, _) = read(&text).unwrap();
    let route = &config.routes[0];
    assert_eq!(route.host.as_deref(), Some("hooks.example.com"));
    let key = route.sign_with.as_ref().unwrap();
    // The second vector of Standard Webhooks, whose key is 24 bytes in base64.
    let signed = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
    assert_eq!(
        data_encoding::BASE64.encode(&key.sign(&[signed])),
        "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
    assert_eq!(key.reference().as_str(), "env:WHSEC");
    let quota = route.quota.unwrap();
    assert_eq!((quota.count.get(), quota.burst.get()), (50, 50));
    let text = text.replace("50/min", "5000/h");
    let quota = read(&text).unwrap().0.routes[0].quota.unwrap();
    assert_eq!((quota.count.get(), quota.burst.get()), (5000, 100));
}

#[test]
fn what_is_written_of_delivery_is_what_the_rest_gets() {
    let text = route(
        "delivery = \"queue\"\norder_by = \"/data/a~1b\"\n[route.queue]\ngive_up_after = \"2d\"\n\
         retry_first = \"2s\"\nretry_max = \"3min\"\nmax_in_flight = 4\nkeep_delivered = \"5h\"\n\
         keep_dead = \"8d\"\nmax_events = 9\nmax_bytes = \"10MiB\"\n[store]\nreserve = \"11KiB\"",
    );
    let (config, warnings) = read(&text).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.store.reserve, 11 << 10);
    let queued = &config.routes[0];
    assert_eq!(queued.delivery, Delivery::Queue);
    assert_eq!(queued.order_by.as_deref(), Some("/data/a~1b"));
    let expected = Queue {
        schedule: Schedule {
            first: Duration::from_secs(2),
            max: Duration::from_secs(180),
            give_up_after: Duration::from_secs(2 * 86_400),
        },
        max_in_flight: 4,
        keep_delivered: Duration::from_secs(5 * 3600),
        keep_dead: Duration::from_secs(8 * 86_400),
        max_events: 9,
        max_bytes: 10 << 20,
    };
    assert_eq!(queued.queue, expected);
    for (word, expected) in [("inline", Delivery::Inline), ("spill", Delivery::Spill)] {
        let text = route(&format!("delivery = {word:?}"));
        assert_eq!(read(&text).unwrap().0.routes[0].delivery, expected);
    }
}

#[test]
fn a_unix_socket_is_taken_from_beside_the_file_and_its_peers_are_one_client_unless_they_are_trusted()
 {
    let with = |more: &str| {
        read(&route(&format!(
            "[server]\nlisten = \"unix:gate.sock\"\n{more}"
        )))
    };
    let (config, warnings) = with("").unwrap();
    let expected = "unix:/etc/passgate/gate.sock".parse().unwrap();
    assert_eq!(config.server.listen, [expected]);
    let [warning] = &warnings[..] else {
        panic!("{warnings:#?}")
    };
    assert!(
        warning.to_string().contains("in trusted_proxies"),
        "{warning}"
    );
    let (_, warnings) = with("trusted_proxies = [\"127.0.0.0/8\"]").unwrap();
    assert_eq!(warnings, []);
}

#[test]
fn a_default_gives_way_to_what_it_would_contradict() {
    let queue = |more: &str| read(&route(more)).unwrap().0.routes[0].queue;
    let expected = Queue {
        keep_dead: Duration::from_secs(31 * 86_400),
        ..QUEUE_DEFAULT
    };
    assert_eq!(queue("[store]\nremember = \"31d\""), expected);
    assert_eq!(queue("[store]\nremember = \"30d\""), QUEUE_DEFAULT);
    let half_an_hour = Duration::from_secs(30 * 60);
    let schedule = queue("[route.queue]\nretry_first = \"30min\"").schedule;
    assert_eq!((schedule.first, schedule.max), (half_an_hour, half_an_hour));
}

#[test]
fn what_anybody_could_have_sent_takes_less_room() {
    let wallit = |more: &str| {
        let text = format!(
            "[[route]]\nprovider = \"wallit\"\nupstream = \"http://a/\"\n{more}\n\
             [route.verify]\nallow_unproven = true"
        );
        read(&text).unwrap().0.routes.remove(0).queue
    };
    let queue = wallit("");
    assert_eq!((queue.max_events, queue.max_bytes), (100_000, 256 << 20));
    let queue = wallit("[route.queue]\nmax_events = 7\nmax_bytes = \"1GiB\"");
    assert_eq!((queue.max_events, queue.max_bytes), (7, 1 << 30));
}

#[test]
fn an_event_is_not_tried_longer_than_it_is_worth_anything() {
    for (provider, hours) in [("walletwerk", 72), ("passworks", 72), ("wallit", 24)] {
        let text = route("").replace("walletwerk", provider);
        let given_up = read(&text).unwrap().0.routes[0]
            .queue
            .schedule
            .give_up_after;
        assert_eq!(given_up, Duration::from_secs(hours * 3600), "{provider}");
    }
}

#[test]
fn without_secrets_everything_else_is_still_checked() {
    let file = Path::new("config.toml");
    let text = route("sign_with = \"env:WHSEC_BAD\"\n[admin]\ntoken = \"file:nowhere\"");
    let (config, warnings) = Config::read(&text, file, None).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.store.path, PathBuf::from("passgate.redb"));
    let text = text
        .replace("env:A", "hunter2hunter2")
        .replace("http://app", "app");
    let remarks = Config::read(&text, file, None).unwrap_err();
    assert_eq!(remarks.len(), 2, "{remarks:#?}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reading_panic(text in "(\\[\\[route\\]\\]|\\[server\\]|listen|secrets|[ =\"\\[\\]{}.,#\\n]|\\PC){0,60}") {
        for remark in read(&text).err().unwrap_or_default() {
            proptest::prop_assert!(remark.place.is_some());
        }
    }
}
