//! What a section gives, and what it says of what it cannot give.

use std::time::Duration;

use crate::rules::reader::remark::Remark;
use crate::rules::reader::secrets::Secrets;
use crate::rules::reader::{Section, read};

fn said(text: &str, read_root: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
    let read = read(text, Secrets::Placeholders, read_root);
    read.remarks.iter().map(Remark::to_string).collect()
}

#[test]
fn absent_and_wrong_values_read_as_none_and_only_the_wrong_are_said() {
    let text = "text = 1\nflag = \"yes\"\nwhole = 1.5\nduration = 15\nsize = []\nrate = {}\nword = 1979-05-27\nsecret = true";
    let said = said(text, |root| {
        assert_eq!(root.text("text"), None);
        assert_eq!(root.flag("flag"), None);
        assert_eq!(root.whole("whole", 0, 9), None);
        assert_eq!(root.duration("duration"), None);
        assert_eq!(root.size("size"), None);
        assert_eq!(root.rate("rate"), None);
        assert_eq!(root.one_of("word", &[("a", 1), ("b", 2)]), None);
        assert!(root.secret("secret").is_none());
        assert_eq!(root.text("absent"), None);
        assert_eq!(root.texts("absent"), Vec::<String>::new());
        assert!(root.secrets("absent").is_empty());
        assert!(!root.section("absent").is_present());
        assert!(root.sections("absent").is_empty());
    });
    let expected = [
        "1:8: text: is a whole number, but a text in quotes is expected",
        "2:8: flag: is a text, but true or false (without quotes) is expected",
        "3:9: whole: is a number with a fraction, but a whole number from 0 to 9 (without quotes) is expected",
        "4:12: duration: is a whole number, but a duration such as \"500ms\", \"15s\", \"10min\", \"24h\" or \"7d\" is expected",
        "5:8: size: is a list, but a size such as \"64KiB\" or \"1MiB\" is expected",
        "6:8: rate: is a table, but a rate such as \"10/s\", \"600/min\" or \"5000/h\" is expected",
        "7:8: word: is a date, but \"a\" or \"b\" is expected",
        "8:10: secret: is true or false, but a reference such as \"env:NAME\" or \"file:/path\" is expected",
    ];
    assert_eq!(said, expected);
}

#[test]
fn whole_numbers_are_read_in_every_notation_of_toml() {
    let cases = [
        ("7", Some(7)),
        ("0x1F", Some(31)),
        ("1_0", Some(10)),
        ("+5", Some(5)),
        ("-1", None),
        ("100", None),
        ("99999999999999999999", None),
    ];
    for (number, expected) in cases {
        let said = said(&format!("n = {number}"), |root| {
            assert_eq!(root.whole("n", 1, 99), expected, "{number}");
        });
        assert_eq!(said.is_empty(), expected.is_some(), "{said:?}");
    }
}

#[test]
fn bounds_belong_to_what_they_allow_and_are_written_as_the_text_would_be() {
    let hours = Duration::from_secs(3600)..=Duration::from_secs(2 * 86_400);
    for (duration, expected) in [
        ("1h", Some(3600)),
        ("2d", Some(172_800)),
        ("0s", None),
        ("3599999ms", None),
        ("172801s", None),
    ] {
        let said = said(&format!("d = \"{duration}\""), |root| {
            let read = root.duration_within("d", &hours);
            assert_eq!(read.map(|read| read.as_secs()), expected, "{duration}");
        });
        let mistake = "1:5: d: is out of bounds; write a duration from \"1h\" to \"2d\"";
        assert_eq!(said == [mistake], expected.is_none(), "{said:?}");
    }
    for (size, expected) in [("0B", Some(0)), ("1TiB", Some(1 << 40)), ("1025GiB", None)] {
        let said = said(&format!("s = \"{size}\""), |root| {
            assert_eq!(root.size_within("s", &(0..=1 << 40)), expected, "{size}");
        });
        let mistake = "1:5: s: is out of bounds; write a size from \"0B\" to \"1TiB\"";
        assert_eq!(said == [mistake], expected.is_none(), "{said:?}");
    }
}

#[test]
fn lists_say_what_is_wrong_at_its_item() {
    let text = "several = [\"a\", 2,\n  3]\none = \"b\"\nlist = \"c\"";
    let said = said(text, |root| {
        assert_eq!(root.texts("several"), ["a"]);
        assert_eq!(root.texts("one"), ["b"]);
        let listed = root.parse_each("list", "a letter", |text| Ok(text.to_owned()));
        assert!(listed.is_empty());
    });
    let expected = [
        "1:17: several: is a whole number, but a text in quotes is expected",
        "2:3: several: is a whole number, but a text in quotes is expected",
        "4:8: list: is a text, but a list in brackets, each item a letter, is expected",
    ];
    assert_eq!(said, expected);
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let cases = [
        ("\u{feff}a = 1", "1:5: "),
        ("x = 'äöü'\na = 1", "2:5: "),
        ("x = 'äöü'\r\na = 1", "2:5: "),
        ("\n\ta =\t1", "2:6: "),
    ];
    for (text, place) in cases {
        let said = said(text, |root| {
            let _ = root.has("x");
            assert_eq!(root.text("a"), None);
        });
        assert!(
            matches!(&said[..], [one] if one.starts_with(place)),
            "{said:?}"
        );
    }
    let said = said("a = { \"ä\" = 1, b = 2 }", |root| {
        let mut inner = root.section("a");
        assert!(inner.has("ä"));
        inner.mistake("b", "is there");
        assert!(inner.has("b"));
        inner.finish();
    });
    assert_eq!(said, ["1:20: a.b: is there"]);
}

#[test]
fn syntax_and_meaning_come_in_one_list_and_a_broken_line_once() {
    let text = "a = 15s\nb = 1\nc = \"x\n[t\nd = 1";
    let said = said(text, |root| {
        assert_eq!(root.duration("a").map(|a| a.as_secs()), Some(15));
        assert_eq!(root.duration("b"), None);
        assert_eq!(root.duration("c"), None);
        root.missing("e", "is missing");
    });
    let places: Vec<_> = said
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places, ["1:5", "2:5", "3:7", "4:3", "5:1"]);
}

#[test]
fn a_key_written_twice_is_a_mistake() {
    let said = said("a = 1\na = 2\n[t]\n[t]", |root| {
        assert!(root.has("a"));
        root.section("t").finish();
    });
    assert_eq!(said, ["2:1: duplicate key", "4:2: duplicate key"]);
}

#[test]
fn keys_that_nobody_asked_for_are_mistakes_with_the_nearest_known_one() {
    let text = "nam = 1\n\"a\\nb\" = 1\nlater = 1\n[[t]]\nx = 1\n[u]\nv = 1";
    let said = said(text, |root| {
        assert_eq!(root.text("name"), None);
        for section in root.sections("t") {
            section.finish();
        }
        let mut inner = root.section("u");
        assert_eq!(inner.text("other_word"), None);
        inner.finish();
    });
    let expected = [
        "1:1: nam: is not a known key; did you mean `name`?",
        "2:1: \"a\\nb\": is not a known key; known here: name, t, u",
        "3:1: later: is not a known key; known here: name, t, u",
        "5:1: t #1.x: is not a known key; there are none here",
        "7:1: u.v: is not a known key; known here: other_word",
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_an_inner_table_says_of_its_parent_stands_at_the_parents_key() {
    let text =
        "[[r]]\nsecrets = [\"env:A\"]\n[r.verify]\n[[r]]\nsecrets = [1]\n[r.verify]\n[[r]]\n";
    let said = said(text, |root| {
        for mut section in root.sections("r") {
            let _ = section.secrets("secrets");
            let verify = section.section("verify");
            verify.mistake_at_parent("secrets", "one");
            verify.mistake_at_parent("secrets", "two");
            verify.finish();
            section.finish();
        }
    });
    let expected = [
        "2:11: r #1.secrets: one",
        "2:11: r #1.secrets: two",
        "5:12: r #2.secrets: is a whole number, but a reference such as \"env:NAME\" or \"file:/path\" is expected",
        "7:1: r #3.secrets: one",
        "7:1: r #3.secrets: two",
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_named_table_is_called_by_its_name_in_what_follows() {
    let said = said("[[r]]\nx = 1\n[r.s]\ny = 1", |root| {
        for mut section in root.sections("r") {
            section.call("one");
            section.section("s").finish();
            section.warn("x", "is odd");
            section.mistake_here("is wrong");
            assert!(section.has("x"));
            section.finish();
        }
    });
    let expected = [
        "1:1: r \"one\": is wrong",
        "2:5: warning: r \"one\".x: is odd",
        "4:1: r \"one\".s.y: is not a known key; there are none here",
    ];
    assert_eq!(said, expected);
}

#[test]
fn known_keys_are_listed_once_for_all_tables_of_a_list() {
    let read = read("[[r]]\na = 1\n[[r]]\n", Secrets::Placeholders, |root| {
        for mut section in root.sections("r") {
            assert!(section.has_placeholders());
            let _ = section.has("a");
            section.finish();
        }
    });
    assert_eq!(Vec::from_iter(read.known), ["r", "r.a"]);
}
