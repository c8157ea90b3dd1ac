//! What a configuration becomes.

mod example;
mod mistakes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::rules::config::Config;
use crate::rules::reader::remark::Remark;
use crate::rules::reader::secrets::{SecretFile, SecretSource, Unreadable};

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
    assert_eq!(config.admin.listen, "127.0.0.1:9180".parse().unwrap());
    assert!(config.admin.token.is_none());
    assert_eq!(
        config.store.path,
        PathBuf::from("/etc/passgate/passgate.redb")
    );
    assert_eq!(config.store.remember, Duration::from_secs(7 * 86_400));
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
}

#[test]
fn what_is_right_is_taken() {
    let cases = [
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"",
        "[server]\nlisten = [\"0.0.0.0:8080\", \"[::1]:8080\"]\ntrusted_proxies = [\"10.1.2.3/8\", \"::1\"]\nclient_address_from = \"forwarded\"",
        "[server]\nlisten = \"127.0.0.1:9180\"\n[admin]\nlisten = \"127.0.0.2:9180\"",
        "[admin]\nlisten = \"0.0.0.0:9180\"\ntoken = \"env:B\"",
        "[store]\nremember = \"74h\"\npath = \"/var/lib/a.redb\"",
        "timeout = \"12s\"\nmax_body = \"64MiB\"\nsame_content = \"forward\"\ndelivery = \"inline\"",
        "sign_with = \"env:WHSEC\"\nhost = \"Hooks.Example.com\"",
        "sign_with = \"file:beside\"",
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
