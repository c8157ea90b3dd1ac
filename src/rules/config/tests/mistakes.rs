//! Every mistake and warning, by line and column.

use std::path::Path;

use crate::rules::config::tests::{assert_said, read, route, said};
use crate::rules::reader::remark::{Remark, listing};

#[test]
fn every_mistake_is_said_at_once_in_the_order_of_the_text() {
    let text = r#"[server]
listen = ["0.0.0.0:8080", "localhost:80"]
lisen = 1
[store]
remember = 7
[client_quota]
rate = "60/day"
[[route]]
provider = "walletwerk"
secrets = ["env:A", "hunter2hunter2", "env:UNSET"]
upstream = "ftp://app"
timeout = "15 s"
delivery = "spill"
host = 'ä'; max_body = 1
[[route]]
provider = "passwork"
name = "Öl"
[route.queue]
max_in_flight = 1
[sever]
"#;
    let expected = [
        r#"2:27: server.listen: is not an address to listen on; write an address such as "0.0.0.0:8080" or "[::]:8080" (an IP and a port)"#,
        "3:1: server.lisen: is not a known key; did you mean `listen`?",
        r#"5:12: store.remember: is a whole number, but a duration such as "500ms", "15s", "10min", "24h" or "7d" is expected"#,
        r#"7:8: client_quota.rate: "60/day" is not a rate; write a count and a unit of time: "10/s", "600/min", "5000/h""#,
        r#"10:21: route "walletwerk".secrets: is not a reference (and is not shown, since it may be the secret itself); write a reference such as "env:NAME" or "file:/path""#,
        r#"10:39: route "walletwerk".secrets: the environment variable UNSET is not set"#,
        r#"11:12: route "walletwerk".upstream: must begin with http:// or https://; write a URL such as "http://127.0.0.1:3000/webhooks""#,
        r#"12:11: route "walletwerk".timeout: "15 s" is not a duration; write a whole number and a unit: "500ms", "15s", "10min", "24h", "7d""#,
        r#"13:12: route "walletwerk".delivery: this version does not have "spill" yet; write "inline""#,
        "14:11: unexpected key or value, expected newline, `#`",
        r#"16:12: route #2.provider: is not a provider that is known; did you mean "passworks"? Known are "walletwerk", "passworks", "wallit""#,
        "17:8: route #2.name: is not a name; write 1 to 64 of a-z, 0-9, `_` and `-`",
        "18:8: route #2.queue: this version does not have the queue yet; leave it out",
        "20:2: sever: is not a known key; did you mean `server`?",
    ];
    assert_eq!(said(text), expected);
}

#[test]
fn one_wrong_thing_is_one_mistake_at_its_place() {
    let two = |more: &str| format!("{}[[route]]\n{more}", route(""));
    let cases: &[(String, &str)] = &[
        ("".into(), "1:1: route: there is none"),
        ("route = 5".into(), "1:9: route: is a whole number"),
        ("route = []".into(), "1:9: route: there is none"),
        (
            route("").replace("[[", "[").replace("]]", "]"),
            "1:1: route: is one table; write it as [[route]]",
        ),
        (
            route("timeout = \"12001ms\""),
            "5:11: route \"walletwerk\".timeout: is longer than 12s",
        ),
        (route("timeout = \"0s\""), "must be longer than zero"),
        (
            route("max_body = \"1023B\""),
            "5:12: route \"walletwerk\".max_body: is out of bounds",
        ),
        (route("max_body = \"65MiB\""), "from \"1KiB\" to \"64MiB\""),
        (
            route("order_by = \"/a\""),
            "5:1: route \"walletwerk\".order_by: this version does not have",
        ),
        (route("allow_from = []"), "this version does not have"),
        (
            route("[route.queue]\nx = 1"),
            "this version does not have the queue yet",
        ),
        (
            route("[server.tls]\nx = 1"),
            "5:9: server.tls: this version does not have TLS",
        ),
        (
            route("[server]\nclient_address_from = \"proxy_protocol\""),
            "6:23: server.client_address_from: this version does not have \"proxy_protocol\" yet",
        ),
        (
            route("delivery = \"queue\""),
            "this version does not have \"queue\" yet",
        ),
        (
            route("delivery = \"later\""),
            "is not a known word; write \"inline\"",
        ),
        (
            route("[server]\nlisten = []"),
            "6:10: server.listen: names no address",
        ),
        (
            route("[server]\nlisten = [\"[::]:1\", \"[::]:1\"]"),
            "names [::]:1 twice",
        ),
        (
            route("[server]\nlisten = \"0.0.0.0:9180\""),
            "6:10: server.listen: server.listen and admin.listen share 0.0.0.0:9180",
        ),
        (
            route("[admin]\nlisten = \"127.0.0.1:8080\""),
            "6:10: admin.listen: server.listen and admin.listen share 0.0.0.0:8080",
        ),
        (route("[server]\nlisten = \"[::]:9180\""), "share [::]:9180"),
        (route("[admin]\ntoken = \"env:SPACED\""), "cannot carry"),
        (
            route("[server]\ntrusted_proxies = [\"10.0.0.0/33\"]"),
            "6:20: server.trusted_proxies: is not a network",
        ),
        (
            route("[server]\ntrusted_proxies = \"10.0.0.0/8\""),
            "is a text, but a list in brackets",
        ),
        (route("[store]\npath = \"\""), "does not name a file"),
        (
            route("[store]\nremember = \"367d\""),
            "6:12: store.remember: is longer than 366d",
        ),
        (
            route("[store]\nremember = \"73h\""),
            "6:12: store.remember: store.remember is 73h, but route \"walletwerk\" needs more than 73h",
        ),
        (
            route("[route.verify]\nmax_age = \"8d\""),
            "1:1: route \"walletwerk\": store.remember is 7d, but route \"walletwerk\" needs more than 193h",
        ),
        (
            route("[route.verify]\nmaxage = \"8d\""),
            "route \"walletwerk\".verify.maxage: is not a known key; did you mean `max_age`?",
        ),
        (
            route("[route.quota]"),
            "5:1: route \"walletwerk\".quota.rate: is missing",
        ),
        (
            route("[route.quota]\nrate = \"1000000001/s\""),
            "too large for a rate",
        ),
        (route("[route.quota]\nrate = \"0/s\""), "lets nothing pass"),
        (
            route("[route.quota]\nrate = \"1/s\"\nburst = 0"),
            "7:9: route \"walletwerk\".quota.burst: is out of bounds",
        ),
        (
            route("[route.quota]\nrate = \"1/h\"\nburst = 4000000000"),
            "takes longer than 366d to refill",
        ),
        (
            route("[route.quota]\nrate = \"1/s\"\nburst = 99999999999999999999999"),
            "is out of bounds",
        ),
        (
            route("sign_with = \"env:WHSEC_BAD\""),
            "after `whsec_` that is no base64",
        ),
        (
            route("sign_with = \"env:WHSEC_SHORT\""),
            "a key of fewer than 16 bytes",
        ),
        (
            route("sign_with = \"env:SHORT\""),
            "env:SHORT holds fewer than 8 bytes",
        ),
        (
            route("sign_with = \"file:/nowhere\""),
            "/nowhere cannot be read",
        ),
        (
            two(
                "provider = \"passworks\"\nsecrets = [\"env:B\"]\nupstream = \"http://app\"\nname = \"walletwerk\"",
            ),
            "9:8: route \"walletwerk\".name: \"walletwerk\" is the name of an earlier route too",
        ),
        (
            two("provider = \"walletwerk\"\nsecrets = [\"env:B\"]\nupstream = \"http://app\""),
            "5:1: route \"walletwerk\".name: \"walletwerk\" is the name of an earlier route too",
        ),
        (
            two(
                "provider = \"passworks\"\nsecrets = [\"env:B\"]\nupstream = \"http://app\"\npath = \"/webhooks/walletwerk\"",
            ),
            "9:8: route \"passworks\".path: is the path of route \"walletwerk\" too",
        ),
        (
            two(
                "provider = \"wallit\"\nsecrets = [\"env:B\"]\nupstream = \"http://app\"\npath = \"/webhooks\"",
            ),
            "9:8: route \"wallit\".path: clashes with route \"walletwerk\"",
        ),
        (
            format!(
                "[[route]]\nprovider = \"wallit\"\nsecrets = [\"env:B\"]\nupstream = \"http://app\"\npath = \"/webhooks\"\n{}",
                route("")
            ),
            "6:1: route \"walletwerk\".path: clashes with route \"wallit\"",
        ),
        (
            two(
                "provider = \"wallit\"\nsecrets = [\"env:B\"]\nupstream = \"http://app\"\npath = \"/w/\"",
            ),
            "must not end in `/`",
        ),
        (
            two(
                "provider = \"passworks\"\nsecrets = [\"env:B\"]\nupstream = \"http://app\"\nsame_content = \"forward\"",
            ),
            "9:16: route \"passworks\".same_content: has no meaning for passworks",
        ),
        (
            two("provider = \"passworks\"\nupstream = \"http://app\""),
            "5:1: route \"passworks\".secrets: ",
        ),
        (
            two("provider = \"passworks\"\nupstream = \"http://app\"\nsecrets = \"env:B\""),
            "8:11: route \"passworks\".secrets: is a text, but a list of references",
        ),
        (
            two("provider = \"passworks\"\nsecrets = [\"env:B\"]"),
            "5:1: route \"passworks\".upstream: is missing",
        ),
        (
            two(
                "name = \"x\"\nsecrets = [\"env:B\"]\nupstream = \"http://b\"\n[route.verify]\nany = 1",
            ),
            "5:1: route \"x\".provider: is missing",
        ),
    ];
    for (text, part) in cases {
        assert_said(text, &[part]);
        assert!(read(text).is_err(), "of {text}");
    }
}

#[test]
fn what_is_odd_but_usable_is_a_warning() {
    let two = |secret: &str| {
        route(&format!(
            "[[route]]\nprovider = \"passworks\"\nsecrets = [\"env:{secret}\"]\nupstream = \"http://app\""
        ))
    };
    let cases: &[(String, &str)] = &[
        (
            two("A"),
            "7:11: warning: route \"passworks\".secrets: env:A is a secret of route \"walletwerk\" too",
        ),
        (
            two("SAME_AS_A"),
            "env:SAME_AS_A is a secret of route \"walletwerk\" too",
        ),
        (
            route("").replace("\"env:A\"", "\"env:A\", \"env:A\""),
            "names env:A twice",
        ),
        (
            route("").replace("env:A", "file:open"),
            "3:12: warning: route \"walletwerk\".secrets: file:open can be read by every user",
        ),
        (
            route("[server]\ntrusted_proxies = [\"0.0.0.0/0\"]"),
            "believes everybody",
        ),
        (
            route("sign_with = \"env:WHSEC_ODD\""),
            "5:13: warning: route \"walletwerk\".sign_with: is a key of another length",
        ),
    ];
    for (text, part) in cases {
        assert_said(text, &[part]);
        assert!(read(text).is_ok(), "of {text}");
    }
    assert_said(&two("B"), &[]);
}

#[test]
fn no_value_that_may_be_a_secret_is_shown() {
    let literal = "hunter2hunter2";
    let wrong = [
        route(&format!("sign_with = \"{literal}\"")),
        route(&format!("sign_with = {literal}")),
        route(&format!("sign_with = [\"{literal}\"]")),
        route(&format!("sign_with = \"env:{literal}!\"")),
        route(&format!("[admin]\ntoken = \"{literal}\"")),
        route(&format!("[admin]\ntoken = {literal}")),
        route("").replace("env:A", literal),
        route("").replace("\"env:A\"", literal),
        route("").replace("[\"env:A\"]", &format!("\"{literal}\"")),
        route("").replace("http://app", &format!("http://user:{literal}@app")),
        route("").replace("\"http://app\"", literal),
    ];
    for text in wrong {
        let remarks = read(&text).unwrap_err();
        let shown = listing(Path::new("c"), &remarks) + &format!("{remarks:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let (config, _) = read(&route("sign_with = \"env:B\"\n[admin]\ntoken = \"env:B\"")).unwrap();
    assert!(!format!("{config:?}").contains("secret-of"), "{config:?}");
}

#[test]
fn the_listing_names_the_file_and_sums_up() {
    let file = Path::new("config.toml");
    let remarks = read(&route("timeot = 1\n[server]\ntrusted_proxies = [\"::/0\"]")).unwrap_err();
    let expected = "config.toml:5:1: route \"walletwerk\".timeot: is not a known key; did you mean `timeout`?\n\
        config.toml:7:19: warning: server.trusted_proxies: believes everybody, so that any sender can choose the client address that is limited\n\
        config.toml: 1 mistake and 1 warning\n";
    assert_eq!(listing(file, &remarks), expected);
    assert_eq!(listing(file, &[]), "");
    let unreadable = Remark::of_file(None, "cannot be read: gone");
    assert_eq!(
        listing(file, &[unreadable]),
        "config.toml: cannot be read: gone\nconfig.toml: 1 mistake\n"
    );
}
