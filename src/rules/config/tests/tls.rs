//! What is said of `[server.tls]` and of the files that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::rules::config::Config;
use crate::rules::config::surroundings::SurroundingsBy;
use crate::rules::reader::remark::Remark;
use crate::words::time::{Clock, Timestamp};

/// The route that every configuration here has; its secret lies beside it.
const ROUTE: &str = "[[route]]\nprovider = \"walletwerk\"\nsecrets = [\"file:secret\"]\nupstream = \"http://app\"\n[server.tls]\n";

/// A folder with a pair of `a.example`, `a.pem` and `a.key`, another one, and files of other kinds.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    for name in ["a", "b"] {
        let mut params = rcgen::CertificateParams::new([format!("{name}.example")]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        put(
            &format!("{name}.pem"),
            &params.self_signed(&key).unwrap().pem(),
        );
        put(&format!("{name}.key"), &key.serialize_pem());
    }
    put("secret", "a-secret-of-the-route");
    put("empty", "");
    folder
}

/// A clock that stands still.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn read(folder: &Path, tls: &str, year: i32) -> Result<(Config, Vec<Remark>), Vec<Remark>> {
    let now = Timestamp::parse_rfc3339(&format!("{year}-01-01T00:00:00Z")).unwrap();
    let text = format!("{ROUTE}{tls}");
    Config::read(
        &text,
        &folder.join("config.toml"),
        Some(&SurroundingsBy(Arc::new(At(now)))),
    )
}

fn said(folder: &Path, tls: &str, year: i32) -> Vec<String> {
    let remarks = match read(folder, tls, year) {
        Ok((_, warnings)) => warnings,
        Err(remarks) => remarks,
    };
    remarks.iter().map(Remark::to_string).collect()
}

#[test]
fn files_that_can_be_served_are_taken_with_their_paths() {
    let folder = folder();
    let tls = "certificate = \"a.pem\"\nkey = \"a.key\"\n[[server.tls.more]]\ncertificate = \"b.pem\"\nkey = \"b.key\"\n";
    let (config, warnings) = read(folder.path(), tls, 2026).unwrap();
    assert_eq!(warnings, []);
    let tls = config.server.tls.unwrap();
    let [first, second] = &tls.pairs[..] else {
        panic!()
    };
    assert_eq!(&*first.name, "a.pem");
    assert_eq!(first.certificate, folder.path().join("a.pem"));
    assert_eq!(second.key, folder.path().join("b.key"));
}

#[test]
fn every_mistake_is_said_at_its_file() {
    let folder = folder();
    for (tls, expected) in [
        (
            "",
            &[
                "5:1: server.tls.certificate: is needed",
                "5:1: server.tls.key: is needed",
            ][..],
        ),
        (
            "certificate = \"a.pem\"\n",
            &["5:1: server.tls.key: is needed"],
        ),
        (
            "certificate = \"absent.pem\"\nkey = \"absent.key\"\n",
            &["6:15: server.tls.certificate: ", "7:7: server.tls.key: "],
        ),
        (
            "certificate = \"a.pem\"\nkey = \".\"\n",
            &["7:7: server.tls.key: "],
        ),
        (
            "certificate = \"a.key\"\nkey = \"a.key\"\n",
            &["6:15: server.tls.certificate: holds no certificate"],
        ),
        (
            "certificate = \"a.pem\"\nkey = \"a.pem\"\n",
            &["7:7: server.tls.key: holds no private key"],
        ),
        (
            "certificate = \"a.pem\"\nkey = \"b.key\"\n",
            &["7:7: server.tls.key: holds a private key that is not the certificate's"],
        ),
        (
            "certificate = \"\"\nkey = 5\n",
            &[
                "6:15: server.tls.certificate: does not name a file",
                "7:7: server.tls.key: is a whole number",
            ],
        ),
        (
            "certificate = \"a.pem\"\nkey = \"a.key\"\n[[server.tls.more]]\ncertificate = \"empty\"\nkey = \"b.key\"\nname = 1\n",
            &[
                "9:15: server.tls.more #1.certificate: holds no certificate",
                "11:1: server.tls.more #1.name: is not a known key",
            ],
        ),
        (
            "certificate = \"a.pem\"\nkey = \"a.key\"\n[server.tls.more]\n",
            &["write it as [[more]]"],
        ),
    ] {
        let said = said(folder.path(), tls, 2026);
        assert!(read(folder.path(), tls, 2026).is_err(), "{tls}");
        for part in expected {
            assert!(
                said.iter().any(|said| said.contains(part)),
                "{tls}\n{said:#?}"
            );
        }
    }
}

#[test]
fn what_has_expired_and_what_everybody_can_read_is_warned_of() {
    let folder = folder();
    let tls = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    assert_eq!(said(folder.path(), tls, 2031), [""; 0]);
    assert_eq!(
        said(folder.path(), tls, 2032),
        [
            "6:15: warning: server.tls.certificate: expired at 2031-02-03T00:00:00Z: senders will refuse it"
        ]
    );
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.path().join("a.key"), open).unwrap();
    let [warning] = &said(folder.path(), tls, 2026)[..] else {
        panic!()
    };
    assert!(warning.starts_with("7:7: warning: server.tls.key: can be read by every user"));
}

#[test]
fn where_files_are_not_at_hand_their_keys_are_still_checked() {
    let read = |tls: &str| {
        let text = format!("{ROUTE}{tls}");
        Config::read(&text, Path::new("config.toml"), None)
    };
    assert!(read("certificate = \"a.pem\"\nkey = \"a.key\"\n").is_ok());
    assert!(read("certificate = \"a.pem\"\n").is_err());
}

#[test]
fn a_certificate_by_acme_needs_a_domain_and_nothing_else() {
    let folder = folder();
    let acme = "[server.tls.acme]\ndomains = \"A.example\"\n";
    let (config, warnings) = read(folder.path(), acme, 2026).unwrap();
    assert_eq!(warnings, []);
    let tls = config.server.tls.unwrap();
    assert!(tls.pairs.is_empty() && !tls.http2);
    let acme = tls.acme.unwrap();
    assert_eq!(acme.domains, ["a.example"]);
    assert!(acme.contact.is_empty() && acme.roots.is_none());
    assert_eq!(
        acme.directory,
        "https://acme-v02.api.letsencrypt.org/directory"
    );
    // Beside the store, wherever that is.
    assert_eq!(acme.cache, folder.path().join("acme"));
    let elsewhere = "[server.tls.acme]\ndomains = [\"a.example\", \"b.example\"]\ncontact = [\"mailto:a@b.example\"]\nroots = \"a.pem\"\n[store]\npath = \"/var/lib/x.redb\"\n";
    let (config, _) = read(folder.path(), elsewhere, 2026).unwrap();
    let acme = config.server.tls.unwrap().acme.unwrap();
    assert_eq!(acme.cache, Path::new("/var/lib/acme"));
    assert_eq!(acme.roots, Some(folder.path().join("a.pem")));
    let both = "certificate = \"a.pem\"\nkey = \"a.key\"\n[server.tls.acme]\ndomains = \"c.example\"\ncache = \"kept\"\n";
    let (config, _) = read(folder.path(), both, 2026).unwrap();
    let tls = config.server.tls.unwrap();
    assert_eq!(tls.pairs.len(), 1);
    assert_eq!(tls.acme.unwrap().cache, folder.path().join("kept"));
}

#[test]
fn what_no_authority_would_take_is_a_mistake() {
    let folder = folder();
    for (acme, expected) in [
        ("", "6:1: server.tls.acme.domains: is needed"),
        ("domains = []", "7:11: server.tls.acme.domains: names none"),
        (
            "domains = \"*.a.example\"",
            "7:11: server.tls.acme.domains: is a wildcard",
        ),
        (
            "domains = [\"a.example\", \"192.0.2.7\"]",
            "7:25: server.tls.acme.domains: is not a domain",
        ),
        ("domains = \"a..example\"", "is not a domain"),
        ("domains = \"a.example.\"", "is not a domain"),
        ("domains = \"https://a.example\"", "is not a domain"),
        (
            "domains = \"a.example\"\ncontact = \"a@b.example\"",
            "8:11: server.tls.acme.contact: is not a contact",
        ),
        (
            "domains = \"a.example\"\ncontact = \"mailto:b\"",
            "is not a contact",
        ),
        (
            "domains = \"a.example\"\ndirectory = \"http://a.example/dir\"",
            "8:13: server.tls.acme.directory: is not a directory's URL",
        ),
        (
            "domains = \"a.example\"\ndirectory = \"a.example\"",
            "is not a directory's URL",
        ),
        (
            "domains = \"a.example\"\nroots = \"empty\"",
            "8:9: server.tls.acme.roots: holds no certificate",
        ),
        (
            "domains = \"a.example\"\nroots = \"absent\"",
            "8:9: server.tls.acme.roots: ",
        ),
        (
            "domains = \"a.example\"\ncache = \"a/\"",
            "8:9: server.tls.acme.cache: does not name",
        ),
        ("domain = \"a.example\"", "did you mean `domains`?"),
    ] {
        let tls = format!("[server.tls.acme]\n{acme}\n");
        let said = said(folder.path(), &tls, 2026);
        assert!(
            said.iter().any(|said| said.contains(expected)),
            "{tls}\n{said:#?}"
        );
    }
    // Files beside it are for other names, and then they are whole.
    let tls = "key = \"a.key\"\n[server.tls.acme]\ndomains = \"a.example\"\n";
    let said = said(folder.path(), tls, 2026);
    assert!(
        said.iter()
            .any(|said| said.contains("server.tls.certificate: is needed"))
    );
}
