//! Reads the few members of a JSON object that decide something, and nothing else.
//!
//! The body is never re-serialised. What is not asked for is skipped without being interpreted: odd
//! numbers, lone surrogates and any depth of nesting pass, as long as the grammar holds. A member that
//! stands there twice is reported as doubled, since two readers would take different ones of the two.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The body is not one JSON object and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoObject;

/// The members that were asked for, in the order of the body, doubled ones included.
#[derive(Debug, Default)]
pub struct Members<'a>(Found<'a>);

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub enum Member<'a> {
    /// It is not there.
    Absent,
    /// It is there once.
    One(&'a RawValue),
    /// It is there more than once.
    Doubled,
}

// === impl Members ===

impl<'a> Members<'a> {
    /// Reads the members of the one object in `json` whose decoded name `wants` accepts.
    ///
    /// # Errors
    /// [`NoObject`] if `json` is anything but one object.
    pub fn read(json: &'a [u8], wants: impl Fn(&[u8]) -> bool) -> Result<Self, NoObject> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let members = reader
            .deserialize_map(ObjectVisitor { wants })
            .map_err(|_| NoObject)?;
        reader.end().map_err(|_| NoObject)?;
        Ok(Self(members))
    }

    /// Reads the members of the one object in `json`, and those of the object that its member `inner` is, in
    /// one pass. `wants` need not name `inner`, which is not among the first.
    ///
    /// `None` wherever [`Members::read`], asked twice, has to tell what there is: in what is no Unicode or not
    /// one object, and where `inner` is absent, doubled or no object.
    pub fn read_two(
        json: &'a [u8],
        wants: impl Fn(&[u8]) -> bool,
        inner: &str,
        wants_of_inner: impl Fn(&[u8]) -> bool,
    ) -> Option<(Self, Self)> {
        let text = std::str::from_utf8(json).ok()?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let both = TwoVisitor {
            wants,
            inner: inner.as_bytes(),
            wants_of_inner,
        };
        let (members, of_inner) = reader.deserialize_map(both).ok()?;
        reader.end().ok()?;
        Some((Self(members), Self(of_inner)))
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> Member<'a> {
        let mut found = self
            .0
            .iter()
            .filter(|(other, _)| other.as_ref() == name.as_bytes());
        match (found.next(), found.next()) {
            (None, _) => Member::Absent,
            (Some((_, value)), None) => Member::One(value),
            (Some(_), Some(_)) => Member::Doubled,
        }
    }

    /// Every member, sorted by name; doubled ones stay in the order of the body.
    pub fn sorted(mut self) -> impl Iterator<Item = (Cow<'a, [u8]>, &'a RawValue)> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.into_iter()
    }
}

// === impl Member ===

impl<'a> Member<'a> {
    /// The value, if it is there once.
    pub fn value(self) -> Option<&'a RawValue> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Doubled => None,
        }
    }

    /// The value, if it is there once and is a string that can be decoded.
    pub fn text(self) -> Option<Cow<'a, str>> {
        self.value().and_then(text)
    }
}

/// The decoded string, if the value is one.
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    struct TextVisitor;

    impl<'de> Visitor<'de> for TextVisitor {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
    }

    serde_json::Deserializer::from_str(value.get())
        .deserialize_str(TextVisitor)
        .ok()
}

type Found<'a> = Vec<(Cow<'a, [u8]>, &'a RawValue)>;

struct TwoVisitor<'n, F, G> {
    wants: F,
    inner: &'n [u8],
    wants_of_inner: G,
}

impl<'de, F: Fn(&[u8]) -> bool, G: Fn(&[u8]) -> bool> Visitor<'de> for TwoVisitor<'_, F, G> {
    type Value = (Found<'de>, Found<'de>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with another in it")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut of_inner = None;
        while let Some(Name(name)) = map.next_key()? {
            if *name == *self.inner {
                let wants = &self.wants_of_inner;
                if of_inner
                    .replace(map.next_value_seed(ObjectVisitor { wants })?)
                    .is_some()
                {
                    return Err(A::Error::custom("it is doubled"));
                }
            } else if (self.wants)(&name) {
                members.push((name, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let of_inner = of_inner.ok_or_else(|| A::Error::custom("it is absent"))?;
        Ok((members, of_inner))
    }
}

struct ObjectVisitor<F> {
    wants: F,
}

impl<'de, F: Fn(&[u8]) -> bool> DeserializeSeed<'de> for ObjectVisitor<F> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: Fn(&[u8]) -> bool> Visitor<'de> for ObjectVisitor<F> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if (self.wants)(&name) {
                members.push((name, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(members)
    }
}

/// A member's name as bytes: names that are no Unicode (a lone surrogate) must not end the reading.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_vec())))
            }
        }

        deserializer.deserialize_bytes(NameVisitor)
    }
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
        let of_inner = Members::read(inner.get().as_bytes(), |name| name == b"a").ok()?;
        let but_inner = members.0.into_iter().filter(|(name, _)| **name != *b"in");
        Some((shown(but_inner), shown(of_inner.0.into_iter())))
    }

    fn at_once(json: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
        let wants = |name: &[u8]| matches!(name, b"a" | b"b");
        let (members, of_inner) = Members::read_two(json, wants, "in", |name| name == b"a")?;
        Some((shown(members.0.into_iter()), shown(of_inner.0.into_iter())))
    }

    fn shown<'a>(members: impl Iterator<Item = (Cow<'a, [u8]>, &'a RawValue)>) -> Vec<String> {
        members
            .map(|(name, value)| format!("{name:?} {}", value.get()))
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
