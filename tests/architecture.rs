//! The house rules that no compiler holds: who may import whom, who may know which crate, and what no file
//! may contain. It reads the sources as text.
//!
//! Every exception stands in a table here, with its reason, so that a new one is a decision and not an
//! accident. A table that names something no longer there fails too.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first: each may import itself and those below.
const FLOORS: [&str; 5] = ["words", "rules", "keepers", "work", "doors"];

/// The platforms that there are files for.
const PROVIDERS: [&str; 3] = ["walletwerk", "passworks", "wallit"];

/// Lines of a file outside of its tests.
const LINES_MAX: usize = 400;

/// Longer ones, how long they may be, and why.
const LONG_FILES: [(&str, usize, &str); 2] = [
    (
        "work/ingest.rs",
        520,
        "the life of an event is told once, and in one place",
    ),
    (
        "keepers/metrics.rs",
        600,
        "every metric stands in one table",
    ),
];

/// A part of a crate or of the standard library, and the only places that may know it.
const KNOWN_BY: [(&str, &[&str]); 15] = [
    ("redb", &["keepers/store/"]),
    ("governor", &["keepers/limit/"]),
    ("prometheus_client", &["keepers/metrics.rs"]),
    (
        "hyper::server",
        &["doors/server/", "doors/admin/mod.rs", "doors/cli/"],
    ),
    ("hyper::client", &["doors/cli/"]),
    ("httparse", &["work/pool/answer.rs"]),
    (
        "hyper_util",
        &[
            "doors/server/",
            "doors/admin/mod.rs",
            "doors/cli/",
            "work/pool/",
        ],
    ),
    (
        "hyper_rustls",
        &["work/pool/", "doors/cli/", "doors/server/tls/acme/"],
    ),
    ("instant_acme", &["doors/server/tls/acme/"]),
    ("tokio_rustls", &["doors/server/tls/"]),
    ("clap", &["doors/cli/"]),
    ("tokio", &["keepers/", "work/", "doors/"]),
    (
        "std::env",
        &["rules/config/surroundings.rs", "doors/", "main.rs"],
    ),
    (
        "std::fs",
        &[
            "rules/config/surroundings.rs",
            "rules/config/file.rs",
            "rules/config/source.rs",
            "keepers/store/",
            "doors/",
        ],
    ),
    ("std::net::TcpStream", &["doors/"]),
];

/// Ways to a clock; below the keepers `now` is an argument.
const CLOCKS: [&str; 3] = ["SystemTime::now", "Instant::now", "SystemClock::new"];

/// `unwrap` or `expect` outside of tests, and why it cannot fail.
const UNWRAPPED: [(&str, &str, &str); 4] = [
    (
        "rules/hmac.rs",
        "HMAC takes a key of any length",
        "RFC 2104 says so, and the type cannot",
    ),
    (
        "work/routes.rs",
        "NonZeroU32::new(10).unwrap()",
        "a constant: it does not compile, or never fails",
    ),
    (
        "doors/admin/access.rs",
        "NonZeroU32::new(30).unwrap()",
        "a constant: it does not compile, or never fails",
    ),
    (
        "work/replay/mod.rs",
        "NonZeroU32::new(50).unwrap()",
        "a constant: it does not compile, or never fails",
    ),
];

/// Lines that name a provider outside of its file, and why.
const NAMED: [(&str, &str, &str); 2] = [
    (
        "keepers/metrics.rs",
        "WalletWerk disables an endpoint",
        "tells the operator where the figure matters",
    ),
    (
        "rules/config/route.rs",
        "a path such as",
        "an example for the operator",
    ),
];

/// One file of the library.
struct Source {
    /// Below `src`, with slashes.
    name: String,
    /// `keepers`, `store`, `vault`.
    module: Vec<String>,
    text: String,
    /// Without tests and comments; line by line as in the file.
    code: Vec<String>,
}

// === impl Source ===

impl Source {
    fn floor(&self) -> Option<usize> {
        let first = self.module.first()?;
        FLOORS.iter().position(|floor| floor == first)
    }

    /// Everything of ours that the code names, as absolute paths.
    fn imports(&self) -> Vec<Vec<String>> {
        let mut imports = Vec::new();
        for line in &self.code {
            for (at, _) in line.match_indices("crate::") {
                imports.push(segments(&line[at + "crate::".len()..]));
            }
            if let Some((_, path)) = line.split_once("super::") {
                let ups = 1 + path.matches("super::").count();
                let path = path.rsplit("super::").next().unwrap_or(path);
                let mut absolute = self.module[..self.module.len() - ups].to_vec();
                absolute.extend(segments(path));
                imports.push(absolute);
            }
        }
        imports
    }
}

fn segments(path: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let path = path.split(|c| !is_path(c)).next().unwrap_or("");
    path.split("::")
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Every file of the library that is not a test.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut tests = BTreeSet::new();
    let mut sources = Vec::new();
    for path in files(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let relative = path.strip_prefix(&root).unwrap();
        let name = relative.to_str().unwrap().replace('\\', "/");
        let mut module: Vec<String> = name
            .trim_end_matches(".rs")
            .split('/')
            .map(str::to_owned)
            .collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let (code, test_modules) = without_tests(&text);
        for test in test_modules {
            let mut module = module.clone();
            module.push(test);
            tests.insert(module);
        }
        sources.push(Source {
            name,
            module,
            text,
            code,
        });
    }
    sources.retain(|source| {
        let prefixes = (1..=source.module.len()).map(|length| source.module[..length].to_vec());
        !prefixes.into_iter().any(|prefix| tests.contains(&prefix))
    });
    assert!(sources.len() > 40, "the sources were not found");
    sources
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The lines of code outside of tests and comments, and the names of modules that are tests.
fn without_tests(text: &str) -> (Vec<String>, Vec<String>) {
    let mut code = Vec::new();
    let mut modules = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        if bare.starts_with("#[cfg(test)]") || bare.starts_with("#[cfg(all(test") {
            let Some(item) = lines.next() else {
                break;
            };
            if let Some(name) = item
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
            {
                modules.push(name.to_owned());
            } else if !item.ends_with(';') {
                // rustfmt ends a block in the column that it begins in.
                let end = format!("{}}}", &line[..line.len() - bare.len()]);
                let _ = lines.find(|line| *line == end);
            }
            continue;
        }
        let is_comment = line.trim_start().starts_with("//");
        let line = if is_comment { "" } else { line };
        code.push(line.split(" // ").next().unwrap_or("").to_owned());
    }
    (code, modules)
}

/// Fails with all that was found, not with the first.
fn nothing(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn imports_go_downward_or_stay_on_their_floor() {
    let mut found = Vec::new();
    for source in sources() {
        let Some(own) = source.floor() else {
            continue;
        };
        for import in source.imports() {
            let Some(other) = import.first() else {
                found.push(format!(
                    "{} imports several floors in one line",
                    source.name
                ));
                continue;
            };
            match FLOORS.iter().position(|floor| floor == other) {
                Some(other) if other <= own => {}
                Some(_) | None => {
                    found.push(format!("{} imports {}", source.name, import.join("::")))
                }
            }
        }
    }
    nothing(&found, "a floor may import only itself and those below it");
}

#[test]
fn the_modules_of_a_floor_import_each_other_in_no_circle() {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let [floor, own, ..] = source.module.as_slice() else {
            continue;
        };
        let own = format!("{floor}::{own}");
        for import in source.imports() {
            let [other_floor, other, ..] = import.as_slice() else {
                continue;
            };
            let other = format!("{other_floor}::{other}");
            if other_floor == floor && other != own {
                imports.entry(own.clone()).or_default().insert(other);
            }
        }
    }
    assert!(!imports.is_empty());
    // Whoever imports nothing more, or is imported by nobody, is in no circle and is taken out.
    loop {
        let before = imports.len();
        let importing: BTreeSet<String> = imports.keys().cloned().collect();
        for others in imports.values_mut() {
            others.retain(|other| importing.contains(other));
        }
        let imported: BTreeSet<String> = imports.values().flatten().cloned().collect();
        imports.retain(|module, others| !others.is_empty() && imported.contains(module));
        if imports.len() == before {
            break;
        }
    }
    let circle: Vec<String> = imports
        .iter()
        .map(|(module, others)| format!("{module} imports {others:?}"))
        .collect();
    nothing(&circle, "modules import each other in a circle");
}

#[test]
fn only_the_named_modules_know_a_crate() {
    let mut found = Vec::new();
    for (what, places) in KNOWN_BY {
        for source in sources() {
            let is_known = |line: &String| {
                line.match_indices(what).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = line[at + what.len()..].chars().next();
                    !before.is_some_and(|c| c.is_alphanumeric() || "_:.\"'".contains(c))
                        && after.is_some_and(|c| c == ':' || c == ';' || c == '(')
                })
            };
            let is_allowed = places.iter().any(|place| source.name.starts_with(place));
            if !is_allowed && source.code.iter().any(is_known) {
                found.push(format!("{} knows {what}", source.name));
            }
        }
    }
    nothing(&found, "a crate is known only where the table says");
}

#[test]
fn below_the_keepers_nobody_reads_a_clock() {
    let mut found = Vec::new();
    for source in sources() {
        let is_below = source.floor().is_some_and(|floor| floor < 2);
        // The clock itself is defined among the words, and handed down.
        if is_below && source.name != "words/time.rs" {
            for line in &source.code {
                if CLOCKS.iter().any(|clock| line.contains(clock)) {
                    found.push(format!("{}: {}", source.name, line.trim()));
                }
            }
        }
    }
    nothing(&found, "the present is an argument");
}

#[test]
fn every_file_says_at_its_head_what_it_holds() {
    let headless = |source: Source| (!source.text.starts_with("//! ")).then_some(source.name);
    let found: Vec<String> = sources().into_iter().filter_map(headless).collect();
    nothing(&found, "files without a head");
}

#[test]
fn no_file_is_longer_than_one_subject_needs() {
    let mut found = Vec::new();
    for source in sources() {
        let long = LONG_FILES.iter().find(|(name, ..)| *name == source.name);
        let most = long.map_or(LINES_MAX, |(_, most, _)| *most);
        let (lines, _) = without_tests(&source.text);
        if lines.len() > most {
            found.push(format!(
                "{} has {} lines of at most {most}",
                source.name,
                lines.len()
            ));
        }
        if long.is_some() && lines.len() <= LINES_MAX {
            found.push(format!(
                "{} is short enough to leave the table",
                source.name
            ));
        }
    }
    nothing(&found, "files of the wrong length");
}

#[test]
fn nothing_outside_of_tests_unwraps() {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        for line in &source.code {
            if !line.contains(".unwrap()") && !line.contains(".expect(") {
                continue;
            }
            let known = UNWRAPPED
                .iter()
                .position(|(name, text, _)| *name == source.name && line.contains(text));
            match known {
                Some(known) => {
                    used.insert(known);
                }
                None => found.push(format!("{}: {}", source.name, line.trim())),
            }
        }
    }
    for (place, (name, text, _)) in UNWRAPPED.iter().enumerate() {
        if !used.contains(&place) {
            found.push(format!("{name} has no {text:?} any more"));
        }
    }
    nothing(
        &found,
        "a failure that is not handled needs a reason in the table",
    );
}

#[test]
fn nothing_is_imported_wholesale_or_left_half_done() {
    let mut found = Vec::new();
    for source in sources() {
        for line in &source.code {
            let is_glob = line.trim_start().starts_with("use ") && line.contains("::*");
            let is_half_done = ["todo!(", "unimplemented!(", "dbg!(", "#[allow("]
                .iter()
                .any(|word| line.contains(word));
            if is_glob || is_half_done || line.contains("unsafe ") {
                found.push(format!("{}: {}", source.name, line.trim()));
            }
        }
    }
    nothing(&found, "what does not belong into finished code");
}

#[test]
fn every_way_to_end_is_named_wherever_it_is_told_apart() {
    let tables = ["words/outcome.rs", "words/verdict.rs"];
    let mut found = Vec::new();
    for source in sources() {
        if tables.contains(&source.name.as_str()) {
            for line in &source.code {
                if line.trim_start().starts_with("_ =>") {
                    found.push(format!("{}: {}", source.name, line.trim()));
                }
            }
        }
    }
    nothing(&found, "a new variant must make the compiler ask");
}

#[test]
fn a_provider_is_named_in_its_own_file_and_nowhere_else() {
    let mut found = Vec::new();
    for source in sources() {
        // The command line shows examples, and its demo plays every platform.
        if source.name.starts_with("rules/provider/") || source.name.starts_with("doors/cli/") {
            continue;
        }
        for line in &source.code {
            let folded = line.to_ascii_lowercase();
            let is_known = NAMED
                .iter()
                .any(|(name, text, _)| *name == source.name && line.contains(text));
            if !is_known && PROVIDERS.iter().any(|name| folded.contains(name)) {
                found.push(format!("{}: {}", source.name, line.trim()));
            }
        }
    }
    // Nor does one know of another; the registry alone names them all.
    for own in PROVIDERS {
        for other in PROVIDERS {
            let source = sources()
                .into_iter()
                .find(|source| source.name == format!("rules/provider/{own}.rs"));
            let code = source
                .expect("a file for each provider")
                .code
                .join("\n")
                .to_ascii_lowercase();
            if own != other && code.contains(other) {
                found.push(format!("{own} names {other}"));
            }
        }
    }
    nothing(
        &found,
        "a provider is one file and its line in the registry",
    );
}

#[test]
fn no_test_is_switched_off_or_content_with_any_panic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for path in [files(&root.join("src")), files(&root.join("tests"))].concat() {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let line = line.trim_start();
            if line.starts_with("#[ignore") || line.starts_with("#[should_panic") {
                found.push(format!("{}: {line}", path.display()));
            }
        }
    }
    nothing(&found, "tests that prove nothing");
}

#[test]
fn the_compiler_is_told_to_hold_what_it_can() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for lint in [
        "unsafe_code = \"forbid\"",
        "missing_docs = ",
        "unwrap_used = ",
    ] {
        assert!(manifest.contains(lint), "{lint} is gone");
    }
}
