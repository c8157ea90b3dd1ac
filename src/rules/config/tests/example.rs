//! The example configuration is the reference, so it is held in step with the reader.

use std::collections::BTreeSet;
use std::path::Path;

use crate::rules::config::{Config, read_text};

const EXAMPLE: &str = include_str!("../../../../config.toml.example");

#[test]
fn the_example_begins_with_the_smallest_configuration_that_works() {
    let read = read_text(EXAMPLE, Path::new("config.toml"), None);
    assert_eq!(read.remarks, []);
    assert_eq!(read.value.unwrap().routes.len(), 1);
    let lines = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(lines.count(), 4);
}

#[test]
fn the_example_with_every_key_set_is_a_right_configuration() {
    let read = read_text(&uncommented(EXAMPLE), Path::new("config.toml"), None);
    assert_eq!(read.remarks, []);
    assert_eq!(read.value.unwrap().routes.len(), 4);
}

#[test]
fn the_example_has_exactly_the_keys_that_are_known() {
    let read = read_text(&uncommented(EXAMPLE), Path::new("config.toml"), None);
    assert_eq!(keys_of(&uncommented(EXAMPLE)), read.known);
}

#[test]
fn the_defaults_in_the_example_are_the_defaults() {
    // The sections before the second route hold no samples but the token, so that set or unset is the same.
    let sections = EXAMPLE.split("# Every key of a route.").next().unwrap();
    // TLS is a sample as a whole: there are no certificates by default.
    let (before, rest) = sections.split_once("# TLS with senders").unwrap();
    let (_, after) = rest.split_once("# For the operator:").unwrap();
    let sections = &format!("{before}# {after}");
    let set = uncommented(sections).replace("token =", "# token =");
    let file = Path::new("config.toml");
    let (set, _) = Config::read(&set, file, None).unwrap();
    let (unset, _) = Config::read(EXAMPLE, file, None).unwrap();
    assert_eq!(format!("{set:?}"), format!("{unset:?}"));
}

#[test]
fn the_defaults_of_a_route_in_the_example_are_the_defaults() {
    let (_, rest) = EXAMPLE.split_once("# Every key of a route.").unwrap();
    let (section, _) = rest.split_once("# Passworks").unwrap();
    // Samples are left as the smallest configuration has them; a quota has no default.
    let is_sample = |line: &str| {
        let samples = [
            "provider",
            "name",
            "path",
            "host",
            "allow_from",
            "secrets",
            "upstream",
            "sign_with",
        ];
        let key = line.split(" = ").next().unwrap();
        samples.contains(&key) || key == "[[route]]"
    };
    let section = uncommented(section);
    let (before, from_quota) = section.split_once("[route.quota]").unwrap();
    let (_, after) = from_quota.split_once("[route.queue]").unwrap();
    let lines: Vec<_> = before.lines().filter(|line| !is_sample(line)).collect();
    let smallest = uncommented(EXAMPLE.split("# Where events come in.").next().unwrap());
    // The first of these lines is the rest of a heading.
    let set = format!("{smallest}#{}\n[route.queue]{after}", lines.join("\n"));
    let file = Path::new("config.toml");
    let (set, warnings) = Config::read(&set, file, None).unwrap();
    assert_eq!(warnings, []);
    let (unset, _) = Config::read(EXAMPLE, file, None).unwrap();
    assert_eq!(format!("{set:?}"), format!("{unset:?}"));
}

/// A `#` that no blank follows hides a key.
fn uncommented(example: &str) -> String {
    let shown = |line: &str| match line.strip_prefix('#') {
        Some(hidden) if !hidden.is_empty() && !hidden.starts_with(' ') => hidden.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    example.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// The paths of all keys and tables, by eye rather than by the reader.
fn keys_of(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut table = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
            keys.insert(table.clone());
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}
