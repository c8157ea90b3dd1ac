//! Reads the few members of a JSON object that decide something, and nothing else.
//!
//! The body is never re-serialised. What is not asked for is passed without being interpreted: odd numbers, lone
//! surrogates and any depth of nesting pass, as long as the grammar holds. A member that stands there twice is
//! reported as doubled, since two readers would take different ones of the two.

mod scan;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Visitor};

use crate::rules::json::scan::Scanner;

/// The body is not one JSON object and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoObject;

/// The members that were asked for, in the order of the body, doubled ones included.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Name<'a>, Value<'a>)>);

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub enum Member<'a> {
    /// It is not there.
    Absent,
    /// It is there once.
    One(Value<'a>),
    /// It is there more than once.
    Doubled,
}

/// A value as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a str);

/// A member's name, decoded, as bytes: names that are no Unicode (a lone surrogate) must not end the reading.
type Name<'a> = Cow<'a, [u8]>;

/// Members that there is room for at once.
const MEMBERS_USUALLY: usize = 8;

// === impl Members ===

impl<'a> Members<'a> {
    /// Reads the members of the one object in `json` whose decoded name `wants` accepts.
    ///
    /// # Errors
    /// [`NoObject`] if `json` is anything but one object, or what was asked for is no Unicode.
    pub fn read(json: &'a [u8], wants: impl Fn(&[u8]) -> bool) -> Result<Self, NoObject> {
        let mut scanner = Scanner::new(json);
        let members = Self::of_object(&mut scanner, &wants);
        members.filter(|_| scanner.is_at_end()).ok_or(NoObject)
    }

    /// Reads the members of the one object in `json`, and those of the object that its member `inner` is, in
    /// one pass. `wants` need not name `inner`, which is not among the first.
    ///
    /// `None` wherever [`Members::read`], asked twice, has to tell what there is: where what was asked for is no
    /// Unicode, in what is not one object, and where `inner` is absent, doubled or no object.
    pub fn read_two(
        json: &'a [u8],
        wants: impl Fn(&[u8]) -> bool,
        inner: &str,
        wants_of_inner: impl Fn(&[u8]) -> bool,
    ) -> Option<(Self, Self)> {
        let mut scanner = Scanner::new(json);
        let mut members = Self::with_room();
        let mut of_inner = None;
        each_member(&mut scanner, |name, scanner| {
            if *name != *inner.as_bytes() {
                return members.take_if(&wants, name, scanner.value()?);
            }
            let begin = scanner.at();
            let found = Self::of_object(scanner, &wants_of_inner)?;
            let written = json.get(begin..scanner.at())?;
            let is_first = of_inner.replace(found).is_none();
            (is_first && is_unicode(written)).then_some(())
        })?;
        let of_inner = of_inner.filter(|_| scanner.is_at_end())?;
        Some((members, of_inner))
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> Member<'a> {
        let mut found = self
            .0
            .iter()
            .filter(|(other, _)| other.as_ref() == name.as_bytes());
        match (found.next(), found.next()) {
            (None, _) => Member::Absent,
            (Some((_, value)), None) => Member::One(*value),
            (Some(_), Some(_)) => Member::Doubled,
        }
    }

    /// Every member, sorted by name; doubled ones stay in the order of the body.
    pub fn sorted(mut self) -> impl Iterator<Item = (Name<'a>, Value<'a>)> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.into_iter()
    }

    fn with_room() -> Self {
        Self(Vec::with_capacity(MEMBERS_USUALLY))
    }

    fn of_object(scanner: &mut Scanner<'a>, wants: &impl Fn(&[u8]) -> bool) -> Option<Self> {
        let mut members = Self::with_room();
        each_member(scanner, |name, scanner| {
            members.take_if(wants, name, scanner.value()?)
        })?;
        Some(members)
    }

    /// `None` if it is wanted and no Unicode.
    fn take_if(
        &mut self,
        wants: &impl Fn(&[u8]) -> bool,
        name: Name<'a>,
        value: &'a [u8],
    ) -> Option<()> {
        if wants(&name) {
            let value = std::str::from_utf8(value).ok()?;
            self.0.push((name, Value(value)));
        }
        Some(())
    }
}

// === impl Member ===

impl<'a> Member<'a> {
    /// The value, if it is there once.
    pub fn value(self) -> Option<Value<'a>> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Doubled => None,
        }
    }

    /// The value, if it is there once and is a string that can be decoded.
    pub fn text(self) -> Option<Cow<'a, str>> {
        self.value().and_then(Value::text)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    /// The value as it is written.
    pub fn as_written(self) -> &'a str {
        self.0
    }

    /// The decoded string, if the value is one.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?.strip_suffix('"')?;
        match text.contains('\\') {
            false => Some(Cow::Borrowed(text)),
            true => serde_json::from_str(self.0).ok().map(Cow::Owned),
        }
    }
}

/// Passes an object, and has `on_member` pass each of its values. `None` if it is none, or as soon as that says so.
fn each_member<'a>(
    scanner: &mut Scanner<'a>,
    mut on_member: impl FnMut(Name<'a>, &mut Scanner<'a>) -> Option<()>,
) -> Option<()> {
    if !scanner.takes(b'{') {
        return None;
    }
    if scanner.takes(b'}') {
        return Some(());
    }
    loop {
        let name = decoded(scanner.name()?)?;
        on_member(name, scanner)?;
        if !scanner.takes(b',') {
            return scanner.takes(b'}').then_some(());
        }
    }
}

fn is_unicode(text: &[u8]) -> bool {
    // It nearly always is ASCII, which is told in a third of the time.
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

/// A name as it is meant; `None` if an escape in it is broken.
fn decoded(written: &[u8]) -> Option<Name<'_>> {
    if !written.contains(&b'\\') {
        return Some(Cow::Borrowed(written));
    }
    struct BytesVisitor;

    impl Visitor<'_> for BytesVisitor {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name")
        }

        fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
            Ok(name.to_vec())
        }
    }

    let quoted = [b"\"", written, b"\""].concat();
    serde_json::Deserializer::from_slice(&quoted)
        .deserialize_bytes(BytesVisitor)
        .ok()
        .map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(json: &[u8]) -> Result<Option<String>, NoObject> {
        Members::read(json, |name| name == b"event")
            .map(|members| members.member("event").text().map(Cow::into_owned))
    }

    #[test]
    fn reads_the_wanted_member_and_skips_the_oddest_rest() {
        for json in [
            &br#"{"event":"a"}"#[..],
            br#" { "x" : 1e400 , "event" : "a" } "#,
            br#"{"x":-0,"y":123456789012345678901234567890,"z":"\ud800","event":"a"}"#,
            br#"{"\ud800":1,"event":"a"}"#,
            br#"{"\u0065vent":"\u0061"}"#,
            b"{\"x\":\"\xff\xfe\",\"event\":\"a\"}",
            br#"{"x":{"event":"b"},"event":"a"}"#,
        ] {
            assert_eq!(
                event(json),
                Ok(Some("a".to_owned())),
                "{}",
                String::from_utf8_lossy(json)
            );
        }
        let deep = format!(
            r#"{{"x":{}{},"event":"a"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(event(deep.as_bytes()), Ok(Some("a".to_owned())));
    }

    #[test]
    fn a_doubled_member_has_no_text_even_if_its_name_is_written_differently() {
        for json in [
            &br#"{"event":"a","event":"b"}"#[..],
            br#"{"event":"a","\u0065vent":"b"}"#,
        ] {
            assert_eq!(event(json), Ok(None));
        }
    }

    #[test]
    fn refuses_what_is_not_one_object() {
        for json in [
            &b""[..],
            b"null",
            b"[]",
            b"\"x\"",
            b"  ",
            b"{}{}",
            b"{} x",
            b"\xef\xbb\xbf{}",
            b"{\"event\":}",
            b"{'event':1}",
            b"{\"event\":\"a\",}",
            b"\x00",
            b"{\"a\nb\":1,\"event\":\"a\"}",
            b"{\"event\":\"a\nb\"}",
        ] {
            assert_eq!(event(json), Err(NoObject), "{json:?}");
        }
    }

    #[test]
    fn only_a_decodable_string_is_text() {
        for json in [
            &br#"{"event":1}"#[..],
            br#"{"event":null}"#,
            br#"{"event":{"a":1}}"#,
            br#"{"event":"\ud800"}"#,
        ] {
            assert_eq!(event(json), Ok(None));
        }
    }

    /// The members of `json` named `a` and `b`, and those of its member `in`, read one after the other.
    fn one_by_one(json: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
        let members = Members::read(json, |name| matches!(name, b"a" | b"b" | b"in")).ok()?;
        let Member::One(inner) = members.member("in") else {
            return None;
        };
        let of_inner = Members::read(inner.as_written().as_bytes(), |name| name == b"a").ok()?;
        let but_inner = members.0.into_iter().filter(|(name, _)| **name != *b"in");
        Some((shown(but_inner), shown(of_inner.0.into_iter())))
    }

    fn at_once(json: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
        let wants = |name: &[u8]| matches!(name, b"a" | b"b");
        let (members, of_inner) = Members::read_two(json, wants, "in", |name| name == b"a")?;
        Some((shown(members.0.into_iter()), shown(of_inner.0.into_iter())))
    }

    fn shown<'a>(members: impl Iterator<Item = (Name<'a>, Value<'a>)>) -> Vec<String> {
        members
            .map(|(name, value)| format!("{name:?} {}", value.as_written()))
            .collect()
    }

    #[test]
    fn two_objects_are_read_at_once_as_one_after_the_other() {
        for json in [
            &br#"{"a":1,"in":{"a":"x","b":2,"a":3},"b":[{}]}"#[..],
            br#"{"a":1,"a":2,"x":{"a":4},"in":{}}"#,
            br#"{"\u0061":1,"\u0069n":{"\u0061":1e400,"y":"\ud800"}} "#,
        ] {
            assert!(at_once(json).is_some());
            assert_eq!(at_once(json), one_by_one(json));
        }
        for json in [
            &br#"{"a":1}"#[..],
            br#"{"in":{"a":1},"in":{"a":1}}"#,
            br#"{"in":[1]}"#,
            br#"{"in":{"a":1}} x"#,
            b"{\"in\":{\"a\":1},\"b\":\"\xff\"}",
        ] {
            assert_eq!(at_once(json), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_read_at_once_is_what_is_read_one_after_the_other(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"in\":{", "\"a\":", "\"b\":", "\"in\"", "\"x\"", "1", "null", " ", "\"\\u0061\":",
                ]),
                0..14,
            ),
        ) {
            for json in [parts.concat(), format!("{{\"in\":{{{}}},\"b\":1}}", parts.concat())] {
                if let Some(found) = at_once(json.as_bytes()) {
                    prop_assert_eq!(Some(found), one_by_one(json.as_bytes()));
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = event(&json);
        }

        #[test]
        fn any_string_value_is_read_as_serde_json_wrote_it(text in ".{0,40}", other in ".{0,10}") {
            let json = serde_json::json!({ "event": text, other: 1 }).to_string();
            let expected = serde_json::from_str::<serde_json::Value>(&json).unwrap()["event"].as_str().map(str::to_owned);
            prop_assert_eq!(event(json.as_bytes()).unwrap(), expected);
        }
    }
}
