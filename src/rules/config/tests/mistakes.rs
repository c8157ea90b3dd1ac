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
delivery = "spil"
host = 'ä'; max_body = 1
[[route]]
provider = "passwork"
name = "Öl"
[route.queue]
max_in_flight = 0
[sever]
"#;
    let expected = [
        r#"2:27: server.listen: is not an address to listen on; write an address such as "0.0.0.0:8080", "[::]:8080", "unix:/run/passgate.sock" or "systemd:NAME""#,
        "3:1: server.lisen: is not a known key; did you mean `listen`?",
        r#"5:12: store.remember: is a whole number, but a duration such as "500ms", "15s", "10min", "24h" or "7d" is expected"#,
        r#"7:8: client_quota.rate: "60/day" is not a rate; write a count and a unit of time: "10/s", "600/min", "5000/h""#,
        r#"10:21: route "walletwerk".secrets: is not a reference (and is not shown, since it may be the secret itself); write a reference such as "env:NAME" or "file:/path""#,
        r#"10:39: route "walletwerk".secrets: the environment variable UNSET is not set"#,
        r#"11:12: route "walletwerk".upstream: must begin with http:// or https://; write a URL such as "http://127.0.0.1:3000/webhooks""#,
        r#"12:11: route "walletwerk".timeout: "15 s" is not a duration; write a whole number and a unit: "500ms", "15s", "10min", "24h", "7d""#,
        r#"13:12: route "walletwerk".delivery: is not a known word; write "inline", "spill" or "queue""#,
        "14:11: unexpected key or value, expected newline, `#`",
        r#"16:12: route #2.provider: is not a provider that is known; did you mean "passworks"? Known are "walletwerk", "passworks", "wallit""#,
        "17:8: route #2.name: is not a name; write 1 to 64 of a-z, 0-9, `_` and `-`",
        "19:17: route #2.queue.max_in_flight: is out of bounds; write a whole number from 1 to 1024",
        "20:2: sever: is not a known key; did you mean `server`?",
    ];
    assert_eq!(said(text), expected);
}

#[test]
fn one_wrong_thing_is_one_mistake_at_its_place() {
    let two = |more: &str| format!("{}[[route]]\n{more}", route(""));
    let queue = |more: &str| route(&format!("[route.queue]\n{more}"));
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
            route("[server.limits]\nconnections = 15"),
            "from 16 to 1000000",
        ),
        (
            route("[server.limits]\nbody_time = \"21s\""),
            "\"1s\" to \"20s\"",
        ),
        (
            route("[server.limits]\nidle_time = \"20s\""),
            "must be longer than request_time, which is 25s",
        ),
        (
            route("[server.limits]\ntarget_bytes = \"16KiB\""),
            "leaves no room in a head of 16KiB",
        ),
        (
            route("timeout = \"12s\"\n[server.limits]\nbody_time = \"11s\""),
            "is longer than 11s",
        ),
        (route("[server.limits]\nsilence = 1"), "silence"),
        (route("allow_from = []"), "names no network"),
        (route("allow_from = [\"10.0.0.0/33\"]"), "is not a network"),
        (
            route("[server]\nclient_address_from = \"proxy_protocol\""),
            "6:23: server.client_address_from: asks proxies for a header that nobody else may send",
        ),
        (
            route("delivery = \"later\"\norder_by = \"/a\""),
            "is not a known word; write \"inline\", \"spill\" or \"queue\"",
        ),
        (
            route("order_by = \"/a\""),
            "5:12: route \"walletwerk\".order_by: needs delivery = \"queue\": with \"spill\"",
        ),
        (
            route("order_by = \"/a\"\ndelivery = \"inline\""),
            "5:12: route \"walletwerk\".order_by: needs delivery = \"queue\": with \"inline\"",
        ),
        (
            route("delivery = \"queue\"\norder_by = \"data.card_id\""),
            "6:12: route \"walletwerk\".order_by: is not a JSON pointer",
        ),
        (
            route("delivery = \"queue\"\norder_by = \"\""),
            "6:12: route \"walletwerk\".order_by: is not a JSON pointer",
        ),
        (
            route("delivery = \"queue\"\norder_by = [\"/a\"]"),
            "is a list, but a JSON pointer such as \"/data/card_id\" is expected",
        ),
        (
            route("delivery = \"queue\"\norder_by = \"/a~b\""),
            "has a `~`",
        ),
        (
            route("[route.queue]\nmax_flight = 1"),
            "6:1: route \"walletwerk\".queue.max_flight: is not a known key; did you mean `max_in_flight`?",
        ),
        (
            route("queue = 5"),
            "5:9: route \"walletwerk\".queue: is a whole number, but a table is expected",
        ),
        (
            queue("give_up_after = \"0s\""),
            "6:17: route \"walletwerk\".queue.give_up_after: is out of bounds; write a duration from \"1ms\" to \"366d\"",
        ),
        (queue("give_up_after = \"367d\""), "\"1ms\" to \"366d\""),
        (
            queue("retry_first = \"9ms\""),
            "6:15: route \"walletwerk\".queue.retry_first: is out of bounds; write a duration from \"10ms\" to \"1h\"",
        ),
        (queue("retry_first = \"61min\""), "\"10ms\" to \"1h\""),
        (
            queue("retry_max = \"999ms\""),
            "6:13: route \"walletwerk\".queue.retry_max: is shorter than the first pause: retry_first is 1s; write at least \"1s\"",
        ),
        (
            queue("retry_max = \"1h\"\nretry_first = \"61min\""),
            "7:15: route \"walletwerk\".queue.retry_first: is out of bounds",
        ),
        (queue("retry_max = \"25h\""), "\"10ms\" to \"1d\""),
        (queue("retry_max = \"0s\""), "\"10ms\" to \"1d\""),
        (queue("max_in_flight = 1025"), "from 1 to 1024"),
        (queue("keep_delivered = \"367d\""), "\"0s\" to \"366d\""),
        (
            queue("keep_dead = \"6d\""),
            "6:13: route \"walletwerk\".queue.keep_dead: is 6d, but store.remember is 7d",
        ),
        (
            queue("keep_dead = \"30d\"\n[store]\nremember = \"31d\""),
            "6:13: route \"walletwerk\".queue.keep_dead: is 30d, but store.remember is 31d",
        ),
        (
            queue("keep_dead = \"6d\"\n[store]\nremember = 7"),
            "8:12: store.remember: is a whole number",
        ),
        (queue("keep_dead = \"367d\""), "\"1ms\" to \"366d\""),
        (queue("max_events = 0"), "from 1 to 100000000"),
        (queue("max_events = 100_000_001"), "from 1 to 100000000"),
        (queue("max_bytes = \"1023KiB\""), "\"1MiB\" to \"1TiB\""),
        (queue("max_bytes = \"1025GiB\""), "\"1MiB\" to \"1TiB\""),
        (
            route("delivery = \"inline\"\n[route.queue]\nretry_max = \"25h\""),
            "7:13: route \"walletwerk\".queue.retry_max: is out of bounds",
        ),
        (
            route("[store]\nreserve = \"1025GiB\""),
            "6:11: store.reserve: is out of bounds; write a size from \"0B\" to \"1TiB\"",
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
        (
            route(
                "[server]\nlisten = [\"unix:a\", \"unix:/etc/passgate/a\"]\ntrusted_proxies = [\"127.0.0.1\"]",
            ),
            "names unix:/etc/passgate/a twice",
        ),
        (
            route("[server]\nlisten = \"systemd:a\"\n[admin]\nlisten = [\"systemd:a\"]"),
            "share systemd:a; give one of them another place",
        ),
        (
            route("[server]\nlisten = \"unix:\""),
            "does not name a socket",
        ),
        (
            route("[admin]\nlisten = \"systemd:a:b\""),
            "does not name a socket of systemd",
        ),
        (
            route("[server]\nsocket_mode = \"rw\""),
            "6:15: server.socket_mode: is not a mode; write octal digits such as \"0660\"",
        ),
        (route("[admin]\nsocket_mode = \"0668\""), "is not a mode"),
        (route("[admin]\nsocket_mode = \"1777\""), "is not a mode"),
        (route("[admin]\nsocket_mode = 660"), "octal digits"),
        (
            route("[server]\ndrain_delay = \"11min\""),
            "server.drain_delay: is out of bounds; write a duration from \"0s\" to \"10min\"",
        ),
        (
            route("[server]\ndrain_timeout = \"11min\""),
            "out of bounds",
        ),
        (route("[store]\nlock_wait = \"11min\""), "out of bounds"),
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
    let inline = |more: &str| route(&format!("delivery = \"inline\"\n[route.queue]\n{more}"));
    let wallit = |more: &str| {
        route(more)
            .replace("walletwerk", "wallit")
            .replace("http://app\"\n", "http://app\"\ndelivery = \"queue\"\n")
    };
    let cases: &[(String, &str)] = &[
        (
            inline("give_up_after = \"1h\""),
            "7:17: warning: route \"walletwerk\".queue.give_up_after: is for events that wait",
        ),
        (inline("retry_first = \"1s\""), "queue.retry_first: is for"),
        (inline("retry_max = \"1h\""), "queue.retry_max: is for"),
        (inline("max_in_flight = 1"), "queue.max_in_flight: is for"),
        (
            wallit("[route.queue]\ngive_up_after = \"25h\""),
            "7:17: warning: route \"wallit\".queue.give_up_after: is 25h, but what wallit sends is worth nothing after 1d",
        ),
        (
            inline("give_up_after = \"25h\"").replace("walletwerk", "wallit"),
            "queue.give_up_after: is for events that wait",
        ),
        (
            wallit("order_by = \"/a\""),
            "6:12: warning: route \"wallit\".order_by: points into the body",
        ),
        (
            route("max_body = \"3MiB\"\n[route.queue]\nmax_bytes = \"2MiB\""),
            "7:13: warning: route \"walletwerk\".queue.max_bytes: is 2MiB, but max_body lets 3MiB through",
        ),
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
